"""Jobs that tests share: small enough to train in a moment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from optimctl.job.load import load_job
from optimctl.job.schema import Job
from optimctl.optim import OptimWrapper, build_optim_wrapper

BLOBS = """
[job]
name = "blobs"
device = "cpu"
[model]
type = "MLP"
in_features = 8
out_features = 3
hidden = [16]
[task]
type = "Classification"
[train_dataloader]
batch_size = 16
shuffle = true
dataset = { type = "Synthetic", samples = 112, features = 8, classes = 3 }
[val_dataloader]
batch_size = 64
dataset = { type = "Synthetic", split = "test", samples = 100, features = 8, classes = 3 }
[train_cfg]
max_epochs = 3
[optim_wrapper]
accumulative_counts = 2
clip_grad = { max_norm = 1.0 }
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.1
momentum = 0.9
[[param_scheduler]]
type = "LinearLR"
start_factor = 0.1
by_epoch = false
end = 5
[[param_scheduler]]
type = "CosineAnnealingLR"
by_epoch = true
[log]
interval = 2
"""
"""Three epochs of seven iterations, two iterations an update."""


def write_blobs(folder: Path, extra: str = "") -> Path:
    """The job in a file of ``folder``."""
    file = folder / "blobs.toml"
    file.write_text(BLOBS + extra, "utf-8")
    return file


def blobs(folder: Path, *overrides: str, extra: str = "") -> Job:
    """The job, with what ``--set`` would change."""
    return load_job(write_blobs(folder, extra), overrides)


def one_wrapper(model: nn.Module, table: Mapping[str, Any]) -> OptimWrapper:
    """The wrapper of a table ``optim_wrapper`` with one optimizer."""
    wrapper = build_optim_wrapper(model, table)
    assert isinstance(wrapper, OptimWrapper)
    return wrapper


def read_records(run: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``."""
    import json

    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
