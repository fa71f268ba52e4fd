"""The plan as a page that a person reads: ``inspect`` and ``run --dry-run`` show this one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from optimctl.errors import key_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optimctl.plan.findings import Finding
    from optimctl.plan.plan import Group, Plan, PlannedOptimizer

NAMES_SHOWN = 3
ROWS_OF_SCHEDULE = 12
FIRST = ("lr", "weight_decay", "momentum", "betas")
"""The options that everybody looks for, in this order; the first two are shown even where they are 0."""


def plan_page(plan: Plan) -> Iterator[RenderableType]:
    """The parts of the page, top to bottom."""
    yield Text(_headline(plan), style="bold")
    if plan.weights is not None:
        yield Text(f"Initial weights: {plan.weights}")
    for optimizer in plan.optimizers:
        yield Text()
        yield Text(_optimizer_line(optimizer, len(plan.optimizers) > 1))
        yield _groups_table(optimizer)
    if plan.frozen:
        yield Text(f"\n{len(plan.frozen)} tensors are frozen: {_names(plan.frozen)}")
    yield Text()
    yield Text(_length_line(plan))
    if plan.schedule.curves:
        yield _schedule_table(plan)
    for finding in plan.findings:
        yield Text()
        yield Text(finding_text(finding, plan))


def finding_text(finding: Finding, plan: Plan) -> str:
    """A finding as a sentence with its place."""
    place = plan.job.place(finding.key)
    return (
        f"{finding.level}: {f'{place}: ' if place else ''}{key_text(finding.key)}: {finding.message} [{finding.code}]"
    )


def number(value: Any) -> str:
    """A value as short as it can be told: at most six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(number(item) for item in value)})"
    return str(value.item() if hasattr(value, "item") else value)


def _headline(plan: Plan) -> str:
    if plan.model is None:
        return f"{plan.job.name}: no model"
    model = plan.model
    size = f"{model.parameters:,} parameters in {model.tensors} tensors"
    trains = "all trainable" if model.trainable == model.parameters else f"{model.trainable:,} trainable"
    return f"{plan.job.name}: {model.type}, {size}, {trains}, on {plan.device}"


def _optimizer_line(optimizer: PlannedOptimizer, named: bool) -> str:
    name = f"{optimizer.name}: " if named else ""
    parts = [f"{name}{optimizer.type} ({optimizer.distribution or 'own'}), {optimizer.implementation}"]
    if optimizer.updates is not None:
        parts.append(_count(optimizer.updates, "update"))
    parts += optimizer.how
    if optimizer.state_bytes is not None:
        parts.append(f"{_size(optimizer.state_bytes)} of state" if optimizer.state_bytes else "no state")
    return f"{', '.join(parts)}. {_count(len(optimizer.groups), 'group')} before any schedule:"


def _size(count: int) -> str:
    """Bytes in the largest unit that keeps the number above 1."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.4g} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:,.4g} GiB"


def _groups_table(optimizer: PlannedOptimizer) -> Table:
    options = _options_worth_showing(optimizer.groups)
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("group", justify="right")
    for heading in ("tensors", "parameters", *options):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("names")
    for index, group in enumerate(optimizer.groups):
        cells = [str(index), str(group.tensors), f"{group.parameters:,}"]
        cells += [number(group.options.get(option, "")) for option in options]
        table.add_row(*cells, Text(_names(group.names)))
    return table


def _options_worth_showing(groups: Sequence[Group]) -> list[str]:
    """The first ones, then all others but those that are off everywhere."""
    names = dict.fromkeys(option for group in groups for option in group.options)
    used = [name for name in names if any(group.options.get(name) not in (None, False, 0) for group in groups)]
    shown = [name for name in FIRST if name in used or (name in names and name in FIRST[:2])]
    return shown + [name for name in used if name not in FIRST]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _length_line(plan: Plan) -> str:
    schedule = plan.schedule
    if schedule.iterations is None:
        return "The length of the run is not given."
    text = f"{run_length(schedule.iterations, schedule.epoch_length)}, {_count(schedule.updates or 0, 'update')}"
    return f"{text}; scheduled options at some iterations:" if schedule.curves else f"{text}; nothing is scheduled."


def run_length(iterations: int, epoch_length: int | None) -> str:
    """``276 iterations in 12 epochs of 23``; a part of an epoch is told as such."""
    text = _count(iterations, "iteration")
    if not epoch_length:
        return text
    whole, rest = divmod(iterations, epoch_length)
    epochs = _count(whole, "epoch") if not rest else f"{iterations / epoch_length:.2f} epochs"
    return f"{text} in {epochs} of {epoch_length:,}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _schedule_table(plan: Plan) -> Table:
    schedule = plan.schedule
    curves = _distinct(plan)
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in ("iteration", "epoch", *curves):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in _rows(list(curves.values()), len(schedule.at)):
        iteration = schedule.at[row]
        epoch = str(iteration // schedule.epoch_length + 1) if schedule.epoch_length else ""
        table.add_row(str(iteration + 1), epoch, *(number(values[row]) for values in curves.values()))
    return table


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
