"""Files that a command leaves behind: all of them, or, where one cannot be written, none."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from optimctl.errors import UsageError


@dataclass(frozen=True)
class NewFile:
    """A file to write, to write anew, or to go on with."""

    path: Path
    content: bytes
    what: str
    """What it is, for the person who asked for it."""
    mode: str = "xb"
    """As for ``open``: ``xb`` for a file that must not be there yet, ``ab`` to go on with one, ``wb`` to write it anew."""


def write_all(files: Sequence[NewFile]) -> None:
    """Write the files, and the folders that they need.

    Raises:
        UsageError: One cannot be written, or is there already; what had been done is undone.
    """
    with ExitStack() as undo:
        for file in files:
            try:
                _make_folder(file.path.parent, undo)
                _write(file, undo)
            except OSError as error:
                raise UsageError(f"{file.path} cannot be written: {error.strerror}") from error
        undo.pop_all()


def check_target(file: str | None, force: bool) -> Path | None:
    """Where one file is to be written, told before anything is waited for; None where it is stdout.

    Raises:
        UsageError: There is something already, or no folder to write it into.
    """
    if file is None or file == "-":
        return None
    path = Path(file)
    if not file:
        raise UsageError("'' is no name of a file")
    if not path.name or file.endswith("/") or os.path.isdir(file):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise UsageError(f"'{file}' is a folder; name a file in it")
    if os.path.exists(file) and not os.path.isfile(file):  # noqa: PTH110, PTH113
        raise UsageError(f"'{file}' is there, and no regular file; name another one")
    if os.path.lexists(file) and not force:
        raise _already_there(path)
    folder = _behind_links(path).parent if os.path.islink(file) else path.parent  # noqa: PTH114
    if not os.path.isdir(folder):  # noqa: PTH112
        raise UsageError(f"'{file}' cannot be written: there is no folder {folder}")
    return path


def replace_file(file: Path, pieces: Iterable[bytes], force: bool) -> int:
    """Write the whole file or nothing, beside its place and then renamed; returns its size in bytes.

    Of a file that is replaced, the mode stays, and so does a link to it.

    Raises:
        UsageError: It cannot be written there; without ``force``, it has come there in the meantime.
    """
    place = _behind_links(file) if force else file
    beside = place.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as stream:
            if place.exists():
                shutil.copymode(place, beside)
            size = sum(map(stream.write, pieces))
        _rename(beside, place, force)
    except FileExistsError as error:
        raise _already_there(file) from error
    except OSError as error:
        raise UsageError(f"'{file}' cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return size


def _behind_links(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _already_there(file: Path) -> UsageError:
    return UsageError(f"'{file}' is already there; --force replaces it")


def _rename(beside: Path, place: Path, force: bool) -> None:
    """Give a file its name; without ``force``, it takes that from nobody."""
    if not force:
        try:
            os.link(beside, place)  # fails where there is something, which a rename does not
        except FileExistsError:
            raise
        except OSError:  # a file system without links: look once more
            if os.path.lexists(place):
                raise FileExistsError from None
        else:
            return
    os.replace(beside, place)  # noqa: PTH105


def _make_folder(folder: Path, undo: ExitStack) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent, undo)
        folder.mkdir()
        undo.callback(_remove_folder, folder)


def _write(file: NewFile, undo: ExitStack) -> None:
    before = file.path.read_bytes() if file.mode != "xb" and file.path.exists() else None
    with file.path.open(file.mode) as stream:
        undo.callback(_put_back, file.path, before)
        stream.write(file.content)


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _put_back(path: Path, before: bytes | None) -> None:
    with suppress(OSError):
        if before is None:
            path.unlink()
            return
        with path.open("r+b") as stream:
            stream.write(before)
            stream.truncate()
