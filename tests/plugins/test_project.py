"""The user's own project, from wherever a command is given; and what its code raises is told with its own file and line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from tests.plugins_on_disk import write_project

Captured = pytest.CaptureFixture[str]

TABLES = """
[tool.optimctl.plugins]
datasets.Points = "points:Points"
hooks.Nosy = "train:Nosy"
models.Net = "train:Net"
optimizers.Descent = "train:Descent"
tasks.Fit = "train:Fit"
"""
TRAIN = """
import torch
from helpers import fail
from torch import nn


class Net(nn.Linear):
    def __init__(self, where: str = "") -> None:
        super().__init__(2, 1)
        self.where = where
        fail(where, "model")

    def forward(self, inputs):
        fail(self.where, "forward")
        return super().forward(inputs)


class Descent(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, where: str = "") -> None:
        fail(where, "optimizer")
        super().__init__(params, lr)
        self.where = where

    def step(self, closure=None):
        fail(self.where, "step")
        return super().step(closure)


class Fit:
    def __init__(self, where: str = "") -> None:
        self.where = where

    def loss(self, model, batch):
        fail(self.where, "loss")
        inputs, targets = batch
        return (model(inputs) - targets).square().mean()

    def evaluate(self, model, batch):
        fail(self.where, "evaluate")
        return {"loss": (self.loss(model, batch), len(batch[0]))}


class Nosy:
    def __init__(self, where: str = "") -> None:
        self.where = where

    def after_iteration(self, run) -> None:
        fail(self.where, "hook")
"""
POINTS = """
import torch
from helpers import fail


class Points:
    def __init__(self, where: str = "") -> None:
        self.where = where
        fail(where, "dataset")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        fail(self.where, "item")
        return torch.ones(2), torch.ones(1)
"""
HELPERS = """
def fail(where: str, here: str) -> None:
    if where == here:
        raise ValueError(f"no {here} today")
"""
JOB = """
[job]
device = "cpu"
[model]
type = "Net"
[task]
type = "Fit"
[train_dataloader]
batch_size = 4
dataset = { type = "Points" }
[val_dataloader]
dataset = { type = "Points" }
[train_cfg]
max_epochs = 1
[optim_wrapper]
optimizer = { type = "Descent" }
[hooks.Nosy]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a module beside its ``pyproject.toml``, one in ``src/``, and one that both import."""
    modules = {"train": TRAIN, "src/points": POINTS, "src/helpers": HELPERS}
    folder = write_project(tmp_path / "mine", TABLES, modules)
    (folder / "job.toml").write_text(JOB, "utf-8")
    (folder / "deep" / "er").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return folder


def program(cwd: Path, *arguments: str, script: bool = False, **environment: str) -> str:
    """What a command prints; the test fails with its stderr where it does."""
    command = [str(Path(sys.executable).with_name("optimctl"))] if script else [sys.executable, "-m", "optimctl"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPTIMCTL", "PYTHON"))}
    done = subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WAYS: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
    ("mine", (), {}),
    ("mine/deep/er", (), {}),
    ("elsewhere", ("--project", "../mine"), {}),
    ("elsewhere", (), {"OPTIMCTL_PROJECT": "{project}"}),
]


@pytest.mark.parametrize("script", [False, True], ids=["python -m optimctl", "optimctl"])
@pytest.mark.parametrize(("folder", "options", "environment"), WAYS)
def test_its_plugins_are_found_from_wherever_a_command_is_given(
    project: Path, folder: str, options: tuple[str, ...], environment: dict[str, str], script: bool
) -> None:
    cwd = project.parent / folder
    named = {name: value.format(project=project) for name, value in environment.items()}
    listed = program(cwd, "plugins", "list", "models", *options, script=script, **named)
    assert "models  Net " in listed
    assert program(cwd, "validate", str(project / "job.toml"), "--plugins", *options, script=script, **named) == ""


def test_a_run_from_elsewhere_has_it_in_its_data_loaders_too(project: Path) -> None:
    loader = ["train_dataloader.num_workers=2", 'train_dataloader.multiprocessing_context="spawn"']
    overrides = [part for override in loader for part in ("--set", override)]
    elsewhere = project.parent / "elsewhere"
    run = program(elsewhere, "run", "../mine/job.toml", "--project", "../mine", *overrides, script=True)
    assert (elsewhere / run.strip() / "summary.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "code", "told"),
    [
        (["model.where='model'"], 2, "job.toml:4:2: model: Net (project) raised ValueError: no model today"),
        (["train_dataloader.dataset.where='dataset'"], 2, "Points (project) raised ValueError: no dataset today"),
        (["optim_wrapper.optimizer.where='optimizer'"], 2, "Descent (project) raised ValueError: no optimizer today"),
        (["model.where='forward'"], 1, "ValueError: no forward today"),
        (["task.where='loss'"], 1, "ValueError: no loss today"),
        (["task.where='evaluate'"], 1, "ValueError: no evaluate today"),
        (["optim_wrapper.optimizer.where='step'"], 1, "ValueError: no step today"),
        (["hooks.Nosy.where='hook'"], 1, "ValueError: no hook today"),
        (["train_dataloader.dataset.where='item'"], 1, "ValueError: no item today"),
        (["train_dataloader.dataset.where='item'", "train_dataloader.num_workers=1"], 1, "ValueError: no item today"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_its_code_raises_shows_its_own_file_line_and_function(
    project: Path,
    overrides: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    fresh_plugins: None,
    capsys: Captured,
) -> None:
    monkeypatch.chdir(project)
    assert exit_code(["run", "job.toml", *(part for override in overrides for part in ("--set", override))]) == code
    err = capsys.readouterr().err
    assert f"{told} (helpers.py:4 in fail)" in err
    assert "Traceback" not in err
