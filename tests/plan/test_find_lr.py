"""The range test: it finds what a quadratic bears, keeps the groups' ratios, and leaves everything as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import optimctl
from optimctl.errors import JobError, RunFailed, UsageError
from optimctl.job.load import load_job
from optimctl.job.schema import Job
from optimctl.plan.find_lr import RangeTest, find_lr, plot_range_test
from tests.jobs import blobs

QUADRATIC = """
[job]
device = "cpu"
[task]
type = "ModelLoss"
[train_dataloader]
batch_size = 4
dataset = { type = "Synthetic", samples = 32 }
[train_cfg]
max_epochs = 3
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.5
"""


class Quadratic(nn.Module):
    """``curvature / 2 * |w|^2``: gradient descent is fastest at ``1 / curvature`` and diverges beyond twice that."""

    def __init__(self, curvature: float = 1.0, noise: float = 0.0, at_zero: float = 0.0) -> None:
        super().__init__()
        self.curvature, self.noise, self.at_zero = curvature, noise, at_zero
        self.weight = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.head.weight)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        loss = self.curvature / 2 * (self.weight.square().sum() + self.head.weight.square().sum())
        return loss + self.at_zero + self.noise * inputs.mean()


def job(tmp_path: Path, *overrides: str, text: str = QUADRATIC) -> Job:
    file = tmp_path / "quadratic.toml"
    file.write_text(text, "utf-8")
    return load_job(file, overrides)


@pytest.fixture
def stepped() -> Iterator[list[list[dict[str, Any]]]]:
    """The options of every group at each step of any optimizer, as they come."""
    seen: list[list[dict[str, Any]]] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


# --- the suggestion


@pytest.mark.parametrize("curvature", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_suggestion_is_one_that_a_quadratic_bears(curvature: float, noise: float, tmp_path: Path) -> None:
    end = 1000 / curvature
    test = find_lr(job(tmp_path), model=Quadratic(curvature, noise * curvature), start=1e-6 * end, end=end)
    assert test.suggestion is not None
    assert 0.01 / curvature < test.suggestion < 1 / curvature
    assert test.steepest is not None
    assert test.suggestion <= test.steepest <= test.lowest
    assert test.ended_at is not None
    assert test.lowest < test.ended_at < end
    assert test.settings == {"optim_wrapper.optimizer.lr": float(f"{test.suggestion:.2g}")}


def test_a_network_learns_with_what_is_suggested(tmp_path: Path) -> None:
    test = find_lr(blobs(tmp_path))
    assert test.suggestion is not None
    assert 0.003 < test.suggestion < 1
    folder = optimctl.run(blobs(tmp_path, f"optim_wrapper.optimizer.lr={test.suggestion}"), work_dir=tmp_path / "runs")
    assert optimctl.load_job(folder / "job.toml").name == "blobs"


def test_the_learning_rates_grow_by_one_factor_and_the_loss_is_smoothed(tmp_path: Path) -> None:
    test = find_lr(job(tmp_path), model=Quadratic(at_zero=1.0), start=1e-4, end=1e-2, iterations=41)
    assert test.lr[0] == pytest.approx(1e-4)
    assert test.lr[-1] == pytest.approx(1e-2)
    assert len(test.lr) == len(test.loss) == len(test.smoothed) == 41
    assert np.diff(np.log(test.lr)) == pytest.approx(math.log(100) / 40)
    fade = math.exp(-1 / (0.05 * 41))
    weights = fade ** np.arange(41)[::-1]
    assert test.smoothed[-1] == pytest.approx(float(weights @ test.loss / weights.sum()))
    assert test.smoothed[0] == pytest.approx(test.loss[0])


def test_a_loss_that_only_rises_ends_at_once_without_a_suggestion(tmp_path: Path) -> None:
    test = find_lr(job(tmp_path), model=Quadratic(), start=10.0, end=100.0)
    assert (test.suggestion, test.steepest, test.settings) == (None, None, {})
    assert test.ended_at is not None
    assert len(test.lr) < 10


def test_noise_is_no_descent(tmp_path: Path) -> None:
    test = find_lr(job(tmp_path), model=Quadratic(noise=1.0, at_zero=10.0), start=1e-12, end=1e-9)
    assert (test.suggestion, test.ended_at, len(test.lr)) == (None, None, 100)


def test_one_iteration_is_one_point(tmp_path: Path) -> None:
    test = find_lr(job(tmp_path), model=Quadratic(), iterations=1)
    assert (test.lr, test.loss, test.suggestion) == ((1e-7,), (3.0,), None)
    assert test.smoothed == pytest.approx([3.0])


def test_a_loss_may_be_negative(tmp_path: Path) -> None:
    test = find_lr(job(tmp_path), model=Quadratic(at_zero=-10.0), start=1e-4, end=100.0)
    assert test.suggestion is not None
    assert 0.01 < test.suggestion < 1


def test_a_loss_that_is_no_number_later_ends_the_test(tmp_path: Path) -> None:
    class Cliff(Quadratic):
        def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
            loss = super().forward(inputs, labels)
            return loss if loss > 0.5 else loss * math.nan

    test = find_lr(job(tmp_path), model=Cliff(), start=1e-4, end=100.0)
    assert test.ended_at is not None
    assert all(math.isfinite(loss) for loss in (*test.loss, *test.smoothed))
    assert test.lr[-1] < test.ended_at


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_from_the_start_is_told(value: float, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=f"the loss is {value} before any update, so that no learning rate is at fault"):
        find_lr(job(tmp_path), model=Quadratic(at_zero=value))


# --- what is respected


def test_groups_keep_their_ratios_and_schedules_are_off(tmp_path: Path, stepped: list[list[dict[str, Any]]]) -> None:
    text = QUADRATIC + (
        "momentum = 0.9\n[optim_wrapper.paramwise_cfg.custom_keys]\nhead = { lr_mult = 0.1 }\n"
        '[[param_scheduler]]\ntype = "LinearLR"\nstart_factor = 0.01\n'
        '[[param_scheduler]]\ntype = "LinearMomentum"\nstart_factor = 0.5\n'
    )
    test = find_lr(job(tmp_path, text=text), model=Quadratic(at_zero=1.0), start=1e-3, end=1e-1, iterations=20)
    for lr, (first, head) in zip(test.lr, stepped, strict=True):
        assert (first["lr"], head["lr"]) == pytest.approx((lr, 0.1 * lr))
        assert (first["momentum"], head["momentum"]) == (0.9, 0.9)


def test_an_update_is_one_learning_rate_however_many_iterations_it_takes(
    tmp_path: Path, stepped: list[list[dict[str, Any]]]
) -> None:
    accumulating = job(tmp_path, "optim_wrapper.accumulative_counts=3")
    test = find_lr(accumulating, model=Quadratic(at_zero=1.0), start=1e-3, end=1e-1, iterations=10)
    assert len(test.lr) == len(stepped) == 4
    assert [group["lr"] for (group,) in stepped] == pytest.approx(list(test.lr))
    assert len(find_lr(accumulating, model=Quadratic(at_zero=1.0), start=1e-3, end=1e-1).lr) == 100


def test_gradients_are_clipped_as_in_the_job(tmp_path: Path) -> None:
    clipped = job(tmp_path, "optim_wrapper.clip_grad.max_norm=1e-3")
    test = find_lr(clipped, model=Quadratic(), start=1e-2, end=1.0, iterations=10)
    assert test.loss[0] - test.loss[-1] < 0.01


def test_the_forward_pass_has_the_precision_of_the_job(tmp_path: Path) -> None:
    seen = set()

    class Notes(Quadratic):
        def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
            seen.add(self.head(self.weight).dtype)
            return super().forward(inputs, labels)

    find_lr(job(tmp_path, 'optim_wrapper.type="AmpOptimWrapper"'), model=Notes(), iterations=2)
    assert seen == {torch.bfloat16}


def test_every_key_that_carries_a_learning_rate_is_among_the_settings(tmp_path: Path) -> None:
    text = QUADRATIC + (
        '[optim_wrapper.paramwise_cfg.custom_keys]\n"head" = { lr = 0.05 }\n'
        '[[param_scheduler]]\ntype = "OneCycleLR"\neta_max = 2.0\n'
    )
    test = find_lr(job(tmp_path, text=text), model=Quadratic(), start=1e-4, end=100.0)
    assert test.suggestion is not None
    expected = {
        "optim_wrapper.optimizer.lr": test.suggestion,
        "optim_wrapper.paramwise_cfg.custom_keys.head.lr": test.suggestion / 10,
        "param_scheduler.0.eta_max": test.suggestion,
    }
    assert test.settings == {key: float(f"{value:.2g}") for key, value in expected.items()}
    job(tmp_path, *(f"{key}={value}" for key, value in test.settings.items()), text=text)


def test_routes_move_together(tmp_path: Path, stepped: list[list[dict[str, Any]]]) -> None:
    text = QUADRATIC + (
        '[optim_wrapper.constructor]\ntype = "Routes"\n[[optim_wrapper.constructor.routes]]\n'
        'match = { names = ["head"] }\noptimizer = { type = "SGD", lr = 2.0 }\n'
    )
    test = find_lr(job(tmp_path, text=text), model=Quadratic(), start=1e-4, end=100.0)
    assert test.suggestion is not None
    rest, head = (
        test.settings["optim_wrapper.optimizer.lr"],
        test.settings["optim_wrapper.constructor.routes.0.optimizer.lr"],
    )
    assert head / rest == pytest.approx(4, rel=0.1)
    lrs = [group["lr"] for groups in stepped for group in groups]
    assert [max(pair) / min(pair) for pair in zip(lrs[::2], lrs[1::2], strict=True)] == pytest.approx(
        [4.0] * (len(lrs) // 2)
    )


# --- what is left alone


def test_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read = blobs(tmp_path)
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(), nn.BatchNorm1d(16), nn.Linear(16, 3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torchs, pythons = torch.get_rng_state(), random.getstate()
    numpys: Any = np.random.get_state(legacy=True)
    files = sorted(tmp_path.rglob("*"))
    test = find_lr(read, model=model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), torchs)
    assert random.getstate() == pythons
    now: Any = np.random.get_state(legacy=True)
    assert all(np.array_equal(*pair) for pair in zip(now, numpys, strict=True))
    assert sorted(tmp_path.rglob("*")) == files
    torch.rand(3)
    assert find_lr(read, model=model) == test  # wherever the generators stand


def test_a_run_after_the_test_is_the_run_without_it(tmp_path: Path) -> None:
    first = optimctl.run(blobs(tmp_path), work_dir=tmp_path / "a")
    find_lr(blobs(tmp_path))
    second = optimctl.run(blobs(tmp_path), work_dir=tmp_path / "b")
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()


# --- what it cannot do


class OwnStep:
    """A task that steps by itself."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise NotImplementedError

    def train_step(self, model: nn.Module, batch: Any, optim_wrapper: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            'optim_wrapper.optimizer.type="LBFGS"',
            "find-lr looks at the loss of one step at each learning rate, and LBFGS evaluates the loss itself, as often as it likes",
        ),
        ("optim_wrapper.optimizer.lr=0", "is 0, so that no group has a ratio to it; give it any value above 0"),
    ],
)
def test_optimizers_without_one_learning_rate_are_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        find_lr(job(tmp_path, override), model=Quadratic())
    (problem,) = caught.value.problems
    assert (problem.message, problem.code) == (message, "no-range-test")
    assert problem.place is not None


def test_several_optimizers_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimctl.train.task.ModelLoss.train_step", OwnStep.train_step, raising=False)
    text = QUADRATIC.replace("[optim_wrapper.optimizer]", "[optim_wrapper.b.optimizer]")
    several = job(tmp_path, 'optim_wrapper.a.optimizer={type="SGD",lr=1}', text=text)
    message = "find-lr varies one learning rate, and there are several optimizers: 'b' and 'a'"
    with pytest.raises(JobError, match=message):
        find_lr(several, model=nn.ModuleDict({"a": Quadratic(), "b": Quadratic()}))


def test_a_task_that_steps_by_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimctl.train.task.ModelLoss.train_step", OwnStep.train_step, raising=False)
    with pytest.raises(JobError, match="find-lr steps the optimizer itself, and ModelLoss does that in its train_step"):
        find_lr(job(tmp_path), model=Quadratic())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "the test goes from a learning rate above 0 to a larger one, not from 0 to 10"),
        ({"start": 1.0, "end": 0.1}, "the test goes from a learning rate above 0 to a larger one, not from 1 to 0.1"),
        ({"end": math.nan}, "the test goes from a learning rate above 0 to a larger one, not from 1e-07 to nan"),
        ({"iterations": 0}, "the test takes at least one iteration, not 0"),
    ],
)
def test_what_makes_no_test_is_told(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_lr(job(tmp_path), model=Quadratic(), **options)
    assert str(caught.value) == message


def test_what_the_model_raises_is_told_with_its_own_frame(tmp_path: Path) -> None:
    class Broken(Quadratic):
        def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
            raise KeyError("no such thing")

    with pytest.raises(
        RunFailed, match=r"KeyError: 'no such thing' \(test_find_lr\.py:\d+ in forward\), after 0 iterations"
    ):
        find_lr(job(tmp_path), model=Broken())


def test_a_model_that_cannot_be_copied_is_told(tmp_path: Path) -> None:
    class Fixed(Quadratic):
        def __deepcopy__(self, memo: object) -> Any:
            raise TypeError("no copies")

    with pytest.raises(
        UsageError, match=r"the model cannot be copied \(TypeError: no copies .*\); give find_lr the job alone"
    ):
        find_lr(job(tmp_path), model=Fixed())


# --- the picture


def test_the_picture_has_the_points_that_are_spoken_of(tmp_path: Path) -> None:
    test = RangeTest((1e-3, 1e-2, 0.1, 1.0), (2.0, 1.5, 1.0, 3.0), (2.0, 1.6, 1.2, 2.0), 2.0, 1e-2)
    plot_range_test(test, tmp_path / "lr.svg", title="a title")
    picture = (tmp_path / "lr.svg").read_text("utf-8")
    for text in ("a title", "suggestion: 0.01", "steepest: 0.01", "lowest: 0.1", "loss", "smoothed", "lr"):
        assert f">{text}</text>" in picture


def test_a_test_without_a_suggestion_is_drawn_too(tmp_path: Path) -> None:
    plot_range_test(RangeTest((1e-7,), (3.0,), (3.0,), None, None), tmp_path / "lr.png", title="")
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
