"""``optimctl export``: a job, or a run with its weights, in another format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.files import check_target, replace_file
from optimctl.cli.formats import ExportCommand, format_argument, format_option, load_format, read_options, their_code
from optimctl.cli.options import common_options, job_options, read_job, run_folder
from optimctl.errors import JobError, PluginError, UsageError

if TYPE_CHECKING:
    from optimctl.export.source import Source
    from optimctl.plugins import LoadedPlugin

_END = object()
"""What no exporter returns."""


@click.command(cls=ExportCommand)
@format_argument("exporters")
@click.argument("job_or_run", metavar="JOB_OR_RUN", shell_complete=job_files)
@click.option("-o", "file", metavar="FILE", help="Write it to a file.  [default: print it, where it is text]")
@click.option("--force", is_flag=True, help="Replace the file, if there is one.")
@click.option(
    "--checkpoint",
    metavar="best|last|PATH",
    help="Whose weights, for formats that have some.  [default: the best checkpoint where the run has one, else the last]",
)
@format_option
@job_options
@common_options
def export(
    format_name: str,
    job_or_run: str,
    file: str | None,
    force: bool,
    checkpoint: str | None,
    options: tuple[str, ...],
    overrides: tuple[str, ...],
    unset: tuple[str, ...],
) -> None:
    """Write a job, or a run, in another format; a job is a file, a run its folder.

    `optimctl export FORMAT --help` tells what a format is; installed packages may bring more.
    """
    _refuse_checkpoint(format_name, job_or_run)
    target = check_target(file, force)
    loaded = load_format("exporters", format_name)
    if target is None and getattr(loaded.object, "binary", False):
        raise UsageError(_not_for_a_screen(format_name, job_or_run))
    own, needs = read_options(loaded, options), _needs(loaded)
    run, chosen = _chosen(loaded, needs, job_or_run, checkpoint)
    if run is not None and (overrides or unset):
        raise UsageError(f"--set and --unset change a job, and {run} is a run; its job is {run / 'job.toml'}")
    job = read_job(job_or_run, overrides, unset)

    from optimctl.export.source import Source

    source = Source(job, run, chosen, tell=lambda text: output.say(output.visible_lines(text)))
    made = _made(loaded, source, own)
    if target is None and isinstance(made, bytes):
        raise UsageError(_not_for_a_screen(format_name, job_or_run))
    size = _write_or_print(target, _pieces(loaded, made), force)
    if target is not None:
        what = _what(source) if needs == "run" else job_or_run
        output.say(output.visible(f"{target}: {format_name} of {what}, {size:,} bytes"))


def _write_or_print(target: Path | None, pieces: Iterator[bytes], force: bool) -> int:
    """Bring the pieces to where they go, as they come; returns the bytes of a file."""
    if target is not None:
        return replace_file(target, pieces, force)
    for piece in pieces:
        output.data(piece.decode(), end="")
    return 0


def _made(loaded: LoadedPlugin, source: Source, options: Mapping[str, Any]) -> Any:
    """What the exporter returns; its problems with the job are told with their places."""
    try:
        with their_code(loaded):
            return loaded.object(source, **options)
    except JobError as error:
        raise JobError(source.job.located(error.problems)) from error


def _chosen(
    loaded: LoadedPlugin, needs: str, job_or_run: str, checkpoint: str | None
) -> tuple[Path | None, Path | None]:
    """The run, where one is exported, and the checkpoint, where the exporter wants one."""
    from optimctl.train.finished import checkpoints, find_checkpoint

    run = run_folder(job_or_run)
    if needs == "job":
        if checkpoint is not None:
            raise UsageError(f"{loaded.plugin.name} exports a job, which has no weights; leave --checkpoint out")
        return run, None
    if run is None:
        return None, _beside_a_job(loaded, needs, job_or_run, checkpoint)
    has_any = checkpoint is not None or needs == "run" or bool(checkpoints(run))
    return run, find_checkpoint(run, checkpoint) if has_any else None


def _beside_a_job(loaded: LoadedPlugin, needs: str, job: str, checkpoint: str | None) -> Path | None:
    """The checkpoint that goes with a job, which is a file."""
    if checkpoint is None and needs == "either":
        return None
    if checkpoint in (None, "best", "last"):
        way_out = "give the folder of one, or, beside the job, a file with --checkpoint PATH"
        raise UsageError(f"{loaded.plugin.name} exports the weights of a run, and {job} is none; {way_out}")
    if not os.path.isfile(checkpoint):  # noqa: PTH113 - never raises
        raise UsageError(f"there is no checkpoint '{checkpoint}'")
    return Path(checkpoint)


def _needs(loaded: LoadedPlugin) -> str:
    needs: Any = getattr(loaded.object, "needs", "job")
    if needs not in ("job", "run", "either"):
        raise PluginError(f"{loaded} says that it needs {needs!r}; it must be 'job', 'run' or 'either'", "wrong-kind")
    return str(needs)


def _refuse_checkpoint(name: str, path: str) -> None:
    """A checkpoint in place of its run: a person who has one in mind knows no better than to name it."""
    from optimctl.train.finished import is_run

    run = Path(path).parent.parent
    if path.endswith(".pt") and is_run(run):
        command = f"optimctl export {name} {run} --checkpoint {Path(path).name}"
        raise UsageError(f"{path} is a checkpoint; name its run, and behind it the checkpoint: {command}")


def _pieces(loaded: LoadedPlugin, made: Any) -> Iterator[bytes]:
    """What the exporter returned, piece after piece; one that computes while it is read does so as their code."""
    if isinstance(made, bytes):
        yield made
        return
    if not isinstance(made, Iterable) or isinstance(made, Mapping):
        raise _wrong_kind(loaded, _with_article(made))
    rest = iter([made] if isinstance(made, str) else made)
    while True:
        with their_code(loaded):
            piece = next(rest, _END)
        if piece is _END:
            return
        if not isinstance(piece, str):
            raise _wrong_kind(loaded, f"pieces of {type(piece).__name__}")
        yield _encoded(loaded, piece)


def _encoded(loaded: LoadedPlugin, piece: str) -> bytes:
    try:
        return piece.encode()
    except UnicodeEncodeError as error:  # half of a pair
        raise _wrong_kind(loaded, f"{piece[error.start]!r}, which is no text") from error


def _with_article(made: Any) -> str:
    name = type(made).__name__
    return "nothing" if made is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _wrong_kind(loaded: LoadedPlugin, what: str) -> PluginError:
    return PluginError(f"{loaded} returned {what}; an exporter returns text, bytes, or pieces of text", "wrong-kind")


def _what(source: Source) -> str:
    return f"{source.checkpoint}{', averaged weights' if source.weights.averaged else ''}"


def _not_for_a_screen(name: str, job_or_run: str) -> str:
    return f"{name} is no text that could be printed; name a file, as in: optimctl export {name} {job_or_run} -o FILE"
