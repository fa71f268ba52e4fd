"""Two values of a job held against each other: exactly, but for what means the same to whoever gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl.errors import Key
from optimctl.job.merge import element

ABSENT = object()
"""What stands at a key that is not there."""


def plain(value: Any) -> Any:
    """A value without what does not matter: a tensor or an array of numpy is its numbers, a list a tuple, a set has an order."""
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(map(plain, value), key=repr))
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return {name: plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: 1 and 1.0 are, an array and a tuple, and one ``nan`` is like another."""
    one, other = plain(one), plain(other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    return bool(one == other) or (one != one and other != other)


def at(data: Any, key: Key) -> Any:
    """What a job's plain values have at a key, or ``ABSENT``; a bare string stands for the table of that ``type``."""
    for part in key:
        if not (isinstance(data, str) and part == "type"):
            data = element(data, part)
        if data is None:
            return ABSENT
    return data
