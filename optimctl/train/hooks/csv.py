"""``CSV``: the records of a run as a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from optimctl.train.hooks.tracker import Tracker

if TYPE_CHECKING:
    from pathlib import Path

    from optimctl.train.folder import RunFolder
    from optimctl.train.loop import Run


class CSV(Tracker):
    """Writes ``metrics.csv`` into the run's folder: a line a record, a column a value.

    A value that comes for the first time brings a new column; older lines are empty there. A line is written at once, and
    the table, when it gets a column, beside its place: whatever ends the process, whole lines are left. A resumed run goes on
    after the lines up to its checkpoint.
    """

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._file: IO[bytes] | None = None

    def begin(self, run: Run, folder: RunFolder) -> None:
        """Take over the lines up to here, where there are some."""
        self._path = folder.path / "metrics.csv"
        self._columns, rows = _read(self._path)
        self._write_whole([row for row in rows if _iteration(row) <= run.iteration])

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a line, and columns for what is new."""
        new = [name for name in record if name not in self._columns]
        if new:
            self._columns += new
            self._write_whole(_read(self._path)[1])
        if self._file is not None:
            self._file.write(_line([record.get(name) for name in self._columns]))

    def end(self, run: Run) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_whole(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Write the table anew, and leave it open for further lines."""
        if self._file is not None:
            self._file.close()
        lines = [_line(self._columns)] if self._columns else []
        lines += [_line([row.get(name) for name in self._columns]) for row in rows]
        beside = self._path.with_name(f".{self._path.name}.part")
        beside.write_bytes(b"".join(lines))
        os.replace(beside, self._path)  # noqa: PTH105
        self._file = self._path.open("ab", buffering=0)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the whole lines of a table; of one that is not there, none."""
    if not path.exists():
        return [], []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    reader = csv.DictReader(whole.splitlines())
    return list(reader.fieldnames or ()), list(reader)


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _iteration(row: Mapping[str, str]) -> int:
    return int(row["iteration"])
