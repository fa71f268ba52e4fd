"""``optimctl validate``: is the job well formed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.options import common_options, job_options, read_job

if TYPE_CHECKING:
    from optimctl.job.schema import Job


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=job_files)
@click.option(
    "--plugins", "with_plugins", is_flag=True, help="Load the plugins that they name, and check their arguments."
)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
@job_options
@common_options
def validate(
    jobs: tuple[str, ...], with_plugins: bool, as_json: bool, overrides: tuple[str, ...], unset: tuple[str, ...]
) -> None:
    """Check jobs without running them: keys, values, and that the plugins they name are installed."""
    from optimctl.errors import JobError, Place, Problem, UsageError
    from optimctl.plugins import installed

    installed()  # what is wrong with the project is no job's fault
    problems: list[Problem] = []
    unchecked = 0
    for path in jobs:
        try:
            job = read_job(path, overrides, unset)
            count = _plugins_in(job)
            if with_plugins:
                _check_arguments(job)
        except JobError as error:
            problems += error.problems
        except UsageError as error:  # a folder that is no run; the other jobs are checked all the same
            problems.append(Problem((), str(error).removeprefix(f"{path} "), "no-file", Place(path)))
        else:
            unchecked += 0 if with_plugins else count
            if not as_json:
                output.say(
                    f"{path}: well formed" + (f", its {_plugins(count)} checked" if with_plugins and count else "")
                )
    if as_json:
        output.as_json([output.problem_json(problem) for problem in problems])
    elif unchecked:
        output.say(f"The arguments of {_plugins(unchecked)} were not checked; `optimctl validate --plugins` does that.")
    if problems:
        if not as_json:
            output.error(JobError(problems))
        raise click.exceptions.Exit(JobError.exit_code)


def _check_arguments(job: Job) -> None:
    from optimctl.arguments import check_arguments

    with output.plugins_at_work():
        check_arguments(job)


def _plugins_in(job: Job) -> int:
    """How many plugins a job names: the wrapper and the constructor that stand where nothing is said take nothing of the job's."""
    from optimctl.job.named import plugin_tables
    from optimctl.job.schema import ConstructorTable

    tables = [
        table for _, table in plugin_tables(job) if not (isinstance(table, ConstructorTable) and table.is_default)
    ]
    return sum("type" in table.model_fields_set for table in tables)


def _plugins(count: int) -> str:
    return f"{count} plugin{'s' * (count != 1)}"
