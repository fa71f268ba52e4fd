"""The forms that settings have in MMEngine: what a setting must look like to be carried over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Form:
    """What a value must be, and how a sentence calls that."""

    called: str
    fits: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def whole_number(value: Any) -> int | None:
    """A whole number from 1 up, also where it is written as 5.0; None where the value is none."""
    return int(value) if is_number(value) and value >= 1 and value == int(value) else None


def names_in(value: Any) -> list[Any]:
    """The items of a list or tuple; none of what is neither."""
    return list(value) if isinstance(value, (list, tuple)) else []


def texts_in(value: Any) -> list[str]:
    """The texts of a list, or the one that stands alone; none where there is anything else."""
    texts = [value] if isinstance(value, str) else names_in(value)
    return texts if all(isinstance(one, str) and one for one in texts) else []


TABLE = Form("a table", lambda value: isinstance(value, Mapping))
SEVERAL = Form("a list", lambda value: isinstance(value, (list, tuple)))
TEXT = Form("a text", lambda value: isinstance(value, str) and value != "")
TEXTS = Form("a text, or a list of them", lambda value: bool(texts_in(value)))
FLAG = Form("True or False", lambda value: isinstance(value, bool))
NUMBER = Form("a number", is_number)
COUNT = Form("a whole number from 1 up", lambda value: whole_number(value) is not None)
STEPS = Form("a whole number from 0 up", lambda value: is_number(value) and value >= 0 and value == int(value))
SEED = Form("one whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))


__all__ = [
    "COUNT",
    "FLAG",
    "NUMBER",
    "SEED",
    "SEVERAL",
    "STEPS",
    "TABLE",
    "TEXT",
    "TEXTS",
    "Form",
    "is_number",
    "names_in",
    "texts_in",
    "whole_number",
]
