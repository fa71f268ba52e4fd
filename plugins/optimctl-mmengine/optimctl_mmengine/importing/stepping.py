"""MMEngine's own schedulers, stepped through a run as its loops step them."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn
from torch.optim import SGD, Optimizer

from optimctl_mmengine.importing.names import last
from optimctl_mmengine.importing.optimizers import alike, torch_optimizer
from optimctl_mmengine.importing.warm_up import register
from optimctl_mmengine.values import listed


@dataclass(frozen=True)
class Stepped:
    """Options of an optimizer over a run."""

    bases: Mapping[str, float]
    """What each starts from, before any schedule."""
    values: Mapping[str, list[float]]
    """What each is in every iteration."""


@dataclass(frozen=True)
class Loop:
    """How MMEngine runs: what its loop counts, and whether a hook steps the schedules."""

    by_iteration: bool
    """Whether the loop is the one by iteration, which ends no epoch."""
    is_stepped: bool = True
    """Whether a schedule goes on after the step that it takes where it is built."""

    def iterations(self, train_cfg: Mapping[str, Any], epoch_length: int) -> int:
        """The length of a run, as a job says it."""
        return int(train_cfg["max_iters"] if self.by_iteration else train_cfg["max_epochs"] * epoch_length)


def stepped(
    schedules: Sequence[Mapping[str, Any]],
    optimizer: Mapping[str, Any],
    epoch_length: int,
    train_cfg: Mapping[str, Any],
    loop: Loop,
) -> Stepped:
    """What MMEngine's schedulers make of an optimizer's options.

    Args:
        schedules: The configuration's tables; what waits for a metric is left out.
        optimizer: The configuration's table.
        epoch_length: Iterations an epoch of the data.
        train_cfg: How long the run is, as a job says it.
        loop: How it is run.
    """
    target = _optimizer(optimizer)
    options = _options(target)
    start = {option: _value(target, option) for option in options}
    epochs = 1 if loop.by_iteration else train_cfg["max_epochs"]
    iterations = loop.iterations(train_cfg, epoch_length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moving = [_build(table, target, epoch_length, epochs, iterations) for table in schedules if not _waits(table)]
        moving = moving if loop.is_stepped else []
        values = _run(target, moving, options, iterations, 0 if loop.by_iteration else epoch_length)
    return Stepped(start, values)


def _run(
    target: Optimizer, moving: Sequence[Any], options: Sequence[str], iterations: int, epoch_length: int
) -> dict[str, list[float]]:
    """Every option in every iteration; epochs of length 0 never end."""
    values: dict[str, list[float]] = {option: [] for option in options}
    by_step = [one for one in moving if not one.by_epoch]
    by_epoch = [one for one in moving if one.by_epoch]
    target.step()
    for iteration in range(1, iterations + 1):
        for option, line in values.items():
            line.append(_value(target, option))
        for one in by_step:
            one.step()
        if epoch_length and iteration % epoch_length == 0:
            for one in by_epoch:
                one.step()
    return values


def _optimizer(table: Mapping[str, Any]) -> Optimizer:
    """An optimizer over one parameter that nobody trains, with the options of the configuration that its class has.

    A constructor may take further ones for itself, as MMPretrain's ``model_type``.
    """
    parameters = [nn.Parameter(torch.zeros(2, 2), requires_grad=False)]
    kind = torch_optimizer(table.get("type")) or SGD
    known = set(inspect.signature(kind).parameters) - {"params"}
    if kind is SGD:
        known = {"lr", "weight_decay", "momentum"}
    options = {name: alike(listed(value)) for name, value in table.items() if name in known and value is not None}
    return kind(parameters, **options)


def _options(target: Optimizer) -> list[str]:
    group = target.param_groups[0]
    names = [name for name in ("lr", "weight_decay", "momentum") if name in group]
    return [*names, *(["betas[0]"] if "betas" in group and "momentum" not in group else [])]


def _value(target: Optimizer, option: str) -> float:
    group = target.param_groups[0]
    return float(group["betas"][0] if option == "betas[0]" else group[option])


def _waits(table: Mapping[str, Any]) -> bool:
    return last(table.get("type")).startswith("ReduceOnPlateau")


def _build(table: Mapping[str, Any], target: Optimizer, epoch_length: int, epochs: int, iterations: int) -> Any:
    """A scheduler, as MMEngine's Runner builds it."""
    register()
    cfg = copy.deepcopy(dict(table))
    cfg.pop("_scope_", None)
    name = last(cfg["type"])
    cfg["type"] = f"{name.removesuffix('WeightDecay')}ParamScheduler" if name.endswith("WeightDecay") else name
    if name.endswith("WeightDecay"):
        cfg["param_name"] = "weight_decay"
    cfg.setdefault("end", epochs if cfg.get("by_epoch", True) else iterations)
    return PARAM_SCHEDULERS.build(cfg, default_args={"optimizer": target, "epoch_length": epoch_length})


__all__ = ["Loop", "Stepped", "stepped"]
