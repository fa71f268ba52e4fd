"""How far apart the schedules of two jobs are, in every iteration of the run.

In this room: ``Line`` (one value over a run), ``Gap`` (two values at an iteration), ``Distance`` (what there is to say of two lines)
and ``distances``, which goes through both runs block by block, so that memory does not grow with their length.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optimctl.schedule.trajectory import BLOCK, Carry, blocks

if TYPE_CHECKING:
    from optimctl.schedule.curves import Floats
    from optimctl.schedule.scheduler import ParamSchedulers

TOLERANCE = 1e-12
"""Two values are equal if they differ by no more than this share of the largest value that either line had so far.

Of the largest, not of themselves: a schedule is a chain of products, and the last values of a cosine that ends at 0, written in two
ways, agree to 16 digits of where it began and to none of their own.
"""


@dataclass(frozen=True)
class Line:
    """One value over a run: what the schedules make of it, or, where none moves it, the same all through."""

    curve: int | None = None
    """Its index among the curves of its job."""
    constant: float = 0.0


@dataclass(frozen=True)
class Gap:
    """What two lines are at one iteration, counted from 0."""

    iteration: int
    before: float
    after: float

    @property
    def absolute(self) -> float:
        """How far they are apart; infinite where one of them is no number."""
        distance = abs(self.after - self.before)
        return math.inf if math.isnan(distance) else distance

    @property
    def relative(self) -> float:
        """The same, as a share of the larger of the two: from 0 to 1, and to 2 where the signs differ."""
        return self.absolute / max(abs(self.before), abs(self.after)) if math.isfinite(self.absolute) else 1.0


@dataclass(frozen=True)
class Distance:
    """How two lines differ that are not equal."""

    iterations: int
    """In how many iterations they do."""
    first: int
    """The first of them, counted from 0."""
    largest: Gap
    """Where they are furthest apart."""
    largest_relative: Gap
    """Where they are furthest apart, in relation to their size."""


def curves_of(schedulers: ParamSchedulers) -> dict[tuple[str, int], dict[str, Line]]:
    """The curve of each option that is scheduled, by the wrapper's name and the group's index there."""
    lines: dict[tuple[str, int], dict[str, Line]] = {}
    for number, (name, option, groups) in enumerate(_curves(schedulers)):
        for group in groups:
            lines.setdefault((name, group), {})[option] = Line(number)
    return lines


def distances(
    before: ParamSchedulers, after: ParamSchedulers, pairs: Collection[tuple[Line, Line]], iterations: int
) -> dict[tuple[Line, Line], Distance]:
    """How far the lines of each pair are apart, for those that are not equal.

    Args:
        before: The schedules that the first line of a pair belongs to.
        after: The schedules of the second.
        iterations: How many iterations are compared, from the first.
    """
    meters = {pair: _Meter() for pair in pairs}
    if not meters:
        return {}
    for start, one, other in zip(range(0, iterations, BLOCK), _blocks(before), _blocks(after), strict=False):
        count = min(BLOCK, iterations - start)
        for (line, its_other), meter in meters.items():
            meter.see(start, _values(line, one, count), _values(its_other, other, count))
    return {pair: found for pair, meter in meters.items() if (found := meter.distance()) is not None}


def _curves(schedulers: ParamSchedulers) -> Iterator[tuple[str, str, list[int]]]:
    """Each curve once: the wrapper's name, the option, and the groups that share it, in the order of ``_blocks``."""
    for name, part in schedulers.parts.items():
        for track in part.tracks:
            for base in dict.fromkeys(track.bases.values()):
                yield name, str(track.slot), [group for group, own in track.bases.items() if own == base]


def _blocks(schedulers: ParamSchedulers) -> Iterator[list[Floats]]:
    """The values of all curves, ``BLOCK`` iterations at a time, without end."""
    tracks = [(track, part.clock) for part in schedulers.parts.values() for track in part.tracks]
    scans = [blocks(track.schedules, track.reference, clock, 0, Carry()) for track, clock in tracks]
    bases = [list(dict.fromkeys(track.bases.values())) for track, _ in tracks]
    while True:
        scanned = [next(scan)[1] for scan in scans]
        yield [block.values(base) for block, own in zip(scanned, bases, strict=True) for base in own]


def _values(line: Line, block: list[Floats], count: int) -> Floats:
    return np.full(count, line.constant) if line.curve is None else block[line.curve][:count]


class _Meter:
    """Watches two lines, block by block."""

    def __init__(self) -> None:
        self.iterations = 0
        self.first = 0
        self.largest: Gap | None = None
        self.largest_relative: Gap | None = None
        self.peak = 0.0
        """The largest value that either had so far."""

    def see(self, start: int, before: Floats, after: Floats) -> None:
        """The values of both from iteration ``start`` on."""
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            size = np.maximum(np.abs(before), np.abs(after))
            gap = np.abs(after - before)
            peaks = np.maximum.accumulate(np.where(np.isfinite(size), size, 0.0)).clip(self.peak)
            equal = (before == after) | (gap <= TOLERANCE * peaks) | (np.isnan(before) & np.isnan(after))
            relative = gap / size
        self.peak = float(peaks[-1])
        (where,) = np.nonzero(~equal)
        if len(where) == 0:
            return
        if self.iterations == 0:
            self.first = start + int(where[0])
        self.iterations += len(where)
        gaps = [_gap(int(where[_furthest(each[where])]), start, before, after) for each in (gap, relative)]
        if self.largest is None or gaps[0].absolute > self.largest.absolute:
            self.largest = gaps[0]
        if self.largest_relative is None or gaps[1].relative > self.largest_relative.relative:
            self.largest_relative = gaps[1]

    def distance(self) -> Distance | None:
        """What there is to say of them; None where they are equal."""
        if self.largest is None or self.largest_relative is None:
            return None
        return Distance(self.iterations, self.first, self.largest, self.largest_relative)


def _furthest(gaps: Floats) -> int:
    return int(np.argmax(np.nan_to_num(gaps, nan=np.inf)))


def _gap(index: int, start: int, before: Floats, after: Floats) -> Gap:
    return Gap(start + index, float(before[index]), float(after[index]))


__all__ = ["TOLERANCE", "Distance", "Gap", "Line", "curves_of", "distances"]
