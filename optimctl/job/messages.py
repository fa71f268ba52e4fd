"""pydantic's errors as our own sentences: what must stand there, what stands there, and the nearest name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, Problem, key_text
from optimctl.job.hints import table_of, unknown_key
from optimctl.job.origins import MORE
from optimctl.sentences import TYPES, WORDS, instead_of, keys_in, must_be, wrong_value

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_CUSTOM_KEYS: Key = ("optim_wrapper", "paramwise_cfg", "custom_keys")
_FOR_A_NUMBER: Mapping[Key, str] = {("optim_wrapper", "clip_grad"): "max_norm", (*_CUSTOM_KEYS, "*"): "lr_mult"}
MOST = 500
"""Problems that are told at once; a file with more is no job."""


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
    return [*found.values(), *_more(len(lines) - MOST)]


def most(problems: Sequence[Problem]) -> list[Problem]:
    """The first ``MOST`` of many problems, and how many more there are."""
    return [*problems[:MOST], *_more(len(problems) - MOST)]


def _more(count: int) -> list[Problem]:
    several = "problems are" if count != 1 else "problem is"
    return [Problem((), f"{count} more {several} not shown", MORE)] if count > 0 else []


def _problem(line: ErrorDetails, data: Any, section: Key, tables: Mapping[Key, tuple[str, ...]]) -> Problem:
    key = tuple(keys_in(line["loc"], data))
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
    if line["type"] in TYPES:
        return _wrong_type(key, line["type"], line["input"], table_of((*section, *key), tables), tables)
    return Problem(key, wrong_value(line), "wrong-value")


def _wrong_type(key: Key, kind: str, value: Any, table: Key, tables: Mapping[Key, tuple[str, ...]]) -> Problem:
    if table[:-1] == _CUSTOM_KEYS and key[-1] in tables[_CUSTOM_KEYS[:-1]]:
        above = key_text(_CUSTOM_KEYS[:-1])
        return Problem(key, f"`{key[-1]}` belongs one level up, in `{above}`", "misplaced-key")
    what = "a table, or an array of tables" if table == key == ("param_scheduler",) else WORDS[TYPES[kind]]
    advice = _advice(key, kind, value, table, tables.get(table, ()))
    return Problem(key, must_be(what, value, advice), "wrong-type")


def _advice(key: Key, kind: str, value: Any, table: Key, known: tuple[str, ...]) -> str | None:
    """What to write instead, where that can be told from what stands there."""
    if kind == "model_type" and isinstance(value, str) and "type" in known:
        return f"{{ type = {json.dumps(value, ensure_ascii=False)} }}"
    if kind == "model_type" and _is_number(value) and table in _FOR_A_NUMBER:
        return f"{{ {_FOR_A_NUMBER[table]} = {value} }}"
    if kind == "list_type" and isinstance(value, Mapping):
        return f"[[{key_text(key)}]] as its header"
    return instead_of(TYPES[kind], value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
