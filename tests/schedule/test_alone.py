"""The classes used alone: MMEngine's arguments and methods, and the values of the trajectory."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import mmengine.optim.scheduler as mmengine
import pytest
import torch

import optimctl.schedule
from optimctl.errors import JobError
from optimctl.schedule import ParamScheduler, preview_param_schedulers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mmengine", "ignore::DeprecationWarning")

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Constant": {"factor": 0.3, "end": 7},
    "CosineAnnealing": {"T_max": 9, "eta_min": 0.001},
    "CosineRestart": {"periods": [5, 12], "restart_weights": [1, 0.4], "eta_min": 0.001, "begin": 2},
    "Exponential": {"gamma": 0.9, "begin": 3, "end": 11},
    "Linear": {"start_factor": 0.1, "end": 8},
    "MultiStep": {"milestones": [3, 9], "gamma": 0.5},
    "OneCycle": {"eta_max": 0.2, "total_steps": 25, "end": 25},
    "Poly": {"power": 0.9, "eta_min": 0.001, "end": 20},
    "Step": {"step_size": 4},
    "QuadraticWarmup": {"end": 6},
    "InverseSqrt": {"timescale": 4},
    "WarmupStableDecay": {"warmup": 0, "decay": 5, "end": 20},
}


def made(name: str) -> type[ParamScheduler]:
    return getattr(optimctl.schedule, name)  # type: ignore[no-any-return]


def sgd(*lrs: float, **options: Any) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, **{"lr": (lrs or (0.1,))[0], "momentum": 0.9, **options})


def adam(**options: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **{"lr": 0.1, "betas": (0.9, 0.99), **options})


@pytest.mark.parametrize("curve", ARGUMENTS)
def test_it_steps_to_the_values_of_the_trajectory(curve: str) -> None:
    expected = preview_param_schedulers(
        {"type": curve + "LR", "by_epoch": False, **ARGUMENTS[curve]}, {"lr": 0.1}, max_iters=30
    )
    shares = preview_param_schedulers(
        {"type": curve + "LR", "by_epoch": False, **ARGUMENTS[curve]}, {"lr": 0.02}, max_iters=30
    )
    optimizer = sgd(0.1, 0.02)
    scheduler = made(curve + "LR")(optimizer, **ARGUMENTS[curve])
    for iteration in range(30):
        second = shares["lr"][iteration] if curve != "OneCycle" else expected["lr"][iteration] / 5
        assert scheduler.get_last_value() == pytest.approx([expected["lr"][iteration], second], rel=1e-9)
        scheduler.step()


SHARED = [
    (curve, suffix)
    for curve in ARGUMENTS
    for suffix in ("LR", "Momentum", "ParamScheduler")
    if hasattr(mmengine, curve + suffix)
]
"""The classes that MMEngine has too."""


@pytest.mark.parametrize(("curve", "suffix"), SHARED)
def test_it_is_mmengines_class_of_the_same_name(curve: str, suffix: str) -> None:
    option = "momentum" if suffix == "Momentum" else "lr"
    first = {"param_name": "lr"} if suffix == "ParamScheduler" else {}
    ours, theirs = sgd(0.1), sgd(0.1)
    one = made(curve + suffix)(ours, **first, **ARGUMENTS[curve])
    other = getattr(mmengine, curve + suffix)(theirs, **first, **ARGUMENTS[curve])
    theirs.step()
    for _ in range(30 if curve != "OneCycle" else 24):
        assert ours.param_groups[0][option] == pytest.approx(theirs.param_groups[0][option], rel=1e-9, abs=1e-11)
        one.step()
        other.step()


CURVES = (*(curve for curve in ARGUMENTS if hasattr(mmengine, curve + "ParamScheduler")), "ReduceOnPlateau")


@pytest.mark.parametrize("curve", CURVES)
def test_its_arguments_are_mmengines_in_name_and_default(curve: str) -> None:
    theirs = inspect.signature(getattr(mmengine, curve + "ParamScheduler")).parameters
    ours = inspect.signature(made(curve + "ParamScheduler")).parameters
    assert set(ours) == set(theirs)
    required = {"OneCycle": {"eta_max"}}.get(curve, set())
    differing = {name for name in ours if ours[name].default != theirs[name].default} - required
    assert differing <= {"min_value"} if curve == "ReduceOnPlateau" else not differing
    if curve != "MultiStep":  # MMEngine has last_step before begin there
        positional = [name for name, parameter in ours.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        assert positional == [name for name in theirs if name in positional]


def test_classes_are_real_classes() -> None:
    linear = made("LinearLR")
    assert isinstance(linear, type)
    assert issubclass(linear, ParamScheduler)
    assert pickle.loads(pickle.dumps(linear)) is linear
    assert linear.__doc__ is not None
    assert "straight line" in linear.__doc__
    assert "LinearLR" in dir(optimctl.schedule)
    assert repr(linear(sgd(), end=5)).startswith("LinearLR(Linear(")
    with pytest.raises(AttributeError):
        made("LinerLR")


def test_epochs_become_iterations() -> None:
    scheduler = made("CosineAnnealingLR").build_iter_from_epoch(sgd(), T_max=3, begin=1, end=4, epoch_length=10)
    assert (scheduler.begin, scheduler.end, scheduler.by_epoch) == (10, 40, False)
    assert scheduler.schedule.T_max == 30  # type: ignore[union-attr]
    scheduler = made("MultiStepParamScheduler").build_iter_from_epoch(sgd(), "lr", [1, 2], epoch_length=10)
    assert scheduler.schedule.milestones == [10, 20]  # type: ignore[union-attr]
    for arguments in ({"epoch_length": None}, {"epoch_length": 10, "by_epoch": False}):
        with pytest.raises(JobError):
            made("LinearLR").build_iter_from_epoch(sgd(), **arguments)


def test_resumed_is_straight() -> None:
    straight, resumed = sgd(), sgd()
    one = made("PolyLR")(straight, end=20, power=0.7)
    for _ in range(8):
        one.step()
    other = made("PolyLR")(resumed, end=20, power=0.7)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    other.load_state_dict(pickle.loads(pickle.dumps(one.state_dict())))
    for _ in range(15):
        assert one.get_last_value() == other.get_last_value()
        one.step()
        other.step()


def test_going_on_without_a_state() -> None:
    optimizer = sgd()
    with pytest.raises(JobError, match="initial_lr"):
        made("StepLR")(optimizer, step_size=3, last_step=4)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    assert made("StepLR")(optimizer, step_size=3, last_step=5).get_last_value() == pytest.approx([0.01])


def test_momentum_is_the_first_beta_of_adam() -> None:
    optimizer = adam()
    made("LinearMomentum")(optimizer, start_factor=0.5, end=3).step()
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.675, 0.99))
    made("ConstantParamScheduler")(optimizer, "betas[1]", 0.5)
    assert optimizer.param_groups[0]["betas"][1] == pytest.approx(0.495)


def test_a_tensor_is_filled_in_place_and_a_zero_factor_forgets_nothing() -> None:
    optimizer = adam(lr=torch.tensor(0.1))
    tensor = optimizer.param_groups[0]["lr"]
    scheduler = made("LinearLR")(optimizer, start_factor=0, end=11)
    assert tensor.item() == 0
    for _ in range(10):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] is tensor
    assert scheduler.get_last_value() == pytest.approx([0.1])


def test_a_group_that_starts_from_zero_stays_there() -> None:
    optimizer = sgd(0.1, 0.0)
    scheduler = made("CosineAnnealingLR")(optimizer, T_max=3, eta_min=0.05)
    for _ in range(3):
        scheduler.step()
    assert scheduler.get_last_value() == pytest.approx([0.05, 0.0])


def test_two_on_the_same_option_multiply() -> None:
    optimizer = sgd()
    pair = [made("ConstantLR")(optimizer, factor=0.5, end=3), made("ExponentialLR")(optimizer, gamma=0.9)]
    for _ in range(2):
        for scheduler in pair:
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.81)


def test_a_plateau_is_mmengines() -> None:
    ours, theirs = sgd(0.1, 0.01), sgd(0.1, 0.01)
    arguments: dict[str, Any] = {"patience": 1, "factor": 0.3, "cooldown": 1, "min_value": 0.002, "begin": 1, "end": 13}
    one = made("ReduceOnPlateauLR")(ours, monitor="acc", rule="greater", **arguments)
    other = mmengine.ReduceOnPlateauLR(theirs, monitor="acc", rule="greater", **arguments)
    for metric in [0.1, 0.2, 0.2, 0.1, 0.15, 0.2, 0.2, 0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]:
        for scheduler in (one, other):
            scheduler.step({"acc": metric})
            scheduler.step()
        assert one.get_last_value() == pytest.approx([group["lr"] for group in theirs.param_groups])
    copied = made("ReduceOnPlateauLR")(sgd(0.1, 0.01), monitor="acc", rule="greater", **arguments)
    copied.load_state_dict(one.state_dict())
    assert copied.state_dict() == one.state_dict()
    with pytest.raises(JobError, match="no metric is called 'acc'"):
        made("ReduceOnPlateauLR")(sgd(), monitor="acc").step({"loss": 1.0})


class Halve:
    def maps(self, t: Any, reference: float) -> tuple[Any, Any, Any]:
        return 0.5, 0.0, 0.0


class HalveLR(ParamScheduler):
    curve = Halve
    option = "lr"


def test_a_class_of_ones_own() -> None:
    scheduler = HalveLR(sgd())
    scheduler.step()
    assert scheduler.get_last_value() == [0.025]


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("LinearLR", {"start_factor": -1}, "start_factor"),
        ("LinearLR", {"begin": 5, "end": 5}, "end"),
        ("LinearLR", {"begin": -1}, "begin"),
        ("LinearLR", {"last_step": -2}, "last_step"),
        ("LinearLR", {"by_epoch": 1}, "by_epoch"),
        ("CosineAnnealingLR", {"eta_min": 0.0, "eta_min_ratio": 0.0}, "eta_min_ratio"),
        ("ReduceOnPlateauLR", {"factor": 1.0}, "factor"),
        ("ReduceOnPlateauLR", {"by_epoch": False}, "by_epoch"),
        ("LinearParamScheduler", {"param_name": "x"}, "param_name"),
        ("StepLR", {"step_size": math.inf}, "step_size"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(name: str, arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(JobError) as caught:
        made(name)(sgd(), **arguments)
    assert [problem.key for problem in caught.value.problems] == [(key,)]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((3,), {}), ((), {}), ((sgd(),), {"total_iters": 4}), ((sgd(),), {"length": 4})]
)
def test_a_call_that_does_not_fit_is_a_type_error(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        made("LinearLR")(*args, **kwargs)
