"""A file of a job, from its path to its text; whatever stands in the way is named."""

from __future__ import annotations

import codecs
import os
import stat

from optimctl.errors import JobError, Place, Problem, nearest

LARGEST = 2**18
"""Bytes; a job is written by people, and a larger file is something else. What fits is read within a second or two."""

_TOML = ".toml"


def read_text(path: str, chain: tuple[str, ...] = ()) -> str:
    """The text of a file.

    Raises:
        JobError: There is none, it is no regular file (a pipe is never opened), too large, or not UTF-8.
    """
    here = Place(path, chain=chain)
    try:
        status = os.stat(path)  # noqa: PTH116 - as the user wrote it
        if not stat.S_ISREG(status.st_mode):
            raise _error(f"is {_sort_of_file(status.st_mode)}, and a job is a file", "no-file", here)
        if status.st_size > LARGEST:
            message = f"has {_size_text(status.st_size)}; a job has at most {_size_text(LARGEST)}"
            raise _error(message, "too-large", here)
        with open(path, "rb") as file:  # noqa: PTH123
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise _error(f"there is no such file{_nearest_file(path)}", "no-file", here) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _error(f"cannot be read: {reason}", "no-file", here) from error
    return _decoded(content, here)


def _size_text(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def _sort_of_file(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a named pipe" if stat.S_ISFIFO(mode) else "no regular file"


def _nearest_file(path: str) -> str:
    folder, name = os.path.split(path)
    try:
        stems = [entry.name.removesuffix(_TOML) for entry in os.scandir(folder or ".") if entry.name.endswith(_TOML)]
    except (OSError, ValueError):
        return ""
    return nearest(name.removesuffix(_TOML), stems).replace("'?", f"{_TOML}'?")


def _decoded(content: bytes, here: Place) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].rpartition(b"\n")[2].decode()
        place = Place(here.source, content.count(b"\n", 0, error.start) + 1, len(line) + 1, chain=here.chain)
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "is UTF-16" if utf16 else f"the byte 0x{content[error.start]:02x} is not UTF-8"
        raise _error(f"{what}; save the file as UTF-8", "encoding", place) from error


def _error(message: str, code: str, place: Place) -> JobError:
    return JobError([Problem((), message, code, place)])
