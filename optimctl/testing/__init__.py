"""What a plugin's author checks a plugin with, in pytest or anywhere else.

    from optimctl.testing import check_optimizer

    def test_it_is_an_optimizer() -> None:
        check_optimizer(MyOptimizer, lr=0.1)

Each takes what stands behind the entry point, or the plugin's name as a job writes it, and the arguments of a job's table as
keywords. What fails is raised as a ``CheckFailed`` (an ``AssertionError``): all that was found at once, each with what it means for
a run and what to do. The names load on first use, so that importing this package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl.errors import CheckFailed
    from optimctl.testing.constructor import check_constructor
    from optimctl.testing.optimizer import check_optimizer
    from optimctl.testing.schedule import check_schedule

_HOME = {
    "CheckFailed": "optimctl.errors",
    "check_constructor": "optimctl.testing.constructor",
    "check_optimizer": "optimctl.testing.optimizer",
    "check_schedule": "optimctl.testing.schedule",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


__all__ = ["CheckFailed", "check_constructor", "check_optimizer", "check_schedule"]
