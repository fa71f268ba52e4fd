"""``inspect --why`` and ``--plot``: why one parameter is trained as it is, and the schedule as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from tests.jobs import BLOBS

JOB = BLOBS.replace(
    "[[param_scheduler]]",
    """[optim_wrapper.paramwise_cfg]
lr_mult = 0.5
bias_lr_mult = 2.0
[optim_wrapper.paramwise_cfg.custom_keys]
"3." = { lr_mult = 0.1 }
"1.bias" = { freeze = true }
[[param_scheduler]]""",
    1,
)

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text(JOB, "utf-8")


ONE = """\
3.bias (3,), group 1
  lr            0.005  optim_wrapper.paramwise_cfg.lr_mult = 0.5, job.toml:29:11
                       over optim_wrapper.paramwise_cfg.custom_keys."3.".lr_mult = 0.1, job.toml:32:20
                       over optim_wrapper.paramwise_cfg.bias_lr_mult = 2.0, job.toml:30:16
                       over optim_wrapper.optimizer.lr = 0.1, job.toml:26:6
  weight_decay  0      the optimizer's default
  momentum      0.9    optim_wrapper.optimizer.momentum = 0.9, job.toml:27:12
  dampening     0      the optimizer's default
  nesterov      False  the optimizer's default
  maximize      False  the optimizer's default

"""

SEVERAL = """\
1.bias
  frozen by optim_wrapper.paramwise_cfg.custom_keys."1.bias".freeze = true, job.toml:33:23

"""


def test_why_one_parameter(capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--why", "3.bias"]) == 0
    assert capsys.readouterr().out == ONE


def test_why_a_glob_tells_frozen_ones_too(capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--why", "*.bias"]) == 0
    assert capsys.readouterr().out == ONE + SEVERAL


def test_why_nobody_answers(capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--why", "3.bia"]) == 2
    assert capsys.readouterr().err == "optimctl: --why: no parameter is called '3.bia'; did you mean '3.bias'?\n"


def test_why_as_json_is_the_plan_with_these_parameters(capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--why", "*.weight", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["parameters"]] == ["1.weight", "3.weight"]


@pytest.mark.parametrize("name", ["lr.png", "lr.svg"])
def test_a_picture_of_the_schedule(name: str, capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--plot", name]) == 0
    assert capsys.readouterr().err == f"{name}: the schedule of job.toml\n"
    assert Path(name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_another_kind_of_picture_is_refused_before_anything_is_built(capsys: Captured) -> None:
    assert exit_code(["inspect", "job.toml", "--plot", "lr.gif"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "optimctl: lr.gif: a picture is a PNG or an SVG; its name ends in '.png' or '.svg'\n")
