"""From tables to placed schedules: names, options, units, shares, and errors that name the key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optimctl import plugins
from optimctl.errors import JobError
from optimctl.schedule.curves import CosineAnnealing, Linear, MultiStep, OneCycle, Step
from optimctl.schedule.place import Placed, RunLength, read_schedules

RUN = RunLength(epoch_length=10, max_epochs=12, accumulative_counts=4)
Table = dict[str, Any]


def read(table: Table, run: RunLength = RUN) -> Placed:
    return read_schedules(table, run)[0]


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("LinearLR", "lr"),
        ("LinearMomentum", "momentum"),
        ("LinearWeightDecay", "weight_decay"),
        ("CosineAnnealingWarmRestarts", "lr"),
    ],
)
def test_the_end_of_a_name_says_what_moves(name: str, option: str) -> None:
    extra = {"T_0": 3} if name.startswith("Cosine") else {}
    assert read({"type": name, **extra}).option == option


def test_param_name_says_what_moves() -> None:
    assert read({"type": "LinearParamScheduler", "param_name": "betas[1]"}).option == "betas[1]"
    assert read({"type": "LinearLR", "param_name": "eps"}).option == "eps"


def test_a_qualified_name_has_its_twins() -> None:
    assert read({"type": "optimctl/LinearMomentum"}).schedule == Linear(length=12)


def test_defaults_reach_to_the_end_of_the_run_in_the_schedules_own_unit() -> None:
    assert (read({"type": "LinearLR"}).end, read({"type": "LinearLR"}).unit) == (12, "epoch")
    assert (read({"type": "LinearLR", "by_epoch": False}).end, read({"type": "LinearLR", "by": "iteration"}).end) == (
        120,
        120,
    )
    assert (read({"type": "LinearLR", "by": "update"}).end, read({"type": "LinearLR", "by": "update"}).unit) == (
        30,
        "update",
    )
    short = RunLength(epoch_length=10, max_iters=101, accumulative_counts=4)
    assert (read({"type": "LinearLR"}, short).end, read({"type": "LinearLR", "by": "update"}, short).end) == (11, 26)


def test_the_length_is_supplied() -> None:
    assert read({"type": "CosineAnnealingLR", "begin": 2, "end": 9}).schedule == CosineAnnealing(length=7)
    assert read({"type": "OneCycleLR", "eta_max": 0.1, "by_epoch": False}).schedule == OneCycle(0.1, length=120)


def test_shares_of_the_run() -> None:
    placed = read({"type": "CosineAnnealingLR", "begin": "25%", "end": "75%", "T_max": "50%", "by_epoch": False})
    assert (placed.begin, placed.end, placed.schedule) == (30, 90, CosineAnnealing(60, length=60))
    assert read({"type": "MultiStepLR", "milestones": ["50%", 9]}).schedule == MultiStep([6, 9])
    assert read({"type": "StepLR", "step_size": "12.5%", "by": "iteration"}).schedule == Step(15)
    short = RunLength(max_iters=4)
    assert read({"type": "LinearLR", "end": "5%", "by_epoch": False}, short).end == 1
    assert read({"type": "LinearLR", "begin": "5%", "by_epoch": False}, short).begin == 1
    assert read({"type": "LinearLR", "begin": "0%", "by_epoch": False}, short).begin == 0


def test_epochs_become_iterations() -> None:
    placed = read({"type": "CosineAnnealingLR", "begin": 2, "end": 9, "T_max": 4, "convert_to_iter_based": True})
    assert (placed.begin, placed.end, placed.unit, placed.schedule) == (
        20,
        90,
        "iteration",
        CosineAnnealing(40, length=70),
    )
    assert read({"type": "MultiStepLR", "milestones": [3, 0.5], "convert_to_iter_based": True}).schedule == MultiStep(
        [30, 5]
    )
    assert read({"type": "LinearLR", "end": 0.55, "convert_to_iter_based": True}).end == 5
    assert read({"type": "LinearLR", "end": "5%", "convert_to_iter_based": True}).end == 6
    assert read({"type": "LinearLR", "convert_to_iter_based": True}).end == 120
    assert read({"type": "LinearLR", "convert_to_iter_based": True, "by": "epoch"}).unit == "iteration"


def test_words_of_mmengine_without_effect_are_accepted() -> None:
    assert read({"type": "LinearLR", "verbose": True, "last_step": -1}) == read({"type": "LinearLR"})


def test_nothing_and_one_table_and_several() -> None:
    assert read_schedules(None, RUN) == read_schedules([], RUN) == []
    assert [placed.key for placed in read_schedules([{"type": "LinearLR"}, {"type": "PolyLR"}], RUN)] == [(0,), (1,)]
    assert read({"type": "LinearLR"}).key == ()


WRONG: list[tuple[Table, tuple[str | int, ...], str]] = [
    ({}, (), "needs `type`"),
    ({"type": 3}, ("type",), "not 3"),
    ({"type": "LinerLR"}, ("type",), "did you mean 'LinearLR'"),
    ({"type": "LinearLR", "begin": -1}, ("begin",), "at least 0"),
    ({"type": "LinearLR", "begin": True}, ("begin",), "whole number"),
    ({"type": "LinearLR", "begin": "1"}, ("begin",), "whole number"),
    ({"type": "LinearLR", "end": 2.5}, ("end",), "whole number"),
    ({"type": "LinearLR", "end": [3]}, ("end",), "whole number"),
    ({"type": "LinearLR", "begin": 5, "end": 5}, ("end",), "after `begin`, which is 5"),
    ({"type": "LinearLR", "begin": 12}, ("begin",), "the run, which has 12 epochs"),
    ({"type": "LinearLR", "end": "101%"}, ("end",), 'share between "0%" and "100%"'),
    ({"type": "LinearLR", "end": "1%"}, ("end",), 'by = "iteration"'),
    ({"type": "LinearLR", "by": "step"}, ("by",), "'iteration'"),
    ({"type": "LinearLR", "by": "epoch", "by_epoch": True}, ("by_epoch",), "exclude each other"),
    ({"type": "LinearLR", "by_epoch": 1}, ("by_epoch",), "true or false"),
    ({"type": "LinearLR", "by_epoch": False, "convert_to_iter_based": True}, ("convert_to_iter_based",), "epochs"),
    ({"type": "LinearLR", "convert_to_iter_based": "yes"}, ("convert_to_iter_based",), "true or false"),
    ({"type": "LinearLR", "last_step": 4}, ("last_step",), "take it out"),
    ({"type": "LinearLR", "length": 4}, ("length",), "'begin' and 'end'"),
    ({"type": "LinearLR", "total_iters": 4}, ("total_iters",), "here it is `end`"),
    ({"type": "LinearLR", "last_epoch": 4}, ("last_epoch",), "resumed run"),
    ({"type": "LinearLR", "start_facto": 0.1}, ("start_facto",), "did you mean 'start_factor'"),
    ({"type": "LinearParamScheduler"}, ("param_name",), "is needed"),
    ({"type": "LinearParamScheduler", "param_name": "betas[x]"}, ("param_name",), "betas[1]"),
    ({"type": "LinearLR", "start_factor": -0.1}, ("start_factor",), "at least 0"),
    ({"type": "LinearLR", "start_factor": "0.1"}, ("start_factor",), "must be a number"),
    ({"type": "LinearLR", "start_factor": True}, ("start_factor",), "must be a number"),
    ({"type": "LinearLR", "end_factor": [0.1, 0.2]}, ("end_factor",), "lr_mult"),
    ({"type": "LinearLR", "end_factor": float("nan")}, ("end_factor",), "must be a number"),
    ({"type": "ConstantLR", "factor": -1}, ("factor",), "at least 0"),
    ({"type": "CosineAnnealingLR", "eta_min": 0.1, "eta_min_ratio": 0.1}, ("eta_min_ratio",), "exclude each other"),
    ({"type": "CosineAnnealingLR", "eta_min": -0.1}, ("eta_min",), "at least 0"),
    ({"type": "CosineAnnealingLR", "eta_min": [0.1, 0.2]}, ("eta_min",), "one number"),
    ({"type": "CosineAnnealingLR", "T_max": 0}, ("T_max",), "greater than 0"),
    ({"type": "CosineRestartLR", "periods": [], "restart_weights": []}, ("periods",), "empty"),
    ({"type": "CosineRestartLR", "periods": [3, 0], "restart_weights": [1, 1]}, ("periods", 1), "at least 1"),
    ({"type": "CosineRestartLR", "periods": [3, 3]}, ("restart_weights",), "1 for 2 periods"),
    ({"type": "CosineRestartLR", "periods": 3}, ("periods",), "array"),
    ({"type": "CosineRestartLR"}, (), "needs the argument 'periods'"),
    ({"type": "ExponentialLR"}, (), "needs the argument 'gamma'"),
    ({"type": "ExponentialLR", "gamma": -1}, ("gamma",), "at least 0"),
    ({"type": "InverseSqrtLR", "timescale": 0}, ("timescale",), "at least 1"),
    ({"type": "MultiStepLR", "milestones": [3, "x"]}, ("milestones", 1), "whole number"),
    ({"type": "MultiStepLR", "milestones": [0.25], "convert_to_iter_based": True}, ("milestones", 0), "whole number"),
    ({"type": "MultiStepLR", "milestones": ["1%"]}, ("milestones", 0), "less than one"),
    ({"type": "OneCycleLR"}, (), "'eta_max'"),
    ({"type": "OneCycleLR", "eta_max": [0.1, 0.2]}, ("eta_max",), "one number"),
    ({"type": "OneCycleLR", "eta_max": 0}, ("eta_max",), "greater than 0"),
    ({"type": "OneCycleLR", "eta_max": 1, "pct_start": 1.5}, ("pct_start",), "at most 1"),
    ({"type": "OneCycleLR", "eta_max": 1, "total_steps": 0}, ("total_steps",), "at least 1"),
    ({"type": "OneCycleLR", "eta_max": 1, "anneal_strategy": "cosine"}, ("anneal_strategy",), "'cos'"),
    ({"type": "OneCycleLR", "eta_max": 1, "three_phase": 1}, ("three_phase",), "true or false"),
    ({"type": "OneCycleLR", "max_lr": 1}, ("max_lr",), "eta_max"),
    ({"type": "PolyLR", "power": -1}, ("power",), "at least 0"),
    ({"type": "StepLR", "step_size": 0}, ("step_size",), "at least 1"),
    ({"type": "StepLR", "step_size": 1.5}, ("step_size",), "whole number"),
    ({"type": "WarmupStableDecayLR", "warmup": 8, "decay": 5}, ("decay",), "longer than the 12 steps"),
    ({"type": "ReduceOnPlateauLR", "factor": 1}, ("factor",), "less than 1"),
    ({"type": "ReduceOnPlateauLR", "factor": [0.1]}, ("factor",), "one number"),
    ({"type": "ReduceOnPlateauLR", "rule": "min"}, ("rule",), "'less'"),
    ({"type": "ReduceOnPlateauLR", "mode": "min"}, ("mode",), "'rule' says"),
    ({"type": "ReduceOnPlateauLR", "min_value": [0.1, 0.2]}, ("min_value",), "one number"),
    ({"type": "ReduceOnPlateauLR", "monitor": 3}, ("monitor",), "name of a metric"),
    ({"type": "ReduceOnPlateauLR", "by_epoch": False}, ("by_epoch",), "counts epochs"),
    ({"type": "ReduceLROnPlateau", "mode": "less"}, ("mode",), "'min'"),
    ({"type": "ReduceLROnPlateau", "factor": 2, "min_lr": -1}, ("min_lr",), "at least 0"),
]


@pytest.mark.parametrize(("table", "key", "text"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_value_is_an_error_that_names_its_key(table: Table, key: tuple[str | int, ...], text: str) -> None:
    with pytest.raises(JobError) as caught:
        read_schedules([{"type": "LinearLR"}, table], RUN)
    found = {problem.key: problem.message for problem in caught.value.problems}
    if "mode" not in str(key) and "max_lr" not in str(key) and table.get("factor") != 2:
        assert set(found) == {(1, *key)}
    assert text in found[(1, *key)]


def test_all_problems_of_all_tables_come_together() -> None:
    malformed: list[Any] = [{"type": "LinearLR", "end": 0}, 7, {"type": "StepLR", "begin": -2, "by": "x"}]
    wrong: list[Any] = [
        {"type": "LinearLR", "start_factor": -1, "begin": 20},
        {"type": "CosineLR"},
        {"type": "StepLR", "step_size": "x", "gamma": "y"},
    ]
    assert keys_of(malformed) == [(0, "end"), (1,), (2, "begin"), (2, "by")]
    assert keys_of(wrong) == [(0, "begin"), (0, "start_factor"), (1, "type"), (2, "step_size"), (2, "gamma")]


def keys_of(tables: list[Any]) -> list[tuple[str | int, ...]]:
    with pytest.raises(JobError) as caught:
        read_schedules(tables, RUN)
    return [problem.key for problem in caught.value.problems]


def test_what_the_run_does_not_say() -> None:
    tables: list[Table] = [
        {"type": "LinearLR"},
        {"type": "LinearLR", "by_epoch": True, "end": 3},
        {"type": "LinearLR", "by": "iteration"},
        {"type": "LinearLR", "by": "iteration", "end": "5%"},
        {"type": "StepLR", "by": "iteration", "step_size": 4},
    ]
    with pytest.raises(JobError) as caught:
        read_schedules(tables, RunLength())
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {(0, "type"), (0, "end"), (1, "by_epoch"), (2, "end"), (3, "end")}
    assert read(tables[4], RunLength()).end is None


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"epoch_length": 0}, "epoch_length"),
        ({"max_iters": 2.5}, "max_iters"),
        ({"max_iters": 3, "max_epochs": 3}, "max_iters"),
    ],
)
def test_a_wrong_run_length(arguments: Table, key: str) -> None:
    with pytest.raises(JobError) as caught:
        RunLength(**arguments)
    assert [problem.key for problem in caught.value.problems] == [(key,)]


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Halve:
    every: int
    length: int = 0
    steps: ClassVar = ("every",)

    def maps(self, t, reference):
        if self.every < 0:
            raise ValueError("never")
        return 1.0 - 0.5 * (t % self.every == 0) * (t > 0), 0.0, 0.0

class Broken:
    def __init__(self):
        raise ValueError("no such thing")

    def maps(self, t, reference):
        return 1.0, 0.0, 0.0

def nothing():
    return 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "halving.py").write_text(PLUGIN)
    lines = [
        'HalveLR = "halving:Halve"',
        'Bare = "halving:Halve"',
        'BrokenLR = "halving:Broken"',
        'NoneLR = "halving:nothing"',
    ]
    text = "[tool.optimctl.plugins.schedulers]\n" + "\n".join(lines)
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.setenv("OPTIMCTL_PROJECT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    plugins.installed.cache_clear()
    yield
    plugins.installed.cache_clear()
    sys.modules.pop("halving", None)


@pytest.mark.usefixtures("project")
def test_a_plugin_answers_to_all_suffixes_and_takes_shares() -> None:
    placed = read({"type": "HalveWeightDecay", "every": "25%", "end": 8})
    assert (placed.option, placed.schedule.every, placed.schedule.length) == ("weight_decay", 3, 8)  # type: ignore[union-attr]
    assert read({"type": "BareMomentum", "every": 2, "convert_to_iter_based": True}).schedule.every == 20  # type: ignore[union-attr]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("name", "key", "text"),
    [("BrokenLR", (), "ValueError: no such thing"), ("NoneLR", ("type",), "has no maps"), ("HalveLR", (), "'every'")],
)
def test_a_plugin_that_fails_is_an_error_of_its_table(name: str, key: tuple[str, ...], text: str) -> None:
    with pytest.raises(JobError) as caught:
        read({"type": name})
    assert [problem.key for problem in caught.value.problems] == [key]
    assert text in str(caught.value)
