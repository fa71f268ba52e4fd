"""What a hyper-parameter is when: the schedules of a job, over a run.

Names load on first use, so that this package imports neither torch nor numpy by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl.schedule.alone import ParamScheduler as ParamScheduler
    from optimctl.schedule.curves import Schedule as Schedule
    from optimctl.schedule.place import Placed as Placed
    from optimctl.schedule.place import RunLength as RunLength
    from optimctl.schedule.place import read_schedules as read_schedules
    from optimctl.schedule.scheduler import ParamSchedulers as ParamSchedulers
    from optimctl.schedule.scheduler import build_param_schedulers as build_param_schedulers
    from optimctl.schedule.to_torch import build_lr_scheduler as build_lr_scheduler
    from optimctl.schedule.trajectory import preview_param_schedulers as preview_param_schedulers
    from optimctl.schedule.trajectory import trajectory as trajectory

CURVES = (
    "Constant",
    "CosineAnnealing",
    "CosineRestart",
    "Exponential",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Poly",
    "QuadraticWarmup",
    "ReduceOnPlateau",
    "Step",
    "WarmupStableDecay",
)
_ROOMS = {
    "alone": (
        "ParamScheduler",
        *(curve + suffix for curve in CURVES for suffix in ("LR", "Momentum", "ParamScheduler")),
    ),
    "curves": ("Schedule",),
    "place": ("Placed", "RunLength", "read_schedules"),
    "scheduler": ("ParamSchedulers", "build_param_schedulers"),
    "to_torch": ("build_lr_scheduler",),
    "trajectory": ("preview_param_schedulers", "trajectory"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
