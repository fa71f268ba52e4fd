"""Configurations of MMEngine as jobs: what is carried over, what is said, and that options and values are MMEngine's own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from optimctl_mmengine.importing import import_mmengine
from optimctl_mmengine.values import from_toml

import optimctl
from optimctl.cli.main import exit_code
from optimctl.errors import UsageError
from optimctl.export import Imported

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

CONFIGS = Path(__file__).parent / "configs"
NAMES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.py") if "_base_" not in file.parts)
NEEDS_PACKAGE = {"classification/lamb.py", "classification/vit_layer_decay.py", "video/tsm.py"}
LEFT_SCHEDULE = {"odd/stops_early.py"}
BASES = {
    "detection/faster_rcnn_1x.py": 4,
    "detection/faster_rcnn_2x.py": 1,
    "detection/faster_rcnn_swin.py": 1,
    "detection/rtmdet.py": 3,
    "new_style/retinanet.py": 2,
    "odd/one_cycle.py": 0,
    "video/slowfast_r101.py": 1,
}


def asked(name: str) -> Imported:
    """What comes of a configuration, its bases aside."""
    return import_mmengine(CONFIGS / name)[-1]


def written(name: str, folder: Path) -> Path:
    """The job file that comes of a configuration, beside those that it extends."""
    import_into(folder, name)
    places = [file for file in folder.rglob("*.toml") if file.stem == Path(name).stem]
    return min(places, key=lambda file: len(file.parts))


def import_into(folder: Path, *names: str) -> int:
    return exit_code(["import", "mmengine", *(str(CONFIGS / name) for name in names), "-o", str(folder), "--force"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "odd/broken.py"])
def test_options_and_values_are_mmengines(name: str) -> None:
    told = asked(name).told
    if name in NEEDS_PACKAGE:
        assert told["options"].startswith("not checked: ")
        assert told["options"].endswith("which is not installed")
    else:
        assert told["options"].startswith("same (")
    if name in LEFT_SCHEDULE:
        assert told["values"] == "not checked: MMEngine has no MyOwnLR, and it was left out"
    else:
        assert told["values"].startswith(("same", "no schedule"))


@pytest.mark.parametrize("name", BASES)
def test_bases_stay_where_they_say_the_same(name: str, tmp_path: Path) -> None:
    made = import_mmengine(CONFIGS / name, check=False)
    assert len(made[-1].extends) == BASES[name]
    job = optimctl.load_job(written(name, tmp_path))
    alone = tmp_path / "alone.py"
    flat(CONFIGS / name, alone)
    assert job.plain() == job_of(alone)


def flat(file: Path, target: Path) -> None:
    """The same configuration, resolved by MMEngine, in one file."""
    from mmengine.config import Config

    Config.fromfile(file).dump(target)


def job_of(file: Path) -> dict[str, Any]:
    (imported,) = import_mmengine(file, check=False)
    return dict(imported.document.data)


def test_a_child_says_what_it_changes() -> None:
    *bases, child = import_mmengine(CONFIGS / "detection" / "faster_rcnn_2x.py", check=False)
    assert [one.file.name for one in bases] == [
        "faster_rcnn.py",
        "coco.py",
        "schedule_1x.py",
        "runtime.py",
        "faster_rcnn_1x.py",
    ]
    scope = {"scope": "mmdet"}  # which is in runtime.py, and not in the files that the model and the data are in
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    assert bases[-1].document.data == {"model": scope, "task": scope, **{name: {"dataset": scope} for name in loaders}}
    assert child.document.text() == (
        "[model.cfg.backbone]\n"
        "depth = 101\n"
        'init_cfg = { checkpoint = "torchvision://resnet101" }\n'
        "\n"
        "[train_cfg]\n"
        "max_epochs = 24\n"
        "\n"
        "[[param_scheduler]]\n"
        'type = "LinearLR"\n'
        "start_factor = 0.001\n"
        "by_epoch = false\n"
        "begin = 0\n"
        "end = 500\n"
        "\n"
        "[[param_scheduler]]\n"
        'type = "MultiStepLR"\n'
        "begin = 0\n"
        "end = 24\n"
        "by_epoch = true\n"
        "milestones = [16, 22]\n"
        "gamma = 0.1\n"
    )


def test_what_is_deleted_there_is_unset_here() -> None:
    data = asked("detection/faster_rcnn_swin.py").document.data
    assert "model.cfg.backbone.norm_cfg" in data["unset"]
    assert data["optim_wrapper"]["optimizer"] == {
        "type": "AdamW",
        "lr": 0.0001,
        "betas": [0.9, 0.999],
        "weight_decay": 0.05,
    }
    assert (data["optim_wrapper"]["type"], data["optim_wrapper"]["loss_scale"]) == ("AmpOptimWrapper", "dynamic")


def test_a_base_that_cannot_be_read_alone_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(
        'optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))\ntrain_cfg = dict(max_epochs=3)\n'
    )
    (tmp_path / "child.py").write_text(
        '_base_ = "base.py"\n'
        'optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9), accumulative_counts=1)\n'
        "train_cfg = dict(_delete_=True, by_epoch=False, max_iters=30)\n"
    )
    _, child = import_mmengine(tmp_path / "child.py")
    assert child.document.data == {
        "unset": ["train_cfg.max_epochs"],
        "train_cfg": {"max_iters": 30, "epoch_length": 30},
        "optim_wrapper": {"optimizer": {"momentum": 0.9}},
    }
    assert child.told["options"].startswith("same")


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        place = folder / f"{name.replace('__', '/')}.py"
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_text(text)


COMMON = """
model = dict(type="Net", depth=3)
train_dataloader = dict(batch_size=4, dataset=dict(type="Points"), sampler=dict(type="DefaultSampler", shuffle=True))
"""
SCOPED = '_base_ = "base/common.py"\ndefault_scope = "{}"\ntrain_cfg = dict(max_epochs=3)\n'


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_files_of_several_packages_share_a_base(order: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path, base__common=COMMON, first=SCOPED.format("mmdet"), second=SCOPED.format("mmpretrain"))
    assert (
        exit_code(["import", "mmengine", *(f"{tmp_path}/{name}.py" for name in order), "-o", f"{tmp_path}/jobs"]) == 0
    )
    for name, scope in (("first", "mmdet"), ("second", "mmpretrain")):
        job = optimctl.load_job(tmp_path / "jobs" / f"{name}.toml").plain()
        assert job["model"] == {"type": "MMEngine", "scope": scope, "cfg": {"type": "Net", "depth": 3}}
        assert (job["task"]["scope"], job["train_dataloader"]["dataset"]["scope"]) == (scope, scope)


@pytest.mark.parametrize("order", [("base/common", "child"), ("child", "base/common")])
def test_a_base_that_is_asked_for_too_is_the_same_base(order: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path, base__common=COMMON, child=SCOPED.format("mmdet"))
    assert (
        exit_code(["import", "mmengine", *(f"{tmp_path}/{name}.py" for name in order), "-o", f"{tmp_path}/jobs"]) == 0
    )
    assert "scope" not in (tmp_path / "jobs" / "base" / "common.toml").read_text()
    assert optimctl.load_job(tmp_path / "jobs" / "child.toml").plain()["model"]["scope"] == "mmdet"


def test_a_part_of_a_job_may_be_asked_for_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        part="optim_wrapper = dict(clip_grad=dict(max_norm=1))\n",
        child='_base_ = "part.py"\noptim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))\ntrain_cfg = dict(max_epochs=2)\n',
    )
    assert (
        exit_code(["import", "mmengine", f"{tmp_path}/part.py", f"{tmp_path}/child.py", "-o", f"{tmp_path}/jobs"]) == 0
    )
    assert import_mmengine(tmp_path / "part.py")[-1].told == {
        "carried": "optim_wrapper",
        "left out": "0",
        **dict.fromkeys(("options", "values"), "not checked: a part of a job, for others to build on"),
    }
    assert optimctl.load_job(tmp_path / "jobs" / "child.toml").plain()["optim_wrapper"]["clip_grad"] == {"max_norm": 1}


def test_what_is_written_hangs_on_nobody_who_asks(tmp_path: Path) -> None:
    write(tmp_path, base__common=COMMON, first=SCOPED.format("mmdet"), second=SCOPED.format("mmpretrain"))
    made = [import_mmengine(tmp_path / f"{name}.py")[0].document.text() for name in ("first", "second", "base/common")]
    assert made[0] == made[1] == made[2]


def test_a_base_that_is_computed_stays(tmp_path: Path) -> None:
    write(tmp_path, base="train_cfg = dict(max_epochs=3)\n", child='_base_ = "./" + "base.py"\nwork_dir = "runs"\n')
    base, child = import_mmengine(tmp_path / "child.py", check=False)
    assert (base.file.name, child.document.data) == ("base.py", {"job": {"work_dir": "runs"}})


def test_a_base_that_is_no_file_is_written_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        child='_base_ = "{{ fileDirname }}/base.py"\nwork_dir = "runs"\n',
        base="train_cfg = dict(max_epochs=3)\n",
    )
    (child,) = import_mmengine(tmp_path / "child.py", check=False)
    assert child.document.data == {"job": {"work_dir": "runs"}, "train_cfg": {"max_epochs": 3}}
    assert child.document.comments[()] == (
        "what {{ fileDirname }}/base.py has is written out here: it is no file beside this one"
    )


# --- what is said -----------------------------------------------------------------------------------------------------


def comments(name: str) -> list[str]:
    return [line for text in asked(name).document.comments.values() for line in text.splitlines()]


def test_what_was_without_effect_is_said_and_not_carried() -> None:
    imported = asked("odd/without_effect.py")
    assert imported.document.data["optim_wrapper"]["paramwise_cfg"] == {
        "custom_keys": {"backbone": {"lr_mult": 0.2}, "head": {}}
    }
    assert imported.told["left out"] == "0"
    said = comments("odd/without_effect.py")
    for begin in (
        "without effect in Python: line 9: 'backbone' stands again in line 9",
        "without effect in MMEngine: lr_mult = 0.5: its documentation has it",
        "without effect in MMEngine: decay_mult = 2.0: its documentation has it",
        "without effect in MMEngine: norm_decay_mul = 0.0: its constructor knows no such word; did you mean 'norm_decay_mult'?",
        "without effect in MMEngine: _delete = True: its constructor knows no such word; did you mean '_delete_'?",
        "without effect in MMEngine: flat_decay_mult = 0.0: the optimizer's weight_decay is not written out",
        "without effect in MMEngine: lr_mul = 10: it is no option of AdamW; did you mean 'lr_mult'?",
    ):
        assert any(line.startswith(begin) for line in said), begin


def test_comments_stand_beside_their_places() -> None:
    text = asked("odd/stops_early.py").document.text()
    assert (
        "# left out: diff_rank_seed = True: a job says nothing of several processes\n"
        "seed = 7\n"
        "# left out: resume = True: the command says that: optimctl run JOB --resume\n"
        'load_from = "checkpoints/resnet18.pth"\n'
    ) in text
    assert (
        "# left out: of EarlyStoppingHook: stopping_threshold = 0.9: the hook here has no such argument\n[hooks.EarlyStopping]\n"
    ) in text


def test_averages_have_the_right_decay() -> None:
    hooks = {name: asked(name).document.data["hooks"]["EMA"] for name in NAMES if "hooks.EMA" in text_of(name)}
    assert hooks == {
        "classification/convnext.py": {"decay": (1 - 4e-5) ** 4},
        "detection/rtmdet.py": {"decay": 0.9998, "warmup": True, "update_buffers": True},
        "detection/yolox.py": {"decay": 0.9999},
        "odd/stops_early.py": {"decay": 0.999**2, "begin": 49},
        "tiny/net.py": {"decay": 0.9**2},
    }


def text_of(name: str) -> str:
    return "" if name == "odd/broken.py" else asked(name).document.text()


def test_schedules_by_epoch_that_a_loop_by_iteration_never_steps() -> None:
    imported = asked("segmentation/by_epoch_in_iterations.py")
    assert imported.document.data["param_scheduler"] == [
        {"type": "LinearLR", "start_factor": 0.1, "end": 1},
        {"type": "PolyLR", "power": 0.9, "begin": 10000, "by_epoch": False},
    ]
    said = comments("segmentation/by_epoch_in_iterations.py")
    assert sum(line.startswith("without effect in MMEngine: the schedule") for line in said) == 2
    assert sum(line.startswith("in MMEngine it acts once, at the start, and stays") for line in said) == 1


def test_an_epoch_is_what_validations_and_checkpoints_have_in_common(tmp_path: Path) -> None:
    job = optimctl.load_job(written("segmentation/segformer.py", tmp_path)).plain()
    assert job["train_cfg"] == {"max_iters": 80000, "epoch_length": 2000, "val_interval": 4}
    assert job["checkpoint"] == {"interval": 3, "keep": 2}


def test_one_cycle_drops_multipliers_of_the_learning_rate() -> None:
    data = asked("odd/one_cycle.py").document.data
    assert data["optim_wrapper"]["paramwise_cfg"] == {"custom_keys": {"backbone": {"decay_mult": 0.5}}}


def test_several_optimizers_need_no_constructor() -> None:
    data = optimizers(asked("generation/dcgan.py"))
    assert list(data["optim_wrapper"]) == ["generator", "discriminator"]
    assert list(data["param_scheduler"]) == ["generator", "discriminator"]
    assert data["param_scheduler"]["discriminator"] == [
        {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min": 1e-6}
    ]


def optimizers(imported: Imported) -> dict[str, Any]:
    return dict(imported.document.data)


def test_what_only_a_package_has_is_found_through_it() -> None:
    assert asked("classification/lamb.py").document.data["optim_wrapper"]["optimizer"] == {
        "type": "MMEngine",
        "name": "Lamb",
        "scope": "mmpretrain",
        "lr": 0.005,
        "weight_decay": 0.02,
    }
    wrapper = asked("video/tsm.py").document.data["optim_wrapper"]
    assert wrapper["constructor"] == {"type": "MMEngine", "name": "TSMOptimWrapperConstructor", "scope": "mmaction"}
    assert wrapper["paramwise_cfg"] == {"fc_lr5": True}


def test_values_that_toml_does_not_know_come_back(tmp_path: Path) -> None:
    job = optimctl.load_job(written("detection/faster_rcnn_1x.py", tmp_path)).plain()
    assert job["model"]["cfg"]["backbone"]["out_indices"] == {"python": "(0, 1, 2, 3)"}
    model = from_toml(job["model"]["cfg"])
    assert model["backbone"]["out_indices"] == (0, 1, 2, 3)
    assert model["train_cfg"]["rcnn"] is None
    pipeline = from_toml(job["train_dataloader"]["dataset"]["cfg"])["pipeline"]
    assert pipeline[0] == {"type": "LoadImageFromFile", "backend_args": None}
    assert pipeline[2]["scale"] == (1333, 800)


def test_the_new_style_is_read(tmp_path: Path) -> None:
    job = optimctl.load_job(written("new_style/retinanet.py", tmp_path)).plain()
    assert job["model"]["cfg"] == {
        "type": "mmdet.models.RetinaNet",
        "backbone": {"type": "mmdet.models.backbones.ResNet", "depth": 50},
    }
    assert job["optim_wrapper"]["optimizer"] == {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001}
    assert job["log"] == {"interval": 25}
    assert job["checkpoint"] == {"interval": 2}


# --- schedules that other hooks step ----------------------------------------------------------------------------------

STEPPED = """
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=0.01, betas=(0, 0.99){more}))
train_cfg = dict(max_epochs={epochs})
default_hooks = dict({hooks})
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", T_max=3, convert_to_iter_based=True),
]
"""


def stepped_by(hooks: str, folder: Path, more: str = "", epochs: int = 3) -> Imported:
    write(folder, job=STEPPED.format(hooks=hooks, more=more, epochs=epochs))
    (imported,) = import_mmengine(folder / "job.py")
    return imported


def test_schedules_without_their_hook_act_once_at_most(tmp_path: Path) -> None:
    imported = stepped_by("param_scheduler=None", tmp_path)
    assert imported.document.data["param_scheduler"] == [
        {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "by_epoch": False, "end": 1}
    ]
    assert imported.told["values"] == "same (300 iterations, epochs of 7 and 100)"
    said = "\n".join(imported.document.comments.values())
    why = "the configuration takes the ParamSchedulerHook out, and nothing steps it"
    assert f"in MMEngine it acts once, at the start, and stays ({why}); there: {{'end': 30, 'by_epoch': False}}" in said
    assert said.count(why) == 2


@pytest.mark.parametrize("place", ["param_scheduler", "own"])
def test_a_schedule_that_a_hook_of_another_package_makes_is_not_checked(place: str, tmp_path: Path) -> None:
    imported = stepped_by(f"{place}=dict(type='YOLOv5ParamSchedulerHook', lr_factor=0.01)", tmp_path)
    assert imported.told["values"] == "not checked: the schedule is YOLOv5ParamSchedulerHook's"
    said = imported.document.comments[("param_scheduler",)]
    assert said.endswith(
        "YOLOv5ParamSchedulerHook with {'lr_factor': 0.01}: it is the schedule there, and none is like it"
    )
    (tmp_path / "job.py").write_text((tmp_path / "job.py").read_text() + "param_scheduler = None\n")
    assert import_mmengine(tmp_path / "job.py")[0].told["values"].startswith("not checked: the schedule is YOLOv5")


def test_what_a_constructor_takes_for_itself_does_not_end_the_check(tmp_path: Path) -> None:
    assert stepped_by("", tmp_path, ', model_type="vit"').told["values"] == "same (300 iterations, epochs of 7 and 100)"


def test_a_run_that_is_too_long_is_not_stepped(tmp_path: Path) -> None:
    assert (
        stepped_by("", tmp_path, epochs=10**7).told["values"] == "not checked: 1,000,000,000 iterations take too long"
    )


# --- what is found out ------------------------------------------------------------------------------------------------

VALIDATED = """
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, weight_decay=0.1), paramwise_cfg=dict(custom_keys={{{keys}}}))
train_cfg = dict(max_epochs=3)
model = dict(type="Net")
val_dataloader = dict(dataset=dict(type="Points"))
val_evaluator = {metrics}
default_hooks = dict(checkpoint=dict(type="CheckpointHook", save_best="auto"{more}))
"""


@pytest.mark.parametrize(
    ("metrics", "more", "best"),
    [
        ("dict(type='Accuracy')", "", {"metric": "accuracy/top1", "rule": "max"}),
        ("[dict(type='Accuracy', topk=(5, 1)), dict(type='mAP')]", "", {"metric": "accuracy/top5", "rule": "max"}),
        ("dict(type='MAE', prefix='x')", ", rule='less'", {"metric": "x/MAE", "rule": "min"}),
        ("[dict(type='mAP'), dict(type='Accuracy')]", "", None),
        ("dict(type='Accuracy', thrs=(0.1, 0.5))", "", None),
    ],
)
def test_the_best_of_what_an_evaluation_gives_first(metrics: str, more: str, best: object, tmp_path: Path) -> None:
    write(tmp_path, job=VALIDATED.format(metrics=metrics, more=more, keys=""))
    (imported,) = import_mmengine(tmp_path / "job.py", check=False)
    assert imported.document.data.get("checkpoint", {}).get("save_best") == best
    said = imported.document.comments.get(("checkpoint", "save_best"))
    why = "it means what an evaluation gives first, and the task in this file has not got it"
    assert said == (None if best else f"left out: save_best = 'auto': {why}")


def test_keys_that_are_patterns_here_match_nothing_there(tmp_path: Path) -> None:
    keys = "'glob:*': dict(lr_mult=0.1), 're:x': dict(decay_mult=0), 'head': dict(lr_mult=10)"
    write(tmp_path, job=VALIDATED.format(metrics="None", more="", keys=keys))
    (imported,) = import_mmengine(tmp_path / "job.py")
    assert imported.document.data["optim_wrapper"]["paramwise_cfg"]["custom_keys"] == {"head": {"lr_mult": 10}}
    assert imported.told["options"].startswith("same")
    said = imported.document.comments["optim_wrapper", "paramwise_cfg", "custom_keys"]
    assert said.splitlines()[0] == (
        "without effect in MMEngine: 'glob:*' = {'lr_mult': 0.1}: a key is a part of a name there, and no pattern"
    )


def test_a_shared_base_does_not_speak_for_the_whole(tmp_path: Path) -> None:
    hooks = 'default_hooks = dict(checkpoint=dict(type="CheckpointHook", save_best="accuracy/top1"))\n'
    child = VALIDATED.format(metrics="dict(type='Accuracy')", more="", keys="").rpartition("default_hooks")[0]
    write(tmp_path, base=hooks, child=f'_base_ = "base.py"\n{child}')
    base, imported = import_mmengine(tmp_path / "child.py", check=False)
    assert base.document.comments["checkpoint", "save_best"] == (
        "left out: save_best = 'accuracy/top1': it waits for a validation, and there is no val_dataloader in this file"
    )
    assert imported.document.data["checkpoint"]["save_best"] == {"metric": "accuracy/top1", "rule": "max"}


def test_modules_that_may_be_missing_are_left_out_where_they_are(tmp_path: Path) -> None:
    text = 'model = dict(type="Net")\ncustom_imports = dict(imports=["tinymm.models", "nowhere.models"], allow_failed_imports={})\n'
    write(tmp_path, may=text.format(True), must=text.format(False))
    (imported,) = import_mmengine(tmp_path / "may.py", check=False)
    assert imported.document.data["model"]["imports"] == ["tinymm.models"]
    said = imported.document.comments["model", "imports"].splitlines()
    assert said[0].startswith(
        "left out: of custom_imports: 'nowhere.models': it cannot be imported here, and with allow_failed"
    )
    (imported,) = import_mmengine(tmp_path / "must.py", check=False)
    assert imported.document.data["model"]["imports"] == ["tinymm.models", "nowhere.models"]
    assert imported.document.comments[()].startswith("custom_imports cannot be imported here: ")


def test_code_of_ones_own_needs_a_word_beside_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'model = dict(type="Net")\ndefault_scope = "mmdet"\ncustom_imports = dict(imports=["my_project.models", "mmpretrain.models"])\n'
    write(tmp_path, first=text, second=text)
    monkeypatch.delenv("OPTIMCTL_MMENGINE_IMPORTS", raising=False)
    (imported,) = import_mmengine(tmp_path / "first.py", check=False)
    assert imported.document.comments["model", "imports"] == (
        "'my_project.models' is no part of an installed package that is built on MMEngine; a job imports it only where the "
        "environment variable OPTIMCTL_MMENGINE_IMPORTS names it"
    )
    monkeypatch.setenv("OPTIMCTL_MMENGINE_IMPORTS", "my_project")
    (imported,) = import_mmengine(tmp_path / "second.py", check=False)
    assert ("model", "imports") not in imported.document.comments


def test_words_that_stand_twice_are_shown_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, job='train_cfg = dict(max_epochs=3)\nnames = {\n    1: "a",\n    True: "b",\n}\n')
    (imported,) = import_mmengine(tmp_path / "job.py", check=False)
    assert imported.document.comments[()] == (
        "without effect in Python: line 3: 1 stands again as True in line 4, and the last counts"
    )


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_tells_in_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CONFIGS / "detection", tmp_path / "configs")
    shutil.copy(CONFIGS / "odd" / "broken.py", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    names = ["faster_rcnn_2x.py", "broken.py", "faster_rcnn_1x.py"]
    code = exit_code(["import", "mmengine", *(f"configs/{name}" for name in names), "-o", "jobs"])
    shown = capsys.readouterr()
    assert code == 1
    carried = "model, task, data, train_cfg, optim_wrapper, param_scheduler, log"
    options, values = "same (24 parameters of a made-up model)", "same ({} iterations, epochs of 7 and 100)"
    why = "configs/broken.py cannot be read: NameError: name 'learning_rate' is not defined (broken.py:1 in <module>)"
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in shown.out.splitlines()]
    assert rows == [
        ["file", "job", "carried", "left out", "options", "values"],
        ["configs/faster_rcnn_2x.py", "jobs/faster_rcnn_2x.toml", carried, "2", options, values.format("2,400")],
        ["configs/faster_rcnn_1x.py", "jobs/faster_rcnn_1x.toml", carried, "2", options, values.format("1,200")],
        ["configs/broken.py", "not read"],
    ]
    assert shown.err == f"optimctl: {why}\n"
    files = sorted(str(file.relative_to(tmp_path / "jobs")) for file in (tmp_path / "jobs").rglob("*.toml"))
    assert files == [
        "_base_/coco.toml",
        "_base_/faster_rcnn.toml",
        "_base_/runtime.toml",
        "_base_/schedule_1x.toml",
        "faster_rcnn_1x.toml",
        "faster_rcnn_2x.toml",
    ]
    assert exit_code(["validate", "jobs/faster_rcnn_2x.toml", "jobs/faster_rcnn_1x.toml"]) == 0


def test_a_configuration_that_nobody_can_read(tmp_path: Path) -> None:
    for name, text, why in (
        ("syntax", "optim_wrapper = dict(", "SyntaxError"),
        ("leaves", "import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("base", '_base_ = "nowhere.py"\n', "FileNotFoundError"),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        with pytest.raises(UsageError, match=why):
            import_mmengine(file)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("one", "its _base_ lead back to where they began, one.py -> two.py -> one.py; take one of them out"),
        ("calls", "calls.py:3: MMEngine takes what a configuration imports for names, which cannot be called; "),
    ],
)
def test_why_a_configuration_cannot_be_read(name: str, why: str, tmp_path: Path) -> None:
    one, two = '_base_ = "two.py"\n', '_base_ = "one.py"\n'
    write(tmp_path, one=one, two=two, calls="import numpy as np\n\nmodel = dict(type='Net', scale=np.float32(3))\n")
    with pytest.raises(UsageError) as raised:
        import_mmengine(tmp_path / f"{name}.py")
    assert str(raised.value).startswith(f"{tmp_path / name}.py cannot be read: {why}")


def test_a_base_in_a_package_needs_what_mmengine_finds_packages_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    write(tmp_path, child='_base_ = "mmdet::net/net.py"\n')
    with pytest.raises(
        UsageError, match=r"for the package of _base_ = 'mmdet::net/net.py' with pkg_resources, .*'setuptools<81'"
    ):
        import_mmengine(tmp_path / "child.py")


def test_what_no_job_can_hold_is_left_out_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "optim_wrapper = dict(type='DeepSpeedOptimWrapper', optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=-1))\n"
        "train_cfg = dict(max_epochs=3, dynamic_intervals=[(2, 1)])\n"
        "model = dict(type='Net', init=object())\n"
        "custom_hooks = [lambda runner: None]\n"
    )
    (imported,) = import_mmengine(file)
    assert imported.document.data == {
        "model": {"type": "MMEngine", "cfg": {"type": "Net"}},
        "task": {"type": "MMEngine"},
        "train_cfg": {"max_epochs": 3},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
    }
    said = "\n".join(imported.document.comments.values())
    for begin in (
        "type = 'DeepSpeedOptimWrapper'",
        "optim_wrapper.clip_grad",
        "of train_cfg: dynamic_intervals",
        "init: ",
    ):
        assert f"left out: {begin}" in said
