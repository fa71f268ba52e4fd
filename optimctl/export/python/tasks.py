"""The task of a job in the script: how a batch becomes a loss, and what an evaluation adds up."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from optimctl import plugins
from optimctl.export.python.imports import Imports
from optimctl.export.python.layout import Expression, call, literal
from optimctl.export.python.parts import part_of
from optimctl.train.task import Supervised

if TYPE_CHECKING:
    from optimctl.assemble import Assembly

Kind = Literal["supervised", "model", "object", "steps"]
BUILT_IN: Mapping[str, Kind] = {
    "optimctl.train.task:Supervised": "supervised",
    "optimctl.train.task:Classification": "supervised",
    "optimctl.train.task:ModelLoss": "model",
}
VALUES = {
    "accuracy": "output.argmax(1) == targets",
    "top5_accuracy": "(best == targets.unsqueeze(1)).any(1)",
    "binary_accuracy": "(output > 0) == (targets > 0.5)",
    "mean_absolute_error": "(output - targets).abs()",
    "mean_squared_error": "(output - targets).square()",
}
"""The metrics of the built-in tasks: one number for each sample, or each element."""
BEFORE: Mapping[str, str] = {"top5_accuracy": "best = output.topk(min(5, output.shape[1]), dim=1).indices"}
"""What must stand before a metric."""
SHARES = ("accuracy", "top5_accuracy", "binary_accuracy")
"""Those that cannot but be finite."""
BY_SAMPLE = ("accuracy", "top5_accuracy")
"""Those that have a number for each target."""


@dataclass(frozen=True)
class Task:
    """What the pieces know of the task."""

    kind: Kind
    name: str
    """What the job calls it."""
    variable: str
    """What the script keeps of it: ``criterion``, ``task``, or nothing."""
    expression: Expression = ""
    values: Mapping[str, str] = field(default_factory=dict)
    moves: bool = False
    """Whether the loss has tensors of its own, which go to the device."""
    loss_sum: str = ""
    zeros: str = ""
    counts_elements: bool = False
    """Whether a metric may have more numbers than there are samples."""
    may_return_none: bool = False
    """Whether its ``train_step`` may return no loss."""

    def is_share(self, metric: str) -> bool:
        """Whether a metric is a share of the samples, from 0 to 1."""
        return metric in self.values and metric in SHARES

    @property
    def is_foreign(self) -> bool:
        """Whether its losses may have names."""
        return self.kind != "supervised"


def task_of(assembly: Assembly, plain_targets: bool, imports: Imports) -> Task:
    """The job's task.

    Args:
        plain_targets: Whether there is one target for each sample.
    """
    table = assembly.job.plain()["task"]
    loaded = plugins.resolve("tasks", table["type"], ("task",))
    kind = BUILT_IN.get(loaded.plugin.object)
    if kind == "supervised":
        return _supervised(assembly.task, table, plain_targets)
    if kind == "model":
        return Task("model", loaded.plugin.name, "")
    expression = part_of("tasks", ("task",), table, imports).expression
    step = getattr(assembly.task, "train_step", None)
    if not callable(step):
        return Task("object", loaded.plugin.name, "task", expression)
    return Task("steps", loaded.plugin.name, "task", expression, may_return_none=_may_return_none(step))


def is_better(value: str, best: str, is_max: bool, is_share: bool) -> str:
    """The condition that a metric is better than the best so far; one that is not finite never is.

    Args:
        is_max: Whether larger is better.
        is_share: Whether it is finite anyway.
    """
    if is_share:
        return f"{value} {'>' if is_max else '<'} {best}"
    return f"{best} < {value} < math.inf" if is_max else f"-math.inf < {value} < {best}"


def _supervised(task: Supervised, table: Mapping[str, Any], plain_targets: bool) -> Task:
    sums = "loss" if task.criterion.reduction == "sum" else "loss * len(targets)"
    values = {name: VALUES[name] for name in task.metrics}
    return Task(
        kind="supervised",
        name=str(table["type"]),
        variable="criterion",
        expression=_criterion(task.criterion, table.get("loss")),
        values=values,
        moves=bool(list(task.criterion.buffers())),
        loss_sum=f'sums["loss"] += {sums.replace("loss", "criterion(output, targets)", 1)}',
        zeros=str(literal(dict.fromkeys(["loss", *values], 0.0))),
        counts_elements=not plain_targets or any(name not in BY_SAMPLE for name in values),
    )


def _may_return_none(function: Callable[..., Any]) -> bool:
    """Whether a function may return None, by its source: not where it ends in ``return`` and each one gives something made there."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return True
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return)]
    ends = isinstance(tree, ast.FunctionDef) and isinstance(tree.body[-1], ast.Return)
    return not ends or not all(isinstance(node.value, (ast.Dict, ast.Name, ast.BinOp)) for node in returns)


def _criterion(criterion: nn.Module, said: Any) -> Expression:
    arguments = dict(said) if isinstance(said, Mapping) else {}
    arguments.pop("type", None)
    given = {
        name: f"torch.tensor({[float(x) for x in value]})" if isinstance(value, list) else literal(value)
        for name, value in arguments.items()
    }
    return call(f"nn.{type(criterion).__name__}", **given)


__all__ = ["BEFORE", "Task", "is_better", "task_of"]
