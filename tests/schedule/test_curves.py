"""Each curve alone: closed forms, where a schedule starts and ends, and what counts as zero."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from optimctl.schedule import Schedule, preview_param_schedulers
from optimctl.schedule.curves import Constant, CosineAnnealing, Linear, PlateauMemory, ReduceOnPlateau

LENGTH = 40


def values(**table: Any) -> npt.NDArray[np.floating[Any]]:
    return preview_param_schedulers({"by_epoch": False, **table}, {"lr": 0.1}, max_iters=LENGTH)["lr"]


def warm_stable_decay(t: int) -> float:
    if t < 5:
        return t / 5
    return 1.0 if t < 28 else 0.5 * (1 + math.cos(math.pi * (t - 28) / 12))


CLOSED: dict[str, tuple[dict[str, Any], Callable[[int], float]]] = {
    "InverseSqrtLR": ({"timescale": 7}, lambda t: 1 / math.sqrt((t + 7) / 7)),
    "QuadraticWarmupLR": ({"end": LENGTH}, lambda t: ((t + 1) / LENGTH) ** 2),
    "WarmupStableDecayLR": ({"warmup": 5, "decay": 12}, warm_stable_decay),
    "CosineAnnealingLR": ({"eta_min_ratio": 0.2}, lambda t: 0.2 + 0.8 * (1 + math.cos(math.pi * t / LENGTH)) / 2),
    "PolyLR": ({"power": 2}, lambda t: (1 - t / (LENGTH - 1)) ** 2),
    "LinearLR": ({"start_factor": 0, "end_factor": 2}, lambda t: 2 * t / (LENGTH - 1)),
    "StepLR": ({"step_size": 9, "gamma": 0.5}, lambda t: 0.5 ** (t // 9)),
    "CosineRestartLR": (
        {"periods": [10, 20], "restart_weights": [1, 0.5]},
        lambda t: (
            [1, 0.5][t >= 10] * (1 + math.cos(math.pi * ((t - 10) / 20 if t >= 10 else t / 10))) / 2
            if t < 30
            else 0.5 * 0.0061558297024311148
        ),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_form(name: str) -> None:
    arguments, factor = CLOSED[name]
    expected = [0.1 * factor(t) for t in range(LENGTH)]
    np.testing.assert_allclose(values(type=name, **arguments), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("decay_type", "half"), [("linear", 0.55), ("cosine", 0.55), ("sqrt", 1 - 0.9 * math.sqrt(0.5))]
)
def test_shapes_of_decay(decay_type: str, half: float) -> None:
    found = values(type="WarmupStableDecayLR", warmup=0, decay=10, end_factor=0.1, decay_type=decay_type)
    assert found[[0, 30, 35]] == pytest.approx([0.1, 0.1, 0.1 * half])


def test_a_zero_factor_shows_as_zero_and_forgets_nothing() -> None:
    step = {"type": "StepLR", "step_size": 1, "gamma": 0.5, "end": 3, "by_epoch": False}
    zero = {"type": "ConstantLR", "factor": 0, "begin": 4, "end": 9, "by_epoch": False}
    found = preview_param_schedulers([step, zero], {"lr": 0.1}, max_iters=12)["lr"]
    np.testing.assert_allclose(found, [0.1, 0.05, *[0.025] * 2, *[0] * 4, *[0.025] * 4], rtol=1e-15)


@pytest.mark.parametrize("order", [1, -1])
def test_a_warm_up_from_zero_over_a_floor_is_finite_in_either_order(order: int) -> None:
    tables = [
        {"type": "LinearLR", "start_factor": 0, "end": 10, "by_epoch": False},
        {"type": "CosineAnnealingLR", "eta_min": 0.01, "by_epoch": False},
    ][::order]
    found = preview_param_schedulers(tables, {"lr": 0.1}, max_iters=100)["lr"]
    assert found[0] == 0
    assert 0 < found[1] < 0.02
    assert found.max() < 0.12


def test_warm_ups_from_zero_in_a_row_and_on_top_of_each_other() -> None:
    ramp = {"type": "LinearLR", "start_factor": 0, "by_epoch": False}
    tables = [{**ramp, "end": 5}, {**ramp, "end": 5}, {**ramp, "begin": 6, "end": 11}, {**ramp, "begin": 11, "end": 16}]
    found = preview_param_schedulers(tables, {"lr": 1.0}, max_iters=17)["lr"]
    once = np.arange(5) / 4
    np.testing.assert_allclose(found, [*once**2, 1, *once, *once, 1], rtol=1e-14)


def test_a_decay_to_zero_stays_there_until_a_restart() -> None:
    decay = {"type": "LinearLR", "start_factor": 1, "end_factor": 0, "end": 5, "by_epoch": False}
    restart = {"type": "CosineRestartLR", "periods": [10], "begin": 8, "by_epoch": False}
    found = preview_param_schedulers([decay, restart], {"lr": 1.0}, max_iters=12)["lr"]
    assert found[:9] == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 1])


def test_a_range_of_one_step() -> None:
    assert values(type="LinearLR", end=1) == pytest.approx([0.1 / 3] * LENGTH)
    assert values(type="ConstantLR", end=1) == pytest.approx([0.1 / 3] * LENGTH)
    assert values(type="PolyLR", begin=3, end=4).tolist() == [0.1] * LENGTH


def test_a_group_that_starts_from_zero_stays_there() -> None:
    tables = [
        {"type": "CosineAnnealingLR", "eta_min": 0.01, "by_epoch": False},
        {"type": "OneCycleLR", "eta_max": 1.0, "by_epoch": False},
    ]
    found = preview_param_schedulers(tables, {"lr": 0.0}, max_iters=10)["lr"]
    assert not found.any()


def test_one_cycle_for_a_first_step_that_is_the_peak() -> None:
    assert values(type="OneCycleLR", eta_max=0.2, pct_start=1 / LENGTH)[0] == pytest.approx(0.2)
    assert values(type="OneCycleLR", eta_max=0.2, total_steps=10)[9:].tolist() == pytest.approx([0.2 / 25e4] * 31)


def test_schedules_are_values() -> None:
    assert Linear(0.1) == Linear(0.1)
    assert repr(Constant(0.5)) == "Constant(factor=0.5, length=None)"
    assert isinstance(CosineAnnealing(3), Schedule)
    assert not isinstance(ReduceOnPlateau(), Schedule)


@pytest.mark.parametrize(
    ("schedule", "metrics", "expected"),
    [
        (ReduceOnPlateau(patience=1), [3, 2, 2, 2, 2, 2], [0, 0, 0, 1, 0, 1]),
        (ReduceOnPlateau(patience=0, cooldown=2), [1, 1, 1, 1, 1], [0, 1, 0, 0, 1]),
        (ReduceOnPlateau(rule="greater", patience=0, threshold=0.5), [1, 1.4, 1.6, 2.0], [0, 1, 0, 1]),
        (ReduceOnPlateau(threshold_rule="abs", patience=0, threshold=0.5), [2, 1.6, 1.4], [0, 1, 0]),
        (ReduceOnPlateau(rule="greater", threshold_rule="abs", patience=0, threshold=1), [1, 1.5, 3], [0, 1, 0]),
        (ReduceOnPlateau(patience=0), [math.nan, 5, math.nan, 4], [1, 0, 1, 0]),
    ],
)
def test_a_plateau(schedule: ReduceOnPlateau, metrics: list[float], expected: list[int]) -> None:
    memory = PlateauMemory()
    assert [schedule.observe(memory, metric) for metric in metrics] == [bool(value) for value in expected]


def test_a_reduction_is_floored_and_small_ones_are_left_out() -> None:
    schedule = ReduceOnPlateau(min_value=0.02, eps=0.001)
    assert [schedule.reduced(value) for value in (1.0, 0.1, 0.0205)] == [0.1, 0.02, 0.0205]


def test_importing_the_curves_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, optimctl.schedule, optimctl.schedule.curves, optimctl.schedule.place, optimctl.schedule.trajectory\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "optimctl.schedule.preview_param_schedulers({'type': 'LinearLR'}, {'lr': 1.0}, epoch_length=1, max_epochs=3)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
