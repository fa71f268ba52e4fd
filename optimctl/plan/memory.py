"""What training will hold in memory: weights, gradients and the optimizer's state, in bytes, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import is_lazy

from optimctl.optim.fused import torchs_class

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Memory:
    """Bytes that stay from step to step; activations and copies made in passing are not in it."""

    weights: int
    """Parameters and buffers."""
    gradients: int
    """Of the trainable parameters."""
    state: int | None
    """The optimizers' state once they have stepped; None where a class does not say."""

    @property
    def total(self) -> int:
        """All that is known."""
        return self.weights + self.gradients + (self.state or 0)


def memory_of(
    parameters: Sequence[torch.Tensor], buffers: Iterable[torch.Tensor], states: Sequence[int | None]
) -> Memory:
    """The memory of a model in training.

    Args:
        parameters: The model's, each once; with values or on the meta device, like its ``buffers``.
        buffers: What else is saved with it.
        states: What ``state_bytes`` says of each optimizer.
    """
    return Memory(
        weights=_bytes([*parameters, *buffers]),
        gradients=_bytes(parameter for parameter in parameters if parameter.requires_grad),
        state=None if None in states else sum(count for count in states if count is not None),
    )


def numbers_in(tensor: torch.Tensor) -> int:
    """How many numbers a tensor has; 0 where a lazy module has not made it yet."""
    return 0 if is_lazy(tensor) else tensor.numel()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(numbers_in(tensor) * tensor.element_size() for tensor in tensors if not is_lazy(tensor))


_STATE_TENSORS = {
    "ASGD": 1,
    "Adadelta": 2,
    "Adagrad": 1,
    "Adam": 2,
    "AdamW": 2,
    "Adamax": 2,
    "Muon": 1,
    "NAdam": 2,
    "RAdam": 2,
    "Rprop": 2,
    "SparseAdam": 2,
}
"""Tensors as large as the parameter that torch's optimizers keep for each."""


def state_bytes(optimizer: Optimizer) -> int | None:
    """The memory of the optimizer's state once it has stepped, in bytes; None for classes other than torch's."""
    kind = torchs_class(optimizer)
    if kind is None:
        return None
    total = 0
    for group in optimizer.param_groups:
        count = _state_tensors(kind.__name__, group)
        if count is None:
            return None
        total += count * _bytes(group["params"])
    return total


def _state_tensors(kind: str, group: Mapping[str, Any]) -> int | None:
    if kind == "SGD":
        return 1 if group["momentum"] else 0
    if kind == "RMSprop":
        return 1 + bool(group["momentum"]) + bool(group["centered"])
    known = _STATE_TENSORS.get(kind)
    return known if known is None else known + bool(group.get("amsgrad"))
