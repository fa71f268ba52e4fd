"""The options that commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from optimctl.cli import output
from optimctl.cli.completion import folders
from optimctl.errors import UsageError

if TYPE_CHECKING:
    from optimctl.job.schema import Job

Command = TypeVar("Command", bound=Callable[..., Any])
_TRACEBACK = "optimctl.traceback"


def wants_traceback(context: click.Context | None) -> bool:
    """Whether the command line had ``--traceback``."""
    return bool(context and context.meta.get(_TRACEBACK))


def _remember_traceback(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[_TRACEBACK] = value


def _name_project(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        os.environ["OPTIMCTL_PROJECT"] = value  # child processes see it too


def common_options(command: Command) -> Command:
    """``--project`` and ``--traceback``, which every command takes."""
    for option in (
        click.option(
            "--traceback",
            is_flag=True,
            expose_value=False,
            callback=_remember_traceback,
            help="Show the whole traceback of an error.",
        ),
        click.option(
            "--project",
            metavar="DIR",
            expose_value=False,
            callback=_name_project,
            is_eager=True,
            shell_complete=folders,
            help="The folder whose pyproject.toml names your own plugins.  [default: the nearest above the working directory]",
        ),
    ):
        command = option(command)
    return command


def job_options(command: Command) -> Command:
    """``--set`` and ``--unset``, which every command takes that reads a job."""
    for option in (
        click.option("--unset", "unset", metavar="KEY", multiple=True, help="Take a key away; may be repeated."),
        click.option(
            "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Set a key to a TOML value; may be repeated."
        ),
    ):
        command = option(command)
    return command


def run_folder(path: str) -> Path | None:
    """The run that a path stands for, which is its folder; None where it stands for a job, which is a file.

    Raises:
        UsageError: It is the folder of something else.
    """
    from optimctl.train.finished import is_run, newest_run

    if is_run(path):
        return Path(path)
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        return None
    newest = newest_run(Path(path))
    hint = (
        f"; the newest run in it is {newest}"
        if newest
        else "; a job is a file, and a run is a folder that `optimctl run` made"
    )
    raise UsageError(f"{path} is a folder, and not that of a run{hint}")


def read_job(path: str, overrides: tuple[str, ...], unset: tuple[str, ...]) -> Job:
    """The job in a file, or that of a run's folder."""
    from optimctl.plugins import installed

    installed()  # before pydantic comes: see `find`

    from optimctl.job.load import load_job

    run = run_folder(path)
    job = load_job(run / "job.toml" if run else path, overrides, unset)
    for dropped in job.dropped:
        output.say(f"note: {dropped}")
    _tell_claims(job)
    return job


def _tell_claims(job: Job) -> None:
    """Somebody else claims a name of optimctl's that the job uses: ours answers, and not in silence."""
    from optimctl.job.named import answering, plugin_tables
    from optimctl.plugins import OWN, installed

    used = {claim for _, table in plugin_tables(job) if "/" not in table.type and (claim := answering(table))}
    for claims in installed().conflicts():
        others = [f"'{claim.qualified}'" for claim in claims if claim.distribution != OWN]
        if any(claim in used and claim.distribution == OWN for claim in claims):
            output.say(
                f"warning: '{claims[0].name}' means optimctl's own here; for the other one write {' or '.join(others)}"
            )


__all__ = ["common_options", "job_options", "read_job", "run_folder", "wants_traceback"]
