"""Which value wins: one rule for a file over its base and for a command's options over the file.

Tables merge, arrays replace. Where the upper one names another ``type`` for a model, a task, a dataset, an optimizer, a
constructor or a hook, the lower one's table goes whole; of two keys that exclude each other, the upper one's stays. What
went is told. Everything here is a pure function of
plain TOML values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optimctl.errors import Key, key_text, listing

EXCLUSIVE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "train_cfg": (("max_epochs", "max_iters"),),
    "clip_grad": (("max_norm", "clip_value"), ("norm_type", "clip_value"), ("error_if_nonfinite", "clip_value")),
    "param_scheduler": (("by", "by_epoch"), ("eta_min", "eta_min_ratio")),
}
"""Keys that cannot stand side by side, by the table that they stand in. Of two such keys, the upper one stays."""


@dataclass(frozen=True)
class Dropped:
    """Keys of a table that went because of what was laid over it."""

    key: Key
    names: tuple[str, ...]
    because: str

    def __str__(self) -> str:
        return f"{key_text(self.key)}: {listing(self.names)} went, because {self.because}"


@dataclass(frozen=True)
class Merged:
    """A table that came of two, and what of the lower one was dropped."""

    data: dict[str, Any]
    dropped: tuple[Dropped, ...] = ()


def merge(base: Mapping[str, Any], child: Mapping[str, Any], options: bool = False) -> Merged:
    """Lay ``child`` over ``base``.

    Args:
        options: Whether ``child`` is a command's options: then a table whose keys are indices changes elements of the
            array below it.
    """
    dropped: list[Dropped] = []
    return Merged(_merge_tables((), base, child, options, dropped), tuple(dropped))


def without(data: Any, key: Key) -> Any:
    """``data`` less the value at ``key``.

    Raises:
        LookupError: There is nothing at ``key``, or it is an element of an array.
    """
    part, rest = key[0], key[1:]
    if isinstance(data, list):
        index = array_index(data, part)
        if index is None or not rest:
            raise LookupError(key)
        return [*data[:index], without(data[index], rest), *data[index + 1 :]]
    if not isinstance(data, dict) or part not in data:
        raise LookupError(key)
    if not rest:
        return {name: value for name, value in data.items() if name != part}
    return {**data, part: without(data[part], rest)}


def array_index(array: list[Any], part: str | int) -> int | None:
    """The index that a part of a key means in ``array``; None where it is none, or past the end."""
    text = str(part)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return None
    return int(text) if int(text) < len(array) else None


def element(data: Any, part: str | int) -> Any:
    """What a table has at a key or an array at an index; None where there is nothing."""
    if isinstance(data, list):
        index = array_index(data, part)
        return None if index is None else data[index]
    return data.get(part) if isinstance(data, dict) else None


def _merge_tables(
    key: Key, base: Mapping[str, Any], child: Mapping[str, Any], options: bool, dropped: list[Dropped]
) -> dict[str, Any]:
    was, now = _type(key, base), child.get("type")
    if _is_plugin(key) and isinstance(was, str) and isinstance(now, str) and not _same_plugin(was, now):
        names = tuple(name for name in base if name != "type")
        dropped += [Dropped(key, names, f"`type` is {now}, no longer {was}")] if names else []
        return dict(child)
    excluded = {name: other for name in base if name not in child for other in _excluding(key, name, child)}
    dropped += [Dropped(key, (name,), f"`{other}` excludes it") for name, other in excluded.items()]
    kept = {name: value for name, value in base.items() if name not in excluded}
    for name, value in child.items():
        kept[name] = _merge_values((*key, name), kept[name], value, options, dropped) if name in kept else value
    return kept


def _merge_values(key: Key, base: Any, child: Any, options: bool, dropped: list[Dropped]) -> Any:
    if _is_constructor(key) and isinstance(base, (str, dict)) and isinstance(child, (str, dict)):
        merged = _merge_tables(key, _as_table(base), _as_table(child), options, dropped)
        return child if isinstance(child, str) and list(merged) == ["type"] else merged
    if isinstance(base, dict) and isinstance(child, dict):
        return _merge_tables(key, base, child, options, dropped)
    if options and isinstance(base, list) and isinstance(child, dict) and _are_indices(base, child):
        elements = list(base)
        for part, value in child.items():
            index = int(part)
            elements[index] = _merge_values((*key, index), elements[index], value, options, dropped)
        return elements
    return child


def _are_indices(array: list[Any], table: Mapping[str, Any]) -> bool:
    return bool(table) and all(array_index(array, part) is not None for part in table)


def _as_table(constructor: str | dict[str, Any]) -> dict[str, Any]:
    return {"type": constructor} if isinstance(constructor, str) else constructor


def _is_constructor(key: Key) -> bool:
    return len(key) in (2, 3) and key[0] == "optim_wrapper" and key[-1] == "constructor"


def _is_plugin(key: Key) -> bool:
    """Whether the table at ``key`` is one plugin with its arguments."""
    match key:
        case ("model" | "task",) | ("hooks", _) | ("optim_wrapper", "optimizer" | "constructor"):
            return True
        case (("train_dataloader" | "val_dataloader" | "test_dataloader"), "dataset"):
            return True
        case ("optim_wrapper", name, "optimizer" | "constructor"):
            return name not in ("optimizer", "constructor", "paramwise_cfg", "clip_grad")
    return False


def _type(key: Key, table: Mapping[str, Any]) -> Any:
    return table.get("type", key[1] if len(key) == 2 and key[0] == "hooks" else None)


def _same_plugin(one: str, other: str) -> bool:
    """Whether two names may be one plugin: equal, or equal but for a distribution that only one of them names."""
    return one == other or (one.rpartition("/")[2] == other.rpartition("/")[2] and ("/" in one) != ("/" in other))


def _excluding(key: Key, name: str, child: Mapping[str, Any]) -> list[str]:
    """The keys of ``child`` beside which ``name`` cannot stand."""
    tables = [part for part in key if part in EXCLUSIVE]
    pairs = EXCLUSIVE[str(tables[-1])] if tables else ()
    return [other for pair in pairs if name in pair for other in pair if other != name and other in child]
