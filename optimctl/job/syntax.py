"""TOML 1.0: from a text to its values, from a dotted key to its parts, and advice where a text is neither.

The parser is tomli, whose newer versions read TOML 1.1; what is new there is refused, because the parser that finds
places (``locate``) does not know it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from optimctl.errors import JobError, Key, Place, Problem, key_text

DEEPEST = 64
"""Levels of tables and arrays."""


def parse(text: str, name: str, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a text that is called ``name``.

    Raises:
        JobError: With the one problem that ended the reading, in its place.
    """
    import tomli

    text = text.replace("\r\n", "\n")  # so do tomli's offsets
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        found = _explained(text, str(error))
        raise found.at(text, name, chain) from error
    except RecursionError as error:
        raise _Finding(_too_deep(text), f"nested deeper than {DEEPEST} levels", "too-deep").at(
            text, name, chain
        ) from error
    except ValueError as error:
        raise _Finding(_too_long(text), "a number with too many digits", "too-large").at(text, name, chain) from error
    newer = next(_newer_than_1_0(text), None)
    if newer is not None:
        raise newer.at(text, name, chain)
    return data


def limit_problems(data: Any, key: Key = ()) -> list[Problem]:
    """What TOML allows and a job does not: integers of more than 64 bits, and deeper nesting than anyone can read."""
    problems: list[Problem] = []
    waiting: list[tuple[Key, Any]] = [(key, data)]
    while waiting:
        key, value = waiting.pop()
        if len(key) > DEEPEST:
            problems.append(Problem(key, f"nested deeper than {DEEPEST} levels", "too-deep"))
        elif isinstance(value, dict):
            waiting += reversed([((*key, name), item) for name, item in value.items()])
        elif isinstance(value, list):
            items = [((*key, index), item) for index, item in enumerate(value) if not isinstance(item, (float, str))]
            waiting += reversed(items)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            problems.append(Problem(key, "a whole number has at most 64 bits", "too-large"))
    return problems


def split_key(text: str) -> Key | None:
    """The parts of a dotted key, some of them perhaps quoted; None where it is none."""
    parts: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        part = _unquoted(match["part"])
        if part is None:
            return None
        parts.append(part)
        position = match.end()
        if not match["dot"]:
            return tuple(parts) if position == len(text) else None
    return None


_PART = re.compile(r"""\s*(?P<part>"(?:[^"\\]|\\.)*"|'[^']*'|[^\s."'=]+)\s*(?P<dot>\.)?""")


def _unquoted(part: str) -> str | None:
    if part[0] not in "\"'":
        return part
    import tomli

    try:
        return str(tomli.loads(f"part = {part}")["part"])
    except tomli.TOMLDecodeError:
        return None


class _Finding(NamedTuple):
    offset: int
    message: str
    code: str = "syntax"

    def at(self, text: str, name: str, chain: tuple[str, ...]) -> JobError:
        line, column = _line_and_column(text, self.offset)
        excerpt = text.split("\n")[line - 1]
        return JobError([Problem((), self.message, self.code, Place(name, line, column, excerpt, chain))])


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


_ADVICE: tuple[tuple[str, str, str], ...] = (
    # tomli's message, what stands at its place, what to do
    ("Invalid value", r"True\b|False\b", "true and false are written in lower case"),
    ("Invalid value", r"(None|null|nil|~)\b", "TOML has no null; leave the key out"),
    ("Invalid value", r"[+-]?\.\d", "a number needs a digit before its point"),
    ("Invalid value", r"[ \t]*(#|$)", "there is no value after `=`"),
    ("Invalid value", r"[^\W\d]|[\u2018-\u201f/~.]", 'a string is written in quotes, as "text"'),
    ("Invalid value", r"", "this is no TOML value"),
    ("Expected '='", r":", "a key and its value are written key = value"),
    ("Expected '='", r"", "a key is followed by = and a value; one with spaces is written in quotes"),
    ("Expected newline", r"\.[ \t]*(#|$)", "a number needs a digit after its point"),
    ("Expected newline", r"(?<=\d)[\d-]", "a number has no leading zeros, and a date has the form 1979-05-27"),
    ("Expected newline", r",", "no comma follows a value, but in an array or an inline table"),
    ("Expected newline", r"", "each key = value stands on a line of its own"),
    ("Unescaped '\\'", r"", "a backslash in \"...\" is written \\\\; in '...' it stands for itself"),
    ("Illegal character '\\n'", r"", "the string is not closed on its line"),
    ("Unterminated string", r"", "the string is not closed"),
    ('Expected "\'"', r"", "the string is not closed"),
    ("Unclosed array", r"", "an array needs a comma, or its closing ]"),
    ("Unclosed inline table", r"", "an inline table needs a comma, or its closing }"),
    ("Expected ']'", r"", "the header of a table is closed with ]"),
    ("Expected ']]'", r"", "the header of an element is closed with ]]"),
    ("Invalid initial character for a key part", r"", "a part of the key is missing"),
    ("Invalid statement", r"[^\x00-\x7f]", "a key with other than ASCII letters, digits, _ and - is written in quotes"),
    ("Invalid statement", r"", "a line is `key = value`, `[table]` or `[[element of an array]]`"),
    ("Cannot mutate immutable namespace", r"", "an inline table is written in one place; nothing can be added to it"),
)


def _explained(text: str, message: str) -> _Finding:
    """What tomli's message means to a person."""
    offset = _offset(text, message)
    message = re.sub(r" \(at [^()]*\)$", "", message)
    if message.startswith(("Cannot overwrite", "Cannot declare")):
        return _repeated(text) or _Finding(offset, "not TOML: this key, or a part of it, has a value already")
    if message.startswith(("Unclosed", "Invalid value")) and not text[offset:].strip():
        bracket = _last_open_bracket(text, offset)
        if bracket is not None:
            return _Finding(bracket, f"not TOML: this {text[bracket]} is not closed")
    tomlis = message[0].lower() + message[1:]
    advice = next(
        (a for start, there, a in _ADVICE if message.startswith(start) and _stands_at(text, offset, there)), tomlis
    )
    return _Finding(offset, f"not TOML: {advice}")


def _stands_at(text: str, offset: int, pattern: str) -> bool:
    return re.compile(pattern, re.MULTILINE).match(text, offset) is not None


def _offset(text: str, message: str) -> int:
    """Where tomli's message says that it stopped."""
    match = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    if match is None:
        return len(text.rstrip())
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: int(match[1]) - 1]) + int(match[2]) - 1


def _repeated(text: str) -> _Finding | None:
    """The key, or the table, that is written a second time."""
    from optimctl.job.locate import Index

    repeated = Index(text).repeated
    if repeated is None:
        return None
    key, first, second = repeated
    offset = sum(len(line) + 1 for line in text.split("\n")[: second.line - 1]) + second.column - 1
    return _Finding(offset, f"not TOML: '{key_text(key)}' was given a value on line {first.line} already")


def _last_open_bracket(text: str, end: int) -> int | None:
    open_brackets = []
    for match in _TOKEN.finditer(text, 0, end):
        if match[0] in "[{":
            open_brackets.append(match.start())
        elif match[0] in "]}" and open_brackets:
            open_brackets.pop()
    return open_brackets[-1] if open_brackets else None


_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""+|\'\'\'.*?\'\'\'+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n|,(?=\s*\})'
    r"|(?<![\d:+-])\d\d:\d\d(?![\d:])|\b\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?!:)",
    re.DOTALL,
)
_MAYBE_NEWER = re.compile(r"\{|\\[ex]|\d:\d\d")
_NEW_ESCAPE = re.compile(r"\\(?:\\|(?P<new>[ex])|.)", re.DOTALL)


def _newer_than_1_0(text: str) -> Iterator[_Finding]:
    """What a parser of TOML 1.1 reads in a valid text, and one of TOML 1.0 does not."""
    if not _MAYBE_NEWER.search(text):
        return
    open_brackets: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("[", "{"):
            open_brackets.append(token)
        elif token in ("]", "}"):
            if open_brackets:
                open_brackets.pop()
        elif token == "\n" and open_brackets[-1:] == ["{"]:
            yield _Finding(match.start(), "a line break in an inline table is TOML 1.1; write the table on one line")
        elif token == "," and open_brackets[-1:] == ["{"]:
            yield _Finding(match.start(), "a comma before `}` is TOML 1.1; take it out")
        elif token[0].isdigit():
            yield _Finding(match.start(), "a time without seconds is TOML 1.1; write them")
        elif token[0] == '"':
            yield from (
                _Finding(match.start() + escape.start(), f"`{escape[0]}` in a string is TOML 1.1; write \\u00XX")
                for escape in _NEW_ESCAPE.finditer(token)
                if escape["new"]
            )


def _too_deep(text: str) -> int:
    """Where brackets are nested too deeply; or the line whose key has the most parts."""
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > DEEPEST:
            return match.start()
    longest = max(text.split("\n"), key=lambda line: line.count("."))
    return text.index(longest)


def _too_long(text: str) -> int:
    """Where a number stands that Python refuses to read."""
    match = re.search(r"(?<![\w.])[+-]?[\d_]{4300,}", text)
    return match.start() if match else 0
