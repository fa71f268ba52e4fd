"""The contracts are those of optimctl's own plugins: mypy holds the assignments, these tests hold that no kind is left out."""

from __future__ import annotations

import torch

from optimctl import Hook, parts
from optimctl.contracts import (
    CONTRACTS,
    ConstructorPlugin,
    DatasetPlugin,
    ExporterPlugin,
    HookPlugin,
    ImporterPlugin,
    ModelPlugin,
    OptimizerPlugin,
    OptimWrapperPlugin,
    SchedulePlugin,
    SteppingTask,
    Task,
    TaskPlugin,
)
from optimctl.export.csv import export_csv
from optimctl.export.json import export_json, import_json
from optimctl.export.pt2 import export_pt2
from optimctl.export.safetensors import export_safetensors
from optimctl.export.toml import export_toml
from optimctl.optim import AmpOptimWrapper, LayerDecayOptimWrapperConstructor, Routes
from optimctl.plugins import KINDS
from optimctl.schedule import curves
from optimctl.train.task import Classification, ModelLoss
from tests.test_imports import distributions, imported

OPTIMIZERS: list[OptimizerPlugin] = [torch.optim.SGD, torch.optim.AdamW]
OPTIM_WRAPPERS: list[OptimWrapperPlugin] = [AmpOptimWrapper]
CONSTRUCTORS: list[ConstructorPlugin] = [LayerDecayOptimWrapperConstructor, Routes]
SCHEDULERS: list[SchedulePlugin] = [curves.Linear, curves.MultiStep]
MODELS: list[ModelPlugin] = [parts.MLP]
DATASETS: list[DatasetPlugin] = [parts.Synthetic]
TASKS: list[TaskPlugin] = [Classification, ModelLoss]
HOOKS: list[HookPlugin] = [Hook]
EXPORTERS: list[ExporterPlugin] = [export_csv, export_json, export_pt2, export_safetensors, export_toml]
IMPORTERS: list[ImporterPlugin] = [import_json]
TASK: type[Task] = Classification


class Gan:
    """A task of the other sort."""

    def train_step(self, model: torch.nn.Module, batch: object, optim_wrapper: object) -> None:
        """Nothing to record."""

    def evaluate(self, model: torch.nn.Module, batch: object) -> dict[str, tuple[float, int]]:
        return {"distance": (0.0, 1)}


STEPPING: type[SteppingTask] = Gan


def test_every_kind_has_a_contract() -> None:
    assert CONTRACTS.keys() == KINDS.keys()


def test_contracts_are_types_alone() -> None:
    assert not distributions(imported("-c", "import optimctl.contracts"))
