"""What people who come from elsewhere write, and where it belongs here."""

from __future__ import annotations

import pytest

from optimctl.errors import Key
from optimctl.job import hints
from optimctl.job.hints import argument_hint, table_of, unknown_key
from optimctl.job.schema import KEYS


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("schedulers", "total_iters", "; here it is `end`"),
        ("optimizers", "learning_rate", "; here it is `lr`"),
        ("optimizers", "total_iters", ""),
        ("models", "learning_rate", ""),
    ],
)
def test_arguments(kind: str, name: str, hint: str) -> None:
    assert argument_hint(kind, name) == hint


@pytest.mark.parametrize("here", sorted(set(hints._HERE.values())))
def test_what_a_hint_points_at_exists(here: str) -> None:
    *table, name = here.split(".")
    plugin = tuple(table) == ("optim_wrapper", "optimizer")
    assert plugin or name in KEYS[tuple(table)] or tuple(table) == ("hooks",)


@pytest.mark.parametrize("name", sorted({*hints._HERE, *hints._SENTENCES}))
def test_no_word_of_others_is_a_key_of_the_format(name: str) -> None:
    assert not any(name in names for names in KEYS.values())


@pytest.mark.parametrize(
    ("key", "table"),
    [
        (("optim_wrapper", "generator", "clip_grad"), ("optim_wrapper", "clip_grad")),
        (
            ("optim_wrapper", "paramwise_cfg", "custom_keys", "a.b"),
            ("optim_wrapper", "paramwise_cfg", "custom_keys", "*"),
        ),
        (("param_scheduler", 3), ("param_scheduler",)),
        (("param_scheduler", "generator", 0), ("param_scheduler",)),
        (("hooks", "EMA"), ("hooks", "*")),
        ((), ()),
    ],
)
def test_the_table_at_a_key(key: Key, table: Key) -> None:
    assert table_of(key, KEYS) == table


def test_a_key_far_from_home() -> None:
    problem = unknown_key(("task", "max_norm"), KEYS)
    assert str(problem) == "task.max_norm: `max_norm` belongs in `optim_wrapper.clip_grad`"
