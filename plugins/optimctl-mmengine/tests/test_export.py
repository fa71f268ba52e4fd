"""Jobs as configurations of MMEngine: what it builds of them is what the job means, and they come back."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper as build_theirs
from mmengine.registry import PARAM_SCHEDULERS
from optimctl_mmengine.exporting import export_mmengine
from optimctl_mmengine.importing import import_mmengine
from torch import nn

import optimctl
from optimctl.errors import JobError
from optimctl.export import Document, Source

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

EXAMPLES = Path(__file__).parents[3] / "examples"
REFUSED: Mapping[str, str] = {
    "18_my_optimizer.toml": "MMEngine has no optimizer called 'MyOptimizer'",
    "19_my_constructor.toml": "MMEngine has no constructor called 'MyOptimWrapperConstructor'",
    "ema.toml": "it waits for 'loss', and there is no evaluator of MMEngine's that gives it",
    "layer_decay.toml": "MMEngine has no constructor called 'LayerDecayOptimWrapperConstructor'",
    "muon.toml": "MMEngine has no constructor called 'Routes'",
    "my_optimizer.toml": "MMEngine has no constructor called 'MyOptimWrapperConstructor'",
    "video_layer_decay.toml": "MMEngine has no constructor called 'LearningRateDecayOptimizerConstructor'",
    "video_swin.toml": "MMEngine has no constructor called 'SwinOptimWrapperConstructor'",
    "video_tsm.toml": "MMEngine has no constructor called 'TSMOptimWrapperConstructor'",
}
Values = dict[str, np.ndarray[Any, Any]]


class Part(nn.Module):
    """A layer of each kind that rules tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)
        self.depthwise = nn.Conv2d(4, 4, 1, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(2))


def model() -> nn.Module:
    names = ("stem", "backbone", "head", "generator", "discriminator")
    return nn.ModuleDict({name: Part() for name in names})


def load(data: Mapping[str, Any]) -> Any:
    """A job of these values."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.toml"
        file.write_text(Document(data).text(), "utf-8")
        return optimctl.load_job(file)


def export(data: Mapping[str, Any]) -> str:
    return export_mmengine(Source(load(data)))


def read(text: str) -> Config:
    """What MMEngine's own loader makes of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.py"
        file.write_text(text, "utf-8")
        return Config.fromfile(file)


def back(text: str) -> dict[str, Any]:
    """The job that is imported from an exported one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.py"
        file.write_text(text, "utf-8")
        (imported,) = import_mmengine(file, check=False)
        return dict(imported.document.data)


# --- the values of each parameter in each iteration -------------------------------------------------------------------


def ours(data: Mapping[str, Any], epoch_length: int) -> Values:
    """The options of each parameter in every iteration, as a run of optimctl's has them."""
    target = model()
    wrapper = {
        name: value for name, value in data["optim_wrapper"].items() if name not in ("type", "dtype", "loss_scale")
    }
    optim = optimctl.build_optim_wrapper(target, wrapper)
    length = {name: data["train_cfg"][name] for name in ("max_epochs", "max_iters") if name in data["train_cfg"]}
    epoch_length = data["train_cfg"].get("epoch_length", epoch_length)
    tables = data.get("param_scheduler", [])
    schedulers = optimctl.build_param_schedulers(optim, tables, epoch_length=epoch_length, **length)
    iterations = length.get("max_iters", length.get("max_epochs", 0) * epoch_length)

    def step(iteration: int) -> None:
        schedulers.after_iteration()
        if iteration % epoch_length == 0:
            schedulers.after_epoch(None)

    several = dict(optim) if not hasattr(optim, "optimizer") else {"": optim}
    return run(target, [one.optimizer for one in several.values()], step, iterations)  # type: ignore[union-attr]


def theirs(config: Config, epoch_length: int) -> Values:
    """The same, as MMEngine's builders and loops have them."""
    target = model()
    table = copy.deepcopy(config.optim_wrapper.to_dict())
    for one in (table, *(each for each in table.values() if isinstance(each, dict) and "optimizer" in each)):
        if one.get("type") == "AmpOptimWrapper":  # it asks for a GPU
            one.update(type="OptimWrapper")
            one.pop("dtype", None)
            one.pop("loss_scale", None)
    wrapper = build_theirs(target, table)
    by_iteration = config.train_cfg.type == "IterBasedTrainLoop"
    epochs = 1 if by_iteration else config.train_cfg.max_epochs
    iterations = config.train_cfg.max_iters if by_iteration else epochs * epoch_length
    several = dict(wrapper.items()) if hasattr(wrapper, "optim_wrappers") else {"": wrapper}
    tables = config.get("param_scheduler", [])
    schedulers = [
        PARAM_SCHEDULERS.build(
            {"end": epochs if cfg.get("by_epoch", True) else iterations, **cfg},
            default_args={"optimizer": one, "epoch_length": epoch_length},
        )
        for name, one in several.items()
        for cfg in (tables[name] if isinstance(tables, dict) else tables)
    ]

    def step(iteration: int) -> None:
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
        if iteration % epoch_length == 0 and not by_iteration:
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()

    return run(target, [one.optimizer for one in several.values()], step, iterations)


def run(target: nn.Module, optimizers: list[torch.optim.Optimizer], step: Any, iterations: int) -> Values:
    names = {id(parameter): name for name, parameter in target.named_parameters()}
    found: dict[str, list[float]] = {}
    for optimizer in optimizers:
        optimizer.step()
    for iteration in range(1, iterations + 1):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    for option, value in numbers(group):
                        found.setdefault(f"{names[id(parameter)]}: {option}", []).append(value)
        step(iteration)
    return {name: np.asarray(values) for name, values in found.items()}


def numbers(group: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for option in ("lr", "weight_decay"):
        if option in group:
            yield option, float(group[option])
    first = group["betas"][0] if "betas" in group else group.get("momentum")
    if first is not None:
        yield "momentum", float(first)


def assert_same(one: Values, other: Values) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        scale = max(float(np.abs(values).max()), 1e-12)
        assert values.shape == other[name].shape
        np.testing.assert_array_less(np.abs(values - other[name]) / scale, 1e-9, err_msg=name)


# --- generated jobs ---------------------------------------------------------------------------------------------------


FACTORS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0])
SMALL = st.sampled_from([1e-3, 0.1, 1 / 3, 1.0])
WORDS = ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult")
OPTIMIZERS: list[dict[str, Any]] = [
    {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
    {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"type": "AdamW", "lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-6},
    {"type": "Adam"},
    {"type": "Adafactor", "lr": 0.02},
    {"type": "optimctl/RMSprop", "lr": 0.01, "weight_decay": 0.0},
]


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys((*WORDS, "lr_mult", "decay_mult"), FACTORS))
    )
    words = st.fixed_dictionaries({}, optional={"lr_mult": FACTORS, "decay_mult": FACTORS, "lr": st.just(0.3)})
    keys = draw(
        st.dictionaries(st.sampled_from(["backbone", "backbone.norm", "head", "bias", "scale"]), words, max_size=3)
    )
    return {**found, **({"custom_keys": keys} if keys else {})}


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, Any]:
    arguments: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "Constant": st.fixed_dictionaries({}, optional={"factor": st.one_of(SMALL, st.just(0.0))}),
        "CosineAnnealing": st.builds(
            lambda floor, rest: {**floor, **rest},
            st.sampled_from([{}, {"eta_min_ratio": 0.0}, {"eta_min_ratio": 0.1}, {"eta_min": 1e-4}]),
            st.fixed_dictionaries({}, optional={"T_max": st.integers(1, 30)}),
        ),
        "CosineRestart": st.builds(
            lambda floor: {"periods": [3, 5], "restart_weights": [1.0, 0.5], **floor},
            st.sampled_from([{"eta_min": 1e-4}, {"eta_min_ratio": 0.1}]),
        ),
        "Exponential": st.just({"gamma": 0.9}),
        "Linear": st.fixed_dictionaries(
            {}, optional={"start_factor": st.one_of(SMALL, st.just(0.0)), "end_factor": SMALL}
        ),
        "MultiStep": st.fixed_dictionaries({"milestones": st.lists(st.integers(0, 12), max_size=3)}),
        "Poly": st.fixed_dictionaries({}, optional={"power": st.sampled_from([0.9, 2.0]), "eta_min": st.just(1e-4)}),
        "Step": st.fixed_dictionaries({"step_size": st.integers(1, 9)}),
    }
    curve = draw(st.sampled_from(sorted(arguments)))
    names = [
        {"type": f"{curve}LR"},
        {"type": f"{curve}ParamScheduler", "param_name": "lr"},
        {"type": f"optimctl/{curve}LR"},
    ]
    place = draw(
        st.sampled_from(
            [{}, {"by_epoch": False}, {"by": "iteration"}, {"by": "epoch"}, {"convert_to_iter_based": True}]
        )
    )
    begin = draw(st.sampled_from([{}, {"begin": 2}, {"begin": "10%"}]))
    end = draw(st.sampled_from([{}, {"end": 5}, {"end": "50%"}]))
    return {**draw(st.sampled_from(names)), **draw(arguments[curve]), **place, **begin, **end}


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    wrapper: dict[str, Any] = {"optimizer": draw(st.sampled_from(OPTIMIZERS))}
    found = draw(rules())
    if found and wrapper["optimizer"]["type"] != "Adafactor":
        wrapper["paramwise_cfg"] = found
    wrapper |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "accumulative_counts": st.integers(1, 3),
                "clip_grad": st.sampled_from(
                    [{"max_norm": 1.0, "norm_type": "inf"}, {"type": "value", "clip_value": 0.5}]
                ),
            },
        )
    )
    if draw(st.booleans()):
        wrapper |= {"type": "AmpOptimWrapper", "dtype": "bfloat16", "loss_scale": 128}
    length = draw(st.sampled_from([{"max_epochs": 6}, {"max_epochs": 10}, {"max_iters": 40}]))
    tables = draw(st.lists(schedules(), max_size=3))
    several = {"generator": wrapper, "discriminator": {"optimizer": {"type": "SGD", "lr": 0.1}}}
    return {
        "train_cfg": {**length, "epoch_length": 7},
        "optim_wrapper": draw(st.sampled_from([wrapper, several])),
        **({"param_scheduler": tables} if tables else {}),
    }


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs())
def test_generated_jobs_mean_the_same_there_and_come_back(data: dict[str, Any]) -> None:
    if not can_be_exported(data):
        return
    text, before = export(data), ours(data, 7)
    assert_same(before, theirs(read(text), 7))
    assert_same(before, ours(back(text), 7))
    assert back(export(back(text))) == back(text)


def can_be_exported(data: dict[str, Any]) -> bool:
    """Whether the job can run, and MMEngine can say it; about one in twenty cannot."""
    try:
        ours(data, 7)
        export(data)
    except JobError:
        return False
    return True


# --- the examples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.toml")), ids=lambda file: file.name)
def test_examples(file: Path) -> None:
    job = optimctl.load_job(file)
    if file.name in REFUSED:
        with pytest.raises(JobError) as refused:
            export_mmengine(Source(job))
        assert REFUSED[file.name] in str(refused.value)
        assert str(refused.value).startswith(f"{file}:")
        return
    text = export_mmengine(Source(job))
    data, again = job.plain(), back(text)
    length = data["train_cfg"].get("epoch_length") or Source(job).length.epoch_length
    short = {**data["train_cfg"], "max_epochs": min(data["train_cfg"].get("max_epochs", 1), 30)}
    if "max_iters" not in data["train_cfg"] and short["max_epochs"] == data["train_cfg"]["max_epochs"]:
        before = ours(data, length)
        assert_same(before, theirs(read(text), length))
        assert_same(before, ours(again, length))
    assert again["optim_wrapper"].keys() >= data["optim_wrapper"].keys() - {
        "type",
        "accumulative_counts",
        "paramwise_cfg",
    }


def test_a_whole_configuration(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(
        """
        [job]
        seed = 3
        device = "cuda"
        load_from = "r50.pth"
        [model]
        type = "MMEngine"
        scope = "mmpretrain"
        cfg = { type = "ImageClassifier", backbone = { type = "ResNet", out_indices = { python = "(3,)" } } }
        [task]
        type = "MMEngine"
        metrics = [{ type = "Accuracy", topk = { python = "(1, 5)" } }]
        [train_dataloader]
        batch_size = 32
        shuffle = true
        dataset = { type = "MMEngine", scope = "mmpretrain", cfg = { type = "CIFAR10" } }
        [val_dataloader]
        dataset = { type = "MMEngine", scope = "mmpretrain", cfg = { type = "CIFAR10", test_mode = true } }
        [train_cfg]
        max_epochs = 20
        val_interval = 2
        [optim_wrapper]
        accumulative_counts = 2
        clip_grad = { max_norm = 35 }
        [optim_wrapper.optimizer]
        type = "SGD"
        lr = 0.1
        [optim_wrapper.paramwise_cfg]
        lr_mult = 0.5
        norm_decay_mult = 0.0
        [[param_scheduler]]
        type = "ReduceLROnPlateau"
        monitor = "accuracy/top1"
        mode = "max"
        [log]
        interval = 20
        [checkpoint]
        keep = 2
        save_best = "accuracy/top1"
        [hooks.EMA]
        decay = 0.99
        begin = 4
        [hooks.EarlyStopping]
        metric = "accuracy/top1"
        rule = "max"
        [hooks.TensorBoard]
        [hooks.CSV]
        """
    )
    text = export_mmengine(Source(optimctl.load_job(job)))
    assert text == CONFIGURATION
    assert read(text).model.backbone.out_indices == (3,)


CONFIGURATION = """\
# The job 'job', by `optimctl export mmengine`.
# The job's device is cuda; MMEngine takes the GPU where there is one.

default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', out_indices=(3,)))
work_dir = 'runs/job'
randomness = dict(seed=3, deterministic=False)
load_from = 'r50.pth'
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CIFAR10'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CIFAR10', test_mode=True),
)
val_cfg = dict(type='ValLoop')
val_evaluator = [dict(type='Accuracy', topk=(1, 5))]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=2)
# lr is 0.1 times lr_mult = 0.5: MMEngine does not read lr_mult.
# To MMEngine, norm layers are batch, instance, group and layer norm; RMSNorm is none.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, weight_decay=0),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    accumulative_counts=2,
    clip_grad=dict(max_norm=35),
)
param_scheduler = [
    dict(type='ReduceOnPlateauLR', by_epoch=True, monitor='accuracy/top1', rule='greater'),
]
# CSV: MMEngine writes its records into work_dir anyway.
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='accuracy/top1',
        rule='greater',
    ),
)
custom_hooks = [
    dict(type='EMAHook', momentum=0.00501256289338, begin_iter=10),
    dict(
        type='EarlyStoppingHook',
        monitor='accuracy/top1',
        rule='greater',
        min_delta=0.0,
        patience=5,
        check_finite=False,
    ),
]
visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
)
"""

BASE: dict[str, Any] = {
    "train_cfg": {"max_epochs": 6, "epoch_length": 7},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}},
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE), **changes}


def rule(**words: Any) -> dict[str, Any]:
    return changed(optim_wrapper={**BASE["optim_wrapper"], "paramwise_cfg": words})


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        (rule(custom_keys={"head": {"freeze": True}}), "custom_keys.head.freeze", "MMEngine freezes nothing by rule"),
        (rule(custom_keys={"glob:*.bias": {"lr_mult": 2.0}}), '"glob:*.bias"', "MMEngine knows parts of names"),
        (rule(norm_types=["MyNorm"]), "norm_types", "MMEngine has no 'norm_types'"),
        (rule(no_weight_decay=True), "no_weight_decay", "MMEngine has no 'no_weight_decay'"),
        (
            changed(param_scheduler=[{"type": "InverseSqrtLR", "timescale": 5}]),
            "type",
            "MMEngine has no schedule called 'InverseSqrtLR'",
        ),
        (
            changed(
                param_scheduler=[{"type": "CosineAnnealingLR", "by": "update"}],
                optim_wrapper={**BASE["optim_wrapper"], "accumulative_counts": 2},
            ),
            "by",
            "step in every iteration",
        ),
        (
            {**rule(bias_lr_mult=2.0), "param_scheduler": [{"type": "OneCycleLR", "eta_max": 0.2, "by_epoch": False}]},
            "type",
            "gives every group the same values",
        ),
        (
            {**rule(bias_lr_mult=0.0), "param_scheduler": [{"type": "CosineAnnealingLR", "eta_min": 0.01}]},
            "eta_min",
            "lifts them to eta_min",
        ),
        (
            {**rule(lr_mult=0.0), "param_scheduler": [{"type": "CosineAnnealingLR", "eta_min": 1e-4}]},
            "eta_min",
            "by a multiplier or by itself, stay at 0 in optimctl, and MMEngine lifts them to eta_min; use eta_min_ratio",
        ),
        (
            {
                **rule(decay_mult=0.0),
                "param_scheduler": [{"type": "PolyParamScheduler", "eta_min": 1e-5, "param_name": "weight_decay"}],
            },
            "eta_min",
            "whose weight_decay is 0 from the start",
        ),
        (
            {
                **rule(dcn_offset_lr_mult=0.0),
                "param_scheduler": {
                    "type": "CosineRestartLR",
                    "eta_min": 1e-5,
                    "periods": [2],
                    "restart_weights": [1.0],
                },
            },
            "param_scheduler.eta_min",
            "whose lr is 0",
        ),
        (
            changed(
                optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
                param_scheduler=[{"type": "CosineAnnealingWeightDecay", "eta_min": 1e-5}],
            ),
            "eta_min",
            "whose weight_decay is 0",
        ),
        (
            changed(
                optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
                param_scheduler=[{"type": "CosineAnnealingMomentum", "eta_min": 0.5}],
            ),
            "eta_min",
            "whose momentum is 0",
        ),
        (
            changed(
                optim_wrapper={
                    "stem": BASE["optim_wrapper"],
                    "head": {**BASE["optim_wrapper"], "paramwise_cfg": {"custom_keys": {"norm": {"lr": 0.0}}}},
                },
                param_scheduler=[{"type": "PolyLR", "eta_min": 1e-4}],
            ),
            "param_scheduler.0.eta_min",
            "MMEngine lifts them to eta_min",
        ),
        (
            changed(
                optim_wrapper={
                    "stem": BASE["optim_wrapper"],
                    "head": {**BASE["optim_wrapper"], "paramwise_cfg": {"lr_mult": 0.5}},
                },
                param_scheduler=[{"type": "OneCycleLR", "eta_max": 0.2, "by_epoch": False}],
            ),
            "param_scheduler.0.type",
            "gives every group the same values",
        ),
        (
            changed(param_scheduler=[{"type": "LinearLR", "begin": 3, "end": "40%", "convert_to_iter_based": True}]),
            "param_scheduler.0.end",
            "must be greater than 'begin', which is 21, not 17",
        ),
        (
            changed(param_scheduler=[{"type": "LinearLR", "begin": "10%", "end": 3, "by_epoch": False}]),
            "param_scheduler.0.end",
            "must be greater than 'begin'",
        ),
        (
            changed(param_scheduler={"type": "LinearLR", "begin": "5%"}),
            "param_scheduler.begin",
            "of 6 epochs is less than one",
        ),
        (
            changed(param_scheduler=[{"type": "LinearLR", "by_epoch": False, "begin": 42}]),
            "param_scheduler.0.begin",
            "must be before the end of the run",
        ),
        (changed(param_scheduler=[{"type": "LinearLR", "end_factor": 2.0}]), "end_factor", "at most 1"),
        (
            changed(param_scheduler=[{"type": "LinearParamScheduler", "param_name": "betas[1]"}]),
            "type",
            "cannot move 'betas[1]'",
        ),
        (
            changed(param_scheduler=[{"type": "CosineAnnealingLR"}], train_cfg={"max_iters": 30, "epoch_length": 7}),
            "type",
            "it steps by epoch, and MMEngine's loop by iteration ends none",
        ),
        (changed(hooks={"WandB": {}, "EarlyStopping": {"metric": "loss"}}), "metric", "no evaluator"),
        (changed(job={"load_from": {"path": "x.pth", "prefix": "a."}}), "prefix", "under their own names"),
        (changed(param_scheduler=[{"type": "ReduceOnPlateauLR"}]), "", "it waits for 'loss'"),
    ],
)
def test_what_has_no_counterpart_is_named(data: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(JobError) as refused:
        export(data)
    assert message in str(refused.value)
    assert key in str(refused.value)


def test_schedules_that_jump_by_epoch_are_told_in_iterations() -> None:
    data = changed(
        train_cfg={"max_iters": 40, "epoch_length": 7},
        param_scheduler=[
            {"type": "MultiStepLR", "milestones": [2, 4], "gamma": 0.5},
            {"type": "ExponentialMomentum", "gamma": 0.9},
            {"type": "ConstantWeightDecay", "factor": 0.5, "begin": 1, "end": 4},
            {"type": "LinearLR", "by_epoch": False, "end": 5},
        ],
    )
    text = export(data)
    assert [table["type"] for table in read(text).param_scheduler] == [
        "LinearLR",
        "MultiStepLR",
        "StepMomentum",
        "ConstantParamScheduler",
    ]
    before = ours(data, 7)
    assert_same(before, theirs(read(text), 7))
    assert_same(before, ours(back(text), 7))


@pytest.mark.parametrize("name", ["ExponentialLR", "ExponentialWeightDecay", "ExponentialParamScheduler"])
def test_a_schedule_that_becomes_one_of_another_name_moves_the_same(name: str) -> None:
    table = {"type": name, "gamma": 0.9, **({"param_name": "lr"} if name.endswith("Scheduler") else {})}
    data = changed(train_cfg={"max_iters": 40, "epoch_length": 7}, param_scheduler=[table])
    text = export(data)
    assert_same(ours(data, 7), theirs(read(text), 7))
    assert_same(ours(data, 7), ours(back(text), 7))


def test_other_options_and_one_cycle() -> None:
    data = changed(
        param_scheduler=[
            {"type": "OneCycleLR", "eta_max": 0.2, "total_steps": 30, "by_epoch": False},
            {"type": "CosineAnnealingWeightDecay", "eta_min": 1e-5},
            {"type": "LinearMomentum", "start_factor": 0.5, "convert_to_iter_based": True, "end": 3},
        ]
    )
    data["optim_wrapper"]["paramwise_cfg"] = {"lr_mult": 0.5}
    text = export(data)
    before = ours(data, 7)
    assert_same(before, theirs(read(text), 7))
    assert_same(before, ours(back(text), 7))


def test_rules_of_a_packages_constructor_are_not_known() -> None:
    data = changed(param_scheduler=[{"type": "CosineAnnealingLR", "eta_min": 1e-4}])
    data["optim_wrapper"] |= {
        "constructor": {"type": "MMEngine", "name": "FastHeadConstructor", "scope": "tinymm"},
        "paramwise_cfg": {"head_mult": 0},
    }
    text = export(data)
    assert (
        "# eta_min: MMEngine lifts parameters to it whose lr the constructor has made 0; optimctl does not.\n" in text
    )
    assert read(text).optim_wrapper.constructor == "tinymm.FastHeadConstructor"


def test_a_schedule_needs_no_data_that_is_not_there() -> None:
    data = changed(
        train_cfg={"max_epochs": 10},
        train_dataloader={"dataset": {"type": "MMEngine", "scope": "mmnowhere", "cfg": {"type": "Coco"}}},
        param_scheduler=[{"type": "LinearLR", "begin": 100, "end": 5000, "by_epoch": False}],
    )
    (table,) = read(export(data)).param_scheduler
    assert (table.begin, table.end) == (100, 5000)


def test_scopes_and_imports_of_all_parts() -> None:
    def part(scope: str | None, imports: list[str], **cfg: Any) -> dict[str, Any]:
        return {"type": "MMEngine", "imports": imports, **({"scope": scope} if scope else {}), **cfg}

    data = changed(
        model=part("mmseg", ["mine.models"], cfg={"type": "EncoderDecoder"}),
        task=part("mmdet", [], metrics=[{"type": "Accuracy"}]),
        train_dataloader={
            "dataset": part(
                "mmpretrain",
                ["mine.data", "mine.models"],
                cfg={"type": "ImageNet"},
                sampler={"type": "RepeatAugSampler"},
                collate_fn={"type": "multiview_collate"},
            )
        },
        val_dataloader={"dataset": part(None, [], cfg={"type": "ADE20KDataset"}, collate_fn={"type": "own_collate"})},
    )
    data["optim_wrapper"] = {
        "optimizer": part("mmpretrain", ["mine.optim"], name="Lamb", lr=0.1),
        "constructor": part("mmpretrain", [], name="LearningRateDecayOptimWrapperConstructor"),
    }
    with pytest.MonkeyPatch.context() as patch:  # there are no such modules
        patch.setattr("mmengine.config.config.import_modules_from_strings", lambda **_: None)
        config = read(export(data)).to_dict()
    assert config["default_scope"] == "mmseg"
    assert config["custom_imports"] == {
        "imports": ["mine.models", "mine.data", "mine.optim"],
        "allow_failed_imports": False,
    }
    assert config["model"] == {"type": "EncoderDecoder"}
    loader = config["train_dataloader"]
    assert loader["dataset"] == {"_scope_": "mmpretrain", "type": "ImageNet"}
    assert loader["sampler"] == {"_scope_": "mmpretrain", "type": "RepeatAugSampler"}
    assert loader["collate_fn"] == {"type": "mmpretrain.multiview_collate"}
    assert config["val_dataloader"]["dataset"] == {"type": "ADE20KDataset"}
    assert config["val_dataloader"]["collate_fn"] == {"type": "own_collate"}
    assert config["val_evaluator"] == [{"_scope_": "mmdet", "type": "Accuracy"}]
    assert config["optim_wrapper"]["optimizer"]["type"] == "mmpretrain.Lamb"
    assert config["optim_wrapper"]["constructor"] == "mmpretrain.LearningRateDecayOptimWrapperConstructor"


def test_a_loop_by_iteration_never_ends_a_pass() -> None:
    data = changed(
        train_cfg={"max_iters": 40, "epoch_length": 12},
        train_dataloader={"batch_size": 4, "shuffle": True, "dataset": {"type": "MMEngine", "cfg": {"type": "Clouds"}}},
    )
    text = export(data)
    assert read(text).train_dataloader.sampler == {"type": "InfiniteSampler", "shuffle": True}
    assert "# InfiniteSampler: each pass over the data runs into the next one, and no batch is short.\n" in text
    data["train_cfg"] = {"max_epochs": 4}
    assert read(export(data)).train_dataloader.sampler == {"type": "DefaultSampler", "shuffle": True}


def test_a_momentum_has_no_more_digits_than_its_decay() -> None:
    hooks = read(export(changed(hooks={"EMA": {"decay": 0.99996}}))).custom_hooks
    assert hooks == [{"type": "EMAHook", "momentum": 4e-05}]
