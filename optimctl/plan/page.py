"""The plan as a page that a person reads: ``inspect`` and ``run --dry-run`` show this one."""

from __future__ import annotations

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
_USUAL = (None, False)


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


def finding_text(finding: Finding, plan: Plan | None = None) -> str:
    """A finding as a sentence with its place."""
    place = plan.job.place(finding.key) if plan else None
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
        parts.append(f"{optimizer.updates:,} updates")
    if optimizer.state_bytes is not None:
        parts.append(f"{optimizer.state_bytes / 2**20:,.2f} MiB of state")
    count = len(optimizer.groups)
    return ", ".join(parts) + f", {count} group{'s' if count != 1 else ''} before any schedule:"


def _groups_table(optimizer: PlannedOptimizer) -> Table:
    options = _options_worth_showing(optimizer.groups)
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("group", justify="right")
    for heading in ("tensors", "parameters", *options):
        table.add_column(heading, justify="right")
    table.add_column("names")
    for index, group in enumerate(optimizer.groups):
        cells = [str(index), str(group.tensors), f"{group.parameters:,}"]
        cells += [number(group.options.get(option, "")) for option in options]
        table.add_row(*cells, Text(_names(group.names)))
    return table


def _options_worth_showing(groups: Sequence[Group]) -> list[str]:
    """All options but those that are off everywhere."""
    names = dict.fromkeys(option for group in groups for option in group.options)
    return [name for name in names if any(group.options.get(name) not in _USUAL for group in groups)]


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _length_line(plan: Plan) -> str:
    schedule = plan.schedule
    if schedule.iterations is None:
        return "The length of the run is not given."
    epochs = f" in {schedule.epochs} epochs of {schedule.epoch_length}" if schedule.epoch_length else ""
    text = f"{schedule.iterations:,} iterations{epochs}, {schedule.updates:,} updates"
    return f"{text}; scheduled options at some iterations:" if schedule.curves else f"{text}; nothing is scheduled."


def _schedule_table(plan: Plan) -> Table:
    schedule = plan.schedule
    curves = _distinct(plan)
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in ("iteration", "epoch", *curves):
        table.add_column(heading, justify="right")
    for row in _rows(len(schedule.at)):
        iteration = schedule.at[row]
        epoch = str(iteration // schedule.epoch_length + 1) if schedule.epoch_length else ""
        table.add_row(str(iteration + 1), epoch, *(number(values[row]) for values in curves.values()))
    return table


def _distinct(plan: Plan) -> dict[str, Sequence[float]]:
    """The curves by heading; groups whose curves are the same share one."""
    shared: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    several = len(plan.optimizers) > 1
    for curve in plan.schedule.curves:
        group = f"{curve.optimizer} {curve.group}" if several else str(curve.group)
        shared.setdefault((curve.option, curve.values), []).append(group)
    options = [option for option, _ in shared]
    return {
        option if options.count(option) == 1 else f"{option} of group {', '.join(groups)}": values
        for (option, values), groups in shared.items()
    }


def _rows(points: int) -> list[int]:
    """A few of the plan's points, evenly spread, the first and the last among them."""
    if points <= ROWS_OF_SCHEDULE:
        return list(range(points))
    return sorted({round(index * (points - 1) / (ROWS_OF_SCHEDULE - 1)) for index in range(ROWS_OF_SCHEDULE)})
