"""Schedulers that were made anywhere, as a plan asks for them: how long they are, and the values at some of their steps.

In this room: ``ForeignSchedulers``. A scheduler of torch or of MMEngine is copied onto an optimizer of the same groups with one number
each for weights, and stepped there, so that nothing of the training changes; what optimctl made is asked itself.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from optimctl.errors import raised_text
from optimctl.plan.findings.finding import Finding, counted, finding
from optimctl.schedule.place import RunLength
from optimctl.schedule.scheduler import ParamSchedulers
from optimctl.schedule.to_torch import TorchParamScheduler

if TYPE_CHECKING:
    from optimctl.plan.subject import Part
    from optimctl.schedule.place import Placed

LENGTHS = ("total_steps", "T_max", "total_iters")
"""Where torch's and MMEngine's schedulers say how long they are, in their own steps."""
ENDLESS = 10**9
"""What MMEngine's schedulers have as ``end`` where they have none."""


class ForeignSchedulers:
    """The schedulers of a training, in the place of a job's ``ParamSchedulers``.

    Args:
        schedulers: One or several, as ``optimctl.explain`` takes them.
        parts: The optimizers.
        model: Whatever of it a scheduler refers to is not copied.
        iterations: How often the schedulers will step from now on; None: what they say themselves.
        epoch_length: Iterations an epoch, for those that step by epoch.

    Raises:
        TypeError: There is something that does not step.
    """

    def __init__(
        self, schedulers: Any, parts: Sequence[Part], model: nn.Module, iterations: int | None, epoch_length: int | None
    ) -> None:
        found = _one_by_one(schedulers)
        self.schedulers = [one.schedulers if isinstance(one, TorchParamScheduler) else one for one in found]
        self.parts = parts
        self.model = model
        self.epoch_length = epoch_length
        self.ours = next((one for one in self.schedulers if isinstance(one, ParamSchedulers)), None)
        self.troubles: list[Finding] = []
        steps = iterations or self._steps_left()
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
        """What could not be shown, once the values were asked for."""
        waiting = [one for one in self.schedulers if _waits(one)]
        if len(waiting) < len(self.schedulers) and self.length.iterations is None:
            message = "how long the training is cannot be seen from the schedulers: say it with iterations=..."
            yield finding("schedule-not-shown", (), message)
        for one in waiting:
            message = f"{type(one).__name__} waits for a metric, which is not known before"
            yield finding("schedule-not-shown", (), message)
        optimizers = [part.optimizer for part in self.parts]
        for one in self.schedulers:
            own = _optimizer_of(one)
            if own is not None and not any(own is optimizer for optimizer in optimizers):
                message = f"{type(one).__name__} moves another {type(own).__name__} than the one that is explained"
                yield finding("scheduler-of-another", (), message)
        yield from self.troubles

    def values_at(self, iterations: Sequence[int]) -> Iterator[tuple[str, str, int, list[float]]]:
        """As ``ParamSchedulers.values_at``: optimizer, option, group, and a value an iteration."""
        if self.ours is not None:
            yield from self.ours.values_at(iterations)
            return
        for part in self.parts:
            own = [one for one in self.schedulers if _optimizer_of(one) is part.optimizer and not _waits(one)]
            if own and iterations:
                copies = _Copies(part, own, self.model, self.epoch_length)
                yield from copies.values_at(iterations)
                self.troubles += copies.troubles

    def _steps_left(self) -> int | None:
        """What is left of the longest of them, in iterations; None where any does not say."""
        stepping = [one for one in self.schedulers if not _waits(one)]
        if len(stepping) > 1 and self.epoch_length is None and any(map(_is_by_epoch, stepping)):
            return None
        lengths = [_length_of(one) for one in stepping]
        left = [
            max(length - _done(one), 1) * self._iterations_a_step(one)
            for one, length in zip(stepping, lengths, strict=True)
            if length
        ]
        return max(left) if left and len(left) == len(stepping) else None

    def _iterations_a_step(self, scheduler: Any) -> int:
        return self.epoch_length or 1 if _is_by_epoch(scheduler) else 1


class _Copies:
    """Copies of an optimizer's schedulers on an optimizer of the same groups, with one number each for weights."""

    def __init__(self, part: Part, schedulers: Sequence[Any], model: nn.Module, epoch_length: int | None) -> None:
        self.name = part.name
        self.epoch_length = epoch_length or 1
        self.troubles: list[Finding] = []
        groups = part.optimizer.param_groups
        options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.optimizer = torch.optim.SGD(
            [{"params": [nn.Parameter(torch.zeros(1))], **copy.deepcopy(one)} for one in options], lr=0.0
        )
        kept = (*model.modules(), *model.parameters(), *model.buffers())
        self.memo: dict[int, Any] = {id(one): one for one in kept} | {id(part.optimizer): self.optimizer}
        if part.wrapper is not None:
            self.memo[id(part.wrapper)] = self.optimizer
        self.schedulers = list(self._copied(schedulers))

    def _copied(self, schedulers: Iterable[Any]) -> Iterator[Any]:
        for one in schedulers:
            try:
                yield copy.deepcopy(one, self.memo)
            except Exception as error:  # whatever else it refers to: a lock, a file, a generator
                message = f"{type(one).__name__} cannot be copied to be looked at: {raised_text(error)}"
                self.troubles.append(finding("schedule-not-shown", (), message))

    def values_at(self, iterations: Sequence[int]) -> Iterator[tuple[str, str, int, list[float]]]:
        """The options that move at all; nothing where no scheduler could be copied."""
        if not self.schedulers:
            return
        seen: dict[tuple[str, int], list[float]] = {}
        for key, value in self._seen(iterations):
            seen.setdefault(key, []).append(value)
        moved = {option for (option, _), values in seen.items() if len(set(values)) > 1}
        for (option, index), values in seen.items():
            if option in (moved or {"lr"}):
                yield self.name, option, index, values

    def _seen(self, iterations: Sequence[int]) -> list[tuple[tuple[str, int], float]]:
        seen: list[tuple[tuple[str, int], float]] = []
        done = 0
        with warnings.catch_warnings():  # torch's, of a scheduler that steps before its optimizer, which is none here
            warnings.simplefilter("ignore")
            for iteration in iterations:
                self._step(done, iteration)
                done = iteration
                seen += self._numbers()
        return seen

    def _step(self, done: int, until: int) -> None:
        """Take the steps from one iteration to another, in the order of the training where there are several schedulers."""
        for before, after in (
            [(done, until)] if len(self.schedulers) == 1 else ((at, at + 1) for at in range(done, until))
        ):
            for scheduler in list(self.schedulers):
                period = self.epoch_length if _is_by_epoch(scheduler) else 1
                self._advance(scheduler, after // period - before // period, after)

    def _advance(self, scheduler: Any, steps: int, iteration: int) -> None:
        if (
            type(scheduler) is lr_scheduler.LambdaLR and steps > 1
        ):  # what it gives depends on the count of its steps alone
            scheduler.last_epoch += steps - 1
            steps = 1
        try:
            for _ in range(steps):
                scheduler.step()
        except Exception as error:
            self.schedulers.remove(scheduler)
            message = f"{type(scheduler).__name__} raises within {counted(iteration, 'step')}: {raised_text(error)}"
            self.troubles.append(finding("scheduler-raises", (), message))

    def _numbers(self) -> Iterator[tuple[tuple[str, int], float]]:
        for index, group in enumerate(self.optimizer.param_groups):
            for option, value in group.items():
                if option.startswith("initial_") or isinstance(value, bool):
                    continue
                if isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.ndim == 0):
                    yield (option, index), float(value)
                elif isinstance(value, tuple) and value and all(isinstance(one, float) for one in value):
                    yield from (((f"{option}[{at}]", index), float(one)) for at, one in enumerate(value))


def _one_by_one(schedulers: Any) -> list[Any]:
    """Schedulers out of lists, Lightning's configurations and accelerate's wrappers."""
    if schedulers is None:
        return []
    if isinstance(schedulers, (list, tuple)):
        return [one for each in schedulers for one in _one_by_one(each)]
    if isinstance(schedulers, Mapping):
        each = schedulers.get("scheduler")
        return _one_by_one(each if each is not None else list(schedulers.values()))
    inner = getattr(schedulers, "scheduler", None)
    if inner is not None and hasattr(inner, "step"):
        return _one_by_one(inner)
    if not isinstance(schedulers, ParamSchedulers) and not callable(getattr(schedulers, "step", None)):
        raise TypeError(f"a scheduler is needed, or several, not {type(schedulers).__name__}")
    return [schedulers]


def _optimizer_of(scheduler: Any) -> Optimizer | None:
    """The optimizer that a scheduler moves, out of its wrappers; None where it has none."""
    own = getattr(scheduler, "optimizer", None)
    while isinstance(getattr(own, "optimizer", None), Optimizer):
        own = own.optimizer  # type: ignore[union-attr]
    return own if isinstance(own, Optimizer) else None


def _waits(scheduler: Any) -> bool:
    """Whether it cannot step without being told a metric: torch's ``ReduceLROnPlateau`` and MMEngine's."""
    return isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) or hasattr(scheduler, "monitor")


def _is_by_epoch(scheduler: Any) -> bool:
    """Whether it is one of MMEngine's that step once an epoch."""
    return bool(getattr(scheduler, "by_epoch", False))


def _done(scheduler: Any) -> int:
    """The steps that a scheduler has taken: torch and MMEngine count the one that they take when they are made."""
    steps = getattr(scheduler, "last_epoch", getattr(scheduler, "last_step", 0))
    return steps if isinstance(steps, int) else 0


def _length_of(scheduler: Any) -> int | None:
    """How many steps a scheduler is made for, where it says so."""
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        last = _length_of(scheduler._schedulers[-1])
        return None if last is None else int(scheduler._milestones[-1]) + last
    if isinstance(scheduler, lr_scheduler.ChainedScheduler):
        lengths = [_length_of(one) for one in scheduler._schedulers]
        return None if None in lengths else max(filter(None, lengths), default=None)
    for function in getattr(scheduler, "lr_lambdas", ()):
        steps = getattr(function, "keywords", {}).get("num_training_steps")  # transformers' schedules are such partials
        if steps:
            return int(steps)
    end, begin = getattr(scheduler, "end", None), getattr(scheduler, "begin", 0)
    if isinstance(end, int) and 0 < end < ENDLESS:
        return end
    found = next((n for name in LENGTHS if isinstance(n := getattr(scheduler, name, None), int)), None)
    milestones = getattr(scheduler, "milestones", None)
    if found is None and milestones:
        found = int(max(milestones)) + int(max(milestones)) // 4 + 1
    return None if found is None else int(begin) + found
