"""``EarlyStopping``: the run ends when its metric no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from optimctl.errors import JobError, RunFailed, listing, nearest
from optimctl.schedule.checks import number, one_of, whole
from optimctl.train.hooks import Hook
from optimctl.train.task import metric_rule

if TYPE_CHECKING:
    from optimctl.train.loop import Run

RULES = ("max", "min")


class EarlyStopping(Hook):
    """Ends the run once ``patience`` validations in a row have not bettered a metric; the run counts as completed.

    A metric that is not finite is no better one. What it compares is what the validation found: with ``EMA``, of the
    averaged weights.

    Args:
        metric: A metric of the task, or ``loss``.
        patience: How many validations in a row may bring nothing better.
        min_delta: By how much a value must be better than the best so far.
        rule: Whether larger ("max") or smaller ("min") is better. Default: what the task says of the metric.

    Raises:
        JobError: An argument is out of range.
    """

    def __init__(
        self, metric: str, patience: int = 5, min_delta: float = 0.0, rule: Literal["max", "min"] | None = None
    ) -> None:
        problems = [*whole("patience", patience, 1), *number("min_delta", min_delta, least=0)]
        if rule is not None:
            problems += one_of("rule", rule, RULES)
        if problems:
            raise JobError(problems)
        self.metric, self.patience, self.min_delta, self.rule = metric, patience, min_delta, rule
        self.best: float | None = None
        self.best_iteration = 0
        self.waited = 0
        """Validations since the best one."""

    @property
    def waits_for(self) -> str:
        """The metric, which the task must give."""
        return self.metric

    def after_validation(self, run: Run) -> None:
        """Compare, and end the run where nothing has become better for long enough.

        Raises:
            RunFailed: The validation gave no such metric, or nothing says which way is better.
        """
        value = self._value(run.metrics)
        if self._is_better(value, self._sign(run)):
            self.best, self.best_iteration, self.waited = value, run.iteration, 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            run.stop(self._reason())

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and how long ago it was."""
        return {"metric": self.metric, "best": self.best, "best_iteration": self.best_iteration, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``, unless it is about another metric."""
        if state["metric"] == self.metric:
            self.best, self.best_iteration, self.waited = state["best"], state["best_iteration"], state["waited"]

    def _value(self, metrics: Mapping[str, float]) -> float:
        if self.metric not in metrics:
            hint = nearest(self.metric, metrics) or f"; it gave {listing(metrics)}"
            raise RunFailed(f"EarlyStopping: the validation gave no metric '{self.metric}'{hint}")
        return metrics[self.metric]

    def _sign(self, run: Run) -> int:
        """1 where larger is better, -1 where smaller is."""
        rule = metric_rule(run.task, self.metric, self.rule)
        if rule is None:
            raise RunFailed(f"EarlyStopping: the task does not say which way '{self.metric}' is better; set `rule`")
        return 1 if rule == "max" else -1

    def _is_better(self, value: float, sign: int) -> bool:
        if not math.isfinite(value):
            return False
        return self.best is None or sign * (value - self.best) > self.min_delta

    def _reason(self) -> str:
        validations = f"{self.patience} validation{'s' * (self.patience != 1)}"
        if self.best is None:
            return f"{self.metric} was not finite in {validations}"
        return f"{self.metric} was best, {self.best:.4g}, at iteration {self.best_iteration}, and no better in {validations} since"
