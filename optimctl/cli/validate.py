"""``optimctl validate``: is the job well formed?"""

from __future__ import annotations

import click

from optimctl.cli import output
from optimctl.cli.options import common_options, job_options, read_job


@click.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
@job_options
@common_options
def validate(jobs: tuple[str, ...], as_json: bool, overrides: tuple[str, ...], unset: tuple[str, ...]) -> None:
    """Check jobs without running them: keys, values, and that the plugins they name are installed."""
    from optimctl.errors import JobError, Problem
    from optimctl.job.named import plugin_tables

    problems: list[Problem] = []
    unchecked = 0
    for path in jobs:
        try:
            unchecked += sum(1 for _ in plugin_tables(read_job(path, overrides, unset)))
        except JobError as error:
            problems += error.problems
        else:
            if not as_json:
                output.say(f"{path}: well formed")
    if unchecked and not as_json:
        output.say(f"The arguments of {unchecked} plugins were not checked; `optimctl inspect` does that.")
    if as_json:
        output.as_json([output.problem_json(problem) for problem in problems])
    if problems:
        if not as_json:
            output.error(JobError(problems))
        raise click.exceptions.Exit(JobError.exit_code)
