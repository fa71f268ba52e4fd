"""What a run has left, for those who come after it: its checkpoints, by the words that people have for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from optimctl.errors import UsageError, nearest

JOB = "job.toml"
SUMMARY = "summary.json"


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the folder of a run, finished or not."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (JOB, SUMMARY))  # noqa: PTH113, PTH118 - never raises


def newest_run(folder: Path) -> Path | None:
    """The newest run in a folder, or in the folders in it; its name begins with its date."""
    for pattern in ("*/", "*/*/"):
        runs = [run for run in folder.glob(pattern) if is_run(run)]
        if runs:
            return max(runs, key=lambda run: run.name)
    return None


def find_checkpoint(run: Path, which: str | None = None) -> Path:
    """The checkpoint of a run that a person means.

    Args:
        run: The run's folder.
        which: ``best``, ``last``, or a file: from the working directory, or from the run's own folders. By default the best
            where the run has one, and else the last.

    Raises:
        UsageError: There is none, or no such file.
    """
    if which is None:
        return _best(run) or _last(run)
    if which == "last":
        return _last(run)
    if which == "best":
        best = _best(run)
        if best is None:
            way_out = "--checkpoint last takes the newest one"
            raise UsageError(f"{run} has no best checkpoint, as its job has no checkpoint.save_best; {way_out}")
        return best
    return _named(run, which)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted((run / "checkpoints").glob("iteration-*.pt"))


def _last(run: Path) -> Path:
    found = checkpoints(run)
    if not found:
        raise UsageError(f"{run} has no checkpoint: it ended before the first one, or they were deleted")
    return found[-1]


def _best(run: Path) -> Path | None:
    """The best checkpoint, as the run's summary names it; None where there is no best."""
    try:
        best = json.loads((run / SUMMARY).read_text("utf-8"))["best"]
        file = None if best is None else run / best["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{run / SUMMARY} cannot be read ({reason}); --checkpoint last needs it not") from error
    if file is not None and not file.is_file():
        _last(run)  # or there is none at all, which is then what is told
        raise UsageError(f"the best checkpoint of {run} is gone, {file.name}; --checkpoint last takes the newest one")
    return file


def _named(run: Path, name: str) -> Path:
    for folder in (Path(), run, run / "checkpoints"):
        if os.path.isfile(folder / name):  # noqa: PTH113 - never raises
            return folder / name
    names = [file.name for file in checkpoints(run)]
    hint = nearest(name, [*names, "best", "last"]) or (f"; the newest of the run is {names[-1]}" if names else "")
    raise UsageError(f"there is no checkpoint '{name}'{hint}")


__all__ = ["checkpoints", "find_checkpoint", "is_run", "newest_run"]
