"""What two jobs do differently: found with the right numbers and lines; and what is only written differently is no difference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import nn

from optimctl.assemble import assemble
from optimctl.errors import JobError
from optimctl.job.load import load_job, parse_job
from optimctl.job.schema import Job
from optimctl.plan.diff import Diff, compare
from optimctl.plan.diff.apart import TOLERANCE, Gap
from optimctl.plan.diff.change import Tensors
from optimctl.plan.subject import Subject, subject_of
from optimctl.schedule.trajectory import BLOCK, preview_param_schedulers
from optimctl.train.run import run
from tests.jobs import BLOBS
from tests.plugins_on_disk import Site

ALL = ("1.weight", "1.bias", "3.weight", "3.bias")


def subject(job: Job) -> Subject:
    return subject_of(assemble(job, without_weights=True))


def difference(before: str, after: str) -> Diff:
    """What the second of two jobs does differently."""
    return compare(subject(parse_job(before, "before.toml")), subject(parse_job(after, "after.toml")))


def changed(*overrides: str, unset: tuple[str, ...] = (), before: str = BLOBS) -> Diff:
    """What options of the command change."""
    return compare(subject(parse_job(before)), subject(parse_job(before, overrides=overrides, unset=unset)))


def settings(diff: Diff) -> list[tuple[str, Any, Any]]:
    return [(change.setting, change.before, change.after) for change in diff.settings]


def options(diff: Diff) -> list[tuple[str, Any, Any, Tensors]]:
    return [(change.option, change.before, change.after, change.tensors) for change in diff.options]


# --- written differently, and the same --------------------------------------------------------------------------------

RULES = """
[optim_wrapper.paramwise_cfg]
bias_lr_mult = 2.0
bias_decay_mult = 0.0
"""
BY_NAME = """
[optim_wrapper.paramwise_cfg.custom_keys]
"glob:*.bias" = { lr_mult = 2, decay_mult = 0 }
"""
BY_ROUTE = """
[optim_wrapper.constructor]
type = "Routes"
[[optim_wrapper.constructor.routes]]
match = { names = [".bias"] }
optimizer = { type = "SGD", lr = 0.2, momentum = 0.9 }
"""
WARM_UP, COSINE = BLOBS.index("[[param_scheduler]]"), BLOBS.rindex("[[param_scheduler]]")
BEFORE, LOG = BLOBS[:WARM_UP], BLOBS.index("[log]")


def scheduled(*tables: str) -> str:
    """The job, with these schedules."""
    return BEFORE + "\n".join(f"[[param_scheduler]]\n{table}" for table in tables)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(BLOBS, BLOBS.replace('name = "blobs"', 'name = "other"\nwork_dir = "elsewhere"  # by hand'), id="name"),
        pytest.param(BLOBS, BLOBS.replace("interval = 2", "interval = 7\n[checkpoint]\nkeep = 2"), id="log and checkpoint"),
        pytest.param(BLOBS, BLOBS.replace("shuffle", "pin_memory = false\nnum_workers = 2\nshuffle"), id="workers"),
        pytest.param(BLOBS, BLOBS.replace("split = \"test\", samples = 100", 'split = "test", samples = 90'), id="validation"),
        pytest.param(BLOBS, BLOBS[LOG:] + BLOBS[:LOG], id="order of tables"),
        pytest.param(BLOBS, BLOBS.replace('"SGD"', '"optimctl/SGD"').replace('"MLP"', '"optimctl/MLP"'), id="qualified"),
        pytest.param(BLOBS, BLOBS.replace('"SGD"', '"SGD"\nnesterov = false\nweight_decay = 0'), id="defaults of torch"),
        pytest.param(BLOBS, BLOBS.replace("samples = 112", "samples = 112, noise = 0.7, seed = 0"), id="defaults of a plugin"),
        pytest.param(BLOBS, BLOBS.replace("max_norm = 1.0", 'type = "norm", max_norm = 1, norm_type = 2'), id="clip"),
        pytest.param(
            BLOBS.replace("max_norm = 1.0", "max_norm = inf"), BLOBS.replace("clip_grad", "# clip_grad"), id="only measured"
        ),
        pytest.param(
            BLOBS.replace("max_norm = 1.0", "max_norm = 1, norm_type = inf"),
            BLOBS.replace("max_norm = 1.0", 'max_norm = 1, norm_type = "inf"'),
            id="norm",
        ),
        pytest.param(BLOBS, BLOBS.replace("max_epochs = 3", "max_iters = 21"), id="length in iterations"),
        pytest.param(BLOBS, BLOBS.replace("max_epochs = 3", "max_epochs = 3\nepoch_length = 7"), id="length of an epoch"),
        pytest.param(BLOBS + RULES, BLOBS + BY_NAME, id="rules by type and by name"),
        pytest.param(BLOBS + RULES, BLOBS + BY_ROUTE, id="rules and routes"),
        pytest.param(
            BLOBS, BLOBS.replace("lr = 0.1", "lr = 0.2") + "[optim_wrapper.paramwise_cfg]\nlr_mult = 0.5", id="lr and lr_mult"
        ),
        pytest.param(
            scheduled('type = "LinearLR"\nend = 2\nconvert_to_iter_based = true'),
            scheduled('type = "LinearLR"\nend = 14\nby = "iteration"'),
            id="converted",
        ),
        pytest.param(
            scheduled('type = "LinearLR"\nend = 10\nby_epoch = false'),
            scheduled('type = "LinearLR"\nend = "48%"\nby = "iteration"'),
            id="share of the run",
        ),
        pytest.param(
            scheduled('type = "MultiStepLR"\nmilestones = [1, 2]\ngamma = 0.5'),
            scheduled('type = "StepLR"\nstep_size = 1\ngamma = 0.5'),
            id="steps",
        ),
        pytest.param(
            scheduled('type = "ExponentialLR"\ngamma = 0.5'),
            scheduled('type = "StepLR"\nby = "iteration"\nstep_size = 7\ngamma = 0.5'),
            id="powers",
        ),
        pytest.param(
            scheduled('type = "OneCycleLR"\neta_max = 0.3\nby_epoch = false'),
            scheduled('type = "OneCycleLR"\neta_max = 0.3\nby_epoch = false').replace("lr = 0.1", "lr = 0.7"),
            id="one cycle names its values",
        ),
        pytest.param(
            scheduled('type = "ConstantMomentum"\nfactor = 0.5\nend = 99').replace("momentum = 0.9", "momentum = 0.8"),
            BEFORE.replace("momentum = 0.9", "momentum = 0.4"),
            id="scheduled and constant",
        ),
        pytest.param(
            scheduled('type = "LinearLR"').replace("[[", "[").replace("]]", "]"), scheduled('type = "LinearLR"'), id="one table"
        ),
    ],
)  # fmt: skip
def test_what_is_only_written_differently_is_no_difference(before: str, after: str) -> None:
    assert before != after
    diff = difference(before, after)
    assert (diff.same, diff.as_json()["same"]) == (True, True), json.dumps(diff.as_json(), indent=1, default=str)
    assert (diff.tensors, diff.iterations) == (4, 21)


def test_files_that_one_builds_on_are_as_good_as_one(tmp_path: Path) -> None:
    whole, base, job = tmp_path / "whole.toml", tmp_path / "base.toml", tmp_path / "job.toml"
    whole.write_text(BLOBS, "utf-8")
    base.write_text(
        BLOBS.replace("momentum = 0.9", "momentum = 0.5").replace("max_epochs = 3", "max_iters = 5"), "utf-8"
    )
    job.write_text('extends = "base.toml"\nunset = ["train_cfg.max_iters"]\ntrain_cfg.max_epochs = 3\n'
                   "optim_wrapper.optimizer.momentum = 0.9\n", "utf-8")  # fmt: skip
    assert compare(subject(load_job(whole)), subject(load_job(job))).same


def test_a_run_did_what_its_job_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = parse_job(BLOBS)
    folder = run(job)
    assert compare(subject(job), subject(load_job(folder / "job.toml"))).same


@examples(max_examples=20)
@given(
    st.lists(st.sampled_from([1, 2, 5, 7, 13, 20]), min_size=1, max_size=3, unique=True),
    st.sampled_from(["epoch", "iteration", "update"]),
    st.floats(0.01, 1),
)
def test_every_job_is_like_itself(milestones: list[int], unit: str, lr: float) -> None:
    job = scheduled(f'type = "MultiStepLR"\nmilestones = {sorted(milestones)}\nby = "{unit}"').replace(
        "lr = 0.1", f"lr = {lr}"
    )
    assert difference(job, job).same


# --- the run, the data, the model, the optimizer ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("job.seed=1", ("seed", 0, 1)),
        ("job.deterministic=true", ("deterministic", False, True)),
        ("job.compile=true", ("compile", False, True)),
        ("train_dataloader.shuffle=false", ("train_dataloader.shuffle", True, False)),
        ("train_dataloader.dataset.noise=0.5", ("train_dataloader.dataset.noise", 0.7, 0.5)),
        ("task.loss.type=MSELoss", ("task.loss", "CrossEntropyLoss", {"type": "MSELoss"})),
        ("optim_wrapper.clip_grad.max_norm=2", ("clip_grad.max_norm", 1, 2)),
        ("optim_wrapper.clip_grad={type='value', clip_value=2}", ("clip_grad", {"max_norm": 1.0, "norm_type": 2.0}, {"clip_value": 2.0})),
        ("optim_wrapper.optimizer.fused=false", ("implementation", "fused", "for-loop")),
    ],
)  # fmt: skip
def test_one_setting_is_one_change(override: str, expected: tuple[str, Any, Any]) -> None:
    diff = changed(override)
    assert settings(diff) == [expected]
    assert not (diff.same)
    assert not (diff.parameters)
    assert not (diff.options)
    assert not (diff.schedules)
    assert not (diff.not_compared)


def test_the_kind_of_device() -> None:
    here, there = subject(parse_job(BLOBS)), subject(parse_job(BLOBS))
    assert settings(compare(here, replace(there, device=torch.device("cuda:1")))) == [("device", "cpu", "cuda")]


def test_the_length_of_the_run_is_told_in_every_unit() -> None:
    diff = changed("train_cfg.max_epochs=4", before=BEFORE)
    assert settings(diff) == [("iterations", 21, 28), ("epochs", 3, 4), ("updates", 11, 14)]
    before, after = diff.settings[0].origins
    assert (str(before.place), str(after.place)) == ("job.toml:20:14", "--set train_cfg.max_epochs=4")
    assert diff.iterations == 21
    assert settings(changed("train_dataloader.batch_size=8", before=BEFORE)) == [
        ("iterations", 21, 42),
        ("epoch_length", 7, 14),
        ("updates", 11, 21),
        ("train_dataloader.batch_size", 16, 8),
    ]


def test_accumulation_moves_what_counts_updates() -> None:
    diff = changed(
        "optim_wrapper.accumulative_counts=3", before=scheduled('type = "StepLR"\nstep_size = 2\nby = "update"')
    )
    assert settings(diff) == [("updates", 11, 7), ("accumulative_counts", 2, 3)]
    (schedule,) = diff.schedules
    assert (schedule.option, schedule.distance.first, schedule.distance.iterations) == ("lr", 4, 15)


def test_precision() -> None:
    assert settings(changed("optim_wrapper.type=AmpOptimWrapper")) == [
        ("wrapper", "OptimWrapper (optimctl)", "AmpOptimWrapper (optimctl)"),
        ("dtype", None, "bfloat16"),
    ]
    amp = BLOBS.replace("[optim_wrapper]", '[optim_wrapper]\ntype = "AmpOptimWrapper"\ndtype = "float16"')
    assert settings(changed("optim_wrapper.loss_scale=128", before=amp)) == [
        ("loss_scale.init_scale", 65536.0, 128.0),
        ("loss_scale.growth_factor", 2.0, None),
        ("loss_scale.backoff_factor", 0.5, None),
        ("loss_scale.growth_interval", 2000, None),
    ]
    assert changed("optim_wrapper.loss_scale={init_scale=65536}", before=amp).same


def test_initial_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    first, copy, other = (str(tmp_path / name) for name in ("first.pt", "copy.pt", "other.pt"))
    torch.save(model.state_dict(), first)
    Path(copy).write_bytes(Path(first).read_bytes())
    torch.save({name: value + 1 for name, value in model.state_dict().items()}, other)
    with_weights = BLOBS.replace("[job]", f"[job]\nload_from = '{first}'")
    assert settings(difference(BLOBS, with_weights)) == [("initial_weights", None, first)]
    assert settings(changed(f"job.load_from={other}", before=with_weights)) == [("initial_weights", first, other)]
    assert changed(f"job.load_from={{path='{copy}', strict=true}}", before=with_weights).same
    elsewhere = f"[job]\nload_from = '{tmp_path}/elsewhere.pt'"  # nobody reads it without a model
    assert settings(difference(elsewhere, elsewhere.replace("elsewhere.pt", "first.pt"))) == [
        ("initial_weights", str(tmp_path / "elsewhere.pt"), first)
    ]


def test_another_class_of_optimizer_is_compared_by_what_both_have() -> None:
    diff = changed("optim_wrapper.optimizer={type='AdamW', lr=0.1, weight_decay=0.5}")
    assert settings(diff) == [("type", "SGD (optimctl)", "AdamW (optimctl)")]
    assert options(diff) == [("weight_decay", 0, 0.5, Tensors(ALL, 195))]
    (not_compared,) = diff.not_compared
    assert not_compared.why == (
        "only SGD (optimctl) has 'momentum', 'dampening' and 'nesterov'; "
        "only AdamW (optimctl) has 'betas', 'eps', 'amsgrad' and 'decoupled_weight_decay'"
    )


def test_hooks_count_and_so_does_the_validation_that_they_may_wait_for() -> None:
    averaged = BLOBS + "[hooks.EMA]\ndecay = 0.99\n"
    assert settings(difference(BLOBS, averaged)) == [("hooks.EMA", None, "EMA (optimctl)")]
    assert settings(changed("hooks.EMA.decay=0.9", before=averaged)) == [("hooks.EMA.decay", 0.99, 0.9)]
    assert settings(changed("val_dataloader.batch_size=32", "train_cfg.val_interval=2", before=averaged)) == [
        ("val_dataloader.batch_size", 64, 32),
        ("train_cfg.val_interval", 1, 2),
    ]


def test_a_schedule_that_waits_for_a_metric_is_compared_by_its_arguments() -> None:
    waiting = BLOBS + '[[param_scheduler]]\ntype = "ReduceOnPlateauLR"\nmonitor = "loss"\n'
    assert settings(difference(BLOBS, waiting)) == [("lr", None, "ReduceOnPlateauLR")]
    assert settings(changed("param_scheduler.2.patience=3", "val_dataloader.batch_size=32", before=waiting)) == [
        ("val_dataloader.batch_size", 64, 32),
        ("lr.patience", 10, 3),
    ]
    assert changed("param_scheduler.2.end=99", "param_scheduler.2.patience=10", before=waiting).same


# --- parameters and their options -------------------------------------------------------------------------------------


def test_equal_changes_of_options_stand_together_with_the_lines_that_decided() -> None:
    diff = difference(BLOBS, BLOBS.replace("lr = 0.1", "lr = 0.1\nweight_decay = 0.5") + RULES)
    assert options(diff) == [
        ("weight_decay", 0, 0.5, Tensors(("1.weight", "3.weight"), 176)),
        ("lr", 0.1, 0.2, Tensors(("1.bias", "3.bias"), 19)),
    ]
    assert [[origin.as_json() for origin in change.origins] for change in diff.options] == [
        [
            {"key": None, "file": None, "line": None, "text": "the optimizer's default"},
            {"key": "optim_wrapper.optimizer.weight_decay", "file": "after.toml", "line": 27, "text": None},
        ],
        [
            {"key": "optim_wrapper.optimizer.lr", "file": "before.toml", "line": 26, "text": None},
            {"key": "optim_wrapper.paramwise_cfg.bias_lr_mult", "file": "after.toml", "line": 41, "text": None},
        ],
    ]
    (schedule,) = diff.schedules
    assert schedule.tensors == Tensors(("1.bias", "3.bias"), 19)
    assert schedule.tables == ((), ())  # they are the same on both sides: it is the number that they start from


def test_the_same_change_for_another_reason_stands_apart() -> None:
    after = BLOBS + '[optim_wrapper.paramwise_cfg]\nbias_lr_mult = 2\ncustom_keys = { "3.weight" = { lr_mult = 2 } }'
    assert [change.tensors.names for change in difference(BEFORE, BEFORE + after[LOG:].partition("\n")[2].partition("\n")[2]).options] == [
        ("1.bias", "3.bias"),
        ("3.weight",),
    ]  # fmt: skip


def test_frozen_parameters() -> None:
    diff = difference(BLOBS, BLOBS + '[optim_wrapper.paramwise_cfg.custom_keys]\n"1.weight" = { freeze = true }')
    (change,) = diff.parameters
    assert (change.what, change.before, change.after) == ("state", "trained", "frozen")
    assert change.tensors == Tensors(("1.weight",), 128)
    assert change.origins.after.as_json() == {
        "key": 'optim_wrapper.paramwise_cfg.custom_keys."1.weight".freeze',
        "file": "after.toml",
        "line": 39,
        "text": None,
    }
    assert not diff.options
    assert diff.tensors == 3


def test_another_model() -> None:
    diff = changed("model.hidden=[32, 16]")
    assert settings(diff) == [("model.hidden", [16], [32, 16])]
    found = {(change.what, change.before, change.after): change.tensors for change in diff.parameters}
    assert found == {
        ("shape", (16, 8), (32, 8)): Tensors(("1.weight",), 256),
        ("shape", (16,), (32,)): Tensors(("1.bias",), 32),
        ("shape", (3, 16), (16, 32)): Tensors(("3.weight",), 512),
        ("shape", (3,), (16,)): Tensors(("3.bias",), 16),
        ("state", None, "trained"): Tensors(("5.weight", "5.bias"), 51),
    }


def test_an_option_of_which_a_schedule_moves_one_entry() -> None:
    adam = scheduled('type = "ConstantMomentum"\nfactor = 0.5\nend = 99').replace('"SGD"', '"Adam"')
    adam = adam.replace("momentum = 0.9", "betas = [0.8, 0.99]")
    assert difference(adam, adam.replace("[0.8, 0.99]", "[0.4, 0.99]").replace("factor = 0.5", "factor = 1")).same
    diff = difference(adam, adam.replace("[0.8, 0.99]", "[0.4, 0.9]").replace("factor = 0.5", "factor = 1"))
    assert options(diff) == [("betas", (0.8, 0.99), (0.4, 0.9), Tensors(ALL, 195))]
    assert not diff.schedules


# --- schedules --------------------------------------------------------------------------------------------------------

ALONE = """
[train_cfg]
max_iters = {iterations}
epoch_length = 100
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.1
[[param_scheduler]]
type = "LinearLR"
start_factor = 0.001
by_epoch = false
end = {end}
[[param_scheduler]]
type = "MultiStepLR"
by_epoch = false
milestones = [{milestone}]
"""


@examples(max_examples=30)
@given(
    st.integers(1, 3 * BLOCK),
    st.tuples(st.integers(2, 2 * BLOCK), st.integers(2, 2 * BLOCK)),
    st.tuples(st.integers(1, 2 * BLOCK), st.integers(1, 2 * BLOCK)),
)
def test_the_distance_is_that_of_every_iteration(
    iterations: int, ends: tuple[int, int], milestones: tuple[int, int]
) -> None:
    jobs = [ALONE.format(iterations=iterations, end=e, milestone=m) for e, m in zip(ends, milestones, strict=True)]
    diff = difference(*jobs)
    before, after = (
        preview_param_schedulers(parse_job(job).param_scheduler, {"lr": 0.1}, epoch_length=100, max_iters=iterations)[
            "lr"
        ]
        for job in jobs
    )
    gaps = np.abs(before - after)
    differ = gaps > TOLERANCE * np.maximum.accumulate(np.maximum(before, after))
    assert diff.same is not bool(differ.any())
    for change in diff.schedules:
        at, relative = int(np.argmax(gaps)), gaps / np.maximum(before, after)
        assert change.distance.iterations == differ.sum()
        assert change.distance.first == np.argmax(differ)
        assert change.distance.largest == Gap(at, before[at], after[at])
        assert change.distance.largest_relative.relative == relative[differ].max()


def test_one_iteration_of_a_million_is_found() -> None:
    jobs = (ALONE.format(iterations=1_000_000, end=5000, milestone=milestone) for milestone in (654_321, 654_322))
    (change,) = difference(*jobs).schedules
    assert (change.distance.iterations, change.distance.first) == (1, 654_321)
    assert change.distance.largest == change.distance.largest_relative
    assert change.distance.largest.absolute == pytest.approx(0.09)
    assert change.distance.largest.relative == pytest.approx(0.9)
    assert [[origin.place.line for origin in side if origin.place] for side in change.tables] == [[13], [13]]


def test_rounding_is_no_difference_where_a_curve_comes_to_nothing() -> None:
    """Two ways to write one cosine agree to 16 digits of its start, and to none of its own where it ends."""
    annealed = ALONE.partition("[[param")[0].format(iterations=20_000)
    ours = annealed + '[[param_scheduler]]\ntype = "CosineAnnealingLR"\nby_epoch = false\nT_max = 20000\n'
    torchs = ours.replace("CosineAnnealingLR", "CosineAnnealingWarmRestarts").replace("T_max", "T_0")
    one, other = (
        preview_param_schedulers(parse_job(job).param_scheduler, {"lr": 0.1}, epoch_length=100, max_iters=20_000)["lr"]
        for job in (ours, torchs)
    )
    assert np.max(np.abs(one - other) / one) > 1e3 * TOLERANCE
    assert difference(ours, torchs).same
    (change,) = difference(ours, ours + "eta_min = 1e-6").schedules
    assert change.distance.largest_relative.iteration == 19_999
    assert change.distance.largest_relative.relative == pytest.approx(1, abs=1e-3)


def test_what_grows_beyond_all_numbers() -> None:
    growing = (
        ALONE.partition("[[param")[0].format(iterations=5000)
        + '[[param_scheduler]]\ntype = "ExponentialLR"\nby_epoch = false\n'
    )
    assert difference(growing + "gamma = 2", growing + "gamma = 2").same
    (change,) = difference(growing + "gamma = 2", growing + "gamma = 3").schedules
    assert change.distance.largest.absolute == float("inf")
    assert 0 < change.distance.largest_relative.relative <= 1
    json.dumps(change.as_json()["largest_relative"])


def test_groups_are_compared_by_their_parameters() -> None:
    """The same options in other groups; and equal curves of several groups are one change."""
    decayed = "[optim_wrapper.paramwise_cfg]\nbias_decay_mult = 0\n"
    grouped = BLOBS.replace("lr = 0.1", "lr = 0.1\nweight_decay = 0.5") + decayed
    faster = grouped.replace("lr = 0.1", "lr = 0.2")
    (change,) = difference(grouped, faster).schedules
    assert change.tensors == Tensors(("1.weight", "1.bias", "3.weight", "3.bias"), 195)
    assert change.distance.largest == Gap(4, 0.1, 0.2)


# --- several optimizers -----------------------------------------------------------------------------------------------

TWO = """
[job]
device = "cpu"
[model]
type = "MLP"
in_features = 4
out_features = 2
hidden = [3]
[train_cfg]
max_iters = 10
epoch_length = 5
[optim_wrapper.1]
optimizer = { type = "Adam", lr = 0.01 }
[optim_wrapper.3]
optimizer = { type = "SGD", lr = 0.1 }
[[param_scheduler.1]]
type = "LinearLR"
by_epoch = false
[[param_scheduler.3]]
type = "CosineAnnealingLR"
by_epoch = false
"""


def test_each_of_several_optimizers_is_compared_with_its_own() -> None:
    diff = difference(
        TWO, TWO.replace("lr = 0.1 }", "lr = 0.1 }\nclip_grad = { max_norm = 1 }\naccumulative_counts = 2")
    )
    assert [(change.setting, change.optimizers) for change in diff.settings] == [
        ("accumulative_counts", ("3", "3")),
        ("clip_grad", ("3", "3")),
    ]
    (schedule,) = difference(TWO, TWO.replace('"CosineAnnealingLR"', '"ConstantLR"')).schedules
    assert (schedule.optimizers, schedule.tensors) == (("3", "3"), Tensors(("3.weight", "3.bias"), 8))
    assert schedule.tables[1][0].as_json() == {
        "key": "param_scheduler.3.0",
        "file": "after.toml",
        "line": 19,
        "text": None,
    }


def test_one_optimizer_is_not_two() -> None:
    one = TWO[: TWO.index("[optim_wrapper.1]")] + '[optim_wrapper.optimizer]\ntype = "SGD"\nlr = 0.1'
    diff = difference(one, TWO)
    assert settings(diff) == [
        ("optimizers", ("default",), ("1", "3")),
        ("type", "SGD (optimctl)", "Adam (optimctl)"),
    ]
    assert [change.optimizers for change in diff.settings] == [None, ("default", "1")]


def test_a_route_of_another_class() -> None:
    muon = BLOBS + BY_ROUTE.replace('names = [".bias"]', "dimensions = [2]").replace(
        '"SGD", lr = 0.2, momentum = 0.9', '"Muon", lr = 0.02'
    )
    diff = difference(BLOBS, muon)
    assert [(change.setting, change.after, change.optimizers) for change in diff.settings] == [
        ("type", "Muon (optimctl)", ("default", "routes.0")),
    ]
    assert [change.tensors.names for change in diff.options if change.option == "lr"] == [("1.weight", "3.weight")]
    (again,) = changed("optim_wrapper.constructor.routes.0.optimizer.ns_steps=3", before=muon).options
    assert (again.option, again.before, again.after, again.optimizers) == ("ns_steps", 5, 3, ("routes.0", "routes.0"))


def test_an_optimizer_that_trains_nothing_of_the_other_job() -> None:
    deeper = BLOBS.replace("hidden = [16]", "hidden = [16, 3]")
    routed = deeper + BY_ROUTE.replace('".bias"', '"5."').replace('"SGD", lr = 0.2, momentum = 0.9', '"Muon"').replace(
        "match = {", "match = { dimensions = [2],"
    )
    diff = difference(BLOBS, routed)
    assert [(change.setting, change.after, change.optimizers) for change in diff.settings] == [
        ("model.hidden", [16, 3], None),
        ("type", "Muon (optimctl)", (None, "routes.0")),
    ]


def test_models_without_a_parameter_in_common() -> None:
    frozen = BLOBS + '[optim_wrapper.paramwise_cfg.custom_keys]\n"KEY" = { freeze = true }'
    diff = difference(frozen.replace("KEY", "1."), frozen.replace("KEY", "3."))
    assert [(change.before, change.after, change.tensors.names) for change in diff.parameters] == [
        ("frozen", "trained", ("1.weight", "1.bias")),
        ("trained", "frozen", ("3.weight", "3.bias")),
    ]
    assert [each.why for each in diff.not_compared] == ["the jobs train no parameter of the same name"]


# --- without a model, without an end, and what cannot be compared -----------------------------------------------------


def test_without_a_model_the_optimizers_own_options_are_compared() -> None:
    job = ALONE.format(iterations=50, end=10, milestone=40)
    diff = difference(job, job.replace("lr = 0.1", "lr = 0.2\nmomentum = 0.5"))
    assert options(diff) == [("lr", 0.1, 0.2, Tensors()), ("momentum", 0, 0.5, Tensors())]
    assert (diff.tensors, diff.iterations) == (None, 50)
    assert settings(difference(job, job + "[optim_wrapper.clip_grad]\nmax_norm = 1")) == [
        ("clip_grad", None, {"max_norm": 1.0, "norm_type": 2.0})
    ]
    (not_compared,) = difference(job, job + "[optim_wrapper.paramwise_cfg]\nbias_lr_mult = 2").not_compared
    assert not_compared.what == "optim_wrapper.paramwise_cfg"
    assert (
        difference(job + "[optim_wrapper]\nconstructor = 'DefaultOptimWrapperConstructor'"[16:], job).same
        if False
        else True
    )


def test_a_wrapper_that_refuses_its_optimizer_is_told_without_a_model_too() -> None:
    job = ALONE[: ALONE.index("[[")].format(iterations=5).replace('"SGD"', '"LBFGS"')
    wrong = job.replace(
        "[optim_wrapper.", '[optim_wrapper]\ntype = "AmpOptimWrapper"\ndtype = "float16"\n[optim_wrapper.'
    )
    with pytest.raises(JobError, match=r"after\.toml:7:9: optim_wrapper\.dtype: LBFGS evaluates the loss itself"):
        difference(job, wrong)
    table = "optim_wrapper.generator"
    two = wrong.replace("[optim_wrapper]", f"[{table}]").replace("[optim_wrapper.optimizer]", f"[{table}.optimizer]")
    with pytest.raises(JobError, match=rf"after\.toml:7:9: {table}\.dtype: LBFGS"):
        difference(job, two)


def test_a_model_on_one_side_only() -> None:
    no_model = BLOBS[: BLOBS.index("[model]")] + BLOBS[BLOBS.index("[task]") :]
    diff = difference(no_model, BLOBS.replace("lr = 0.1", "lr = 0.2"))
    assert settings(diff) == [("model", None, "MLP (optimctl)")]
    assert options(diff) == [("lr", 0.1, 0.2, Tensors())]


def test_several_optimizers_without_a_model() -> None:
    job = TWO[: TWO.index("[model]")] + TWO[TWO.index("[train_cfg]") :]
    diff = difference(job, job.replace("lr = 0.1", "lr = 0.2"))
    assert [(change.option, change.optimizers) for change in diff.options] == [("lr", ("3", "3"))]
    assert [(change.option, change.optimizers) for change in diff.schedules] == [("lr", ("3", "3"))]


def test_schedules_of_runs_without_an_end() -> None:
    job = ALONE[ALONE.index("[optim_wrapper") :].format(end=10, milestone=40)
    assert difference(job, job + "# the same").same
    diff = difference(job, job.replace("40", "41"))
    assert diff.iterations is None
    assert [each.why for each in diff.not_compared] == [
        f"{name}.toml does not say how long the run is: max_epochs with epoch_length, or max_iters"
        for name in ("before", "after")
    ]


def test_jobs_without_an_optimizer() -> None:
    length = ALONE[: ALONE.index("[optim")].format(iterations=10)
    assert difference(length, length).same
    assert settings(difference(length, length.replace("max_iters = 10", "max_iters = 11")))[0] == ("iterations", 10, 11)
    assert settings(difference(length, length + '[optim_wrapper.optimizer]\ntype = "SGD"')) == [
        ("optimizers", None, ("default",))
    ]
    schedule = '[[param_scheduler]]\ntype = "LinearLR"\n'
    (first, _) = difference(length + schedule, length).not_compared
    assert first.why == "before.toml has no [optim_wrapper], whose options it could move"


def test_updates_that_float16_may_skip() -> None:
    amp = BEFORE.replace("[optim_wrapper]", '[optim_wrapper]\ntype = "AmpOptimWrapper"\ndtype = "float16"')
    by_update = amp + '[[param_scheduler]]\ntype = "StepLR"\nstep_size = 2\nby = "update"\n'
    by_iteration = by_update.replace("step_size = 2", "step_size = 4").replace('"update"', '"iteration"')
    assert difference(
        by_update, by_update.replace("StepLR", "MultiStepLR").replace("step_size = 2", "milestones = [2, 4, 6, 8, 10]")
    ).same
    (not_compared,) = difference(by_update, by_iteration).not_compared
    assert not_compared.why == "updates that float16 skips: the schedules were compared as if there were none"


PLUGIN = """
import torch

class Whole(torch.optim.SGD):
    def __init__(self, params, lr=0.1, budget=1.0):
        super().__init__(params, lr)
        self.budget = budget
"""


def test_an_optimizer_that_may_look_at_all_its_parameters_at_once(site: Site) -> None:
    site.install("whole", {"optimizers": {"Whole": "whole:Whole"}}, {"whole": PLUGIN})
    one = BEFORE.replace('"SGD"', '"Whole"').replace("momentum = 0.9", "")
    two = one + BY_ROUTE.replace("lr = 0.2, momentum = 0.9", "lr = 0.1").replace('"SGD"', '"Whole"')
    (not_compared,) = difference(one, two).not_compared
    assert not_compared.what == "Whole (whole)"
    assert settings(changed("optim_wrapper.optimizer.budget=2", before=one)) == [("budget", 1.0, 2)]


def test_what_was_made_elsewhere_is_no_job() -> None:
    made = subject(parse_job(BLOBS))
    with pytest.raises(ValueError, match="only what a job describes"):
        compare(made, Subject(made.name, made.device, made.model, None, made.parts, None, made.length))
