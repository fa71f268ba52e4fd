"""MMDetection's quadratic warm-up, for a comparison where MMDetection is not installed."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


class QuadraticWarmup(_ParamScheduler):  # type: ignore[misc]
    """``value <- value + base * (2 t + 1) / length^2``, from 0: what MMDetection's documentation of YOLOX has."""

    def __init__(self, optimizer: Any, param_name: str = "lr", begin: int = 0, end: int = INF, **options: Any) -> None:
        self.length = end - begin
        super().__init__(optimizer, param_name, begin=begin, end=end, **options)

    @classmethod
    def build_iter_from_epoch(
        cls, *, epoch_length: int, begin: int = 0, end: int = INF, **options: Any
    ) -> QuadraticWarmup:
        """The same in iterations, from a table in epochs."""
        options["by_epoch"] = False
        return cls(begin=int(begin * epoch_length), end=int(end * epoch_length), **options)

    def _get_value(self) -> list[float]:
        step, groups = self.last_step, self.optimizer.param_groups
        if step == 0:
            return [base / self.length**2 for base in self.base_values]
        rise = (2 * step + 1) / self.length**2
        return [group[self.param_name] + base * rise for group, base in zip(groups, self.base_values, strict=True)]


def register() -> None:
    """Make it known to MMEngine, unless MMDetection has."""
    if "QuadraticWarmupLR" not in PARAM_SCHEDULERS.module_dict:
        PARAM_SCHEDULERS.register_module(name="QuadraticWarmupLR", module=QuadraticWarmup)


__all__ = ["register"]
