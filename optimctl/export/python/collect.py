"""All that a script is put together from, or all that stands in its way.

In this room: ``Collected``, and ``collect``, which reads it off an assembled job and tells of every problem that it met, not only the
first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch.utils.data import DataLoader, IterableDataset

from optimctl.errors import JobError, Problem
from optimctl.export.python.freezing import frozen_by_rule
from optimctl.export.python.hooks import Hooks, hooks_of
from optimctl.export.python.imports import Imports
from optimctl.export.python.needed import needed
from optimctl.export.python.optimizers import Written, write_optimizers
from optimctl.export.python.parts import Data, Part, data_of, part_of
from optimctl.export.python.scheduling import Scheduling, schedule
from optimctl.export.python.stepping import Stepping, stepping_of
from optimctl.export.python.tasks import Task, task_of

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.job.schema import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Collected:
    """What the script is of."""

    assembly: Assembly
    imports: Imports
    model: Part
    train: Data
    val: Data | None
    task: Task
    frozen: list[str]
    """The parameters that a rule of the job freezes."""
    optimizers: list[Written]
    stepping: Stepping
    scheduling: Scheduling
    hooks: Hooks

    @property
    def job(self) -> Job:
        """The job."""
        return self.assembly.job

    @property
    def is_endless(self) -> bool:
        """Whether an epoch is anything but a pass over the data; a length that somebody else has said may not be the pass's."""
        cfg, loader = self.job.train_cfg, needed(self.assembly.train_loader)
        is_said = type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset)
        return is_said or cfg is None or cfg.max_iters is not None or cfg.epoch_length is not None

    @property
    def forward(self) -> str:
        """What the script calls to go forward."""
        return "compiled" if self.job.job.compile else "model"

    @property
    def has_names(self) -> bool:
        """Whether the losses of an iteration have names."""
        return self.task.is_foreign and not self.stepping.has_closure

    @property
    def kept(self) -> str:
        """What the script calls the losses since the last record: numbers, or dicts of them."""
        return "history" if self.has_names else "losses"


def collect(assembly: Assembly, reserved: frozenset[str]) -> Collected:
    """What the script of a job is put together from.

    Args:
        reserved: Names that neither a plugin nor an optimizer can have in the script.

    Raises:
        JobError: All that cannot be exported, with its places.
    """
    return _Collector(assembly, Imports(reserved=reserved)).collect()


class _Collector:
    """Reads part after part; what fails leaves its problems and None."""

    def __init__(self, assembly: Assembly, imports: Imports) -> None:
        self.assembly, self.imports = assembly, imports
        self.tables: Mapping[str, Any] = assembly.job.plain()
        self.problems: list[Problem] = []

    def collect(self) -> Collected:
        assembly, imports = self.assembly, self.imports
        model = self._try(lambda: part_of("models", ("model",), self.tables["model"], imports))
        train = self._data("train_dataloader", assembly.train_loader)
        val = self._data("val_dataloader", assembly.val_loader)
        data = val or train
        task = self._try(lambda: task_of(assembly, data is not None and data.has_plain_targets, imports))
        optimizers = self._try(lambda: write_optimizers(assembly, imports))
        stepping = self._try(lambda: stepping_of(assembly, optimizers, task)) if optimizers and task else None
        scheduling = self._try(lambda: schedule(assembly, optimizers, imports)) if optimizers else None
        columns = ["loss", *(scheduling.report if scheduling else ()), *getattr(assembly.task, "metric_rules", ())]
        hooks = self._try(lambda: hooks_of(assembly, task, columns))
        if self.problems:
            raise JobError(assembly.job.located(self.problems))
        return Collected(
            assembly=assembly,
            imports=imports,
            model=needed(model),
            train=needed(train),
            val=val,
            task=needed(task),
            frozen=frozen_by_rule(assembly),
            optimizers=needed(optimizers),
            stepping=needed(stepping),
            scheduling=needed(scheduling),
            hooks=needed(hooks),
        )

    def _data(self, section: str, loader: DataLoader[Any] | None) -> Data | None:
        return None if loader is None else self._try(lambda: data_of(self.assembly, section, loader, self.imports))

    def _try(self, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except JobError as error:
            self.problems += [one for one in error.problems if one not in self.problems]
            return None


__all__ = ["Collected", "collect"]
