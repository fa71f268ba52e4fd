"""A list of schedules over a run: the one function behind run, preview, picture and export.

In this room: ``Clock`` (which step of which unit begins at an iteration), ``Affine`` (``value = scale * base +
offset``, an iteration an entry), ``blocks`` and ``trajectory`` (the scan over the schedules' maps) and
``preview_param_schedulers``.

Iterations count from 0. A schedule acts at iteration ``i`` if its unit's index changed since ``i - 1`` (at iteration 0
always) and stands in its range. At iteration 0 schedules act in the order of the list; later those that count
iterations or updates come before those that count epochs, because that is the order in which MMEngine's hook steps
them.

The scan goes through blocks that begin at multiples of ``BLOCK``, so that a run, a resumed run and a preview do the
very same arithmetic, and their values are equal to the last bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optimctl.errors import JobError
from optimctl.schedule.curves import ZERO, ReduceOnPlateau, Schedule
from optimctl.schedule.place import Placed, RunLength, Unit, read_schedules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from optimctl.schedule.curves import Floats, Steps, Values

    Positions = npt.NDArray[np.intp] | slice

BLOCK = 4096
"""Iterations that are computed together."""
_TINY = ZERO**0.5


@dataclass(frozen=True)
class Clock:
    """Where a run stands in each unit.

    Args:
        epoch_length: Iterations an epoch.
        accumulative_counts: Iterations an accumulation window, which ends in an update of the optimizer.
        skipped: The windows, counted from 0, whose update was skipped because gradients overflowed; sorted.
    """

    epoch_length: int | None = None
    accumulative_counts: int = 1
    skipped: tuple[int, ...] = ()

    def index(self, unit: Unit, iteration: int) -> int:
        """The step of ``unit`` that iteration ``iteration`` belongs to."""
        window = iteration // self.period(unit)
        return window - bisect_left(self.skipped, window) if unit == "update" else window

    def period(self, unit: Unit) -> int:
        """Iterations between two steps of ``unit``."""
        if unit == "epoch":
            return self.epoch_length or 2**62
        return self.accumulative_counts if unit == "update" else 1

    def ticks(self, unit: Unit, low: int, high: int) -> tuple[Steps, Steps]:
        """The iterations in ``[low, high)`` at which a step of ``unit`` begins, and the index of each."""
        import numpy as np

        period = self.period(unit)
        index = np.arange(-(-low // period), -(-high // period), dtype=np.int64)
        iterations = index * period
        if unit != "update" or not self.skipped:
            return iterations, index
        skipped = np.asarray(self.skipped)
        kept = ~np.isin(index - 1, skipped)
        return iterations[kept], (index - np.searchsorted(skipped, index))[kept]


@dataclass(frozen=True)
class Affine:
    """What an option is at some iterations, for any base: ``scale * base + offset``, and 0 where the base is 0."""

    scale: Floats
    offset: Floats

    def values(self, base: float) -> Floats:
        """The values of a group that started from ``base``, shape (iterations,)."""
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):  # as in ``_scanned``
            return self.scale * base + self.offset if base else np.zeros(self.scale.shape)


@dataclass(frozen=True)
class Carry:
    """What one block hands to the next."""

    scale: float = 1.0
    offset: float = 0.0
    hidden: int = 0
    """How many schedules hold the value at zero, until they take it up again."""


def trajectory(schedules: Sequence[Placed], reference: float, clock: Clock, low: int, high: int) -> Affine:
    """What schedules of one option make of it, in the iterations from ``low`` to before ``high``.

    Args:
        schedules: In the order of the job. Those that wait for a metric multiply on top, and are not in here.
        reference: The job's value of the option, before multipliers.
        clock: The run's units.
        low: The first iteration.
        high: The iteration after the last.
    """
    import numpy as np

    return trajectory_at(schedules, reference, clock, np.arange(low, high))


def trajectory_at(
    schedules: Sequence[Placed], reference: float, clock: Clock, iterations: Sequence[int] | Steps
) -> Affine:
    """As ``trajectory``, at some increasing iterations only; memory grows with their number, not with the run."""
    import numpy as np

    wanted = np.asarray(iterations, dtype=np.int64)
    parts: list[tuple[Floats, Floats]] = [(np.zeros(0), np.zeros(0))]
    for start, block, _ in blocks(schedules, reference, clock, 0, Carry()) if len(wanted) else ():
        inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + BLOCK)] - start
        parts.append((block.scale[inside], block.offset[inside]))
        if start + BLOCK > wanted[-1]:
            break
    return Affine(np.concatenate([scale for scale, _ in parts]), np.concatenate([offset for _, offset in parts]))


def blocks(
    schedules: Sequence[Placed], reference: float, clock: Clock, start: int, carry: Carry
) -> Iterator[tuple[int, Affine, Carry]]:
    """Block after block, without end: its first iteration, its ``BLOCK`` entries, and what it hands on.

    Args:
        schedules: As for ``trajectory``.
        reference: As for ``trajectory``.
        clock: As for ``trajectory``.
        start: Where the first block begins, a multiple of ``BLOCK``.
        carry: What the block before ``start`` handed on.
    """
    import numpy as np

    moving = [placed for placed in schedules if not isinstance(placed.schedule, ReduceOnPlateau)]
    later = sorted(moving, key=lambda placed: placed.unit == "epoch")
    while True:
        if start == 0:
            first, carry = _scanned(moving, reference, clock, 0, 1, carry)
            rest, carry = _scanned(later, reference, clock, 1, BLOCK, carry)
            scale, offset = np.concatenate([first.scale, rest.scale]), np.concatenate([first.offset, rest.offset])
            yield 0, Affine(scale, offset), carry
        else:
            block, carry = _scanned(later, reference, clock, start, start + BLOCK, carry)
            yield start, block, carry
        start += BLOCK


@dataclass(frozen=True)
class _Steps:
    """What one schedule does in a block: ``value <- a * value + b + c * base`` at some positions."""

    positions: Steps
    a: Floats
    b: Values
    c: Values
    hides: Steps | None
    """1 where it begins to hold the value at zero, -1 where it ends."""


def _scanned(
    ordered: Sequence[Placed], reference: float, clock: Clock, low: int, high: int, carry: Carry
) -> tuple[Affine, Carry]:
    """The iterations from ``low`` to before ``high``, and what they hand on."""
    import numpy as np

    acting = [steps for placed in ordered if (steps := _steps(placed, reference, clock, low, high)) is not None]
    if not acting:
        shown = 0.0 if carry.hidden else 1.0
        return Affine(np.full(high - low, shown * carry.scale), np.full(high - low, shown * carry.offset)), carry
    axis = _common_axis(acting, high - low)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a block reaches beyond the run, where a growing value may overflow
        a, b, c, hides = _composed(acting, axis)
        scale, offset = _scan(a, b, c, carry)
    hidden = None if hides is None else carry.hidden + np.cumsum(hides)
    depth = carry.hidden if hidden is None else int(hidden[-1])
    after = Carry(float(scale[-1]), float(offset[-1]), depth)
    if hidden is not None or carry.hidden:
        visible = hidden == 0 if hidden is not None else np.zeros(len(axis), dtype=bool)
        scale, offset = np.where(visible, scale, 0.0), np.where(visible, offset, 0.0)
    shown = 0.0 if carry.hidden else 1.0
    spread = _spread(axis, high - low)
    return Affine(spread(scale, shown * carry.scale), spread(offset, shown * carry.offset)), after


def _steps(placed: Placed, reference: float, clock: Clock, low: int, high: int) -> _Steps | None:
    """What one schedule does from ``low`` to before ``high``; None where it does not act."""
    import numpy as np

    end = placed.end
    if clock.index(placed.unit, high - 1) < placed.begin or (end is not None and clock.index(placed.unit, low) > end):
        return None
    iterations, index = clock.ticks(placed.unit, low, high)
    first = int(np.searchsorted(index, placed.begin))
    last = len(index) if end is None else int(np.searchsorted(index, end))
    if last <= first:
        return None
    schedule = cast("Schedule", placed.schedule)
    a, b, c = schedule.maps(index[first:last] - placed.begin, reference)
    factors, hides = _unhidden(np.broadcast_to(np.asarray(a, dtype=np.float64), (last - first,)))
    return _Steps(iterations[first:last] - low, factors, b, c, hides)


def _unhidden(a: Floats) -> tuple[Floats, Steps | None]:
    """Factors without the ones that stand for zero and its end, and where those are (see ``curves.ZERO``)."""
    import numpy as np

    size = np.abs(a)
    hides = (size < _TINY) & (size > 0)
    shows = size > 1 / _TINY
    if not (hides.any() or shows.any()):
        return a, None
    return a * np.where(hides, 1 / ZERO, np.where(shows, ZERO, 1.0)), hides.astype(np.int64) - shows


def _common_axis(acting: Sequence[_Steps], count: int) -> Steps:
    """The positions at which any schedule acts."""
    import numpy as np

    longest = max((steps.positions for steps in acting), key=len)
    if len(acting) == 1 or len(longest) == count:
        return longest
    return np.unique(np.concatenate([steps.positions for steps in acting]))


def _composed(acting: Sequence[_Steps], axis: Steps) -> tuple[Floats, Floats | None, Floats | None, Steps | None]:
    """One map a position, of all schedules in their order; None for what is zero everywhere."""
    import numpy as np

    a = np.ones(len(axis))
    b: Floats | None = None
    c: Floats | None = None
    hides: Steps | None = None
    for steps in acting:
        at = _places(steps.positions, axis)
        b = _followed(b, steps.a, steps.b, at, len(axis))
        c = _followed(c, steps.a, steps.c, at, len(axis))
        a[at] *= steps.a
        if steps.hides is not None:
            hides = np.zeros(len(axis), dtype=np.int64) if hides is None else hides
            hides[at] += steps.hides
    return a, b, c, hides


def _places(positions: Steps, axis: Steps) -> Positions:
    """Where ``positions`` stand on ``axis``, as a slice where that is possible."""
    import numpy as np

    if len(positions) == len(axis):
        return slice(None)
    start = int(np.searchsorted(axis, positions[0]))
    stop = start + len(positions)
    if stop <= len(axis) and axis[stop - 1] == positions[-1]:
        return slice(start, stop)
    return np.searchsorted(axis, positions)


def _followed(sum_before: Floats | None, a: Floats, added: Values, at: Positions, count: int) -> Floats | None:
    """``a * before + added`` at some positions."""
    import numpy as np

    if sum_before is None and isinstance(added, float | int) and added == 0:
        return None
    after = np.zeros(count) if sum_before is None else sum_before
    after[at] = after[at] * a + added
    return after


def _scan(a: Floats, b: Floats | None, c: Floats | None, carry: Carry) -> tuple[Floats, Floats]:
    """``scale[i] = a[i] * scale[i - 1] + c[i]`` and ``offset[i] = a[i] * offset[i - 1] + b[i]``, from ``carry``."""
    return _run_on(a, c, carry.scale), _run_on(a, b, carry.offset)


def _run_on(a: Floats, added: Floats | None, value: float) -> Floats:
    """``y[i] = a[i] * y[i - 1] + added[i]`` from ``value``, one after the other.

    A script that does so too has the same values, to the last bit: that is what ``export python`` writes.
    """
    import numpy as np

    if added is None:
        return np.cumprod(np.concatenate([[value], a]))[1:] if value else np.zeros(len(a))
    values = []
    for factor, more in zip(a.tolist(), added.tolist(), strict=True):
        value = factor * value + more
        values.append(value)
    return np.asarray(values)


def _spread(axis: Steps, count: int) -> Any:
    """A function that puts values on ``axis`` over all positions, each until the next, after what was before."""
    import numpy as np

    if len(axis) == count:
        return lambda values, before: values
    lengths = np.diff(np.concatenate([[0], axis, [count]]))
    return lambda values, before: np.repeat(np.concatenate([[before], values]), lengths)


def affine_trajectories(
    schedules: Sequence[Placed], references: Mapping[str, float], run: RunLength
) -> dict[str, Affine]:
    """What each option of ``references`` is in every iteration of the run, for any base.

    A schedule of ``momentum`` moves ``betas[0]`` where ``references`` has that and no momentum.

    Raises:
        JobError: The run's length is not known.
    """
    if run.iterations is None:
        raise JobError.single(
            ("max_epochs",), "the run's length is needed: max_epochs with epoch_length, or max_iters", "missing-length"
        )
    clock = Clock(run.epoch_length, run.accumulative_counts)
    return {
        option: trajectory(of_option(schedules, option, references), reference, clock, 0, run.iterations)
        for option, reference in references.items()
    }


def of_option(schedules: Sequence[Placed], option: str, known: Mapping[str, Any]) -> list[Placed]:
    """The schedules that move ``option`` of an optimizer with the options ``known``."""
    names = {option, "momentum"} if option == "betas[0]" and "momentum" not in known else {option}
    return [placed for placed in schedules if placed.option in names]


def preview_param_schedulers(
    tables: Any,
    values: Mapping[str, float],
    *,
    epoch_length: int | None = None,
    max_epochs: int | None = None,
    max_iters: int | None = None,
    accumulative_counts: int = 1,
) -> dict[str, Floats]:
    """What a job's schedules make of each option, in every iteration: the values that a run will have.

    ``ReduceOnPlateau`` waits for a metric and is left out; so are schedules of options that ``values`` does not name.

    Args:
        tables: ``param_scheduler`` of a job: one table or a list of them.
        values: The options as the job writes them, such as ``{"lr": 0.1, "momentum": 0.9}``.
        epoch_length: Iterations an epoch.
        max_epochs: The run's length in epochs; or ``max_iters``.
        max_iters: The run's length in iterations.
        accumulative_counts: Iterations an update of the optimizer.

    Returns:
        For each option an array of float64, shape (iterations,).

    Raises:
        JobError: Anything is wrong with the tables, or the run's length is not known.
    """
    run = RunLength(epoch_length, max_epochs, max_iters, accumulative_counts)
    schedules = read_schedules(tables, run)
    references = {option: float(value) for option, value in values.items()}
    lines = affine_trajectories(schedules, references, run)
    return {option: line.values(references[option]) for option, line in lines.items()}
