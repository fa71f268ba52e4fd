"""``optimctl.explain``: the plan and the findings of an optimizer that was made anywhere.

In this room: ``Explanation``, and what it takes to look into wrappers of optimizers: accelerate's, Lightning's, MMEngine's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.optim import Optimizer

from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.walk import unwrapped, walk
from optimctl.plan.findings import Finding, in_order
from optimctl.plan.foreign import ForeignSchedulers
from optimctl.plan.page import plan_page
from optimctl.plan.plan import Plan, plan_of
from optimctl.plan.subject import Part, Subject
from optimctl.schedule.checks import is_whole

WIDTH = 120
"""Columns of the page where it is printed; a notebook scrolls."""


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
        iterations: How often the schedulers will step from now on. Default: what is left of what they say themselves, where they do.
        epoch_length: Iterations an epoch, for schedulers of MMEngine that step by epoch.

    Raises:
        TypeError: ``optimizer`` is none, and holds none, or a scheduler does not step.
        ValueError: A length is not a whole number from 1 up.
    """
    for name, length in (("iterations", iterations), ("epoch_length", epoch_length)):
        if length is not None and not (is_whole(length) and length >= 1):
            raise ValueError(f"{name} must be a whole number from 1 up, not {length!r}")
    model = unwrapped(model)
    parts = [Part(name, one, wrapper=wrapper) for name, one, wrapper in _optimizers(optimizer)]
    found = ForeignSchedulers(schedulers, parts, model, iterations, epoch_length)
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
    return Explanation(replace(plan, findings=tuple(in_order([*plan.findings, *found.findings()]))))


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


__all__ = ["Explanation", "explain"]
