"""Lists of schedules have, at every iteration, the values that MMEngine's schedulers step to."""

from __future__ import annotations

import copy
from typing import Any

import mmengine.optim.scheduler as mmengine
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optimctl.schedule import preview_param_schedulers
from optimctl.schedule.place import RunLength, read_schedules
from optimctl.schedule.trajectory import affine_trajectories

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mmengine", "ignore::DeprecationWarning")

Table = dict[str, Any]
Array = npt.NDArray[np.float64]


def mmengine_values(tables: list[Table], bases: list[float], epoch_length: int, iterations: int, option: str) -> Array:
    """What MMEngine's schedulers make of each group, shape (groups, iterations)."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], option: base} for base in bases]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
    schedulers = [build(table, optimizer, epoch_length, iterations) for table in tables]
    optimizer.step()
    values = np.empty((len(bases), iterations))
    for iteration in range(iterations):
        values[:, iteration] = [group[option] for group in optimizer.param_groups]
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
        if (iteration + 1) % epoch_length == 0:
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()
    return values


def build(table: Table, optimizer: torch.optim.Optimizer, epoch_length: int, iterations: int) -> Any:
    arguments = copy.deepcopy(table)
    made = getattr(mmengine, arguments.pop("type"))
    by_epoch = arguments.get("by_epoch", True)
    arguments.setdefault("end", -(-iterations // epoch_length) if by_epoch else iterations)
    if arguments.pop("convert_to_iter_based", False):
        return made.build_iter_from_epoch(optimizer=optimizer, epoch_length=epoch_length, **arguments)
    return made(optimizer=optimizer, **arguments)


def our_values(tables: list[Table], bases: list[float], reference: float, option: str, run: RunLength) -> Array:
    line = affine_trajectories(read_schedules(tables, run), {option: reference}, run)[option]
    return np.stack([line.values(base) for base in bases])


def assert_same(
    tables: list[Table], bases: list[float], epoch_length: int, iterations: int, option: str = "lr"
) -> None:
    theirs = mmengine_values(tables, bases, epoch_length, iterations, option)
    ours = our_values(tables, bases, max(bases), option, RunLength(epoch_length, None, iterations))
    scale = np.maximum(np.abs(theirs), np.asarray(bases)[:, None])
    np.testing.assert_array_less(np.abs(ours - theirs) / scale, 1e-9)


factors = st.sampled_from([0.001, 0.1, 1 / 3, 0.9, 1.0])
floors = st.one_of(
    st.fixed_dictionaries({}, optional={"eta_min": st.sampled_from([0.0, 1e-5, 0.003])}),
    st.fixed_dictionaries({"eta_min_ratio": st.sampled_from([0.0, 0.01, 0.5])}),
)
steps = st.integers(1, 40)


@st.composite
def schedules(draw: st.DrawFn) -> Table:
    kind = draw(st.sampled_from(sorted(ARGUMENTS)))
    table: Table = {"type": kind, **draw(ARGUMENTS[kind])}
    place = draw(st.sampled_from(["epoch", "iteration", "convert"]))
    if place == "iteration":
        table["by_epoch"] = False
    elif draw(st.booleans()):
        table["by_epoch"] = True
    if place == "convert":
        table["convert_to_iter_based"] = True
    begin = draw(st.one_of(st.none(), st.integers(0, 25)))
    end = draw(st.one_of(st.none(), st.integers(2, 30)))
    table.update({} if begin is None else {"begin": begin}, **({} if end is None else {"end": (begin or 0) + end}))
    return table


@st.composite
def restarts(draw: st.DrawFn) -> Table:
    periods = draw(st.lists(st.integers(1, 15), min_size=1, max_size=4))
    weights = draw(st.lists(factors, min_size=len(periods), max_size=len(periods)))
    floor = draw(st.sampled_from([{"eta_min": 0.0}, {"eta_min": 1e-4}, {"eta_min_ratio": 0.1}]))
    return {"periods": periods, "restart_weights": weights, **floor}


ARGUMENTS: dict[str, st.SearchStrategy[Table]] = {
    "ConstantLR": st.fixed_dictionaries({}, optional={"factor": factors}),
    "CosineAnnealingLR": st.builds(
        lambda floor, period: {**floor, **period}, floors, st.fixed_dictionaries({}, optional={"T_max": steps})
    ),
    "CosineRestartLR": restarts(),
    "ExponentialLR": st.fixed_dictionaries({"gamma": st.sampled_from([0.5, 0.97, 1.0, 1.1])}),
    "LinearLR": st.fixed_dictionaries({}, optional={"start_factor": factors, "end_factor": factors}),
    "MultiStepLR": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(0, 30), max_size=4)}, optional={"gamma": st.sampled_from([0.1, 0.5, 1.5])}
    ),
    "PolyLR": st.fixed_dictionaries(
        {}, optional={"power": st.sampled_from([0.5, 0.9, 1.0, 2.0]), "eta_min": st.sampled_from([0.0, 1e-4])}
    ),
    "StepLR": st.fixed_dictionaries({"step_size": steps}, optional={"gamma": st.sampled_from([0.1, 0.9])}),
}


def has_a_step(table: Table, epoch_length: int, iterations: int) -> bool:
    """Whether a range is not empty; MMEngine and we both refuse one that is."""
    total = -(-iterations // epoch_length) if table.get("by_epoch", True) else iterations
    return bool(table.get("end", total) > table.get("begin", 0))


@given(st.lists(schedules(), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_any_list_of_schedules_is_mmengines(tables: list[Table], epoch_length: int, epochs: int) -> None:
    iterations = epoch_length * epochs
    tables = [table for table in tables if has_a_step(table, epoch_length, iterations)]
    assert_same(tables, [0.1, 0.01], epoch_length, iterations)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("total", [None, 37, 60])
@pytest.mark.parametrize("start", [0.3, 0.05, 0.5, 0.7])
def test_one_cycle_is_mmengines(strategy: str, three_phase: bool, total: int | None, start: float) -> None:
    table = {"type": "OneCycleLR", "eta_max": 0.2, "pct_start": start, "three_phase": three_phase, "by_epoch": False}
    table.update(anneal_strategy=strategy, total_steps=total, end=total or 50)
    assert_same([table], [0.1, 0.1], 10, 70)


CORNERS: dict[str, list[Table]] = {
    "warm-up by iteration over milestones by epoch": [
        {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "end": 15},
        {"type": "MultiStepLR", "milestones": [1, 2], "gamma": 0.1},
    ],
    "order at the boundary of an epoch": [
        {"type": "CosineAnnealingLR", "T_max": 4, "eta_min": 0.01},
        {"type": "PolyLR", "by_epoch": False, "begin": 10, "end": 31, "eta_min": 0.02},
        {"type": "StepLR", "step_size": 2, "gamma": 0.5},
    ],
    "a gap keeps the value": [
        {"type": "LinearLR", "by_epoch": False, "end": 7},
        {"type": "CosineAnnealingLR", "begin": 3, "end": 6, "eta_min_ratio": 0.1},
    ],
    "a cosine that rises again, twice": [
        {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 13, "eta_min": 0.001}
    ],
    "a cosine with a period of one": [{"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 1, "eta_min": 0.001}],
    "milestones twice, out of order, at the start": [{"type": "MultiStepLR", "milestones": [4, 2, 4, 0], "gamma": 0.5}],
    "a range beyond the run": [{"type": "LinearLR", "end": 100}, {"type": "PolyLR", "begin": 50, "end": 60}],
    "a floor above a group": [{"type": "CosineAnnealingLR", "eta_min": 0.05}],
    "half an epoch": [{"type": "CosineAnnealingLR", "begin": 0, "end": 5, "T_max": 5, "convert_to_iter_based": True}],
}


@pytest.mark.parametrize("tables", CORNERS.values(), ids=CORNERS)
def test_corner(tables: list[Table]) -> None:
    assert_same(tables, [0.1, 0.01], 10, 80)


@pytest.mark.parametrize("option", ["momentum", "weight_decay"])
def test_other_options(option: str) -> None:
    tables = [
        {"type": "LinearParamScheduler", "param_name": option, "by_epoch": False, "end": 12},
        {"type": "ExponentialParamScheduler", "param_name": option, "gamma": 0.9, "begin": 2},
    ]
    assert_same(tables, [0.9, 0.5], 5, 40, option)


def test_momentum_class_names() -> None:
    tables = [{"type": "CosineAnnealingMomentum", "eta_min": 0.5}, {"type": "StepMomentum", "step_size": 3}]
    assert_same(tables, [0.9, 0.8], 5, 40, "momentum")


def test_a_long_run() -> None:
    tables = [
        {"type": "LinearLR", "start_factor": 1e-3, "by_epoch": False, "end": 3000},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 1000, "T_max": 90_000, "eta_min": 1e-6},
        {"type": "PolyLR", "by_epoch": False, "begin": 100_000, "power": 0.9, "eta_min": 1e-6},
        {"type": "MultiStepLR", "milestones": [30, 60], "gamma": 0.5},
    ]
    assert_same(tables, [0.1], 2000, 200_000)


def test_defaults_of_every_class_are_mmengines() -> None:
    tables: list[Table] = [{"type": name} for name in ("ConstantLR", "LinearLR", "CosineAnnealingLR", "PolyLR")]
    tables += [{"type": "StepLR", "step_size": 3}, {"type": "MultiStepLR", "milestones": [5]}]
    for table in tables:
        assert_same([table], [0.1], 4, 44)


def test_preview_is_the_trajectory() -> None:
    tables = CORNERS["order at the boundary of an epoch"]
    values = preview_param_schedulers(tables, {"lr": 0.1, "momentum": 0.9}, epoch_length=10, max_epochs=8)
    np.testing.assert_allclose(values["lr"], mmengine_values(tables, [0.1], 10, 80, "lr")[0], rtol=1e-9)
    np.testing.assert_array_equal(values["momentum"], np.full(80, 0.9))
