"""Mixed precision: the forward pass under autocast, and float16's gradients scaled."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from optimctl.errors import JobError, Problem, listing, nearest
from optimctl.optim.planned import device_of
from optimctl.optim.wrapper import OptimWrapper

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
SCALE_OPTIONS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "init_scale": ("a number above 0", lambda value: _is_number(value) and 0 < value < math.inf),
    "growth_factor": ("a number above 1", lambda value: _is_number(value) and 1 < value < math.inf),
    "backoff_factor": ("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1),
    "growth_interval": ("a whole number from 1 up", lambda value: type(value) is int and value >= 1),
    "enabled": ("true or false", lambda value: isinstance(value, bool)),
}
"""The arguments of ``torch.amp.GradScaler``: what each must be, in words and as a check."""


class AmpOptimWrapper(OptimWrapper):
    """An ``OptimWrapper`` whose forward pass runs in a shorter floating-point type (``torch.autocast``).

    Gradients of float16 are computed from a scaled loss, so that small ones are not lost; an update whose gradients overflow
    is skipped, and the scale goes down. bfloat16 has float32's range and needs none of that.

    Args:
        optimizer: The optimizer.
        loss_scale: ``"dynamic"``, a fixed number, or a table of ``torch.amp.GradScaler``'s arguments; for float16 only.
        dtype: ``"float16"`` or ``"bfloat16"``. Default: float16 on CUDA and MPS, bfloat16 on the CPU, as torch has it.
        accumulative_counts: As in ``OptimWrapper``.
        clip_grad: As in ``OptimWrapper``; gradients are clipped once their scale is taken off.

    Raises:
        JobError: The device cannot compute in this type, or an option is wrong; keys are seen from ``optim_wrapper``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        loss_scale: Literal["dynamic"] | float | Mapping[str, Any] = "dynamic",
        dtype: Literal["float16", "bfloat16"] | None = None,
        accumulative_counts: int = 1,
        clip_grad: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.device_type: str = device_of(optimizer.param_groups[0]["params"][0]).type
        self.dtype = _checked_dtype(dtype, self.device_type)
        arguments, self._fixed_scale = _scaler_arguments(loss_scale)
        scales = self.dtype is torch.float16
        self.scaler = (
            GradScaler(self.device_type, **arguments) if scales else GradScaler(self.device_type, enabled=False)
        )
        if scales and self.requires_closure:
            message = (
                f'{type(optimizer).__name__} evaluates the loss itself, which float16 does not allow; use "bfloat16"'
            )
            raise JobError.single(("dtype",), message, "no-closure")
        if scales and getattr(self.clip, "error_if_nonfinite", False):
            message = "under float16 a norm that is not finite is usual: that update is skipped; take this out"
            raise JobError.single(("clip_grad", "error_if_nonfinite"), message, "wrong-value")
        self._skipped_before = 0
        self._skipped: Tensor | None = None

    @property
    def skipped(self) -> int:
        """Updates that were left out because a gradient overflowed; reading it waits for the device."""
        return self._skipped_before + (0 if self._skipped is None else int(self._skipped.item()))

    @property
    def updates(self) -> int:
        """Updates of the parameters so far, skipped ones left out; under float16, reading it waits for the device."""
        return self._steps - self.skipped

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass runs inside, under autocast."""
        with super().optim_context(model), torch.autocast(self.device_type, dtype=self.dtype):
            yield

    def _evaluate_one(self, compute_loss: Callable[[], Tensor]) -> Tensor:
        with torch.autocast(self.device_type, dtype=self.dtype):
            return compute_loss()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of the scaled loss."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Take the scale off, clip, and step, unless a gradient overflowed."""
        has_gradients = any(p.grad is not None for group in self.param_groups for p in group["params"])
        if not self.scaler.is_enabled() or not has_gradients:
            super().step(**kwargs)
            return
        self.scaler.unscale_(self.optimizer)
        self._count_overflow()
        self.clip_gradients()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update(self._fixed_scale)
        self._steps += 1

    def _count_overflow(self) -> None:
        """Note, on the device, whether the update that is due will be skipped."""
        flags = list(self.scaler._found_inf_per_device(self.optimizer).values())
        overflow = torch.stack([flag.to(flags[0].device) for flag in flags]).amax().to(torch.int64)
        self._skipped = overflow if self._skipped is None else self._skipped + overflow

    def state_dict(self) -> dict[str, Any]:
        """As in ``OptimWrapper``, with the scale and the number of skipped updates."""
        return {**super().state_dict(), "loss_scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, which may also come from a run in full precision."""
        super().load_state_dict(state)
        self._skipped_before, self._skipped = int(state.get("skipped", 0)), None
        self._steps += self._skipped_before
        saved = state.get("loss_scaler")
        if saved and self._fixed_scale is None:  # how the scale grows and shrinks is the job's, as it is written now
            reached = {name: saved[name] for name in ("scale", "_growth_tracker")}
            self.scaler.load_state_dict({**self.scaler.state_dict(), **reached})


def _checked_dtype(name: Any, device_type: str) -> torch.dtype:
    """The type to compute in; torch itself says whether the device can."""
    if name is None:
        return torch.bfloat16 if device_type == "cpu" else torch.float16
    if not isinstance(name, str) or name not in DTYPES:
        hint = nearest(str(name), DTYPES)
        raise JobError.single(("dtype",), f"must be 'float16' or 'bfloat16', not {name!r}{hint}", "wrong-value")
    dtype = DTYPES[name]
    if device_type == "meta":
        return dtype
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with torch.autocast(device_type, dtype=dtype):
                torch.ones(2, 2, device=device_type) @ torch.ones(2, 2, device=device_type)
        except (RuntimeError, UserWarning) as error:
            other = next(each for each in DTYPES if each != name)
            message = f'this device ({device_type}) cannot compute in {name}: {error}; try "{other}", or the wrapper OptimWrapper'
            raise JobError.single(("dtype",), message, "no-dtype") from error
    return dtype


def _scaler_arguments(loss_scale: Any) -> tuple[dict[str, Any], float | None]:
    """The scaler's arguments, and the scale that stays where it is fixed."""
    if loss_scale == "dynamic":
        return {}, None
    if isinstance(loss_scale, Mapping):
        problems = [problem for option, value in loss_scale.items() for problem in _option_problems(option, value)]
        if problems:
            raise JobError(problems)
        return dict(loss_scale), None
    if not _is_number(loss_scale) or not 0 < loss_scale < math.inf:
        message = f'must be "dynamic", a number above 0 or a table, not {loss_scale!r}'
        raise JobError.single(("loss_scale",), message, "wrong-value")
    return {"init_scale": float(loss_scale)}, float(loss_scale)


def _option_problems(option: str, value: Any) -> Iterator[Problem]:
    key = ("loss_scale", option)
    if option not in SCALE_OPTIONS:
        hint = nearest(option, SCALE_OPTIONS) or f"; it has {listing(SCALE_OPTIONS)}"
        yield Problem(key, f"GradScaler has no argument '{option}'{hint}", "unknown-argument")
        return
    wanted, is_right = SCALE_OPTIONS[option]
    if not is_right(value):
        yield Problem(key, f"must be {wanted}, not {value!r}", "wrong-value")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
