"""Why a parameter is trained as it is: each of its options, the line that decided, and the lines that lost."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from optimctl.errors import Key, UsageError, key_text, listing, nearest, visible
from optimctl.plan.page import FIRST, number
from optimctl.plan.subject import written

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optimctl.optim.options import Reason
    from optimctl.plan.plan import Plan, PlannedParameter


def matching(plan: Plan, pattern: str) -> list[str]:
    """The parameters that a name or a glob means, frozen ones among them.

    Raises:
        UsageError: None does.
    """
    names = [parameter.name for parameter in plan.parameters] + list(plan.frozen)
    found = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
    if not found:
        there = f"; there is {listing(names, 3)}, and a glob such as '*.bias' finds several" if names else ""
        lacks = "no [optim_wrapper]" if plan.model is not None else "no model"
        hint = nearest(pattern, names) or there or f"; the job has {lacks}"
        raise UsageError(f"--why: no parameter is called '{pattern}'{hint}")
    return found


def why_page(plan: Plan, names: list[str]) -> Iterator[RenderableType]:
    """A table for the parameters that one explanation fits, in the order of the model."""
    wanted = set(names)
    alike: dict[tuple[Any, ...], list[PlannedParameter]] = {}
    for parameter in plan.parameters:
        if parameter.name in wanted:
            reasons = tuple(parameter.reasons.items())
            alike.setdefault((parameter.optimizer, parameter.group, reasons), []).append(parameter)
    for parameters in alike.values():
        yield from (Text(_headline(parameter, plan), style="bold") for parameter in parameters)
        yield _table(parameters[0], plan)
        yield Text()
    for name in plan.frozen:
        if name in wanted:
            yield Text(visible(name), style="bold")
            yield Text(f"  {_frozen_text(plan.frozen_by.get(name), plan)}\n")


def _headline(parameter: PlannedParameter, plan: Plan) -> str:
    optimizer = f"optimizer {parameter.optimizer}, " if len(plan.optimizers) > 1 else ""
    return f"{visible(parameter.name)} {parameter.shape}, {optimizer}group {parameter.group}"


def _table(parameter: PlannedParameter, plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    first = [option for option in FIRST if option in parameter.reasons]
    for option in dict.fromkeys([*first, *parameter.reasons]):
        reason, value = parameter.reasons[option], parameter.options.get(option)
        told = [_decided(reason, plan), *(f"over {_line(key, plan)}" for key in reason.lost)]
        table.add_row(Text(f"  {option}"), Text(number(value)), Text("\n".join(told)))
    return table


def _decided(reason: Reason, plan: Plan) -> str:
    if reason.key is None:
        return reason.text or "the constructor's own rule"
    return _line(reason.key, plan) + (f" ({reason.text})" if reason.text else "")


def _frozen_text(reason: Reason | None, plan: Plan) -> str:
    return "frozen by the model itself" if reason is None else f"frozen by {_decided(reason, plan)}"


def _line(key: Key, plan: Plan) -> str:
    """A line of the job, as what is written there and where."""
    full: Key = ("optim_wrapper", *key)
    place = plan.job.place(full) if plan.job is not None else None
    value = _written(full, plan)
    return visible(f"{key_text(full)}{value}" + (f", {place}" if place else ""))


def _written(key: Key, plan: Plan) -> str:
    """`` = 0.1``, where the job says so."""
    value = None if plan.job is None else written(plan.job, key)
    if value is None or isinstance(value, (dict, list)):
        return ""
    return f" = {str(value).lower() if isinstance(value, bool) else value}"
