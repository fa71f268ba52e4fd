"""A model whose names are those that a configuration's rules speak of, where its own cannot be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from optimctl_mmengine.importing.optimizers import PATTERNS

MOST = 200
"""Custom keys that get a part each."""


class Layers(nn.Module):
    """One of each kind of layer that rules by type tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.bn = nn.BatchNorm2d(8)
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.ones(3))
        self.table = nn.Parameter(torch.ones(2, 2))


def made_up_model(wrapper: Mapping[str, Any], names: Sequence[str] = ()) -> nn.Module:
    """A model with a part for each custom key, under its name, and layers of all kinds in each.

    Args:
        wrapper: The configuration's ``optim_wrapper``.
        names: The sub-modules that have optimizers of their own.
    """
    if not names:
        return _part(_keys(wrapper))
    model = nn.Module()
    for name in names:
        _hang(model, name, _part(_keys(wrapper[name])))
    return model


def _part(keys: Sequence[str]) -> nn.Module:
    """Layers of all kinds; the same under each key, and under each key within the one before it."""
    model = Layers()
    _hang(model, "other", Layers())
    before: nn.Module | None = None
    for key in keys[:MOST]:
        own = Layers()
        _hang(model, key, own)
        if before is not None:
            _hang(before, key, Layers())
        before = own
    return model


def _keys(wrapper: Mapping[str, Any]) -> list[str]:
    rules = wrapper.get("paramwise_cfg")
    keys = rules.get("custom_keys") if isinstance(rules, Mapping) else None
    names = [str(key) for key in keys] if isinstance(keys, Mapping) else []
    return [name for name in names if not name.startswith(PATTERNS)]


def _hang(model: nn.Module, path: str, part: nn.Module) -> None:
    """Put a part under a path; where a parameter or a layer has the last name already, nothing is done."""
    names = list(_names(path))
    for name in names[:-1]:
        inner = model._modules.get(name)
        if inner is None:
            if hasattr(model, name):
                return
            inner = nn.Module()
            model.add_module(name, inner)
        model = inner
    if names and not hasattr(model, names[-1]):
        model.add_module(names[-1], part)


def _names(path: str) -> Iterator[str]:
    """The parts of a path that can be names."""
    yield from (name for name in path.split(".") if name)


__all__ = ["made_up_model"]
