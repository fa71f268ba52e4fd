"""Layer-wise learning-rate decay: layers found by structure, factors as published, reasons that say which layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimctl_vision.resnet import ResNet
from optimctl_vision.vit import VisionTransformer
from torch import nn

from optimctl.assemble import assemble
from optimctl.errors import JobError
from optimctl.optim import LayerDecayOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from optimctl.optim.layer_decay import number_layers
from optimctl.plan.plan import make_plan
from tests.jobs import blobs
from tests.plugins_on_disk import Site

ADAMW = {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05}


def wrap(model: nn.Module, rate: Any = 0.5, optimizer: dict[str, Any] = ADAMW, **paramwise: Any) -> OptimWrapper:
    cfg = {"optimizer": optimizer, "constructor": "LayerDecayOptimWrapperConstructor"}
    wrapper = build_optim_wrapper(model, {**cfg, "paramwise_cfg": {"decay_rate": rate, **paramwise}})
    assert isinstance(wrapper, OptimWrapper)
    return wrapper


def factors(model: nn.Module, rate: float = 0.5, **paramwise: Any) -> dict[str, float]:
    wrapper = wrap(model, rate, **paramwise)
    return {name: group["lr"] for group in wrapper.param_groups for name in group["param_names"]}


def by_part(model: nn.Module, depth: int) -> dict[str, int]:
    """The layers of a model by the first ``depth`` parts of its parameters' names."""
    found: dict[str, set[int]] = {}
    for name, layer in number_layers(model)[0].items():
        found.setdefault(".".join(name.split(".")[:depth]), set()).add(layer)
    assert all(len(layers) == 1 for layers in found.values())
    return {part: layers.pop() for part, layers in found.items()}


# --- which layer


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)


class Stage(nn.Module):
    def __init__(self, depth: int, downsamples: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.downsample = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4, bias=False)) if downsamples else None


class Swin(nn.Module):
    """Parts named and nested as in Swin Transformer."""

    def __init__(self, depths: tuple[int, ...] = (2, 1, 2)) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 4, 2)
        self.layers = nn.ModuleList(Stage(depth, stage < len(depths) - 1) for stage, depth in enumerate(depths))
        self.norm = nn.LayerNorm(4)


class Experts(nn.Module):
    """A block most of which are experts, numbered and alike."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Linear(4, 4)
        self.mixture = nn.ModuleDict({"experts": nn.ModuleList(Block(8) for _ in range(4))})


class Wrapped(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.cls_head = backbone, nn.Linear(4, 2)


def beit_factor(name: str, depth: int, rate: float) -> float:
    """BEiT's formula, as MMAction2's ``LearningRateDecayOptimizerConstructor`` has it."""
    layers = depth + 2
    name = name.removeprefix("backbone.")
    if name in ("cls_token", "pos_embed") or name.startswith("patch_embed"):
        layer = 0
    elif name.startswith("blocks"):
        layer = int(name.split(".")[1]) + 1
    else:
        layer = layers - 1
    return float(rate ** (layers - layer - 1))


@settings(max_examples=20)
@given(depth=st.integers(1, 4), rate=st.floats(0.1, 1.0), wrapped=st.booleans())
def test_a_vision_transformer_has_the_factors_of_beit(depth: int, rate: float, wrapped: bool) -> None:
    backbone = VisionTransformer(width=4, heads=1, depth=depth)
    model = Wrapped(backbone) if wrapped else backbone
    expected = {name: beit_factor(name, depth, rate) for name, _ in model.named_parameters()}
    assert factors(model, rate) == expected


def test_a_resnet_has_a_layer_for_each_block() -> None:
    model = ResNet(widths=(4, 8), blocks=2)
    assert by_part(model, 3) == {
        "backbone.stem.conv": 0,
        "backbone.stem.norm": 0,
        "backbone.layer0.0": 1,
        "backbone.layer0.1": 2,
        "backbone.layer1.0": 3,
        "backbone.layer1.1": 4,
        "head.weight": 5,
        "head.bias": 5,
    }


def test_torchs_own_encoder() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "encoder": nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(4)),
            "head": nn.Linear(4, 5),
        }
    )
    assert by_part(model, 3) == {
        "embed.weight": 0,
        **{f"encoder.layers.{index}": index + 1 for index in range(3)},
        "encoder.norm.weight": 4,
        "encoder.norm.bias": 4,
        "head.weight": 4,
        "head.bias": 4,
    }


def test_nested_stages_count_their_blocks_and_a_downsampling_goes_with_the_block_before() -> None:
    assert by_part(Wrapped(Swin()), 5) == {
        "backbone.patch_embed.weight": 0,
        "backbone.patch_embed.bias": 0,
        "backbone.layers.0.blocks.0": 1,
        "backbone.layers.0.blocks.1": 2,
        "backbone.layers.0.downsample.0": 2,
        "backbone.layers.0.downsample.1": 2,
        "backbone.layers.1.blocks.0": 3,
        "backbone.layers.1.downsample.0": 3,
        "backbone.layers.1.downsample.1": 3,
        "backbone.layers.2.blocks.0": 4,
        "backbone.layers.2.blocks.1": 5,
        "backbone.norm.weight": 6,
        "backbone.norm.bias": 6,
        "cls_head.weight": 6,
        "cls_head.bias": 6,
    }


def test_stages_without_a_class_of_their_own() -> None:
    stages = nn.ModuleList(nn.Sequential(*(Block() for _ in range(depth))) for depth in (1, 2))
    model = nn.ModuleDict({"stem": nn.Linear(4, 4), "stages": stages, "head": nn.Linear(4, 2)})
    assert by_part(model, 3) == {
        "stem.weight": 0,
        "stem.bias": 0,
        "stages.0.0": 1,
        "stages.1.0": 2,
        "stages.1.1": 3,
        "head.weight": 4,
        "head.bias": 4,
    }


def test_experts_are_no_layers_of_their_own() -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList(Experts() for _ in range(3)), "head": nn.Linear(4, 2)})
    assert by_part(model, 2) == {"layers.0": 1, "layers.1": 2, "layers.2": 3, "head.weight": 4, "head.bias": 4}


@settings(max_examples=20)
@given(depths=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_layers_never_go_back(depths: list[int]) -> None:
    layers, last = number_layers(Wrapped(Swin(tuple(depths))))
    assert list(layers.values()) == sorted(layers.values())
    assert set(layers.values()) == set(range(last + 1))
    assert last == sum(depths) + 1


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
        nn.ModuleList(nn.Linear(2, 2) for _ in range(3)),
        nn.Linear(2, 2),
    ],
)
def test_a_model_without_blocks_is_refused(model: nn.Module) -> None:
    with pytest.raises(JobError) as caught:
        wrap(model)
    assert str(caught.value) == (
        f"constructor: {type(model).__name__} has no numbered blocks to decay over "
        "(a ModuleList or Sequential of modules of one class)"
    )


# --- with what else the job says


def test_it_multiplies_what_the_rules_give_but_no_absolute_rate() -> None:
    keys = {"blocks.0.mlp": {"lr_mult": 3.0}, "head": {"lr": 0.7}}
    model = VisionTransformer(width=4, heads=1, depth=2)
    chosen = factors(model, norm_decay_mult=0.0, bias_lr_mult=2.0, lr_mult=0.1, custom_keys=keys)
    assert {name: chosen[name] for name in ("cls_token", "patch_embed.proj.bias", "norm.bias", "head.weight")} == {
        "cls_token": 0.1 / 8,
        "patch_embed.proj.bias": 0.2 / 8,
        "norm.bias": 0.1,
        "head.weight": 0.7,
    }
    assert chosen["blocks.0.mlp.fc1.weight"] == pytest.approx(0.3 / 4)
    decays = {name: one["weight_decay"] for name, one in wrap(model, norm_decay_mult=0.0).options.items()}
    assert decays["norm.weight"] == decays["blocks.1.norm2.bias"] == 0.0
    assert decays["head.bias"] == 0.05


def test_the_reason_is_the_line_of_the_rate_and_tells_the_layer() -> None:
    model = VisionTransformer(width=4, heads=1, depth=2)
    options = wrap(model, bias_lr_mult=2.0).options
    reason = options["blocks.1.attn.qkv.bias"].reasons["lr"]
    assert (reason.key, reason.text) == (("paramwise_cfg", "decay_rate"), "layer 2 of 3")
    assert reason.lost == (("paramwise_cfg", "bias_lr_mult"), ("optimizer", "lr"))


def test_parameters_of_one_layer_and_one_rule_share_their_options_and_their_group() -> None:
    model = VisionTransformer(width=4, heads=1, depth=3)
    wrapper = wrap(model, norm_decay_mult=0.0)
    assert len({id(one) for one in wrapper.options.values()}) == len(wrapper.param_groups) == 2 * 3 + 1 + 1 + 1
    names = [name for group in wrapper.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_a_constructor_can_build_on_it() -> None:
    class Mine(LayerDecayOptimWrapperConstructor):
        def options(self, name: str, *rest: Any) -> Any:
            chosen = super().options(name, *rest)
            return chosen.scale("lr", 10.0, "tokens learn fast") if name == "cls_token" else chosen

    wrapper = Mine({"optimizer": ADAMW}, {"decay_rate": 0.5})(VisionTransformer(width=4, heads=1, depth=1))
    assert wrapper.options["cls_token"]["lr"] == 10 / 4
    assert wrapper.options["pos_embed"]["lr"] == 1 / 4


def test_in_a_job_the_plan_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential(
        nn.Linear(8, 4), nn.Sequential(*(nn.Sequential(nn.Linear(4, 4)) for _ in range(2))), nn.Linear(4, 3)
    )
    extra = '[optim_wrapper.constructor]\ntype = "LayerDecayOptimWrapperConstructor"\n[optim_wrapper.paramwise_cfg]\ndecay_rate = 0.5\n'
    plan = json.loads(json.dumps(make_plan(assemble(blobs(tmp_path, extra=extra), model=model)).as_json()))
    assert [(group["options"]["lr"], group["names"][0]) for group in plan["optimizers"][0]["groups"]] == [
        (0.0125, "0.weight"),
        (0.025, "1.0.0.weight"),
        (0.05, "1.1.0.weight"),
        (0.1, "2.weight"),
    ]
    reason = next(reason for reason in plan["parameters"][2]["reasons"] if reason["option"] == "lr")
    assert (reason["key"], reason["text"]) == ("optim_wrapper.paramwise_cfg.decay_rate", "layer 1 of 3")
    assert reason["line"] == len((tmp_path / "blobs.toml").read_text("utf-8").splitlines())
    assert [one["group"] for one in plan["schedule"]["values"]] == [0, 1, 2, 3]


# --- mistakes

WRONG = "paramwise_cfg.decay_rate: must be a number above 0 and at most 1"


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (None, f"{WRONG}; it is missing"),
        ({}, f"{WRONG}; it is missing"),
        *(({"decay_rate": rate}, f"{WRONG}, not {rate!r}") for rate in (0, -0.5, 1.5, "0.9", True, float("nan"))),
        ({"decay_rate": 0.9, "decay_rat": 1}, "paramwise_cfg.decay_rat: unknown key; did you mean 'decay_mult'?"),
    ],
)
def test_a_wrong_rate_is_told(paramwise: dict[str, Any] | None, message: str) -> None:
    table = {"optimizer": ADAMW, "constructor": "LayerDecayOptimWrapperConstructor", "paramwise_cfg": paramwise}
    with pytest.raises(JobError) as caught:
        build_optim_wrapper(VisionTransformer(), table)
    assert str(caught.value) == message


def test_an_optimizer_without_lr_has_nothing_to_decay(site: Site) -> None:
    source = """
        import torch

        class Mine(torch.optim.Optimizer):
            def __init__(self, params, a=0.1):
                super().__init__(params, {"a": a})
    """
    site.install("mine", {"optimizers": {"Mine": "mine_without_lr:Mine"}}, {"mine_without_lr": source})
    with pytest.raises(JobError) as caught:
        wrap(VisionTransformer(width=4, heads=1), optimizer={"type": "Mine"})
    assert str(caught.value) == (
        "paramwise_cfg.decay_rate: there is nothing to multiply: `lr` is no option of Mine (mine)"
    )


def test_a_rate_of_one_changes_nothing() -> None:
    model = VisionTransformer(width=4, heads=1)
    assert set(factors(model, 1).values()) == {1.0}
    assert len(wrap(model, 1).param_groups) == 1
