"""The picture of a schedule: its lines are the run's values, its labels say whose they are, its bars where schedules act."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from optimctl.assemble import assemble
from optimctl.errors import UsageError
from optimctl.job.load import load_job
from optimctl.optim import build_optim_wrapper
from optimctl.pictures import Line, Span
from optimctl.schedule import ParamSchedulers, RunLength, build_param_schedulers
from optimctl.schedule.plot import plot_schedule, runs_of, schedule_panels, shortened

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
WARM_COSINE = [
    {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "end": 50},
    {"type": "CosineAnnealingLR", "by_epoch": True},
]
ONE_CYCLE = [
    {"type": "OneCycleLR", "eta_max": 0.4, "by_epoch": False},
    {"type": "CosineAnnealingMomentum", "eta_min": 0.85, "by_epoch": False},
]
RESTARTS = [{"type": "CosineRestartLR", "periods": [3, 4, 5], "restart_weights": [1, 0.5, 0.25], "by_epoch": True}]
MULTI_STEP = [{"type": "MultiStepLR", "milestones": [8, 11], "by_epoch": True}]


class Blocks(nn.Module):
    """As many layers of two tensors as one asks for."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(count))


def scheduled(tables: Any, groups: int = 1, **length: int) -> ParamSchedulers:
    """Schedules of a model whose layers each have another share of the learning rate, and so a group each."""
    shares = {f"re:layers\\.{index}\\..*": {"lr_mult": 0.75**index} for index in range(groups)}
    wrapper = build_optim_wrapper(
        Blocks(groups), {"optimizer": SGD, "paramwise_cfg": {"custom_keys": shares if groups > 1 else {}}}
    )
    return build_param_schedulers(wrapper, tables, **length)


def held(line: Line, iterations: int) -> list[float]:
    """What a line shows in the middle of each iteration."""
    return [float(value) for value in np.interp(np.arange(iterations) + 0.5, line.x, line.y)]


# --- the lines


@pytest.mark.parametrize("tables", [WARM_COSINE, MULTI_STEP, ONE_CYCLE, RESTARTS])
def test_the_lines_are_the_values_of_the_run(tables: Any) -> None:
    schedulers = scheduled(tables, groups=3, epoch_length=20, max_epochs=12)
    values = {(option, group): values for _, option, group, values in schedulers.values_at(range(240))}
    for panel in schedule_panels(schedulers, 240):
        for line in panel.lines:
            group = 0 if panel.name == "momentum" else int(line.label.partition(":")[0])
            assert held(line, 240) == pytest.approx(values[panel.name, group], rel=1e-12)


@given(st.integers(1, 10_000), st.integers(1, 50), st.lists(st.integers(1, 49), min_size=1, max_size=3, unique=True))
def test_a_milestone_is_a_step_wherever_it_is(epoch_length: int, epochs: int, milestones: list[int]) -> None:
    tables = [{"type": "MultiStepLR", "milestones": sorted(milestones)}]
    iterations = epoch_length * epochs
    (panel,) = schedule_panels(scheduled(tables, epoch_length=epoch_length, max_epochs=epochs), iterations)
    (line,) = panel.lines
    changes = np.flatnonzero(np.diff(line.y))
    assert len(changes) == len([milestone for milestone in milestones if milestone < epochs])
    assert (np.diff(line.x)[changes] <= 1).all()
    assert (line.x[0], line.x[-1]) == (0, iterations)


def test_a_million_iterations_are_few_points() -> None:
    (panel,) = schedule_panels(scheduled(RESTARTS, epoch_length=83_333, max_epochs=12), 999_996)
    assert len(panel.lines[0].x) < 5000


def test_groups_with_the_same_values_share_a_line_and_the_highest_is_first() -> None:
    panels = {panel.name: panel for panel in schedule_panels(scheduled(ONE_CYCLE, 7, max_iters=100), 100)}
    assert list(panels) == ["lr", "momentum"]
    assert [line.label for line in panels["lr"].lines] == [f"{n}: layers.{n}.weight and 1 more" for n in range(7)]
    assert [line.label for line in panels["momentum"].lines] == ["0-6: layers.0.weight and 13 more"]


def test_where_nothing_is_scheduled_the_learning_rates_stay() -> None:
    (panel,) = schedule_panels(scheduled([], 2, max_iters=10), 10)
    assert panel.name == "lr"
    assert [(line.x.tolist(), line.y.tolist()) for line in panel.lines] == [
        ([0, 10], [0.1] * 2),
        ([0, 10], [0.1 * 0.75] * 2),
    ]


# --- the labels


def test_several_optimizers_are_told_apart() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)})
    wrapper = build_optim_wrapper(model, {"a": {"optimizer": SGD}, "b": {"optimizer": {"type": "Adam", "lr": 0.01}}})
    tables = {
        "a": [{"type": "LinearLR", "end": 2}],
        "b": [{"type": "LinearLR", "end": 3}, {"type": "StepMomentum", "step_size": 2}],
    }
    schedulers = build_param_schedulers(wrapper, tables, epoch_length=5, max_epochs=4)
    lr, betas = schedule_panels(schedulers, 20)
    assert [line.label for line in lr.lines] == ["a 0: weight and 1 more", "b 0: weight and 1 more"]
    assert lr.spans == [Span("a: LinearLR", 0, 10), Span("b: LinearLR", 0, 15)]
    assert (betas.name, [line.label for line in betas.lines]) == ("betas[0]", ["b 0: weight and 1 more"])
    assert betas.spans == [Span("StepMomentum", 0, 20)]


def test_routes_have_the_names_and_numbers_of_the_plan() -> None:
    route = {"match": {"dimensions": [2]}, "optimizer": {"type": "Muon", "lr": 0.02}}
    table = {"optimizer": SGD, "constructor": {"type": "Routes", "routes": [route]}}
    schedulers = build_param_schedulers(
        build_optim_wrapper(Blocks(2), table), MULTI_STEP, epoch_length=2, max_epochs=12
    )
    (panel,) = schedule_panels(schedulers, 24)
    assert [line.label for line in panel.lines] == [
        "default 0: layers.0.bias and 1 more",
        "routes.0 0: layers.0.weight and 1 more",
    ]


def test_long_names_and_many_groups_fit_a_legend() -> None:
    assert shortened("layers.0.weight", 20) == "layers.0.weight"
    long = "backbone.layers.11.blocks.3.attention.projection.weight"
    assert shortened(long, 30) == "backbone...n.projection.weight"
    assert runs_of([0, 1, 2, 5, 7, 8]) == ["0-2", "5", "7-8"]
    shares = {
        f"re:layers\\.{index}\\..*": {"lr_mult": 0.5 + 0.5 * (index % 2), "decay_mult": index} for index in range(12)
    }
    wrapper = build_optim_wrapper(Blocks(12), {"optimizer": SGD, "paramwise_cfg": {"custom_keys": shares}})
    (panel,) = schedule_panels(build_param_schedulers(wrapper, MULTI_STEP, epoch_length=1, max_epochs=12), 12)
    assert [line.label for line in panel.lines] == [
        "1, 3, ... (6 groups): layers.1.weight and 11 more",
        "0, 2, ... (6 groups): layers.0.weight and 11 more",
    ]


# --- where schedules act


def test_ranges_are_in_iterations_whatever_they_count() -> None:
    tables = [
        {"type": "LinearLR", "by": "update", "end": 5},
        {"type": "ConstantLR", "by": "iteration", "begin": 20, "end": 30},
        {"type": "CosineAnnealingLR", "by": "epoch", "begin": 2, "end": 99},
        {"type": "StepLR", "by": "epoch", "step_size": 1, "begin": 50, "end": 60},
        {"type": "ReduceOnPlateauLR", "monitor": "accuracy"},
    ]
    table = {"optimizer": SGD, "accumulative_counts": 4}
    schedulers = build_param_schedulers(build_optim_wrapper(Blocks(1), table), tables, epoch_length=30, max_epochs=4)
    (panel,) = schedule_panels(schedulers, 120)
    assert panel.spans == [
        Span("LinearLR", 0, 20),
        Span("ConstantLR", 20, 30),
        Span("CosineAnnealingLR", 60, 120),
        Span("ReduceOnPlateauLR (waits for accuracy)", 0, 120),
    ]


# --- the picture


@pytest.mark.parametrize("groups", [1, 2, 7, 40])
@pytest.mark.parametrize(
    ("tables", "length"),
    [
        (WARM_COSINE, {"max_epochs": 12, "epoch_length": 100}),
        (MULTI_STEP, {"max_epochs": 12, "epoch_length": 100}),
        (ONE_CYCLE, {"max_iters": 1_000_000, "epoch_length": 5000}),
        (RESTARTS, {"max_epochs": 12, "epoch_length": 1}),
        (ONE_CYCLE, {"max_iters": 1}),
    ],
)
def test_every_group_of_every_schedule_is_in_the_picture(
    groups: int, tables: Any, length: dict[str, int], tmp_path: Path
) -> None:
    file = tmp_path / "schedule.svg"
    plot_schedule(scheduled(tables, groups, **length), RunLength(**length), file, title="a job")
    picture = file.read_text("utf-8")
    assert all(f">{group}: layers.{group}.weight and 1 more</text>" in picture for group in range(groups))
    assert all(f">{table['type']}</text>" in picture for table in tables)
    assert len(picture) < 1_000_000


def test_an_example_is_drawn_as_a_png(tmp_path: Path) -> None:
    assembly = assemble(load_job(Path(__file__).parents[2] / "examples/layer_decay.toml"))
    plot_schedule(assembly.schedules, assembly.length, tmp_path / "schedule.png", title="layer_decay")
    assert (tmp_path / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_length_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs \[optim_wrapper\], and \[train_cfg\] with the length of the run"):
        plot_schedule(None, RunLength(), tmp_path / "schedule.svg", title="")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"a picture needs matplotlib .* pip install 'optimctl\[plot\]'"):
        plot_schedule(
            scheduled(MULTI_STEP, max_epochs=12, epoch_length=2), RunLength(2, 12), tmp_path / "a.png", title=""
        )
