"""Hooks: what happens beside the loop. One file each; the base class is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimctl.train.loop import Run

EVENTS = ("run", "epoch", "iteration", "update", "validation", "checkpoint")


class Hook:
    """No-op methods; a hook overrides those that it needs. Each is called with the run."""

    def before_run(self, run: Run) -> None:
        """Runs once, right before the first iteration."""

    def after_run(self, run: Run) -> None:
        """Runs once, right after the last iteration, also where the run failed or was interrupted."""

    def before_epoch(self, run: Run) -> None:
        """Runs right before the first iteration of each epoch."""

    def after_epoch(self, run: Run) -> None:
        """Runs right after the last iteration of each epoch, before its validation."""

    def before_iteration(self, run: Run) -> None:
        """Runs right before the batch of each iteration is used."""

    def after_iteration(self, run: Run) -> None:
        """Runs right after each iteration; ``run.record`` is the record that it wrote, or None."""

    def before_update(self, run: Run) -> None:
        """Runs right before an iteration that ends an accumulation window."""

    def after_update(self, run: Run) -> None:
        """Runs right after the optimizer's step."""

    def before_validation(self, run: Run) -> None:
        """Runs right before the first validation batch."""

    def after_validation(self, run: Run) -> None:
        """Runs right after the last validation batch; ``run.record`` holds the metrics."""

    def before_checkpoint(self, run: Run) -> None:
        """Runs right before a checkpoint is put together."""

    def after_checkpoint(self, run: Run) -> None:
        """Runs right after a checkpoint stands whole on the disk."""


class Hooks:
    """All hooks of a run; an event costs nothing where no hook has a method for it."""

    def __init__(self, hooks: Iterable[Any]) -> None:
        self.all = list(hooks)
        names = [f"{when}_{event}" for event in EVENTS for when in ("before", "after")]
        self.methods: dict[str, list[Callable[[Any], None]]] = {name: self._overridden(name) for name in names}

    def call(self, event: str, run: Run) -> None:
        """Call every hook's method ``event``, in the order of the job."""
        for method in self.methods[event]:
            method(run)

    def end(self, run: Run) -> None:
        """Call every hook's ``after_run``, also where one of them raises; the first error is raised at the end."""
        errors = []
        for method in self.methods["after_run"]:
            try:
                method(run)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _overridden(self, name: str) -> list[Callable[[Any], None]]:
        plain = getattr(Hook, name)
        return [getattr(hook, name) for hook in self.all if getattr(type(hook), name, plain) is not plain]
