"""Which value wins; the laws of merging."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimctl.errors import Key
from optimctl.job.merge import Dropped, array_index, merge, without

leaves = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2)


def trees(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Trees in which a name says whether it is a table (upper case) or a value, so that shapes never clash."""
    if depth == 0:
        return st.dictionaries(st.sampled_from("abc"), leaves, max_size=3)
    tables = st.dictionaries(st.sampled_from("XYZ"), st.deferred(lambda: trees(depth - 1)), max_size=2)
    return st.builds(lambda values, tables: {**values, **tables}, trees(0), tables)


@given(trees(), trees(), trees())
def test_merging_is_associative_where_no_type_changes(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert merge(merge(a, b).data, c).data == merge(a, merge(b, c).data).data


@given(trees())
def test_nothing_is_neutral_and_a_tree_merges_with_itself(a: dict[str, Any]) -> None:
    assert merge({}, a).data == merge(a, {}).data == merge(a, a).data == a


@given(trees(), trees())
def test_the_child_wins_and_the_base_fills_up(a: dict[str, Any], b: dict[str, Any]) -> None:
    merged = merge(a, b).data
    assert merge(merged, b).data == merged
    assert set(merged) == {*a, *b}
    assert all(merged[name] == value for name, value in b.items() if not isinstance(value, dict))


@given(trees(), trees())
def test_neither_is_changed(a: dict[str, Any], b: dict[str, Any]) -> None:
    before = repr((a, b))
    merge(a, b, options=True)
    assert repr((a, b)) == before


SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("base", "child", "merged", "dropped"),
    [
        pytest.param(
            {"optim_wrapper": {"optimizer": SGD, "accumulative_counts": 4}},
            {"optim_wrapper": {"type": "AmpOptimWrapper", "optimizer": {"type": "AdamW"}}},
            {"optim_wrapper": {"optimizer": {"type": "AdamW"}, "accumulative_counts": 4, "type": "AmpOptimWrapper"}},
            ["optim_wrapper.optimizer: 'lr' and 'momentum' went, because `type` is AdamW, no longer SGD"],
            id="another optimizer, the wrapper merges",
        ),
        pytest.param(
            {"optim_wrapper": {"optimizer": SGD}},
            {"optim_wrapper": {"optimizer": {"type": "optimctl/SGD", "lr": 1.0}}},
            {"optim_wrapper": {"optimizer": {"type": "optimctl/SGD", "lr": 1.0, "momentum": 0.9}}},
            [],
            id="the same optimizer with its distribution",
        ),
        pytest.param(
            {"model": {"type": "one/Net", "a": 1}},
            {"model": {"type": "two/Net"}},
            {"model": {"type": "two/Net"}},
            ["model: 'a' went, because `type` is two/Net, no longer one/Net"],
            id="the same name of another distribution",
        ),
        pytest.param(
            {"optim_wrapper": {"generator": {"optimizer": SGD}}},
            {"optim_wrapper": {"generator": {"optimizer": {"type": "AdamW", "lr": 1.0}}}},
            {"optim_wrapper": {"generator": {"optimizer": {"type": "AdamW", "lr": 1.0}}}},
            ["optim_wrapper.generator.optimizer: 'lr' and 'momentum' went, because `type` is AdamW, no longer SGD"],
            id="one of several optimizers",
        ),
        pytest.param(
            {"train_dataloader": {"batch_size": 8, "dataset": {"type": "A", "root": "x"}}},
            {"train_dataloader": {"dataset": {"type": "B"}}},
            {"train_dataloader": {"batch_size": 8, "dataset": {"type": "B"}}},
            ["train_dataloader.dataset: 'root' went, because `type` is B, no longer A"],
            id="another dataset",
        ),
        pytest.param(
            {"hooks": {"EMA": {"decay": 0.9}}},
            {"hooks": {"EMA": {"type": "Other"}}},
            {"hooks": {"EMA": {"type": "Other"}}},
            ["hooks.EMA: 'decay' went, because `type` is Other, no longer EMA"],
            id="a hook whose name was its type",
        ),
        pytest.param(
            {"hooks": {"mine": {"type": "EMA", "decay": 0.9}}},
            {"hooks": {"mine": {"decay": 0.5}}},
            {"hooks": {"mine": {"type": "EMA", "decay": 0.5}}},
            [],
            id="a hook that keeps its type",
        ),
        pytest.param(
            {"optim_wrapper": {"constructor": "A"}},
            {"optim_wrapper": {"constructor": {"decay_rate": 0.9}}},
            {"optim_wrapper": {"constructor": {"type": "A", "decay_rate": 0.9}}},
            [],
            id="a constructor's name is its type",
        ),
        pytest.param(
            {"optim_wrapper": {"constructor": {"type": "A", "decay_rate": 0.9}}},
            {"optim_wrapper": {"constructor": "B"}},
            {"optim_wrapper": {"constructor": "B"}},
            ["optim_wrapper.constructor: 'decay_rate' went, because `type` is B, no longer A"],
            id="another constructor, by name",
        ),
        pytest.param(
            {"optim_wrapper": {"constructor": {"type": "A", "decay_rate": 0.9}}},
            {"optim_wrapper": {"constructor": "A"}},
            {"optim_wrapper": {"constructor": {"type": "A", "decay_rate": 0.9}}},
            [],
            id="the same constructor, by name",
        ),
        pytest.param(
            {"param_scheduler": [{"type": "LinearLR"}, {"type": "MultiStepLR"}]},
            {"param_scheduler": [{"end": 5}]},
            {"param_scheduler": [{"end": 5}]},
            [],
            id="arrays replace",
        ),
        pytest.param(
            {"train_cfg": {"max_iters": 5}},
            {"train_cfg": {"max_epochs": 5}},
            {"train_cfg": {"max_epochs": 5}},
            ["train_cfg: 'max_iters' went, because `max_epochs` excludes it"],
            id="of keys that exclude each other the upper one stays",
        ),
        pytest.param(
            {"task": {"loss": {"type": "A", "weight": 1}}},
            {"task": {"loss": {"type": "B"}}},
            {"task": {"loss": {"type": "B", "weight": 1}}},
            [],
            id="a table in a plugin's arguments is no plugin",
        ),
    ],
)
def test_a_file_over_its_base(
    base: dict[str, Any], child: dict[str, Any], merged: dict[str, Any], dropped: list[str]
) -> None:
    result = merge(base, child)
    assert result.data == merged
    assert [str(one) for one in result.dropped] == dropped


@pytest.mark.parametrize(
    ("base", "options", "merged"),
    [
        ({"train_cfg": {"max_iters": 5}}, {"train_cfg": {"max_epochs": 2}}, {"train_cfg": {"max_epochs": 2}}),
        (
            {"param_scheduler": [{"by_epoch": False, "eta_min": 0}, {"by_epoch": True}]},
            {"param_scheduler": {"0": {"by": "update", "eta_min_ratio": 0.1}}},
            {"param_scheduler": [{"by": "update", "eta_min_ratio": 0.1}, {"by_epoch": True}]},
        ),
        (
            {"optim_wrapper": {"clip_grad": {"max_norm": 1, "norm_type": 2, "error_if_nonfinite": True}}},
            {"optim_wrapper": {"clip_grad": {"type": "value", "clip_value": 0.5}}},
            {"optim_wrapper": {"clip_grad": {"type": "value", "clip_value": 0.5}}},
        ),
        (
            {"param_scheduler": [{"milestones": [1, 2, 3]}]},
            {"param_scheduler": {"0": {"milestones": {"1": 7}}}},
            {"param_scheduler": [{"milestones": [1, 7, 3]}]},
        ),
        (
            {"model": {"eta_min": 1}},
            {"model": {"eta_min_ratio": 1}},
            {"model": {"eta_min": 1, "eta_min_ratio": 1}},
        ),
    ],
)
def test_options_over_a_file(base: dict[str, Any], options: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge(base, options, options=True).data == merged


def test_what_was_dropped_is_a_record() -> None:
    (dropped,) = merge({"model": {"type": "A", "x": 1}}, {"model": {"type": "B"}}).dropped
    assert dropped == Dropped(("model",), ("x",), "`type` is B, no longer A")


@pytest.mark.parametrize(
    ("data", "key", "left"),
    [
        ({"a": {"b": 1, "c": 2}}, ("a", "b"), {"a": {"c": 2}}),
        ({"a": {"b": 1}}, ("a", "b"), {"a": {}}),
        ({"a": [{"b": 1}, {"b": 2}]}, ("a", "1", "b"), {"a": [{"b": 1}, {}]}),
    ],
)
def test_without(data: dict[str, Any], key: Key, left: dict[str, Any]) -> None:
    assert without(data, key) == left


@pytest.mark.parametrize("key", [("x",), ("a", "x"), ("a", "b", "c"), ("l", "0"), ("l", "9", "b"), ("l", "x", "b")])
def test_what_is_not_there_cannot_be_taken_away(key: Key) -> None:
    with pytest.raises(LookupError):
        without({"a": {"b": 1}, "l": [{"b": 1}]}, key)


@pytest.mark.parametrize(
    ("part", "index"),
    [(0, 0), ("1", 1), ("2", None), ("-1", None), ("x", None), ("", None), ("\u0660", None), (5, None)],
)
def test_array_index(part: str | int, index: int | None) -> None:
    assert array_index([1, 2], part) == index
