"""What is not TOML 1.0 is told with its place and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from optimctl.errors import JobError, Key, key_text
from optimctl.job.syntax import limit_problems, parse, split_key


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = True", "1:5: not TOML: true and false are written in lower case"),
        ("a = None", "1:5: not TOML: TOML has no null; leave the key out"),
        ("a = digits", '1:5: not TOML: a string is written in quotes, as "text"'),
        ("a = /data/x", '1:5: not TOML: a string is written in quotes, as "text"'),
        ("a = “x”", '1:5: not TOML: a string is written in quotes, as "text"'),
        ("a = @", "1:5: not TOML: this is no TOML value"),
        ("a = # nothing\n", "1:5: not TOML: there is no value after `=`"),
        ('a = "C:\\data"', r"""1:10: not TOML: a backslash in "..." is written \\; in '...' it stands for itself"""),
        ('a = "\\ud800"', "1:12: not TOML: escaped character is not a Unicode scalar value"),
        ('a = "x\nb = 1', "1:7: not TOML: the string is not closed on its line"),
        ("a = 'x", "1:7: not TOML: the string is not closed"),
        (
            'é = 1\na = """x\n',
            "1:1: not TOML: a key with other than ASCII letters, digits, _ and - is written in quotes",
        ),
        ("a = [1,\n", "1:5: not TOML: this [ is not closed"),
        ("x = 1\r\na = [{b = [1]}, [2],\r\n", "2:5: not TOML: this [ is not closed"),
        ("a = [1 2]", "1:8: not TOML: an array needs a comma, or its closing ]"),
        ("a = {b = 1", "1:5: not TOML: this { is not closed"),
        ("a = {b = 1 c = 2}", "1:12: not TOML: an inline table needs a comma, or its closing }"),
        ("a = {b = 1, b = 2}", "1:18: not TOML: duplicate inline table key 'b'"),
        ("[a", "1:3: not TOML: the header of a table is closed with ]"),
        ("[[a]", "1:4: not TOML: the header of an element is closed with ]]"),
        ("[a.]", "1:4: not TOML: a part of the key is missing"),
        ("a: 1", "1:2: not TOML: a key and its value are written key = value"),
        ("a b = 1", "1:3: not TOML: a key is followed by = and a value; one with spaces is written in quotes"),
        ("a = 1 b = 2", "1:7: not TOML: each key = value stands on a line of its own"),
        ("a = 1,", "1:6: not TOML: no comma follows a value, but in an array or an inline table"),
        ("a = .5", "1:5: not TOML: a number needs a digit before its point"),
        ("a = 1.", "1:6: not TOML: a number needs a digit after its point"),
        ("a = 01", "1:6: not TOML: a number has no leading zeros, and a date has the form 1979-05-27"),
        ("{a = 1}", "1:1: not TOML: a line is `key = value`, `[table]` or `[[element of an array]]`"),
        ("a = [\n1]\nb = 1\na = [\n2]\n", "4:1: not TOML: 'a' was given a value on line 1 already"),
        ("[a]\n# é\n[a] # again", "3:2: not TOML: 'a' was given a value on line 1 already"),
        ("a.b = 1\n[a]", "2:3: not TOML: this key, or a part of it, has a value already"),
        ("a = {x = 1}\na.y = 2", "2:8: not TOML: an inline table is written in one place; nothing can be added to it"),
        ("a = " + "[" * 500, "1:69: nested deeper than 64 levels"),
        ("a = " + "[" * 10_000 + "]" * 10_000, "1:69: nested deeper than 64 levels"),
        ("a = " + "{a = " * 10_000 + "1" + "}" * 10_000, "1:325: nested deeper than 64 levels"),
        ("x = 1\n" + "a." * 1500 + "b = 1", "2:1: nested deeper than 64 levels"),
        ("x = 1\na = " + "9" * 5000, "2:5: a number with too many digits"),
        ("a = {b = 1,\nc = 2}", "1:12: a line break in an inline table is TOML 1.1; write the table on one line"),
        ("a = [1, {b = [\n1, 2], }]", "2:6: a comma before `}` is TOML 1.1; take it out"),
        ('é = 1\na = "\\\\e"\nb = "x\\e"'.replace("é", '"é"'), r"3:7: `\e` in a string is TOML 1.1; write \u00XX"),
        ("t = 07:32", "1:5: a time without seconds is TOML 1.1; write them"),
        ("t = 1979-05-27T07:32", "1:5: a time without seconds is TOML 1.1; write them"),
    ],
)
def test_what_is_not_toml(text: str, problem: str) -> None:
    with pytest.raises(JobError) as error:
        parse(text, "job.toml")
    assert str(error.value) == f"job.toml:{problem}"


@pytest.mark.parametrize(
    "text",
    [
        "a = [\n{b = 1},\n]",
        "a = {b = [\n1,\n]}",
        'a = {b = """}\n"""}',
        "a = {b = '''{\n'''} # {\nc = 1",
        "a = '\\e' # \\e",
        'a = "07:32"\nb = 07:32:00\nc = 1979-05-27 07:32:00-07:00\nd = 07:32:00.5',
        "a = '{'\n\nb = 1",
        'a = "\\\\e\\\\x41"',
    ],
)
def test_what_is_toml_1_0(text: str) -> None:
    parse(text, "job.toml")


def test_the_excerpt_is_the_line() -> None:
    with pytest.raises(JobError) as error:
        parse("a = 1\r\n\tb = [1 2]\r\n", "job.toml", ("top.toml",))
    (problem,) = error.value.problems
    assert problem.code == "syntax"
    assert problem.place is not None
    assert (problem.place.excerpt, problem.place.chain) == ("\tb = [1 2]", ("top.toml",))


scalars = st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.text(max_size=5) | st.datetimes() | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), values))
def test_what_tomli_w_writes_is_read(data: dict[str, Any]) -> None:
    assert parse(tomli_w.dumps(data), "job.toml") == data


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"a": [2**63 - 1, -(2**63)]}, []),
        ({"a": [0, 2**63]}, ["a.1: a whole number has at most 64 bits"]),
        ({"a": {"é": -(2**63) - 1}}, ['a."é": a whole number has at most 64 bits']),
    ],
)
def test_limits(value: Any, problems: list[str]) -> None:
    assert [str(problem) for problem in limit_problems(value)] == problems


def test_depth_is_limited() -> None:
    data: Any = 1
    for _ in range(5000):
        data = {"a": data}
    (problem,) = limit_problems(data)
    assert problem.message == "nested deeper than 64 levels"
    assert problem.key == ("a",) * 65


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1, max_size=4))
def test_a_key_that_was_written_is_split_again(parts: list[str]) -> None:
    quoted = key_text(tuple(parts)).translate({ord(c): f"\\u{ord(c):04x}" for c in map(chr, [*range(32), 127])})
    assert split_key(quoted) == tuple(parts)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a.b", ("a", "b")),
        (" a . 'b.c' ", ("a", "b.c")),
        ('a."\\u00e9"."x\\"y"', ("a", "é", 'x"y')),
        ("param_scheduler.0.end", ("param_scheduler", "0", "end")),
        ("é.ü", ("é", "ü")),
        ("", None),
        ("a.", None),
        (".a", None),
        ("a..b", None),
        ("a b", None),
        ('a."b', None),
        ('"\\q"', None),
        ("a=b", None),
    ],
)
def test_split_key(text: str, key: Key | None) -> None:
    assert split_key(text) == key
