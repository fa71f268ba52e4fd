"""``optimctl run``: carry a job out, or show what would happen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.options import common_options, job_options, read_job

if TYPE_CHECKING:
    from optimctl.job.schema import Job


@click.command()
@click.argument("job", metavar="JOB", shell_complete=job_files)
@click.option("--dry-run", is_flag=True, help="Build everything, show the plan, run nothing and leave no file behind.")
@click.option(
    "--stop-after",
    metavar="LENGTH",
    help="Run the first iterations only (5it, 1ep, 2%) and a validation batch; show what the whole would take; leave no file behind.",
)
@click.option("--work-dir", metavar="DIR", help="Where the run's folder is made, in place of the job's own.")
@click.option("--strict", is_flag=True, help="Do not run where the plan has a warning; end with exit code 1.")
@job_options
@common_options
def run(
    job: str,
    dry_run: bool,
    stop_after: str | None,
    work_dir: str | None,
    strict: bool,
    overrides: tuple[str, ...],
    unset: tuple[str, ...],
) -> None:
    """Run a job; the folder of the run is printed to stdout."""
    read = read_job(job, overrides, unset)
    if work_dir and not work_dir.isprintable():
        raise click.UsageError(f"--work-dir must be fit for a folder's path, not {work_dir!r}")
    where = Path(work_dir) if work_dir else None
    if dry_run and stop_after is not None:
        raise click.UsageError("--dry-run runs nothing and --stop-after a little; choose one")
    if dry_run:
        _show_plan(read, where, strict)
    elif stop_after is not None:
        _try_out(read, stop_after)
    else:
        if strict:
            _refuse_warnings(read)
        _run(read, where)


def _show_plan(job: Job, work_dir: Path | None, strict: bool) -> None:
    from optimctl.assemble import assemble
    from optimctl.plan.page import plan_page
    from optimctl.plan.plan import make_plan
    from optimctl.train.run import default_work_dir

    with output.plugins_at_work():
        plan = make_plan(assemble(job, for_run=True, without_weights=True))
    output.page(*plan_page(plan))
    output.data(f"The run would be written to {work_dir or default_work_dir(job)}/<date>-<time>-<id>/.")
    if strict and plan.warnings():
        raise click.exceptions.Exit(1)


def _try_out(job: Job, stop_after: str) -> None:
    from optimctl.assemble import assemble
    from optimctl.cli.progress import trial_text
    from optimctl.job.length import parse_length
    from optimctl.train.run import try_out

    length = parse_length(stop_after)
    with output.plugins_at_work():
        trial = try_out(assemble(job, for_run=True), length)
    output.data(trial_text(trial))


def _refuse_warnings(job: Job) -> None:
    from optimctl.assemble import assemble
    from optimctl.plan.page import finding_text
    from optimctl.plan.plan import make_plan

    with output.plugins_at_work():
        plan = make_plan(assemble(job, for_run=True, without_weights=True))
    warnings = plan.warnings()
    for finding in warnings:
        output.say(finding_text(finding, plan))
    if warnings:
        output.say("--strict: the run was not started")
        raise click.exceptions.Exit(1)


def _run(job: Job, work_dir: Path | None) -> None:
    from optimctl.cli.progress import progress_hook
    from optimctl.train.run import run as carry_out

    with output.plugins_at_work():
        folder = carry_out(job, work_dir=work_dir, hooks=[progress_hook()])
    output.data(str(folder))
