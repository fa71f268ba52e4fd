"""A job as text: what is read from it is what was written, and the comments stand where they belong."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimctl.job.syntax import parse
from optimctl.job.write import Document, not_toml, toml_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
KEYS = st.sampled_from(["a", "b", "type", "a.b", "", 'q"uote', "\t", "日本", "0"]) | TEXTS
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.dates(min_value=datetime.date(1, 1, 1))
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


@given(TABLES, st.dictionaries(st.lists(KEYS | st.integers(0, 2), max_size=3).map(tuple), TEXTS, max_size=3))
def test_what_is_written_is_read_again(data: dict[str, Any], comments: dict[tuple[str | int, ...], str]) -> None:
    assert parse(Document(data, comments).text(), "") == data


DATA = {
    "name": "x",
    "model": {"type": "MLP", "hidden": [1, 2], "inner": {"a": {"b": 1}}, "none": {}},
    "steps": [{"type": "LinearLR", "more": {"x": 1}}, {"type": "StepLR"}],
    "mixed": [1, {"a": [{"b": 2}]}],
    "hooks": {"EMA": {}, "CSV": {"interval": 1}},
}
COMMENTS: dict[tuple[str | int, ...], str] = {
    (): "first\n\nlast",
    ("name",): "its name",
    ("seed",): "seed = 0",
    ("model",): "the model",
    ("model", "hidden", 1): "two",
    ("model", "width"): "width = 3",
    ("model", "inner", "a", "c"): "c = 2",
    ("steps",): "the steps",
    ("steps", 1): "the second",
    ("steps", 1, "gamma"): "gamma = 0.1",
    ("steps", 7, "gamma"): "of a step that is not there",
    ("gone", "for", "good"): "gone\x1b[0m",
    ("hooks", "EMA", "decay"): "decay = 0.9",
}
TEXT = r"""# first
#
# last

# its name
name = "x"
mixed = [1, { a = [{ b = 2 }] }]
# seed = 0
# gone\x1b[0m

# the model
[model]
type = "MLP"
# two
hidden = [1, 2]
none = {}
# width = 3

[model.inner.a]
b = 1
# c = 2

# the steps
# of a step that is not there
[[steps]]
type = "LinearLR"
more = { x = 1 }

# the second
[[steps]]
type = "StepLR"
# gamma = 0.1

[hooks.EMA]
# decay = 0.9

[hooks.CSV]
interval = 1
"""


def test_the_whole_text() -> None:
    assert Document(DATA, COMMENTS).text() == TEXT
    assert parse(TEXT, "") == DATA


def test_a_long_array_goes_on_in_the_next_line() -> None:
    data = {"weights": [round(0.1 * index, 1) for index in range(60)], "text": "x" * 200}
    lines = Document(data).text().splitlines()
    assert lines[0] == "weights = ["
    assert max(map(len, lines[:-1])) <= 120
    assert len(lines) == 6
    assert parse("\n".join(lines), "") == data


def test_nothing() -> None:
    assert Document({}).text() == "\n"
    assert Document({"a": {}}).text() == "a = {}\n"


@pytest.mark.parametrize(
    ("name", "text"), [("lr-1_b", "lr-1_b"), ("a.b", '"a.b"'), ("", '""'), ("\n\x7f", r'"\n\u007f"')]
)
def test_a_key_is_quoted_where_it_has_to_be(name: str, text: str) -> None:
    assert toml_key(name) == text


def test_what_no_job_can_hold_is_found_by_its_key() -> None:
    data = {
        "a": None,
        "b": [1, {"c": {2}}],
        3: 1,
        "d": 2**63,
        "e": -(2**63),
        "f": math.nan,
        "g": datetime.date(2026, 1, 2),
    }
    assert list(not_toml(data)) == [(("a",), None), (("b", 1, "c"), {2}), (("3",), 3), (("d",), 2**63)]
