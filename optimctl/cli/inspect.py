"""``optimctl inspect``: what would the job do?"""

from __future__ import annotations

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.options import common_options, job_options, read_job


@click.command()
@click.argument("job_or_run", metavar="JOB_OR_RUN", shell_complete=job_files)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--why", metavar="PARAMETER", help="Explain the options of one parameter, or of those that a glob finds.")
@click.option("--plot", metavar="FILE", help="Draw the schedule of every group into a file, PNG or SVG.")
@click.option("--strict", is_flag=True, help="End with exit code 1 where the plan has a warning.")
@job_options
@common_options
def inspect(
    job_or_run: str,
    as_json: bool,
    why: str | None,
    plot: str | None,
    strict: bool,
    overrides: tuple[str, ...],
    unset: tuple[str, ...],
) -> None:
    """Show what a job would do: parameter groups with their options, the schedule, and what is worth knowing."""
    job = read_job(job_or_run, overrides, unset)

    from pathlib import Path

    from optimctl.assemble import assemble
    from optimctl.pictures import check_picture
    from optimctl.plan.page import plan_page
    from optimctl.plan.plan import make_plan
    from optimctl.plan.why import matching, why_page
    from optimctl.schedule.plot import plot_schedule

    if plot is not None:
        check_picture(Path(plot))
    with output.plugins_at_work():
        assembly = assemble(job, without_weights=True)
        plan = make_plan(assembly)
    names = None if why is None else matching(plan, why)
    if plot is not None:
        plot_schedule(assembly.schedules, assembly.length, Path(plot), title=plan.name)
        output.say(f"{plot}: the schedule of {job_or_run}")
    if as_json:
        answer = plan.as_json()
        if names is not None:
            answer["parameters"] = [one for one in answer["parameters"] if one["name"] in names]
        output.as_json(answer)
    elif names is not None:
        output.page(*why_page(plan, names))
    else:
        output.page(*plan_page(plan))
    if strict and plan.warnings():
        raise click.exceptions.Exit(1)
