"""``train_cfg``: whether MMEngine's run counts epochs or iterations, and how many.

MMEngine's epoch is a pass over the data. A job that counts in epochs of the data is one of its loop by epoch; one that says how many
iterations it has, or an epoch, is one of its loop by iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optimctl_mmengine.exporting.page import Page


@dataclass(frozen=True)
class Length:
    """How long a run is, in MMEngine's units."""

    train_cfg: Mapping[str, Any]
    by_iteration: bool
    measure: Callable[[], int | None]
    """Counts the batches of the data."""

    @cached_property
    def epoch_length(self) -> int | None:
        """Iterations of an epoch, as the job means it; None where neither it nor its data says."""
        said = self.train_cfg.get("epoch_length")
        return said if said is not None else self.measure()

    @property
    def epochs(self) -> int | None:
        """Epochs of the run, rounded up."""
        if "max_epochs" in self.train_cfg:
            return int(self.train_cfg["max_epochs"])
        length = self.epoch_length
        return -(-int(self.train_cfg["max_iters"]) // length) if length else None

    @property
    def iterations(self) -> int | None:
        """Iterations of the run."""
        if "max_iters" in self.train_cfg:
            return int(self.train_cfg["max_iters"])
        length = self.epoch_length
        return int(self.train_cfg["max_epochs"]) * length if length else None


def length_of(job: Mapping[str, Any], measure: Callable[[], int | None]) -> Length | None:
    """The run's length; None for a job that has none."""
    cfg = job.get("train_cfg")
    if cfg is None:
        return None
    own_epochs = "epoch_length" in cfg and "train_dataloader" in job
    return Length(cfg, "max_iters" in cfg or own_epochs, measure)


def write_length(job: Mapping[str, Any], length: Length | None, page: Page) -> None:
    """Write ``train_cfg``."""
    if length is None:
        return
    interval = length.train_cfg.get("val_interval", 1)
    if not length.by_iteration:
        page.settings["train_cfg"] = {
            "type": "EpochBasedTrainLoop",
            "max_epochs": length.epochs,
            "val_interval": interval,
        }
        if "epoch_length" in length.train_cfg:
            text = f"An epoch has {length.train_cfg['epoch_length']} iterations in the job; MMEngine counts those of the data."
            page.say("train_cfg", text)
        return
    iterations = length.iterations
    if iterations is None:
        page.refuse(("train_cfg",), "the run's length in iterations is not known; add epoch_length")
        return
    written = {"type": "IterBasedTrainLoop", "max_iters": iterations}
    if "val_dataloader" in job and length.epoch_length:
        written["val_interval"] = interval * length.epoch_length
    page.settings["train_cfg"] = written


__all__ = ["Length", "length_of", "write_length"]
