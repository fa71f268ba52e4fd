"""A plan needs no weights: its model is built on the meta device, where a tensor has a shape, a type and no memory.

What depends on the device (the fused implementation, the precision) asks here which one the run will have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_PLANNED: ContextVar[torch.device | None] = ContextVar("planned_device", default=None)


@contextmanager
def planned_for(device: torch.device) -> Iterator[None]:
    """Inside, tensors on the meta device stand for tensors on ``device``."""
    token = _PLANNED.set(device)
    try:
        yield
    finally:
        _PLANNED.reset(token)


class Watch(TorchFunctionMode):
    """Keeps what torch raised last: a model that catches it goes another way without values than with them."""

    def __init__(self) -> None:
        super().__init__()
        self.raised: Exception | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            self.raised = error
            raise


@contextmanager
def on_meta() -> Iterator[Watch]:
    """Inside, tensors are made on the meta device; weights that a model reads from a file are left out in silence."""
    with warnings.catch_warnings(), torch.device("meta"), Watch() as watch:
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        yield watch


def device_of(tensor: Tensor) -> torch.device:
    """The device that a tensor is on, or will be on in the run that is planned."""
    planned = _PLANNED.get()
    return planned if tensor.is_meta and planned is not None else tensor.device


def has_weights(model: nn.Module) -> bool:
    """Whether every parameter and buffer of a model has values, rather than a shape alone."""
    return not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
