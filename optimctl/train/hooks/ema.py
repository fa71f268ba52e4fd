"""``EMA``: validation, the best checkpoint and exports use an average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from optimctl.errors import JobError, Problem
from optimctl.schedule.checks import flag, number, whole, wrong
from optimctl.train.averages import named_tensors
from optimctl.train.hooks import Hook

if TYPE_CHECKING:
    from torch import nn

    from optimctl.train.loop import Run


class EMA(Hook):
    """An exponential moving average of the weights, in the model during validation, and in checkpoints under ``averaged``.

    After an update, ``average = decay * average + (1 - decay) * weight``; the first update that counts starts the average
    with the weights as they are then, as torch's ``AveragedModel`` and MMEngine's ``ExponentialMovingAverage`` do. An update
    that float16 has skipped is none. Parameters that are never trained stay as they are; buffers, such as the statistics of
    batch norm, are the trained model's, unless ``update_buffers``. Averages of 16-bit weights are kept in 32 bits, or they would
    never move.

    Args:
        decay: What stays of the average at each update, from 0 up and below 1: 0.999 averages over about 1,000 updates.
        begin: Updates before the averaging begins; until then the weights themselves are used.
        interval: Updates between two that count.
        warmup: Let the n-th update that counts, from 0, keep at most (1 + n) / (10 + n), so that a short run is not
            dominated by its first weights. From TensorFlow's ``ExponentialMovingAverage``, with ``num_updates``.
        update_buffers: Average buffers of floating-point numbers too; those of integers stay the trained model's.

    Raises:
        JobError: An argument is out of range.
    """

    def __init__(
        self,
        decay: float = 0.9999,
        begin: int = 0,
        interval: int = 1,
        warmup: bool = False,
        update_buffers: bool = False,
    ) -> None:
        problems = [
            *_below_one("decay", decay),
            *whole("begin", begin),
            *whole("interval", interval, 1),
            *flag("warmup", warmup),
            *flag("update_buffers", update_buffers),
        ]
        if problems:
            raise JobError(problems)
        self.decay, self.begin, self.interval = decay, begin, interval
        self.warmup, self.update_buffers = warmup, update_buffers
        self._averages: dict[str, Tensor] = {}
        self._updates: int | None = None
        self._averaged = 0
        self._parameters: dict[str, nn.Parameter] = {}
        self._counts: list[int] = []

    def before_run(self, run: Run) -> None:
        """Note where the optimizers stand, and bring what a checkpoint held to where the weights are."""
        self._counts = _counts(run)
        if self._updates is None:
            self._updates = run.wrapper.updates
        own = named_tensors(run.model)
        self._averages = {n: average.to(own[n].device) for n, average in self._averages.items() if n in own}
        self._parameters = dict(run.model.named_parameters())

    def after_update(self, run: Run) -> None:
        """Average, unless the update was skipped or does not count."""
        counts = _counts(run)  # under float16 this waits for the device: only it knows whether the update was skipped
        if counts == self._counts:
            return
        self._counts = counts
        self._updates = (self._updates or 0) + 1
        since = self._updates - self.begin - 1
        if since >= 0 and since % self.interval == 0:
            self._average(run.model)

    def averaged(self, run: Run) -> dict[str, Tensor]:
        """The averages in the types of the weights; none before the first update that counts."""
        own = named_tensors(run.model)
        return {name: average.to(own[name].dtype) for name, average in self._averages.items()}

    def state_dict(self) -> dict[str, Any]:
        """The averages and the counts; tensors that are in the checkpoint under ``averaged`` too are written once."""
        return {"averages": dict(self._averages), "updates": self._updates, "averaged": self._averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""
        self._averages = {name: average.clone() for name, average in state["averages"].items()}
        self._updates, self._averaged = state["updates"], state["averaged"]

    @torch.no_grad()
    def _average(self, model: nn.Module) -> None:
        tensors = dict(self._tensors(model))
        if self._averages:
            weights = [tensors[name].to(average.dtype) for name, average in self._averages.items()]
            average_in = get_ema_multi_avg_fn(self._decay_now())  # type: ignore[no-untyped-call]
            average_in(list(self._averages.values()), weights, None)
        for name, tensor in tensors.items():
            if name not in self._averages:
                self._averages[name] = tensor.detach().to(_wide(tensor.dtype), copy=True)
        self._averaged += 1

    def _decay_now(self) -> float:
        n = self._averaged
        return min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay

    def _tensors(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """What is averaged: parameters that are trained, or were; and buffers, which a model may make anew at any time."""
        for name, parameter in self._parameters.items():
            if parameter.requires_grad or name in self._averages:
                yield name, parameter
        if self.update_buffers:
            for name, buffer in model.named_buffers():
                if buffer.is_floating_point():
                    yield name, buffer


def _counts(run: Run) -> list[int]:
    """The updates of each optimizer: an iteration need not update them all."""
    return [wrapper.updates for wrapper in run.wrappers.values()]


def _below_one(name: str, value: Any) -> Iterator[Problem]:
    problems = list(number(name, value, least=0))
    if not problems and value >= 1:
        problems.append(wrong(name, f"must be below 1, or the average never moves, not {value!r}"))
    yield from problems


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type to average in: at least 32 bits."""
    return torch.promote_types(dtype, torch.float32)
