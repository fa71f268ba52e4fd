"""``TensorBoard``: the curves of a run in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optimctl.train.hooks.tracker import Tracker, numbers, require

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from optimctl.train.folder import RunFolder
    from optimctl.train.loop import Run


class TensorBoard(Tracker):
    """Writes the records as scalars, and the resolved job as text, into ``tensorboard/`` of the run's folder.

    ``tensorboard --logdir runs`` shows all runs below ``runs/``. A scalar is called ``train/loss`` or ``val/accuracy``; its step
    is the iteration. What a resumed run writes takes the place of what came after its checkpoint.

    Raises:
        JobError: The package ``tensorboard`` is not installed.
    """

    def __init__(self) -> None:
        require("tensorboard", extra="tensorboard")
        self._writer: SummaryWriter | None = None

    def begin(self, run: Run, folder: RunFolder) -> None:
        """Open the file, and write the job."""
        import tomli_w
        from torch.utils.tensorboard import SummaryWriter

        from optimctl.train.run import qualified

        resumed = run.iteration > 0
        self._writer = SummaryWriter(
            str(folder.path / "tensorboard"), purge_step=run.iteration + 1 if resumed else None
        )
        if not resumed:
            self._writer.add_text("job", f"```toml\n{tomli_w.dumps(qualified(run.job))}```")

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the record's scalars."""
        if self._writer is not None:
            for name, value in numbers(record).items():
                self._writer.add_scalar(name, value, record["iteration"])

    def after_checkpoint(self, run: Run) -> None:
        """Bring what was written to the disk: the run may go on from here."""
        if self._writer is not None:
            self._writer.flush()

    def end(self, run: Run) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
