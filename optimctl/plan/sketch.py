"""A curve as a few lines of text: what a schedule looks like, without leaving the terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:#"
WIDEST = 64
"""Columns; a wider sketch shows no more."""
ROWS = 4


@dataclass(frozen=True)
class Sketch:
    """A curve as bars from 0 up, as wide as the screen allows; what is negative is flat, what is not finite at the top.

    Args:
        heading: What stands above it.
        values: Evenly spread over the run.
        top: What the highest value is called, and ``end`` what the last point of the run is called.
    """

    heading: str
    values: Sequence[float]
    top: str
    end: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Segment]:
        bars = ASCII_BARS if options.ascii_only else BARS
        margin = max(len(self.top), 1) + 1
        width = max(8, min(WIDEST, options.max_width - margin - 1))
        yield Text(self.heading)
        for row, line in enumerate(_rows(self.values, width, bars)):
            label = self.top if row == 0 else "0" if row == ROWS - 1 else ""
            yield Text(f"{label:>{margin - 1}} {line}".rstrip())
        yield Text(f"{'1':>{margin + 1}}{self.end:>{width - 1}}")


def _rows(values: Sequence[float], width: int, bars: str) -> Iterator[str]:
    """The lines of the bars, the highest first."""
    highest, steps = max(filter(math.isfinite, values), default=0.0), len(bars) - 1
    full = ROWS * steps
    heights = [
        0 if value <= 0 else max(round(value / highest * full), 1) if value <= highest else full
        for value in _columns(values, width)
    ]
    for row in reversed(range(ROWS)):
        yield "".join(bars[min(max(height - row * steps, 0), steps)] for height in heights)


def _columns(values: Sequence[float], width: int) -> list[float]:
    """One value a column: the highest of those that fall into it, so that no peak is lost."""
    edges = [index * len(values) // width for index in range(width + 1)]
    return [max(values[first : max(last, first + 1)]) for first, last in itertools.pairwise(edges)]
