"""The options of every parameter are MMEngine's, on generated models and generated ``paramwise_cfg``."""

import copy
import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor as Theirs
from torch import nn

from optimctl.optim import DefaultOptimWrapperConstructor as Ours

NAMES = ["backbone", "head", "neck", "stem", "layer0", "conv_offset", "norm", "ahead"]
MULTIPLIERS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0])
RULES = ["bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    MMLogger.get_instance("quiet", log_level="CRITICAL")
    logging.getLogger("quiet").setLevel(logging.CRITICAL)


class Odd(nn.Module):
    """A module with parameters of its own, one of them called ``bias``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.bias = nn.Parameter(torch.zeros(2, 2))


LEAVES = [
    lambda: nn.Linear(3, 2),
    lambda: nn.Linear(3, 2, bias=False),
    lambda: nn.Conv2d(4, 4, 1, groups=4),
    lambda: nn.Conv2d(4, 2, 1),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.InstanceNorm1d(3, affine=True),
    lambda: nn.GroupNorm(1, 3),
    lambda: nn.LayerNorm(3),
    lambda: nn.MultiheadAttention(4, 2),
    nn.PReLU,
    Odd,
]


@st.composite
def models(draw: st.DrawFn, depth: int = 3) -> nn.Module:
    """A tree of modules under telling names; some parameters frozen."""
    if depth == 0 or draw(st.booleans()):
        module: nn.Module = draw(st.sampled_from(LEAVES))()
        if draw(st.integers(0, 9)) == 0:
            for parameter in module.parameters():
                parameter.requires_grad_(False)
        return module
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    module = nn.Module()
    for name in names:
        module.add_module(name, draw(models(depth - 1)))
    return module


@st.composite
def paramwise(draw: st.DrawFn) -> dict[str, Any]:
    """Any mixture of rules by type and custom keys, some of them overlapping."""
    cfg: dict[str, Any] = {rule: draw(MULTIPLIERS) for rule in draw(st.lists(st.sampled_from(RULES), unique=True))}
    keys = draw(
        st.lists(
            st.sampled_from([*NAMES, "backbone.layer0", "weight", "bias", "head.norm", ".bias"]),
            unique=True,
            max_size=4,
        )
    )
    words = st.fixed_dictionaries(
        {}, optional={"lr_mult": MULTIPLIERS, "decay_mult": MULTIPLIERS, "lr": st.just(0.3), "momentum": st.just(0.7)}
    )
    if keys:
        cfg["custom_keys"] = {key: draw(words) for key in keys}
    return cfg or {"bias_lr_mult": 1.0}


@settings(max_examples=300, deadline=None)
@given(model=models(), cfg=paramwise())
def test_options_are_mmengines(model: nn.Module, cfg: dict[str, Any]) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return
    optimizer = {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
    table = {"type": "OptimWrapper", "optimizer": optimizer}
    theirs = Theirs(copy.deepcopy(table), copy.deepcopy(cfg))(model)
    ours = Ours(table, cfg)(model)
    assert by_parameter(ours.optimizer) == by_parameter(theirs.optimizer)


def by_parameter(optimizer: torch.optim.Optimizer) -> dict[int, tuple[float, float, float]]:
    return {
        id(parameter): (group["lr"], group["weight_decay"], group["momentum"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
