"""The only door to the screen: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import platform
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

import click

from optimctl.errors import JobError, OptimctlError, Problem, RunFailed, key_text, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

AROUND = 120
"""Characters that are shown before and behind the place of a mistake, in a line that has more than twice as many."""
WIDE = 1000
"""The width of a page that no terminal shows: whoever reads it cuts it himself."""


def data(text: str, end: str = "\n") -> None:
    """A line of the command's answer; with an empty ``end``, a piece of it.

    Raises:
        RunFailed: It cannot be written; a reader that went away is none of our business.
    """
    if sys.stdout is None:  # as behind `>&-`
        raise RunFailed("stdout cannot be written: it is closed")
    try:
        click.echo(text + end, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunFailed(f"stdout cannot be written: {error.strerror}") from error


@contextmanager
def plugins_at_work() -> Iterator[None]:
    """Other people's code runs inside: what it prints to stdout, which is for data, goes to stderr."""
    with redirect_stdout(sys.stderr):
        yield


def as_json(value: Any) -> None:
    """The command's answer, for a program."""
    from optimctl.train.folder import finite

    data(json.dumps(finite(value), indent=2, allow_nan=False, default=str))


def say(text: str) -> None:
    """A line that is not the answer: what is going on, what is worth knowing. Nobody reading it stops nothing."""
    with suppress(OSError, ValueError, AttributeError):
        click.echo(text, err=True)


def console(stream: TextIO | None = None) -> Console:
    """A rich console: as wide as the terminal, or wide enough for anything where there is none."""
    from rich.console import Console

    out = sys.stdout if stream is None else stream
    return Console(file=out, width=None if out and out.isatty() else WIDE, highlight=False, soft_wrap=False)


def page(*parts: RenderableType) -> None:
    """Tables and paragraphs of the command's answer."""
    screen = console()
    with screen.capture() as captured:
        for part in parts:
            screen.print(part)
    for line in captured.get().splitlines():
        data(line.rstrip())


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table of the command's answer, a line a row: what a terminal cannot show goes on in its next line."""
    lines = [[visible(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(_cells, column)) for column in zip(*lines, strict=True)]
    padded = ([cell + " " * (width - _cells(cell)) for cell, width in zip(line, widths, strict=True)] for line in lines)
    data("\n".join("  ".join(line).rstrip() for line in padded))


def error(problem: OptimctlError, *, with_traceback: bool = False) -> None:
    """An error, to stderr."""
    if with_traceback:
        traceback.print_exception(problem, file=sys.stderr)
    if isinstance(problem, JobError):
        for each in problem.problems:
            say(problem_text(each))
        if len(problem.problems) > 1:
            say(f"{len(problem.problems)} problems")
    else:
        say(f"optimctl: {visible_lines(str(problem))}")


def problem_text(problem: Problem) -> str:
    """A problem as a sentence; below it the line it is in, with a caret, and how the file was reached."""
    sentence, *advice = (_cut(line) for line in visible_lines(str(problem)).splitlines())
    lines = [sentence]
    place = problem.place
    if place and place.excerpt is not None and place.column is not None:
        lines += _caret(place.excerpt, place.column)
    lines += advice
    if place and place.chain:
        lines.append(f"    reached through {' > '.join(place.chain)}")
    return "\n".join(lines)


def _cut(line: str) -> str:
    return line if len(line) <= WIDE else f"{line[: WIDE // 2]}...{line[-WIDE // 2 :]}"


def _caret(line: str, column: int) -> list[str]:
    """A line and a caret below its column; of a line that no terminal holds, the part around it."""
    start = max(0, column - 1 - AROUND) if len(line) > 2 * AROUND else 0
    before, after = line[start : column - 1], line[column - 1 : start + 2 * AROUND]
    left, right = "..." if start else "", "..." if start + 2 * AROUND < len(line) else ""
    before, after = left + visible(before.replace("\t", " ")), visible(after.replace("\t", " ")) + right
    return [f"    {before}{after}", "    " + " " * _cells(before) + "^"]


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as the contract has it."""
    place = problem.place
    return {
        "file": place.source if place and not place.source.startswith("--") else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "key": key_text(problem.key),
        "code": problem.code,
        "message": problem.message,
    }


def bug() -> None:
    """An error that is optimctl's own: the traceback, and what a report needs."""
    from optimctl import __version__

    traceback.print_exc()
    torch = sys.modules.get("torch")
    versions = f"optimctl {__version__}, Python {platform.python_version()}, torch {getattr(torch, '__version__', 'not loaded')}"
    say(
        f"optimctl: this is a bug of optimctl; please report it with the lines above ({versions}, {platform.platform()})"
    )


def visible_lines(text: str) -> str:
    """``visible``, line by line."""
    return "\n".join(visible(line) for line in text.splitlines())


def _cells(text: str) -> int:
    """The columns that a text takes on a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


__all__ = [
    "WIDE",
    "as_json",
    "bug",
    "console",
    "data",
    "error",
    "page",
    "plugins_at_work",
    "problem_json",
    "problem_text",
    "say",
    "table",
    "visible",
    "visible_lines",
]
