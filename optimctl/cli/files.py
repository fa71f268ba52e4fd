"""Files that a command leaves behind: all of them, or, where one cannot be written, none."""

from __future__ import annotations

import os
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


def check_target(file: str, force: bool) -> Path:
    """Where one file is to be written, told before anything is waited for.

    Raises:
        UsageError: There is something already, or no folder to write it into.
    """
    path = Path(file)
    if not path.name or file.endswith("/") or os.path.isdir(file):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise UsageError(f"'{file}' is a folder; name a file in it")
    if not os.path.lexists(file):
        if not path.parent.is_dir():
            raise UsageError(f"'{file}' cannot be written: there is no folder {path.parent}")
    elif not os.path.isfile(file):  # noqa: PTH113
        raise UsageError(f"'{file}' is there, and no regular file; name another one")
    elif not force:
        raise UsageError(f"'{file}' is already there; --force replaces it")
    return path


def replace_file(file: Path, pieces: Iterable[str | bytes]) -> int:
    """Write the whole file or nothing, beside its place and then renamed; returns its size in bytes.

    Raises:
        UsageError: It cannot be written there.
    """
    beside = file.with_name(f".{file.name}.part")
    try:
        with beside.open("wb") as stream:
            size = sum(stream.write(piece.encode() if isinstance(piece, str) else piece) for piece in pieces)
        beside.replace(file)
    except OSError as error:
        raise UsageError(f"'{file}' cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
    return size


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
