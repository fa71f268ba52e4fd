"""What the hooks share that pass on a run's records: trackers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError
from optimctl.train.hooks import Hook

if TYPE_CHECKING:
    from optimctl.train.folder import RunFolder
    from optimctl.train.loop import Run


class Tracker(Hook):
    """Passes on each record of a run when it is written; a run without a folder, as a trial is, leaves nothing."""

    def begin(self, run: Run, folder: RunFolder) -> None:
        """Runs once, right before the first iteration; ``run.iteration`` is above 0 where the run was resumed."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Runs right after each record."""

    def end(self, run: Run) -> None:
        """Runs once, after the last record, also where the run failed and where ``begin`` did."""

    def before_run(self, run: Run) -> None:
        """Begin, where the run has a folder."""
        if run.folder is not None:
            self.begin(run, run.folder)

    def after_iteration(self, run: Run) -> None:
        """Pass on the training's record, where the iteration has written one."""
        if run.record is not None and run.folder is not None:
            self.write(run.record)

    def after_validation(self, run: Run) -> None:
        """Pass on the validation's record."""
        self.after_iteration(run)

    def after_run(self, run: Run) -> None:
        """End."""
        self.end(run)


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """What a record has measured, by split and name, as ``train/loss``."""
    return {
        f"{record['split']}/{name}": float(value)
        for name, value in record.items()
        if isinstance(value, (int, float)) and name not in ("iteration", "epoch")
    }


def require(package: str, extra: str) -> None:
    """Make sure that a package is installed, without importing it.

    Raises:
        JobError: It is not; the message names optimctl's extra that brings it.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:  # a folder of that name beside the job has no origin
        message = f"this hook needs the package {package}, which is not installed: pip install 'optimctl[{extra}]'"
        raise JobError.single((), message, "no-package")


__all__ = ["Tracker", "numbers", "require"]
