"""What a step goes backward from: the loss that a task gives, as one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from optimctl.errors import RunFailed, listing


def total_loss(loss: Any) -> Tensor:
    """What to go backward from: a tensor itself, or the sum of the entries of a dict whose names contain "loss".

    Raises:
        RunFailed: It is neither.
    """
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    named = {name: value for name, value in loss.items() if "loss" in str(name)} if isinstance(loss, Mapping) else {}
    odd = next((name for name, value in named.items() if not isinstance(value, Tensor) or value.numel() != 1), None)
    if odd is not None:
        raise RunFailed(f"a task's losses are tensors of one number; '{odd}' is {_told_value(named[odd])}")
    parts = list(named.values())
    if not parts:
        told = f"a dict with {listing(loss)}" if isinstance(loss, Mapping) else _told_value(loss)
        raise RunFailed(f'a task\'s loss is a tensor, or a dict with tensors named like "loss"; this is {told}')
    total: Tensor = sum(parts[1:], parts[0])
    return total


def _told_value(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


__all__ = ["total_loss"]
