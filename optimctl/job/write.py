"""A job as text: its values, and comments beside them, laid out as a person would write them."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optimctl.errors import Key
from optimctl.job.syntax import DEEPEST

WIDTH = 120
"""An array that takes more goes on in the next line."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_INDENT = "    "


@dataclass(frozen=True)
class Document:
    """A file of a job: what it says, and what is said about it."""

    data: Mapping[str, Any]
    """Plain values of TOML."""
    comments: Mapping[Key, str] = field(default_factory=dict)
    """A text of one line or several, by the key that it is about: it stands above that key. Where the data has no such key, it
    stands behind the values of the table that would have it; the comment of ``()`` opens the file."""

    def text(self) -> str:
        """The file, as TOML 1.0."""
        return "\n".join(_Writer(self).lines()).strip("\n") + "\n"


def toml_key(name: str) -> str:
    """One part of a key, in quotes where it has to be."""
    return name if _BARE.fullmatch(name) else toml_value(name)


def toml_value(value: Any) -> str:
    """A value as TOML, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case float():
            return float.__repr__(value)  # NumPy's are floats, too, and show themselves otherwise
        case int():
            return int.__repr__(value)
        case Mapping():
            items = ", ".join(f"{toml_key(name)} = {toml_value(item)}" for name, item in value.items())
            return f"{{ {items} }}" if items else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
    return repr(value)


def not_toml(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """What no file of a job can hold: None, say, half a character, a whole number of more than 64 bits, or what is too deep."""
    match value:
        case _ if len(key) > DEEPEST:
            yield key, value
        case Mapping():
            for name, item in value.items():
                said = isinstance(name, str) and _is_text(name)
                yield from not_toml(item, (*key, name)) if said else [((*key, str(name)), name)]
        case list() | tuple():
            for index, item in enumerate(value):
                yield from not_toml(item, (*key, index))
        case bool() | float() | datetime.date() | datetime.time():
            return
        case str() if _is_text(value):
            return
        case int() if -(2**63) <= value < 2**63:
            return
        case _:
            yield key, value


def _is_text(value: str) -> bool:
    """Whether UTF-8 can say a string: Python's may hold half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Writer:
    """Lays a document out: of each table first the values, then the comments, then the tables below it."""

    def __init__(self, document: Document) -> None:
        self.data = document.data
        self.above: dict[Key, list[str]] = {}
        self.within: dict[Key, list[str]] = {}
        for key, text in document.comments.items():
            place, is_there = _place(document.data, key)
            (self.above if is_there else self.within).setdefault(place, []).extend(_commented(text))
        places = (*self.above, *((*place, "") for place in self.within))
        self.spoken_in = {place[:length] for place in places for length in range(len(place))}

    def lines(self) -> Iterator[str]:
        head, rest = self.above.pop((), []), list(self._table((), self.data))
        yield from (*head, *([""] if rest and rest[0] else []), *rest)

    def _table(self, key: Key, table: Mapping[str, Any]) -> Iterator[str]:
        """The lines between the header of a table and the next header, and then all tables below."""
        below = {name: value for name, value in table.items() if self._is_below(value, (*key, name))}
        for name, value in table.items():
            if name not in below:
                yield from self.above.get((*key, name), ())
                yield from _assignment(name, value)
        yield from self.within.get(key, ())
        for name, value in below.items():
            yield from self._below((*key, name), value)

    def _is_below(self, value: Any, key: Key) -> bool:
        """Whether a value has a header of its own: a table that says something, or an array of tables.

        A table of one value, deep inside, stays on its line: `backbone = { lr_mult = 0.1 }`.
        """
        if not isinstance(value, Mapping):
            return _is_tables(value)
        fits = len(key) > 2 and len(value) == 1 and len(toml_key(str(key[-1]))) + len(toml_value(value)) + 3 <= WIDTH
        on_one_line = not value or (fits and not any(isinstance(one, (Mapping, list, tuple)) for one in value.values()))
        return key in self.spoken_in or not on_one_line

    def _below(self, key: Key, value: Any) -> Iterator[str]:
        header = ".".join(toml_key(str(part)) for part in key if isinstance(part, str))
        above = self.above.get(key, [])
        if isinstance(value, Mapping):
            inner = list(self._table(key, value))
            needs_header = (
                above or not inner or inner[0]
            )  # a table that holds tables alone is there with the first of them
            yield from ("", *above, f"[{header}]", *inner) if needs_header else inner
            return
        for index, item in enumerate(value):
            yield from ("", *above, *self.above.get((*key, index), ()), f"[[{header}]]")
            yield from self._table((*key, index), item)
            above = []


def _is_tables(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _place(data: Any, key: Key) -> tuple[Key, bool]:
    """Where a comment stands: above the key that is returned, if that has a line of its own; else within that table."""
    for length, part in enumerate(key):
        is_table = isinstance(data, Mapping)
        if not is_table and not _is_tables(data):
            return key[:length], True  # a part of a value
        known = part in data if is_table else isinstance(part, int) and 0 <= part < len(data)
        if not known:
            return key[:length], not is_table
        data = data[part]
    return key, True


def _assignment(name: str, value: Any) -> Iterator[str]:
    line = f"{toml_key(name)} = {toml_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, (list, tuple)):
        yield line
        return
    yield f"{toml_key(name)} = ["
    yield from (_INDENT + part for part in _filled(value))
    yield "]"


def _filled(items: Sequence[Any]) -> Iterator[str]:
    """The items of an array, as many in a line as have room."""
    line = ""
    for item in items:
        text = f"{toml_value(item)},"
        if line and len(line) + len(text) + 1 > WIDTH - len(_INDENT):
            yield line
            line = ""
        line += f" {text}" if line else text
    yield line


def _commented(text: str) -> Iterator[str]:
    for line in text.splitlines() or [""]:
        shown = "".join(char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in line)
        yield f"# {shown}".rstrip()


__all__ = ["WIDTH", "Document", "not_toml", "toml_key", "toml_value"]
