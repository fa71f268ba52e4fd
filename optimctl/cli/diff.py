"""``optimctl diff``: what do two jobs do differently?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.options import common_options, job_options, read_job
from optimctl.errors import JobError, Problem

if TYPE_CHECKING:
    from optimctl.job.schema import Job
    from optimctl.plan.subject import Subject

Made = TypeVar("Made")

NOTHING_TO_COMPARE = (
    "one job is compared with itself under --set and --unset: give one of them, as in --set "
    "optim_wrapper.optimizer.lr=0.1, or a second job"
)


@click.command()
@click.argument("jobs", metavar="JOB [JOB]", nargs=-1, required=True, shell_complete=job_files)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@job_options
@common_options
def diff(jobs: tuple[str, ...], as_json: bool, overrides: tuple[str, ...], unset: tuple[str, ...]) -> None:
    """Show what two jobs do differently: in effect, not in text.

    Options of parameters, schedules in every iteration, the run's length, optimizers, data and model are compared; names, comments,
    folders, what is logged and which checkpoints are kept do not count. Schedules are equal to 1e-12, all else exactly.

    One JOB is compared without and with this command's --set and --unset; with two, they apply to both. The folder of a run stands
    for its job.

    Exit codes: 0 where there is no difference, 1 where there is one, 2 where a job is at fault.
    """
    if len(jobs) > 2:
        raise click.UsageError(f"two jobs are compared, not {len(jobs)}")
    if len(jobs) == 1 and not (overrides or unset):
        raise click.UsageError(NOTHING_TO_COMPARE)
    paths = jobs[0], jobs[-1]
    options = ((), ()) if len(jobs) == 1 else (overrides, unset), (overrides, unset)
    read = _both(jobs, (partial(read_job, path, *given) for path, given in zip(paths, options, strict=True)))

    from optimctl.plan.diff import compare
    from optimctl.plan.diff.page import diff_page

    with output.plugins_at_work():
        found = compare(*_both(jobs, (partial(_subject, job) for job in read)))
    if as_json:
        output.as_json(found.as_json())
    else:
        output.page(*diff_page(found))
    if not found.same:
        raise click.exceptions.Exit(1)


def _subject(job: Job) -> Subject:
    from optimctl.assemble import assemble
    from optimctl.plan.subject import subject_of

    return subject_of(assemble(job, without_weights=True))


def _both(jobs: tuple[str, ...], makers: Iterable[Callable[[], Made]]) -> list[Made]:
    """What is made of each job; all that is wrong with either is told at once.

    Raises:
        JobError: A job is at fault; of two, a problem with an option says in which.
    """
    made: list[Made] = []
    problems: list[Problem] = []
    for index, make in enumerate(makers):
        try:
            made.append(make())
        except JobError as error:
            problems += error.problems if len(jobs) == 1 else [_in_job(jobs[index], one) for one in error.problems]
    if problems:
        raise JobError(list(dict.fromkeys(problems)))
    return made


def _in_job(path: str, problem: Problem) -> Problem:
    """A problem whose place is an option of the command, with the job that the option does not fit."""
    place = problem.place
    if place is None or not place.source.startswith("--"):
        return problem
    return replace(problem, place=replace(place, source=f"{path} with {place.source}"))
