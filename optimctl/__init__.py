"""Run, dry-run, inspect and export PyTorch training jobs written in TOML.

The public names load on first use: importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optimctl.job.load import load_job
    from optimctl.optim.constructor import build_optim_wrapper, build_optimizer
    from optimctl.plan.explain import explain
    from optimctl.schedule.scheduler import build_param_schedulers
    from optimctl.schedule.to_torch import build_lr_scheduler
    from optimctl.schedule.trajectory import preview_param_schedulers
    from optimctl.train.hooks import Hook
    from optimctl.train.run import run

_HOME = {
    "Hook": "optimctl.train.hooks",
    "build_lr_scheduler": "optimctl.schedule.to_torch",
    "build_optim_wrapper": "optimctl.optim.constructor",
    "build_optimizer": "optimctl.optim.constructor",
    "build_param_schedulers": "optimctl.schedule.scheduler",
    "explain": "optimctl.plan.explain",
    "load_job": "optimctl.job.load",
    "preview_param_schedulers": "optimctl.schedule.trajectory",
    "run": "optimctl.train.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [
    "Hook",
    "build_lr_scheduler",
    "build_optim_wrapper",
    "build_optimizer",
    "build_param_schedulers",
    "explain",
    "load_job",
    "preview_param_schedulers",
    "run",
]
