"""What a person sees: whole outputs, exit codes, and what is left on the disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from optimctl.cli.main import exit_code
from tests.jobs import BLOBS, write_blobs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_blobs(tmp_path)


Captured = pytest.CaptureFixture[str]


def test_run_prints_the_folder_and_nothing_else_to_stdout(capsys: Captured) -> None:
    assert exit_code(["run", "blobs.toml", "--work-dir", "here"]) == 0
    out, err = capsys.readouterr()
    (folder,) = Path("here").iterdir()
    assert out == f"{folder}\n"
    lines = err.splitlines()
    assert lines[0] == f"blobs: 21 iterations in 3 epochs of 7 on cpu, written to {folder}"
    assert lines[1].startswith("epoch 1  iteration 2  train  loss ")
    assert lines[-1].startswith("epoch 3  iteration 21  val  loss ")


DRY = """\
blobs: MLP, 195 parameters in 4 tensors, all trainable, on cpu
Memory: 2.285 KiB, beside activations (weights 780 bytes, gradients 780 bytes, optimizer state 780 bytes)

SGD (optimctl), fused, 11 updates, one every 2 iterations, gradients clipped to a norm of 1, 780 bytes of state. 2 groups before any schedule:
All groups: momentum 0.9.
group  tensors  parameters   lr  weight_decay  names
    0        2         176  0.1             0  1.weight, 3.weight
    1        2          19  0.2             0  1.bias, 3.bias

21 iterations in 3 epochs of 7, 11 updates; scheduled options at some iterations:

lr, 2 groups
0.2           ▁▁▁█████████
           ▂▂▂█████████████████████████████████
        ▂▂▂████████████████████████████████████
  0 ▃▃▃▃████████████████████████████████████████████████████████████
    1                                                             21

iteration  epoch  lr of group 0  lr of group 1
        1      1           0.01           0.02
        3      1          0.055           0.11
        5      1            0.1            0.2
        6      1            0.1            0.2
        7      1            0.1            0.2
        8      2          0.075           0.15
       10      2          0.075           0.15
       12      2          0.075           0.15
       14      2          0.075           0.15
       15      3          0.025           0.05
       16      3          0.025           0.05
       17      3          0.025           0.05
       19      3          0.025           0.05
       21      3          0.025           0.05

warning: --set optim_wrapper.paramwise_cfg.custom_keys.hed.lr_mult=2: optim_wrapper.paramwise_cfg.custom_keys.hed: no parameter's name contains 'hed'; its parts are '1' and '3' [rule-matches-nothing]

note: blobs.toml:22:23: optim_wrapper.accumulative_counts: the last of 21 iterations make a window of 1 [short-last-window]

note: blobs.toml:28:3: param_scheduler.0: its 5 iterations are 3 updates, as 2 batches make one [counts-iterations]

note: blobs.toml:33:3: param_scheduler.1: LinearLR and CosineAnnealingLR both act from iteration 0 to 5: they multiply [schedule-overlap]
The run would be written to runs/blobs/<date>-<time>-<id>/.
"""  # noqa: E501


def test_a_dry_run_shows_the_plan_and_leaves_no_file_behind(capsys: Captured) -> None:
    before = sorted(Path().rglob("*"))
    rules = [
        "--set",
        "optim_wrapper.paramwise_cfg.bias_lr_mult=2",
        "--set",
        "optim_wrapper.paramwise_cfg.custom_keys.hed.lr_mult=2",
    ]
    assert exit_code(["run", "blobs.toml", "--dry-run", *rules]) == 0
    assert capsys.readouterr().out == DRY
    assert exit_code(["run", "blobs.toml", "--dry-run", "--strict", *rules]) == 1
    assert exit_code(["run", "blobs.toml", "--strict", *rules]) == 1
    assert sorted(Path().rglob("*")) == before


def test_inspect_shows_the_page_of_the_dry_run(capsys: Captured) -> None:
    assert exit_code(["inspect", "blobs.toml"]) == 0
    page = capsys.readouterr().out
    assert exit_code(["run", "blobs.toml", "--dry-run"]) == 0
    assert capsys.readouterr().out == page + "The run would be written to runs/blobs/<date>-<time>-<id>/.\n"


def test_inspect_as_json_has_what_the_contract_says(capsys: Captured) -> None:
    assert exit_code(["inspect", "blobs.toml", "--json", "--set", "optim_wrapper.paramwise_cfg.bias_decay_mult=0"]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(plan) == ["job", "model", "optimizers", "parameters", "frozen", "schedule", "findings"]
    assert plan["model"] == {"type": "MLP", "tensors": 4, "parameters": 195, "trainable": 195}
    (optimizer,) = plan["optimizers"]
    assert list(optimizer) == ["name", "type", "distribution", "implementation", "state_bytes", "updates", "groups"]
    assert (optimizer["implementation"], optimizer["state_bytes"], optimizer["updates"]) == ("fused", 780, 11)
    bias = plan["parameters"][1]
    assert {key: bias[key] for key in ("name", "shape", "optimizer", "group")} == {
        "name": "1.bias",
        "shape": [16],
        "optimizer": "default",
        "group": 0,
    }
    reasons = {reason["option"]: reason for reason in bias["reasons"]}
    assert reasons["lr"] == {
        "option": "lr",
        "value": 0.1,
        "key": "optim_wrapper.optimizer.lr",
        "file": "blobs.toml",
        "line": 26,
        "lost": [],
    }
    assert reasons["weight_decay"]["key"] == "optim_wrapper.paramwise_cfg.bias_decay_mult"
    assert (reasons["weight_decay"]["file"], reasons["weight_decay"]["line"]) == (None, None)
    assert plan["schedule"]["at"] == list(range(21))
    (curve,) = plan["schedule"]["values"]
    assert {key: curve[key] for key in ("optimizer", "group", "option")} == {
        "optimizer": "default",
        "group": 0,
        "option": "lr",
    }


ALONE = """\
alone: no model

4 iterations in 2 epochs of 2, 4 updates; scheduled options at some iterations:

lr
0.01 ████████████████████████████████
     ████████████████████████████████
     ████████████████████████████████
   0 ████████████████████████████████▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃▃
     1                                                              4
betas[0]
0.9                                 ████████████████████████████████
                                    ████████████████████████████████
    ████████████████████████████████████████████████████████████████
  0 ████████████████████████████████████████████████████████████████
    1                                                              4

iteration  epoch     lr  betas[0]
        1      1   0.01      0.45
        2      1   0.01      0.45
        3      2  0.001       0.9
        4      2  0.001       0.9
"""


def test_the_schedule_alone_needs_neither_model_nor_data(capsys: Captured) -> None:
    job = """
    [train_cfg]
    max_epochs = 2
    epoch_length = 2
    [optim_wrapper.optimizer]
    type = "Adam"
    lr = 0.01
    [[param_scheduler]]
    type = "MultiStepLR"
    milestones = [1]
    [[param_scheduler]]
    type = "LinearMomentum"
    start_factor = 0.5
    """
    Path("alone.toml").write_text(job, "utf-8")
    assert exit_code(["inspect", "alone.toml"]) == 0
    assert capsys.readouterr().out == ALONE


def test_inspect_takes_a_run(capsys: Captured) -> None:
    exit_code(["run", "blobs.toml"])
    folder = capsys.readouterr().out.strip()
    assert exit_code(["inspect", folder]) == 0
    assert capsys.readouterr().out.startswith("blobs: optimctl/MLP, 195 parameters")


def test_stop_after_shows_what_the_whole_would_take(capsys: Captured) -> None:
    before = sorted(Path().rglob("*"))
    assert exit_code(["run", "blobs.toml", "--stop-after", "5it"]) == 0
    labels = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert labels == [
        "iterations run",
        "speed",
        "validation batch",
        "peak memory",
        "estimated whole run",
        "Nothing was written.",
    ]
    assert sorted(Path().rglob("*")) == before


MISTAKES = """\
wrong.toml:13:1: train_dataloader.batch_sise: unknown key; did you mean 'batch_size'?
    batch_sise = 16
    ^
wrong.toml:20:14: train_cfg.max_epochs: must be a whole number, not the string '3'; write 3, without quotes
    max_epochs = "3"
                 ^
wrong.toml:25:8: optim_wrapper.optimizer.type: no optimizer is called 'SDG'; did you mean 'SGD'?
    type = "SDG"
           ^
3 problems
"""


@pytest.mark.parametrize("command", [["run"], ["inspect"], ["validate"]])
def test_all_mistakes_are_told_at_once_with_their_places(command: list[str], capsys: Captured) -> None:
    wrong = (
        BLOBS.replace("batch_size = 16", "batch_sise = 16")
        .replace("max_epochs = 3", 'max_epochs = "3"')
        .replace('"SGD"', '"SDG"')
    )
    Path("wrong.toml").write_text(wrong, "utf-8")
    assert exit_code([*command, "wrong.toml"]) == 2
    assert capsys.readouterr() == ("", MISTAKES)


def test_validate_as_json(capsys: Captured) -> None:
    Path("wrong.toml").write_text("[train_cfg]\nmax_epochs = 0\n", "utf-8")
    assert exit_code(["validate", "blobs.toml", "wrong.toml", "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem["file"] == "wrong.toml"
    assert (problem["line"], problem["column"], problem["key"]) == (2, 14, "train_cfg.max_epochs")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nowhere.toml"], 2, "nowhere.toml: there is no such file\n"),
        (
            ["run", "blobs.toml", "--stop-after", "5"],
            2,
            "optimctl: '5' is no length; write iterations as 500it, epochs as 2ep, or a share of the run as 10%\n",
        ),
        (
            ["run", "blobs.toml", "--project", "nowhere"],
            2,
            "optimctl: nowhere is no optimctl project: it has no pyproject.toml with a table [tool.optimctl]\n",
        ),
        (["inspect", "blobs.toml", "--set", "job.device=warp"], 2, None),
        (["inspect", "blobs.toml", "--set", "model.hidden=[0]"], 2, None),
    ],
)
def test_what_cannot_be_done_ends_with_the_code_of_the_contract(
    arguments: list[str],
    code: int,
    message: str | None,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    fresh_plugins: None,
) -> None:
    monkeypatch.setenv("OPTIMCTL_PROJECT", "")  # so that what the command sets is undone after the test
    monkeypatch.delenv("OPTIMCTL_PROJECT")
    assert exit_code(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if message is not None:
        assert err == message


def test_plugins_list(capsys: Captured) -> None:
    assert exit_code(["plugins", "list", "tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "name", "distribution", "version", "object"]
    own = [line.split()[1] for line in lines[1:] if line.split()[2] == "optimctl"]
    assert own == ["Classification", "ModelLoss", "Supervised"]
    assert exit_code(["plugins", "list", "--json"]) == 0
    assert {"kind", "name", "distribution", "version", "object", "conflict"} == set(
        json.loads(capsys.readouterr().out)[0]
    )


LOCAL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, fails_at=None):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        if fails_at == "once":
            raise OSError("no weights here")

    def forward(self, inputs):
        return self.layer(inputs.reshape(7, -1))
"""


def test_what_the_users_own_code_raises_shows_his_file_and_line(capsys: Captured, fresh_plugins: None) -> None:
    Path("pyproject.toml").write_text('[tool.optimctl.plugins.models]\nNet = "mine:Net"\n', "utf-8")
    Path("mine.py").write_text(LOCAL, "utf-8")
    Path("job.toml").write_text(
        BLOBS.replace('type = "MLP"\nin_features = 8\nout_features = 3\nhidden = [16]', 'type = "Net"'), "utf-8"
    )
    assert exit_code(["inspect", "job.toml", "--set", "model.fails_at=once"]) == 2
    assert "model: Net (project) raised OSError: no weights here (mine.py:10 in __init__)" in capsys.readouterr().err
    assert exit_code(["run", "job.toml"]) == 1
    err = capsys.readouterr().err
    assert (
        "RuntimeError: shape '[7, -1]' is invalid for input of size 128 (mine.py:13 in forward), after 0 iterations"
        in err
    )
    assert "Traceback" not in err
    assert exit_code(["run", "job.toml", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_of_ours_ends_with_3_and_asks_for_a_report(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("optimctl.plan.plan.make_plan", broken)
    assert exit_code(["inspect", "blobs.toml"]) == 3
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "this is a bug of optimctl; please report it" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_once_its_checkpoint_is_written(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "optimctl",
        "run",
        "blobs.toml",
        "--set",
        "train_cfg.max_epochs=100000",
        "--set",
        "checkpoint.interval=100000",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stderr is not None
    while "iteration 20 " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"{number.name} ended the run after" in err
    (folder,) = Path("runs/blobs").iterdir()
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["status"] == "interrupted"
    assert (folder / f"checkpoints/iteration-{summary['iterations']:08d}.pt").exists()
