"""Hooks: what happens beside the loop. One file each; the base class is here.

Beside its events a hook may have

* ``state_dict()`` and ``load_state_dict(state)``: what it remembers goes into each checkpoint, under the hook's name, and comes
  back before ``before_run`` of a resumed run;
* ``averaged(run)``: weights to be evaluated and exported in place of the trained ones, by the names of the model's parameters
  and buffers; none before there are any. They are in the model during each validation, and whole in each checkpoint. A job
  has one such hook at most;
* ``waits_for``: a metric of the validation that it cannot do without; a job whose task does not give it is refused, and so is one
  whose task does not say which way is better, where the hook has a ``rule`` and that is None.

``run.stop(reason)`` ends the run in good order, from any event.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

from optimctl.errors import OptimctlError, RunFailed, is_ours, raised_text

if TYPE_CHECKING:
    from optimctl.train.loop import Run

EVENTS = ("run", "epoch", "iteration", "update", "validation", "checkpoint")


class Hook:
    """No-op methods; a hook overrides those that it needs. Each event is called with the run."""

    def before_run(self, run: Run) -> None:
        """Runs once, right before the first iteration."""

    def after_run(self, run: Run) -> None:
        """Runs once, right after the last iteration, also where the run was interrupted or, as ``run.failed`` says, failed."""

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
        """Runs right after the optimizer's step, also one that float16 has skipped: then ``run.wrapper.updates`` stays."""

    def before_validation(self, run: Run) -> None:
        """Runs right before the first validation batch."""

    def after_validation(self, run: Run) -> None:
        """Runs right after the last validation batch; ``run.record`` holds the metrics."""

    def before_checkpoint(self, run: Run) -> None:
        """Runs right before a checkpoint is put together."""

    def after_checkpoint(self, run: Run) -> None:
        """Runs right after a checkpoint stands whole on the disk."""

    def state_dict(self) -> dict[str, Any]:
        """What the hook remembers, as tensors and plain values: a checkpoint holds nothing else."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned; ``state`` stays as it is. Not called where it returned nothing."""


class Hooks:
    """All hooks of a run; an event costs nothing where no hook has a method for it.

    Args:
        named: The job's hooks, by the names of their tables.
        others: Further ones, called after them; they are named by their classes.
    """

    def __init__(self, named: Mapping[str, Any], others: Iterable[Any] = ()) -> None:
        self.by_name: dict[str, Any] = dict(named)
        for hook in others:
            self.by_name[self._free(type(hook).__name__)] = hook
        names = [f"{when}_{event}" for event in EVENTS for when in ("before", "after")]
        self.methods: dict[str, list[Callable[[Any], None]]] = {name: self._overridden(name) for name in names}
        averaging = [hook.averaged for hook in self.by_name.values() if hasattr(hook, "averaged")]
        self._averaged: Callable[[Run], Mapping[str, Tensor]] | None = averaging[0] if averaging else None

    def call(self, event: str, run: Run) -> None:
        """Call every hook's method ``event``, in the order of the job.

        Raises:
            RunFailed: A hook raised; the message names it, and its own innermost frame.
        """
        method = None
        try:
            for method in self.methods[event]:
                method(run)
        except (Exception, SystemExit) as error:
            self._tell(method, error, run)

    def end(self, run: Run) -> None:
        """Call every hook's ``after_run``, also where one of them raises; the first error is raised at the end."""
        failed: list[tuple[Any, Exception]] = []
        for method in self.methods["after_run"]:
            try:
                method(run)
            except Exception as error:
                failed.append((method, error))
        if failed:
            self._tell(*failed[0], run)

    def averaged(self, run: Run) -> Mapping[str, Tensor]:
        """The weights to evaluate in place of the trained ones; empty where no hook averages, or none has begun to."""
        if self._averaged is None:
            return {}
        try:
            return self._averaged(run) or {}
        except Exception as error:
            self._tell(self._averaged, error, run)

    def state_dict(self, run: Run) -> dict[str, Any]:
        """What the hooks remember, by their names.

        Raises:
            RunFailed: One of them raised, or remembers what a checkpoint cannot hold.
        """
        states = {name: self._state(hook, run) for name, hook in self.by_name.items() if hasattr(hook, "state_dict")}
        for name, state in states.items():
            odd = next(_unfit(state), None)
            if odd is not None:
                raise RunFailed(
                    f"the hook '{name}' wants to remember a {odd}; "
                    "a checkpoint holds tensors, numbers, texts, and lists and dicts of them"
                )
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each hook what it remembered under its name; one that the checkpoint does not know begins anew."""
        for name, hook in self.by_name.items():
            if name in states:
                hook.load_state_dict(states[name])

    def _overridden(self, name: str) -> list[Callable[[Any], None]]:
        plain = getattr(Hook, name)
        hooks = self.by_name.values()
        return [getattr(hook, name) for hook in hooks if getattr(type(hook), name, plain) is not plain]

    def _free(self, name: str) -> str:
        number = 2
        free = name
        while free in self.by_name:
            free, number = f"{name}-{number}", number + 1
        return free

    def _state(self, hook: Any, run: Run) -> Any:
        try:
            return hook.state_dict()
        except Exception as error:
            self._tell(hook.state_dict, error, run)

    def _tell(self, method: Any, error: BaseException, run: Run) -> NoReturn:
        """Raise ``error`` with the hook's name; what the disk refuses is no bug of ours, though our code asked for it."""
        if isinstance(error, OptimctlError) or (is_ours(error) and not isinstance(error, OSError)):
            raise error
        owner = getattr(method, "__self__", None)
        name = next((f"the hook '{name}'" for name, hook in self.by_name.items() if hook is owner), "a hook")
        where = f"; {run.folder.path}/log.txt has the whole traceback" if run.folder else ""
        raise RunFailed(f"{name} raised {raised_text(error)}, after {run.iteration} iterations{where}") from error


def _unfit(value: Any) -> Iterator[str]:
    """The types inside ``value`` that a checkpoint, which loads without executing anything, cannot hold."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            yield from _unfit(key)
            yield from _unfit(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from _unfit(item)
    elif type(value) not in (int, float, bool, str, type(None)) and not isinstance(value, Tensor):
        yield type(value).__name__
