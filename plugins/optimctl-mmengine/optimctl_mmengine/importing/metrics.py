"""The metrics that an imported job's task gives: what waits for another one cannot be carried over."""

from __future__ import annotations

from typing import Any

from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.names import last

PREFIXES = {"Accuracy": "accuracy"}
"""What stands before the slash in the names that a class of metrics gives."""


def why_no_metric(name: Any, draft: Draft) -> str:
    """Why the task that was put into a draft does not give a metric; nothing where it does."""
    if "val_dataloader" not in draft.data:
        return "it waits for a validation, and there is no val_dataloader"
    metrics = draft.data.get("task", {}).get("metrics", [])
    known = [PREFIXES.get(last(metric["type"]), last(metric["type"])) for metric in metrics] or ["loss"]
    if any(name == one or str(name).startswith(f"{one}/") for one in known):
        return ""
    return f"the task here gives {', '.join(known)}; name one of those"


__all__ = ["why_no_metric"]
