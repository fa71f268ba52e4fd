"""The schedules of exported scripts have the values of the run, to the last bit."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimctl
from optimctl.export.python import export_python
from optimctl.export.python.imports import Imports
from optimctl.export.python.schedules import Factors, Scheduled, agrees, factors_of, run_function
from optimctl.export.source import Source
from optimctl.job.load import load_job
from optimctl.schedule.place import RunLength, read_schedules
from optimctl.schedule.scheduler import Slot
from tests.export.python.variants import (
    function,
    script_of,
)
from tests.jobs import write_blobs

RUN = RunLength(epoch_length=7, max_epochs=6, accumulative_counts=3)
TABLES: list[dict[str, Any]] = [
    {"type": "ConstantLR", "factor": 0.3, "by_epoch": False, "begin": 2, "end": 6},
    {"type": "ConstantLR", "factor": 0, "end": 2},
    {"type": "CosineAnnealingLR"},
    {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min": 0.01},
    {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min_ratio": 0.1, "begin": "20%"},
    {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 5, "eta_min": 0.01},
    {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": "30%", "eta_min_ratio": 0.2, "begin": 3},
    {"type": "CosineAnnealingLR", "begin": 1, "end": 3, "convert_to_iter_based": True},
    {"type": "CosineAnnealingLR", "T_max": 3, "end": 3},
    {"type": "ConstantLR", "factor": 0.3},
    {"type": "CosineRestartLR", "periods": [5, 9], "restart_weights": [1, 0.5], "by_epoch": False},
    {"type": "CosineRestartLR", "periods": [1, 3], "restart_weights": [0.9, 0.5], "begin": 1, "eta_min": 0.001},
    {"type": "CosineRestartLR", "periods": [2, 4], "restart_weights": [1, 1]},
    {"type": "ExponentialLR", "gamma": 0.9},
    {"type": "ExponentialLR", "gamma": 0.97, "by_epoch": False, "begin": 2, "end": 20},
    {"type": "InverseSqrtLR", "timescale": 4, "by_epoch": False, "begin": 4},
    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 5},
    {"type": "LinearLR", "start_factor": 0, "by_epoch": False, "end": "25%"},
    {"type": "LinearLR", "start_factor": 0, "end": 2},
    {"type": "LinearLR", "start_factor": 0.5, "end_factor": 0, "begin": 1},
    {"type": "LinearLR", "by": "update"},
    {"type": "LinearMomentum", "end": 6},
    {"type": "MultiStepLR", "milestones": [0, 2, 2, 5], "gamma": 0.5},
    {"type": "MultiStepLR", "milestones": [4, 9]},
    {"type": "MultiStepLR", "milestones": ["50%", "80%"], "by_epoch": False},
    {"type": "OneCycleLR", "eta_max": 0.2, "by_epoch": False},
    {
        "type": "OneCycleLR",
        "eta_max": 0.2,
        "three_phase": True,
        "anneal_strategy": "linear",
        "by_epoch": False,
        "begin": 4,
    },
    {"type": "OneCycleLR", "eta_max": 0.2, "total_steps": 4},
    {"type": "PolyLR", "power": 0.9, "by_epoch": False},
    {"type": "PolyLR", "power": 2, "eta_min": 0.001, "by_epoch": False, "begin": 3, "end": 20},
    {"type": "PolyLR", "power": 0.5, "end": "70%"},
    {"type": "PolyLR", "end": 6},
    {"type": "QuadraticWarmupLR", "by_epoch": False, "begin": 3, "end": 9},
    {"type": "StepLR", "step_size": 3, "gamma": 0.5, "by_epoch": False, "begin": 4},
    {
        "type": "WarmupStableDecayLR",
        "warmup": "10%",
        "decay": "30%",
        "by_epoch": False,
        "decay_type": "sqrt",
        "end_factor": 0.05,
    },
    {"type": "WarmupStableDecayLR", "warmup": 0, "decay": 2, "decay_type": "linear"},
]
BASES = (0.1, 0.05, 0.0)


def scheduled(tables: list[dict[str, Any]]) -> Scheduled:
    placed = read_schedules(tables, RUN)
    return Scheduled("schedule_lr", Slot("lr"), placed, tables, 0.1, BASES, RUN, ("param_scheduler",))


def check_exact(one: Scheduled, factors: Factors) -> None:
    """The values of each group are the run's, to the last bit."""
    each = {"epoch": 7, "update": 3}.get(factors.axis, 1)
    pairs = np.asarray(run_function(factors, one)).reshape(-1, 2 if factors.is_affine else 1)
    pairs = np.repeat(pairs, each, axis=0)[:42]
    for base in BASES:
        added = pairs[:, 1] if factors.is_affine and base else 0.0
        np.testing.assert_array_equal(pairs[:, 0] * base + added, one.values().values(base))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: " ".join(map(str, table.values())))
def test_each_schedule_is_written_out_and_has_the_values_of_the_run(table: dict[str, Any]) -> None:
    one = scheduled([table])
    factors = factors_of(one, Imports())
    assert factors is not None
    assert not factors.is_table
    check_exact(one, factors)
    assert factors.fits == {"shorter", "longer"}
    assert agrees(factors, replace(one, reference=0.3, bases=(0.3, 0.6)))


@settings(max_examples=60)
@given(st.lists(st.sampled_from(TABLES), min_size=2, max_size=3))
def test_schedules_that_overlap_have_the_values_of_the_run(tables: list[dict[str, Any]]) -> None:
    one = scheduled(tables)
    factors = factors_of(one, Imports())
    assert factors is not None
    assert not factors.is_table
    check_exact(one, factors)
    assert factors.fits == {"shorter", "longer"}


@pytest.mark.parametrize(
    ("table", "fits"),
    [
        ({"type": "CosineAnnealingLR", "T_max": 6}, {"shorter"}),
        ({"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"shorter", "longer"}),
        ({"type": "OneCycleLR", "eta_max": 0.2, "end": 6}, {"shorter", "longer"}),
    ],
)
def test_a_schedule_knows_for_which_other_runs_it_is_right(table: dict[str, Any], fits: set[str]) -> None:
    factors = factors_of(scheduled([table]), Imports())
    assert factors is not None
    assert factors.fits == fits


def test_a_table_is_right_for_shorter_runs_only() -> None:
    factors = factors_of(
        scheduled([{"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"type": "LinearLR", "end": 3}]), Imports()
    )
    assert factors is not None
    assert factors.is_table
    assert factors.fits == {"shorter"}


def test_a_schedule_reads_as_its_formula() -> None:
    assert function(script_of("examples/digits.toml"), "schedule_lr") == dedent(
        '''\
        def schedule_lr(epochs: int, epoch_length: int, iterations: int) -> list[float]:
            """What a group's own learning rate is multiplied by, iteration by iteration."""

            def warmup(step: int) -> float:
                """A straight line from 0.001 to 1.0 at the last step."""
                start, end = 0.001, 1.0
                return start + (end - start) / 49 * step

            def cosine(step: int) -> float:
                """Half a cosine, from 1 to 0 at step epochs; a squared sine is exact near 0 too."""
                half = math.sin(math.pi / 2 * (epochs - step) / epochs)
                return half * half

            # Step by step, as the run has it: a closed form would differ in the last bit.
            factors = [warmup(0)]
            for iteration in range(1, iterations):
                epoch = iteration // epoch_length
                change = 1.0
                if iteration < 50:
                    change *= warmup(iteration) / warmup(iteration - 1)
                if iteration % epoch_length == 0:
                    change *= cosine(epoch) / cosine(epoch - 1)
                factors.append(factors[-1] * change)
            return factors
        '''
    )


def test_a_short_list_of_torchs_schedules_is_a_table(tmp_path: Path) -> None:
    tables = '[{type="CosineAnnealingWarmRestarts",T_0=4},{type="LinearLR",start_factor=0.5}]'
    script = export_python(Source(load_job(write_blobs(tmp_path), [f"param_scheduler={tables}"])))
    values = optimctl.preview_param_schedulers(
        [{"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"type": "LinearLR", "start_factor": 0.5}],
        {"lr": 1.0},
        epoch_length=7,
        max_epochs=3,
    )
    listed = function(script, "schedule_lr").partition("return ")[2]
    assert ast.literal_eval(listed) == pytest.approx(values["lr"][::7].tolist())
