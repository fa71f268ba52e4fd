"""Averaged weights: in the model while it is evaluated, and whole in a checkpoint. Whoever averages is a hook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers by name, a shared one once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@contextmanager
def weights_in(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """``weights`` are the model's inside; its own are put back after, to the bit, also where the inside raises.

    They are copied into the model's own tensors, so that a compiled model and an optimizer see the same objects as ever.
    """
    own = named_tensors(model)
    inside = [own[name] for name in weights]
    aside = [tensor.detach().clone() for tensor in inside]
    try:
        _copy(inside, weights.values())
        yield
    finally:
        _copy(inside, aside)


def averaged_state(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The model's ``state_dict`` with ``weights`` in place of its own, under every name that a shared tensor has."""
    averages = {id(tensor): weights[name] for name, tensor in named_tensors(model).items() if name in weights}
    state = model.state_dict(keep_vars=True)
    return {name: averages.get(id(value), _plain(value)) for name, value in state.items()}


@torch.no_grad()
def _copy(tensors: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


__all__ = ["averaged_state", "named_tensors", "weights_in"]
