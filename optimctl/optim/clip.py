"""Gradient clipping: the job's table ``clip_grad`` as a frozen record that clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from optimctl.job.schema import ClipByValue, read_clip_grad


@dataclass(frozen=True)
class ClipNorm:
    """All gradients together, seen as one vector, are scaled down to ``max_norm`` (``torch.nn.utils.clip_grad_norm_``).

    Args:
        max_norm: The largest norm that passes; ``inf`` only measures.
        norm_type: The p of the p-norm; ``inf`` for the largest element.
        error_if_nonfinite: Raise a ``RuntimeError`` where the norm is not finite; to know, the run waits for the device.
    """

    max_norm: float
    norm_type: float = 2.0
    error_if_nonfinite: bool = False

    def __str__(self) -> str:
        return f"gradients clipped to a norm of {self.max_norm:g}"

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Clip in place; returns the norm before clipping, a scalar on the gradients' device."""
        norm: Tensor = clip_grad_norm_(_clippable(parameters), self.max_norm, self.norm_type, self.error_if_nonfinite)
        return norm


@dataclass(frozen=True)
class ClipValue:
    """Each element of each gradient is cut to [-clip_value, clip_value] (``torch.nn.utils.clip_grad_value_``)."""

    clip_value: float

    def __str__(self) -> str:
        return f"gradients clipped to values of {self.clip_value:g}"

    def __call__(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Clip in place; there is no norm to return."""
        clip_grad_value_(_clippable(parameters), self.clip_value)
        return None


def read_clip(table: Mapping[str, Any] | None) -> ClipNorm | ClipValue | None:
    """What the table ``clip_grad`` asks for; the table stays as it is.

    Raises:
        JobError: Keys are seen from ``optim_wrapper``.
    """
    if table is None:
        return None
    read = read_clip_grad(table, ("clip_grad",))
    if isinstance(read, ClipByValue):
        return ClipValue(read.clip_value)
    return ClipNorm(read.max_norm, float(read.norm_type), read.error_if_nonfinite)


def _clippable(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters; for a sparse gradient, which torch cannot clip, a stand-in whose gradient is its values."""
    return [_values_alone(p) if (grad := p.grad) is not None and grad.is_sparse else p for p in parameters]


def _values_alone(parameter: Any) -> Tensor:
    parameter.grad = parameter.grad.coalesce()  # one entry an index, all others are 0
    values: Tensor = parameter.grad.values()
    stand_in = torch.empty_like(values)
    stand_in.grad = values
    return stand_in


__all__ = ["ClipNorm", "ClipValue", "read_clip"]
