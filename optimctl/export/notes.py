"""What stands beside exported weights, so that they can be told from others: the job, the versions, and which weights they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optimctl.errors import UsageError
from optimctl.export.source import Source


def notes(source: Source) -> dict[str, str]:
    """The resolved job and the versions of the run as JSON, the name of the checkpoint, and whether its weights are averaged."""
    from optimctl.train.run import qualified

    return {
        "job": json.dumps(qualified(source.job), default=str),
        "versions": json.dumps(_versions(source.run)),
        "checkpoint": source.checkpoint.name if source.checkpoint else "",
        "weights": "averaged" if source.weights.averaged else "trained",
    }


def _versions(run: Path | None) -> dict[str, Any]:
    """The versions that a run ran with; without one, those of now."""
    if run is None:
        from optimctl.train.folder import environment

        found = environment((), ())
    else:
        try:
            found = json.loads((run / "environment.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{run / 'environment.json'} cannot be read: {error}") from error
    return {name: found[name] for name in ("python", "torch", "optimctl", "distributions") if name in found}
