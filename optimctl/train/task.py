"""Tasks: what a batch is to the model, and what its output is worth.

In this room: ``Supervised``, ``Classification`` and ``ModelLoss``, and the metrics by name. A task has
``loss(model, batch)``, a tensor or a dict of tensors, and ``evaluate(model, batch)``, for each metric its sum over the batch and the
number of samples behind it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, model_validator
from torch import Tensor, nn

from optimctl.errors import JobError, Problem, RunFailed, listing, nearest, raised_text
from optimctl.optim.loss import total_loss

if TYPE_CHECKING:
    from typing_extensions import Self

Sums = dict[str, tuple[Any, int]]
"""For each metric its sum over a batch, and the number of samples behind it."""


@dataclass(frozen=True)
class Metric:
    """A metric that is a mean over samples: ``function(output, target)`` gives one number a sample."""

    function: Callable[[Tensor, Tensor], Tensor]
    rule: str
    """Whether the best value is the largest ("max") or the smallest ("min")."""


def _accuracy(output: Tensor, target: Tensor) -> Tensor:
    return output.argmax(1) == target


def _top5_accuracy(output: Tensor, target: Tensor) -> Tensor:
    best = output.topk(min(5, output.shape[1]), dim=1).indices
    return (best == target.unsqueeze(1)).any(1)


def _binary_accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output > 0) == (target > 0.5)


def _absolute_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs()


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square()


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(_accuracy, "max"),
    "top5_accuracy": Metric(_top5_accuracy, "max"),
    "binary_accuracy": Metric(_binary_accuracy, "max"),
    "mean_absolute_error": Metric(_absolute_error, "min"),
    "mean_squared_error": Metric(_squared_error, "min"),
}
LOSSES = sorted(name for name in vars(nn) if name.endswith("Loss"))


def metric_rule(task: Any, metric: str, rule: str | None = None) -> str | None:
    """Whether a metric is best at its largest ("max") or its smallest ("min") value: as said, else as the task says.

    None where nothing says it.
    """
    rules: Mapping[str, str] = getattr(task, "metric_rules", {})
    return rule or rules.get(metric)


class Supervised:
    """Inputs and a target: the loss compares the model's output with the target.

    A batch is ``(input, target)`` or ``(input, input, ..., target)``; the model is called with the inputs.

    Args:
        loss: A loss of ``torch.nn`` by its name, or a table of its name (``type``) and its arguments; an array for a tensor.
        metrics: Any of accuracy, top5_accuracy, binary_accuracy (outputs are logits), mean_absolute_error,
            mean_squared_error.

    Raises:
        JobError: No such loss or metric, or the loss refuses its arguments.
    """

    class Arguments(BaseModel):
        """What a job can tell the task, checked before there is a model."""

        loss: str | dict[str, Any] = "MSELoss"
        metrics: list[str] = []

        @model_validator(mode="after")
        def _are_known(self) -> Self:
            _read(self.loss, self.metrics)
            return self

    def __init__(self, loss: str | Mapping[str, Any] = "MSELoss", metrics: Sequence[str] = ()) -> None:
        if isinstance(metrics, str):
            raise JobError.single(("metrics",), f'must be an array, as ["{metrics}"]', "wrong-type")
        self.criterion, self.metrics = _read(loss, metrics)

    @property
    def metric_rules(self) -> dict[str, str]:
        """Whether each metric is best at its largest or its smallest value."""
        return {"loss": "min", **{name: metric.rule for name, metric in self.metrics.items()}}

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch, a scalar."""
        inputs, target = _split(batch)
        loss: Tensor = self._on_device(target)(model(*inputs), target)
        return loss

    def evaluate(self, model: nn.Module, batch: Any) -> Sums:
        """Loss and metrics of a batch: for each its sum over the samples, and how many they are."""
        inputs, target = _split(batch)
        output = model(*inputs)
        loss = self._on_device(target)(output, target)
        samples = len(target)
        sums: Sums = {"loss": (loss if self.criterion.reduction == "sum" else loss * samples, samples)}
        for name, metric in self.metrics.items():
            values = metric.function(output, target)
            sums[name] = (values.sum(), values.numel())
        return sums

    def _on_device(self, target: Tensor) -> nn.Module:
        """The loss, its own tensors where the data is."""
        if self._moved_to != target.device:
            self.criterion.to(target.device)
            self._moved_to = target.device
        criterion: nn.Module = self.criterion
        return criterion

    _moved_to: torch.device | None = None


class Classification(Supervised):
    """``Supervised`` with cross entropy and accuracy: targets are class indices.

    Args:
        loss: As in ``Supervised``.
        metrics: As in ``Supervised``.
    """

    def __init__(
        self, loss: str | Mapping[str, Any] = "CrossEntropyLoss", metrics: Sequence[str] = ("accuracy",)
    ) -> None:
        super().__init__(loss, metrics)


class ModelLoss:
    """The model computes its loss itself: it is called with the batch and returns the loss.

    A dict is passed as keywords, a list or tuple as arguments. The model returns a tensor, a dict of tensors, or an object
    with an attribute ``loss``. Of a dict, the entries whose names contain "loss" are added up, as in MMEngine; the others are
    recorded.
    """

    metric_rules: Mapping[str, str] = {"loss": "min"}

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """The loss of a batch: a scalar, or named scalars."""
        arguments, keywords = _arguments(batch)
        output = model(*arguments, **keywords)
        if isinstance(output, (Tensor, Mapping)) and not hasattr(output, "loss"):
            return output
        loss = getattr(output, "loss", None)
        if loss is None:
            raise RunFailed(
                f"ModelLoss wants a model that returns its loss; this one returned a {type(output).__name__}"
            )
        return loss

    def evaluate(self, model: nn.Module, batch: Any) -> Sums:
        """The loss of a batch, once for each of its samples."""
        total = total_loss(self.loss(model, batch))
        samples = _samples(batch)
        return {"loss": (total * samples, samples)}


def _read(loss: str | Mapping[str, Any], metrics: Sequence[str]) -> tuple[Any, dict[str, Metric]]:
    """The loss, and the metrics by name; all that is wrong with them is raised together."""
    problems: list[Problem] = []
    criterion = None
    known: dict[str, Metric] = {}
    try:
        criterion = _criterion(loss)
    except JobError as error:
        problems += error.problems
    for index, name in enumerate(metrics):
        try:
            known[name] = _metric(name, index)
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(problems)
    return criterion, known


def _criterion(loss: str | Mapping[str, Any]) -> Any:
    arguments = {"type": loss} if isinstance(loss, str) else dict(loss)
    key = ("loss",) if isinstance(loss, str) else ("loss", "type")
    name = arguments.pop("type", None)
    if name not in LOSSES:
        raise JobError.single(key, f"torch.nn has no loss called {name!r}{nearest(str(name), LOSSES)}", "unknown-loss")
    kind = getattr(nn, name)
    known = [
        parameter for parameter in inspect.signature(kind).parameters if parameter not in ("size_average", "reduce")
    ]
    for argument in arguments:
        if argument not in known:
            hint = nearest(argument, known) or f"; it takes {listing(known)}"
            raise JobError.single(
                ("loss", argument), f"torch.nn.{name} has no argument '{argument}'{hint}", "unknown-argument"
            )
    if arguments.get("reduction") == "none":
        raise JobError.single(("loss", "reduction"), "a loss is one number; take this out", "wrong-value")
    dtype = torch.get_default_dtype()  # an integer stands for a float
    try:
        return kind(**{k: torch.tensor(v, dtype=dtype) if isinstance(v, list) else v for k, v in arguments.items()})
    except (TypeError, ValueError, RuntimeError) as error:
        raise JobError.single(
            ("loss",), f"torch.nn.{name} refuses its arguments: {raised_text(error)}", "plugin-raised"
        ) from error


def _metric(name: str, index: int) -> Metric:
    if name not in METRICS:
        hint = nearest(name, METRICS) or f"; there is {listing(METRICS)}"
        raise JobError.single(("metrics", index), f"no metric is called {name!r}{hint}", "unknown-metric")
    return METRICS[name]


def _split(batch: Any) -> tuple[Sequence[Any], Tensor]:
    if not isinstance(batch, (list, tuple)) or len(batch) < 2 or not isinstance(batch[-1], Tensor):
        raise RunFailed(
            f"Supervised and Classification want batches (input, target); this one is {_told(batch)}. "
            "A dict or a model that returns its loss goes with the task ModelLoss"
        )
    return batch[:-1], batch[-1]


def _arguments(batch: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """How a model is called with a whole batch."""
    if isinstance(batch, Mapping):
        return (), batch
    return (batch if isinstance(batch, (list, tuple)) else (batch,)), {}


def _told(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dict with {listing(str(key) for key in batch)}"
    if isinstance(batch, (list, tuple)):
        return f"a {type(batch).__name__} of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    return f"a {type(batch).__name__}"


def _samples(batch: Any) -> int:
    """The number of samples in a batch: the first dimension of its first tensor."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    items = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (list, tuple)) else ()
    return next((_samples(item) for item in items if isinstance(item, (Tensor, Mapping, list, tuple))), 1)
