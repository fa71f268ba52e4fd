"""Which parameter gets what, and how a step is taken. The names below load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl.optim.constructor import DefaultOptimWrapperConstructor, build_optim_wrapper, build_optimizer
    from optimctl.optim.options import Options, Reason
    from optimctl.optim.wrapper import OptimWrapper

_HOME = {
    "DefaultOptimWrapperConstructor": "constructor",
    "OptimWrapper": "wrapper",
    "Options": "options",
    "Reason": "options",
    "build_optim_wrapper": "constructor",
    "build_optimizer": "constructor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


__all__ = [
    "DefaultOptimWrapperConstructor",
    "OptimWrapper",
    "Options",
    "Reason",
    "build_optim_wrapper",
    "build_optimizer",
]
