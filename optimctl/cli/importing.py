"""``optimctl import``: jobs out of another format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optimctl.cli import output
from optimctl.cli.files import NewFile, write_all
from optimctl.cli.formats import ImportCommand, format_argument, format_option, load_format, read_options, their_code
from optimctl.cli.options import common_options
from optimctl.errors import OptimctlError, PluginError, UsageError, key_text, listing, visible

if TYPE_CHECKING:
    from optimctl.export.imported import Imported
    from optimctl.plugins import LoadedPlugin


@click.command("import", cls=ImportCommand)
@format_argument("importers")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "-o",
    "target",
    metavar="JOB_OR_FOLDER",
    help="Write a job to a file that ends in .toml, or one or more into a folder.  [default: print it, where it is one]",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@format_option
@common_options
def import_(
    format_name: str, files: tuple[str, ...], target: str | None, force: bool, options: tuple[str, ...]
) -> None:
    """Read jobs from files of another format.

    `optimctl import FORMAT --help` tells what a format is; installed packages may bring more. What several files build on is
    written once, and they extend it.

    Exit codes: 1 where some of several files could not be read; the others are written.
    """
    loaded = load_format("importers", format_name)
    own = read_options(loaded, options)
    read, failed = _read_all(loaded, files, own)
    places = _places(read, files, target)
    for imported in read.values():
        _check(loaded, imported, read)
    if target is None:
        output.data(_text(next(iter(read.values())), places), end="")
    else:
        _write(read, places, force)
    _tell(read, places, files, failed, to_data=target is not None)
    if failed:
        raise click.exceptions.Exit(1)


def _read_all(
    loaded: LoadedPlugin, files: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[Path, Imported], dict[str, str]]:
    """What came of all files, by what it was read from, and why others could not be read; those are told.

    Raises:
        OptimctlError: None of the files can be read.
    """
    read: dict[Path, Imported] = {}
    failed: dict[str, str] = {}
    for file in files:
        try:
            for imported in _read(loaded, file, options):
                place = _real(imported.file)
                if imported.told or place not in read:  # a file that others build on may be asked for, too
                    read[place] = imported
        except OptimctlError as error:
            failed[file] = str(error).splitlines()[0]
            if len(failed) == len(set(files)):
                raise
            output.error(error)
    return read, failed


def _read(loaded: LoadedPlugin, file: str, options: Mapping[str, Any]) -> list[Imported]:
    from optimctl.export.imported import Imported

    if not os.path.exists(file):  # noqa: PTH110 - never raises
        raise UsageError(f"there is no file {visible(file)}")
    with their_code(loaded):
        made = loaded.object(Path(file), **options)
        several = list(made) if isinstance(made, Iterable) else [made]
    if not several or not all(isinstance(one, Imported) for one in several):
        what = listing(sorted({type(one).__name__ for one in several})) or "nothing"
        raise PluginError(f"{loaded} returned {what}; an importer returns an Imported, or several", "wrong-kind")
    return several


def _real(file: Path) -> Path:
    """What makes two names one file."""
    return Path(os.path.realpath(file))


# --- where each goes --------------------------------------------------------------------------------------------------


def _places(read: Mapping[Path, Imported], files: Sequence[str], target: str | None) -> dict[Path, Path]:
    """The job file that each becomes: in the folder as they lie among each other.

    Raises:
        UsageError: Several would be printed, or become the same file.
    """
    if len(read) == 1 and (target is None or target.endswith(".toml")):
        return dict.fromkeys(read, Path(target or "job.toml"))
    if target is None or target.endswith(".toml"):
        names = listing(str(imported.file) for imported in read.values())
        raise UsageError(f"{len(read)} jobs come of this, of {names}; name a folder for them, as with -o jobs")
    root = os.path.commonpath([file.parent for file in read])
    places = {file: Path(target) / file.relative_to(root).with_suffix(".toml") for file in read}
    by_place: dict[Path, list[Path]] = {}
    for file, place in places.items():
        by_place.setdefault(place, []).append(file)
    for place, those in by_place.items():
        if len(those) > 1:
            raise UsageError(f"{listing(map(str, those))} would all become {place}; import them one by one")
    return places


def _text(imported: Imported, places: Mapping[Path, Path]) -> str:
    """The job file, which extends others by their paths from where it is."""
    from optimctl.job.write import Document

    here = places[_real(imported.file)].parent
    bases = [Path(os.path.relpath(places[_real(base)], here)).as_posix() for base in imported.extends]
    extends = {"extends": bases[0] if len(bases) == 1 else bases} if bases else {}
    return Document({**extends, **imported.document.data}, imported.document.comments).text()


def _check(loaded: LoadedPlugin, imported: Imported, read: Mapping[Path, Imported]) -> None:
    """A file of a job holds values of TOML, and builds on what is written too."""
    from optimctl.job.write import not_toml

    missing = [str(base) for base in imported.extends if _real(base) not in read]
    if missing:
        message = f"{loaded} says that {imported.file} builds on {listing(missing)}, and does not say what is in it"
        raise PluginError(message, "wrong-kind")
    for key, value in not_toml(imported.document.data):
        raise UsageError(f"{imported.file}: {key_text(key)}: {value!r} is no value of TOML; take it out")


# --- what is left and told --------------------------------------------------------------------------------------------


def _write(read: Mapping[Path, Imported], places: Mapping[Path, Path], force: bool) -> None:
    there = [str(place) for place in places.values() if os.path.lexists(place)]
    if there and not force:
        are, them = ("is", "it") if len(there) == 1 else ("are", "them")
        raise UsageError(f"{listing(there, 3)} {are} already there; --force replaces {them}")
    write_all(
        [
            NewFile(places[file], _text(imported, places).encode(), "", "wb" if force else "xb")
            for file, imported in read.items()
        ]
    )


def _tell(
    read: Mapping[Path, Imported],
    places: Mapping[Path, Path],
    files: Sequence[str],
    failed: Mapping[str, str],
    to_data: bool,
) -> None:
    """A line for each file that was asked for: what it became, and what the importer says of it, or why it was not read."""
    names = {_real(Path(file)): file for file in files if file not in failed}
    columns = list(dict.fromkeys(column for file in names for column in read[file].told))
    if to_data:
        rows = [
            (name, str(places[file]), *(read[file].told.get(column, "") for column in columns))
            for file, name in names.items()
        ]
        rows += [(name, f"not read: {reason}", *("" for _ in columns)) for name, reason in failed.items()]
        output.table(("file", "job", *columns), rows)
        return
    for file in names:
        for column, text in read[file].told.items():
            output.say(visible(f"{column}: {text}"))
