"""``explain`` on optimizers that were made elsewhere: plain PyTorch, transformers' Trainer, Lightning, MMEngine, optimctl."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import optimctl
from optimctl.plan.explain import Explanation


def net() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def codes(explanation: Explanation) -> list[str]:
    return [one.code for one in explanation.findings]


def curve(explanation: Explanation, option: str = "lr", group: int = 0) -> list[float]:
    return next(
        list(one.values) for one in explanation.plan.schedule.curves if (one.option, one.group) == (option, group)
    )


PLAIN = """\
Sequential: Sequential, 134 parameters in 7 tensors, all trainable, on cpu
Memory: 2.094 KiB, beside activations (weights 536 bytes, gradients 536 bytes, optimizer state 1.047 KiB)

AdamW, for-loop, 1.047 KiB of state. 2 groups before any schedule:
All groups: betas (0.9, 0.999), eps 1e-08, decoupled_weight_decay True.
group  tensors  parameters   lr  weight_decay  names
    0        3         120  0.1          0.01  0.weight, 1.weight, 3.weight
    1        4          14  0.1             0  1.bias, 2.weight, 2.bias and 1 more

20 steps of the scheduler; scheduled options at some of them:

lr, 2 groups
0.1           ▂▂▂▅▅▅███████▇▇▇▅▅▅▃▃▃
        ▃▃▃▆▆▆██████████████████████████▅▅▅▂▂▂
    ██████████████████████████████████████████▆▆▆▃▃▃
  0 ████████████████████████████████████████████████████▅▅▅▃▃▃▁▁▁▁▁▁
    1                                                             20
"""


def plain() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = net()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return model, torch.optim.AdamW(groups, lr=0.1)


def warm_up_then_cosine(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warm_up = lr_scheduler.LinearLR(optimizer, 0.5, total_iters=5)
    return lr_scheduler.SequentialLR(
        optimizer, [warm_up, lr_scheduler.CosineAnnealingLR(optimizer, 15)], milestones=[5]
    )


def stepped(optimizer: torch.optim.Optimizer, scheduler: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_the_page_of_a_plain_optimizer() -> None:
    model, optimizer = plain()
    explanation = optimctl.explain(model, optimizer, warm_up_then_cosine(optimizer))
    assert str(explanation).startswith(PLAIN)
    assert codes(explanation) == ["decay-on-small", "could-be-fused"]
    assert "note: torch has a fused AdamW, which is asked for with fused=True [could-be-fused]" in str(explanation)


def test_the_values_are_those_of_the_training_and_nothing_is_changed() -> None:
    model, optimizer = plain()
    scheduler = warm_up_then_cosine(optimizer)
    values = curve(optimctl.explain(model, optimizer, scheduler))
    assert scheduler.last_epoch == 0
    assert values == stepped(optimizer, scheduler, 20)


def test_a_notebook_gets_html() -> None:
    html = optimctl.explain(*plain())._repr_html_()
    assert html.startswith("<pre")
    assert "134 parameters in 7 tensors" in html


def test_as_json_has_the_structure_of_inspect_without_a_job() -> None:
    answer = optimctl.explain(*plain()).as_json()
    assert answer["job"] is None
    reasons = {one["option"]: (one["text"], one["file"]) for one in answer["parameters"][2]["reasons"]}
    assert (reasons["weight_decay"], reasons["eps"]) == (
        ("the group's own value", None),
        ("the optimizer's default", None),
    )
    assert {(one["key"], one["line"]) for one in answer["findings"]} == {(None, None)}


@pytest.mark.parametrize(
    ("make", "length"),
    [
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 40), 40),
        (lambda o: lr_scheduler.LinearLR(o, total_iters=7), 7),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30), 30),
        (lambda o: lr_scheduler.MultiStepLR(o, [8, 12]), 16),
        (
            lambda o: lr_scheduler.ChainedScheduler(
                [lr_scheduler.PolynomialLR(o, 9), lr_scheduler.ConstantLR(o, 0.5, 3)]
            ),
            9,
        ),
        (lambda o: lr_scheduler.StepLR(o, 30), None),
        (lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step), None),
    ],
)
def test_how_long_a_scheduler_is(make: Any, length: int | None) -> None:
    model, optimizer = plain()
    explanation = optimctl.explain(model, optimizer, make(optimizer))
    assert explanation.plan.schedule.iterations == length
    assert ("schedule-not-shown" in codes(explanation)) is (length is None)
    steps = length or 50
    (model, optimizer), (_, other) = plain(), plain()
    shown = optimctl.explain(model, optimizer, make(optimizer), iterations=steps)
    assert curve(shown) == [*stepped(other, make(other), steps - 1), other.param_groups[0]["lr"]]


def test_what_waits_for_a_metric_is_not_shown() -> None:
    model, optimizer = plain()
    explanation = optimctl.explain(model, optimizer, lr_scheduler.ReduceLROnPlateau(optimizer), iterations=10)
    assert not explanation.plan.schedule.curves
    assert "schedule-not-shown" in codes(explanation)


def test_a_group_of_every_tensor_is_told() -> None:
    model = net()
    optimizer = torch.optim.SGD(
        [{"params": [p], "weight_decay": 0.1 * (p.ndim > 1)} for p in model.parameters()], lr=0.1
    )
    explanation = optimctl.explain(model, optimizer)
    assert "groups-could-merge" in codes(explanation)
    assert "7 groups have only 2 different sets of options" in str(explanation)
    rows = [line.split()[:3] for line in str(explanation).splitlines() if line.endswith("3.weight")]
    assert rows == [["0,", "1,", "5"]]


def test_optimctls_own_say_where_every_value_comes_from() -> None:
    model = net()
    optimizer = optimctl.build_optimizer(model, {"type": "AdamW", "lr": 0.1}, paramwise_cfg={"norm_decay_mult": 0.0})
    scheduler = optimctl.build_lr_scheduler(optimizer, {"type": "CosineAnnealingLR"}, updates=30)
    explanation = optimctl.explain(model, optimizer, scheduler)
    assert explanation.plan.schedule.iterations == 30
    assert codes(explanation) == ["decay-on-small"]
    wrapped = net()
    wrapper = optimctl.build_optim_wrapper(
        wrapped, {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2.0}}
    )
    bias = optimctl.explain(wrapped, wrapper).plan.parameters[2]
    assert (bias.name, bias.reasons["lr"].key) == ("1.bias", ("paramwise_cfg", "bias_lr_mult"))


def test_several_optimizers_by_name() -> None:
    model = net()
    both = {
        "first": torch.optim.SGD(list(model.parameters())[:3], lr=0.1),
        "second": torch.optim.Adam(list(model.parameters())[3:], lr=0.2),
    }
    schedulers = {name: lr_scheduler.LinearLR(one, total_iters=4) for name, one in both.items()}
    explanation = optimctl.explain(model, both, schedulers)
    assert [(one.name, one.type) for one in explanation.plan.optimizers] == [("first", "SGD"), ("second", "Adam")]
    assert [one.optimizer for one in explanation.plan.schedule.curves] == ["first", "second"]
    listed = optimctl.explain(model, list(both.values()))
    assert [one.name for one in listed.plan.optimizers] == ["0", "1"]


def test_a_training_that_has_begun_is_shown_from_where_it_is() -> None:
    model, optimizer = plain()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    stepped(optimizer, scheduler, 3)
    assert curve(optimctl.explain(model, optimizer, scheduler, iterations=4)) == [0.0125, 0.00625, 0.003125, 0.0015625]


def test_something_else_than_an_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="an optimizer or a wrapper of one is needed, not str"):
        optimctl.explain(net(), "AdamW")


def test_something_else_than_a_scheduler_is_refused() -> None:
    with pytest.raises(TypeError, match="a scheduler is needed, or several, not str"):
        optimctl.explain(*plain(), "cosine")


@pytest.mark.parametrize("length", [0, -1, 1.5])
def test_a_length_is_a_whole_number_from_1_up(length: Any) -> None:
    with pytest.raises(ValueError, match="iterations must be a whole number from 1 up"):
        optimctl.explain(*plain(), iterations=length)


def test_of_a_training_that_has_begun_the_rest_is_shown() -> None:
    model, optimizer = plain()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30)
    stepped(optimizer, scheduler, 7)
    explanation = optimctl.explain(model, optimizer, scheduler)
    assert explanation.plan.schedule.iterations == 23
    values = curve(explanation)
    assert values == [*stepped(optimizer, scheduler, 22), optimizer.param_groups[0]["lr"]]
    assert optimctl.explain(model, optimizer, scheduler).plan.schedule.iterations == 1


def test_the_longest_of_several_schedulers_counts() -> None:
    def both(optimizer: torch.optim.Optimizer) -> list[Any]:
        return [
            lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5),
            lr_scheduler.CosineAnnealingLR(optimizer, 40),
        ]

    model, optimizer = plain()
    assert optimctl.explain(model, optimizer, both(optimizer)).plan.schedule.iterations == 40
    endless = [*both(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    assert optimctl.explain(model, optimizer, endless).plan.schedule.iterations is None


def test_a_scheduler_that_raises_before_the_end() -> None:
    model, optimizer = plain()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30)
    explanation = optimctl.explain(model, optimizer, scheduler, iterations=50)
    found = explanation.findings[0]
    assert (found.level, found.code) == ("error", "scheduler-raises")
    assert found.message.startswith("OneCycleLR raises within 31 steps: ValueError: Tried to step 31 times")
    assert len(curve(explanation)) == 50


def test_a_scheduler_of_another_optimizer() -> None:
    model, optimizer = plain()
    explanation = optimctl.explain(model, optimizer, lr_scheduler.StepLR(plain()[1], 3), iterations=10)
    assert explanation.findings[0].code == "scheduler-of-another"
    assert explanation.findings[0].message == "StepLR moves another AdamW than the one that is explained"
    assert "scheduler-of-another" not in codes(optimctl.explain(model, optimizer, lr_scheduler.StepLR(optimizer, 3)))


def test_an_optimizer_of_another_model() -> None:
    explanation = optimctl.explain(net(), plain()[1])
    found = {one.code: one.message for one in explanation.findings}
    assert found["not-in-model"] == "7 of the 7 tensors that AdamW has are not in the model"
    assert "not-trained" in found
    assert "not-in-model" not in codes(optimctl.explain(*plain()))


class Decay:
    """A scheduler of somebody's own, which knows more than its optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer, knows: Any) -> None:
        self.optimizer = optimizer
        self.knows = knows

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5


def test_a_scheduler_of_ones_own() -> None:
    model, optimizer = plain()
    assert curve(optimctl.explain(model, optimizer, Decay(optimizer, model), iterations=3)) == [0.1, 0.05, 0.025]
    assert optimizer.param_groups[0]["lr"] == 0.1
    locked = optimctl.explain(model, optimizer, Decay(optimizer, threading.Lock()), iterations=3)
    assert not locked.plan.schedule.curves
    assert any(one.message.startswith("Decay cannot be copied to be looked at") for one in locked.findings)


class Counting(nn.Linear):
    """A model that notices when it is copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Counting:
        raise AssertionError("the weights were copied")


def test_what_a_scheduler_knows_of_the_model_is_not_copied() -> None:
    model = Counting(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert curve(optimctl.explain(model, optimizer, Decay(optimizer, model), iterations=2)) == [0.1, 0.05]


def test_a_million_steps_of_a_function_are_not_all_taken() -> None:
    asked: list[int] = []

    def function(step: int) -> float:
        asked.append(step)
        return 1 / (step + 1)

    model, optimizer = plain()
    explanation = optimctl.explain(model, optimizer, lr_scheduler.LambdaLR(optimizer, function), iterations=1_000_000)
    assert curve(explanation)[-1] == pytest.approx(0.1 / 1_000_000)
    assert len(asked) < 1000


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=5), {"lr", "betas[0]"}),
        (lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda x: 0.5**x, cycle_momentum=False), {"lr"}),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2), {"lr"}),
        (lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.05, anneal_epochs=5), {"lr"}),
        (lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9), {"lr"}),
    ],
)
def test_torchs_other_schedulers(make: Any, options: set[str]) -> None:
    model, optimizer = plain()
    shown = optimctl.explain(model, optimizer, make(optimizer), iterations=20)
    assert {one.option for one in shown.plan.schedule.curves} == options
    _, other = plain()
    assert curve(shown) == [*stepped(other, make(other), 19), other.param_groups[0]["lr"]]


@pytest.mark.parametrize("factor", [10.0, float("nan"), -1.0])
def test_a_rate_that_runs_away_is_shown(factor: float) -> None:
    model, optimizer = plain()
    scheduler = lr_scheduler.MultiplicativeLR(optimizer, lambda step: factor)
    assert "lr, 2 groups" in str(optimctl.explain(model, optimizer, scheduler, iterations=1000))


class Odd(torch.optim.Optimizer):
    """An optimizer whose groups have what no page expects."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {"lr": 0.1, "table": torch.ones(3), "one": torch.tensor(2.0), "maps": {"a": 1}})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


def test_groups_with_names_tensors_and_markup() -> None:
    model = net()
    first, *others = model.parameters()
    optimizer = Odd([{"params": [first], "name": "[/x]"}, {"params": others, "name": "\x1b[31mhead"}, {"params": []}])
    explanation = optimctl.explain(model, optimizer, lr_scheduler.StepLR(optimizer, 2), iterations=4)
    assert "All groups: table Tensor of shape (3,), one 2, maps {'a': 1}." in str(explanation)
    assert "[/x]" in str(explanation)
    assert "\\x1b[31mhead" in str(explanation)
    (planned,) = explanation.as_json()["optimizers"]
    assert planned["groups"][0]["options"] == {
        "name": "[/x]",
        "lr": 0.1,
        "table": "Tensor of shape (3,)",
        "one": 2.0,
        "maps": {"a": 1},
    }


def test_who_chose_how_to_step_is_not_told_to_choose() -> None:
    def found(model: nn.Module, **options: Any) -> bool:
        return "could-be-fused" in codes(optimctl.explain(model, torch.optim.SGD(model.parameters(), 0.1, **options)))

    assert found(net())
    assert not found(net(), foreach=False)
    assert not found(nn.Sequential(nn.Embedding(4, 4, sparse=True)))


class Stubborn(nn.Module):
    """A model whose own ``__getattr__`` raises what nobody expects."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise RuntimeError(f"no {name}") from error


def test_a_model_with_a_getattr_of_its_own() -> None:
    model = Stubborn()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert [one.name for one in optimctl.explain(model, optimizer).plan.parameters] == ["layer.weight", "layer.bias"]
