"""The training loop against the same loop written by hand in PyTorch.

Both train an MLP on the same data with the same loader, SGD, clipping, cosine schedule and a loss printed every ten
iterations; an iteration takes about a millisecond. An epoch of one is followed by an epoch of the other, in one process, and
the ratio of the median speeds is printed: 1.00 means that optimctl's loop costs nothing.

Run it with ``python benchmarks/loop.py``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import optimctl
from optimctl.parts import MLP, Synthetic
from optimctl.train.loop import Run

JOB = """
[model]
type = "MLP"
in_features = 64
out_features = 10
hidden = [256, 256]
[task]
type = "Classification"
[train_dataloader]
batch_size = 128
shuffle = true
dataset = {{ type = "Synthetic", samples = 25600, features = 64, classes = 10 }}
[train_cfg]
max_epochs = {epochs}
[optim_wrapper]
clip_grad = {{ max_norm = 1.0 }}
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.01
momentum = 0.9
weight_decay = 1e-4
[param_scheduler]
type = "CosineAnnealingLR"
by_epoch = false
[checkpoint]
interval = {epochs}
"""


class ByHand:
    """What a careful person would write."""

    def __init__(self, epochs: int) -> None:
        torch.manual_seed(0)
        self.model = MLP(64, 10, [256, 256])
        data = Synthetic(samples=25600, features=64, classes=10)
        self.loader = DataLoader(data, batch_size=128, shuffle=True)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, epochs * len(self.loader))
        self.log: list[str] = []

    def epoch(self) -> None:
        """Train for an epoch."""
        self.model.train()
        parameters = list(self.model.parameters())
        total = torch.zeros(())
        for number, (inputs, labels) in enumerate(self.loader, 1):
            loss = self.criterion(self.model(inputs), labels)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            total += loss.detach()
            if number % 10 == 0:
                lr = self.schedule.get_last_lr()[0]
                self.log.append(f"{number} loss {total.item() / 10:.4f} lr {lr:.4g} norm {norm.item():.4g}")
                total.zero_()


class Interleave(optimctl.Hook):
    """Times optimctl's epochs, and lets the other loop run an epoch after each."""

    def __init__(self, other: ByHand) -> None:
        self.other = other
        self.ours: list[float] = []
        self.theirs: list[float] = []

    def before_epoch(self, run: Run) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def after_epoch(self, run: Run) -> None:
        """Stop it, and time an epoch by hand."""
        self.ours.append(time.perf_counter() - self.start)
        start = time.perf_counter()
        self.other.epoch()
        self.theirs.append(time.perf_counter() - start)


def measure(epochs: int = 31) -> dict[str, float]:
    """The ratio of speeds."""
    hook = Interleave(ByHand(epochs))
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "loop.toml"
        job.write_text(JOB.format(epochs=epochs), "utf-8")
        optimctl.run(optimctl.load_job(job), work_dir=Path(folder) / "runs", hooks=[hook])
    ours, theirs = statistics.median(hook.ours[1:]), statistics.median(hook.theirs[1:])
    took = 1000 * theirs / len(hook.other.loader)
    return {f"iterations per second of the loop, against the same by hand ({took:.2f} ms an iteration)": theirs / ours}


if __name__ == "__main__":
    for line, ratio in measure(*(int(argument) for argument in sys.argv[1:2])).items():
        print(f"{ratio:8.3f}  {line}")
