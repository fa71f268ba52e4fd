"""A model and a dataset that ship with optimctl, so that a bare install has something to run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

SPLITS = ("train", "test")


class MLP(nn.Sequential):
    """A multi-layer perceptron: linear layers with ReLU between them.

    Args:
        in_features: Size of the input; inputs of shape (N, ...) are flattened to (N, in_features).
        out_features: Size of the output, of shape (N, out_features).
        hidden: Sizes of the hidden layers.
    """

    def __init__(self, in_features: int, out_features: int, hidden: Sequence[int] = (64, 64)) -> None:
        sizes = [in_features, *hidden, out_features]
        if any(size < 1 for size in sizes):
            raise ValueError(f"every layer needs a size from 1 up, not {sizes}")
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers[:-1])


class Synthetic(Dataset[tuple[Tensor, Tensor]]):
    """Points around the corners of a random simplex: a classification problem that a small network solves.

    Each class has a centre, drawn from a normal distribution; each sample is its class's centre plus normal noise.

    Args:
        split: "train" or "test": other samples around the same centres.
        samples: Number of samples.
        features: Numbers in a sample: a float32 tensor of shape (features,).
        classes: Number of classes; labels are int64 from 0.
        noise: Standard deviation of the noise; the centres' is 1.
        seed: Draws centres and samples; the same seed gives the same data.
    """

    def __init__(
        self,
        split: str = "train",
        samples: int = 1024,
        features: int = 16,
        classes: int = 4,
        noise: float = 0.7,
        seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split is 'train' or 'test', not {split!r}")
        if min(samples, features, classes) < 1:
            raise ValueError(f"samples, features and classes count from 1 up, not {samples}, {features}, {classes}")
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(classes, features, generator=generator)
        generator.manual_seed(2 * seed + 1 + SPLITS.index(split))
        self.labels = torch.randint(classes, (samples,), generator=generator)
        self.inputs = centres[self.labels] + noise * torch.randn(samples, features, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.labels[index]
