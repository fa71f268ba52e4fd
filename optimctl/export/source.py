"""What an exporter is given: a job, and where there is one, the run that came of it with the checkpoint that was chosen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from optimctl.errors import RunFailed, UsageError

if TYPE_CHECKING:
    from optimctl.job.schema import Job
    from optimctl.schedule.place import RunLength


Needs = Literal["job", "run", "either"]
Function = TypeVar("Function", bound=Callable[..., Any])


def _to_nobody(_: str) -> None:
    """Whoever calls an exporter from Python may not want to be told."""


@dataclass(frozen=True)
class Weights:
    """The weights in a checkpoint."""

    state: Mapping[str, Any]
    """The model's ``state_dict``, on the CPU."""
    averaged: bool
    """Whether they are the averages, which a hook such as ``EMA`` has made, in place of the trained weights."""


@dataclass(frozen=True)
class Source:
    """What is exported."""

    job: Job
    """Resolved and checked; its plugins were looked up and not loaded."""
    run: Path | None = None
    """The folder of the run, where one is exported."""
    checkpoint: Path | None = None
    """The checkpoint that was chosen; there is one wherever an exporter ``needs`` a run."""
    tell: Callable[[str], None] = field(default=_to_nobody, compare=False)
    """Takes a sentence that is worth knowing and no error; a person reads it on stderr."""

    @functools.cached_property
    def length(self) -> RunLength:
        """How long the run is, as far as the job and its data say; the data is read where the job does not say.

        Raises:
            JobError: A part of the job cannot be built.
        """
        from optimctl.assemble import assemble

        return assemble(self.job, without_weights=True).length

    @functools.cached_property
    def weights(self) -> Weights:
        """The checkpoint's weights, averaged where there are averages: those that the run's validations are about.

        Raises:
            UsageError: There is no checkpoint, or it cannot be read.
        """
        from optimctl.train.checkpoint import load_checkpoint

        if self.checkpoint is None:
            raise UsageError("a job has no weights; give the folder of a run, or a checkpoint with --checkpoint")
        try:
            state = load_checkpoint(self.checkpoint)
        except RunFailed as error:
            raise UsageError(str(error)) from error
        averaged = "averaged" in state
        weights = state.get("averaged" if averaged else "model")
        if not isinstance(weights, Mapping):
            reason = "it is damaged, or something else (it holds no weights)"
            raise UsageError(f"{self.checkpoint} cannot be read as a checkpoint: {reason}")
        return Weights(weights, averaged)


def exporter(needs: Needs = "job", binary: bool = False) -> Callable[[Function], Function]:
    """Note on an exporter what the command line asks it for: its attributes ``needs`` and ``binary``."""

    def note(function: Function) -> Function:
        vars(function).update(needs=needs, binary=binary)
        return function

    return note


__all__ = ["Needs", "Source", "Weights", "exporter"]
