"""The scan: equal to stepping, whole or in parts; and the clock that says when a schedule acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimctl.errors import JobError
from optimctl.schedule.place import Placed, RunLength, Unit, read_schedules
from optimctl.schedule.trajectory import (
    BLOCK,
    Carry,
    Clock,
    affine_trajectories,
    blocks,
    of_option,
    trajectory,
    trajectory_at,
)


@dataclass(frozen=True)
class Table:
    """A schedule whose maps are written down."""

    maps_by_step: tuple[tuple[float, float, float], ...]

    def maps(self, t: Any, reference: float) -> tuple[Any, Any, Any]:
        rows = np.asarray([self.maps_by_step[step % len(self.maps_by_step)] for step in t])
        return rows[:, 0], rows[:, 1], rows[:, 2]


def stepped(schedules: list[Placed], clock: Clock, count: int, base: float) -> list[float]:
    """The same, one map at a time."""
    value, found = base, []
    for iteration in range(count):
        ordered = schedules if iteration == 0 else sorted(schedules, key=lambda placed: placed.unit == "epoch")
        for placed in ordered:
            index = clock.index(placed.unit, iteration)
            changed = iteration == 0 or index != clock.index(placed.unit, iteration - 1)
            if changed and placed.begin <= index and (placed.end is None or index < placed.end):
                a, b, c = placed.schedule.maps(np.asarray([index - placed.begin]), 1.0)  # type: ignore[union-attr]
                value = float(np.ravel(a)[0]) * value + float(np.ravel(b)[0]) + float(np.ravel(c)[0]) * base
        found.append(value)
    return found


numbers = st.sampled_from([-0.5, 0.0, 0.25, 0.9, 1.0, 1.1])
maps = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=5)
units: st.SearchStrategy[Unit] = st.sampled_from(get_args(Unit))


@st.composite
def placements(draw: st.DrawFn) -> Placed:
    begin = draw(st.integers(0, 20))
    end = draw(st.one_of(st.none(), st.integers(begin + 1, 60)))
    return Placed(Table(tuple(draw(maps))), "lr", begin, end, draw(units))


clocks = st.builds(
    Clock,
    st.integers(1, 9),
    st.integers(1, 5),
    st.frozensets(st.integers(0, 15), max_size=6).map(lambda s: tuple(sorted(s))),
)


@given(st.lists(placements(), max_size=4), clocks, st.integers(1, 60), st.sampled_from([0.1, -2.0]))
@settings(max_examples=150, deadline=None)
def test_the_scan_is_stepping(schedules: list[Placed], clock: Clock, count: int, base: float) -> None:
    found = trajectory(schedules, 1.0, clock, 0, count).values(base)
    np.testing.assert_allclose(found, stepped(schedules, clock, count, base), rtol=1e-9, atol=1e-9)


TABLES: list[dict[str, Any]] = [
    {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "end": 300},
    {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 200, "T_max": 4000, "eta_min": 1e-4},
    {"type": "MultiStepLR", "milestones": [5, 30], "gamma": 0.5},
    {"type": "StepLR", "by": "update", "step_size": 700, "gamma": 0.9},
]
RUN = RunLength(epoch_length=250, max_epochs=40, accumulative_counts=3)


def test_parts_are_the_whole_to_the_last_bit() -> None:
    schedules, clock = read_schedules(TABLES, RUN), Clock(250, 3, (4, 90))
    whole = trajectory(schedules, 0.1, clock, 0, 10_000).values(0.1)
    for low, high in [(0, 1), (1, 7), (4095, 4097), (4096, 9000), (9999, 10_000)]:
        assert trajectory(schedules, 0.1, clock, low, high).values(0.1).tolist() == whole[low:high].tolist()
    at = [0, 3, 4096, 4097, 9999]
    assert trajectory_at(schedules, 0.1, clock, at).values(0.1).tolist() == whole[at].tolist()
    assert trajectory_at(schedules, 0.1, clock, []).values(0.1).size == 0


def test_a_block_goes_on_from_what_the_one_before_handed_on() -> None:
    schedules, clock = read_schedules(TABLES, RUN), Clock(250, 3)
    stream = blocks(schedules, 0.1, clock, 0, Carry())
    _, _, carry = next(stream)
    start, second, _ = next(stream)
    again = next(blocks(schedules, 0.1, clock, BLOCK, carry))
    assert (start, again[0]) == (BLOCK, BLOCK)
    assert again[1].values(0.1).tolist() == second.values(0.1).tolist()


def test_schedules_by_epoch_act_after_those_by_iteration_but_first_in_iteration_0() -> None:
    double, add = Table(((2.0, 0.0, 0.0),)), Table(((1.0, 1.0, 0.0),))
    schedules = [Placed(double, "lr", 0, None, "epoch"), Placed(add, "lr", 0, None, "iteration")]
    found = trajectory(schedules, 1.0, Clock(2), 0, 3).values(1.0)
    assert found.tolist() == [2 * 1 + 1, 4, 2 * (4 + 1)]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("iteration", list(range(8))), ("epoch", [0, 0, 0, 0, 0, 1, 1, 1]), ("update", [0, 0, 0, 1, 1, 1, 1, 1])],
)
def test_the_clock(unit: Unit, expected: list[int]) -> None:
    clock = Clock(5, 3, (1,))
    assert [clock.index(unit, iteration) for iteration in range(8)] == expected
    iterations, indices = clock.ticks(unit, 0, 8)
    starts = [at for at in range(8) if at == 0 or expected[at] != expected[at - 1]]
    assert (iterations.tolist(), indices.tolist()) == (starts, [expected[at] for at in starts])


def test_a_skipped_update_makes_a_schedule_wait() -> None:
    tables = {"type": "MultiStepLR", "milestones": [1, 3], "gamma": 0.5, "by": "update"}
    schedules = read_schedules(tables, RunLength(max_iters=12, accumulative_counts=2))
    straight = trajectory(schedules, 1.0, Clock(None, 2), 0, 12).values(1.0)
    waiting = trajectory(schedules, 1.0, Clock(None, 2, (0, 2)), 0, 12).values(1.0)
    assert straight.tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, *[0.25] * 6]
    assert waiting.tolist() == [1, 1, 1, 1, *[0.5] * 6, 0.25, 0.25]


def test_updates_are_counted_in_the_same_way_without_accumulation() -> None:
    run = RunLength(max_iters=50)
    for table in ({"type": "PolyLR"}, {"type": "LinearLR", "end": "30%"}):
        updates, iterations = (
            affine_trajectories(read_schedules({**table, "by": unit}, run), {"lr": 0.1}, run)["lr"].values(0.1)
            for unit in ("update", "iteration")
        )
        assert updates.tolist() == iterations.tolist()


def test_accumulation_windows_run_across_epochs() -> None:
    run = RunLength(epoch_length=5, max_epochs=2, accumulative_counts=4)
    schedules = read_schedules({"type": "ExponentialLR", "gamma": 0.5, "by": "update"}, run)
    found = affine_trajectories(schedules, {"lr": 1.0}, run)["lr"].values(1.0)
    assert found.tolist() == [1] * 4 + [0.5] * 4 + [0.25] * 2


def test_momentum_means_the_first_beta_where_there_is_no_momentum() -> None:
    schedules = read_schedules(
        [{"type": "LinearMomentum"}, {"type": "LinearParamScheduler", "param_name": "betas[0]"}], RUN
    )
    assert of_option(schedules, "betas[0]", {"lr": 1, "betas[0]": 0.9}) == schedules
    assert of_option(schedules, "betas[0]", {"momentum": 1, "betas[0]": 0.9}) == schedules[1:]
    assert of_option(schedules, "momentum", {"momentum": 1}) == schedules[:1]


def test_a_preview_needs_the_length_of_the_run() -> None:
    with pytest.raises(JobError, match="max_iters"):
        affine_trajectories([], {"lr": 0.1}, RunLength(epoch_length=10))
