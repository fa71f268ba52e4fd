"""``_base_`` as ``extends``: what a configuration adds to those that it builds on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optimctl.errors import Key, key_text

PLUGINS: tuple[Key, ...] = (
    ("model",),
    ("task",),
    ("train_dataloader", "dataset"),
    ("val_dataloader", "dataset"),
    ("test_dataloader", "dataset"),
    ("optim_wrapper", "optimizer"),
    ("optim_wrapper", "constructor"),
)
"""Tables that go whole where the child names another ``type``."""


def laid_over(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Jobs one over the other, as ``extends`` lays them: tables merge, arrays replace."""
    merged: dict[str, Any] = {}
    for table in tables:
        merged = _merged((), merged, table)
    return merged


def _merged(key: Key, base: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    if _is_another(key, base, child):
        return dict(child)
    merged = dict(base)
    for name, value in child.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged((*key, name), below, value) if both else value  # type: ignore[arg-type]
    return merged


def difference(base: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """The file that makes ``child`` of ``base``: its own values, and in ``unset`` the keys that it takes away."""
    unset: list[str] = []
    own = _difference((), base, child, unset)
    return {**({"unset": unset} if unset else {}), **own}


def _difference(key: Key, base: Mapping[str, Any], child: Mapping[str, Any], unset: list[str]) -> dict[str, Any]:
    if _is_another(key, base, child):
        return dict(child)
    unset += [key_text((*key, name)) for name in base if name not in child]
    own: dict[str, Any] = {}
    for name, value in child.items():
        below = base.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            inner = _difference((*key, name), below, value, unset)
            if inner:
                own[name] = inner
        elif name not in base or not same(below, value):
            own[name] = value
    return own


def same(one: Any, other: Any) -> bool:
    """Whether two values of TOML are the same, their types too: 1 is not true, and not 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _is_another(key: Key, base: Mapping[str, Any], child: Mapping[str, Any]) -> bool:
    """Whether a table names another plugin than the one below it, which then goes whole."""
    is_plugin = key in PLUGINS or (
        len(key) == 3 and key[0] == "optim_wrapper" and key[2] in ("optimizer", "constructor")
    )
    return is_plugin and "type" in base and "type" in child and base["type"] != child["type"]


__all__ = ["difference", "laid_over", "same"]
