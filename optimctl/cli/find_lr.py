"""``optimctl find-lr``: which learning rate does the job bear?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.completion import job_files
from optimctl.cli.options import common_options, job_options, read_job

if TYPE_CHECKING:
    from optimctl.plan.find_lr import RangeTest

ROWS = 16
"""Of the table, at most."""


@click.command("find-lr")
@click.argument("job", metavar="JOB", shell_complete=job_files)
@click.option(
    "--from", "start", metavar="LR", type=float, default=1e-7, show_default=True, help="The first learning rate."
)
@click.option("--to", "end", metavar="LR", type=float, default=10.0, show_default=True, help="The last learning rate.")
@click.option(
    "--iterations", metavar="N", type=int, help="Batches to train on.  [default: as many as 100 updates take]"
)
@click.option("--plot", metavar="FILE", help="Draw the loss over the learning rate, as PNG or SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print every point as JSON.")
@job_options
@common_options
def find_lr(
    job: str,
    start: float,
    end: float,
    iterations: int | None,
    plot: str | None,
    as_json: bool,
    overrides: tuple[str, ...],
    unset: tuple[str, ...],
) -> None:
    """Train for a moment with a growing learning rate, and suggest one; nothing is kept but the picture."""
    read = read_job(job, overrides, unset)

    from optimctl.pictures import check_picture
    from optimctl.plan.find_lr import find_lr as test_range
    from optimctl.plan.find_lr import plot_range_test

    picture = Path(plot) if plot is not None else None
    if picture is not None:
        check_picture(picture)
    with output.plugins_at_work():
        test = test_range(read, start=start, end=end, iterations=iterations)
    if as_json:
        output.as_json(test.as_json())
    else:
        output.table(("lr", "loss", "smoothed", ""), _rows(test))
        for line in told(test):
            output.data(line)
    if picture is not None:
        plot_range_test(test, picture, title=f"{read.name}: loss over the learning rate")
    if test.suggestion is None:
        raise click.exceptions.Exit(1)


def _rows(test: RangeTest) -> Iterator[tuple[str, ...]]:
    """Some of the points, evenly spread, and those that are spoken of."""
    last = len(test.lr) - 1
    even = {round(index * last / (ROWS - 1)) for index in range(ROWS)} if last >= ROWS else set(range(last + 1))
    notes = (
        {}
        if test.steepest is None
        else {test.lr.index(test.lowest): "lowest", test.lr.index(test.steepest): "steepest"}
    )
    for row in sorted(even | set(notes)):
        yield f"{test.lr[row]:.2e}", f"{test.loss[row]:.4g}", f"{test.smoothed[row]:.4g}", notes.get(row, "")


def told(test: RangeTest) -> Iterator[str]:
    """What the test says, as sentences, and the options to paste."""
    if test.suggestion is None or test.steepest is None:
        yield _why_not(test)
        return
    steepest = test.suggestion == test.steepest
    yield f"The smoothed loss falls most steeply at a learning rate of {test.steepest:.2g} and is lowest at {test.lowest:.2g}."
    yield f"Suggested is {'the steepest' if steepest else 'a tenth of the lowest'}, {test.suggestion:.2g}, the smaller of the two."
    if test.ended_at is not None:
        yield f"The test ended at {test.ended_at:.2g}, where the loss diverged."
    elif test.lowest == test.lr[-1]:
        yield "It was still falling at the end; a larger --to may show more."
    yield (
        "This is one short test, from these weights, with this batch size and without schedules: a place to start from, and no optimum."
    )
    yield " ".join(f"--set {_quoted(key)}={value:g}" for key, value in test.settings.items())


def _why_not(test: RangeTest) -> str:
    if len(test.lr) == 1 and test.ended_at is None:
        return "One learning rate says nothing about others: no suggestion. Give more --iterations."
    if test.ended_at is not None:
        return f"The loss diverged at {test.ended_at:.2g} before it fell: no suggestion. Begin --from a smaller one."
    return "The loss did not fall by more than its noise: no suggestion. Go on --to a larger one, or take more --iterations."


def _quoted(key: str) -> str:
    """A key as a shell takes it."""
    import shlex

    return shlex.quote(key)
