"""Findings about schedules: when they act, whether the run lets them, and how they meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimctl.errors import Key
from optimctl.plan.findings.finding import Finding, finding
from optimctl.schedule.curves import (
    Constant,
    CosineAnnealing,
    Linear,
    MultiStep,
    OneCycle,
    Poly,
    QuadraticWarmup,
    ReduceOnPlateau,
    WarmupStableDecay,
)
from optimctl.schedule.scheduler import find_slot, initial_base

if TYPE_CHECKING:
    from optimctl.plan.subject import Subject
    from optimctl.schedule.place import Placed, RunLength

RAMPS = (Linear, Constant, QuadraticWarmup)
LEADS_SOMEWHERE = (CosineAnnealing, Linear, OneCycle, Poly, QuadraticWarmup, WarmupStableDecay)
"""Schedules that arrive at their last step; cut off before it, they do not."""


@dataclass(frozen=True)
class _Range:
    """A schedule, and when it acts: iterations from ``begin`` to before ``end``."""

    optimizer: str
    key: Key
    placed: Placed
    step: int
    """Iterations a step."""
    begin: int
    end: int
    total: int
    """Iterations of the run."""

    @property
    def is_warm_up(self) -> bool:
        """Whether it rises to the full value: a ramp that begins below where it ends."""
        schedule = self.placed.schedule
        if isinstance(schedule, Linear):
            return schedule.start_factor < schedule.end_factor
        return isinstance(schedule, QuadraticWarmup) or (isinstance(schedule, Constant) and schedule.factor < 1)

    @property
    def steps(self) -> int:
        """Steps of its range."""
        return -(-(self.end - self.begin) // self.step)

    def told(self, iteration: int) -> str:
        """An iteration in the schedule's own unit: ``epoch 8``."""
        return f"{self.placed.unit} {iteration // self.step:,}"


def about_schedules(subject: Subject) -> Iterator[Finding]:
    """All findings about ``param_scheduler``."""
    ranges = [_range(name, key, placed, subject.length) for name, key, placed in subject.placed]
    for one in ranges:
        yield from _in_the_run(one)
        yield from _shape(one)
        yield from _floor(one, subject)
        yield from _counts(one, subject)
    for _, moving in itertools.groupby(
        sorted(ranges, key=lambda one: (one.optimizer, one.placed.option)),
        key=lambda one: (one.optimizer, one.placed.option),
    ):
        yield from _together(sorted(moving, key=lambda one: (one.begin, one.end)))


def _range(name: str, key: Key, placed: Placed, length: RunLength) -> _Range:
    steps = {"epoch": length.epoch_length or 1, "iteration": 1, "update": length.accumulative_counts}
    step, total = steps[placed.unit], length.iterations or 0
    end = total if placed.end is None else placed.end * step
    return _Range(name, key, placed, step, placed.begin * step, end, total)


def _in_the_run(one: _Range) -> Iterator[Finding]:
    """Whether the run is long enough for the schedule to begin, to step and to end."""
    if one.begin >= one.total:
        message = f"it begins at {one.told(one.begin)}, and the run ends at {one.told(one.total)}"
        yield finding("schedule-after-run", one.key, message)
    elif one.total <= one.step > 1 and not isinstance(one.placed.schedule, ReduceOnPlateau):
        message = f"the run has {one.total} iterations, which is one {one.placed.unit}, so that nothing ever changes"
        yield finding("schedule-never-steps", one.key, message)
    elif one.is_warm_up and one.end > one.total:
        message = f"the warm-up ends at {one.told(one.end)}, and the run at {one.told(one.total)}: the full value is never reached"
        yield finding("warm-up-too-long", one.key, message)
    elif isinstance(one.placed.schedule, LEADS_SOMEWHERE) and one.end - one.step >= one.total:
        message = f"it ends at {one.told(one.end)}, and the run at {one.told(one.total)}: it is cut off on its way"
        yield finding("schedule-cut-off", one.key, message)


def _shape(one: _Range) -> Iterator[Finding]:
    """What a schedule's own arguments make of it in its range."""
    schedule, last = one.placed.schedule, min(one.end, one.total)
    if isinstance(schedule, Linear | Constant) and one.steps == 1 and one.total > one.step:
        message = "a range of one step has only its start: the value stays there for ever, as in MMEngine"
        way = "; convert_to_iter_based = true makes a ramp of it" if one.placed.unit == "epoch" else ""
        yield finding("one-step-ramp", one.key, message + way)
    if isinstance(schedule, MultiStep):
        late = [milestone for milestone in schedule.milestones if one.begin + milestone * one.step >= last]
        if late:
            message = f"{', '.join(map(str, late))} lie at or behind {one.told(last)}, where it ends: the value does not drop there"
            yield finding("milestone-after-end", (*one.key, "milestones"), message)
    period = schedule.T_max if isinstance(schedule, CosineAnnealing) else None
    if period is not None and one.begin + period * one.step < last - one.step:
        message = f"T_max is {period:g}, and its range has {one.steps:,} {one.placed.unit}s: from there on the cosine rises again"
        yield finding("cosine-rises", (*one.key, "T_max"), message)


def _floor(one: _Range, subject: Subject) -> Iterator[Finding]:
    """Groups that start below an absolute floor are lifted to it."""
    floor = getattr(one.placed.schedule, "eta_min", None)
    parts = [part for part in subject.parts if part.wrapper_name == one.optimizer]
    groups = [group for part in parts for group in part.optimizer.param_groups]
    if not floor or not groups:
        return
    slot = find_slot(one.placed.option, groups)
    bases = [initial_base(group, slot) for group in groups if slot.is_in(group)]
    below = [base for base in bases if 0 < base < floor]
    if below:
        message = (
            f"{len(below)} of {len(bases)} groups start below {floor:g} (the lowest at {min(below):g}), and rise to it"
        )
        yield finding("floor-above-value", (*one.key, "eta_min"), message)


def _counts(one: _Range, subject: Subject) -> Iterator[Finding]:
    counts = next((part.accumulative_counts for part in subject.parts if part.wrapper_name == one.optimizer), 1)
    if one.placed.unit == "iteration" and counts > 1 and one.placed.end is not None:
        covered = one.end - one.begin
        message = f"its {covered:,} iterations are {-(-covered // counts):,} updates, as {counts} batches make one"
        yield finding("counts-iterations", one.key, message)


def _together(ranges: Sequence[_Range]) -> Iterator[Finding]:
    """How the schedules of one option follow each other; in the order of their beginnings."""
    ranges = [one for one in ranges if one.begin < one.total and not isinstance(one.placed.schedule, ReduceOnPlateau)]
    reached: _Range | None = None
    for one in ranges:
        if reached is not None and one.begin > reached.end:
            message = f"nothing moves `{one.placed.option}` from {reached.told(reached.end)} to {one.told(one.begin)}; it stays as it is"
            yield finding("schedule-gap", one.key, message)
        reached = one if reached is None or one.end > reached.end else reached
    for first, second in itertools.combinations(ranges, 2):
        yield from _meeting(first, second)
    if reached is not None and reached.end < reached.total and not reached.is_warm_up:
        message = f"it ends at {reached.told(reached.end)}, the run at {reached.told(reached.total)}; the value stays as it is"
        yield finding("schedule-ends-early", reached.key, message)


def _meeting(first: _Range, second: _Range) -> Iterator[Finding]:
    begin, end = max(first.begin, second.begin), min(first.end, second.end, first.total)
    if begin >= end:
        return
    for warm_up, other in ((first, second), (second, first)):
        schedule = other.placed.schedule
        if warm_up.is_warm_up and isinstance(schedule, MultiStep):
            inside = [m for m in schedule.milestones if begin <= other.begin + m * other.step < warm_up.end]
            if inside:
                message = f"milestone {inside[0]} falls into the warm-up of {warm_up.steps:,} {warm_up.placed.unit}s"
                yield finding("warm-up-meets-milestone", (*other.key, "milestones"), message)
                return
    if not (isinstance(second.placed.schedule, MultiStep) or isinstance(first.placed.schedule, MultiStep)):
        names = f"{first.placed.name} and {second.placed.name}"
        message = f"{names} both act from iteration {begin:,} to {end:,}: they multiply"
        yield finding("schedule-overlap", second.key, message)
