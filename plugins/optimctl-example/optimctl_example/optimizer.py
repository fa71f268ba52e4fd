"""An optimizer as a plugin: any class that follows ``torch.optim.Optimizer``."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class MyOptimizer(Optimizer):
    """Momentum whose steps all have the same length: gradient descent that only asks which way, never how steep.

    For each tensor p with its gradient g and its direction m, which starts at 0::

        m <- b * m + (1 - b) * g
        p <- (1 - a * c) * p - a * m / rms(m)        where rms(m) = sqrt(mean(m ** 2))

    Since the length of a step does not shrink with the gradient, bring ``a`` down towards the end of a run: see
    ``MyScheduler``.

    Args:
        params: Parameters, or groups of them (tables that may have their own ``a``, ``b`` and ``c``).
        a: Step size: how far a number of a tensor moves in one step, as a root mean square. 0 or more.
        b: Momentum: the share of the old direction that is kept in a step. From 0 (none) to below 1.
        c: Decoupled weight decay, as in AdamW: a step shrinks each number by the share ``a * c``. 0 or more.

    Raises:
        ValueError: ``a``, ``b`` or ``c`` is out of its range, in a group too.
    """

    def __init__(self, params: ParamsT, a: float = 1e-2, b: float = 0.9, c: float = 0.0) -> None:
        # What is in `defaults` is an option: a job's rules and schedules can give each group of parameters its own.
        super().__init__(params, defaults={"a": a, "b": b, "c": c})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in ``torch.optim.Optimizer``; its options are checked."""
        options = {**self.defaults, **param_group}
        if not options["a"] >= 0:
            raise ValueError(f"the step size a must be 0 or more, not {options['a']}")
        if not 0 <= options["b"] < 1:
            raise ValueError(f"the momentum b must be from 0 to below 1, not {options['b']}")
        if not options["c"] >= 0:
            raise ValueError(f"the weight decay c must be 0 or more, not {options['c']}")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step.

        Args:
            closure: Computes the loss and its gradients anew, and returns the loss; called once, where it is given.

        Returns:
            What ``closure`` returned; None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # Options are read from the group each time: a schedule has moved them since the last step.
            a, b, c = group["a"], group["b"], group["c"]
            for parameter in group["params"]:
                if parameter.grad is None:  # it took no part in this loss
                    continue
                # All that is remembered stands in `state`, tensor by tensor, so that checkpoints have it.
                state = self.state[parameter]
                if not state:
                    state["direction"] = torch.zeros_like(parameter)
                direction = state["direction"].lerp_(parameter.grad, 1 - b)
                rms = torch.linalg.vector_norm(direction) / max(direction.numel(), 1) ** 0.5
                smallest = torch.finfo(rms.dtype).tiny  # no gradient at all is no step, not 0 / 0
                parameter.mul_(1 - a * c).sub_(a * direction / rms.clamp(min=smallest))
        return loss
