"""What must stand there and what stands there, as sentences: about a value of TOML, and about a line of pydantic's errors."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, Problem, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

WORDS: Mapping[str, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "a string",
    "array": "an array",
    "object": "a table",
    "finite": "a finite number",
}
"""The types of JSON schema (and numbers that are no ``inf`` and no ``nan``), and what readers of TOML call them."""

TYPES: Mapping[str, str] = {
    "int_type": "integer",
    "int_from_float": "integer",
    "int_parsing": "integer",
    "float_type": "number",
    "float_parsing": "number",
    "finite_number": "finite",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "string_type": "string",
    "list_type": "array",
    "tuple_type": "array",
    "set_type": "array",
    "frozen_set_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "dataclass_type": "object",
}
"""What pydantic calls a value of the wrong type, and the type that it wants."""
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


def must_be(wanted: str, value: Any, instead: str | None = None) -> str:
    """``must be a number, not the string '1'; write 1, without quotes``; the last part where ``instead`` is known."""
    return f"must be {wanted}, not {shown(value)}" + (f"; write {instead}" if instead else "")


def instead_of(kind: str, value: Any) -> str | None:
    """What was probably meant by a value that is not of the type ``kind``, one of ``WORDS``."""
    match kind, value:
        case "boolean", str() if value.lower() in ("true", "false"):
            return f"{value.lower()}, without quotes"
        case "integer" | "number", str() if _reads_as_number(value):
            return f"{value.strip()}, without quotes"
        case "integer", float() if value.is_integer() and abs(value) < 2**53:
            return f"{value:.0f}"
    return None


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def one_of(choices: Iterator[str] | list[str]) -> str:
    """``'a', 'b' or 'c'``."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def wrong_value(line: ErrorDetails) -> str:
    """The sentence for a line of pydantic's about a value of the right type."""
    kind, value, context = line["type"], shown(line["input"]), line.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = context[bound]
        whole = isinstance(limit, float) and limit.is_integer()
        return f"must be {words} {int(limit) if whole else limit}, not {value}"
    if kind in ("literal_error", "enum"):
        choices = re.findall("'([^']*)'", context["expected"])
        near = nearest(line["input"], choices) if isinstance(line["input"], str) else ""
        return f"must be {context['expected']}, not {value}{near}"
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or line["msg"])
    return re.sub(r"^\w+ should ", "must ", line["msg"])


def keys_in(loc: tuple[int | str, ...], data: Any) -> Iterator[str | int]:
    """The parts of pydantic's location that are keys of ``data``: not the names of a union's members, nor what is absent."""
    for part in loc:
        in_table = isinstance(data, Mapping) and part in data
        in_array = isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)
        if in_table or in_array:
            data = data[part]
            yield part


def argument_lines(lines: list[ErrorDetails], data: Mapping[str, Any]) -> list[Problem]:
    """The problems of a plugin's own model, keys as in ``data``; what is missing or unknown is for whoever knows its names."""
    wanted: dict[Key, list[str]] = {}
    problems: list[Problem] = []
    for line in lines:
        key = tuple(keys_in(line["loc"], data))
        if line["type"] in TYPES:
            wanted.setdefault(key, []).append(TYPES[line["type"]])
        elif line["type"] == "missing":
            problems.append(Problem(key, f"needs `{line['loc'][-1]}`", "missing-key"))
        elif line["type"] == "extra_forbidden":
            problems.append(Problem(key, "unknown key", "unknown-key"))
        else:
            problems.append(Problem(key, wrong_value(line), line["type"] if "-" in line["type"] else "wrong-value"))
    entered = {problem.key[:length] for problem in problems for length in range(len(problem.key))}
    entered |= {key[:length] for key in wanted for length in range(len(key))}
    for key, kinds in wanted.items():
        if key not in entered:  # else one member of a union did take it, as far as what is wrong inside
            problems.append(wrong_type(key, kinds, _at(data, key)))
    return problems


def wrong_type(key: Key, kinds: list[str], value: Any) -> Problem:
    """The problem of a value that is of none of the types ``kinds``."""
    words = one_of(list(dict.fromkeys(WORDS[kind] for kind in kinds)))
    instead = next((text for kind in kinds if (text := instead_of(kind, value))), None)
    return Problem(key, must_be(words, value, instead), "wrong-type")


def _at(data: Any, key: Key) -> Any:
    for part in key:
        data = data[part]
    return data
