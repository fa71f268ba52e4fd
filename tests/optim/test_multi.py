"""Several optimizers from the job alone: one for each sub-module, driven by the task."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapper as TheirWrapper
from mmengine.optim import OptimWrapperDict as Theirs
from torch import Tensor, nn

from optimctl import plugins
from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError, OptimctlError
from optimctl.job.load import load_job
from optimctl.job.schema import Job
from optimctl.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from optimctl.plan.plan import make_plan
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.loop import Run
from optimctl.train.run import run
from tests.jobs import read_records
from tests.plugins_on_disk import write_project

PROJECT = """
[tool.optimctl.plugins.tasks]
Duel = "duel:Duel"
Alone = "duel:Alone"
"""
DUEL = """
import torch
from torch import nn

class Alone:
    # Both parts see each batch, but there is no train_step.
    def loss(self, model, batch):
        inputs, labels = batch
        return nn.functional.cross_entropy(model.a(inputs) + model.b(inputs), labels)

class Duel(Alone):
    # One part after the other, each by the loss that the other has moved; so each also leaves a gradient on the other.
    def train_step(self, model, batch, optim_wrapper):
        losses = {}
        for name in optim_wrapper:
            with optim_wrapper[name].optim_context(model):
                loss = losses[f"loss_{name}"] = self.loss(model, batch)
            optim_wrapper[name].update_params(loss)
        return losses

    def evaluate(self, model, batch):
        return {"loss": (self.loss(model, batch) * len(batch[1]), len(batch[1]))}
"""
JOB = """
[job]
name = "duel"
device = "cpu"
[task]
type = "Duel"
[train_dataloader]
batch_size = 16
shuffle = true
dataset = { type = "Synthetic", samples = 112, features = 8, classes = 3 }
[val_dataloader]
batch_size = 100
dataset = { type = "Synthetic", split = "test", samples = 100, features = 8, classes = 3 }
[train_cfg]
max_epochs = 3
[log]
interval = 7
[optim_wrapper.a.optimizer]
type = "SGD"
lr = 0.1
momentum = 0.9
[optim_wrapper.a.paramwise_cfg]
bias_lr_mult = 2.0
[optim_wrapper.b]
accumulative_counts = 2
clip_grad = { max_norm = 1.0 }
[optim_wrapper.b.optimizer]
type = "AdamW"
lr = 0.01
[optim_wrapper.b.paramwise_cfg.custom_keys]
"layer.bias" = { decay_mult = 0.0 }
"""
FOR_ALL = '[[param_scheduler]]\ntype = "LinearLR"\nstart_factor = 0.5\nend = 7\nby_epoch = false\n'
FLOAT16 = (("type", "AmpOptimWrapper"), ("dtype", "float16"))
BY_NAME = """
[[param_scheduler.a]]
type = "LinearLR"
start_factor = 0.5
end = 7
by_epoch = false
[[param_scheduler.b]]
type = "MultiStepLR"
milestones = [1]
[[param_scheduler.b]]
type = "ConstantMomentum"
factor = 0.5
end = 2
"""


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layer(inputs)
        return logits


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = Part(), Part()


@pytest.fixture
def job_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> Callable[..., Job]:
    """A job in a project of its own that brings the task."""
    monkeypatch.chdir(write_project(tmp_path, PROJECT, {"duel": DUEL}))
    sys.path.insert(0, str(tmp_path))

    def make(*overrides: str, extra: str = "") -> Job:
        Path("duel.toml").write_text(JOB + extra, "utf-8")
        return load_job("duel.toml", overrides)

    return make


# --- in a job


def test_a_job_trains_each_with_its_own(job_of: Callable[..., Job]) -> None:
    folder = run(job_of(extra=FOR_ALL), model=Pair())
    records = read_records(folder)
    train = [record for record in records if record["split"] == "train"]
    assert set(train[0]) == {"iteration", "epoch", "split", "loss", "loss_a", "loss_b", "a.lr", "b.lr", "b.grad_norm"}
    assert train[0]["loss"] == pytest.approx(train[0]["loss_a"] + train[0]["loss_b"])
    assert records[-1]["loss"] < 0.7 * records[1]["loss"]
    assert [(record["a.lr"], record["b.lr"]) for record in train[1:]] == [(0.1, 0.01)] * 2
    state = load_checkpoint(folder / "checkpoints/iteration-00000021.pt")["optimizers"]
    assert {name: (list(one["state"]), one["updates"]) for name, one in state.items()} == {
        "a": (["layer.weight", "layer.bias"], 21),
        "b": (["layer.weight", "layer.bias"], 11),
    }
    assert json.loads((folder / "summary.json").read_text("utf-8"))["updates"] == 21


def test_a_run_that_was_interrupted_goes_on_equal(job_of: Callable[..., Job]) -> None:
    job = job_of(extra=BY_NAME)
    straight, first, second = (Run(assemble(job, for_run=True, model=Pair())) for _ in range(3))
    straight.train()
    first.hooks.methods["after_iteration"].append(
        lambda run: setattr(run, "stop_signal", 15 if run.iteration == 9 else None)
    )
    first.train()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.train()
    for ours, theirs in zip(second.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_the_plan_is_the_run_for_each(job_of: Callable[..., Job]) -> None:
    job = job_of(extra=BY_NAME)
    curves = make_plan(assemble(job, model=Pair())).schedule.curves
    assert {(curve.optimizer, curve.group, curve.option) for curve in curves} == {
        ("a", 0, "lr"),
        ("a", 1, "lr"),
        ("b", 0, "lr"),
        ("b", 1, "lr"),
        ("b", 0, "betas[0]"),
        ("b", 1, "betas[0]"),
    }
    values = {(curve.optimizer, curve.group, curve.option): curve.values for curve in curves}
    seen: dict[tuple[str, int, str], list[float]] = {key: [] for key in values}
    ready = Run(assemble(job, for_run=True, model=Pair()))

    def look(run: Run) -> None:
        for name, group, option in values:
            stands = run.wrappers[name].param_groups[group]
            seen[name, group, option].append(stands["lr"] if option == "lr" else stands["betas"][0])

    ready.hooks.methods["before_iteration"].append(look)
    ready.train()
    assert {key: tuple(one) for key, one in seen.items()} == values


def test_the_plan_names_parameters_in_full_and_points_to_the_lines_of_each(job_of: Callable[..., Job]) -> None:
    plan = json.loads(json.dumps(make_plan(assemble(job_of(), model=Pair())).as_json()))
    assert [(one["name"], one["type"], one["updates"]) for one in plan["optimizers"]] == [
        ("a", "SGD", 21),
        ("b", "AdamW", 11),
    ]
    assert [group["names"] for one in plan["optimizers"] for group in one["groups"]] == [
        ["a.layer.weight"],
        ["a.layer.bias"],
        ["b.layer.weight"],
        ["b.layer.bias"],
    ]
    assert [one["name"] for one in plan["parameters"]] == [
        "a.layer.weight",
        "a.layer.bias",
        "b.layer.weight",
        "b.layer.bias",
    ]
    lines = JOB.splitlines()
    decided = {
        (one["name"], reason["option"]): (reason["key"], lines[reason["line"] - 1], reason["lost"])
        for one in plan["parameters"]
        for reason in one["reasons"]
        if reason["line"]
    }
    assert decided["a.layer.bias", "lr"] == (
        "optim_wrapper.a.paramwise_cfg.bias_lr_mult",
        "bias_lr_mult = 2.0",
        ["optim_wrapper.a.optimizer.lr"],
    )
    assert decided["b.layer.weight", "lr"] == ("optim_wrapper.b.optimizer.lr", "lr = 0.01", [])
    assert decided["b.layer.bias", "weight_decay"] == (
        'optim_wrapper.b.paramwise_cfg.custom_keys."layer.bias".decay_mult',
        '"layer.bias" = { decay_mult = 0.0 }',
        [],
    )
    assert plan["frozen"] == []
    assert {one["level"] for one in plan["findings"]} == {"note"}


def test_a_rule_without_a_match_is_told_with_the_name_of_its_optimizer(job_of: Callable[..., Job]) -> None:
    job = job_of("optim_wrapper.b.paramwise_cfg.custom_keys.heat.lr_mult=2")
    finding, *_ = make_plan(assemble(job, model=Pair())).findings
    assert finding.code == "rule-matches-nothing"
    assert finding.key == ("optim_wrapper", "b", "paramwise_cfg", "custom_keys", "heat")


PAIR = """
from torch import nn

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.ModuleDict({"layer": nn.Linear(8, 3)})
        self.b = nn.ModuleDict({"layer": nn.Linear(8, 3)})
"""


def test_inspect_shows_a_table_for_each(job_of: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job_of(extra=FOR_ALL)
    pyproject = Path("pyproject.toml")
    pyproject.write_text(pyproject.read_text("utf-8") + '[tool.optimctl.plugins.models]\nPair = "pair:Pair"\n', "utf-8")
    Path("pair.py").write_text(PAIR, "utf-8")
    plugins.installed.cache_clear()
    assert exit_code(["inspect", "duel.toml", "--set", 'model.type="Pair"']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines if "before any schedule" in line] == [
        "a: SGD (optimctl)",
        "b: AdamW (optimctl)",
    ]
    assert [line.split()[-1] for line in lines if line.endswith(("weight", "bias"))] == [
        "a.layer.weight",
        "a.layer.bias",
        "b.layer.weight",
        "b.layer.bias",
    ]
    assert any(
        " ".join(line.split()) == "iteration epoch lr of group a 0 lr of group a 1 lr of group b 0, b 1"
        for line in lines
    )
    assert exit_code(["inspect", "duel.toml", "--json", "--set", 'model.type="Pair"']) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in plan["optimizers"]] == ["a", "b"]


@pytest.mark.parametrize(("names", "keys"), [("", [("param_scheduler", 0)]), (".b", [("param_scheduler", "b", 0)])])
def test_a_finding_about_all_is_told_once(job_of: Callable[..., Job], names: str, keys: list[Any]) -> None:
    schedule = f'[[param_scheduler{names}]]\ntype = "StepLR"\nstep_size = 1\nby = "update"\n'
    half = [f'optim_wrapper.{name}.{key}="{value}"' for name in ("a", "b") for key, value in FLOAT16]
    findings = make_plan(assemble(job_of(*half, extra=schedule), model=Pair())).findings
    assert [finding.key for finding in findings if finding.code == "waits-for-device"] == keys


# --- mistakes

NO_STEP = (
    "duel.toml:6:8: task.type: the task needs the method train_step(model, batch, optim_wrapper), "
    "as there are several optimizers; Alone has none"
)
MOMENTUM = (
    "duel.toml:30:1: optim_wrapper.b.optimizer.momentum: AdamW (optimctl) has no argument 'momentum'; it takes "
    "'lr', 'betas', 'eps', 'weight_decay', 'amsgrad', 'maximize', 'foreach', 'capturable', 'differentiable' and 'fused'"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("[optim_wrapper.b", "[optim_wrapper.bb"),
            "duel.toml:24:16: optim_wrapper.bb: the model has no sub-module 'bb'; did you mean 'b'?",
        ),
        (
            ("[optim_wrapper.b", '[optim_wrapper."a.layer"'),
            "duel.toml:24:16: optim_wrapper.\"a.layer\": 'a' and 'a.layer' train the same parameter; give each a sub-module of its own",
        ),
        (
            ("lr = 0.01", "lr = 0.01\nmomentum = 0.5"),
            MOMENTUM,
        ),
        (
            ('"Duel"', '"Alone"'),
            NO_STEP,
        ),
    ],
)
def test_mistakes_are_told_with_their_places(job_of: Callable[..., Job], change: tuple[str, str], message: str) -> None:
    job_of()
    Path("duel.toml").write_text(JOB.replace(*change), "utf-8")
    with pytest.raises(JobError) as caught:
        assemble(load_job("duel.toml"), model=Pair())
    assert str(caught.value) == message


def test_the_mistakes_of_all_are_told_at_once(job_of: Callable[..., Job]) -> None:
    job = job_of(
        "optim_wrapper.a.optimizer.lr=-1", "optim_wrapper.b.clip_grad.max_norm=1", "optim_wrapper.b.optimizer.lr=-2"
    )
    with pytest.raises(JobError) as caught:
        assemble(job, model=Pair())
    assert [problem.key[1] for problem in caught.value.problems] == ["a", "b"]


def test_tied_parameters_cannot_have_two_optimizers(job_of: Callable[..., Job]) -> None:
    model = Pair()
    model.b.layer.weight = model.a.layer.weight
    with pytest.raises(JobError, match="'a' and 'b' train the same parameter"):
        assemble(job_of(), model=model)


def test_schedules_for_an_unknown_name_are_refused(job_of: Callable[..., Job]) -> None:
    with pytest.raises(
        JobError, match=r"param_scheduler\.c: no optimizer is called 'c'; `optim_wrapper` has `a` or `b`"
    ):
        job_of(extra=BY_NAME.replace("scheduler.b", "scheduler.c"))


# --- the class itself, beside MMEngine's


def two(wrapper: Callable[..., Any]) -> dict[str, Any]:
    pair = Pair()
    groups = [{"params": [pair.a.layer.weight], "lr": 0.1}, {"params": [pair.a.layer.bias], "lr": 0.2}]
    optimizers = {"a": torch.optim.SGD(groups, momentum=0.9), "b": torch.optim.AdamW(pair.b.parameters(), lr=0.01)}
    return {name: wrapper(optimizer) for name, optimizer in optimizers.items()}


def test_it_answers_as_mmengines_does() -> None:
    ours, theirs = OptimWrapperDict(**two(OptimWrapper)), Theirs(**two(TheirWrapper))
    assert ours.get_lr() == {"a.lr": [0.1, 0.2], "b.lr": [0.01]}
    assert ours.get_lr().items() <= theirs.get_lr().items()  # theirs has each optimizer's base_lr beside it
    assert ours.get_momentum() == theirs.get_momentum()
    assert list(ours) == list(ours.keys()) == list(theirs.keys()) == ["a", "b"]
    assert len(ours) == len(theirs)
    assert "a" in ours
    assert "c" not in ours
    assert isinstance(ours["a"], OptimWrapper)
    assert {name: len(groups) for name, groups in ours.param_groups.items()} == {"a": 2, "b": 1}
    assert {name: len(groups) for name, groups in theirs.param_groups.items()} == {"a": 3, "b": 1}  # one holds base_lr
    assert set(ours.state_dict()) == set(theirs.state_dict())
    assert [name for name, _ in ours.items()] == ["a", "b"]


@pytest.mark.parametrize("method", ["update_params", "backward", "step"])
def test_it_refuses_what_is_meant_for_one(method: str) -> None:
    ours = OptimWrapperDict(**two(OptimWrapper))
    arguments = () if method == "step" else (torch.zeros(()),)
    with pytest.raises(NotImplementedError):
        getattr(Theirs(**two(TheirWrapper)), method)(*arguments)
    with pytest.raises(OptimctlError) as caught:
        getattr(ours, method)(*arguments)
    call = "step()" if method == "step" else f"{method}(loss)"
    assert (
        str(caught.value) == f"there are several optimizers; write optim_wrapper[NAME].{call}, NAME being one of a, b"
    )


def test_state_goes_by_name_and_an_unknown_name_is_no_attribute() -> None:
    first, second = OptimWrapperDict(**two(OptimWrapper)), OptimWrapperDict(**two(OptimWrapper))
    first["b"]._steps = 3
    second.load_state_dict(first.state_dict())
    assert (second["a"].updates, second["b"].updates, second.updates) == (0, 3, 3)
    with pytest.raises(KeyError):
        second["c"]


def test_gradients_of_all_are_forgotten() -> None:
    pair = Pair()
    wrapper = build_optim_wrapper(pair, {name: {"optimizer": {"type": "SGD", "lr": 0.1}} for name in ("a", "b")})
    (pair.a(torch.ones(1, 8)) + pair.b(torch.ones(1, 8))).sum().backward()
    wrapper.zero_grad()
    assert all(parameter.grad is None for parameter in pair.parameters())


def test_a_name_may_be_a_path() -> None:
    wrapper = build_optim_wrapper(Pair(), {name: {"optimizer": {"type": "SGD"}} for name in ("a.layer", "b")})
    assert isinstance(wrapper, OptimWrapperDict)
    assert [group["param_names"] for group in wrapper["a.layer"].param_groups] == [["weight", "bias"]]
