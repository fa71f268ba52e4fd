"""``optimizer.step()`` on a transformer of 1,200 tensors: optimctl's groups against MMEngine's and against two made by hand.

Width 64, AdamW, one thread; norm layers and biases are not decayed. MMEngine's default constructor makes a group of every
tensor; by hand there are two groups, with ``fused=True``.

Run it with ``python benchmarks/step.py``; on a machine with a GPU, ``python benchmarks/step.py cuda``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from side_by_side import medians
from torch import nn

import optimctl

OPTIMIZER = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05}
PARAMWISE = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}


def transformer(device: str) -> nn.Module:
    """A hundred encoder layers, 64 wide throughout, twelve tensors each, every one with a gradient."""
    layer = nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 100, enable_nested_tensor=False).to(device)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


def ours(model: nn.Module) -> torch.optim.Optimizer:
    """What optimctl builds."""
    return optimctl.build_optimizer(model, OPTIMIZER, paramwise_cfg=PARAMWISE)


def mmengines(model: nn.Module) -> torch.optim.Optimizer:
    """What MMEngine's default constructor builds."""
    from mmengine.logging import MMLogger
    from mmengine.optim import DefaultOptimWrapperConstructor

    if not MMLogger.check_instance_created("benchmark"):
        MMLogger.get_instance("benchmark", log_level="CRITICAL")
    wrapper = DefaultOptimWrapperConstructor({"optimizer": dict(OPTIMIZER)}, dict(PARAMWISE))(model)
    optimizer: torch.optim.Optimizer = wrapper.optimizer
    return optimizer


def by_hand(model: nn.Module) -> torch.optim.Optimizer:
    """Two groups, as a careful person writes them."""
    undecayed: list[Any] = []
    decayed: list[Any] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (undecayed if name == "bias" or isinstance(module, nn.LayerNorm) else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05, fused=True)


def stepping(optimizer: torch.optim.Optimizer, device: str) -> Callable[[], None]:
    """One step, to its end."""

    def step() -> None:
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def measure(device: str = "cpu", rounds: int = 41) -> dict[str, float]:
    """Ratios of speed: optimctl against MMEngine, and against two groups by hand."""
    torch.set_num_threads(1)
    makers = {"optimctl": ours, "mmengine": mmengines, "by hand": by_hand}
    seconds = medians({name: stepping(make(transformer(device)), device) for name, make in makers.items()}, rounds)
    return {
        f"optimizer.step() of 1,200 tensors, against {peer}": seconds[peer] / seconds["optimctl"]
        for peer in ("mmengine", "by hand")
    }


if __name__ == "__main__":
    for line, ratio in measure(sys.argv[1] if len(sys.argv) > 1 else "cpu").items():
        print(f"{ratio:8.2f}  {line}")
