"""MMEngine and optimctl: configurations in and out, OpenMMLab's models and data in jobs, merged groups in MMEngine's Runner.

``OptimctlConstructor`` is for configurations of MMEngine: ``constructor = "optimctl_mmengine.OptimctlConstructor"``. All else is found
through entry points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl_mmengine.constructor import OptimctlConstructor


def __getattr__(name: str) -> Any:
    if name != "OptimctlConstructor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from optimctl_mmengine.constructor import OptimctlConstructor

    return OptimctlConstructor


__all__ = ["OptimctlConstructor"]
