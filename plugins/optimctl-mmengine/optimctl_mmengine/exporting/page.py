"""A configuration that is being put together: settings, what is said beside them, and what cannot be written."""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optimctl.errors import Key, Problem

WIDTH = 100


@dataclass
class Page:
    """Settings by their names, in order; comments by the setting that they stand above, ``""`` for the head of the file."""

    settings: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def say(self, name: str, text: str) -> None:
        """A comment above a setting."""
        texts = self.comments.setdefault(name, [])
        if text not in texts:
            texts.append(text)

    def refuse(self, key: Key, message: str) -> None:
        """Something that changes the training and that MMEngine cannot say."""
        self.problems.append(Problem(key, message, "no-counterpart"))

    def text(self) -> str:
        """The configuration, as Python; comments on a setting that there is none of stand at the end."""
        lines = [*_commented(self.comments.get("", [])), ""]
        for name, value in self.settings.items():
            lines += [*_commented(self.comments.get(name, [])), *_assignment(name, value)]
        for name, texts in self.comments.items():
            if name and name not in self.settings:
                lines += _commented(texts)
        return "\n".join(lines).strip("\n") + "\n"


def _commented(texts: list[str]) -> list[str]:
    return [f"# {line}".rstrip() for text in texts for line in text.splitlines()]


def _assignment(name: str, value: Any) -> Iterator[str]:
    first, *rest = _lines(value, len(name) + 3)
    yield f"{name} = {first}"
    yield from rest


def _lines(value: Any, taken: int = 0, indent: int = 0) -> list[str]:
    """A value as lines of Python; the first one has ``taken`` characters before it."""
    text = in_python(value)
    if len(text) + taken + indent <= WIDTH or not isinstance(value, (Mapping, list, tuple)) or not value:
        return [text]
    inner = indent + 4
    pad = " " * inner
    if isinstance(value, Mapping):
        by_name = all(_is_name(key) for key in value)
        begin, end = ("dict(", ")") if by_name else ("{", "}")
        items = [(f"{key}=" if by_name else f"{key!r}: ", item) for key, item in value.items()]
    else:
        begin, end = ("[", "]") if isinstance(value, list) else ("(", ")")
        items = [("", item) for item in value]
    lines = [begin]
    for prefix, item in items:
        first, *rest = _lines(item, len(prefix) + 1, inner)
        lines += [f"{pad}{prefix}{first}", *rest]
        lines[-1] += ","
    return [*lines, " " * indent + end]


def in_python(value: Any) -> str:
    """A value as Python on one line, tables as ``dict(...)``."""
    match value:
        case Mapping() if value and all(_is_name(key) for key in value):
            return f"dict({', '.join(f'{key}={in_python(item)}' for key, item in value.items())})"
        case Mapping():
            return f"{{{', '.join(f'{key!r}: {in_python(item)}' for key, item in value.items())}}}"
        case list():
            return f"[{', '.join(map(in_python, value))}]"
        case tuple():
            return f"({', '.join(map(in_python, value))}{',' if len(value) == 1 else ''})"
        case float() if not math.isfinite(value):
            return f"float('{value}')"
    return repr(value)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


__all__ = ["Page", "in_python"]
