"""A plan's model has no weights where it can do without: the plan is the same, and what a model does with values is noticed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimctl.assemble import Assembly, assemble
from optimctl.job.load import load_job
from optimctl.plan.plan import make_plan
from tests.plan.test_the_plan_is_the_run import EXAMPLES, ROOT
from tests.plugins_on_disk import write_project


def plan_json(name: str, *, without_weights: bool) -> dict[str, Any]:
    plan = make_plan(assemble(load_job(name), without_weights=without_weights)).as_json()
    return {**plan, "findings": [one for one in plan["findings"] if one["code"] != "needs-values"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_plan_is_the_same_with_values_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert plan_json(name, without_weights=True) == plan_json(name, without_weights=False)


MODELS = """
import copy
import numpy as np
import torch
from torch import nn

class Catches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        try:
            self.scale = float(self.layer.weight.sum())
            self.extra = nn.Linear(2, 2)
        except RuntimeError:
            pass

class Random(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(np.random.randint(1, 50)))
        self.layers[0].weight.sum().item()

class DropPath(nn.Module):
    def __init__(self):
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Dropout(rate)) for rate in rates)

class Moves(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2).to("cpu")

class Pretrained(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.load_state_dict(torch.load("weights.pt", map_location="cpu"))

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        block = nn.TransformerEncoderLayer(4, 2)
        self.blocks = nn.ModuleList(copy.deepcopy(block) for _ in range(2))
        self.memory = nn.LSTM(2, 2)
        self.memory.flatten_parameters()
        self.norm = nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2))
        self.weight = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        self.gains = nn.Parameter(torch.tensor([1.0, 2.0], device="cpu"))
        self.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.codes = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
        self.register_buffer("table", torch.from_numpy(np.ones(3)))
        self.register_buffer("none", None)

class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.LazyLinear(2), nn.LazyBatchNorm1d(), nn.Linear(2, 2))
"""
JOB = """
[model]
type = "{}"
[optim_wrapper]
optimizer = {{ type = "AdamW", lr = 0.1 }}
paramwise_cfg = {{ flat_decay_mult = 0 }}
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    names = ("Catches", "Random", "DropPath", "Moves", "Pretrained", "Plain", "Lazy")
    table = "[tool.optimctl.plugins.models]\n" + "".join(f'{name} = "models:{name}"\n' for name in names)
    write_project(tmp_path, table, {"models": MODELS})
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)


def assembled(name: str, *, without_weights: bool = True) -> Assembly:
    Path("job.toml").write_text(JOB.format(name), "utf-8")
    return assemble(load_job("job.toml"), without_weights=without_weights)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("Catches", "RuntimeError: Tensor.item() cannot be called on meta tensors (models.py:12 in __init__)"),
        ("Random", "RuntimeError: Tensor.item() cannot be called on meta tensors (models.py:21 in __init__)"),
        ("DropPath", "RuntimeError: Tensor.item() cannot be called on meta tensors (models.py:26 in <listcomp>)"),
        ("Moves", "(models.py:32 in __init__)"),
        ("Pretrained", None),
        ("Plain", None),
        ("Lazy", None),
    ],
)
@pytest.mark.usefixtures("models")
def test_a_model_has_the_same_parameters_as_in_the_run(name: str, needs: str | None) -> None:
    planned, run = assembled(name), assembled(name, without_weights=False)
    assert (planned.needs_values or "").endswith(needs or "")
    assert bool(planned.needs_values) is (needs is not None)
    assert make_plan(planned).as_json()["parameters"] == make_plan(run).as_json()["parameters"]


@pytest.mark.usefixtures("models")
def test_weights_that_a_model_reads_itself_are_left_out_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assembled("Pretrained")
