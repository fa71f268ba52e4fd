"""Iterations of MMEngine's own Runner, with ``OptimctlConstructor`` against MMEngine's default constructor: one line of a configuration.

The model is a transformer of 1,200 tensors, 64 wide, trained with AdamW on the CPU, one thread; norm layers and biases are not decayed.
MMEngine makes a group of every tensor, and ``OptimctlConstructor`` two of them all. The two Runners take turns, an iteration each: batch,
forward, backward, clipping, step, schedule, log. The ratio of the median speeds is printed: of whole iterations, and of the step alone.

Run it with ``python benchmarks/runner.py``.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from side_by_side import medians
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CONSTRUCTORS = {"mmengine": "DefaultOptimWrapperConstructor", "optimctl": "optimctl_mmengine.OptimctlConstructor"}


def optim_wrapper(constructor: str) -> dict[str, Any]:
    """The configuration's table; the constructor is the line that differs."""
    return {
        "constructor": constructor,
        "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
        "paramwise_cfg": {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0},
        "clip_grad": {"max_norm": 1.0},
    }


def runner(constructor: str, folder: Path) -> Any:
    """MMEngine's Runner, as far as ``train`` prepares it."""
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Transformer(BaseModel):  # type: ignore[misc]
        """A hundred encoder layers, twelve tensors each."""

        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 100, enable_nested_tensor=False)

        def forward(self, inputs: torch.Tensor, data_samples: Any = None, mode: str = "tensor") -> dict[str, Any]:
            return {"loss": self.layers(inputs).square().mean()}

    torch.manual_seed(0)
    made = Runner(
        model=Transformer(),
        work_dir=str(folder),
        train_dataloader=DataLoader(TensorDataset(torch.randn(8, 1, 64)), batch_size=1),
        train_cfg={"by_epoch": True, "max_epochs": 1_000_000},
        optim_wrapper=optim_wrapper(constructor),
        param_scheduler={"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 10_000},
        log_level="ERROR",
        experiment_name=f"benchmark-{constructor}",
    )
    made._train_loop = made.build_train_loop(made._train_loop)
    made.optim_wrapper = made.build_optim_wrapper(made.optim_wrapper)
    made.param_schedulers = made.build_param_scheduler(made.param_schedulers)
    for event in ("before_run", "before_train", "before_train_epoch"):
        made.call_hook(event)
    made.model.train()
    return made


def iteration(made: Any) -> Callable[[], None]:
    """One iteration of its loop, with its hooks."""
    (batch,) = next(iter(made.train_dataloader))
    return lambda: made.train_loop.run_iter(0, {"inputs": batch})


def stepping(made: Any) -> Callable[[], None]:
    """The optimizer's step alone, every parameter with a gradient."""
    for parameter in made.model.parameters():
        parameter.grad = torch.randn_like(parameter)
    step: Callable[[], None] = made.optim_wrapper.optimizer.step
    return step


def without_opencv() -> None:
    """The Runner imports OpenCV, which mmengine-lite leaves out, and needs it for pictures only."""
    if importlib.util.find_spec("cv2") is None:
        stand_in: Any = ModuleType("cv2")
        stand_in.setNumThreads, stand_in.__version__ = lambda _: None, "none"
        sys.modules["cv2"] = stand_in


def measure(rounds: int = 31) -> dict[str, float]:
    """Ratios of speed."""
    torch.set_num_threads(1)
    without_opencv()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        runners = {name: runner(line, Path(folder) / name) for name, line in CONSTRUCTORS.items()}
        whole = medians({name: iteration(made) for name, made in runners.items()}, rounds)
        step = medians({name: stepping(made) for name, made in runners.items()}, rounds)
    return {
        "iterations of MMEngine's Runner with OptimctlConstructor, against its own constructor": whole["mmengine"]
        / whole["optimctl"],
        "the step in it, 1,200 tensors": step["mmengine"] / step["optimctl"],
    }


if __name__ == "__main__":
    for line, ratio in measure().items():
        print(f"{ratio:8.2f}  {line}")
