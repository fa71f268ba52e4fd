"""What a person sees while a run goes on: a bar on a terminal, plain lines where there is none."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from optimctl.cli import output
from optimctl.plan.page import run_length
from optimctl.train.folder import record_text
from optimctl.train.hooks import Hook

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from optimctl.train.loop import Run
    from optimctl.train.run import Trial

SECONDS_BETWEEN = 0.1
"""How often the bar is drawn anew; between two drawings an iteration pays one look at the clock."""


def progress_hook() -> Hook:
    """The bar on a terminal, lines elsewhere."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Bar() if is_terminal else Lines()


class Lines(Hook):
    """A line a record, and the remaining time at the end of each epoch."""

    def before_run(self, run: Run) -> None:
        """Say what begins."""
        if run.folder is not None:
            output.say(_opening(run))

    def after_iteration(self, run: Run) -> None:
        """Say what the record says."""
        if run.record is not None:
            output.say(f"{record_text(run.record)}  {_speed(run)}")

    def after_validation(self, run: Run) -> None:
        """Say what the validation found."""
        if run.record is not None:
            output.say(record_text(run.record))

    def after_run(self, run: Run) -> None:
        """Say why the run ended early, where a hook has stopped it."""
        if run.stop_reason is not None:
            output.say(run.ending())


class Bar(Hook):
    """A progress bar with loss, learning rate, speed and remaining time; validations stand above it."""

    def before_run(self, run: Run) -> None:
        """Draw the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns: list[Any] = [TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn()]
        columns.append(TextColumn("{task.fields[told]}"))
        output.say(_opening(run))
        self.progress: Progress = Progress(*columns, console=output.console(sys.stderr), transient=True)
        self.bar: TaskID = self.progress.add_task(
            "", total=run.iterations, completed=run.iteration, epoch=_epoch(run), told=""
        )
        self.progress.start()
        self.drawn = 0.0
        self.told = ""

    def after_iteration(self, run: Run) -> None:
        """Move the bar, a few times a second."""
        if run.record is not None:
            told = [f"{name} {run.record[name]:.4g}" for name in ("loss", "lr") if name in run.record]
            self.told = "  ".join(told)
        now = time.monotonic()
        if now - self.drawn >= SECONDS_BETWEEN:
            self.drawn = now
            self.progress.update(
                self.bar, completed=run.iteration, epoch=_epoch(run), told=f"{self.told}  {_speed(run)}"
            )

    def after_validation(self, run: Run) -> None:
        """Print the metrics above the bar."""
        if run.record is not None:
            self.progress.console.print(record_text(run.record), highlight=False, markup=False)

    def after_run(self, run: Run) -> None:
        """Take the bar away."""
        self.progress.update(self.bar, completed=run.iteration)
        self.progress.stop()
        if run.stop_reason is not None:
            output.say(run.ending())


def trial_text(trial: Trial) -> str:
    """What the first iterations showed, for a person."""
    lines = [
        f"iterations run       {trial.iterations} (the first took {_duration(trial.first_seconds)})",
        f"speed                {1 / trial.seconds_per_iteration:.1f} iterations/s ({_duration(trial.seconds_per_iteration)} each)",
    ]
    if trial.seconds_per_validation_batch is not None:
        lines.append(f"validation batch     {_duration(trial.seconds_per_validation_batch)}")
    lines.append(f"peak memory          {trial.peak_bytes / 2**20:,.0f} MiB")
    lines.append(f"estimated whole run  {_duration(trial.estimated_seconds)}")
    lines.append("Nothing was written.")
    return "\n".join(lines)


def _opening(run: Run) -> str:
    where = f", written to {run.folder.path}" if run.folder else ""
    text = f"{run.job.name}: {run_length(run.iterations, run.epoch_length)} on {run.assembly.device}{where}"
    return f"{text}\n{run.assembly.weights}" if run.assembly.weights else text


def _epoch(run: Run) -> str:
    return f"{min(run.epochs, run.iteration // run.epoch_length + 1)}/{run.epochs}"


def _speed(run: Run) -> str:
    speed = run.iteration / max(run.seconds - run.seconds_before, 1e-9)
    left = (run.iterations - run.iteration) / max(speed, 1e-9)
    return f"{speed:.1f} it/s" + (f"  {_duration(left)} left" if left else "")


def _duration(seconds: float) -> str:
    """``1:02:03``, ``2:03``, ``4.5 s`` or ``6.7 ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
