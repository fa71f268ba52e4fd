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
    to = None if target == "-" else target
    _check_bases(loaded, read)
    places = _places(read, to)
    names = {_real(Path(file)): file for file in files if file not in failed}
    if to is None:
        output.data(_text(next(iter(read.values())), places), end="")
        _say_results(read, names)
    else:
        _write(read, places, force)
        _show_results(read, places, names, failed)
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
            several = _read(loaded, file, options)
        except OptimctlError as error:
            failed[file] = str(error).splitlines()[0]
            if len(failed) == len(set(files)):
                raise
            output.error(error)
            continue
        for imported in several:
            place = _real(imported.file)
            if imported.told or place not in read:  # a file that others build on may be asked for, too
                read[place] = imported
    return read, failed


def _read(loaded: LoadedPlugin, file: str, options: Mapping[str, Any]) -> list[Imported]:
    """What the importer makes of one file, checked for itself."""
    if not os.path.exists(file):  # noqa: PTH110 - never raises
        raise UsageError(f"there is no file {visible(file)}")
    with their_code(loaded):
        made = loaded.object(Path(file), **options)
        several = list(made) if isinstance(made, Iterable) else [made]
    _check_kinds(loaded, several)
    if _real(Path(file)) not in [_real(imported.file) for imported in several]:
        raise PluginError(f"{loaded} returned nothing of {file} itself; an importer returns that, too", "wrong-kind")
    for imported in several:
        _check_values(imported)
    return several


def _check_kinds(loaded: LoadedPlugin, several: Sequence[Any]) -> None:
    from optimctl.export.imported import Imported
    from optimctl.job.write import Document

    if not several or not all(isinstance(one, Imported) for one in several):
        what = listing(sorted({type(one).__name__ for one in several})) or "nothing"
        raise PluginError(f"{loaded} returned {what}; an importer returns an Imported, or several", "wrong-kind")
    for one in several:
        if not isinstance(one.document, Document) or not isinstance(one.document.data, Mapping):
            what = f"{loaded} returned an Imported whose document is no Document of a table"
            raise PluginError(f"{what}; write Imported(file, Document({{...}}))", "wrong-kind")


def _check_values(imported: Imported) -> None:
    """A file of a job holds values of TOML."""
    from optimctl.job.syntax import DEEPEST
    from optimctl.job.write import not_toml

    data = {"extends": list(map(str, imported.extends)), **imported.document.data}
    for key, value in not_toml(data):
        if len(key) > DEEPEST:
            raise UsageError(f"{imported.file} is nested deeper than {DEEPEST} levels")
        if value is None:
            raise UsageError(f"{imported.file}: {key_text(key)}: TOML has no null; leave the key out")
        raise UsageError(f"{imported.file}: {key_text(key)}: {value!r} is no value of TOML; take it out")


def _real(file: Path) -> Path:
    """What makes two names one file."""
    return Path(os.path.realpath(file))


# --- where each goes --------------------------------------------------------------------------------------------------


def _places(read: Mapping[Path, Imported], target: str | None) -> dict[Path, Path]:
    """The job file that each becomes: in the folder as they lie among each other.

    Raises:
        UsageError: Several would be printed, or become the same file.
    """
    to_file = target is None or target.endswith(".toml")
    if len(read) == 1 and to_file:
        return dict.fromkeys(read, Path(target or "job.toml"))
    if target is None or to_file:
        names = listing(str(imported.file) for imported in read.values())
        raise UsageError(f"{len(read)} jobs come of this, of {names}; name a folder for them, as with -o jobs")
    if len(read) == 1:
        _refuse_suffix(target)
    return _in_folder(read, target)


def _refuse_suffix(target: str) -> None:
    """Where one job is imported, `-o job.txt` means no folder."""
    if os.path.splitext(target)[1] and not target.endswith("/") and not os.path.isdir(target):  # noqa: PTH112, PTH122
        raise UsageError(
            f"a job's file ends in .toml, and '{target}' does not; for a folder of that name: -o {target}/"
        )


def _in_folder(read: Mapping[Path, Imported], target: str) -> dict[Path, Path]:
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


def _check_bases(loaded: LoadedPlugin, read: Mapping[Path, Imported]) -> None:
    """A file builds on what is written too, and not on itself."""
    from graphlib import CycleError, TopologicalSorter

    bases = {file: [_real(base) for base in imported.extends] for file, imported in read.items()}
    for imported in read.values():
        missing = [str(base) for base in imported.extends if _real(base) not in read]
        if missing:
            message = f"{loaded} says that {imported.file} builds on {listing(missing)}, and does not say what is in it"
            raise PluginError(message, "wrong-kind")
    try:
        TopologicalSorter(bases).prepare()
    except CycleError as error:
        circle = [str(read[file].file) for file in dict.fromkeys(error.args[1])]
        build = "builds on itself" if len(circle) == 1 else "build on each other"
        raise PluginError(f"{loaded} says that {listing(circle)} {build}", "wrong-kind") from error


# --- what is left and told --------------------------------------------------------------------------------------------


def _write(read: Mapping[Path, Imported], places: Mapping[Path, Path], force: bool) -> None:
    """All files but those that are there already, byte for byte: a base that an earlier import has written."""
    mode = "wb" if force else "xb"
    files = [NewFile(places[file], _text(imported, places).encode(), "", mode) for file, imported in read.items()]
    new = [file for file in files if not _is_there(file)]
    there = [str(file.path) for file in new if os.path.lexists(file.path)]
    if there and not force:
        are, them = ("is", "it") if len(there) == 1 else ("are", "them")
        raise UsageError(f"{listing(there, 3)} {are} already there; --force replaces {them}")
    write_all(new)


def _is_there(file: NewFile) -> bool:
    try:
        return file.path.read_bytes() == file.content
    except OSError:
        return False


def _show_results(
    read: Mapping[Path, Imported], places: Mapping[Path, Path], names: Mapping[Path, str], failed: Mapping[str, str]
) -> None:
    """A line for each file that was asked for: what it became, and what the importer says of it; why one was not read is told already."""
    columns = list(dict.fromkeys(column for file in names for column in read[file].told))
    rows = [
        (name, str(places[file]), *(read[file].told.get(column, "") for column in columns))
        for file, name in names.items()
    ]
    rows += [(name, "not read", *("" for _ in columns)) for name in failed]
    output.table(("file", "job", *columns), rows)


def _say_results(read: Mapping[Path, Imported], names: Iterable[Path]) -> None:
    """What the importer says of a job that was printed, beside it."""
    for file in names:
        for column, text in read[file].told.items():
            output.say(visible(f"{column}: {text}"))
