"""What stands beside exported weights, so that they can be told from others: the job, the versions, and which weights they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimctl.export.source import Source

NAMES = ("python", "torch", "optimctl", "distributions")


def notes(source: Source) -> dict[str, str]:
    """The resolved job and the versions of the run as JSON, the name of the checkpoint, and whether its weights are averaged."""
    from optimctl.train.folder import finite
    from optimctl.train.run import qualified

    return {
        "job": json.dumps(finite(qualified(source.job)), default=str, allow_nan=False),
        "versions": json.dumps(finite(_versions(source)), allow_nan=False),
        "checkpoint": source.checkpoint.name if source.checkpoint else "",
        "weights": "averaged" if source.weights.averaged else "trained",
    }


def _versions(source: Source) -> dict[str, Any]:
    """The versions that a run ran with; without one, those of now."""
    from optimctl.train.folder import environment

    found = environment((), ()) if source.run is None else _environment_of(source.run, source.tell)
    return {name: found[name] for name in NAMES if name in found}


def _environment_of(run: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """What stands in the run's folder; weights are worth having without it."""
    file = run / "environment.json"
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    tell(f"warning: {file} is gone or damaged, so that the versions which the run ran with are left out")
    return {}
