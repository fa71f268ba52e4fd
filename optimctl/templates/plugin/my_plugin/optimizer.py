"""The optimizer: any class that follows ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class MyPluginOptimizer(Optimizer):
    """Steps along the sign of the momentum, as Lion does (https://arxiv.org/abs/2302.06675).

    For each tensor p with its gradient g and its momentum m, which starts at 0::

        p <- (1 - lr * weight_decay) * p - lr * sign(betas[0] * m + (1 - betas[0]) * g)
        m <- betas[1] * m + (1 - betas[1]) * g

    Args:
        params: Parameters, or groups of them.
        lr: How far each number moves in a step; 0 or more.
        betas: The shares of the old momentum in the step, and in the new momentum; from 0 to below 1.
        weight_decay: Decoupled, as in AdamW; 0 or more.

    Raises:
        ValueError: An option is out of its range, in a group too.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        # What is in `defaults` is an option: rules and schedules can give each group of parameters its own.
        super().__init__(params, defaults={"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in ``torch.optim.Optimizer``; its options are checked."""
        options = {**self.defaults, **param_group}
        if not options["lr"] >= 0:
            raise ValueError(f"lr must be 0 or more, not {options['lr']}")
        if not all(0 <= beta < 1 for beta in options["betas"]):
            raise ValueError(f"betas must be from 0 to below 1, not {options['betas']}")
        if not options["weight_decay"] >= 0:
            raise ValueError(f"weight_decay must be 0 or more, not {options['weight_decay']}")
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
            # Read anew in each step: a schedule may have moved them.
            lr, (in_step, in_momentum), decay = group["lr"], group["betas"], group["weight_decay"]
            for parameter in group["params"]:
                if parameter.grad is None:  # it took no part in this loss
                    continue
                # All that is remembered stands in `state`, tensor by tensor, so that checkpoints have it.
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"]
                direction = momentum.lerp(parameter.grad, 1 - in_step).sign_()
                parameter.mul_(1 - lr * decay).sub_(lr * direction)
                momentum.lerp_(parameter.grad, 1 - in_momentum)
        return loss
