"""``optimctl.explain``: the plan and the findings of an optimizer that was made anywhere.

In this room: ``Explanation``, and what it takes to look into other people's objects: wrappers of optimizers (accelerate's,
Lightning's, MMEngine's), and schedulers, which are copied onto an optimizer without weights and stepped there.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import nn
from torch.optim import Optimizer

from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.walk import unwrapped, walk
from optimctl.plan.findings.finding import Finding, finding
from optimctl.plan.page import plan_page
from optimctl.plan.plan import Plan, plan_of
from optimctl.plan.subject import Part, Subject
from optimctl.schedule.place import RunLength
from optimctl.schedule.scheduler import ParamSchedulers
from optimctl.schedule.to_torch import TorchParamScheduler

if TYPE_CHECKING:
    from optimctl.schedule.place import Placed

WIDTH = 120
"""Columns of the page where it is printed; a notebook scrolls."""
LENGTHS = ("total_steps", "T_max", "total_iters")
"""Where torch's schedulers say how long they are, in their own steps."""


@dataclass(frozen=True)
class Explanation:
    """What an optimizer does, for a person: print it, or let a notebook show it."""

    plan: Plan

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is worth knowing, as ``optimctl inspect`` finds it."""
        return self.plan.findings

    def as_json(self) -> dict[str, Any]:
        """The structure that ``optimctl inspect --json`` prints; ``job`` is None."""
        return self.plan.as_json()

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=WIDTH, highlight=False)
        with console.capture() as captured:
            for part in plan_page(self.plan):
                console.print(part)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def _repr_html_(self) -> str:
        console = Console(file=io.StringIO(), width=WIDTH, highlight=False, record=True, force_jupyter=False)
        for part in plan_page(self.plan):
            console.print(part)
        return console.export_html(inline_styles=True, code_format="<pre style='overflow-x:auto'>{code}</pre>")


def explain(
    model: nn.Module,
    optimizer: Any,
    schedulers: Any = None,
    *,
    iterations: int | None = None,
    epoch_length: int | None = None,
) -> Explanation:
    """The plan of an optimizer that was made anywhere: ``print(optimctl.explain(model, optimizer, scheduler))``.

    Nothing is changed: schedulers are looked at on copies, without the weights.

    Args:
        model: The model whose parameters it trains; the names come from here.
        optimizer: A torch optimizer, or what accelerate, Lightning, MMEngine or optimctl make of one; a mapping of several.
        schedulers: One scheduler or several, of torch, of MMEngine or of optimctl.
        iterations: How often the schedulers will step. Default: what they say themselves, where they do.
        epoch_length: Iterations an epoch, for schedulers of MMEngine that step by epoch.

    Raises:
        TypeError: ``optimizer`` is none, and holds none.
    """
    model = unwrapped(model)
    parts = [Part(name, one, wrapper=wrapper) for name, one, wrapper in _optimizers(optimizer)]
    found = _Schedulers(_scheduler_list(schedulers), parts, iterations, epoch_length)
    walked = list(walk(model))
    device = next((met.parameter.device for met in walked), torch.device("cpu"))
    subject = Subject(
        name=type(model).__name__,
        device=device,
        model=model,
        model_type=type(model).__name__,
        parts=parts,
        schedules=found,  # type: ignore[arg-type]
        length=found.length,
        walked=walked,
        counts=found.counts,
    )
    plan = plan_of(subject)
    return Explanation(replace(plan, findings=(*plan.findings, *found.findings())))


def _optimizers(optimizer: Any) -> Iterator[tuple[str, Optimizer, Any]]:
    """Each optimizer by name, and the wrapper of ours that it came in, if any."""
    if isinstance(optimizer, (list, tuple)):
        optimizer = {str(index): one for index, one in enumerate(optimizer)} if len(optimizer) != 1 else optimizer[0]
    if isinstance(optimizer, Mapping):
        for name, one in optimizer.items():
            yield from ((str(name), inner, wrapper) for _, inner, wrapper in _optimizers(one))
        return
    inner = optimizer
    while isinstance(getattr(inner, "optimizer", None), Optimizer):
        inner = inner.optimizer
    if not isinstance(inner, Optimizer):
        raise TypeError(f"an optimizer or a wrapper of one is needed, not {type(optimizer).__name__}")
    yield DEFAULT_NAME, inner, optimizer if hasattr(optimizer, "options") else None


def _scheduler_list(schedulers: Any) -> list[Any]:
    """Schedulers one by one: out of lists, Lightning's configurations and accelerate's wrappers."""
    if schedulers is None:
        return []
    if isinstance(schedulers, (list, tuple)):
        return [one for each in schedulers for one in _scheduler_list(each)]
    if isinstance(schedulers, Mapping):
        each = schedulers.get("scheduler")
        return _scheduler_list(each if each is not None else list(schedulers.values()))
    inner = getattr(schedulers, "scheduler", None)
    return [schedulers] if inner is None or not hasattr(inner, "step") else _scheduler_list(inner)


class _Schedulers:
    """The schedulers of an optimizer as a plan asks for them: the values at some iterations."""

    def __init__(
        self, schedulers: Sequence[Any], parts: Sequence[Part], iterations: int | None, epoch_length: int | None
    ) -> None:
        own = (one.schedulers if isinstance(one, TorchParamScheduler) else one for one in schedulers)
        self.schedulers = list(own)
        self.parts = parts
        self.epoch_length = epoch_length
        self.ours = next((one for one in self.schedulers if isinstance(one, ParamSchedulers)), None)
        known = iterations or next(filter(None, map(_length_of, self.schedulers)), None)
        waits_for_epochs = epoch_length is None and any(getattr(one, "by_epoch", False) for one in self.schedulers)
        steps = None if waits_for_epochs and len(self.schedulers) > 1 else known
        self.length = self.ours.length if self.ours is not None else RunLength(epoch_length, max_iters=steps)

    @property
    def counts(self) -> str:
        """What an iteration of the plan is, where it need not be one of the training."""
        return "iteration" if self.ours is not None or not self.schedulers else "step of the scheduler"

    @property
    def schedules(self) -> Mapping[str, list[Placed]]:
        """The schedules of optimctl among them, which findings can look into."""
        return {} if self.ours is None else self.ours.schedules

    def findings(self) -> Iterator[Finding]:
        """What could not be shown."""
        if self.schedulers and self.length.iterations is None:
            message = "how long the training is cannot be seen from the schedulers: say it with iterations=..."
            yield finding("schedule-not-shown", (), message)
        plateaus = [one for one in self.schedulers if isinstance(one, torch.optim.lr_scheduler.ReduceLROnPlateau)]
        if plateaus:
            yield finding("schedule-not-shown", (), "ReduceLROnPlateau waits for a metric, which is not known before")

    def values_at(self, iterations: Sequence[int]) -> Iterator[tuple[str, str, int, list[float]]]:
        """As ``ParamSchedulers.values_at``: optimizer, option, group, and a value an iteration."""
        if self.ours is not None:
            yield from self.ours.values_at(iterations)
            return
        for part in self.parts:
            yield from _Copies(part, self.schedulers, self.epoch_length).values_at(iterations)


class _Copies:
    """Copies of an optimizer's schedulers on an optimizer of the same groups, with one number each for weights."""

    def __init__(self, part: Part, schedulers: Sequence[Any], epoch_length: int | None) -> None:
        groups = part.optimizer.param_groups
        self.name = part.name
        self.epoch_length = epoch_length
        options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.optimizer = torch.optim.SGD(
            [{"params": [nn.Parameter(torch.zeros(1))], **copy.deepcopy(one)} for one in options], lr=0.0
        )
        memo: dict[int, Any] = {id(part.optimizer): self.optimizer}
        if part.wrapper is not None:
            memo[id(part.wrapper)] = self.optimizer
        self.schedulers = [copy.deepcopy(one, memo) for one in schedulers if _steps_alone(one, part.optimizer)]

    def values_at(self, iterations: Sequence[int]) -> Iterator[tuple[str, str, int, list[float]]]:
        """The options that move at all."""
        if not self.schedulers or not iterations:
            return
        seen: dict[tuple[str, int], list[float]] = {}
        done = 0
        for iteration in iterations:
            while done < iteration:
                done += 1
                self._step(done)
            for key, value in self._numbers():
                seen.setdefault(key, []).append(value)
        moved = {option for (option, _), values in seen.items() if len(set(values)) > 1}
        for (option, index), values in seen.items():
            if option in (moved or {"lr"}):
                yield self.name, option, index, values

    def _step(self, done: int) -> None:
        for scheduler in self.schedulers:
            if not getattr(scheduler, "by_epoch", False) or done % (self.epoch_length or 1) == 0:
                with (
                    warnings.catch_warnings()
                ):  # torch's, of a scheduler that steps before its optimizer, which is none here
                    warnings.simplefilter("ignore")
                    scheduler.step()

    def _numbers(self) -> Iterator[tuple[tuple[str, int], float]]:
        for index, group in enumerate(self.optimizer.param_groups):
            for option, value in group.items():
                if option.startswith("initial_") or isinstance(value, bool):
                    continue
                if isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.ndim == 0):
                    yield (option, index), float(value)
                elif isinstance(value, tuple) and value and all(isinstance(one, float) for one in value):
                    yield from (((f"{option}[{at}]", index), float(one)) for at, one in enumerate(value))


def _steps_alone(scheduler: Any, optimizer: Optimizer) -> bool:
    """Whether it steps without being told anything, and on this optimizer."""
    own = getattr(scheduler, "optimizer", None)
    while isinstance(getattr(own, "optimizer", None), Optimizer):
        own = own.optimizer  # type: ignore[union-attr]
    waits = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) or hasattr(scheduler, "monitor")
    return own is optimizer and not waits


def _length_of(scheduler: Any) -> int | None:
    """How many steps a scheduler is made for, where it says so."""
    if isinstance(scheduler, torch.optim.lr_scheduler.SequentialLR):
        last = _length_of(scheduler._schedulers[-1])
        return None if last is None else int(scheduler._milestones[-1]) + last
    if isinstance(scheduler, torch.optim.lr_scheduler.ChainedScheduler):
        return max(filter(None, map(_length_of, scheduler._schedulers)), default=None)
    for function in getattr(scheduler, "lr_lambdas", ()):
        steps = getattr(function, "keywords", {}).get("num_training_steps")  # transformers' schedules are such partials
        if steps:
            return int(steps)
    found = next(
        (getattr(scheduler, name) for name in LENGTHS if isinstance(getattr(scheduler, name, None), int)), None
    )
    milestones = getattr(scheduler, "milestones", None)
    if found is None and milestones:
        return int(max(milestones)) + int(max(milestones)) // 4 + 1
    end = getattr(scheduler, "end", None)
    return found if found is not None else end if isinstance(end, int) and 0 < end < 10**9 else None


__all__ = ["Explanation", "explain"]
