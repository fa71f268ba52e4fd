"""The video constructors, held against MMAction2's rules written down once more, and what they say of wrong tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimctl_vision.constructors import (
    LearningRateDecayOptimizerConstructor,
    SwinOptimWrapperConstructor,
    TSMOptimWrapperConstructor,
    find_stages,
)
from optimctl_vision.resnet import ResNet
from optimctl_vision.tsm import TSM
from optimctl_vision.video_swin import VideoSwin
from optimctl_vision.video_transformer import VideoTransformer
from torch import nn

LR, DECAY = 0.1, 0.01
SGD = {"optimizer": {"type": "SGD", "lr": LR, "weight_decay": DECAY}}

Table = dict[str, tuple[float, float]]
"""A parameter's learning rate and weight decay by its name."""


def trained(wrapper: Any, model: nn.Module) -> Table:
    """What the parameters in the optimizer are trained with, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in wrapper.param_groups
        for parameter in group["params"]
    }


def assert_equal(found: Table, expected: Table) -> None:
    """Every number of one table is that of the other, but for rounding."""
    assert found.keys() == expected.keys()
    for name, options in expected.items():
        assert found[name] == pytest.approx(options, rel=1e-12), name


def backbone_and_head(backbone: nn.Module, features: int) -> nn.Module:
    """A model whose parts are called as in MMAction2."""
    model = nn.Module()
    model.backbone = backbone
    model.cls_head = nn.Linear(features, 2)
    return model


# --- TSM


def tsm_rules(model: nn.Module, fc_lr5: bool) -> Table:
    """MMAction2's TSMOptimWrapperConstructor: seven groups, of which the last two are for the last linear layer."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups: dict[str, list[torch.Tensor]] = {"weight": [], "bias": [], "norm": []}
    last: nn.Linear | None = None
    for module in model.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            groups["weight"].append(module.weight)
            groups["bias"] += [] if module.bias is None else [module.bias]
            last = module if isinstance(module, nn.Linear) else last
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)):
            groups["norm"] += list(module.parameters())
    times = {"weight": (1, 1), "bias": (2, 0), "norm": (1, 0)}
    table = {id(p): times[group] for group, parameters in groups.items() for p in parameters}
    if fc_lr5 and last is not None:
        table[id(last.weight)] = (5, 1)
        if last.bias is not None:
            table[id(last.bias)] = (10, 0)
    return {
        names[key]: (LR * lr, DECAY * decay)
        for key, (lr, decay) in table.items()
        if model.get_parameter(names[key]).requires_grad
    }


LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv1d(2, 2, 1),
    lambda: nn.Conv2d(2, 2, 1, bias=False),
    lambda: nn.Conv3d(2, 2, 1),
    lambda: nn.Linear(2, 2),
    lambda: nn.Linear(2, 2, bias=False),
    lambda: nn.BatchNorm2d(2),
    lambda: nn.GroupNorm(1, 2),
    nn.ReLU,
]


@settings(deadline=None, max_examples=25)
@given(layers=st.lists(st.sampled_from(LAYERS), max_size=8), frozen=st.sets(st.integers(0, 12)), fc_lr5=st.booleans())
def test_tsm_gives_each_parameter_what_mmaction2_does(
    layers: list[Callable[[], nn.Module]], frozen: set[int], fc_lr5: bool
) -> None:
    model = nn.Sequential(nn.Sequential(*(layer() for layer in layers)), nn.Linear(2, 3))
    for index, parameter in enumerate(model[0].parameters()):
        parameter.requires_grad_(index not in frozen)
    wrapper = TSMOptimWrapperConstructor(SGD, {"fc_lr5": fc_lr5})(model)
    assert_equal(trained(wrapper, model), tsm_rules(model, fc_lr5))


class TestTSM:
    def test_the_model_it_is_for_has_four_groups(self) -> None:
        model = TSM()
        wrapper = TSMOptimWrapperConstructor(SGD, {"fc_lr5": True})(model)
        assert_equal(trained(wrapper, model), tsm_rules(model, fc_lr5=True))
        assert len(wrapper.param_groups) == 4

    def test_every_value_has_its_reason(self) -> None:
        wrapper = TSMOptimWrapperConstructor(SGD, {"fc_lr5": True})(TSM())
        bias = wrapper.options["head.bias"].reasons
        assert (bias["lr"].key, bias["lr"].lost) == (("paramwise_cfg", "fc_lr5"), (("optimizer", "lr"),))
        assert bias["weight_decay"].text == "TSM: biases are not decayed"
        assert (
            wrapper.options["backbone.stem.norm.weight"].reasons["weight_decay"].text
            == "TSM: norm layers are not decayed"
        )
        assert wrapper.options["backbone.stem.conv.weight"].reasons["weight_decay"].key == ("optimizer", "weight_decay")

    def test_frozen_parameters_need_no_rule(self) -> None:
        model = nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 3))
        model[0].requires_grad_(False)
        assert trained(TSMOptimWrapperConstructor(SGD)(model), model).keys() == {"1.weight", "1.bias"}

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "'1' is a LayerNorm with a parameter '1.weight'"),
            (VideoTransformer(), "the model itself is a VideoTransformer with a parameter 'cls_token'"),
            (nn.Sequential(nn.ModuleDict({"words": nn.Embedding(4, 2)})), "'0.words' is a Embedding with"),
        ],
    )
    def test_a_module_without_a_rule_is_named(self, model: nn.Module, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TSMOptimWrapperConstructor(SGD)(model)

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({"fc_lr5": 5}, "fc_lr5 must be true or false, not 5"),
            ({"norm_decay_mult": 0.0}, "unknown key 'norm_decay_mult'; this constructor knows 'fc_lr5'"),
        ],
    )
    def test_a_wrong_table_is_refused(self, rules: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            TSMOptimWrapperConstructor(SGD, rules)

    def test_a_last_layer_that_is_not_there_is_told(self) -> None:
        with pytest.raises(ValueError, match="fc_lr5 = true, but Conv2d has no linear layer"):
            TSMOptimWrapperConstructor(SGD, {"fc_lr5": True})(nn.Conv2d(1, 1, 1))


# --- Swin


def swin_rules(model: nn.Module, rules: Mapping[str, Mapping[str, float]]) -> Table:
    """MMAction2's SwinOptimWrapperConstructor: every key that a name contains multiplies."""
    table = {}
    for name, _ in model.named_parameters():
        lr, decay = LR, DECAY
        for key, rule in rules.items():
            if key in f".{name}":
                lr *= rule.get("lr_mult", 1.0)
                decay *= rule.get("decay_mult", 1.0)
        table[name] = (lr, decay)
    return table


MMACTION2 = {
    "absolute_pos_embed": {"decay_mult": 0.0},
    "relative_position_bias_table": {"decay_mult": 0.0},
    "norm": {"decay_mult": 0.0},
    "backbone": {"lr_mult": 0.1},
}
"""The rules of MMAction2's configurations of Video Swin."""
FACTORS = st.floats(0, 4, allow_nan=False)
SWIN_RULES = st.dictionaries(
    st.sampled_from(["backbone", "layers.0", "norm", ".norm", "bias", "blocks.1.", "attn", "head", "nothing"]),
    st.fixed_dictionaries({}, optional={"lr_mult": FACTORS, "decay_mult": FACTORS}),
)
SWIN = VideoSwin(width=8)


@settings(deadline=None, max_examples=25)
@given(rules=SWIN_RULES, nested=st.booleans())
def test_swin_gives_each_parameter_what_mmaction2_does(rules: dict[str, Any], nested: bool) -> None:
    wrapper = SwinOptimWrapperConstructor(SGD, {"custom_keys": rules} if nested else rules)(SWIN)
    assert_equal(trained(wrapper, SWIN), swin_rules(SWIN, rules))


class TestSwin:
    def test_the_published_rules_make_three_groups(self) -> None:
        wrapper = SwinOptimWrapperConstructor(SGD, MMACTION2)(SWIN)
        assert_equal(trained(wrapper, SWIN), swin_rules(SWIN, MMACTION2))
        assert len(wrapper.param_groups) == 3

    def test_a_reason_names_every_rule_that_multiplied(self) -> None:
        rules = {"backbone": {"lr_mult": 0.1}, "norm": {"lr_mult": 0.5, "decay_mult": 0.0}}
        options = SwinOptimWrapperConstructor(SGD, rules)(SWIN).options["backbone.norm.weight"]
        lr, decay = options.reasons["lr"], options.reasons["weight_decay"]
        assert (lr.key, lr.text) == (("paramwise_cfg", "backbone", "lr_mult"), "times 0.1 (backbone) x 0.5 (norm)")
        assert (decay.key, decay.text) == (("paramwise_cfg", "norm", "decay_mult"), None)
        assert lr.lost == (("optimizer", "lr"),)
        assert options.matched == (("paramwise_cfg", "backbone"), ("paramwise_cfg", "norm"))

    def test_a_rule_that_matches_nothing_can_be_found(self) -> None:
        wrapper = SwinOptimWrapperConstructor(SGD, MMACTION2)(SWIN)
        matched = {key for options in wrapper.options.values() for key in options.matched}
        assert set(wrapper.rule_keys) - matched == {("paramwise_cfg", "absolute_pos_embed")}

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({"norm_decay_mult": 0.0}, "as in 'norm_decay_mult' = { lr_mult = 0.1 }; 'norm_decay_mult' is 0.0"),
            ({"norm": {"decay": 0.0}}, "the rule 'norm' has the unknown key 'decay'; it knows lr_mult and decay_mult"),
            ({"norm": {"lr_mult": -1}}, "the rule 'norm' has lr_mult = -1; it must be a number from 0 up"),
            ({"norm": {"lr_mult": True}}, "the rule 'norm' has lr_mult = True"),
            ({"custom_keys": 3}, "'custom_keys' is 3"),
        ],
    )
    def test_a_wrong_table_is_refused(self, rules: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            SwinOptimWrapperConstructor(SGD, rules)

    def test_a_rule_for_an_option_that_is_not_there_is_refused(self) -> None:
        table = {"optimizer": {"type": "LBFGS"}}
        with pytest.raises(ValueError, match=r"norm\.decay_mult: there is nothing to multiply"):
            SwinOptimWrapperConstructor(table, {"norm": {"decay_mult": 0.0}})(SWIN)


# --- layer decay


def mvit_rules(model: nn.Module, decay_rate: float, num_layers: int) -> Table:
    """MMAction2's LearningRateDecayOptimizerConstructor, which goes by the names of MViT and VisionTransformer."""
    table = {}
    for name, parameter in model.named_parameters():
        if name in ("backbone.cls_token", "backbone.pos_embed") or name.startswith("backbone.patch_embed"):
            layer = 0
        elif name.startswith("backbone.blocks"):
            layer = int(name.split(".")[2]) + 1
        else:
            layer = num_layers + 1
        decays = parameter.ndim > 1 and not name.endswith(".bias")
        table[name] = (LR * decay_rate ** (num_layers + 1 - layer), DECAY if decays else 0.0)
    return table


def stage_rules(model: nn.Module, decay_rate: float, stages: int) -> Iterator[tuple[str, float]]:
    """What `decay_type = "stage_wise"` makes of a Swin transformer: its stages are `backbone.layers.0`, ..."""
    for name, _ in model.named_parameters():
        parts = name.split(".")
        stage = int(parts[2]) + 1 if parts[1] == "layers" else 0 if parts[1] == "patch_embed" else stages + 1
        yield name, LR * decay_rate ** (stages + 1 - stage)


@settings(deadline=None, max_examples=30)
@given(depth=st.integers(2, 5), more=st.none() | st.integers(0, 12), decay_rate=st.floats(0.1, 1.0))
def test_layer_decay_gives_each_parameter_what_mmaction2_does(depth: int, more: int | None, decay_rate: float) -> None:
    model = backbone_and_head(VideoTransformer(width=4, heads=1, depth=depth), 4)
    rules = {"decay_rate": decay_rate} | ({} if more is None else {"num_layers": depth + more})
    wrapper = LearningRateDecayOptimizerConstructor(SGD, rules)(model)
    assert_equal(trained(wrapper, model), mvit_rules(model, decay_rate, depth + (more or 0)))


class TestLearningRateDecay:
    @pytest.mark.parametrize("depth", [2, 4])
    def test_a_bare_transformer_is_numbered_like_one_in_a_backbone(self, depth: int) -> None:
        bare = VideoTransformer(width=4, heads=1, depth=depth)
        rates = trained(LearningRateDecayOptimizerConstructor(SGD, {"decay_rate": 0.5})(bare), bare)
        wrapped = backbone_and_head(bare, 4)
        expected = mvit_rules(wrapped, 0.5, depth)
        assert rates == {name: expected[f"backbone.{name}"] for name in rates}

    @pytest.mark.parametrize("num_layers", [None, 6])
    def test_the_blocks_of_a_stage_share_a_rate(self, num_layers: int | None) -> None:
        model = VideoSwin(width=8, image_size=32, depths=[1, 2, 2], heads=[1, 1, 1])
        rules = {"decay_rate": 0.5, "decay_type": "stage_wise"} | ({"num_layers": num_layers} if num_layers else {})
        rates = trained(LearningRateDecayOptimizerConstructor(SGD, rules)(model), model)
        expected = dict(stage_rules(model, 0.5, stages=3))
        behind = {name for name in expected if expected[name] == LR}
        scale = 0.5 ** ((num_layers or 3) - 3)
        assert {name: lr for name, (lr, _) in rates.items()} == pytest.approx(
            {name: lr if name in behind else lr * scale for name, lr in expected.items()}
        )

    def test_the_stages_of_a_resnet_are_found(self) -> None:
        model = ResNet(widths=[4, 8], blocks=2)
        assert list(find_stages(model)) == ["backbone.layer0", "backbone.layer1"]
        rules = {"decay_rate": 0.5, "decay_type": "stage_wise"}
        rates = trained(LearningRateDecayOptimizerConstructor(SGD, rules)(model), model)
        assert rates["backbone.stem.conv.weight"] == (LR / 8, DECAY)
        assert rates["backbone.layer0.1.conv1.weight"] == (LR / 4, DECAY)
        assert rates["backbone.layer1.0.norm1.weight"] == (LR / 2, 0.0)
        assert rates["head.weight"] == (LR, DECAY)

    def test_what_lies_between_two_stages_belongs_to_the_first(self) -> None:
        stages = [ResNet(widths=[2]).backbone.get_submodule("layer0") for _ in range(2)]
        model = nn.Module()
        model.first, model.between, model.second, model.head = stages[0], nn.Linear(2, 2), stages[1], nn.Linear(2, 2)
        rules = {"decay_rate": 0.5, "decay_type": "stage_wise"}
        rates = trained(LearningRateDecayOptimizerConstructor(SGD, rules)(model), model)
        assert [rates[f"{part}.weight"][0] for part in ("first.0.conv1", "between", "second.0.conv1", "head")] == [
            LR / 4,
            LR / 4,
            LR / 2,
            LR,
        ]

    def test_positions_decay_unless_the_job_listens_to_the_model(self) -> None:
        model = VideoTransformer(width=4, heads=1)
        for listens, decay in ((False, DECAY), (True, 0.0)):
            rules = {"decay_rate": 0.5, "no_weight_decay": listens}
            table = trained(LearningRateDecayOptimizerConstructor(SGD, rules)(model), model)
            assert (table["pos_embed"][1], table["cls_token"][1]) == (decay, decay)

    def test_every_value_has_its_reason(self) -> None:
        reasons = (
            LearningRateDecayOptimizerConstructor(SGD, {"decay_rate": 0.5})(VideoTransformer())
            .options["blocks.0.norm1.weight"]
            .reasons
        )
        assert (reasons["lr"].key, reasons["lr"].text) == (("paramwise_cfg", "decay_rate"), "layer 1 of 5")
        assert reasons["weight_decay"].text == "vectors are not decayed"

    @pytest.mark.parametrize(
        ("rules", "message"),
        [
            ({"decay_rate": 0.5, "decay_type": "layerwise"}, "decay_type must be 'layer_wise' or 'stage_wise'"),
            ({"decay_rate": 0.5, "num_layers": 0}, "num_layers must be a whole number of at least 1, not 0"),
            ({"decay_rate": 0.5, "num_layers": "12"}, "num_layers must be a whole number of at least 1, not '12'"),
            ({"decay_rate": 0.5, "num_layers": 3}, "num_layers = 3, but VideoTransformer has 4 layers"),
            ({"decay_rate": 0.5, "decay_type": "stage_wise"}, "VideoTransformer has its blocks in one stage"),
        ],
    )
    def test_a_wrong_table_is_refused(self, rules: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LearningRateDecayOptimizerConstructor(SGD, rules)(VideoTransformer(width=4, heads=1))

    @pytest.mark.parametrize("rules", [{}, {"decay_rate": 2.0}, {"decay_rate": 0.5, "decay_rte": 1}])
    def test_what_the_base_class_checks_is_refused_too(self, rules: dict[str, Any]) -> None:
        with pytest.raises(Exception, match="paramwise_cfg"):
            LearningRateDecayOptimizerConstructor(SGD, rules)(VideoTransformer(width=4, heads=1))


@pytest.mark.parametrize(
    ("constructor", "rules", "model"),
    [
        (TSMOptimWrapperConstructor, {"fc_lr5": True}, TSM()),
        (SwinOptimWrapperConstructor, MMACTION2, SWIN),
        (LearningRateDecayOptimizerConstructor, {"decay_rate": 0.5}, VideoTransformer()),
    ],
)
def test_each_trainable_parameter_is_in_one_group(constructor: Any, rules: dict[str, Any], model: nn.Module) -> None:
    first = next(iter(model.parameters()))
    first.requires_grad_(False)
    wrapper = constructor({"optimizer": {"type": "AdamW", "lr": 1e-3}}, rules)(model)
    inside = [id(parameter) for group in wrapper.param_groups for parameter in group["params"]]
    first.requires_grad_(True)
    assert sorted(inside) == sorted(id(p) for p in model.parameters() if p is not first)
