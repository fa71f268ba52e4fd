"""Pictures as files: panels over a run, one below the other, and what every picture shares.

In this room: ``Panel`` with its ``Line`` and ``Span``, ``draw_panels``, and ``drawing``, which opens a figure and leaves a file.
matplotlib comes with the extra ``plot`` and is imported in bodies only. No window is opened, ``pyplot`` stays out, and the
settings of a process that draws pictures of its own are as they were. The same data give the same file, to the byte, in the same
version of matplotlib.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimctl.errors import UsageError, listing, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Floats = npt.NDArray[np.floating[Any]]

ENDINGS = (".png", ".svg")
"""The kinds of files that a picture can be."""
COLUMNS = 1024
"""Pieces that a line is cut into: more than a picture has columns of pixels."""
WIDTH = 11.5
"""Of a picture, in inches, as all lengths here."""
PANEL, STRIP, ENTRY, LEGEND = 2.1, 0.19, 0.155, 3.9
"""Heights of a panel's least, of a span's row and of a legend's entry; the most that a legend is wide."""
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 0.85, 0.25, 0.85, 0.55, 0.22
MOST_ENTRIES = 60
"""Of one legend."""
FEW = 10
"""Up to so many lines have colours that differ; more have colours in order."""
PARTS = 16
"""Of an axis, to see how evenly values spread over it."""
MOMENT = 0.005
"""A share of the time so short that what happens in it needs no decades of its own."""
LETTER = 0.066
"""About the width of a letter of the small print."""
DARK, PALE, BAR = "#333333", "#e4e4e4", "#dfe7f2"
STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": DARK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 130,
    "legend.fontsize": 7.5,
    "savefig.dpi": 130,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "optimctl",  # or the ids in an SVG would be drawn at random
    "text.color": DARK,
    "text.parse_math": False,  # a name with dollars is a name
    "xtick.color": DARK,
    "xtick.labelsize": 8,
    "ytick.color": DARK,
    "ytick.labelsize": 8,
}


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Args:
        label: What the legend calls it.
        x: Iterations done, never decreasing.
        y: The values, whose neighbours are joined; nan leaves a gap.
        dots: Whether each value has a dot.
        pale: Whether it stands back behind another.
        color: None for the next one.
    """

    label: str
    x: Floats
    y: Floats
    dots: bool = False
    pale: bool = False
    color: str | None = None


@dataclass(frozen=True)
class Span:
    """A part of the run that has a name: where a schedule acts."""

    label: str
    begin: float
    end: float


@dataclass(frozen=True)
class Panel:
    """What is drawn in one pair of axes."""

    name: str
    lines: Sequence[Line]
    spans: Sequence[Span] = ()
    heading: str | None = None
    """What stands above the legend."""


def check_picture(file: Path) -> None:
    """Whether a picture can be drawn into ``file``, before work is done for it.

    Raises:
        UsageError: The ending is not one of ``ENDINGS``, there is no such folder, or matplotlib is missing.
    """
    if file.suffix.lower() not in ENDINGS:
        hint = nearest(file.suffix, ENDINGS) or f"; its name ends in {listing(ENDINGS).replace(' and ', ' or ')}"
        raise UsageError(f"{file}: a picture is a PNG or an SVG{hint}")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.parent}")
    try:
        import matplotlib.style  # noqa: F401
    except ImportError as error:
        raise UsageError(f"a picture needs matplotlib ({error}); get it with: pip install 'optimctl[plot]'") from error


@contextmanager
def drawing(file: Path, height: float, width: float = WIDTH) -> Iterator[Figure]:
    """A figure to draw on; ``file`` holds the picture when the block ends, whole or not at all.

    Raises:
        UsageError: As ``check_picture``, or the file cannot be written.
    """
    check_picture(file)
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", dict(STYLE)]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # a name in letters that the font lacks is drawn as boxes
        figure = Figure(figsize=(width, height))
        yield figure
        kind = file.suffix.lower()[1:]
        held = io.BytesIO()
        figure.savefig(held, format=kind, metadata={"Date": None} if kind == "svg" else None)
    try:
        file.write_bytes(held.getvalue())
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def draw_panels(
    panels: Sequence[Panel], file: Path, *, title: str, iterations: int, epoch_length: int | None = None
) -> None:
    """Draw panels over one axis of iterations, with the epochs above it.

    A panel is as tall as its legend, which stands beside it; its values are on a logarithmic axis where they spread better there.

    Args:
        panels: Top to bottom.
        file: The picture, PNG or SVG by its ending.
        title: One line above all.
        iterations: Of the whole run: where the axis ends.
        epoch_length: Iterations an epoch; None draws no epochs.

    Raises:
        UsageError: As ``check_picture``, or the file cannot be written.
    """
    height = TOP + BOTTOM + sum(_height(panel) for panel in panels) + BETWEEN * (len(panels) - 1)
    right = RIGHT + min(LEGEND, max(_legend_width(panel) for panel in panels))
    with drawing(file, height) as figure:
        figure.text(LEFT / WIDTH, 1 - 0.18 / height, _clean(title), va="top", fontsize=11, fontweight="bold")
        box = _Box(figure, WIDTH - LEFT - right, height, iterations, _epoch_ticks(iterations, epoch_length))
        top = height - TOP
        for panel in panels:
            highest = _draw_panel(box, panel, top)
            if panel is panels[0] and epoch_length:
                _label_epochs(highest, box.epochs, epoch_length)
            top -= _height(panel) + BETWEEN
        figure.axes[-1].tick_params(axis="x", labelbottom=True)
        figure.axes[-1].set_xlabel("iterations", loc="right")


def _height(panel: Panel) -> float:
    return STRIP * len(panel.spans) + max(PANEL, ENTRY * (len(_in_legend(len(panel.lines))) + 2))


def _draw_panel(box: _Box, panel: Panel, top: float) -> Axes:
    """Draw a panel downwards from ``top``; its highest axes come back."""
    strip = STRIP * len(panel.spans)
    highest = box.axes(top - strip, strip) if panel.spans else None
    if highest is not None:
        _draw_spans(highest, panel.spans, box.iterations, box.width)
    axes = box.axes(top - _height(panel), _height(panel) - strip)
    _draw_lines(axes, panel)
    _mark_iterations(axes)
    return axes if highest is None else highest


@dataclass(frozen=True)
class _Box:
    """Where axes go: all are as wide as the run."""

    figure: Figure
    width: float
    height: float
    iterations: int
    epochs: Sequence[float]

    def axes(self, bottom: float, tall: float) -> Axes:
        """Axes ``tall`` inches high, ``bottom`` inches above the picture's edge; pale lines stand at the epochs."""
        axes = self.figure.add_axes(
            (LEFT / WIDTH, bottom / self.height, self.width / WIDTH, tall / self.height), xlim=(0, self.iterations)
        )
        for epoch in self.epochs:
            axes.axvline(epoch, color=PALE, linewidth=0.8, zorder=0)
        return axes


def _epoch_ticks(iterations: int, epoch_length: int | None) -> list[float]:
    """Iterations at which some epochs begin, about a dozen, evenly spread."""
    from matplotlib.ticker import MaxNLocator

    if not epoch_length:
        return []
    ticks = MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10]).tick_values(0, iterations / epoch_length)
    whole = (int(tick) for tick in ticks if float(tick).is_integer())
    return [float(tick * epoch_length) for tick in whole if 0 <= tick * epoch_length <= iterations]


def _label_epochs(axes: Axes, ticks: Sequence[float], epoch_length: int) -> None:
    above = axes.secondary_xaxis("top")
    above.set_xticks(list(ticks), [f"{round(tick / epoch_length):,}" for tick in ticks])
    above.set_xlabel("epochs", loc="right")
    above.spines["top"].set_visible(False)


def _mark_iterations(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.tick_params(axis="x", labelbottom=False)


def _draw_spans(axes: Axes, spans: Sequence[Span], iterations: int, width: float) -> None:
    """A row a span, its name on the bar, or beside it where the bar is too short."""
    axes.set_ylim(len(spans), 0)
    axes.axis("off")
    letter = LETTER * iterations / width
    for row, span in enumerate(spans):
        axes.barh(
            row + 0.5, span.end - span.begin, left=span.begin, height=0.82, color=BAR, edgecolor="#9fb3cf", lw=0.6
        )
        text = _clean(span.label)
        room = letter * (len(text) + 1)
        inside, behind = span.end - span.begin > room, iterations - span.end > room
        at = span.begin if inside or not behind else span.end
        side = "left" if inside or behind else "right"
        shift = letter / 2 if side == "left" else -letter / 2
        axes.text(at + shift, row + 0.5, text, ha=side, va="center_baseline", fontsize=7, clip_on=True)


def _draw_lines(axes: Axes, panel: Panel) -> None:
    axes.set_ylabel(_clean(panel.name))
    _scale(axes, panel.lines)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    few = len(panel.lines) <= FEW
    for line, color in zip(panel.lines, _colors(len(panel.lines)), strict=True):
        axes.plot(
            line.x,
            line.y,
            color=line.color or color,
            alpha=0.3 if line.pale else None,
            zorder=1.5 if line.pale else 2,
            linewidth=1.5 if few else 1.0,
            marker="o" if line.dots else None,
            markersize=3,
            clip_on=not line.dots,  # a dot at the end of the run is whole
            solid_joinstyle="round",
        )
    handles = axes.get_lines()[-len(panel.lines) :]
    shown = _in_legend(len(panel.lines))
    axes.legend(
        [handles[index] for index in shown],
        [_clean(panel.lines[index].label) for index in shown],
        loc="upper left",
        bbox_to_anchor=(1.005, 1.02),
        frameon=False,
        handlelength=1.4,
        labelspacing=0.28,
        title=panel.heading,
        title_fontsize=7.5,
        alignment="left",
    )


def _colors(count: int) -> list[Any]:
    """Colours that tell a few lines apart, or that put many in order, from dark to light."""
    import matplotlib

    if count <= FEW:
        return list(matplotlib.colormaps["tab10"].colors[:count])  # type: ignore[attr-defined]
    map_ = matplotlib.colormaps["viridis"]
    return [map_(0.92 * index / (count - 1)) for index in range(count)]


def _in_legend(count: int) -> list[int]:
    """The lines that a legend shows: all, or so many of them, evenly spread, that it can be read."""
    if count <= MOST_ENTRIES:
        return list(range(count))
    return [round(index * (count - 1) / (MOST_ENTRIES - 1)) for index in range(MOST_ENTRIES)]


def _legend_width(panel: Panel) -> float:
    return 0.45 + LETTER * max(len(line.label) for line in panel.lines)


def _clean(text: str) -> str:
    """Text that an SVG can hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


# --- the axis of the values


def _scale(axes: Axes, lines: Sequence[Line]) -> None:
    """The limits, linear or logarithmic, and the ticks as a job writes numbers."""
    from matplotlib.ticker import FuncFormatter

    values, weights = _weighted(lines)
    if len(values) == 0:
        return
    if is_better_in_log(lines):
        _scale_log(axes, values, weights)
    else:
        low, high = float(values.min()), float(values.max())
        from_zero = low >= 0 and (low < high / 2 or low == high)
        pad = 0.06 * ((high if from_zero else high - low) or 1.0)
        axes.set_ylim(-pad / 3 if from_zero else low - pad, high + pad)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.6g}"))


def _scale_log(axes: Axes, values: Floats, weights: Floats) -> None:
    """A logarithmic axis; zeros, and values that hardly last, have a linear stretch at its foot, down to 0."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = _lasting(values[values > 0], weights[values > 0]), float(values.max())
    ticks = _log_ticks(low, high)
    if values.min() < low:
        axes.set_yscale("symlog", linthresh=low, linscale=0.35)
        axes.set_ylim(-0.12 * low, high * 1.3)
        ticks = [0.0, *ticks]
    else:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())


def _lasting(values: Floats, weights: Floats) -> float:
    """The least value that matters: all below it together last for less than ``MOMENT`` of the time."""
    import numpy as np

    order = np.argsort(values)
    time = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(time, MOMENT * time[-1]))])


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with 2 and 5 of each where they are few, and every second or third where they are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 2 else (1,)
    step = (last - first) // 9 + 1
    ticks = [digit * 10.0**power for power in range(last, first - 1, -step) for digit in digits]
    return sorted(tick for tick in ticks if low / 1.3 <= tick <= high * 1.3)


def is_better_in_log(lines: Sequence[Line]) -> bool:
    """Whether values spread more evenly over a logarithmic axis: groups that differ by decades, and steps of ten, do.

    Compared is the entropy of the time that the values spend in equal parts of each axis. A cosine that touches zero, or a
    warm-up that begins near it, is told better by a linear axis, where it spends little time.
    """
    import numpy as np

    values, weights = _weighted(lines)
    positive = values > 0
    if (values < 0).any() or not positive.any() or values.max() / values[positive].min() < 30:
        return False
    values, weights = values[positive], weights[positive]
    return _entropy(np.log(values), weights) >= _entropy(np.append(values, 0.0), np.append(weights, 0.0))


def _weighted(lines: Sequence[Line]) -> tuple[Floats, Floats]:
    """All values that are finite, and how long each lasts."""
    import numpy as np

    values = np.concatenate([line.y for line in lines])
    weights = np.concatenate([np.append(np.diff(line.x), 0.0) for line in lines])
    known = np.isfinite(values)
    return values[known], weights[known]


def _entropy(values: Floats, weights: Floats) -> float:
    import numpy as np

    time, _ = np.histogram(values, bins=PARTS, weights=weights)
    shares = time[time > 0] / max(float(time.sum()), 1e-300)
    return float(-(shares * np.log(shares)).sum())


# --- few points that look the same


def outline(x: Floats, y: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """Few points whose line has the very pixels of the whole: of each column the first, the last, the lowest, the highest.

    Both sides of a jump are kept, and where a value stays the same, only its ends. (Jugel et al., "M4: A Visualization-Oriented
    Time Series Data Aggregation", VLDB 2014.)

    Args:
        x: Never decreasing, evenly spread, shape (n,).
        y: Shape (n,).
        columns: At least as many as the picture has columns of pixels.

    Returns:
        A few points a column, in the order of ``x``.
    """
    import numpy as np

    if len(y) > 4 * columns:
        kept = np.union1d(_four_a_column(y, columns), _sides_of_jumps(y, columns))
        x, y = x[kept], y[kept]
    if len(y) < 3:
        return x, y
    turns = y[1:] != y[:-1]
    ends = np.concatenate([[True], turns[1:] | turns[:-1], [True]])
    return x[ends], y[ends]


def staircase(values: Floats, columns: int = COLUMNS) -> tuple[Floats, Floats]:
    """The outline of values that each hold for an iteration, the first from 0 to 1: between them the line goes straight up or down.

    Where iterations are narrower than a quarter of a column, they are joined: no picture shows a difference.

    Args:
        values: One an iteration, shape (n,).
        columns: As for ``outline``.
    """
    import numpy as np

    edges = np.arange(len(values) + 1, dtype=np.float64)
    if len(values) > 4 * columns:
        return outline(edges, np.append(values, values[-1]), columns)
    return outline(np.repeat(edges, 2)[1:-1], np.repeat(values, 2), columns)


def _four_a_column(y: Floats, columns: int) -> npt.NDArray[np.intp]:
    import numpy as np

    width = -(-len(y) // columns)
    padded = np.concatenate([y, np.full(-len(y) % width, y[-1])]).reshape(-1, width)
    starts = np.arange(0, len(padded) * width, width)
    picks = (np.zeros(len(padded), np.intp), padded.argmin(1), padded.argmax(1), np.full(len(padded), width - 1))
    positions = np.concatenate([starts + pick for pick in picks])
    return np.unique(np.minimum(positions, len(y) - 1))


def _sides_of_jumps(y: Floats, columns: int) -> npt.NDArray[np.intp]:
    """Where neighbours differ by more than a hundredth, before and after; nowhere where that is nothing special."""
    import numpy as np

    size = np.abs(y)
    jumps = np.flatnonzero(np.abs(np.diff(y)) > 0.01 * np.maximum(size[1:], size[:-1]))
    return np.concatenate([jumps, jumps + 1]) if len(jumps) <= columns else jumps[:0]


__all__ = [
    "Line",
    "Panel",
    "Span",
    "check_picture",
    "draw_panels",
    "drawing",
    "is_better_in_log",
    "outline",
    "staircase",
]
