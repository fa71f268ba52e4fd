"""``explain`` on optimizers that were made elsewhere: plain PyTorch, transformers' Trainer, Lightning, MMEngine, optimctl."""

from __future__ import annotations

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
