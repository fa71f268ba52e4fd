"""No setting of a configuration vanishes: in whatever form it comes, it stands in the job, or a comment says why not."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from optimctl_mmengine.importing.compare import compare
from optimctl_mmengine.importing.configuration import Configuration
from optimctl_mmengine.importing.whole import convert

import optimctl

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

Path_ = tuple[Any, ...]
SETTINGS: dict[str, Any] = {
    "default_scope": "mmpretrain",
    "custom_imports": {"imports": ["mmpretrain.models"], "allow_failed_imports": False},
    "model": {"type": "Net", "depth": 50},
    "data_preprocessor": {"mean": [1.0, 2.0]},
    "train_dataloader": {
        "batch_size": 8,
        "drop_last": True,
        "num_workers": 2,
        "persistent_workers": True,
        "dataset": {"type": "Points"},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    },
    "val_dataloader": {
        "batch_size": 8,
        "dataset": {"type": "Points"},
        "batch_sampler": {"type": "FullBatches"},
    },
    "val_evaluator": {"type": "Accuracy", "topk": (1, 5)},
    "test_evaluator": {"type": "Accuracy", "topk": 1},
    "val_cfg": {"fp16": True},
    "test_cfg": {"fp16": True},
    "train_cfg": {"by_epoch": True, "max_epochs": 3, "val_interval": 2, "val_begin": 2},
    "optim_wrapper": {
        "type": "AmpOptimWrapper",
        "dtype": "bfloat16",
        "accumulative_counts": 2,
        "clip_grad": {"max_norm": 35},
        "constructor": "DefaultOptimWrapperConstructor",
        "optimizer": {"type": "AdamW", "lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.05},
        "paramwise_cfg": {
            "norm_decay_mult": 0.0,
            "bypass_duplicate": True,
            "custom_keys": {"head": {"lr_mult": 10, "weight_decay": 0.1}},
        },
    },
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 5},
        {"type": "MultiStepLR", "milestones": [1, 2], "gamma": 0.5},
    ],
    "default_hooks": {
        "logger": {"type": "LoggerHook", "interval": 25},
        "checkpoint": {
            "type": "CheckpointHook",
            "interval": 2,
            "max_keep_ckpts": 3,
            "save_best": "auto",
            "greater_keys": ["accuracy"],
            "out_dir": "elsewhere",
        },
        "mine": {"type": "MyHook", "level": 2},
    },
    "custom_hooks": [
        {"type": "EMAHook", "momentum": 0.001, "begin_iter": 5, "interval": 2, "update_buffers": True},
        {
            "type": "EarlyStoppingHook",
            "monitor": "accuracy/top1",
            "patience": 3,
            "min_delta": 0.01,
            "rule": "less",
            "check_finite": False,
        },
    ],
    "visualizer": {
        "vis_backends": [
            {"type": "WandbVisBackend", "init_kwargs": {"project": "p", "tags": ["a"], "notes": "n"}},
            {"type": "TensorboardVisBackend", "save_dir": "d"},
        ]
    },
    "randomness": {"seed": 3, "deterministic": True, "diff_rank_seed": True},
    "env_cfg": {"cudnn_benchmark": True, "mp_cfg": {"mp_start_method": "spawn"}},
    "load_from": "a.pth",
    "resume": True,
    "work_dir": "runs",
    "experiment_name": "mine",
    "compile": {"mode": "max-autotune"},
    "auto_scale_lr": {"enable": True, "base_batch_size": 16},
    "find_unused_parameters": True,
    "sync_bn": "torch",
    "tta_model": {"type": "Averaged"},
}
BY_ITERATION = {
    **SETTINGS,
    "train_cfg": {"by_epoch": False, "max_iters": 600, "val_interval": 200, "dynamic_intervals": [(100, 1)]},
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 300}},
    "optim_wrapper": {
        "constructor": "MyConstructor",
        "generator": {"optimizer": {"type": "Adam", "lr": 0.1}, "clip_grad": {"max_norm": 1}},
        "discriminator": {"optimizer": {"type": "Lamb", "lr": 0.2}, "accumulative_counts": 4},
    },
    "param_scheduler": {
        "generator": [{"type": "PolyLR", "eta_min": 1e-4, "by_epoch": False}],
        "discriminator": {"type": "LinearLR", "begin": 0, "end": 20},
    },
}


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """All places in nested tables and lists."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from paths(item, (*path, name))


def changed(settings: Mapping[str, Any], path: Path_, value: Any = None) -> dict[str, Any]:
    """The settings with another value at a place; None is as good as nothing in MMEngine."""
    found = copy.deepcopy(dict(settings))
    table: Any = found
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    return found


def is_quiet(path: Path_, odd: Any) -> bool:
    """Whether a value says what MMEngine does anyway, which needs no comment."""
    name = path[-1]
    return (odd == "" and name in SWITCHES) or any(name == one and odd is value for one, value in USUAL)


SWITCHES = (
    "allow_failed_imports",
    "diff_rank_seed",
    "enable",
    "find_unused_parameters",
    "num_workers",
    "persistent_workers",
    "resume",
    "shuffle",
    "sync_bn",
    "tta_model",
)
"""Settings that Python takes for false where they are empty."""
NO_TABLE: dict[str, Any] = {"odd": 1}
USUAL = (
    ("accumulative_counts", True),
    ("auto_scale_lr", NO_TABLE),
    ("by_epoch", True),
    ("check_finite", True),
    ("interval", -1),
    ("max_keep_ckpts", -1),
    ("patience", 5),
    ("val_begin", True),
    ("visualizer", NO_TABLE),
)
"""Those that are equal to MMEngine's default, and tables of which nothing is about training."""
ODD = (5, -1, 2.5, "odd", "", True, [7], NO_TABLE, object())
COMPARED = ("optim_wrapper", "param_scheduler", "train_cfg", "default_hooks", "custom_hooks")
CASES = [
    *((name, SETTINGS) for name in SETTINGS),
    *((name, BY_ITERATION) for name in BY_ITERATION if BY_ITERATION[name] is not SETTINGS[name]),
]


@pytest.mark.parametrize(("section", "settings"), CASES, ids=[name for name, _ in CASES])
def test_no_setting_vanishes(section: str, settings: dict[str, Any], tmp_path: Path) -> None:
    vanished = []
    for path in (path for path in paths(settings) if path[0] == section):
        without = convert(changed(settings, path)).document().text()
        for odd in ODD:
            draft = convert(changed(settings, path, odd))
            if draft.document().text() == without and not is_quiet(path, odd):
                vanished.append((path, odd))
            (tmp_path / "job.toml").write_text(draft.document().text())
            optimctl.load_job(tmp_path / "job.toml")
    assert not vanished


@pytest.mark.parametrize("section", COMPARED)
@pytest.mark.parametrize("settings", [SETTINGS, BY_ITERATION], ids=["by epoch", "by iteration"])
def test_every_form_can_be_held_against_mmengine(section: str, settings: dict[str, Any], tmp_path: Path) -> None:
    for path in (path for path in paths(settings) if path[0] == section and len(path) < 3):
        for odd in ODD:
            said = changed(settings, path, odd)
            (tmp_path / "job.toml").write_text(convert(said).document().text())
            job = optimctl.load_job(tmp_path / "job.toml").plain()
            assert set(compare(Configuration(Path("odd.py"), said), job)) == {"options", "values"}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("optim_wrapper", "clip_grad"), 35, "clip_grad = 35: MMEngine knows it, and there it is a table"),
        (("train_cfg",), 3, "train_cfg = 3: MMEngine knows it, and there it is a table"),
        (
            ("train_cfg", "max_epochs"),
            "5",
            "max_epochs = '5': MMEngine knows it, and there it is a whole number from 1 up",
        ),
        (
            ("train_cfg", "val_interval"),
            0,
            "val_interval = 0: MMEngine knows it, and there it is a whole number from 1 up",
        ),
        (
            ("train_cfg", "val_intervall"),
            3,
            "of train_cfg: val_intervall = 3: MMEngine's loop has no such argument; did you mean 'val_interval'?",
        ),
        (
            ("default_hooks", "checkpoint", "interval"),
            "x",
            "interval = 'x': MMEngine knows it, and there it is a number",
        ),
        (
            ("custom_hooks",),
            {"type": "EMAHook"},
            "custom_hooks = {'type': 'EMAHook'}: MMEngine knows it, and there it is a list",
        ),
        (("load_from",), 5, "load_from = 5: MMEngine knows it, and there it is a text"),
        (("randomness",), 5, "randomness = 5: MMEngine knows it, and there it is a table"),
        (("custom_hooks", 1, "min_delta"), "x", "min_delta = 'x': MMEngine knows it, and there it is a number"),
        (
            ("custom_hooks", 0, "begin_epoch"),
            "x",
            "begin_epoch = 'x': MMEngine knows it, and there it is a whole number from 0 up",
        ),
        (
            ("default_hooks", "checkpoint", "save_best"),
            5,
            "save_best = 5: MMEngine knows it, and there it is a text, or a list of them",
        ),
        (
            ("default_hooks", "mine"),
            {"level": 2},
            "the hook {'level': 2}: it says no type",
        ),
        (
            ("find_unused_parameters",),
            True,
            "find_unused_parameters = True: how a model is distributed is not the job's",
        ),
        (
            ("default_hooks", "sampler_seed"),
            None,
            "default_hooks.sampler_seed = None: there every pass over the data has the same order; here each has its own",
        ),
    ],
)
def test_a_form_that_it_has_not_is_left_out_with_the_reason(path: Path_, value: Any, said: str) -> None:
    draft = convert(changed(SETTINGS, path, value))
    assert f"left out: {said}" in [
        line for lines in draft.comments.values() for text in lines for line in text.splitlines()
    ]
