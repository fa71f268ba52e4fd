"""The picture that a run leaves: its losses, metrics and scheduled options over the iterations, as its records have them."""

from __future__ import annotations

import importlib.util
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optimctl.errors import raised_text
from optimctl.pictures import Line, Panel, draw_panels, outline

if TYPE_CHECKING:
    from optimctl.pictures import Floats
    from optimctl.train.folder import RunFolder
    from optimctl.train.loop import Run

NAME = "curves.png"
OWN = ("iteration", "epoch", "split")
"""What each record says of itself."""
FEW = 40
"""Up to so many points each have a dot."""
MANY, MEANS = 500, 200
"""More points than the first are told by about so many means; the points themselves stand behind them."""
COLORS = {"train": "tab:blue", "val": "tab:orange"}
"""The same in every panel."""

Series = dict[tuple[str, str], tuple["array[float]", "array[float]"]]
"""Iterations and values by name and split."""


def draw_curves(run: Run, folder: RunFolder, status: str) -> None:
    """Draw the records of a run into its folder, as ``curves.png``; where matplotlib is absent, nothing.

    A run is not worse for its picture: whatever goes wrong is a line in the log.

    Args:
        run: At its end.
        folder: Where its ``metrics.jsonl`` is.
        status: How it ended.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return
    try:
        folder.flush()
        records = folder.path / "metrics.jsonl"
        series = read_series(records) if records.exists() else {}
        panels = curve_panels(series, _option_names(run), run.best)
        title = f"{run.job.name}: {status} after {run.iteration:,} of {run.iterations:,} iterations"
        if panels:
            file = folder.path / NAME
            draw_panels(panels, file, title=title, iterations=max(run.iteration, 1), epoch_length=run.epoch_length)
    except Exception as error:
        with suppress(Exception):
            folder.log(f"{NAME} was not drawn: {raised_text(error)}")


def read_series(file: Path) -> Series:
    """The numbers of ``metrics.jsonl``, as one series a name and split; null is nan."""
    series: Series = {}
    with file.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            for name, value in record.items():
                if name not in OWN and (value is None or isinstance(value, (int, float))):
                    iterations, values = series.setdefault((name, record["split"]), (array("d"), array("d")))
                    iterations.append(record["iteration"])
                    values.append(math.nan if value is None else value)
    return series


def curve_panels(series: Series, options: Mapping[str, str], best: Mapping[str, Any] | None = None) -> list[Panel]:
    """The losses of all splits in one panel; then a panel for each metric, each option, and whatever else was recorded.

    Args:
        series: What was recorded.
        options: The names under which scheduled options are recorded, and the option that each of them is.
        best: As in ``summary.json``.
    """
    losses = [key for key in series if "loss" in key[0] and key[0] not in options]
    others = [key for key in series if key not in losses]
    metrics = [key for key in others if any((key[0], split) in series for split in _validations(series))]
    scheduled = [key for key in others if key[0] in options]
    rest = [key for key in others if key not in metrics and key not in scheduled]
    panels = [Panel("loss", list(_lines(series, losses, best)))] if losses else []
    for keys, name_of in ((metrics, str), (scheduled, options.__getitem__), (rest, str)):
        for name in dict.fromkeys(name_of(key[0]) for key in keys):
            own = [key for key in keys if name_of(key[0]) == name]
            held = keys is scheduled
            panels.append(Panel(name, list(_held(series, own) if held else _lines(series, own, best))))
    return panels


def _validations(series: Iterable[tuple[str, str]]) -> set[str]:
    return {split for _, split in series} - {"train"}


def _option_names(run: Run) -> dict[str, str]:
    """What the records call scheduled options and learning rates, and the option that each is."""
    several = len(run.wrappers) > 1
    names = [f"{name}.lr" for name in run.wrappers] if several else ["lr"]
    return {name: name.rpartition(".")[2] if several else name for name in (*names, *run.schedules.values())}


def _lines(series: Series, keys: Sequence[tuple[str, str]], best: Mapping[str, Any] | None) -> Iterator[Line]:
    """A line a series; the best value of the run has a dot of its own."""
    names = {name for name, _ in keys}
    for number, (name, split) in enumerate(keys):
        x, y = (np.asarray(numbers) for numbers in series[name, split])
        label = split if len(names) == 1 or name == "loss" else f"{split} {name}"
        color = COLORS.get(label, f"C{number + len(COLORS)}")
        if len(x) > MANY:
            each = len(x) // MEANS
            yield Line(f"{label}, means of {each:,}", *_means(x, y, each), color=color)
        px, py = (x, y) if len(x) <= FEW else outline(x, y)
        yield Line(label, px, py, dots=len(x) <= FEW, pale=len(x) > MANY, color=color)
    if best is not None and best["metric"] in names:
        at, value = np.array([float(best["iteration"])]), np.array([float(best["value"])])
        yield Line(f"best: {best['value']:.4g} at {best['iteration']:,}", at, value, dots=True, color="black")


def _means(x: Floats, y: Floats, each: int) -> tuple[Floats, Floats]:
    """The means of so many neighbours each; what is left over at the end has none."""
    whole = len(x) // each * each
    return x[:whole].reshape(-1, each).mean(1), y[:whole].reshape(-1, each).mean(1)


def _held(series: Series, keys: Sequence[tuple[str, str]]) -> Iterator[Line]:
    """A line a series that steps: an option is what the next record says from the one before on."""
    for key in keys:
        x, y = (np.asarray(numbers) for numbers in series[key])
        edges: Floats = np.concatenate([[0.0], np.repeat(x, 2)[:-1]])
        yield Line(key[0], *outline(edges, np.repeat(y, 2)))


__all__ = ["NAME", "curve_panels", "draw_curves", "read_series"]
