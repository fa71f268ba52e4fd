"""Findings about schedules: when they act, whether the run lets them, and how they meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimctl.errors import Key
from optimctl.plan.findings.finding import Finding, counted, finding
from optimctl.schedule.curves import (
    Constant,
    CosineAnnealing,
    CosineRestart,
    Linear,
    MultiStep,
    OneCycle,
    Poly,
    QuadraticWarmup,
    ReduceOnPlateau,
    Step,
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
    def last(self) -> int:
        """The iteration before which it really ends: its own end, or the run's."""
        return min(self.end, self.total)

    @property
    def is_warm_up(self) -> bool:
        """Whether it rises to the full value: a ramp that begins below where it ends."""
        schedule = self.placed.schedule
        if isinstance(schedule, Linear):
            return schedule.start_factor < schedule.end_factor
        return isinstance(schedule, QuadraticWarmup) or (isinstance(schedule, Constant) and schedule.factor < 1)

    @property
    def steps(self) -> int:
        """Steps of its range, as far as the run goes."""
        return -(-(self.last - self.begin) // self.step)

    @property
    def own_length(self) -> tuple[str, float] | None:
        """The argument that says how many steps it takes, whatever its range, and how many those are."""
        schedule = self.placed.schedule
        if isinstance(schedule, CosineAnnealing) and schedule.T_max is not None:
            return "T_max", schedule.T_max
        if isinstance(schedule, OneCycle) and schedule.total_steps is not None:
            return "total_steps", schedule.total_steps
        return ("periods", sum(schedule.periods)) if isinstance(schedule, CosineRestart) else None

    def told(self, iteration: int) -> str:
        """An iteration in the schedule's own unit: ``epoch 8``."""
        whole, rest = divmod(iteration, self.step)
        return f"{self.placed.unit} {iteration / self.step:,.2f}" if rest else f"{self.placed.unit} {whole:,}"


def about_schedules(subject: Subject) -> Iterator[Finding]:
    """All findings about ``param_scheduler``."""
    ranges = [_range(name, key, placed, subject.length_of(name)) for name, key, placed in subject.placed]
    together: dict[tuple[str, str], list[_Range]] = {}
    for one in ranges:
        together.setdefault((one.optimizer, one.placed.option), []).append(one)
    for one in ranges:
        yield from _in_the_run(one)
        yield from _shape(one)
        yield from _floor(one, together[one.optimizer, one.placed.option], subject)
        yield from _counts(one, subject)
    for moving in together.values():
        yield from _together(sorted(moving, key=lambda one: (one.begin, one.end)))


def _range(name: str, key: Key, placed: Placed, length: RunLength) -> _Range:
    steps = {"epoch": length.epoch_length or 1, "iteration": 1, "update": length.accumulative_counts}
    step, total = steps[placed.unit], length.iterations or 0
    end = total if placed.end is None else placed.end * step
    return _Range(name, key, placed, step, placed.begin * step, end, total)


def _in_the_run(one: _Range) -> Iterator[Finding]:
    """Whether the run is long enough for the schedule to begin, to step and to end."""
    schedule, own = one.placed.schedule, one.own_length
    if one.begin >= one.total:
        message = f"it begins at {one.told(one.begin)}, and the run ends at {one.told(one.total)}"
        yield finding("schedule-after-run", one.key, message)
    elif one.total <= one.step > 1 and not isinstance(schedule, ReduceOnPlateau):
        share = "one" if one.total == one.step else "less than one"
        message = f"the run has {counted(one.total, 'iteration')}, {share} {one.placed.unit}: nothing ever changes"
        yield finding("schedule-never-steps", one.key, message)
    elif one.is_warm_up and one.end > one.total:
        message = f"the warm-up ends at {one.told(one.end)}, and the run at {one.told(one.total)}: the full value is never reached"
        yield finding("warm-up-too-long", one.key, message)
    elif own is not None and (own[1] - 1) * one.step >= one.last:  # also where it is counted from the run's beginning
        name, steps = own
        message = (
            f"it takes {counted(int(steps), one.placed.unit)}, its range has {one.steps:,}: it is cut off on its way"
        )
        yield finding("schedule-cut-off", (*one.key, name), message)
    elif isinstance(schedule, LEADS_SOMEWHERE) and one.end - one.step >= one.total:
        message = f"it ends at {one.told(one.end)}, and the run at {one.told(one.total)}: it is cut off on its way"
        yield finding("schedule-cut-off", one.key, message)


def _shape(one: _Range) -> Iterator[Finding]:
    """What a schedule's own arguments make of it in its range."""
    if one.begin >= one.total or one.total <= one.step > 1:  # told already: it does not even begin, or step
        return
    yield from _one_step(one)
    yield from _drops(one)
    schedule = one.placed.schedule
    period = schedule.T_max if isinstance(schedule, CosineAnnealing) else None
    if period is not None and one.begin + period * one.step < one.last - one.step:
        steps = counted(one.steps, one.placed.unit)
        message = f"T_max is {period:,.10g}, and its range has {steps}: from there on the cosine rises again"
        yield finding("cosine-rises", (*one.key, "T_max"), message)


def _one_step(one: _Range) -> Iterator[Finding]:
    """A ramp that has its start alone, and keeps it after its end."""
    schedule = one.placed.schedule
    factor = getattr(schedule, {Linear: "start_factor", Constant: "factor"}.get(type(schedule), ""), 1.0)
    if factor != 1.0 and one.end - one.begin <= one.step and one.end < one.total:
        message = "a range of one step has only its start: the value stays there for ever, as in MMEngine"
        way = "; convert_to_iter_based = true makes a ramp of it" if one.placed.unit == "epoch" else ""
        yield finding("one-step-ramp", one.key, message + way)


def _drops(one: _Range) -> Iterator[Finding]:
    """Drops that come too late."""
    schedule = one.placed.schedule
    if isinstance(schedule, Step) and schedule.step_size >= one.steps:
        steps = counted(one.steps, one.placed.unit)
        message = f"step_size is {schedule.step_size:,}, and its range has {steps}: the value never drops"
        yield finding("schedule-never-steps", (*one.key, "step_size"), message)
    late = [
        milestone
        for milestone in (schedule.milestones if isinstance(schedule, MultiStep) else ())
        if one.begin + milestone * one.step >= one.last
    ]
    if late:
        lie = "lies" if len(late) == 1 else "lie"
        message = f"{', '.join(map(str, late))} {lie} at or behind {one.told(one.last)}, where it ends: the value does not drop there"
        yield finding("milestone-after-end", (*one.key, "milestones"), message)


def _floor(one: _Range, moving: Sequence[_Range], subject: Subject) -> Iterator[Finding]:
    """Groups that start below an absolute floor are lifted to it."""
    floor = getattr(one.placed.schedule, "eta_min", None)
    parts = [part for part in subject.parts if part.wrapper_name == one.optimizer]
    groups = [group for part in parts for group in part.optimizer.param_groups]
    if not floor or not groups:
        return
    slot = find_slot(one.placed.option, groups)
    bases = [base for group in groups if slot.is_in(group) and (base := initial_base(group, slot)) > 0]
    below = [base for base in bases if base < floor]
    if not below or (len(below) == len(bases) and _may_rise(one, moving)):
        return
    start, rise = ("starts", "rises") if len(below) == 1 else ("start", "rise")
    of = f"{len(below)} of {counted(len(bases), 'group')}"
    message = f"{of} {start} below {floor:g} (the lowest at {min(below):g}), and {rise} to it"
    yield finding("floor-above-value", (*one.key, "eta_min"), message)


def _may_rise(one: _Range, moving: Sequence[_Range]) -> bool:
    """Whether a rise of all groups is probably meant: a weight decay or a momentum that grows, or the way up of a cycle."""
    return one.placed.option != "lr" or sum(hasattr(each.placed.schedule, "eta_min") for each in moving) > 1


def _counts(one: _Range, subject: Subject) -> Iterator[Finding]:
    """Iterations that may be meant as updates: those of a part of the run, under accumulation."""
    counts = subject.length_of(one.optimizer).accumulative_counts
    if one.placed.unit == "iteration" and counts > 1 and one.end < one.total:
        covered = one.end - one.begin
        updates = counted(-(-covered // counts), "update")
        message = f"its {counted(covered, 'iteration')} are {updates}, as {counts} batches make one"
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
                steps = counted(warm_up.steps, warm_up.placed.unit)
                message = f"milestone {inside[0]} falls into the warm-up of {steps}"
                yield finding("warm-up-meets-milestone", (*other.key, "milestones"), message)
                return
    if not (isinstance(second.placed.schedule, MultiStep) or isinstance(first.placed.schedule, MultiStep)):
        names = f"{first.placed.name} and {second.placed.name}"
        message = f"{names} both act from iteration {begin:,} to {end:,}: they multiply"
        yield finding("schedule-overlap", second.key, message)
