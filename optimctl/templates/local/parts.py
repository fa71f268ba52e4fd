"""A model, a dataset and a task to start from: change them, or write others beside them.

`pyproject.toml` gives them the names that a job writes as `type`; the other keys of the
job's table become their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

Batch = tuple[Tensor, Tensor]
"""Points of shape (N, 2) and their classes, of shape (N,)."""


class Net(nn.Module):
    """A network with two hidden layers.

    Args:
        classes: Number of classes.
        width: Size of the hidden layers.
    """

    def __init__(self, classes: int = 3, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(2, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, classes)

    def forward(self, points: Tensor) -> Tensor:
        """Points of shape (N, 2) to logits of shape (N, classes)."""
        logits: Tensor = self.head(self.body(points))
        return logits


class Spirals(Dataset[tuple[Tensor, Tensor]]):
    """Points of a plane, each on an arm of a spiral; the arm is the class.

    Args:
        split: "train" or "test": other points of the same arms.
        samples: Number of points.
        classes: Number of arms.
        turns: How often an arm goes round the centre.
        noise: Standard deviation of a point's distance from its arm.
        seed: Draws the points; the same seed gives the same points.
    """

    def __init__(
        self,
        split: Literal["train", "test"] = "train",
        samples: int = 1500,
        classes: int = 3,
        turns: float = 1.25,
        noise: float = 0.03,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(2 * seed + (split == "test"))
        self.labels = torch.randint(classes, (samples,), generator=generator)
        radius = torch.rand(samples, generator=generator)
        angle = 2 * math.pi * (turns * radius + self.labels / classes)
        arms = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        self.points = arms + noise * torch.randn(samples, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.points[index], self.labels[index]


class PointClassification:
    """Cross entropy; the metric is accuracy, the share of points that are told right.

    Args:
        label_smoothing: Share of the target that is spread over all classes.
    """

    metric_rules: Mapping[str, str] = {"loss": "min", "accuracy": "max"}

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """What training makes small: one number for a batch."""
        points, labels = batch
        logits = model(points)
        smoothing = self.label_smoothing
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, tuple[Tensor, int]]:
        """Each metric's sum over a batch, and the number of points behind it."""
        points, labels = batch
        logits = model(points)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        right = (logits.argmax(dim=1) == labels).sum()
        return {"loss": (loss, len(labels)), "accuracy": (right, len(labels))}
