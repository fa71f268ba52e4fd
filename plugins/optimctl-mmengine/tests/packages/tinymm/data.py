"""Points in three clouds, and a metric that is a mean over samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from mmengine.evaluator import BaseMetric
from torch.utils.data import BatchSampler, Dataset

from tinymm.registry import DATA_SAMPLERS, DATASETS, METRICS


@DATASETS.register_module()
class Clouds(Dataset[Any]):
    """Samples as OpenMMLab's pipelines pack them."""

    METAINFO: ClassVar[dict[str, Any]] = {"classes": ("a", "b", "c")}

    def __init__(self, samples: int = 48, noise: float = 0.5, indices: Any = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(samples) % 3
        centres = torch.randn(3, 4, generator=generator)
        self.points = centres[self.labels] + noise * torch.randn(samples, 4, generator=generator)
        self.indices = indices

    @property
    def metainfo(self) -> dict[str, Any]:
        return self.METAINFO

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"inputs": self.points[index], "data_samples": self.labels[index]}


@DATA_SAMPLERS.register_module()
class FullBatches(BatchSampler):
    """Batches of one size."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=True)


@METRICS.register_module()
class Accuracy(BaseMetric):
    """The share of hits."""

    default_prefix = "accuracy"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results += [float(sample["pred"] == sample["label"]) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"top1": sum(results) / len(results)}
