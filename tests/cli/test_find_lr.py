"""``optimctl find-lr``: what a person sees, what a script reads, and what is left on the disk."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from tests.plan.test_find_lr import QUADRATIC
from tests.plugins_on_disk import write_project

Captured = pytest.CaptureFixture[str]

PROJECT = '[tool.optimctl.plugins.models]\nQuadratic = "mine:Quadratic"\n'
MODEL = """
import torch
from torch import nn

class Quadratic(nn.Module):
    # Gradient descent diverges beyond a learning rate of 2.
    def __init__(self, at_zero=0.0):
        super().__init__()
        self.at_zero = at_zero
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, inputs, labels):
        print("a model may print")
        return self.weight.square().sum() / 2 + self.at_zero
"""


@pytest.fixture(autouse=True)
def _in_a_project_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    write_project(tmp_path, PROJECT, {"mine": MODEL})
    (tmp_path / "job.toml").write_text(f'[model]\ntype = "Quadratic"\nat_zero = 1.0\n{QUADRATIC}', "utf-8")
    monkeypatch.chdir(tmp_path)


FOUND = """\
lr        loss   smoothed
1.00e-03  2      2
1.82e-03  1.998  1.999
3.32e-03  1.994  1.996
6.06e-03  1.988  1.991
2.02e-02  1.954  1.966
3.67e-02  1.916  1.938
6.70e-02  1.85   1.888
1.22e-01  1.74   1.804
2.23e-01  1.57   1.672
4.06e-01  1.345  1.487     steepest
7.41e-01  1.121  1.28
1.35e+00  1.008  1.126
4.49e+00  1.002  1.025     lowest
8.19e+00  1.026  1.026
1.49e+01  2.348  1.774
2.72e+01  262.5  149.2
The smoothed loss falls most steeply at a learning rate of 0.41 and is lowest at 4.5.
Suggested is the steepest, 0.41, the smaller of the two.
The test ended at 27, where the loss diverged.
This is one short test, from these weights, with this batch size and without schedules: a place to start from, and no optimum.
--set optim_wrapper.optimizer.lr=0.41
"""


def test_the_table_the_sentences_and_the_option_to_paste(capsys: Captured) -> None:
    assert exit_code(["find-lr", "job.toml", "--from", "1e-3", "--to", "1e3", "--iterations", "24"]) == 0
    assert capsys.readouterr().out == FOUND


def test_as_json(capsys: Captured) -> None:
    assert exit_code(["find-lr", "job.toml", "--from", "1e-3", "--to", "1e2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["lr", "loss", "smoothed", "suggestion"]
    assert len(answer["lr"]) == len(answer["loss"]) == len(answer["smoothed"])
    assert 0.01 < answer["suggestion"] < 2


def test_what_is_suggested_can_be_pasted(capsys: Captured) -> None:
    with Path("job.toml").open("a", encoding="utf-8") as file:
        file.write('[optim_wrapper.paramwise_cfg.custom_keys."glob:we*t"]\nlr = 0.25\n')
    assert exit_code(["find-lr", "job.toml", "--from", "1e-3", "--to", "1e2"]) == 0
    options = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert [option.rpartition("=")[0] for option in options[1::2]] == [
        "optim_wrapper.optimizer.lr",
        'optim_wrapper.paramwise_cfg.custom_keys."glob:we*t".lr',
    ]
    assert exit_code(["inspect", "job.toml", "--json", *options]) == 0
    (group,) = json.loads(capsys.readouterr().out)["optimizers"][0]["groups"]
    assert group["options"]["lr"] == float(options[-1].rpartition("=")[2])


def test_only_the_picture_is_written() -> None:
    before = {file for file in Path().rglob("*") if "__pycache__" not in file.parts}
    assert exit_code(["find-lr", "job.toml", "--plot", "lr.svg"]) == 0
    assert {file for file in Path().rglob("*") if "__pycache__" not in file.parts} - before == {Path("lr.svg")}
    assert ">job: loss over the learning rate</text>" in Path("lr.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--iterations", "1"], "One learning rate says nothing about others: no suggestion. Give more --iterations."),
        (
            ["--from", "20", "--to", "30"],
            "The loss diverged at 20 before it fell: no suggestion. Begin --from a smaller one.",
        ),
        (
            ["--to", "1e-6", "--set", "model.at_zero=1e9"],
            "The loss did not fall by more than its noise: no suggestion. Go on --to a larger one, or take more --iterations.",
        ),
    ],
)
def test_without_a_suggestion_the_answer_is_no_and_why(arguments: list[str], sentence: str, capsys: Captured) -> None:
    assert exit_code(["find-lr", "job.toml", *arguments]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == sentence
    assert exit_code(["find-lr", "job.toml", "--json", *arguments]) == 1
    assert json.loads(capsys.readouterr().out)["suggestion"] is None


ZERO = "is 0, so that no group has a ratio to it; give it any value above 0\n"
NAN = (
    "optimctl: the loss is nan before any update, so that no learning rate is at fault; "
    "look at the data, the initial weights and the precision\n"
)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--plot", "lr.pdf"],
            2,
            "optimctl: lr.pdf: a picture is a PNG or an SVG; its name ends in '.png' or '.svg'\n",
        ),
        (
            ["--from", "1", "--to", "0.1"],
            2,
            "optimctl: the test goes from a learning rate above 0 to a larger one, not from 1 to 0.1\n",
        ),
        (
            ["--set", "optim_wrapper.optimizer.lr=0"],
            2,
            f"--set optim_wrapper.optimizer.lr=0: optim_wrapper.optimizer.lr: {ZERO}",
        ),
        (
            ["--set", "model.at_zero=nan"],
            1,
            f"a model may print\n{NAN}",
        ),
    ],
)
def test_what_cannot_be_tested_is_told(arguments: list[str], code: int, message: str, capsys: Captured) -> None:
    assert exit_code(["find-lr", "job.toml", *arguments]) == code
    assert capsys.readouterr() == ("", message)
