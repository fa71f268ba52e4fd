"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Dataset

_SPLITS = ("train", "test")
_TEST_IMAGES = 360


class Digits(Dataset[tuple[Tensor, int]]):
    """1,797 handwritten digits of 8x8 pixels, of which 1,437 are for training and 360 for testing.

    The images come with scikit-learn (`sklearn.datasets.load_digits`), so nothing is downloaded. They are the test set
    of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998
    (https://archive.ics.uci.edu/dataset/80).

    The split is always the same: that of `train_test_split(..., test_size=360, random_state=0)`, a permutation drawn
    from `numpy.random.RandomState(0)`, whose stream NumPy keeps as it is.

    An item is an image, float32 of shape (1, 8, 8) in [0, 1] with 1 for ink, and its label, an int in [0, 9].

    Args:
        split: "train" or "test".

    Raises:
        ValueError: there is no such split.
    """

    def __init__(self, split: str = "train") -> None:
        if split not in _SPLITS:
            raise ValueError(f"Digits has no split {split!r}; it has {' and '.join(map(repr, _SPLITS))}")
        pixels, labels = load_digits(return_X_y=True)
        indices = train_test_split(range(len(labels)), test_size=_TEST_IMAGES, random_state=0)[_SPLITS.index(split)]
        # scikit-learn's pixels count the ink in 4x4 pixels of the scan: 0 to 16.
        self.images = torch.tensor(pixels[indices] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.labels = torch.tensor(labels[indices], dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])
