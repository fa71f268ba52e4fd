"""Where a job's values come from: its files, the outermost last, and over them the options of the command.

Arrays replace and tables merge, so that a value that is in the resolved job was written by the last file that has its key.
Nothing needs to be remembered while merging.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, Place, Problem
from optimctl.job.merge import Dropped

if TYPE_CHECKING:
    from optimctl.job.locate import Index

AT_KEY = frozenset(
    {
        "bad-pattern",
        "exclusive-keys",
        "given-argument",
        "misplaced-key",
        "rule-matches-nothing",
        "unknown-argument",
        "unknown-key",
        "unknown-optimizer",
        "unknown-option",
    }
)
"""Codes of problems with a key itself; all others are shown at the key's value."""
MORE = "more-problems"
"""The code of the problem that stands for all that are not shown; it comes last."""


@dataclass(frozen=True)
class Source:
    """One file of a job; without a text where it is plain values from Python."""

    name: str
    """As the user would write it."""
    data: Mapping[str, Any]
    text: str | None = None
    chain: tuple[str, ...] = ()
    """The files that led here through ``extends``, outermost first."""
    unset: tuple[str, ...] = ()

    def place(self, key: Key, at_key: bool = False) -> Place:
        """Where the value at ``key`` stands, or its key itself; of the nearest ancestor where it is absent."""
        spot = self._index.find(key, at_key) if self.text is not None and key else None
        if spot is None:
            return Place(self.name, chain=self.chain)
        return Place(self.name, spot.line, spot.column, spot.excerpt, self.chain)

    @functools.cached_property
    def _index(self) -> Index:
        from optimctl.job.locate import Index  # only a question about a place pays for the parser

        return Index(self.text or "")


@dataclass(frozen=True)
class Option:
    """``--set KEY=VALUE`` or ``--unset KEY``."""

    flag: str
    text: str
    key: Key
    value: Any = None

    def __str__(self) -> str:
        return f"{self.flag} {self.text}"

    @property
    def place(self) -> Place:
        """The option itself."""
        return Place(str(self))


@dataclass(frozen=True)
class Origins:
    """All that a resolved job came from."""

    data: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    """In the order in which they are laid over each other: the job's own file is the last."""
    options: tuple[Option, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    file: str | None = None

    def place(self, key: Key, at_key: bool = False) -> Place | None:
        """Where ``key`` got its value: of its nearest ancestor that the job has, where it is absent."""
        present = _present(self.data, key)
        at_key = at_key and len(present) == len(key)
        setting = [option for option in self.options if option.flag == "--set"]
        for option in sorted(setting, key=lambda option: len(option.key), reverse=True):
            if _has(option.value, _below(present, option.key)):
                return option.place
        for source in reversed(self.sources):
            if present and _has(source.data, present):
                return source.place(present, at_key) if source.text is not None else None
        for option in setting:
            if present and _below(option.key, present) is not None:
                return option.place
        return Place(self.file) if self.file else None

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with their places, in the order of the files: the job's own first, the options last."""
        placed = [p if p.place else replace(p, place=self.place(p.key, p.code in AT_KEY)) for p in problems]
        files = [source.name for source in reversed(self.sources)]
        order = {name: index for index, name in reversed(list(enumerate([*files, *(_source(p) for p in placed)])))}
        return sorted(placed, key=lambda one: (one.code == MORE, order[_source(one)], *_line_and_column(one)))


def _source(problem: Problem) -> str:
    return problem.place.source if problem.place else ""


def _line_and_column(problem: Problem) -> tuple[int, int]:
    return (problem.place.line or 0, problem.place.column or 0) if problem.place else (0, 0)


def _present(data: Any, key: Key) -> Key:
    """The longest beginning of ``key`` that ``data`` has."""
    for length, part in enumerate(key):
        data, found = _step(data, part)
        if not found:
            return key[:length]
    return key


def _has(data: Any, key: Key | None) -> bool:
    return key is not None and len(_present(data, key)) == len(key)


def _step(data: Any, part: str | int) -> tuple[Any, bool]:
    if isinstance(data, list):
        return (data[part], True) if isinstance(part, int) and 0 <= part < len(data) else (None, False)
    if isinstance(data, str) and part == "type":
        return data, True  # a constructor's name in place of its table
    if isinstance(data, Mapping) and part in data:
        return data[part], True
    return None, False


def _below(key: Key, ancestor: Key) -> Key | None:
    """What of ``key`` lies below ``ancestor``; None where it does not."""
    texts = [str(part) for part in key[: len(ancestor)]]
    return key[len(ancestor) :] if texts == [str(part) for part in ancestor] else None
