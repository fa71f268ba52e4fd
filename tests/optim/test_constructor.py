"""Options, reasons, groups; the constructor as a template; every mistake names its key."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimctl.errors import JobError
from optimctl.optim import DefaultOptimWrapperConstructor, Options, build_optimizer
from optimctl.testing.subject import named
from tests.jobs import one_wrapper

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


def small() -> Small:
    return Small()


def options_of(model: nn.Module, paramwise: dict[str, Any], optimizer: dict[str, Any] = SGD) -> dict[str, Options]:
    wrapper = one_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": paramwise})
    return dict(wrapper.options)


def test_equal_options_share_a_group_in_order_of_first_appearance() -> None:
    optimizer = build_optimizer(small(), SGD, paramwise_cfg={"norm_decay_mult": 0.0})
    assert [group["param_names"] for group in optimizer.param_groups] == [
        ["stem.0.weight", "stem.0.bias", "head.weight", "head.bias"],
        ["stem.1.weight", "stem.1.bias"],
    ]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0]


def test_every_option_says_which_line_decided_and_which_lost() -> None:
    chosen = options_of(
        small(), {"norm_decay_mult": 0.0, "custom_keys": {"stem": {"lr_mult": 0.5}, "stem.1": {"decay_mult": 3}}}
    )
    reason = chosen["stem.1.weight"].reasons["weight_decay"]
    assert reason.key == ("paramwise_cfg", "custom_keys", "stem.1", "decay_mult")
    assert reason.lost == (("paramwise_cfg", "norm_decay_mult"), ("optimizer", "weight_decay"))
    assert chosen["stem.1.weight"].reasons["lr"].key == ("optimizer", "lr")
    assert chosen["stem.1.weight"].reasons["lr"].lost == (("paramwise_cfg", "custom_keys", "stem", "lr_mult"),)
    assert chosen["stem.0.weight"]["lr"] == 0.05


def test_multipliers_of_the_table_multiply_everything_but_absolute_values() -> None:
    paramwise = {
        "lr_mult": 0.5,
        "decay_mult": 2.0,
        "norm_decay_mult": 0.25,
        "custom_keys": {"head": {"lr": 0.3}, "head.bias": {"lr_mult": 4}},
    }
    chosen = options_of(small(), paramwise)
    assert chosen["stem.0.weight"]["lr"] == 0.05
    assert chosen["stem.1.weight"]["weight_decay"] == 1e-4 * 0.25 * 2
    assert chosen["head.weight"]["lr"] == 0.3
    assert chosen["head.weight"]["weight_decay"] == 2e-4
    assert chosen["head.bias"]["lr"] == 0.1 * 4 * 0.5


def test_patterns_match_the_whole_name() -> None:
    chosen = options_of(
        small(),
        {"custom_keys": {"glob:*.bias": {"lr_mult": 2}, "re:head\\.w.*": {"lr_mult": 3}, "re:head": {"lr_mult": 9}}},
    )
    lrs = {name: round(one["lr"], 9) for name, one in chosen.items()}
    assert lrs == {
        "stem.0.weight": 0.1,
        "stem.0.bias": 0.2,
        "stem.1.weight": 0.1,
        "stem.1.bias": 0.2,
        "head.weight": 0.3,
        "head.bias": 0.2,
    }


def test_frozen_parameters_never_enter_the_optimizer() -> None:
    model = small()
    model.head.bias.requires_grad_(False)
    wrapper = one_wrapper(model, {"optimizer": SGD, "paramwise_cfg": {"custom_keys": {"stem.0": {"freeze": True}}}})
    assert [group["param_names"] for group in wrapper.param_groups] == [["stem.1.weight", "stem.1.bias", "head.weight"]]
    assert not next(model.stem.parameters()).requires_grad


def test_a_parameter_under_two_names_counts_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    optimizer = build_optimizer(model, SGD, paramwise_cfg={"bypass_duplicate": True})
    assert [group["param_names"] for group in optimizer.param_groups] == [["a.weight", "a.bias", "b.bias"]]


def test_norms_depthwise_and_hints_of_the_model() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2, 2))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rms, self.mine = nn.RMSNorm(2), Mine()
            self.deep, self.first = nn.Conv1d(2, 2, 1, groups=2, bias=False), nn.Conv2d(1, 2, 1, bias=False)
            self.position = nn.Parameter(torch.ones(2, 2))

        def no_weight_decay(self) -> set[str]:
            return {"position"}

    paramwise = {"norm_decay_mult": 0.5, "norm_types": ["Mine"], "dwconv_decay_mult": 0.25, "no_weight_decay": True}
    chosen = options_of(Whole(), paramwise, {"type": "AdamW", "lr": 0.1, "weight_decay": 1.0})
    decays = {name: one["weight_decay"] for name, one in chosen.items()}
    assert decays == {"rms.weight": 0.5, "mine.scale": 0.5, "deep.weight": 0.25, "first.weight": 1.0, "position": 0.0}


def test_a_constructor_overrides_one_pure_function() -> None:
    class Mine(DefaultOptimWrapperConstructor):
        def options(
            self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]
        ) -> Options:
            chosen = super().options(name, parameter, module, parents)
            return chosen.scale("lr", 0.5, "vectors learn slowly") if parameter.ndim == 1 else chosen

    wrapper = Mine({"optimizer": SGD}, {"norm_decay_mult": 0.0})(small())
    assert [(group["lr"], group["weight_decay"]) for group in wrapper.param_groups] == [
        (0.1, 1e-4),
        (0.05, 1e-4),
        (0.05, 0.0),
    ]
    reason = wrapper.options["head.bias"].reasons["lr"]
    assert (reason.key, reason.lost, reason.text) == (None, (("optimizer", "lr"),), "vectors learn slowly")


def test_fused_where_it_can_be_and_the_job_does_not_say_otherwise() -> None:
    assert build_optimizer(small(), SGD).defaults["fused"] is True
    assert build_optimizer(small(), {**SGD, "foreach": True}).defaults["fused"] is None
    assert build_optimizer(nn.Embedding(4, 2, sparse=True), {"type": "SGD", "lr": 0.1}).defaults["fused"] is None
    imaginary = nn.ParameterList([torch.zeros(2, dtype=torch.complex64)])
    assert build_optimizer(imaginary, {"type": "SGD", "lr": 0.1}).defaults["fused"] is None


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(st.integers(0, 3), min_size=1, max_size=6), mult=st.sampled_from([0.0, 0.5, 1.0]))
def test_groups_partition_the_trainable_parameters(shape: list[int], mult: float) -> None:
    model = nn.ModuleList(nn.ModuleList(nn.Linear(2, 2) for _ in range(n)) for n in shape)
    if not list(model.parameters()):
        return
    optimizer = build_optimizer(
        model, SGD, paramwise_cfg={"bias_lr_mult": mult, "custom_keys": {"0.0": {"decay_mult": 0.0}}}
    )
    names = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


NEEDED = (
    "there is nothing to multiply: `weight_decay` is no option of this optimizer; "
    "set optim_wrapper.optimizer.weight_decay, or take this out"
)


@pytest.mark.parametrize(
    ("optimizer", "paramwise", "message"),
    [
        ({"type": "SDG"}, {}, "optimizer.type: no optimizer is called 'SDG'; did you mean 'SGD'?"),
        ({"type": "SGD", "lr": -1}, {}, "optimizer.lr: must be a number from 0 up, not -1"),
        (
            {"type": "SGD", "lr": [0.1, 0.2]},
            {},
            "optimizer.lr: must be one number, not a list; to give groups their own, use paramwise_cfg.custom_keys",
        ),
        ({"type": "SGD", "lr": True}, {}, "optimizer.lr: must be a number, not True"),
        (
            {"type": "SGD", "momentm": 0.9},
            {},
            "optimizer.momentm: SGD (optimctl) has no argument 'momentm'; did you mean 'momentum'?",
        ),
        ({"type": "LBFGS"}, {"bias_decay_mult": 0.0}, f"paramwise_cfg.bias_decay_mult: {NEEDED}"),
        (
            SGD,
            {"custom_keys": {"nowhere": {"lr_mul": 1}}},
            "paramwise_cfg.custom_keys.nowhere.lr_mul: SGD has no option 'lr_mul' for a group; did you mean 'lr_mult'?",
        ),
        (
            SGD,
            {"custom_keys": {"glob:*": {"freeze": True}}},
            "optimizer: no parameter is left to train: all are frozen",
        ),
    ],
)
def test_mistakes_name_their_key(optimizer: dict[str, Any], paramwise: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        build_optimizer(small(), optimizer, paramwise_cfg=paramwise)
    assert str(caught.value) == message


class RateFree(torch.optim.Optimizer):
    """Takes a learning rate for the sake of its interface, and has none in its groups."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"beta": 0.9})


def test_an_argument_that_is_no_option_of_a_group_is_no_mistake_until_a_rule_moves_it() -> None:
    with named("optimizers", RateFree) as name:
        assert build_optimizer(small(), {"type": name}).param_groups[0]["beta"] == 0.9
        with pytest.raises(JobError, match="it sets the option 'lr', which RateFree does not have"):
            build_optimizer(small(), {"type": name}, paramwise_cfg={"bias_lr_mult": 2.0})
