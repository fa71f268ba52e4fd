"""``csv``: the values of the scheduled options in every iteration."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError, Problem
from optimctl.export.source import Source

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.plan.subject import Part
    from optimctl.schedule.scheduler import ParamSchedulers
    from optimctl.schedule.scheduler import Part as ScheduledPart
    from optimctl.schedule.trajectory import Affine


@dataclass(frozen=True)
class _Column:
    """An option of a group."""

    name: str
    base: float
    """What the option starts from."""
    track: Any = None
    """What moves it; None where nothing does."""


def export_csv(source: Source) -> Iterator[str]:
    """What every scheduled option, and the learning rate, is in each group and iteration, as comma-separated values.

    A line an iteration; iteration and epoch count from 1. The other columns are called OPTIMIZER.GROUP.OPTION, as `optimctl inspect
    --json` numbers the groups; an optimizer that is alone is called default. The values are those that a run has, to the last bit,
    but for what waits for a metric.
    """
    from optimctl.assemble import assemble

    assembly = assemble(source.job, without_weights=True)
    schedules = _schedules(assembly)
    for name in _waiting(schedules):
        source.tell(f"note: {name} waits for a metric of the run, so that the values are those without it")
    return _pieces(assembly, schedules)


def _waiting(schedules: ParamSchedulers) -> list[str]:
    """The schedules whose values nobody knows before the run."""
    from optimctl.schedule.curves import ReduceOnPlateau

    every = (one for placed in schedules.schedules.values() for one in placed)
    return sorted({one.name for one in every if isinstance(one.schedule, ReduceOnPlateau)})


def _schedules(assembly: Assembly) -> ParamSchedulers:
    """The schedules of a job whose length is known.

    Raises:
        JobError: It is not known, or there is no optimizer.
    """
    job = assembly.job
    if job.optim_wrapper is None:
        problem = Problem(
            ("optim_wrapper",), "csv needs the table [optim_wrapper], whose options it writes", "missing-section"
        )
    elif job.train_cfg is None:
        problem = Problem(("train_cfg",), "csv needs the table [train_cfg]: how long is the run?", "missing-section")
    elif assembly.schedules is None:
        message = "the run's length is not known: there is no data to count; add epoch_length"
        problem = Problem(("train_cfg",), message, "no-epoch-length")
    else:
        return assembly.schedules
    raise JobError(job.located([problem]))


def _pieces(assembly: Assembly, schedules: ParamSchedulers) -> Iterator[str]:
    """The file, block after block: memory does not grow with the run."""
    from optimctl.plan.subject import subject_of
    from optimctl.schedule.trajectory import BLOCK, Carry, blocks

    iterations, epoch_length = assembly.length.iterations or 0, assembly.length.epoch_length
    columns = list(_columns(subject_of(assembly).parts, schedules))
    tracks = [(track, part.clock) for part in schedules.parts.values() for track in part.tracks]
    running = {id(track): blocks(track.schedules, track.reference, clock, 0, Carry()) for track, clock in tracks}
    yield _lines([["iteration", "epoch", *(column.name for column in columns)]])
    for start in range(0, iterations, BLOCK):
        lines = {track: next(found)[1] for track, found in running.items()}
        numbers = range(start, min(start + BLOCK, iterations))
        epochs = ("" if epoch_length is None else number // epoch_length + 1 for number in numbers)
        values = [_values(column, lines) for column in columns]
        yield _lines(zip((number + 1 for number in numbers), epochs, *values, strict=False))


def _values(column: _Column, lines: Mapping[int, Affine]) -> Any:
    """A column's values in one block, as Python's own numbers, whose text is exact."""
    if column.track is None:
        return itertools.repeat(column.base)
    return lines[id(column.track)].values(column.base).tolist()


def _columns(parts: Sequence[Part], schedules: ParamSchedulers) -> Iterator[_Column]:
    """A column for each group and option, group after group."""
    for wrapper, part in schedules.parts.items():
        for group, options in enumerate(part.target.param_groups):
            owner = next(
                (one for one in reversed(parts) if one.wrapper_name == wrapper and one.first_group <= group), None
            )
            place = f"{owner.name}.{group - owner.first_group}" if owner else f"{wrapper}.{group}"
            for option, base, track in _moved(part, group, options):
                yield _Column(f"{place}.{option}", base, track)


def _moved(part: ScheduledPart, group: int, options: Mapping[str, Any]) -> Iterator[tuple[str, float, Any]]:
    """The learning rate of a group, moved or not, and whatever else is moved in it: what it starts from, and what moves it."""
    tracks = {str(track.slot): track for track in part.tracks if group in track.bases}
    if "lr" in options and "lr" not in tracks:
        yield "lr", float(options["lr"]), None
    for option in sorted(tracks, key=lambda option: option != "lr"):
        yield option, tracks[option].bases[group], tracks[option]


def _lines(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
