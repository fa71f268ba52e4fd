"""Runs that tests of hooks share: whole, and interrupted and resumed from the file of their checkpoint."""

import datetime
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import nn

import optimctl
from optimctl.assemble import assemble
from optimctl.job.schema import Job
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.folder import RunFolder
from optimctl.train.loop import Run


class Interrupt(optimctl.Hook):
    """Ends the run after an iteration, as a signal does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def after_iteration(self, run: Run) -> None:
        if run.iteration == self.at:
            run.stop_signal = 15


def new_folder() -> RunFolder:
    """A folder for a run, below the working directory."""
    return RunFolder.create(Path("runs"), datetime.datetime.now())


def straight(job: Job, *, model: nn.Module | None = None, hooks: tuple[optimctl.Hook, ...] = ()) -> Run:
    """The run of a job, carried out in a folder."""
    with closing(new_folder()) as folder:
        run = Run(assemble(job, for_run=True, model=model), folder, hooks)
        run.train()
    return run


def interrupted_and_resumed(job: Job, at: int) -> Run:
    """The run of a job that was interrupted after ``at`` iterations, and went on in the same folder."""
    with closing(new_folder()) as folder:
        Run(assemble(job, for_run=True), folder, (Interrupt(at),)).train()
    with closing(folder):
        resumed = Run(assemble(job, for_run=True), folder)
        resumed.load_state_dict(load_checkpoint(folder.checkpoints / f"iteration-{at:08d}.pt"))
        resumed.train()
    return resumed


def checkpoint(run: Run, at: int | None = None) -> dict[str, Any]:
    """A checkpoint of a run, by its iteration; the last one."""
    assert run.folder is not None
    files = sorted(run.folder.checkpoints.iterdir())
    return load_checkpoint(files[-1] if at is None else run.folder.checkpoints / f"iteration-{at:08d}.pt")
