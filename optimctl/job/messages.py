"""pydantic's errors as our own sentences: what must stand there, what stands there, and the nearest name."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, Problem, key_text, nearest
from optimctl.job.hints import table_of, unknown_key

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
}
_CUSTOM_KEYS: Key = ("optim_wrapper", "paramwise_cfg", "custom_keys")
_FOR_A_NUMBER: Mapping[Key, str] = {("optim_wrapper", "clip_grad"): "max_norm", (*_CUSTOM_KEYS, "*"): "lr_mult"}
MOST = 500
"""Problems that are told at once; a file with more is no job."""
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def shown(value: Any) -> str:
    """A value, in a sentence about it: ``the string '1'``, ``true``, ``a table``."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {_short(repr(value))}"
        case int() | float():
            return _short(repr(value))
        case Mapping():
            return "a table"
        case list() | tuple():
            return "an array"
        case datetime.date() | datetime.time():
            return f"the date {value}" if isinstance(value, datetime.date) else f"the time {value}"
    return f"an object of type {type(value).__name__}"


def _short(text: str, most: int = 50) -> str:
    return text if len(text) <= most else f"{text[: most - 10]}...{text[-7:]}"


def problems_of(
    error: ValidationError, data: Any, section: Key, tables: Mapping[Key, tuple[str, ...]]
) -> list[Problem]:
    """The problems that a model's error holds, keys as in ``data``.

    Args:
        section: Where ``data`` stands in a job.
        tables: The names of each table's keys, for hints.
    """
    lines = error.errors(include_url=False)
    found: dict[tuple[Key, str], Problem] = {}
    for line in lines[:MOST]:
        problem = _problem(line, data, section, tables)
        found.setdefault((problem.key, problem.message), problem)
    more = (
        [Problem((), f"{len(lines) - MOST} more problems are not shown", "more-problems")] if len(lines) > MOST else []
    )
    return [*found.values(), *more]


def _problem(line: ErrorDetails, data: Any, section: Key, tables: Mapping[Key, tuple[str, ...]]) -> Problem:
    key = tuple(_keys(line["loc"], data))
    if line["type"] in ("extra_forbidden", "unknown-key"):
        return replace(unknown_key((*section, *key), tables), key=key)
    if line["type"] == "missing":
        return Problem(key, f"needs `{line['loc'][-1]}`", "missing-key")
    if "-" in line["type"]:  # our own codes have a hyphen, pydantic's have none
        return Problem(key, line["msg"], line["type"])
    if line["type"] == "model_type" and line["loc"][-2:-1] == ("<several>",) and key[-1] in tables["optim_wrapper",]:
        return Problem(
            key, f"`{key[-1]}` belongs in the table of each optimizer; there are several here", "misplaced-key"
        )
    if line["type"] in _TYPES:
        return _wrong_type(key, line["type"], line["input"], table_of((*section, *key), tables), tables)
    return Problem(key, _wrong_value(line), "wrong-value")


def _wrong_type(key: Key, kind: str, value: Any, table: Key, tables: Mapping[Key, tuple[str, ...]]) -> Problem:
    if table[:-1] == _CUSTOM_KEYS and key[-1] in tables[_CUSTOM_KEYS[:-1]]:
        above = key_text(_CUSTOM_KEYS[:-1])
        return Problem(key, f"`{key[-1]}` belongs one level up, in `{above}`", "misplaced-key")
    what = "a table, or an array of tables" if table == key == ("param_scheduler",) else _TYPES[kind]
    advice = _advice(key, kind, value, table, tables.get(table, ()))
    return Problem(key, f"must be {what}, not {shown(value)}" + (f"; write {advice}" if advice else ""), "wrong-type")


def _advice(key: Key, kind: str, value: Any, table: Key, known: tuple[str, ...]) -> str | None:
    """What to write instead, where that can be told from what stands there."""
    if kind == "model_type" and isinstance(value, str) and "type" in known:
        return f"{{ type = {json.dumps(value, ensure_ascii=False)} }}"
    if kind == "model_type" and _is_number(value) and table in _FOR_A_NUMBER:
        return f"{{ {_FOR_A_NUMBER[table]} = {value} }}"
    if kind == "list_type" and isinstance(value, Mapping):
        return f"[[{key_text(key)}]] as its header"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"{value.lower()}, without quotes"
    if kind in ("int_type", "float_type") and isinstance(value, str) and _reads_as_number(value):
        return f"{value.strip()}, without quotes"
    if kind == "int_type" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return f"{value:.0f}"
    return None


def _wrong_value(line: ErrorDetails) -> str:
    kind, value, context = line["type"], shown(line["input"]), line.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = context[bound]
        return f"must be {words} {int(limit) if limit == int(limit) else limit}, not {value}"
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", context["expected"])
        near = nearest(line["input"], choices) if isinstance(line["input"], str) else ""
        return f"must be {context['expected']}, not {value}{near}"
    if kind in ("string_too_short", "too_short"):
        return "must not be empty"
    return line["msg"]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _keys(loc: tuple[int | str, ...], data: Any) -> Iterator[str | int]:
    """The parts of pydantic's location that are keys of ``data``: not the names of a union's members, nor what is absent."""
    for part in loc:
        in_table = isinstance(data, Mapping) and part in data
        in_array = isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        if in_table or in_array:
            data = data[part]
            yield part
