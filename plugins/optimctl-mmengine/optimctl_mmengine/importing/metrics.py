"""The metrics that an imported job's task gives: what waits for another one cannot be carried over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import names_in
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.values import from_toml

MEANS = ("Accuracy", "MAE", "MSE", "PSNR", "SNR", "SSIM")
"""Metrics of MMPretrain and MMagic that are means over samples."""
PREFIXES = {"Accuracy": "accuracy"}
"""What stands before the slash in the names that a class of metrics gives."""


def why_no_metric(name: Any, draft: Draft) -> str:
    """Why the task that was put into a draft does not give a metric; nothing where it does."""
    if "val_dataloader" not in draft.data:
        return "it waits for a validation, and there is no val_dataloader in this file"
    known = [one for one in map(_name, _metrics(draft)) if one] or ["loss"]
    beginnings = [one.partition("/")[0] for one in known]
    if any(name == one or str(name).startswith(f"{one}/") for one in beginnings):
        return ""
    return f"the task in this file gives {', '.join(known)}; name one of those"


def first_metric(evaluator: Any, draft: Draft) -> str | None:
    """What an evaluation gives first, which ``save_best = "auto"`` means; None where the job's task does not give it."""
    theirs, ours = metrics_of(evaluator), _metrics(draft)
    has_first = bool(theirs and ours) and isinstance(theirs[0], Mapping) and last(theirs[0].get("type")) in MEANS
    return _name(ours[0]) if has_first else None


def metrics_of(evaluator: Any) -> list[Any]:
    """The metrics of an evaluator: a table, several, or one that holds them."""
    if isinstance(evaluator, Mapping):
        inner = evaluator.get("metrics")
        return metrics_of(inner) if inner and last(evaluator.get("type", "Evaluator")) == "Evaluator" else [evaluator]
    return [found for one in names_in(evaluator) for found in (metrics_of(one) or [one])]


def _metrics(draft: Draft) -> list[Any]:
    return list(draft.data.get("task", {}).get("metrics", []))


def _name(metric: Mapping[str, Any]) -> str | None:
    """What a metric is called in the results; the first where it gives several, None where its arguments decide."""
    kind = last(metric.get("type"))
    prefix = metric.get("prefix") or PREFIXES.get(kind)
    if kind != "Accuracy":
        return f"{prefix}/{kind}" if prefix else kind
    if len(names_in(from_toml(metric.get("thrs")))) > 1:
        return None
    several = from_toml(metric.get("topk", 1))
    return f"{prefix}/top{next(iter(names_in(several)), several)}"


__all__ = ["MEANS", "first_metric", "metrics_of", "why_no_metric"]
