"""A table whose numbers are never cut: on a narrow screen it has fewer columns, and at last none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from optimctl.errors import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

GAP = 2
"""Columns of the screen between two of the table."""
FLOWING = 16
"""Columns of the screen that a flowing text needs at least, where it is longer."""


@dataclass(frozen=True)
class Grid:
    """Rows of numbers below headings, as wide as the screen allows.

    Args:
        headings: One a column; they may break between words.
        rows: The cells of each row.
        needed: The columns from the left without which the rows are told as sentences instead; others are left out first.
        flows: Whether the last column is text that breaks anywhere; the others are numbers.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    needed: int
    flows: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        columns = [[visible(cell) for cell in column] for column in zip(self.headings, *self.rows, strict=True)]
        widths = self._widths(columns, options.max_width)
        if len(widths) < self.needed:
            yield from map(Text, self._sentences(columns))
            return
        yield self._table(columns, widths)
        left_out = len(columns) - len(widths)
        if left_out:
            yield Text(f"and {left_out} more column{'s' * (left_out > 1)}, for which the screen is too narrow")

    def _widths(self, columns: Sequence[Sequence[str]], room: int) -> list[int]:
        """The widths of the columns that find room: the least first, then, from the left, what each would like."""
        widths: list[int] = []
        for index, column in enumerate(columns):
            least = _longest(column, FLOWING) if self.flows and index == len(columns) - 1 else _least(column)
            if sum(widths) + GAP * len(widths) + least > room:
                break
            widths.append(least)
        spare = room - sum(widths) - GAP * (len(widths) - 1)
        for index in range(len(widths)):
            more = min(spare, _longest(columns[index], room) - widths[index])
            widths[index], spare = widths[index] + more, spare - more
        return widths

    def _table(self, columns: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, show_edge=False)
        for index, (column, width) in enumerate(zip(columns, widths, strict=False)):
            flows = self.flows and index == len(columns) - 1
            table.add_column(Text(column[0]), justify="left" if flows else "right", width=width, overflow="fold")
        for row in zip(*(column[1:] for column in columns[: len(widths)]), strict=True):
            table.add_row(*map(Text, row))
        return table

    def _sentences(self, columns: Sequence[Sequence[str]]) -> Iterator[str]:
        headings, *rows = zip(*columns, strict=True)
        for row in rows:
            yield ", ".join(f"{heading} {cell}" for heading, cell in zip(headings, row, strict=True) if cell)


def _longest(column: Sequence[str], most: int) -> int:
    return min(most, max(map(cell_len, column)))


def _least(column: Sequence[str]) -> int:
    """The width of the longest number, or of the longest word above it."""
    heading, *cells = column
    return max(cell_len(text) for text in [*heading.split(), *cells, ""])
