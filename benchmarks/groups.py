"""Building the parameter groups of a large model, against MMEngine's default constructor; and how the time grows.

Run it with ``python benchmarks/groups.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from side_by_side import medians
from torch import nn

from optimctl.optim import DefaultOptimWrapperConstructor

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
RULES = {"norm_decay_mult": 0.0, "custom_keys": {"3.": {"lr_mult": 0.1}}}


def model_of(tensors: int) -> nn.Module:
    """A model of linear and norm layers with that many tensors."""
    return nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(tensors // 4))


def ours(model: nn.Module, bypass: bool = False) -> Any:
    """The groups of optimctl."""
    return DefaultOptimWrapperConstructor({"optimizer": SGD}, {**RULES, "bypass_duplicate": bypass})(model)


def mmengines(model: nn.Module) -> Any:
    """MMEngine's groups."""
    from mmengine.logging import MMLogger
    from mmengine.optim import DefaultOptimWrapperConstructor as Theirs

    if not MMLogger.check_instance_created("benchmark"):
        MMLogger.get_instance("benchmark", log_level="CRITICAL")
    return Theirs({"optimizer": dict(SGD)}, dict(RULES))(model)


def measure() -> dict[str, float]:
    """Ratios."""
    torch.set_num_threads(1)
    small, large, middle = model_of(1_000), model_of(10_000), model_of(2_000)
    grown = medians(
        {"small": lambda: ours(small), "large": lambda: ours(large), "bypass": lambda: ours(large, bypass=True)},
        rounds=7,
    )
    peers = medians({"ours": lambda: ours(middle), "theirs": lambda: mmengines(middle)}, rounds=3, warm_up=1)
    return {
        "building the groups of 2,000 tensors, against mmengine": peers["theirs"] / peers["ours"],
        "time for 10,000 tensors over time for 1,000": grown["large"] / grown["small"],
        "the same with bypass_duplicate": grown["bypass"] / grown["small"],
        "seconds for 10,000 tensors": grown["large"],
    }


if __name__ == "__main__":
    for line, ratio in measure().items():
        print(f"{ratio:8.2f}  {line}")
