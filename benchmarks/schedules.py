"""Schedules: what an iteration pays for them, against MMEngine's and torch's; and what a preview of a long run takes.

Run it with ``python benchmarks/schedules.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from side_by_side import medians

import optimctl

LENGTH = 100_000
TABLES = [
    {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "end": 1000},
    {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 1000},
]
CALLS = 1000


def optimizer() -> torch.optim.Optimizer:
    """Three groups of one tensor."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    return torch.optim.SGD([{"params": [p], "lr": 0.1 * (index + 1)} for index, p in enumerate(parameters)], lr=0.1)


def many(call: Callable[[], object]) -> Callable[[], None]:
    """A thousand calls."""

    def calls() -> None:
        for _ in range(CALLS):
            call()

    return calls


def stepping() -> dict[str, Callable[[], None]]:
    """A thousand iterations of two schedules over three groups, by each peer."""
    from mmengine.optim import CosineAnnealingLR, LinearLR

    ours = optimctl.build_param_schedulers(optimizer(), TABLES, max_iters=LENGTH)
    theirs = optimizer()
    pair = [
        LinearLR(theirs, 0.001, end=1000, by_epoch=False),
        CosineAnnealingLR(theirs, begin=1000, end=LENGTH, by_epoch=False),
    ]
    torchs = optimizer()
    chain = torch.optim.lr_scheduler.SequentialLR(
        torchs,
        [
            torch.optim.lr_scheduler.LinearLR(torchs, 0.001, total_iters=999),
            torch.optim.lr_scheduler.CosineAnnealingLR(torchs, LENGTH - 1000),
        ],
        [1000],
    )
    for each in (theirs, torchs):
        each.step()

    def step_mmengines() -> None:
        for scheduler in pair:
            scheduler.step()

    return {"optimctl": many(ours.after_iteration), "mmengine": many(step_mmengines), "torch": many(chain.step)}


def preview() -> object:
    """A million iterations of four schedules, two of them overlapping."""
    tables = [
        {"type": "LinearLR", "by_epoch": False, "end": 10_000},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 10_000, "end": 900_000},
        {"type": "PolyLR", "by_epoch": False, "begin": 500_000, "eta_min": 1e-5},
        {"type": "LinearMomentum", "by_epoch": False, "start_factor": 0.9},
    ]
    return optimctl.preview_param_schedulers(tables, {"lr": 0.1, "momentum": 0.9}, max_iters=1_000_000)


def measure() -> dict[str, float]:
    """Ratios of speed, and two plain figures."""
    torch.set_num_threads(1)
    seconds = medians(stepping(), rounds=15)
    preview()
    start = time.perf_counter()
    preview()
    previewed = time.perf_counter() - start
    return {
        **{
            f"two schedules, three groups, an iteration: against {peer}": seconds[peer] / seconds["optimctl"]
            for peer in ("mmengine", "torch")
        },
        "microseconds of after_iteration()": 1e6 * seconds["optimctl"] / CALLS,
        "seconds for a preview of 1,000,000 iterations of four schedules": previewed,
    }


if __name__ == "__main__":
    for line, ratio in measure().items():
        print(f"{ratio:8.3g}  {line}")
