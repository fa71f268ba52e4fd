"""What a schedule's arguments may be.

In this room: small checks of one value each. A check yields a problem whose key is the argument's name; values are
taken strictly (``"1"`` is no number, ``true`` no float), as everywhere in a job.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

from optimctl.errors import Problem, listing, nearest

Check = Callable[[str, Any], Iterator[Problem]]


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether ``value`` is an integer, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def number(
    name: str, value: Any, least: float | None = None, most: float | None = None, above: float | None = None
) -> Iterator[Problem]:
    """``value`` must be a number from ``least`` to ``most``, and greater than ``above``."""
    if isinstance(value, list | tuple):
        yield wrong(
            name,
            f"must be one number, not {list(value)!r}; give groups their own with lr_mult, decay_mult or custom_keys",
        )
    elif not is_number(value):
        yield wrong(name, f"must be a number, not {value!r}")
    else:
        yield from _range(name, value, least, most, above)


def whole(name: str, value: Any, least: int = 0) -> Iterator[Problem]:
    """``value`` must be a whole number from ``least`` up."""
    if not is_whole(value):
        yield wrong(name, f"must be a whole number, not {value!r}")
    else:
        yield from _range(name, value, least, None, None)


def each(name: str, values: Any, check: Check, least_many: int = 1) -> Iterator[Problem]:
    """``values`` must be an array of at least ``least_many`` items that all pass ``check``."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        yield wrong(name, f"must be an array, not {values!r}")
    elif len(values) < least_many:
        yield wrong(name, "must not be empty")
    else:
        for index, value in enumerate(values):
            yield from (problem.below(name) for problem in _at_index(index, check, value))


def one_of(name: str, value: Any, choices: Sequence[str]) -> Iterator[Problem]:
    """``value`` must be one of the words in ``choices``."""
    if value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        yield wrong(name, f"must be one of {listing(choices)}, not {value!r}{hint}")


def flag(name: str, value: Any) -> Iterator[Problem]:
    """``value`` must be true or false."""
    if not isinstance(value, bool):
        yield wrong(name, f"must be true or false, not {value!r}")


def wrong(name: str, message: str) -> Problem:
    """The problem of one argument."""
    return Problem((name,), message, "wrong-value")


def _range(name: str, value: float, least: float | None, most: float | None, above: float | None) -> Iterator[Problem]:
    if least is not None and value < least:
        yield wrong(name, f"must be at least {least}, not {value!r}")
    if above is not None and value <= above:
        yield wrong(name, f"must be greater than {above}, not {value!r}")
    if most is not None and value > most:
        yield wrong(name, f"must be at most {most}, not {value!r}")


def _at_index(index: int, check: Check, value: Any) -> Iterator[Problem]:
    for problem in check("", value):
        yield Problem((index,), problem.message, problem.code)
