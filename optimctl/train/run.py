"""Carry out a job: make the folder, run the loop, and leave a true summary however it ends."""

from __future__ import annotations

import datetime
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from optimctl.assemble import Assembly, assemble
from optimctl.data import batches_in
from optimctl.errors import OptimctlError, RunFailed, RunInterrupted, is_ours, raised_text
from optimctl.job.named import answering, plugin_tables, put_type
from optimctl.train.curves import draw_curves
from optimctl.train.folder import RunFolder
from optimctl.train.loop import Run

if TYPE_CHECKING:
    from torch import nn

    from optimctl.job.length import Length
    from optimctl.job.schema import Job


def run(
    job: Job, *, model: nn.Module | None = None, work_dir: Path | str | None = None, hooks: Sequence[Any] = ()
) -> Path:
    """Run a job to its end; returns the run's folder.

    Args:
        job: What ``load_job`` returned.
        model: A ready model in place of the job's section.
        work_dir: Where the run's folder is made, in place of the job's.
        hooks: Further hooks, after the job's own.

    Raises:
        JobError: The job is at fault; nothing ran.
        RunFailed: The run failed or diverged; the folder says how far it got.
        RunInterrupted: A signal ended it, after its checkpoint was written.
    """
    assembly = assemble(job, for_run=True, model=model)
    ready = Run(assembly, None, tuple(hooks))
    folder = RunFolder.create(Path(work_dir) if work_dir else default_work_dir(job), datetime.datetime.now())
    ready.folder = folder
    folder.write_job(qualified(job))
    folder.write_environment(_distributions(job), job.overrides)
    carry_out(ready, folder)
    return folder.path


def carry_out(run: Run, folder: RunFolder) -> None:
    """The loop, between a summary that says ``running`` and one that says how it ended."""
    folder.write_summary(summary(run, "running"))
    status = "failed"
    try:
        with deterministic(run.job.job.deterministic), signals(run):
            run.train()
        status = "completed" if run.stop_signal is None else "interrupted"
    except OptimctlError as error:
        folder.log(f"{error}\n{traceback.format_exc()}")
        raise RunFailed(str(error)) from error  # whatever it is about: the run had begun
    except KeyboardInterrupt as error:
        status = "interrupted"
        message = f"interrupted at once after {run.iteration} iterations; no checkpoint of this moment was written"
        raise RunInterrupted(message, signal.SIGINT) from error
    except (Exception, SystemExit) as error:
        folder.log(traceback.format_exc())
        if _was_told_to_stop(run, error):
            run.save()
            status = "interrupted"
        elif is_ours(error):
            raise
        else:
            _fail(run, folder, error)
    finally:
        folder.write_summary(summary(run, status))
        draw_curves(run, folder, status)
        folder.close()
    if run.stop_signal is not None:
        name = signal.Signals(run.stop_signal).name
        raise RunInterrupted(
            f"{name} ended the run after {run.iteration} iterations; its checkpoint is in {folder.checkpoints}",
            run.stop_signal,
        )


def _fail(run: Run, folder: RunFolder, error: BaseException) -> NoReturn:
    told = raised_text(error)
    where = f"{folder.path}/log.txt has the whole traceback"
    raise RunFailed(f"{told}, after {run.iteration} iterations; {where}") from error


def _was_told_to_stop(run: Run, error: BaseException) -> bool:
    """Whether a signal to the whole process group ended the data's worker processes, and so the iteration."""
    if run.stop_signal is None and "DataLoader worker" in str(error):
        time.sleep(0.2)  # ours may still be on its way
    return run.stop_signal is not None and not isinstance(error, SystemExit)


def summary(run: Run, status: str) -> dict[str, Any]:
    """``summary.json`` of a run."""
    return {
        "status": status,
        "iterations": run.iteration,
        "epochs": run.iteration // run.epoch_length,
        "updates": run.wrapper.updates,
        "seconds": round(run.seconds, 3),
        "metrics": run.metrics,
        "best": run.best,
        "stopped": run.stop_reason,
    }


@dataclass(frozen=True)
class Trial:
    """What the first iterations of a run cost."""

    iterations: int
    seconds_per_iteration: float
    """The median over all but the first."""
    first_seconds: float
    seconds_per_validation_batch: float | None
    estimated_seconds: float
    """Of the whole run."""
    peak_bytes: int
    """Of the device on CUDA, of the process elsewhere."""


def try_out(assembly: Assembly, length: Length) -> Trial:
    """The first iterations of the real run and one validation batch; nothing is written.

    Raises:
        RunFailed: They failed.
    """
    run = Run(assembly)
    try:
        with deterministic(run.job.job.deterministic):
            seconds = run.train_some(length.iterations(run.epoch_length, run.iterations))
            validation = _seconds_of_validation(run) if assembly.val_loader is not None else None
    except OptimctlError:
        raise
    except (Exception, SystemExit) as error:
        if is_ours(error):
            raise
        raise RunFailed(f"{raised_text(error)}, after {run.iteration} iterations") from error
    usual = statistics.median(seconds[1:] or seconds)
    total = seconds[0] + usual * (run.iterations - 1) + (validation or 0.0) * _validation_batches(run)
    return Trial(len(seconds), usual, seconds[0], validation, total, _peak_bytes(assembly.device))


def default_work_dir(job: Job) -> Path:
    """``job.work_dir``, or ``runs/<name>``."""
    return Path(job.job.work_dir) if job.job.work_dir else Path("runs") / job.name


def qualified(job: Job) -> dict[str, Any]:
    """The resolved job with every plugin as ``distribution/Name``, so that it means the same wherever it is read."""
    plain = job.plain()
    plain["job"] = {"name": job.name, **plain.get("job", {})}
    for key, table in plugin_tables(job):
        claim = answering(table)
        if claim is not None and "/" not in table.type:
            put_type(plain, key, f"{claim.distribution}/{table.type}")
    return plain


def _distributions(job: Job) -> Iterator[tuple[str, str]]:
    for _, table in plugin_tables(job):
        claim = answering(table)
        if claim is not None:
            yield claim.distribution, claim.version


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Torch's deterministic algorithms inside, where the job asks for them."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def signals(run: Run) -> Iterator[None]:
    """SIGINT and SIGTERM let the iteration end and the checkpoint be written; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        run.stop_signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds_of_validation(run: Run) -> float:
    start = time.perf_counter()
    run.validate(most=1)
    return time.perf_counter() - start


def _validation_batches(run: Run) -> int:
    loader = run.assembly.val_loader
    times = max(1, run.epochs // run.val_interval)
    return times * ((batches_in(loader) if loader is not None else None) or 1)


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
