"""The picture of a schedule: each scheduled option of each group over the run, a panel an option.

The values are those of every iteration, from the function that a run uses; what is drawn of them has the same pixels as all. A value
holds for its iteration, so that a milestone is a step and no slope.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optimctl.errors import UsageError
from optimctl.pictures import Line, Panel, Span, draw_panels, staircase
from optimctl.schedule.curves import ReduceOnPlateau
from optimctl.schedule.trajectory import trajectory_at

if TYPE_CHECKING:
    from optimctl.pictures import Floats
    from optimctl.schedule.place import Placed, RunLength
    from optimctl.schedule.scheduler import ParamSchedulers, Part, Target

LABEL = 52
"""Letters of a legend's entry."""
MOST_RUNS = 4
"""Runs of group numbers in a legend's entry."""
FIRST_OF_NAME = 8
"""Letters that stay of the beginning of a name that is too long."""


def plot_schedule(schedules: ParamSchedulers | None, length: RunLength, file: Path, *, title: str) -> None:
    """Draw what a job schedules, over the whole run; where nothing is, the learning rates as they stay.

    Groups with the same values share a line. Bars above a panel show where each schedule acts. What waits for a metric
    (``ReduceOnPlateau``) has its bar, and no effect on the lines.

    Args:
        schedules: Those of the job; None where they could not be placed.
        length: The run's.
        file: The picture, PNG or SVG by its ending.
        title: One line above all.

    Raises:
        UsageError: The run has no length or no optimizer, the ending is unknown, matplotlib is missing, or ``file`` cannot be
            written.
    """
    if schedules is None or length.iterations is None:
        raise UsageError("a picture of the schedule needs [optim_wrapper], and [train_cfg] with the length of the run")
    panels = schedule_panels(schedules, length.iterations)
    if not panels:
        raise UsageError("there is nothing to draw: nothing is scheduled, and the optimizer has no lr")
    draw_panels(panels, file, title=title, iterations=length.iterations, epoch_length=length.epoch_length)


def schedule_panels(schedules: ParamSchedulers, iterations: int) -> list[Panel]:
    """A panel for each option that moves, ``lr`` first; for ``lr`` as it stays where none does."""
    curves = list(_scheduled(schedules, iterations)) or list(_constant(schedules, iterations))
    options = sorted(dict.fromkeys(curve.option for curve in curves), key=lambda option: option != "lr")
    labels = _Labels(schedules)
    return [
        Panel(
            option,
            labels.lines([curve for curve in curves if curve.option == option]),
            _spans(schedules, option, iterations),
            "groups",
        )
        for option in options
    ]


@dataclass(frozen=True)
class _Curve:
    """One option of the groups of one optimizer that started from the same value."""

    option: str
    optimizer: str
    groups: tuple[int, ...]
    x: Floats
    y: Floats


def _scheduled(schedules: ParamSchedulers, iterations: int) -> Iterator[_Curve]:
    import numpy as np

    every = np.arange(iterations, dtype=np.int64)
    for name, part in schedules.parts.items():
        for track in part.tracks:
            line = trajectory_at(track.schedules, track.reference, part.clock, every)
            for base, groups in _groups_by_value(track.bases).items():
                yield _Curve(str(track.slot), name, groups, *staircase(line.values(base)))


def _constant(schedules: ParamSchedulers, iterations: int) -> Iterator[_Curve]:
    import numpy as np

    for name, part in schedules.parts.items():
        lrs = {index: group.get("lr") for index, group in enumerate(part.target.param_groups)}
        numbers = {index: float(lr) for index, lr in lrs.items() if lr is not None}
        for lr, groups in _groups_by_value(numbers).items():
            yield _Curve("lr", name, groups, np.array([0, iterations]), np.array([lr, lr]))


def _groups_by_value(values: Mapping[int, float]) -> dict[float, tuple[int, ...]]:
    """The groups that share each value."""
    groups: dict[float, tuple[int, ...]] = {}
    for group, value in values.items():
        groups[value] = (*groups.get(value, ()), group)
    return groups


# --- where schedules act


def _spans(schedules: ParamSchedulers, option: str, iterations: int) -> list[Span]:
    """Where each schedule of an option acts; what several optimizers have in common is shown once."""
    owners: dict[Span, list[str]] = {}
    having = [name for name, part in schedules.parts.items() if any(str(t.slot) == option for t in part.tracks)]
    for name in having:
        for placed in _moving(schedules.parts[name], option):
            span = _span(placed, schedules.parts[name], iterations)
            if span.begin < iterations and name not in owners.setdefault(span, []):
                owners[span].append(name)
    return [
        span if names == having else Span(f"{', '.join(names)}: {span.label}", span.begin, span.end)
        for span, names in owners.items()
    ]


def _moving(part: Part, option: str) -> Sequence[Placed]:
    """The schedules of an option; the tracks of one slot all have the same."""
    return next((track.schedules for track in part.tracks if str(track.slot) == option), ())


def _span(placed: Placed, part: Part, iterations: int) -> Span:
    period = part.clock.period(placed.unit)
    end = iterations if placed.end is None else min(placed.end * period, iterations)
    waits = f" (waits for {placed.schedule.monitor})" if isinstance(placed.schedule, ReduceOnPlateau) else ""
    return Span(f"{placed.name or type(placed.schedule).__name__}{waits}", min(placed.begin * period, iterations), end)


# --- what a line is called


class _Labels:
    """Names for lines: the groups' numbers, the first of their parameters, and how many there are."""

    def __init__(self, schedules: ParamSchedulers) -> None:
        self.targets = {name: part.target for name, part in schedules.parts.items()}

    def lines(self, curves: Sequence[_Curve]) -> list[Line]:
        """A line for each distinct curve, the highest first."""
        shared: dict[tuple[bytes, bytes], list[_Curve]] = {}
        for curve in curves:
            shared.setdefault((curve.x.tobytes(), curve.y.tobytes()), []).append(curve)
        ordered = sorted(shared.values(), key=lambda same: -max(same[0].y))
        return [Line(self._label(same), same[0].x, same[0].y) for same in ordered]

    def _label(self, same: Sequence[_Curve]) -> str:
        """``0-3, 7: stem.weight and 41 more``, as long as a legend has room for."""
        places = [
            _place(curve.optimizer, self.targets[curve.optimizer], g) for curve in same for g in sorted(curve.groups)
        ]
        names = [
            name for curve in same for group in sorted(curve.groups) for name in self._names(curve.optimizer, group)
        ]
        head = self._numbers(places)
        if not names:
            return head
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{head}: {shortened(names[0], LABEL - len(head) - len(more) - 2)}{more}"

    def _numbers(self, places: Sequence[tuple[str, int]]) -> str:
        of: dict[str, list[int]] = {}
        for optimizer, index in places:
            of.setdefault(optimizer, []).append(index)
        several = len({place for name, target in self.targets.items() for place in _optimizers(name, target)}) > 1
        runs = [f"{name} {run}" if several else run for name, indices in of.items() for run in runs_of(indices)]
        return ", ".join(runs) if len(runs) <= MOST_RUNS else f"{runs[0]}, {runs[1]}, ... ({len(places)} groups)"

    def _names(self, optimizer: str, group: int) -> Sequence[str]:
        options = self.targets[optimizer].param_groups[group]
        return options.get("param_names") or ()


def _place(name: str, target: Target, index: int) -> tuple[str, int]:
    """The optimizer that has a group, and the group's number there, as the plan counts them."""
    for optimizer, count in _optimizers(name, target).items():
        if index < count:
            return optimizer, index
        index -= count
    return name, index


def _optimizers(name: str, target: Target) -> dict[str, int]:
    """The optimizers of a wrapper, with the number of their groups: under ``Routes`` there are several."""
    parts = getattr(target, "parts", ())
    if len(parts) < 2:
        return {name: len(target.param_groups)}
    prefix = "" if name == "default" else f"{name}."
    return {f"{prefix}{route}" if route else name: len(optimizer.param_groups) for route, optimizer, _ in parts}


def shortened(name: str, most: int) -> str:
    """A name in at most so many letters: its beginning and its end, where it is too long."""
    if len(name) <= most:
        return name
    end = max(most - FIRST_OF_NAME - 3, 4)
    return f"{name[:FIRST_OF_NAME]}...{name[-end:]}"


def runs_of(numbers: Sequence[int]) -> list[str]:
    """``0-3`` and ``7``: increasing numbers, neighbours taken together."""
    runs = []
    for _, several in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in several]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return runs


__all__ = ["plot_schedule", "schedule_panels"]
