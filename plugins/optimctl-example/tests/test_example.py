"""What the three plugins promise."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from optimctl_example.constructor import MyOptimWrapperConstructor
from optimctl_example.optimizer import MyOptimizer
from optimctl_example.scheduler import MyScheduler
from torch import Tensor, nn

# --- MyOptimizer


def line() -> tuple[nn.Linear, Tensor, Tensor]:
    """A model, and data that it can fit."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 3, generator=generator)
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    return model, inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


def train(model: nn.Module, optimizer: MyOptimizer, inputs: Tensor, targets: Tensor, steps: int) -> float:
    """Train, and tell the last loss."""
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss.item()


def test_it_lowers_a_loss() -> None:
    model, inputs, targets = line()
    optimizer = MyOptimizer(model.parameters(), a=0.1)
    before = train(model, optimizer, inputs, targets, 1)
    train(model, optimizer, inputs, targets, 60)
    optimizer.param_groups[0]["a"] = 0.005  # what a schedule does
    assert train(model, optimizer, inputs, targets, 60) < 1e-3 * before


def test_a_step_is_the_formula() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = MyOptimizer([parameter], a=0.1, b=0.5, c=0.2)
    direction, expected = torch.zeros(2), parameter.detach().clone()
    for gradient in (torch.tensor([3.0, -1.0]), torch.tensor([0.0, 2.0])):
        parameter.grad = gradient.clone()
        optimizer.step()
        direction = 0.5 * direction + 0.5 * gradient
        expected = (1 - 0.1 * 0.2) * expected - 0.1 * direction / direction.square().mean().sqrt()
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_step_has_the_length_a_whatever_the_gradient(scale: float) -> None:
    parameter = nn.Parameter(torch.zeros(5))
    parameter.grad = scale * torch.tensor([1.0, -2.0, 3.0, 0.0, 1.0])
    MyOptimizer([parameter], a=0.25).step()
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(0.25)


def test_no_gradient_is_no_step() -> None:
    without, zero = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    zero.grad = torch.zeros(2)
    optimizer = MyOptimizer([without, zero])
    optimizer.step()
    assert without.tolist() == zero.tolist() == [1.0, 1.0]
    assert without not in optimizer.state


def test_groups_have_options_of_their_own() -> None:
    slow, fast = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    slow.grad, fast.grad = torch.ones(1), torch.ones(1)
    groups: list[dict[str, Any]] = [{"params": [slow], "a": 0.01}, {"params": [fast]}]
    optimizer = MyOptimizer(groups, a=0.1)
    optimizer.step()
    assert [slow.item(), fast.item()] == pytest.approx([-0.01, -0.1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": -0.1}, "step size a must be 0 or more, not -0.1"),
        ({"a": float("nan")}, "step size a must be 0 or more, not nan"),
        ({"b": 1.0}, "momentum b must be from 0 to below 1, not 1.0"),
        ({"b": -0.5}, "momentum b must be from 0 to below 1, not -0.5"),
        ({"c": -1.0}, "weight decay c must be 0 or more, not -1.0"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, float], message: str) -> None:
    parameter: Tensor = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=message):
        MyOptimizer([parameter], **arguments)
    with pytest.raises(ValueError, match=message):
        MyOptimizer([{"params": parameter, **arguments}])


def test_a_closure_is_called_once_with_gradients_on() -> None:
    model, inputs, targets = line()
    optimizer = MyOptimizer(model.parameters())
    losses = []

    def closure() -> float:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        return losses[-1]

    assert optimizer.step(closure) == losses[0]
    assert len(losses) == 1
    assert model.weight.abs().sum() > 0


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    model, inputs, targets = line()
    optimizer = MyOptimizer(model.parameters(), a=0.05, b=0.8, c=0.01)
    train(model, optimizer, inputs, targets, 5)
    other, _, _ = line()
    other.load_state_dict(model.state_dict())
    resumed = MyOptimizer(other.parameters())
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    assert train(model, optimizer, inputs, targets, 5) == train(other, resumed, inputs, targets, 5)
    torch.testing.assert_close(other.weight, model.weight, rtol=0, atol=0)


# --- MyOptimWrapperConstructor


@pytest.mark.parametrize(
    ("optimizer", "option"),
    [
        ({"type": "MyOptimizer", "a": 0.1, "c": 0.2}, "c"),
        ({"type": "AdamW", "lr": 0.1, "weight_decay": 0.2}, "weight_decay"),
    ],
)
def test_vectors_are_not_decayed(optimizer: dict[str, object], option: str) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    wrapper = MyOptimWrapperConstructor({"optimizer": optimizer})(model)
    decay = {id(p): group[option] for group in wrapper.optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.2,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_an_optimizer_without_decay_gets_none() -> None:
    wrapper = MyOptimWrapperConstructor({"optimizer": {"type": "MyOptimizer", "a": 0.1}})(nn.Linear(2, 3))
    assert [group["c"] for group in wrapper.optimizer.param_groups] == [0.0]


# --- MyScheduler


def test_half_is_left_after_a_half_life() -> None:
    a, b, c = MyScheduler(half_life=4).maps(np.arange(13), reference=1.0)
    values = np.cumprod(a)
    assert values[[0, 4, 8, 12]] == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8])
    assert not b.any()
    assert not c.any()
    assert a.shape == b.shape == c.shape == (13,)


@pytest.mark.parametrize("half_life", [0, -1, float("nan")])
def test_a_half_life_is_more_than_nothing(half_life: float) -> None:
    with pytest.raises(ValueError, match="half_life must be more than 0 steps"):
        MyScheduler(half_life)


def test_what_counts_steps_is_declared() -> None:
    assert MyScheduler.steps == ("half_life",)
