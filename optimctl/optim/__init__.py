"""Which parameter gets what, and how a step is taken. The names below load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl.optim.amp import AmpOptimWrapper
    from optimctl.optim.constructor import DefaultOptimWrapperConstructor, build_optim_wrapper, build_optimizer
    from optimctl.optim.layer_decay import LayerDecayOptimWrapperConstructor
    from optimctl.optim.multi import OptimWrapperDict
    from optimctl.optim.options import Options, Reason
    from optimctl.optim.routes import Routes
    from optimctl.optim.wrapper import OptimWrapper

_HOME = {
    "AmpOptimWrapper": "amp",
    "DefaultOptimWrapperConstructor": "constructor",
    "LayerDecayOptimWrapperConstructor": "layer_decay",
    "OptimWrapper": "wrapper",
    "OptimWrapperDict": "multi",
    "Options": "options",
    "Reason": "options",
    "Routes": "routes",
    "build_optim_wrapper": "constructor",
    "build_optimizer": "constructor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


__all__ = [
    "AmpOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "LayerDecayOptimWrapperConstructor",
    "OptimWrapper",
    "OptimWrapperDict",
    "Options",
    "Reason",
    "Routes",
    "build_optim_wrapper",
    "build_optimizer",
]
