"""Python's values in TOML, and back: what TOML cannot say stands as a literal.

MMEngine's configurations hold None, tuples and tables with numbers as keys, and their classes tell them from lists. Such a value is
written as ``{ python = "(1333, 800)" }``; it is read as a literal, so that a job stays data.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LITERAL = "python"
"""The only key of a table that stands for a literal."""
_BITS = 63


class Unsayable(ValueError):
    """A value that neither TOML nor a literal can say: an object of some class."""


def plain(value: Any) -> Any:
    """A value of a configuration as dicts, lists, tuples and scalars: classes and functions by their names."""
    match value:
        case dict():
            return {key: plain(item) for key, item in dict.items(value)}
        case list():
            return [plain(item) for item in value]
        case tuple():
            return tuple(plain(item) for item in value)
        case Path():
            return str(value)
    if (isinstance(value, type) or inspect.isroutine(value)) and value.__module__:
        return f"{value.__module__}.{value.__qualname__}"
    return _dtype_name(value)


def _dtype_name(value: Any) -> Any:
    """``float16`` for ``torch.float16``; every other value as it is."""
    return str(value).removeprefix("torch.") if type(value).__name__ == "dtype" else value


def to_toml(value: Any) -> Any:
    """A plain value as one of TOML.

    Raises:
        Unsayable: It is, or holds, an object that is no literal.
    """
    match value:
        case bool() | str() | float():
            return value
        case int():
            return value if -(2**_BITS) <= value < 2**_BITS else _literal(value)
        case list():
            return [to_toml(item) for item in value]
        case dict() if all(isinstance(key, str) for key in value) and not _is_literal(value):
            return {key: to_toml(item) for key, item in value.items()}
    return _literal(value)


def listed(value: Any) -> Any:
    """A plain value whose tuples are lists: for optimctl's and torch's own arguments, which take an array for either."""
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


def from_toml(value: Any) -> Any:
    """What ``to_toml`` was given.

    Raises:
        ValueError: A table that stands for a literal holds none.
    """
    if isinstance(value, Mapping):
        if _is_literal(value):
            return _read(value[LITERAL])
        return {key: from_toml(item) for key, item in value.items()}
    return [from_toml(item) for item in value] if isinstance(value, list) else value


def _is_literal(value: Mapping[Any, Any]) -> bool:
    return list(value) == [LITERAL] and isinstance(value[LITERAL], str)


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f'{{ {LITERAL} = "{text}" }} holds no literal of Python') from error


def _literal(value: Any) -> dict[str, str]:
    text = repr(value)
    try:
        if ast.literal_eval(text) == value:
            return {LITERAL: text}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    raise Unsayable(f"{shown(value)} is an object of type {type(value).__name__}")


def shown(value: Any, most: int = 80) -> str:
    """A value, in a sentence about it, as Python writes it."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 10]}...{text[-7:]}"


__all__ = ["LITERAL", "Unsayable", "from_toml", "listed", "plain", "shown", "to_toml"]
