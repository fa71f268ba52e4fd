"""What a plan is of: a model, its optimizers, their schedules and the run's length, wherever they came from.

In this room: ``Part`` (one optimizer), ``Subject``, and ``subject_of``, which reads one off a job's assembled parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, Place
from optimctl.optim.constructor import IMPLEMENTATIONS
from optimctl.optim.multi import DEFAULT_NAME, by_name
from optimctl.optim.walk import unwrapped, walk
from optimctl.schedule.place import Placed, RunLength
from optimctl.schedule.scheduler import Slot

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

    from optimctl.assemble import Assembly
    from optimctl.job.schema import Job
    from optimctl.optim.multi import OptimWrapperDict
    from optimctl.optim.options import Options, Walked
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.plugins import Plugin
    from optimctl.schedule.scheduler import ParamSchedulers
    from optimctl.weights import LoadedWeights


_NOT_OPTIONS = {"params", "param_names", *IMPLEMENTATIONS, "max_lr", "min_lr", "max_momentum", "base_momentum"}
"""What groups hold beside options; the last ones are notes of torch's OneCycleLR and CyclicLR to themselves."""


@dataclass(frozen=True)
class Part:
    """One optimizer, and where it stands in its job."""

    name: str
    optimizer: Optimizer
    plugin: Plugin | None = None
    wrapper: OptimWrapper | None = None
    wrapper_name: str = DEFAULT_NAME
    first_group: int = 0
    """Its first group's index in the wrapper."""

    @property
    def prefix(self) -> Key:
        """Where the wrapper's table stands, seen from ``optim_wrapper``; also the sub-module whose parameters it trains."""
        return () if self.wrapper_name == DEFAULT_NAME else (self.wrapper_name,)

    @property
    def chosen(self) -> Mapping[str, Options]:
        """The options of each parameter by its full name, with their reasons; empty where nobody noted them."""
        options: Mapping[str, Options] = getattr(self.wrapper, "options", {})
        return {".".join([*map(str, self.prefix), name]): one for name, one in options.items()}

    @property
    def accumulative_counts(self) -> int:
        """Iterations an update."""
        return int(getattr(self.wrapper, "accumulative_counts", 1))


@dataclass(frozen=True)
class Subject:
    """All that a plan is made from."""

    name: str
    device: torch.device
    model: nn.Module | None
    model_type: str | None
    parts: Sequence[Part]
    schedules: ParamSchedulers | None
    length: RunLength
    job: Job | None = None
    task: Any = None
    weights: LoadedWeights | None = None
    needs_values: str | None = None
    walked: Sequence[Walked] = field(default_factory=list)
    """The model's parameters, each once."""
    counts: str = "iteration"
    """What the schedules' iterations are."""

    @property
    def placed(self) -> Iterator[tuple[str, Key, Placed]]:
        """Every schedule of every optimizer: the optimizer's name, the key from the top of the job, and the schedule."""
        several = self.job is not None and isinstance(self.job.param_scheduler, dict)
        for name, schedules in self.schedules.schedules.items() if self.schedules is not None else ():
            for one in schedules:
                yield name, ("param_scheduler", *((name,) if several else ()), *one.key), one

    def length_of(self, optimizer: str) -> RunLength:
        """The run's length as an optimizer counts it: each has accumulation windows of its own."""
        own = (part.accumulative_counts for part in self.parts if part.wrapper_name == optimizer and part.wrapper)
        return replace(self.length, accumulative_counts=next(own, self.length.accumulative_counts))

    def place(self, key: Key) -> Place | None:
        """Where the job says ``key``."""
        return self.job.place(key) if self.job is not None and key else None

    def written(self, key: Key) -> Any:
        """What the job says at ``key``; None where it says nothing."""
        return None if self.job is None else written(self.job, key)


def subject_of(assembly: Assembly) -> Subject:
    """What an assembled job's plan is of."""
    job, model = assembly.job, None if assembly.model is None else unwrapped(assembly.model)
    return Subject(
        name=job.name,
        device=assembly.device,
        model=model,
        model_type=job.model.type if job.model else None if model is None else type(model).__name__,
        parts=[] if assembly.wrapper is None else list(_parts(assembly.wrapper)),
        schedules=assembly.schedules,
        length=assembly.length,
        job=job,
        task=assembly.task,
        weights=assembly.weights,
        needs_values=assembly.needs_values,
        walked=[] if model is None else list(walk(model)),
    )


def _parts(wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[Part]:
    for wrapper_name, one in by_name(wrapper).items():
        first = 0
        for route, optimizer, plugin in getattr(one, "parts", (("", one.optimizer, None),)):
            name = wrapper_name if not route else route if wrapper_name == DEFAULT_NAME else f"{wrapper_name}.{route}"
            yield Part(name, optimizer, plugin, one, wrapper_name, first)
            first += len(optimizer.param_groups)


def start_options(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's options at the start of the run: what a schedule has moved since is put back."""
    options = {key: value for key, value in group.items() if key not in _NOT_OPTIONS and not key.startswith("initial_")}
    for key, value in group.items():
        slot = Slot.parse(key.removeprefix("initial_"))
        if key.startswith("initial_") and slot.is_in(options):
            slot.write(options, value)
    return options


def told_options(group: Mapping[str, Any]) -> dict[str, Any]:
    """``start_options`` as a page and JSON tell them: a tensor of one number is the number, a larger one its shape."""
    return {option: told(value) for option, value in start_options(group).items()}


def told(value: Any) -> Any:
    """A value of an option; of an array the number, or the shape where it has several."""
    if not hasattr(value, "item"):
        return value
    return value.item() if math.prod(value.shape) == 1 else f"{type(value).__name__} of shape {tuple(value.shape)}"


def written(job: Job, key: Key) -> Any:
    """What a job says at ``key``; None where it says nothing."""
    value: Any = job.plain()
    for part in key:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value
