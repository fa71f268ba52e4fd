"""``optimctl validate``: what is told of a job that is not run, with and without loading what it names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from textwrap import dedent

import pytest

from optimctl.cli.main import exit_code
from tests.jobs import write_blobs
from tests.plugins_on_disk import Site, run_python

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    monkeypatch.chdir(tmp_path)


def write_job(text: str, name: str = "job.toml") -> None:
    Path(name).write_text(dedent(text), "utf-8")


def test_without_loading_the_last_line_says_what_was_left_out(capsys: Captured) -> None:
    write_blobs(Path())
    assert exit_code(["validate", "blobs.toml"]) == 0
    assert capsys.readouterr() == (
        "",
        (
            "blobs.toml: well formed\n"
            "The arguments of 7 plugins were not checked; `optimctl validate --plugins` does that.\n"
        ),
    )
    write_job('[model]\ntype = "MLP"\n', "one.toml")
    assert exit_code(["validate", "one.toml"]) == 0
    assert "The arguments of 1 plugin were not checked" in capsys.readouterr().err
    write_job("[train_cfg]\nmax_epochs = 1\n", "none.toml")
    assert exit_code(["validate", "none.toml"]) == 0
    assert capsys.readouterr().err == "none.toml: well formed\n"


def test_with_loading_the_arguments_are_checked(capsys: Captured) -> None:
    write_blobs(Path())
    assert exit_code(["validate", "--plugins", "blobs.toml"]) == 0
    assert capsys.readouterr() == ("", "blobs.toml: well formed, its 7 plugins checked\n")


WRONG = """\
[model]
type = "MLP"
in_features = "8"
out_feature = 3
[task]
type = "Classification"
loss = { type = "CrossEntropyLos" }
metrics = ["accuracy", "acuracy"]
[train_dataloader]
dataset = { type = "Synthetic", samples = 1.5 }
[train_cfg]
max_epochs = 3
[optim_wrapper]
type = "AmpOptimWrapper"
dtype = "float8"
[optim_wrapper.optimizer]
type = "Adam"
lr = [0.1]
betas = [0.9]
wd = 1
[optim_wrapper.constructor]
type = "Routes"
[[optim_wrapper.constructor.routes]]
match = { dimensions = [2] }
optimizer = { type = "optimctl/Muon", ns_steps = true }
[[param_scheduler]]
type = "LinearLR"
start_factor = "0.1"
[[param_scheduler]]
type = "CyclicLR"
base_lr = 0.1
mode = "triangle"
begin = 4
"""
TOLD = """\
job.toml:1:2: model: MLP (optimctl) needs the argument 'out_features'
    [model]
     ^
job.toml:3:15: model.in_features: must be a whole number, not the string '8'; write 8, without quotes
    in_features = "8"
                  ^
job.toml:4:1: model.out_feature: MLP (optimctl) has no argument 'out_feature'; did you mean 'out_features'?
    out_feature = 3
    ^
job.toml:7:17: task.loss.type: torch.nn has no loss called 'CrossEntropyLos'; did you mean 'CrossEntropyLoss'?
    loss = { type = "CrossEntropyLos" }
                    ^
job.toml:8:24: task.metrics.1: no metric is called 'acuracy'; did you mean 'accuracy'?
    metrics = ["accuracy", "acuracy"]
                           ^
job.toml:10:43: train_dataloader.dataset.samples: must be a whole number, not 1.5
    dataset = { type = "Synthetic", samples = 1.5 }
                                              ^
job.toml:15:9: optim_wrapper.dtype: must be 'float16' or 'bfloat16', not the string 'float8'; did you mean 'float16'?
    dtype = "float8"
            ^
job.toml:18:6: optim_wrapper.optimizer.lr: must be one number, not a list; to give groups their own, use paramwise_cfg.custom_keys
    lr = [0.1]
         ^
job.toml:19:9: optim_wrapper.optimizer.betas: must be an array of 2, not of 1
    betas = [0.9]
            ^
job.toml:20:1: optim_wrapper.optimizer.wd: Adam (optimctl) has no argument 'wd'; here it is `weight_decay`
    wd = 1
    ^
job.toml:25:50: optim_wrapper.constructor.routes.0.optimizer.ns_steps: must be a whole number, not true
    optimizer = { type = "optimctl/Muon", ns_steps = true }
                                                     ^
job.toml:28:16: param_scheduler.0.start_factor: must be a number, not '0.1'
    start_factor = "0.1"
                   ^
job.toml:29:3: param_scheduler.1: CyclicLR (optimctl) needs the argument 'max_lr'
    [[param_scheduler]]
      ^
job.toml:32:8: param_scheduler.1.mode: must be 'triangular', 'triangular2' or 'exp_range', not the string 'triangle'; \
did you mean 'triangular'?
    mode = "triangle"
           ^
job.toml:33:9: param_scheduler.1.begin: must be before the end of the run, which has 3 epochs; not 4
    begin = 4
            ^
15 problems
"""


def test_all_that_is_wrong_with_arguments_is_told_at_once_with_its_place(capsys: Captured) -> None:
    write_job(WRONG)
    assert exit_code(["validate", "job.toml"]) == 0
    capsys.readouterr()
    assert exit_code(["validate", "--plugins", "job.toml"]) == 2
    assert capsys.readouterr() == ("", TOLD)


def test_as_json(capsys: Captured) -> None:
    write_job('[model]\ntype = "MLP"\nin_features = true\nout_features = 1\n')
    assert exit_code(["validate", "--json", "job.toml"]) == 0
    assert capsys.readouterr() == ("[]\n", "")
    assert exit_code(["validate", "--json", "--plugins", "job.toml"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == [
        {
            "file": "job.toml",
            "line": 3,
            "column": 15,
            "key": "model.in_features",
            "code": "wrong-type",
            "message": "must be a whole number, not true",
        }
    ]
    assert err == ""


SEVERAL = """\
[train_cfg]
max_iters = 100
[optim_wrapper.a.optimizer]
type = "SGD"
lr = "x"
[optim_wrapper.b]
accumulative_counts = 4
[optim_wrapper.b.optimizer]
type = "SGD"
nesterof = true
[[param_scheduler.b]]
type = "LinearLR"
by = "update"
begin = 26
"""


def test_several_optimizers_and_their_schedules_by_name(capsys: Captured) -> None:
    write_job(SEVERAL)
    assert exit_code(["validate", "--plugins", "job.toml"]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("job.toml")] == [
        "job.toml:5:6: optim_wrapper.a.optimizer.lr: must be a number, not 'x'",
        (
            "job.toml:10:1: optim_wrapper.b.optimizer.nesterof: SGD (optimctl) has no argument 'nesterof'; "
            "did you mean 'nesterov'?"
        ),
    ]
    write_job(SEVERAL.replace('"x"', "1").replace("nesterof", "nesterov"))
    assert exit_code(["validate", "--plugins", "job.toml"]) == 0  # windows of one iteration make a hundred updates


@pytest.mark.parametrize("length", ["max_epochs = 20", "max_iters = 1000"])
def test_a_length_that_only_the_data_could_tell_is_no_mistake(length: str, capsys: Captured) -> None:
    write_job(
        f"""\
        [train_cfg]
        {length}
        [optim_wrapper.optimizer]
        type = "SGD"
        [[param_scheduler]]
        type = "LinearLR"
        by_epoch = false
        end = 500
        [[param_scheduler]]
        type = "MultiStepLR"
        milestones = [8, 16]
        begin = 5
        convert_to_iter_based = true
        [[param_scheduler]]
        type = "WarmupStableDecayLR"
        warmup = 100
        decay = 200
        by_epoch = false
        """
    )
    assert exit_code(["validate", "--plugins", "job.toml"]) == 0
    capsys.readouterr()


def test_without_a_length_schedules_are_checked_too(capsys: Captured) -> None:
    write_job('[[param_scheduler]]\ntype = "CosineAnnealingLR"\nbegin = "5%"\neta_min = "x"\n')
    assert exit_code(["validate", "--plugins", "job.toml"]) == 2
    assert (
        capsys.readouterr().err.splitlines()[0] == "job.toml:4:11: param_scheduler.0.eta_min: must be a number, not 'x'"
    )


BROKEN = {
    "loud": "print('loading')\ndef Net(width: int): raise AssertionError('a model was made')\n",
    "raising": "import nowhere\n",
    "leaving": "raise SystemExit(3)\n",
}


def test_plugins_are_loaded_and_not_called(site: Site, capsys: Captured) -> None:
    site.install("loud", {"models": {"Net": "loud:Net"}}, BROKEN)
    write_job('[model]\ntype = "Net"\nwidth = 3\n')
    assert exit_code(["validate", "--plugins", "job.toml", "--json"]) == 0
    assert capsys.readouterr() == ("[]\n", "loading\n")


def test_a_plugin_that_cannot_be_imported_is_a_problem_at_its_type(site: Site, capsys: Captured) -> None:
    site.install("raising", {"models": {"Net": "raising:Net"}}, BROKEN)
    site.install("leaving", {"tasks": {"Job": "leaving:Job"}}, BROKEN)
    write_job('[model]\ntype = "Net"\n[task]\ntype = "Job"\n[optim_wrapper.optimizer]\ntype = "SGD"\nlrr = 1\n')
    assert exit_code(["validate", "job.toml"]) == 0
    capsys.readouterr()
    assert exit_code(["validate", "--plugins", "job.toml"]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("job.toml")] == [
        (
            "job.toml:2:8: model.type: the model 'Net' of raising (raising:Net) cannot be loaded: "
            "ModuleNotFoundError: No module named 'nowhere' (raising.py:1 in <module>)"
        ),
        (
            "job.toml:4:8: task.type: the task 'Job' of leaving (leaving:Job) cannot be loaded: "
            "SystemExit: 3 (leaving.py:1 in <module>)"
        ),
        "job.toml:7:1: optim_wrapper.optimizer.lrr: SGD (optimctl) has no argument 'lrr'; did you mean 'lr'?",
    ]


MODELLED = """
from pydantic import BaseModel, PositiveInt, field_validator

class Stage(BaseModel):
    width: PositiveInt

class Options(BaseModel):
    stages: list[Stage]

    @field_validator("stages")
    @classmethod
    def _grow(cls, stages):
        if not stages:
            raise ValueError("a net has a stage at least")
        return stages

def Net(stages): ...
Net.Arguments = Options
"""


def test_a_plugins_own_model_is_told_key_by_key(site: Site, capsys: Captured) -> None:
    site.install("modelled", {"models": {"Net": "modelled:Net"}}, {"modelled": MODELLED})
    write_job('[model]\ntype = "Net"\nstages = [\n  { width = 3 },\n  { width = 0 },\n]\n', "one.toml")
    write_job('[model]\ntype = "Net"\nstages = []\n', "two.toml")
    assert exit_code(["validate", "--plugins", "one.toml", "two.toml"]) == 2
    assert capsys.readouterr().err == (
        "one.toml:5:13: model.stages.1.width: must be more than 0, not 0\n"
        "      { width = 0 },\n"
        "                ^\n"
        "two.toml:3:10: model.stages: a net has a stage at least\n"
        "    stages = []\n"
        "             ^\n"
        "2 problems\n"
    )


def test_json_needs_no_torch_either() -> None:
    write_blobs(Path())
    code = "import sys; from optimctl.cli.main import exit_code; exit_code(sys.argv[1:]); print('torch' in sys.modules)"
    assert run_python("-c", code, "validate", "--json", "blobs.toml") == "[]\nFalse\n"


def test_a_folder_does_not_keep_the_others_from_being_checked(capsys: Captured) -> None:
    write_blobs(Path())
    assert exit_code(["validate", ".", "blobs.toml"]) == 2
    err = capsys.readouterr().err
    assert "blobs.toml: well formed\n" in err
    assert ".: is a folder, and not that of a run" in err


def test_what_is_wrong_with_the_project_is_no_jobs_fault(capsys: Captured) -> None:
    write_blobs(Path())
    Path("pyproject.toml").write_text("[tool.optimctl]\nplugin = 1\n", "utf-8")
    assert exit_code(["validate", "blobs.toml", "blobs.toml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("optimctl: ")
    assert line.endswith("pyproject.toml: tool.optimctl.plugin: unknown key; did you mean 'plugins'?")


def hard_inputs() -> dict[str, str]:
    """Files that nobody meant as a job, by name, and what is said of each."""
    os.mkfifo("pipe.toml")
    with Path("large.toml").open("wb") as file:
        file.truncate(50 * 2**20)
    Path("folder.toml").mkdir()
    for name, content in {
        "bytes": bytes(range(256)),
        "brackets": b"a = " + b"[" * 10_000 + b"]" * 10_000,
        "tables": b"a = " + b"{a = " * 10_000 + b"1" + b"}" * 10_000,
        "digits": b"[job]\nseed = " + b"9" * 5000,
        "hex": b"[job]\nseed = 0x" + b"f" * 5000,
        "nan": b"[optim_wrapper.optimizer]\ntype = 'SGD'\nlr = nan\n[optim_wrapper.paramwise_cfg]\nlr_mult = nan",
        "inf": b"[train_dataloader]\ntimeout = inf\ndataset = { type = 'Synthetic' }",
        "newer": b"[log]\ninterval = 1\n[job]\nload_from = {\n  path = 'x',\n}",
        "utf16": "[log]".encode("utf-16"),
    }.items():
        Path(f"{name}.toml").write_bytes(content)
    return {
        "zzz.toml": "zzz.toml: there is no such file",
        "folder.toml": (
            "folder.toml: is a folder, and not that of a run; "
            "a job is a file, and a run is a folder that `optimctl run` made"
        ),
        "pipe.toml": "pipe.toml: is a named pipe, and a job is a file",
        "/dev/zero": "/dev/zero: is no regular file, and a job is a file",
        "large.toml": "large.toml: has 50 MiB; a job has at most 256 KiB",
        "bytes.toml": "bytes.toml:2:118: the byte 0x80 is not UTF-8; save the file as UTF-8",
        "brackets.toml": "brackets.toml:1:69: nested deeper than 64 levels",
        "tables.toml": "tables.toml:1:325: nested deeper than 64 levels",
        "digits.toml": "digits.toml:2:8: a number with too many digits",
        "hex.toml": "hex.toml:2:8: job.seed: a whole number has at most 64 bits",
        "nan.toml": "nan.toml:5:11: optim_wrapper.paramwise_cfg.lr_mult: must be a finite number, not nan",
        "inf.toml": "inf.toml:2:11: train_dataloader.timeout: must be a finite number, not inf",
        "newer.toml": ("newer.toml:4:14: a line break in an inline table is TOML 1.1; write the table on one line"),
        "utf16.toml": "utf16.toml:1:1: is UTF-16; save the file as UTF-8",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_was_never_a_job_is_refused_in_a_sentence(capsys: Captured) -> None:
    for name, sentence in hard_inputs().items():
        assert exit_code(["validate", name]) == 2
        out, err = capsys.readouterr()
        assert (out, err.splitlines()[0]) == ("", sentence)
        assert max(map(len, err.splitlines())) < 400


def test_of_a_long_line_the_part_around_the_mistake_is_shown(capsys: Captured) -> None:
    Path("job.toml").write_text(
        'job = { name = "' + "a" * 300 + '", seeds = 1, device = "' + "b" * 300 + '" }\n', "utf-8"
    )
    assert exit_code(["validate", "job.toml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "    ..." + "a" * 117 + '", seeds = 1, device = "' + "b" * 99 + "..."
    assert lines[2] == " " * 127 + "^"
