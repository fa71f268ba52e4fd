"""The plan as a page that a person reads: ``inspect`` and ``run --dry-run`` show this one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from optimctl.errors import key_text, visible
from optimctl.plan.findings.finding import counted
from optimctl.plan.grid import Grid
from optimctl.plan.plan import Group
from optimctl.plan.sketch import Sketch

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optimctl.plan.findings import Finding
    from optimctl.plan.memory import Memory
    from optimctl.plan.plan import Curve, Plan, PlannedOptimizer

NAMES_SHOWN = 3
ROWS_OF_SCHEDULE = 12
MOST_SKETCHES = 4
FIRST = ("lr", "weight_decay", "momentum", "betas")
"""The options that everybody looks for, in this order; the first two are shown even where they are 0."""


def plan_page(plan: Plan) -> Iterator[RenderableType]:
    """The parts of the page, top to bottom."""
    yield Text(_headline(plan), style="bold")
    if plan.memory is not None:
        yield Text(_memory_line(plan.memory))
    if plan.weights is not None:
        yield Text(visible(f"Initial weights: {plan.weights}"))
    for optimizer in plan.optimizers:
        yield Text()
        yield Text(_optimizer_line(optimizer, len(plan.optimizers) > 1))
        yield _groups_table(optimizer)
    if plan.frozen:
        yield Text(f"\n{len(plan.frozen)} tensors are frozen: {_names(plan.frozen)}")
    yield Text()
    yield Text(_length_line(plan))
    if plan.schedule.curves:
        yield Text()
        yield from _sketches(plan)
        yield Text()
        yield _schedule_table(plan)
    for finding in plan.findings:
        yield Text()
        yield Text(finding_text(finding, plan))


def finding_text(finding: Finding, plan: Plan) -> str:
    """A finding as a sentence, with its place where a job has one; what it quotes cannot paint the screen."""
    key = finding.key if plan.job is not None else ()
    place = plan.job.place(key) if plan.job is not None and key else None
    where = [str(place)] * (place is not None) + [key_text(key)] * bool(key)
    return visible(": ".join([finding.level, *where, f"{finding.message} [{finding.code}]"]))


def number(value: Any) -> str:
    """A value as short as it can be told: at most six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(number(item) for item in value)})"
    return visible(str(value.item() if hasattr(value, "item") else value))


def _headline(plan: Plan) -> str:
    if plan.model is None:
        return f"{plan.name}: no model"
    model = plan.model
    size = f"{model.parameters:,} parameters in {model.tensors} tensors"
    trains = "all trainable" if model.trainable == model.parameters else f"{model.trainable:,} trainable"
    return f"{plan.name}: {model.type}, {size}, {trains}, on {plan.device}"


def _memory_line(memory: Memory) -> str:
    state = "" if memory.state is None else f", optimizer state {_size(memory.state)}"
    unknown = " and the optimizer's state" if memory.state is None else ""
    parts = f"weights {_size(memory.weights)}, gradients {_size(memory.gradients)}{state}"
    return f"Memory: {_size(memory.total)}{unknown}, beside activations ({parts})"


def _optimizer_line(optimizer: PlannedOptimizer, named: bool) -> str:
    name = f"{optimizer.name}: " if named else ""
    distribution = f" ({optimizer.distribution})" if optimizer.distribution else ""
    parts = [f"{name}{optimizer.type}{distribution}, {optimizer.implementation}"]
    if optimizer.updates is not None:
        parts.append(counted(optimizer.updates, "update"))
    parts += optimizer.how
    if optimizer.state_bytes is not None:
        parts.append(f"{_size(optimizer.state_bytes)} of state" if optimizer.state_bytes else "no state")
    same = _same_everywhere(optimizer.groups)
    told = ", ".join(f"{option} {number(value)}" for option, value in same.items())
    everywhere = f"\n{'All groups' if len(optimizer.groups) > 1 else 'Also'}: {told}." if told else ""
    return f"{', '.join(parts)}. {counted(len(optimizer.groups), 'group')} before any schedule:{everywhere}"


def _same_everywhere(groups: Sequence[Group]) -> dict[str, Any]:
    """Options worth telling once, not in every row of a table; the rate and the decay have their columns always."""
    columns = FIRST[:2] if len(groups) > 1 else FIRST
    names = [name for name in _options_worth_showing(groups) if name not in columns]
    first = groups[0].options if groups else {}
    return {
        name: first[name] for name in names if name in first and all(g.options.get(name) == first[name] for g in groups)
    }


def _size(count: int) -> str:
    """Bytes in the largest unit that keeps the number above 1."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.4g} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:,.4g} TiB"


def _groups_table(optimizer: PlannedOptimizer) -> Grid:
    same = _same_everywhere(optimizer.groups)
    options = [option for option in _options_worth_showing(optimizer.groups) if option not in same]
    headings = ["group", "tensors", "parameters", *options, "names"]
    rows = [
        [
            index,
            str(group.tensors),
            f"{group.parameters:,}",
            *(number(group.options.get(option, "")) for option in options),
            _names(group.names),
        ]
        for index, group in _merged(optimizer.groups)
    ]
    return Grid(headings, rows, needed=len(headings), flows=True)


def _merged(groups: Sequence[Group]) -> Iterator[tuple[str, Group]]:
    """Groups with equal options as one, named by the indices: who makes a group of every tensor reads two rows, not hundreds."""
    alike: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        alike.setdefault(repr(sorted(group.options.items(), key=str)), []).append(index)
    for indices in alike.values():
        members = [groups[index] for index in indices]
        names = tuple(name for one in members for name in one.names)
        tensors, parameters = sum(one.tensors for one in members), sum(one.parameters for one in members)
        yield _indices(indices), Group(members[0].options, tensors, parameters, names)


def _indices(indices: Sequence[int]) -> str:
    if len(indices) > NAMES_SHOWN:
        return f"{indices[0]}, {indices[1]} … {indices[-1]}"
    return ", ".join(map(str, indices))


def _options_worth_showing(groups: Sequence[Group]) -> list[str]:
    """The first ones, then all others but those that are off everywhere."""
    names = dict.fromkeys(option for group in groups for option in group.options)
    used = [name for name in names if any(group.options.get(name) not in (None, False, 0) for group in groups)]
    shown = [name for name in FIRST if name in used or (name in names and name in FIRST[:2])]
    return shown + [name for name in used if name not in FIRST]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(map(visible, names[:NAMES_SHOWN]))
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _length_line(plan: Plan) -> str:
    schedule = plan.schedule
    if schedule.iterations is None:
        return "The length of the run is not given."
    if plan.counts != "iteration":
        return f"{counted(schedule.iterations, plan.counts)}; scheduled options at some of them:"
    text = f"{run_length(schedule.iterations, schedule.epoch_length)}, {counted(schedule.updates or 0, 'update')}"
    return f"{text}; scheduled options at some iterations:" if schedule.curves else f"{text}; nothing is scheduled."


def run_length(iterations: int, epoch_length: int | None) -> str:
    """``276 iterations in 12 epochs of 23``; a part of an epoch is told as such."""
    text = counted(iterations, "iteration")
    if not epoch_length:
        return text
    whole, rest = divmod(iterations, epoch_length)
    epochs = counted(whole, "epoch") if not rest else f"{iterations / epoch_length:.2f} epochs"
    return f"{text} in {epochs} of {epoch_length:,}"


def _sketches(plan: Plan) -> Iterator[Sketch]:
    """A sketch for each option and shape; groups that differ by a factor alone have one shape."""
    shapes: dict[tuple[str, tuple[float, ...]], list[Curve]] = {}
    for curve in plan.schedule.curves:
        highest = max(filter(math.isfinite, curve.values), default=0.0) or 1.0
        shape = tuple(round(value / highest, 4) if math.isfinite(value) else math.inf for value in curve.values)
        shapes.setdefault((curve.option, shape), []).append(curve)
    options = [option for option, _ in shapes]
    for (option, _), curves in itertools.islice(shapes.items(), MOST_SKETCHES):
        tallest = max(curves, key=lambda curve: max(curve.values))
        several = f", {len(curves)} groups" if len(curves) > 1 else ""
        name = option if options.count(option) == 1 else f"{option} of group {_group_name(tallest, plan)}"
        yield Sketch(f"{name}{several}", tallest.values, number(max(tallest.values)), f"{plan.schedule.iterations:,}")


def _group_name(curve: Curve, plan: Plan) -> str:
    return f"{curve.optimizer} {curve.group}" if len(plan.optimizers) > 1 else str(curve.group)


def _schedule_table(plan: Plan) -> Grid:
    schedule = plan.schedule
    curves = _distinct(plan)
    epochs = ["epoch"] if schedule.epoch_length else []
    rows = []
    for row in _rows(list(curves.values()), len(schedule.at)):
        iteration = schedule.at[row]
        epoch = [f"{iteration // schedule.epoch_length + 1:,}"] if schedule.epoch_length else []
        rows.append([f"{iteration + 1:,}", *epoch, *(number(values[row]) for values in curves.values())])
    return Grid([plan.counts.split()[0], *epochs, *curves], rows, needed=len(epochs) + 2)


def _distinct(plan: Plan) -> dict[str, Sequence[float]]:
    """The curves by heading; groups whose curves are the same share one."""
    shared: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    several = len({curve.optimizer for curve in plan.schedule.curves}) > 1
    for curve in plan.schedule.curves:
        group = f"{curve.optimizer} {curve.group}" if several else str(curve.group)
        shared.setdefault((curve.option, curve.values), []).append(group)
    options = [option for option, _ in shared]
    return {
        option if options.count(option) == 1 else f"{option} of group {', '.join(groups)}": values
        for (option, values), groups in shared.items()
    }


def _rows(curves: Sequence[Sequence[float]], points: int) -> list[int]:
    """A few of the plan's points: the first, the last, some between them, and those where a curve turns."""
    if points <= ROWS_OF_SCHEDULE:
        return list(range(points))
    even = {round(index * (points - 1) / (ROWS_OF_SCHEDULE - 1)) for index in range(ROWS_OF_SCHEDULE)}
    turns = sorted({turn for values in curves for turn in _turns(values)})
    return sorted(even | set(turns[:ROWS_OF_SCHEDULE]))


def _turns(values: Sequence[float]) -> Iterator[int]:
    """Where a curve begins or ends to rise, to fall or to rest; a staircase, which does all the time, has no turns."""
    signs = [(after > before) - (after < before) for before, after in itertools.pairwise(values)]
    turns = [index for index, (before, after) in enumerate(itertools.pairwise(signs), 1) if before != after]
    yield from turns if len(turns) <= ROWS_OF_SCHEDULE else ()
