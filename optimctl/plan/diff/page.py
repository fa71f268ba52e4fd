"""The difference of two jobs as a page that a person reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from optimctl.errors import key_text
from optimctl.plan.page import number

if TYPE_CHECKING:
    from rich.console import RenderableType

    from optimctl.plan.diff.apart import Distance, Gap
    from optimctl.plan.diff.change import (
        Diff,
        OptionChange,
        Origin,
        Origins,
        ParameterChange,
        ScheduleChange,
        SettingChange,
        Tensors,
    )

SAME = "no difference in effect"
NAMES_SHOWN = 3
SECTIONS: Mapping[str, str] = {
    "run": "the run",
    "data": "the data",
    "model": "the model",
    "task": "the task",
    "optimizer": "the optimizer",
    "schedule": "what waits for a metric",
    "hooks": "the hooks",
}
Row = tuple[int, str]
"""A line of the page, and how deep it is indented."""


def diff_page(diff: Diff) -> Iterator[RenderableType]:
    """The parts of the page, top to bottom; the first line says whether there is anything."""
    if diff.same:
        yield Text(SAME)
        return
    yield Text(_headline(diff), style="bold")
    for heading, lines in _blocks(diff):
        yield Text(f"\n{heading[0].upper()}{heading[1:]}")
        for depth, line in lines:
            yield Padding(Text(line), (0, 0, 0, 2 * depth))


def _headline(diff: Diff) -> str:
    what = [SECTIONS[section] for section in dict.fromkeys(change.section for change in diff.settings)]
    if diff.parameters:
        what.append("the parameters")
    if diff.options:
        changed = {name for change in diff.options for name in change.tensors.names}
        what.append(
            "options" if diff.tensors is None else f"the options of {len(changed)} of {_count(diff.tensors, 'tensor')}"
        )
    if diff.schedules:
        what.append(f"the schedule of {_and(dict.fromkeys(change.option for change in diff.schedules))}")
    if diff.not_compared:
        what.append("what cannot be compared")
    before, after = str(diff.before.file), str(diff.after.file)
    if before == after:
        return f"{after} with {' '.join(diff.after.overrides)} differs in {_and(what)}"
    return f"{before} and {after} differ in {_and(what)}"


def _blocks(diff: Diff) -> Iterator[tuple[str, Iterable[Row]]]:
    """The parts of the page below the first line: a heading, and lines."""
    for section, heading in SECTIONS.items():
        settings = [change for change in diff.settings if change.section == section]
        if settings:
            yield heading, map(_setting_line, settings)
    if diff.parameters:
        yield "parameters", (line for change in diff.parameters for line in _parameter_lines(change, _sides(diff)))
    if diff.options:
        yield "options, before any schedule", (line for change in diff.options for line in _option_lines(change, diff))
    if diff.schedules:
        heading = f"schedules, in the {_count(diff.iterations or 0, 'iteration')} that both runs have"
        yield heading, (line for change in diff.schedules for line in _schedule_lines(change, diff))
    if diff.not_compared:
        yield "not compared", ((1, f"{each.what}: {each.why}") for each in diff.not_compared)


def _sides(diff: Diff) -> tuple[str, str]:
    """What each side is called in a sentence."""
    before, after = str(diff.before.file), str(diff.after.file)
    return ("the job as it is", "the job with the options") if before == after else (before, after)


def _setting_line(change: SettingChange) -> Row:
    return (
        1,
        f"{_label(change.optimizers)}{change.setting}: {_pair(change.before, change.after)}{_places(change.origins)}",
    )


def _parameter_lines(change: ParameterChange, sides: tuple[str, str]) -> Iterator[Row]:
    if change.what == "state" and None in (change.before, change.after):
        what = f"only in {sides[change.before is None]}"
    else:
        what = _pair(change.before, change.after) + _places(change.origins)
        what = what if change.what == "state" else f"{change.what} {what}"
    yield 1, f"{what}: {_tensors(change.tensors)}"


def _option_lines(change: OptionChange, diff: Diff) -> Iterator[Row]:
    what = f"{_named(change, diff)}{change.option}: {_pair(change.before, change.after)}"
    if not change.tensors.names:
        yield 1, what + _places(change.origins)
        return
    yield 1, f"{what} for {_tensors(change.tensors)}"
    reasons = [_reason(origin) for origin in change.origins]
    yield 2, " -> ".join(dict.fromkeys(reasons))


def _schedule_lines(change: ScheduleChange, diff: Diff) -> Iterator[Row]:
    distance = change.distance
    of = f" of {_tensors(change.tensors)}" if change.tensors.names else ""
    yield 1, f"{_named(change, diff)}{change.option}{of}"
    yield 2, f"differs {_where(distance, diff.iterations or 0)}"
    largest, relative = distance.largest, distance.largest_relative
    together = largest.iteration == relative.iteration or math.isclose(largest.relative, relative.relative)
    share = f", {_percent(largest)} of the larger" if together else ""
    yield 2, f"at most {number(largest.absolute)} apart{share}, in iteration {_values(largest)}"
    if not together:
        yield 2, f"at most {_percent(relative)} of the larger apart, in iteration {_values(relative)}"
    tables = [", ".join(map(_place, side)) or "nothing else" for side in change.tables]
    if any(change.tables):
        yield 2, f"because of {' -> '.join(dict.fromkeys(tables))}"


def _where(distance: Distance, iterations: int) -> str:
    if distance.iterations == iterations:
        return "in every iteration"
    if distance.iterations == 1:
        return f"in iteration {distance.first + 1:,} alone"
    return f"in {distance.iterations:,} of {iterations:,} iterations, the first is {distance.first + 1:,}"


def _values(gap: Gap) -> str:
    return f"{gap.iteration + 1:,}: {_pair(gap.before, gap.after)}"


def _percent(gap: Gap) -> str:
    return f"{100 * gap.relative:.3g}%"


def _tensors(tensors: Tensors) -> str:
    """``2 tensors, 19 numbers: 1.bias, 3.bias``; of many, the first three."""
    names = ", ".join(tensors.names[:NAMES_SHOWN])
    more = len(tensors.names) - NAMES_SHOWN
    told = f"{names} and {more:,} more" if more > 0 else names
    return f"{_count(len(tensors.names), 'tensor')}, {_count(tensors.parameters, 'number')}: {told}"


def _named(change: OptionChange | ScheduleChange, diff: Diff) -> str:
    """Which optimizer it is about, where a job has several."""
    pairs = {each.optimizers for each in diff.options} | {each.optimizers for each in diff.schedules}
    return "" if pairs == {("default", "default")} else _label(change.optimizers)


def _label(optimizers: Sequence[str | None] | None) -> str:
    """Which optimizer is meant, where there are several."""
    if optimizers is None:
        return ""
    names = dict.fromkeys(_shown(name) for name in optimizers)
    return f"{' -> '.join(names)}: "


def _places(origins: Origins) -> str:
    """Where both values stand, in brackets; nothing where no line says either."""
    if not any(origin.place for origin in origins):
        return ""
    return f" ({' -> '.join(dict.fromkeys(_place(origin) for origin in origins))})"


def _place(origin: Origin) -> str:
    place = origin.place
    if place is None:
        return "not given"
    return place.source if place.line is None else f"{place.source}:{place.line}"


def _reason(origin: Origin) -> str:
    """The key that decided, with its line; or why none did."""
    if origin.place is None:
        return origin.text or "not given"
    where = _place(origin) + (f"; {origin.text}" if origin.text else "")
    return where if origin.place.line is None else f"{key_text(origin.key)} ({where})"


def _pair(before: Any, after: Any) -> str:
    """Both values, with as many digits as it takes to see that they differ."""
    one, other = _shown(before), _shown(after)
    return f"{one} -> {other}" if one != other else f"{before!r} -> {after!r}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or "{}"
    if isinstance(value, (list, tuple)):
        items = ", ".join(_shown(item) for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items},)" if len(value) == 1 else f"({items})"
    return f"{value:,}" if isinstance(value, int) else number(value)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _and(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
