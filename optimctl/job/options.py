"""``--set KEY=VALUE`` and ``--unset KEY``: read, held against each other, and made one table that is laid over the job."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optimctl.errors import JobError, Key, Place, Problem, key_text
from optimctl.job.merge import array_index, element
from optimctl.job.origins import Option
from optimctl.job.syntax import limit_problems, parse, split_key


def parse_options(overrides: Sequence[str], unset: Sequence[str]) -> tuple[tuple[Option, ...], list[Problem]]:
    """The options of a command, and what is wrong with them."""
    options: list[Option] = []
    problems: list[Problem] = []
    for flag, texts, read in (("--set", overrides, _read_set), ("--unset", unset, _read_unset)):
        for text in texts:
            try:
                option = read(text)
                _refuse_contradiction(option, [other for other in options if other.flag == flag])
            except JobError as error:
                problems += [replace(problem, place=Place(f"{flag} {text}")) for problem in error.problems]
            else:
                options.append(option)
    return tuple(options), problems


def _read_set(text: str) -> Option:
    key, value_text = _split_assignment(text)
    if key is None:
        raise JobError.single((), "write KEY=VALUE, the key dotted as in train_cfg.max_iters", "bad-option")
    value = option_value(value_text)
    problems = limit_problems(value, key)
    if problems:
        raise JobError(problems)
    return Option("--set", text, key, value)


def _read_unset(text: str) -> Option:
    key = split_key(text)
    if key is None:
        raise JobError.single((), "write a key, dotted as in train_cfg.max_iters", "bad-option")
    return Option("--unset", text, key)


def _refuse_contradiction(option: Option, earlier: Sequence[Option]) -> None:
    """Options have no order, so that two of them cannot say different things about one key."""
    for other in earlier:
        if other.key == option.key and repr(other.value) != repr(option.value):
            raise JobError.single(option.key, f"`{other}` says something else", "contradiction")


def overlay(options: Sequence[Option], base: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """All ``--set`` as one table, the shorter keys first, so that the more exact one wins; an array's elements by index."""
    laid: dict[str, Any] = {}
    problems = []
    for option in sorted(options, key=lambda option: len(option.key)):
        message = _no_such_element(base, laid, option.key)
        if message:
            problems.append(Problem(option.key, message, "no-such-element", option.place))
        else:
            _put(laid, option.key, copy.deepcopy(option.value))
    return laid, problems


def _put(table: Any, key: Key, value: Any) -> None:
    for part in key[:-1]:
        if isinstance(table, list):
            table = table[int(part)]
        else:
            if not isinstance(table.get(part), (dict, list)):
                table[part] = {}
            table = table[part]
    table[int(key[-1]) if isinstance(table, list) else key[-1]] = value


def _no_such_element(base: Any, overlay: Any, key: Key) -> str | None:
    """What is wrong where a key leads through an array: its part must be the index of an element."""
    for length, part in enumerate(key):
        replaced = isinstance(overlay, list) or (
            isinstance(overlay, dict) and any(not name.isdigit() for name in overlay)
        )
        array = overlay if replaced else base
        if isinstance(array, list) and array_index(array, part) is None:
            count = f"{len(array)} element{'s' * (len(array) != 1)}, counted from 0" if array else "no elements"
            return f"the array '{key_text(key[:length])}' has {count}; '{part}' is none of them"
        base, overlay = element(base, part), element(overlay, part)
    return None


def _split_assignment(text: str) -> tuple[Key | None, str]:
    """The key and the value's text of ``KEY=VALUE``; no key where there is none."""
    for position in (match.start() for match in re.finditer("=", text)):
        key = split_key(text[:position])
        if key is not None:  # an `=` inside a quoted part leaves half a key before it
            return key, text[position + 1 :].strip()
    return None, ""


def option_value(text: str) -> Any:
    """The TOML value that a text is, or the text itself."""
    try:
        data = parse(f"value = {text}", "")
    except JobError as error:
        if error.problems[0].code == "syntax":
            return text
        raise
    return data["value"] if len(data) == 1 else text
