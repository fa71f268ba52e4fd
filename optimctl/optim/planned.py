"""A plan needs no weights: its model is built on the meta device, where a tensor has a shape, a type and no memory.

What depends on the device (the fused implementation, the precision) asks here which one the run will have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_PLANNED: ContextVar[torch.device | None] = ContextVar("planned_device", default=None)


@contextmanager
def planned_for(device: torch.device) -> Iterator[None]:
    """Inside, tensors on the meta device stand for tensors on ``device``."""
    token = _PLANNED.set(device)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def device_of(tensor: Tensor) -> torch.device:
    """The device that a tensor is on, or will be on in the run that is planned."""
    planned = _PLANNED.get()
    return planned if tensor.is_meta and planned is not None else tensor.device


def has_weights(model: nn.Module) -> bool:
    """Whether every parameter and buffer of a model has values, rather than a shape alone."""
    return not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
