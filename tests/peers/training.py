"""A training that other people's trainers run: a model, data, an optimizer and schedules of ours, and what they must show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import optimctl

SCHEDULES: list[dict[str, Any]] = [
    {"type": "LinearLR", "end": "5%"},
    {"type": "CosineAnnealingLR", "begin": "5%"},
    {"type": "LinearMomentum", "start_factor": 0.5, "end": "50%"},
]
EPOCHS, SAMPLES, BATCH_SIZE, ACCUMULATION = 5, 60, 4, 2
UPDATES_PER_EPOCH = 8
"""Of 15 batches; the last one is an update of its own."""
UPDATES = EPOCHS * UPDATES_PER_EPOCH

Values = list[list[float]]
"""A row an update: the learning rate of each group, then the momentum of each."""


class Classifier(nn.Module):
    """A model that computes its loss, as transformers' do; its parameters fall into four groups."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.layers(features)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Points(Dataset[dict[str, Tensor]]):
    """Points, and on which side of a plane they are."""

    def __init__(self) -> None:
        self.features = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        point = self.features[index]
        return {"features": point, "labels": (point.sum() > 0).long()}


def make_model() -> Classifier:
    """The model, the same at each call."""
    torch.manual_seed(0)
    return Classifier()


def make_optimizer(model: nn.Module, values: Values) -> torch.optim.Optimizer:
    """An optimizer whose groups differ in learning rate and decay; each of its updates adds a row to ``values``."""
    rules = {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0, "custom_keys": {"layers.2": {"lr_mult": 0.1}}}
    optimizer = optimctl.build_optimizer(model, {"type": "AdamW", "lr": 0.01}, paramwise_cfg=rules)

    def note(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        groups = optimizer.param_groups
        values.append([*(group["lr"] for group in groups), *(group["betas"][0] for group in groups)])

    optimizer.register_step_pre_hook(note)
    return optimizer


def make_scheduler(optimizer: torch.optim.Optimizer, updates: int) -> torch.optim.lr_scheduler.LRScheduler:
    """One scheduler for all of it."""
    return optimctl.build_lr_scheduler(optimizer, SCHEDULES, updates=updates)


def preview() -> npt.NDArray[np.floating[Any]]:
    """What the values of the whole training must be."""
    optimizer = make_optimizer(make_model(), [])
    bases = [group["lr"] for group in optimizer.param_groups]
    assert bases == pytest.approx([0.01, 0.02, 0.01, 0.001])
    tables = [{**table, "by": "update"} for table in SCHEDULES]
    momentum = optimizer.defaults["betas"][0]
    previews = [
        optimctl.preview_param_schedulers(tables, {"lr": lr, "momentum": momentum}, max_iters=UPDATES) for lr in bases
    ]
    return np.stack([one[option] for option in ("lr", "momentum") for one in previews], axis=1)


def assert_previewed(values: Sequence[Sequence[float]], start: int = 0) -> None:
    """The values from update ``start`` to the end are the preview's."""
    expected = preview()[start:]
    assert np.shape(values) == expected.shape
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=0)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    """The two models are equal, to the bit."""
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
