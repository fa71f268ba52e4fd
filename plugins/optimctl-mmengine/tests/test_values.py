"""Values of a configuration come back out of a job as what they were: TOML's own, and literals for the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli
import torch
from hypothesis import given
from hypothesis import strategies as st
from optimctl_mmengine.values import Unsayable, from_toml, plain, to_toml

from optimctl.export import Document

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
KEYS = st.text(max_size=3) | st.integers(0, 9) | st.just("python")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    text = Document({"value": to_toml(value)}).text()
    again = from_toml(tomli.loads(text)["value"])
    assert again == value
    assert typed(again) == typed(value)


def typed(value: Any) -> Any:
    """A value with the types in it: True is not 1, and a tuple no list."""
    if isinstance(value, dict):
        return {(type(key), key): typed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    return type(value), repr(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, {"python": "None"}),
        ((1333, 800), {"python": "(1333, 800)"}),
        ({0: "a"}, {"python": "{0: 'a'}"}),
        ({"python": "x"}, {"python": "{'python': 'x'}"}),
        ([1, (2,)], [1, {"python": "(2,)"}]),
        (2**64, {"python": "18446744073709551616"}),
        (float("inf"), float("inf")),
    ],
)
def test_how_a_value_is_written(value: Any, written: Any) -> None:
    assert to_toml(value) == written


def test_classes_stand_as_their_names() -> None:
    values = {
        "type": torch.optim.SGD,
        "dtype": torch.float16,
        "file": Path("a.pth"),
        "function": shutil.copy,
        "layers": (Path("b"),),
    }
    assert plain(values) == {
        "type": "torch.optim.sgd.SGD",
        "dtype": "float16",
        "file": "a.pth",
        "function": "shutil.copy",
        "layers": ("b",),
    }


def test_what_cannot_be_written() -> None:
    with pytest.raises(Unsayable, match="is an object of type object"):
        to_toml([object()])
    with pytest.raises(Unsayable):
        to_toml((float("inf"),))
    with pytest.raises(ValueError, match="holds no literal of Python"):
        from_toml({"python": "__import__('os')"})
