"""``optimctl diff`` as its user sees it: whole outputs, exit codes, and the JSON that a program reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.job.load import load_job
from optimctl.plan.diff import compare
from optimctl.plan.diff.page import diff_page
from optimctl.plan.subject import subject_of
from tests.jobs import BLOBS, write_blobs

Captured = pytest.CaptureFixture[str]

OTHER = """\
extends = "blobs.toml"
[model]
hidden = [16, 4]
[train_cfg]
max_epochs = 4
[optim_wrapper]
accumulative_counts = 1
[optim_wrapper.optimizer]
weight_decay = 0.01
[optim_wrapper.paramwise_cfg]
bias_decay_mult = 0.0
custom_keys = { "1.weight" = { freeze = true } }
[hooks.EMA]
"""

PAGE = """\
blobs.toml and other.toml differ in the run, the model, the optimizer, the hooks, the parameters, \
the options of 1 of 3 tensors and the schedule of lr

The run
  iterations: 21 -> 28 (blobs.toml:20 -> other.toml:5)
  epochs: 3 -> 4 (blobs.toml:20 -> other.toml:5)
  updates: 11 -> 28 (blobs.toml:20 -> other.toml:5)

The model
  model.hidden: [16] -> [16, 4] (blobs.toml:9 -> other.toml:3)

The optimizer
  accumulative_counts: 2 -> 1 (blobs.toml:22 -> other.toml:7)

The hooks
  hooks.EMA: none -> EMA (optimctl) (not given -> other.toml:13)

Parameters
  trained -> frozen (not given -> other.toml:12): 1 tensor, 128 numbers: 1.weight
  shape (3, 16) -> (4, 16): 1 tensor, 64 numbers: 3.weight
  shape (3,) -> (4,): 1 tensor, 4 numbers: 3.bias
  only in other.toml: 2 tensors, 15 numbers: 5.weight, 5.bias

Options, before any schedule
  weight_decay: 0 -> 0.01 for 1 tensor, 64 numbers: 3.weight
    the optimizer's default -> optim_wrapper.optimizer.weight_decay (other.toml:9)

Schedules, in the 21 iterations that both runs have
  lr of 3 tensors, 84 numbers: 1.bias, 3.weight, 3.bias
    differs in 14 of 21 iterations, the first is 8
    at most 0.025 apart, 50% of the larger, in iteration 15: 0.025 -> 0.05
    because of blobs.toml:33
"""

NARROW = """\
blobs.toml and other.toml differ in the run, the model, the optimizer, the
hooks, the parameters, the options of 1 of 3 tensors and the schedule of lr
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_blobs(tmp_path)


def test_the_whole_page(capsys: Captured) -> None:
    Path("other.toml").write_text(OTHER, "utf-8")
    assert exit_code(["diff", "blobs.toml", "other.toml"]) == 1
    assert capsys.readouterr() == (PAGE, "")


def test_a_narrow_terminal() -> None:
    Path("other.toml").write_text(OTHER, "utf-8")
    before, after = (
        subject_of(assemble(load_job(name), without_weights=True)) for name in ("blobs.toml", "other.toml")
    )
    screen = Console(file=io.StringIO(), width=80, highlight=False)
    screen.print(*diff_page(compare(before, after)), sep="\n")
    lines = [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert "\n".join(lines).startswith(NARROW)
    assert max(map(len, lines)) <= 80


SAME = "no difference in effect\n"


def test_what_is_only_written_differently(capsys: Captured) -> None:
    Path("tidy.toml").write_text('extends = "blobs.toml"\n[job]\nname = "tidy"\n[log]\ninterval = 50\n', "utf-8")
    assert exit_code(["diff", "blobs.toml", "tidy.toml"]) == 0
    assert capsys.readouterr() == (SAME, "")
    assert exit_code(["diff", "tidy.toml", "blobs.toml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "same": True,
        "before": {"job": "tidy.toml", "overrides": []},
        "after": {"job": "blobs.toml", "overrides": []},
        "settings": [],
        "parameters": [],
        "options": [],
        "schedules": [],
        "not_compared": [],
        "compared": {"tensors": 4, "iterations": 21},
    }


def test_a_run_stands_for_its_job(capsys: Captured) -> None:
    assert exit_code(["run", "blobs.toml"]) == 0
    folder = capsys.readouterr().out.strip()
    assert exit_code(["diff", folder, "blobs.toml"]) == 0
    assert capsys.readouterr().out == SAME
    assert exit_code(["diff", folder, "--set", "job.seed=3"]) == 1
    assert "\n  seed: 0 -> 3 (not given -> --set job.seed=3)\n" in capsys.readouterr().out


ONE = """\
blobs.toml with --set optim_wrapper.optimizer.lr=0.2 --unset optim_wrapper.clip_grad differs in the optimizer, \
the options of 4 of 4 tensors and the schedule of lr

The optimizer
  clip_grad: max_norm 1, norm_type 2 -> none (blobs.toml:23 -> not given)

Options, before any schedule
  lr: 0.1 -> 0.2 for 4 tensors, 195 numbers: 1.weight, 1.bias, 3.weight and 1 more
    optim_wrapper.optimizer.lr (blobs.toml:26) -> --set optim_wrapper.optimizer.lr=0.2

Schedules, in the 21 iterations that both runs have
  lr of 4 tensors, 195 numbers: 1.weight, 1.bias, 3.weight and 1 more
    differs in every iteration
    at most 0.1 apart, 50% of the larger, in iteration 5: 0.1 -> 0.2
"""


def test_one_job_is_compared_without_and_with_the_options(capsys: Captured) -> None:
    options = ["--set", "optim_wrapper.optimizer.lr=0.2", "--unset", "optim_wrapper.clip_grad"]
    assert exit_code(["diff", "blobs.toml", *options]) == 1
    assert capsys.readouterr() == (ONE, "")
    assert exit_code(["diff", "blobs.toml", "--set", "job.name=other"]) == 0
    assert capsys.readouterr().out == SAME


def test_options_apply_to_both_of_two_jobs(capsys: Captured) -> None:
    Path("longer.toml").write_text(BLOBS.replace("max_epochs = 3", "max_epochs = 4"), "utf-8")
    assert exit_code(["diff", "blobs.toml", "longer.toml"]) == 1
    assert exit_code(["diff", "blobs.toml", "longer.toml", "--set", "train_cfg.max_epochs=5"]) == 0


def test_as_json_has_what_the_docstring_says(capsys: Captured) -> None:
    Path("other.toml").write_text(OTHER, "utf-8")
    assert exit_code(["diff", "blobs.toml", "other.toml", "--json"]) == 1
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer["settings"][0] == {
        "section": "run",
        "setting": "iterations",
        "before": 21,
        "after": 28,
        "origins": {
            "before": {"key": "train_cfg.max_epochs", "file": "blobs.toml", "line": 20, "text": None},
            "after": {"key": "train_cfg.max_epochs", "file": "other.toml", "line": 5, "text": None},
        },
        "optimizers": None,
    }
    assert answer["parameters"][-1] == {
        "what": "state",
        "before": None,
        "after": "trained",
        "origins": {
            "before": {"key": None, "file": None, "line": None, "text": None},
            "after": {"key": None, "file": None, "line": None, "text": None},
        },
        "tensors": 2,
        "parameters": 15,
        "names": ["5.weight", "5.bias"],
    }
    (option,) = answer["options"]
    assert list(option) == [
        "option", "before", "after", "origins", "optimizers", "tensors", "parameters", "names",
    ]  # fmt: skip
    assert (option["option"], option["before"], option["after"], option["names"]) == (
        "weight_decay",
        0,
        0.01,
        ["3.weight"],
    )
    (schedule,) = answer["schedules"]
    assert list(schedule) == [
        "option", "iterations", "first", "largest", "largest_relative", "tables", "optimizers", "tensors", "parameters", "names",
    ]  # fmt: skip
    assert (schedule["option"], schedule["iterations"], schedule["first"]) == ("lr", 14, 7)
    assert schedule["largest"]["iteration"] == 14
    assert schedule["largest"]["absolute"] == pytest.approx(0.025)
    assert schedule["largest"]["relative"] == pytest.approx(0.5)
    assert answer["compared"] == {"tensors": 3, "iterations": 21}


ALONE = """\
[train_cfg]
max_iters = 1_000_000
[optim_wrapper.optimizer]
type = "AdamW"
lr = 0.1
[[param_scheduler]]
type = "MultiStepLR"
by_epoch = false
milestones = [500_000]
"""
SCHEDULE = """\
alone.toml with --set param_scheduler.0.milestones=[500_001] differs in the schedule of lr

Schedules, in the 1,000,000 iterations that both runs have
  lr
    differs in iteration 500,001 alone
    at most 0.09 apart, 90% of the larger, in iteration 500,001: 0.01 -> 0.1
    because of alone.toml:6
"""


def test_the_schedule_alone_needs_neither_model_nor_data(capsys: Captured) -> None:
    Path("alone.toml").write_text(ALONE, "utf-8")
    assert exit_code(["diff", "alone.toml", "--set", "param_scheduler.0.milestones=[500_001]"]) == 1
    assert capsys.readouterr().out == SCHEDULE


TWO_CLASSES = """\
blobs.toml and adam.toml differ in the optimizer and what cannot be compared

The optimizer
  type: SGD (optimctl) -> Adam (optimctl) (blobs.toml:25 -> adam.toml:3)

Not compared
  options: only SGD (optimctl) has 'momentum', 'dampening' and 'nesterov'; \
only Adam (optimctl) has 'betas', 'eps', 'amsgrad' and 'decoupled_weight_decay'
"""


def test_what_cannot_be_compared_is_said(capsys: Captured) -> None:
    Path("adam.toml").write_text(
        'extends = "blobs.toml"\n[optim_wrapper.optimizer]\ntype = "Adam"\nlr = 0.1\n', "utf-8"
    )
    assert exit_code(["diff", "blobs.toml", "adam.toml"]) == 1
    out, err = capsys.readouterr()
    assert out == TWO_CLASSES
    assert err == "note: optim_wrapper.optimizer: 'lr' and 'momentum' went, because `type` is Adam, no longer SGD\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["blobs.toml"], "Error: one job is compared with itself under --set and --unset: give one of them"),
        (["blobs.toml"] * 3, "Error: two jobs are compared, not 3"),
        ([], "Error: Missing argument 'JOB [JOB]'"),
        (["blobs.toml", "nowhere.toml"], "nowhere.toml: there is no such file"),
    ],
)
def test_a_wrong_call(arguments: list[str], message: str, capsys: Captured) -> None:
    assert exit_code(["diff", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


MISTAKES = """\
wrong.toml:25:8: optim_wrapper.optimizer.type: no optimizer is called 'SDG'; did you mean 'SGD'?
    type = "SDG"
           ^
bad.toml:20:14: train_cfg.max_epochs: must be a whole number, not the string '3'; write 3, without quotes
    max_epochs = "3"
                 ^
2 problems
"""


def test_what_is_wrong_with_both_jobs_is_told_at_once(capsys: Captured) -> None:
    Path("wrong.toml").write_text(BLOBS.replace('"SGD"', '"SDG"'), "utf-8")
    Path("bad.toml").write_text(BLOBS.replace("max_epochs = 3", 'max_epochs = "3"'), "utf-8")
    assert exit_code(["diff", "wrong.toml", "bad.toml"]) == 2
    assert capsys.readouterr() == ("", MISTAKES)


def test_a_job_that_can_be_read_and_not_be_built(capsys: Captured) -> None:
    Path("bad.toml").write_text(BLOBS.replace("hidden = [16]", "hidden = [0]"), "utf-8")
    assert exit_code(["diff", "blobs.toml", "bad.toml", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bad.toml:")
    assert "every layer needs a size from 1 up" in err


def test_of_two_jobs_the_one_is_named_that_an_option_does_not_fit(capsys: Captured) -> None:
    Path("other.toml").write_text(BLOBS.replace("clip_grad", "# clip_grad"), "utf-8")
    assert exit_code(["diff", "blobs.toml", "other.toml", "--unset", "optim_wrapper.clip_grad"]) == 2
    assert capsys.readouterr().err == (
        "other.toml with --unset optim_wrapper.clip_grad: there is no 'optim_wrapper.clip_grad' to take away\n"
    )
