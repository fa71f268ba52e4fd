"""The task of OpenMMLab's models: they compute their losses themselves, from batches that their ``data_preprocessor`` prepares.

An evaluation gives sums over samples. A model's losses are such sums, and so is a metric that is a mean over samples, as accuracy or
PSNR. One that looks at the whole data at once, as mAP or mIoU, is none: it is left to MMEngine's own test tool.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import ConfigDict
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from torch import Tensor, nn

from optimctl.errors import JobError
from optimctl_mmengine.guard import guarded
from optimctl_mmengine.registries import enter_scope, read

Sums = dict[str, tuple[Any, int]]
"""For each metric its sum over a batch, and the number of samples behind it."""


@guarded()
def build_task(
    metrics: Sequence[dict[str, Any]] = (),
    scope: str | None = None,
    imports: Sequence[str] = (),
    own_step: bool = False,
) -> MMEngineTask:
    """The task of a model out of MMEngine's registries.

    Args:
        metrics: Metrics out of MMEngine's registries that are means over samples; each is computed batch by batch. Without any,
            an evaluation gives the model's losses.
        scope: The package whose registries are searched first.
        imports: Modules that register further classes.
        own_step: Whether the model's own ``train_step`` drives the optimizers, as those of a GAN must.
    """
    enter_scope(scope, imports)
    tables = [read(cfg, ("metrics", index), scope, METRICS) for index, cfg in enumerate(metrics)]
    evaluator = Evaluator([ConfigDict(cfg) for cfg in tables]) if tables else None
    for index, metric in enumerate(evaluator.metrics if evaluator else ()):
        if isinstance(metric, DumpResults):
            message = f"{type(metric).__name__} is no metric: it writes a file, which MMEngine's own test tool does"
            raise JobError.single(("metrics", index, "type"), message, "not-permitted")
    return OwnStepTask(evaluator) if own_step else MMEngineTask(evaluator)


class MMEngineTask:
    """Losses as ``BaseModel.train_step`` has them: ``data_preprocessor``, ``mode="loss"``, ``parse_losses``."""

    def __init__(self, evaluator: Evaluator | None = None) -> None:
        self.evaluator = evaluator

    @guarded()
    def loss(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """The losses of a batch by name; training goes backward from the sum of those called something with "loss"."""
        return _losses(model, batch, training=True)

    @guarded()
    def evaluate(self, model: nn.Module, batch: Any) -> Sums:
        """The metrics of a batch, each times its number of samples; without metrics, its losses."""
        if self.evaluator is not None:
            return self._metrics(model, batch, self.evaluator)
        parts, samples = _losses(model, batch, training=False), samples_in(batch)
        total = sum(value for name, value in parts.items() if "loss" in name)
        named = {name: value.detach() for name, value in parts.items() if isinstance(value, Tensor)}
        return {name: (value * samples, samples) for name, value in {**named, "loss": total}.items()}

    @staticmethod
    def _metrics(model: Any, batch: Any, evaluator: Evaluator) -> Sums:
        samples = samples_in(batch)
        evaluator.process(data_samples=model.val_step(copy.copy(batch)), data_batch=batch)
        found = evaluator.evaluate(samples)
        return {name: (float(value) * samples, samples) for name, value in found.items()}


class OwnStepTask(MMEngineTask):
    """As ``MMEngineTask``, for a model whose ``train_step`` drives several optimizers."""

    _steps = 0

    @guarded()
    def train_step(self, model: Any, batch: Any, optim_wrapper: Any) -> dict[str, Any] | None:
        """One iteration, updates and all, by the model's own ``train_step``; what it logs is recorded."""
        MessageHub.get_current_instance().update_info("iter", self._steps)
        self._steps += 1
        for wrapper in optim_wrapper.values() if isinstance(optim_wrapper, Mapping) else (optim_wrapper,):
            wrapper._accumulative_counts = wrapper.accumulative_counts  # what MMagic's models read
        logged: Mapping[str, Any] = model.train_step(batch, optim_wrapper=optim_wrapper)
        return _logged(logged)


def samples_in(batch: Any) -> int:
    """The number of samples in a batch: the length of the first list or tensor in it."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    items = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    for item in items:
        if isinstance(item, (list, tuple)) or (isinstance(item, Tensor) and item.ndim):
            return len(item)
        if isinstance(item, Mapping):
            return samples_in(item)
    return 1


def _losses(model: Any, batch: Any, training: bool) -> dict[str, Any]:
    """The losses of a batch by name, those to go backward from called something with "loss": their sum is ``parse_losses``'s."""
    data = model.data_preprocessor(batch, training)
    losses = model(**data, mode="loss") if isinstance(data, Mapping) else model(*data, mode="loss")
    total, parts = model.parse_losses(losses)
    if getattr(model.parse_losses, "__func__", None) is BaseModel.parse_losses:
        return {name: parts[name] for name in losses}
    return {"loss": total, **{name: value for name, value in parts.items() if "loss" not in name}}


def _logged(parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a model logs of its own step; where it has both the losses and their sum, the sum is made once more for the record."""
    names = [name for name in parts if "loss" in name]
    return {name: value for name, value in parts.items() if name != "loss" or len(names) == 1} if names else None


__all__ = ["MMEngineTask", "OwnStepTask", "build_task", "samples_in"]
