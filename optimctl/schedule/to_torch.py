"""A job's schedules as one torch ``LRScheduler``, for loops that are not optimctl's.

In this room: ``build_lr_scheduler``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from optimctl.errors import JobError
from optimctl.schedule.checks import whole
from optimctl.schedule.place import RunLength, read_schedules
from optimctl.schedule.scheduler import ParamSchedulers, Part


class TorchParamScheduler(LRScheduler):
    """A job's schedules as one torch ``LRScheduler``; ``build_lr_scheduler`` makes it.

    Its state is the number of updates done. A loaded scheduler writes the values of its own job into the optimizer.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedulers: ParamSchedulers) -> None:
        self.schedulers = schedulers
        super().__init__(optimizer)

    def step(self, epoch: int | None = None) -> None:
        """One update is done: write the values of the next."""
        if self._step_count > 0:
            self.schedulers.after_iteration()
        self._step_count += 1
        self._note()

    def get_lr(self) -> list[float | torch.Tensor]:
        """The learning rate of each group, as ``get_last_lr``."""
        return self.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The number of updates done."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after ``last_epoch`` updates: the values are those that the job, as it is written now, has there."""
        state = {**self.schedulers.state_dict(), "iteration": state_dict["last_epoch"]}
        self.schedulers.load_state_dict(state)
        self._step_count = self.schedulers.iteration + 1
        self._note()

    def _note(self) -> None:
        self.last_epoch = self.schedulers.iteration
        values = (group["lr"] for group in self.optimizer.param_groups)
        self._last_lr = [value.clone() if isinstance(value, torch.Tensor) else value for value in values]


def build_lr_scheduler(optimizer: Any, tables: Any, *, updates: int) -> TorchParamScheduler:
    """A job's schedules as one torch ``LRScheduler``: one ``step()`` an update, for any loop.

    Everything counts updates here: ``begin``, ``end``, ``milestones`` and the like, and the share that ``"5%"`` names;
    ``by`` and ``by_epoch`` stay out.

    Args:
        optimizer: A torch optimizer, or a wrapper of one.
        tables: One table of ``param_scheduler`` or a list of them; other options than ``lr`` move too.
        updates: The steps of the optimizer in the whole training.

    Returns:
        A scheduler for ``transformers.Trainer(optimizers=(optimizer, scheduler))``, for Lightning's
        ``configure_optimizers`` (with ``"interval": "step"``), or for a loop that calls ``scheduler.step()`` after
        ``optimizer.step()``.

    Raises:
        JobError: Anything is wrong with the tables, or they move an option that the optimizer does not have.
    """
    problems = list(whole("updates", updates, least=1))
    if problems:
        raise JobError(problems)
    inner = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer.optimizer
    run = RunLength(max_iters=updates)
    part = Part(inner, read_schedules(tables, run, only="update"), run)
    return TorchParamScheduler(inner, ParamSchedulers({"default": part}))
