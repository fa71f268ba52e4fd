"""torch's learning rate schedulers, as schedules that a job can name.

In this room: ``adapt``, which makes a ``Schedule`` of a ``torch.optim.lr_scheduler.LRScheduler`` class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from optimctl.errors import JobError

if TYPE_CHECKING:
    from optimctl.schedule.curves import Maps, Steps


@dataclass
class _Probe:
    """A torch scheduler that runs on its own, and the maps of the steps that it has taken."""

    scheduler: LRScheduler
    reference: float
    absolute: bool
    maps: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class TorchSchedule:
    """The affine maps of a torch scheduler, found by running it on an optimizer of three groups.

    At each step the first group is where the scheduler alone would be, the second has another value, the third another
    base; what comes out of them are ``a``, ``b`` and ``c``. A class that overwrites the bases that it finds, as
    ``CyclicLR`` does, names absolute values: then a group whose base is a share of the job's value gets that share of
    them. A step costs about 20 microseconds, once.
    """

    make: Callable[..., LRScheduler]
    arguments: tuple[tuple[str, Any], ...]
    _probes: dict[float, _Probe] = field(default_factory=dict, compare=False, repr=False)

    def maps(self, t: Steps, reference: float) -> Maps:
        """The maps of the steps ``t``; the scheduler runs as far as that takes."""
        import numpy as np

        probe = self._probes.get(reference) or self._start(reference)
        while len(probe.maps) <= int(t[-1]):
            _step(probe)
        a, b, c = np.asarray([probe.maps[step] for step in t.tolist()]).T
        return a, b, c

    def _start(self, reference: float) -> _Probe:
        away = reference or 1.0
        starts = [(reference, reference), (reference + away, reference), (reference, reference + away)]
        groups: list[dict[str, Any]] = [{"params": [torch.zeros(1)], "lr": value} for value, _ in starts]
        for group, (_, base) in zip(groups[1:], starts[1:], strict=True):
            group["initial_lr"] = base  # the first is left to the scheduler, as alone
        optimizer = torch.optim.SGD(groups, lr=reference)
        scheduler = self.make(optimizer, **dict(self.arguments))
        optimizer.step()  # torch warns where a scheduler goes first
        absolute = [float(base) for base in scheduler.base_lrs] != [base for _, base in starts]
        probe = _Probe(scheduler, reference, absolute)
        probe.maps.append(_difference(probe, reference))
        self._probes[reference] = probe
        return probe


def _step(probe: _Probe) -> None:
    """Take one step of the scheduler, from where it would be alone."""
    groups = probe.scheduler.optimizer.param_groups
    away = probe.reference or 1.0
    value = float(groups[0]["lr"])
    for group, start in zip(groups, (value, value + away, value), strict=True):
        group["lr"] = start
    probe.scheduler.step()
    probe.maps.append(_difference(probe, value))


def _difference(probe: _Probe, value: float) -> tuple[float, float, float]:
    """The map that took the first group from ``value`` to where it is."""
    after, of_value, of_base = (float(group["lr"]) for group in probe.scheduler.optimizer.param_groups)
    away = probe.reference or 1.0
    if probe.absolute:
        return (0.0, 0.0, after / probe.reference) if probe.reference else (0.0, after, 0.0)
    a, c = (of_value - after) / away, (of_base - after) / away
    return a, after - a * value - c * probe.reference, c


def adapt(scheduler: type[LRScheduler]) -> Callable[..., TorchSchedule]:
    """A function from the arguments of a torch scheduler class (without the optimizer) to a ``Schedule``.

    ``cycle_momentum`` is off: a schedule moves one option.
    """
    parameters = inspect.signature(scheduler).parameters

    def make(**arguments: Any) -> TorchSchedule:
        if issubclass(scheduler, ReduceLROnPlateau):
            message = f"{scheduler.__name__} waits for a metric; write 'ReduceOnPlateauLR' or 'ReduceLROnPlateau'"
            raise JobError.single(("type",), message, "wrong-kind")
        if arguments.get("cycle_momentum"):
            message = "a schedule moves one option; give the momentum its own, such as 'CyclicMomentum'"
            raise JobError.single(("cycle_momentum",), message, "wrong-value")
        if "cycle_momentum" in parameters:
            arguments["cycle_momentum"] = False
        schedule = TorchSchedule(scheduler, tuple(arguments.items()))
        schedule._start(1.0)  # what is wrong with the arguments shows here
        return schedule

    return make
