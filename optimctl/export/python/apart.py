"""What tells parameters apart, as a person would write it: ``"norm" in name``, ``parameter.ndim < 2``.

In this room: ``Named``, a parameter as a script sees it, ``tell_apart``, which finds conditions under which each parameter has the
value that it is to have, ``choosing``, which writes them, and ``negated``. A condition is held against every parameter of the model;
where none is short, names are listed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from optimctl.export.python.layout import WIDTH, Call, lay, text

if TYPE_CHECKING:
    from torch import nn

MOST_PARTS = 3
"""How many conditions stand at most between ``or``."""
MOST_NAMES = 4
"""How many names are listed at most within a condition."""


@dataclass(frozen=True)
class Named:
    """A parameter as the loop over ``model.named_parameters()`` meets it."""

    name: str
    parameter: nn.Parameter


@dataclass(frozen=True)
class Branch:
    """A value, and the condition under which a parameter has it; no condition for all that is left."""

    value: Hashable
    condition: str
    """Nothing, too, where no short condition tells them apart."""
    names: tuple[str, ...] = ()
    """The parameters that have it; of the last branch, none."""

    def conditions(self, column: int, word: str = "if") -> list[str]:
        """What stands behind ``if``, whose line begins at a column: several lines of it, where one would be too long."""
        room = WIDTH - column - len(f"{word} :")
        if self.condition and len(self.condition) <= room:
            return [self.condition]
        parts = self.condition.split(" or ")
        if self.condition and " and " not in self.condition and all(len(part) <= room for part in parts):
            return parts
        return [self._listing(column, word)]

    def whole_condition(self, column: int, word: str) -> str:
        """The same as one condition, behind ``if`` or ``elif``."""
        is_short = self.condition and column + len(f"{word} {self.condition}:") <= WIDTH
        return self.condition if is_short else self._listing(column, word)

    def _listing(self, column: int, word: str) -> str:
        names = Call("{", tuple(("", text(name)) for name in self.names), "}")
        return lay(names, column, f"{word} name in ", ":").removeprefix(f"{word} ").removesuffix(":")


@dataclass(frozen=True)
class _Atom:
    """A condition, and the parameters that fulfil it, as the bits of a number."""

    text: str
    bits: int


def tell_apart(
    values: Mapping[str, Hashable], parameters: Sequence[Named], usual: Hashable, hints: Iterable[str] = ()
) -> list[Branch]:
    """The branches, to be tried in their order; the last one has no condition.

    Args:
        values: Of each parameter, by its name.
        parameters: All that the loop meets; what has no value does not matter.
        usual: The value of those that no condition takes.
        hints: Parts of names that the job itself speaks of.
    """
    ours = [one for one in parameters if one.name in values]
    atoms = list(_atoms(ours, hints))
    kinds = sorted(dict.fromkeys(values[one.name] for one in ours), key=lambda value: value == usual)
    if kinds and kinds[-1] != usual:
        usual = kinds[-1]
    left = (1 << len(ours)) - 1
    branches = []
    for value in kinds[:-1]:
        wanted = sum(1 << index for index, one in enumerate(ours) if values[one.name] == value)
        condition = _condition(wanted, left, atoms)
        names = tuple(one.name for one in ours if values[one.name] == value)
        branches.append(Branch(value, condition, names))
        left &= ~wanted
    return [*branches, Branch(usual, "")]


def choosing(branches: Sequence[Branch], lines: Mapping[Hashable, str], column: int) -> Iterator[str]:
    """``if``, ``elif`` and ``else``: a line for each value.

    Args:
        lines: By the value of the branch.
        column: Where ``if`` stands.
    """
    word = "if"
    for branch in branches[:-1]:
        yield f"{word} {branch.whole_condition(column, word)}:"
        yield f"    {lines[branch.value]}"
        word = "elif"
    yield "else:"
    yield f"    {lines[branches[-1].value]}"


def _condition(wanted: int, left: int, atoms: Sequence[_Atom]) -> str:
    """The shortest condition that, of the parameters that are left, takes just the wanted ones; nothing where all are long."""
    fits = {atom.text: atom.bits & left for atom in atoms}
    if wanted & (wanted - 1) == 0:  # a single one, which is called by its name
        return next(said for said, bits in fits.items() if bits == wanted and said.startswith("name == "))
    alone = next((said for said, bits in fits.items() if bits == wanted), "")
    return alone or next(_pairs(fits, wanted), "") or _union(fits, wanted)


def _pairs(fits: Mapping[str, int], wanted: int) -> Iterator[str]:
    """Two conditions together, or one without the other."""
    wide = {said: bits for said, bits in fits.items() if bits & wanted == wanted}
    for one, other in combinations(wide, 2):
        if wide[one] & wide[other] == wanted:
            yield f"{one} and {other}"
    for one, bits in wide.items():
        for other, without in fits.items():
            if bits & ~without == wanted:
                yield f"{one} and {negated(other)}"


def negated(condition: str) -> str:
    """A condition that is true where another is not."""
    if isinstance(ast.parse(condition, mode="eval").body, ast.BoolOp):
        return f"not ({condition})"
    known = {"parameter.ndim < 2": "parameter.ndim >= 2", "parameter.ndim == 2": "parameter.ndim != 2"}
    if condition.startswith("name in "):
        return condition.replace("in", "not in", 1)
    if condition.endswith(" in name"):
        return condition.removesuffix(" in name") + " not in name"
    if condition.startswith("name == "):
        return condition.replace("==", "!=", 1)
    return known.get(condition, f"not {condition}")


def _union(fits: Mapping[str, int], wanted: int) -> str:
    """Conditions that take the wanted parameters between them, the one that takes most first."""
    chosen: list[str] = []
    left = wanted
    inside = {said: bits for said, bits in fits.items() if bits and not bits & ~wanted}
    while left and inside:
        best = max(inside, key=lambda said: bin(inside[said] & left).count("1"))
        if not inside[best] & left:
            return ""
        chosen.append(best)
        left &= ~inside[best]
    return _joined(chosen) if not left else ""


def _joined(conditions: Sequence[str]) -> str:
    """Conditions with ``or`` between them; whole names, and what names begin with, are put together."""
    names = [condition[8:] for condition in conditions if condition.startswith("name == ")]
    starts = [c[len("name.startswith(") : -1] for c in conditions if c.startswith("name.startswith(")]
    others = [c for c in conditions if not c.startswith(("name == ", "name.startswith("))]
    if len(names) > MOST_NAMES or len(starts) > MOST_NAMES:
        return ""
    if starts:
        others.append(f"name.startswith({_tuple(starts)})")
    if names:
        others.append(f"name in {_tuple(names)}" if len(names) > 1 else f"name == {names[0]}")
    return " or ".join(others) if len(others) <= MOST_PARTS else ""


def _tuple(items: Sequence[str]) -> str:
    return f"({', '.join(items)})" if len(items) > 1 else items[0]


def _atoms(ours: Sequence[Named], hints: Iterable[str]) -> Iterator[_Atom]:
    """What can be said of a parameter in a few words, the plainest first."""
    seen: set[str] = set()
    for condition, fits in _sayings(ours, hints):
        if condition not in seen:
            seen.add(condition)
            yield _Atom(condition, sum(1 << index for index, fit in enumerate(fits) if fit))


def _sayings(ours: Sequence[Named], hints: Iterable[str]) -> Iterator[tuple[str, list[bool]]]:
    names = [one.name for one in ours]
    for part in hints:
        yield f"{text(part)} in name", [part in name for name in names]
    yield "parameter.ndim < 2", [one.parameter.ndim < 2 for one in ours]
    yield 'name.endswith("bias")', [name.endswith("bias") for name in names]
    for part in _words(names):
        yield f"{text(part)} in name", [part in name for name in names]
    for path in _paths(names):
        yield f"name.startswith({text(path)})", [name.startswith(path) for name in names]
    yield "parameter.ndim == 2", [one.parameter.ndim == 2 for one in ours]
    yield 'name.endswith("weight")', [name.endswith("weight") for name in names]
    for name in names:
        yield f"name == {text(name)}", [other == name for other in names]


def _words(names: Sequence[str]) -> Iterator[str]:
    """The words that modules are called, without their numbers, the most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        for word in {re.sub(r"\d+$", "", part) for part in name.split(".")[:-1]}:
            if len(word) > 2:
                counts[word] = counts.get(word, 0) + 1
    yield from sorted(counts, key=lambda word: -counts[word])


def _paths(names: Sequence[str]) -> Iterator[str]:
    """What stands before one of the first two dots."""
    for depth in (1, 2):
        for name in names:
            parts = name.split(".")
            if len(parts) > depth:
                yield ".".join(parts[:depth]) + "."


__all__ = ["Branch", "Named", "choosing", "negated", "tell_apart"]
