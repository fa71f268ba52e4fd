"""What two jobs do differently: in effect, not in text.

What does not count changes no weight that training gives: names, comments and the order of keys; where runs are written, what is
logged and which checkpoints are kept; how many processes load the data; and the validation, unless a schedule or a hook may wait for
it. Options and settings must be equal exactly, schedules to ``TOLERANCE``. An option that schedules move is what they make of it in
each iteration: the number that it starts from may differ.

In this room: ``compare``. ``change.py`` has what it finds, ``page.py`` tells it; ``side.py`` puts two jobs side by side, and the
other files each hold one part of them against the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.plan.diff.change import Diff, SettingChange
from optimctl.plan.diff.optimizers import optimizer_changes, waiting_changes
from optimctl.plan.diff.parameters import option_changes, parameter_changes, schedule_changes
from optimctl.plan.diff.settings import hook_changes, part_changes, run_changes
from optimctl.plan.diff.side import Side, Sides
from optimctl.plan.diff.uncompared import not_compared

if TYPE_CHECKING:
    from optimctl.plan.subject import Subject

__all__ = ["Diff", "compare"]


def compare(before: Subject, after: Subject) -> Diff:
    """What the job of ``after`` does that the one of ``before`` does not, and the other way round.

    Where one of them has no model, what is compared of options is what the optimizers start from, before any rule.

    Raises:
        JobError: In a job without a model, an optimizer or a wrapper refuses its arguments.
        ValueError: A subject is not a job's.
    """
    if before.job is None or after.job is None:
        raise ValueError("only what a job describes can be compared")
    with_model = before.model is not None and after.model is not None
    sides = Sides(Side(before, before.job, with_model), Side(after, after.job, with_model), with_model)
    return Diff(
        before=before.job,
        after=after.job,
        settings=tuple(_settings(sides)),
        parameters=tuple(parameter_changes(sides)) if with_model else (),
        options=tuple(option_changes(sides)),
        schedules=tuple(schedule_changes(sides)),
        not_compared=tuple(dict.fromkeys(not_compared(sides))),
        tensors=len(sides.common) if with_model else None,
        iterations=sides.iterations,
    )


def _settings(sides: Sides) -> Iterator[SettingChange]:
    yield from run_changes(sides)
    yield from part_changes(sides)
    yield from optimizer_changes(sides)
    yield from waiting_changes(sides)
    yield from hook_changes(sides)
