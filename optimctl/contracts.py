"""What a plugin of each kind must be, as types: for authors who let mypy or pyright check their code, and for ``docs/plugins.md``.

Nothing needs to derive from them. Each ``...Plugin`` is what stands behind the entry point, a class or another callable; its result is
one of optimctl's or torch's classes, or a protocol below. An assignment holds a plugin against its contract:

    plugin: OptimizerPlugin = MyOptimizer
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.data import DataLoader, Dataset

    from optimctl.export import Imported, Source
    from optimctl.optim.multi import OptimWrapperDict
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.schedule.curves import Schedule
    from optimctl.train.hooks import Hook


class OptimizerPlugin(Protocol):
    """Kind ``optimizers``: gets the parameter groups first, then the job's arguments.

    Attributes of the optimizer that a run looks for: ``requires_closure`` (then ``step(closure)`` evaluates the loss as often as it
    likes), ``requires_create_graph`` (then gradients have a graph of their own), ``train()`` and ``eval()`` (both, or none).
    """

    def __call__(self, params: Sequence[dict[str, Any]], /, *arguments: Any, **options: Any) -> Optimizer:
        """The optimizer over ``params``: tables of ``params`` and the options in which a group differs from the others."""
        ...


class OptimWrapperPlugin(Protocol):
    """Kind ``optim_wrappers``: gets the optimizer, then the further keys of the table ``optim_wrapper``."""

    def __call__(self, optimizer: Optimizer, /, *arguments: Any, **options: Any) -> OptimWrapper:
        """The wrapper; derive it from ``OptimWrapper``, whose methods a run calls."""
        ...


class Constructor(Protocol):
    """What a ``ConstructorPlugin`` makes."""

    def __call__(self, model: nn.Module) -> OptimWrapper | OptimWrapperDict:
        """The wrapper for a model: each trainable parameter in one group, frozen ones in none."""
        ...


class ConstructorPlugin(Protocol):
    """Kind ``constructors``: gets the tables ``optim_wrapper`` and ``paramwise_cfg``, then its own arguments."""

    def __call__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
        /,
        *arguments: Any,
        **options: Any,
    ) -> Constructor:
        """The constructor; derived from ``DefaultOptimWrapperConstructor`` it only overrides ``options``."""
        ...


class SchedulePlugin(Protocol):
    """Kind ``schedulers``: gets the job's arguments, and ``length``, where it has that, from optimctl.

    A torch ``LRScheduler`` class is a plugin too, as it is.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Schedule:
        """The schedule: an object with ``maps(t, reference)``."""
        ...


class ModelPlugin(Protocol):
    """Kind ``models``: gets the job's arguments."""

    def __call__(self, *arguments: Any, **options: Any) -> nn.Module:
        """The network, on the CPU or wherever torch's default device is."""
        ...


class DatasetPlugin(Protocol):
    """Kind ``datasets``: gets the job's arguments."""

    def __call__(self, *arguments: Any, **options: Any) -> Dataset[Any] | DataLoader[Any]:
        """A dataset, whose own ``collate_fn``, ``sampler`` and ``batch_sampler`` are used where it has them; or a ready loader."""
        ...


class Task(Protocol):
    """What a batch means to the model."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor | Mapping[str, Any]:
        """The loss of a batch, one number; or several by name, of which those called something with "loss" are added up."""
        ...

    def evaluate(self, model: nn.Module, batch: Any) -> Mapping[str, tuple[Any, int]]:
        """For each metric its sum over a batch and the number of samples behind it; called without gradients, in ``eval()``."""
        ...


class SteppingTask(Protocol):
    """A task that drives the optimizers itself, as a GAN must."""

    def train_step(self, model: nn.Module, batch: Any, optim_wrapper: Any) -> Tensor | Mapping[str, Any] | None:
        """One iteration, updates and all; what it returns is recorded.

        Args:
            optim_wrapper: An ``OptimWrapper``; where the job names several, an ``OptimWrapperDict`` of them.
        """
        ...

    def evaluate(self, model: nn.Module, batch: Any) -> Mapping[str, tuple[Any, int]]:
        """As that of ``Task``."""
        ...


class TaskPlugin(Protocol):
    """Kind ``tasks``: gets the job's arguments."""

    def __call__(self, *arguments: Any, **options: Any) -> Task | SteppingTask:
        """The task; with an attribute ``metric_rules``, ``{metric: "max" or "min"}``, the job need not say which way is better."""
        ...


class HookPlugin(Protocol):
    """Kind ``hooks``: gets the arguments of its table."""

    def __call__(self, *arguments: Any, **options: Any) -> Hook:
        """The hook, derived from ``optimctl.Hook``, which has a method that does nothing for every event."""
        ...


class ExporterPlugin(Protocol):
    """Kind ``exporters``: gets what is exported, then what a person gives with ``--option``."""

    def __call__(self, source: Source, /, *arguments: Any, **options: Any) -> str | bytes | Iterable[str]:
        """The job, or the run, in the other format: as text, piece by piece where it is long, or as bytes."""
        ...


class ImporterPlugin(Protocol):
    """Kind ``importers``: gets the file, then what a person gives with ``--option``."""

    def __call__(self, file: Path, /, *arguments: Any, **options: Any) -> Imported | Iterable[Imported]:
        """The job that the file describes; several, where it builds on other files."""
        ...


CONTRACTS: Mapping[str, type] = {
    "constructors": ConstructorPlugin,
    "datasets": DatasetPlugin,
    "exporters": ExporterPlugin,
    "hooks": HookPlugin,
    "importers": ImporterPlugin,
    "models": ModelPlugin,
    "optim_wrappers": OptimWrapperPlugin,
    "optimizers": OptimizerPlugin,
    "schedulers": SchedulePlugin,
    "tasks": TaskPlugin,
}
"""The contract of each kind."""
