"""torch's schedulers: the same values where meanings agree, in through the adapter, and out as one ``LRScheduler``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.optim import lr_scheduler

from optimctl.errors import JobError
from optimctl.schedule import build_lr_scheduler, build_param_schedulers, preview_param_schedulers
from optimctl.schedule.from_torch import adapt

Array = npt.NDArray[np.float64]


def optimizer_of(*lrs: float, momentum: float = 0.9) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=0.1, momentum=momentum)


def torch_values(make: Callable[[torch.optim.Optimizer], Any], lrs: list[float], count: int, key: str = "lr") -> Array:
    optimizer = optimizer_of(*lrs)
    scheduler = make(optimizer)
    optimizer.step()
    rows = []
    for _ in range(count):
        rows.append([group[key] for group in optimizer.param_groups])
        scheduler.step()
    return np.asarray(rows).T


def our_values(tables: Any, lrs: list[float], count: int) -> Array:
    optimizer = optimizer_of(*lrs)
    schedulers = build_param_schedulers(optimizer, tables, max_iters=count)
    rows = []
    for _ in range(count):
        rows.append([group["lr"] for group in optimizer.param_groups])
        schedulers.after_iteration()
    return np.asarray(rows).T


SAME: dict[str, tuple[Callable[[torch.optim.Optimizer], Any], dict[str, Any]]] = {
    "StepLR": (lambda o: lr_scheduler.StepLR(o, 7, 0.5), {"step_size": 7, "gamma": 0.5}),
    "MultiStepLR": (lambda o: lr_scheduler.MultiStepLR(o, [5, 20]), {"milestones": [5, 20]}),
    "ExponentialLR": (lambda o: lr_scheduler.ExponentialLR(o, 0.95), {"gamma": 0.95}),
    "LinearLR": (lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=12), {"start_factor": 0.1, "end": 13}),
    "ConstantLR": (lambda o: lr_scheduler.ConstantLR(o, 0.2, total_iters=8), {"factor": 0.2, "end": 9}),
    "CosineAnnealingLR": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 15, eta_min=0.003),
        {"T_max": 15, "eta_min": 0.003},
    ),
    "PolyLR": (lambda o: lr_scheduler.PolynomialLR(o, 20, power=0.9), {"power": 0.9, "end": 21}),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_values_where_meanings_agree(name: str) -> None:
    make, arguments = SAME[name]
    theirs = torch_values(make, [0.1, 0.02], 40)
    ours = our_values({"type": name, "by_epoch": False, **arguments}, [0.1, 0.02], 40)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_is_torchs(strategy: str, three_phase: bool) -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.OneCycleLR(
            optimizer,
            0.1,
            total_steps=40,
            three_phase=three_phase,
            anneal_strategy=strategy,  # type: ignore[arg-type]
            cycle_momentum=False,
        )

    table = {"type": "OneCycleLR", "eta_max": 0.1, "anneal_strategy": strategy, "three_phase": three_phase}
    ours = our_values({**table, "by_epoch": False}, [0.1], 40)
    np.testing.assert_allclose(ours, torch_values(make, [0.1], 40), rtol=1e-9)


ADAPTED: dict[str, list[dict[str, Any]]] = {
    "PolynomialLR": [{"total_iters": 12, "power": 0.9}, {"total_iters": 50}],
    "CosineAnnealingWarmRestarts": [{"T_0": 7, "T_mult": 2, "eta_min": 0.001}, {"T_0": 10}],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, arguments) for name, lists in ADAPTED.items() for arguments in lists]
)
def test_a_torch_class_has_its_own_values_in_every_group(name: str, arguments: dict[str, Any]) -> None:
    theirs = torch_values(lambda o: getattr(lr_scheduler, name)(o, **arguments), [0.1, 0.02], 60)
    ours = our_values({"type": name, "by_epoch": False, **arguments}, [0.1, 0.02], 60)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_a_torch_class_that_names_absolute_values_keeps_the_ratio_of_groups(mode: str) -> None:
    arguments = {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "step_size_down": 9, "mode": mode, "gamma": 0.99}
    theirs = torch_values(lambda o: lr_scheduler.CyclicLR(o, **arguments, cycle_momentum=False), [0.1], 60)[0]  # type: ignore[arg-type]
    ours = our_values({"type": "CyclicLR", "by_epoch": False, **arguments}, [0.1, 0.02], 60)
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-9)
    np.testing.assert_allclose(ours[1], theirs / 5, rtol=1e-9)


def test_a_torch_class_composes_with_a_warm_up() -> None:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        first = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=9)
        return lr_scheduler.ChainedScheduler([first, lr_scheduler.PolynomialLR(optimizer, 30)])

    warm_up = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 10}
    ours = our_values([warm_up, {"type": "PolynomialLR", "total_iters": 30, "by_epoch": False}], [0.1, 0.02], 40)
    np.testing.assert_allclose(ours, torch_values(make, [0.1, 0.02], 40), rtol=1e-9, atol=1e-12)


def test_a_torch_class_moves_other_options_and_counts_shares() -> None:
    table = {"type": "CosineAnnealingWarmRestarts", "param_name": "momentum", "by_epoch": False, "T_0": "25%"}
    values = preview_param_schedulers(table, {"momentum": 0.9}, max_iters=40)["momentum"]
    theirs = torch_values(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10), [0.9], 40)[0]
    np.testing.assert_allclose(values, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"type": "CyclicLR", "base_lr": 0.1, "max_lr": 0.2, "cycle_momentum": True}, "cycle_momentum"),
        ({"type": "PolynomialLR", "last_epoch": 3}, "last_epoch"),
        ({"type": "PolynomialLR", "optimizer": 3}, "optimizer"),
        ({"type": "CyclicLR"}, None),
        ({"type": "CosineAnnealingWarmRestarts", "T_0": -1}, None),
    ],
)
def test_a_torch_class_refuses(table: dict[str, Any], key: str | None) -> None:
    with pytest.raises(JobError) as caught:
        preview_param_schedulers(table, {"lr": 0.1}, epoch_length=5, max_iters=20)
    assert {problem.key for problem in caught.value.problems} == {(key,) if key else ()}


def test_reduce_lr_on_plateau_speaks_torch() -> None:
    theirs, ours = optimizer_of(0.1), optimizer_of(0.1)
    torchs = lr_scheduler.ReduceLROnPlateau(theirs, mode="max", patience=1, cooldown=1, min_lr=0.002)
    table = {
        "type": "ReduceLROnPlateau",
        "mode": "max",
        "patience": 1,
        "cooldown": 1,
        "min_lr": 0.002,
        "monitor": "acc",
    }
    schedulers = build_param_schedulers(ours, table, epoch_length=1, max_epochs=100)
    for metric in [0.1, 0.2, 0.2, 0.1, 0.15, 0.2, 0.2, 0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]:
        torchs.step(metric)
        schedulers.after_iteration()
        schedulers.after_epoch({"acc": metric})
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
    assert ours.param_groups[0]["lr"] == pytest.approx(0.002)


TABLES: list[dict[str, Any]] = [
    {"type": "LinearLR", "end": "10%"},
    {"type": "CosineAnnealingLR", "begin": "10%", "eta_min_ratio": 1e-4},
]


def test_one_lr_scheduler_of_torchs_has_the_previews_values() -> None:
    expected = preview_param_schedulers([{**table, "by_epoch": False} for table in TABLES], {"lr": 0.1}, max_iters=50)
    optimizer = optimizer_of(0.1, 0.01)
    scheduler = build_lr_scheduler(optimizer, TABLES, updates=50)
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    for value in expected["lr"]:
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        assert scheduler.get_last_lr() == pytest.approx([value, value / 10])
        optimizer.step()
        scheduler.step()


def test_an_lr_scheduler_goes_on_from_its_state_in_the_job_as_it_is_now() -> None:
    straight, optimizer = optimizer_of(0.1), optimizer_of(0.1)
    first, second = build_lr_scheduler(straight, TABLES, updates=50), build_lr_scheduler(optimizer, TABLES, updates=50)
    for _ in range(17):
        straight.step()
        first.step()
    state = pickle.loads(pickle.dumps(first.state_dict()))
    assert state == {"last_epoch": 17}
    optimizer.load_state_dict(copy.deepcopy(straight.state_dict()))
    second.load_state_dict(state)
    for _ in range(20):
        assert optimizer.param_groups[0]["lr"] == straight.param_groups[0]["lr"] == second.get_last_lr()[0]
        for one in (straight, first, optimizer, second):
            one.step()


def test_an_lr_scheduler_also_moves_other_options() -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1, betas=(0.9, 0.99))
    scheduler = build_lr_scheduler(optimizer, [{"type": "LinearMomentum", "start_factor": 0.5, "end": 3}], updates=5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.9 * 0.75, 0.99))
    assert scheduler.get_last_lr() == [0.1]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"type": "LinearLR", "by_epoch": True}, "by_epoch"),
        ({"type": "LinearLR", "by": "epoch"}, "by"),
        ({"type": "LinearLR", "convert_to_iter_based": True}, "convert_to_iter_based"),
        ({"type": "ReduceOnPlateauLR"}, "type"),
    ],
)
def test_an_lr_scheduler_counts_updates_only(table: dict[str, Any], key: str) -> None:
    with pytest.raises(JobError) as caught:
        build_lr_scheduler(optimizer_of(0.1), table, updates=10)
    assert [problem.key for problem in caught.value.problems] == [(key,)]


@pytest.mark.parametrize("updates", [0, -1, 2.5, True])
def test_an_lr_scheduler_needs_a_number_of_updates(updates: Any) -> None:
    with pytest.raises(JobError, match="updates"):
        build_lr_scheduler(optimizer_of(0.1), TABLES, updates=updates)


def test_a_torch_class_that_waits_for_a_metric_is_pointed_to_ours() -> None:
    with pytest.raises(JobError, match="ReduceOnPlateauLR"):
        adapt(lr_scheduler.ReduceLROnPlateau)()
