"""``WandB``: the curves of a run in Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from optimctl.errors import JobError
from optimctl.schedule.checks import each, one_of, wrong
from optimctl.train.hooks.tracker import Tracker, numbers, require

if TYPE_CHECKING:
    from pathlib import Path

    from optimctl.errors import Problem
    from optimctl.train.folder import RunFolder
    from optimctl.train.loop import Run

MODES = ("online", "offline", "disabled")


class WandB(Tracker):
    """Sends the records to Weights & Biases, with the resolved job as the run's config.

    A value is called ``train/loss`` or ``val/accuracy``, over ``iteration``. wandb's own files lie in ``wandb/`` of the run's folder; what
    was written with ``mode = "offline"`` is sent by ``wandb sync FOLDER``. A run that is resumed goes on under its id. Who is logged in,
    and where, is wandb's business: ``wandb login``, or its environment variables.

    Args:
        project: The project. Default: the job's name.
        entity: The user or team. Default: wandb's own.
        mode: "online", "offline" or "disabled". Default: wandb's own, which is online unless ``WANDB_MODE`` says otherwise.
        tags: Words to find the run by.

    Raises:
        JobError: The package ``wandb`` is not installed, or an argument is none that it knows.
    """

    def __init__(
        self,
        project: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        require("wandb", extra="wandb")
        problems = list(each("tags", tags, _text, least_many=0))
        if mode is not None:
            problems += one_of("mode", mode, MODES)
        if problems:
            raise JobError(problems)
        self.project, self.entity, self.mode, self.tags = project, entity, mode, list(tags)
        self._id: str | None = None
        self._run: Any = None

    def begin(self, run: Run, folder: RunFolder) -> None:
        """Start a run of wandb's, or go on with the one of the checkpoint."""
        import wandb

        from optimctl.train.run import qualified

        path = folder.path.absolute()  # wandb's process may stand in another folder than ours
        with _kept_in(path / "wandb"):
            self._run = wandb.init(
                project=self.project or run.job.name,
                entity=self.entity,
                mode=self.mode,
                tags=self.tags or None,
                name=folder.path.name,
                config=qualified(run.job),
                dir=str(path),
                id=self._id,
                resume="allow" if self._id else None,
                settings=wandb.Settings(console="off", quiet=True),  # the screen is the run's own
            )
        self._id = self._run.id
        self._run.define_metric("*", step_metric="iteration")

    def write(self, record: Mapping[str, Any]) -> None:
        """Send a record."""
        if self._run is not None:
            self._run.log({"iteration": record["iteration"], "epoch": record["epoch"], **numbers(record)})

    def end(self, run: Run) -> None:
        """Wait until all is sent, and say how the run ended."""
        if self._run is not None:
            self._run.finish(exit_code=1 if run.failed else 128 + run.stop_signal if run.stop_signal else 0)
            self._run = None

    def state_dict(self) -> dict[str, Any]:
        """The id under which a resumed run goes on."""
        return {"id": self._id} if self._id else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on under the id of ``state``."""
        self._id = state["id"]


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """What wandb would write below the home folder while it starts goes to ``folder``; it asks its environment where that is."""
    name = "WANDB_CACHE_DIR"
    before = os.environ.get(name)
    os.environ[name] = before or str(folder / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _text(name: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield wrong(name, f"must be a text, not {value!r}")
