"""Each built-in schedule as lines of Python: the same arithmetic in the same order, so that the values are those of a run, to the bit.

In this room: ``Act``, what a schedule does step by step, ``Place``, where it stands, and ``write``, which makes one from the other. The
formulas are those of ``optimctl.schedule.curves``, for one step instead of many.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optimctl.export.python.layout import STEP, Call, lay, listed
from optimctl.job.length import parse_share
from optimctl.schedule import curves
from optimctl.schedule.place import Placed, RunLength, Unit

COUNTS: Mapping[Unit, str] = {"epoch": "epochs", "iteration": "iterations", "update": "updates"}
"""What a script calls the run's length in each unit."""


SHORT = 40
"""How long a condition may be that stands behind others."""


@dataclass(frozen=True)
class Act:
    """What a schedule does at its steps, as Python: ``change`` multiplies the value, ``more`` (of the base) and ``shift`` are added."""

    ratio: str = ""
    """What the value is multiplied by at each step but the first."""
    start: str = ""
    """What it is multiplied by at the first step, where that is anything but 1."""
    sets: str = ""
    """What it is at the first step, as a multiple of the base, whatever it was before."""
    value: str = ""
    """What the value is at each step, as a multiple of the base, whatever it was before."""
    lines: tuple[str, ...] = ()
    """Statements for each step but the first, where none of these will do; those of ``shift`` count where something is added."""
    floor: float = 0.0
    """The value that ``ratio`` draws towards."""
    floor_share: float = 0.0
    """The same, as a share of the base."""
    when: str = ""
    """The only steps that count."""
    define: str = ""
    """What must stand before the loop."""
    is_hidden: bool = False
    """Whether the first step shows 0, and remembers the value."""
    adds_base: bool = False
    """Whether ``lines`` add to ``more``."""
    adds: bool = False
    """Whether ``lines`` add to ``shift``."""

    @property
    def moves_scale(self) -> bool:
        """Whether something is added that is a multiple of the base."""
        return bool(self.value or self.floor_share or self.adds_base)

    @property
    def moves_offset(self) -> bool:
        """Whether something is added whatever the base is."""
        return bool(self.floor or self.adds)


@dataclass(frozen=True)
class Place:
    """Where a schedule stands in a run, in the words of the script."""

    placed: Placed
    table: Mapping[str, Any]
    """What the job says of it."""
    run: RunLength
    name: str
    """What its curve is called: ``warmup``, ``cosine``."""
    base: str
    """The variable that has what the job gives the option, before multipliers."""

    @property
    def index(self) -> str:
        """The variable that counts its unit."""
        return self.placed.unit

    @property
    def taken(self) -> int:
        """How many of its steps the job's own run takes."""
        total = self.run.count(self.placed.unit) or 0
        return min(total, self.placed.end or total) - self.placed.begin

    @property
    def last(self) -> int | None:
        """The last step that it ever takes, counted from its begin; None where that follows the length of the run."""
        said = self.table.get("end")
        is_fixed = (
            isinstance(said, int) and self.placed.end is not None and not isinstance(self.table.get("begin"), str)
        )
        return self.placed.end - self.placed.begin - 1 if is_fixed and self.placed.end is not None else None

    @property
    def begin(self) -> str:
        """Where it begins."""
        return self.count("begin", self.placed.begin)

    @property
    def end(self) -> str:
        """Where it ends; nothing where that is the end of the run, however long it is."""
        end = self.whole_end
        return "" if end == COUNTS[self.placed.unit] else end

    @property
    def whole_end(self) -> str:
        """Where it ends, also where that is the end of the run."""
        is_said = self.table.get("end") is not None and self.placed.end is not None
        return self.count("end", self.placed.end or 0) if is_said else COUNTS[self.placed.unit]

    @property
    def steps(self) -> str:
        """How many steps it has."""
        end = self.whole_end
        if end.isdigit() and self.begin.isdigit():
            return str(int(end) - int(self.begin))
        return end if self.begin == "0" else f"{end} - {self.begin}"

    @property
    def offset(self) -> str:
        """Its own step, counted from where it begins, as an expression."""
        return self.index if self.begin == "0" else f"{self.index} - {self.begin}"

    @property
    def step(self) -> str:
        """The variable that has its own step; where it begins later than the run, ``step`` is set to ``offset``."""
        return self.index if self.begin == "0" else "step"

    def at(self, step: int) -> str:
        """A step of its own, counted from the run's begin."""
        if self.begin.isdigit():
            return str(step + int(self.begin))
        return f"{self.begin} + {step}" if step else self.begin

    def count(self, argument: str, value: float, index: int | None = None) -> str:
        """A number of steps as the job means it: a share of the run follows the run's length, and so do epochs in iterations."""
        said = self.table.get(argument)
        said = said[index] if index is not None and isinstance(said, list) else said
        share = parse_share(said) if isinstance(said, str) else None
        total = COUNTS[self.placed.unit]
        if share is not None:
            return "0" if share == 0 else total if share == 1 else _variable(argument, self.name, index)
        if self.table.get("convert_to_iter_based") is True and isinstance(said, int) and said > 0:
            return "epoch_length" if said == 1 else f"{said} * epoch_length"
        return repr(value)

    def share_of(self, share: float) -> str:
        """A share of the run, as a number of steps."""
        return f"max(1, round({share!r} * {COUNTS[self.placed.unit]}))"

    def inline(self, argument: str, value: float) -> str:
        """As ``count``, where the variables of shares are not there."""
        said = self.table.get(argument)
        share = parse_share(said) if isinstance(said, str) else None
        return self.count(argument, value) if share in (None, 0, 1) else self.share_of(share or 0.0)

    def shares(self) -> dict[str, str]:
        """The variables that ``count`` uses, with their values."""
        found = {}
        first = {name: self.table[name] for name in ("begin", "end") if name in self.table}  # they name what is shared
        for argument, said in {**first, **self.table}.items():
            for index, one in enumerate(said) if isinstance(said, list) else [(None, said)]:
                share = parse_share(one) if isinstance(one, str) else None
                if share is not None and 0 < share < 1:
                    found[_variable(argument, self.name, index)] = self.share_of(share)
        return found


def _variable(argument: str, name: str, index: int | None) -> str:
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", argument).lower().rstrip("_")
    return f"{name}_{words}" if index is None else f"{name}_{words}_{index}"


def name_of(placed: Placed) -> str:
    """What the curve of a schedule is called."""
    schedule = placed.schedule
    if isinstance(schedule, curves.Linear) and schedule.start_factor < schedule.end_factor:
        return "warmup"
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", type(schedule).__name__).lower()
    return _SHORT.get(words, words)


_SHORT = {
    "cosine_annealing": "cosine",
    "cosine_restart": "cosine",
    "quadratic_warmup": "warmup",
    "warmup_stable_decay": "trapezoid",
}


@functools.singledispatch
def write(schedule: Any, place: Place) -> Act | None:
    """What a schedule does, as Python; None where it is no built-in one."""
    return None


def _factors(place: Place, body: str, doc: str, schedule: Any) -> Act:
    """A schedule of factors: the value is multiplied by the ratio of two of them."""
    starts_at = _first_factor(schedule)
    hidden = starts_at < curves.NO_FACTOR
    before = f"{place.name}({place.step} - 1)"
    ratio = f"{place.name}({place.step}) / {f'({before} or 1.0)' if hidden else before}"
    start = "" if hidden or starts_at == 1 else f"{place.name}(0)"
    return Act(ratio, start, define=_function(place.name, doc, body), is_hidden=hidden)


def _first_factor(schedule: Any) -> float:
    import numpy as np

    a, _, _ = schedule.maps(np.zeros(1, dtype=np.int64), 1.0)
    factor = float(np.broadcast_to(a, (1,))[0])
    return 0.0 if factor == curves.ZERO else factor


def _function(name: str, doc: str, body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f'def {name}(step: int) -> float:\n    """{doc}"""\n{lines}'


@write.register
def _(schedule: curves.Constant, place: Place) -> Act:
    hidden = schedule.factor < curves.NO_FACTOR
    back = "1.0" if hidden else f"1.0 / {schedule.factor!r}"
    end = place.whole_end
    when = f"{place.index} == {int(end) - 1 if end.isdigit() else f'{end} - 1'}"
    return Act(back, "" if hidden else repr(schedule.factor), when=when, is_hidden=hidden)


@write.register
def _(schedule: curves.CosineAnnealing, place: Place) -> Act:
    period = place.steps if schedule.T_max is None else place.count("T_max", schedule.T_max)
    length = float(schedule.T_max if schedule.T_max is not None else schedule.length or 1)
    falls = length.is_integer() and (period == place.steps or place.taken <= length + 1)
    define, period = _named(period, f"{place.name}_steps")
    doc = f"Half a cosine, from 1 to 0 at step {period}; a squared sine is exact near 0 too."
    body = _half_wave(period, falls)
    define += _function(place.name, doc, body)
    floor, share = schedule.eta_min or 0.0, schedule.eta_min_ratio or 0.0
    ratio = f"{place.name}({place.step}) / {place.name}({place.step} - 1)"
    if falls:
        return Act(ratio, floor=floor, floor_share=share, define=define)
    return _rising_again(place, period, Act(ratio, floor=floor, floor_share=share, define=define))


def _half_wave(period: str, falls: bool) -> str:
    if falls:
        return f"half = math.sin(math.pi / 2 * ({period} - step) / {period})\nreturn half * half"
    return (
        f"distance = (step - {period}) % (2 * {period})\n"
        f"distance = min(distance, 2 * {period} - distance)\n"
        f"half = math.sin(math.pi / 2 * distance / {period})\n"
        "return half * half"
    )


def _rising_again(place: Place, period: str, act: Act) -> Act:
    """A cosine that is past its floor, from where no ratio leads away."""
    rise = f"{place.name}({period} + 1)"
    shift, share = act.floor, act.floor_share
    lines = [
        f"if {place.name}({place.step} - 1):",
        *(f"    {line}" for line in drawn(act.ratio, shift, share)),
        "else:",
        f"    more += {rise}" + (f" - {rise} * {share!r}" if share else ""),
        *([f"    shift -= {rise} * {shift!r}"] if shift else []),
    ]
    return Act(lines=tuple(lines), define=act.define, adds_base=True, adds=bool(shift))


def drawn(ratio: str, floor: float, share: float) -> list[str]:
    """The lines that draw a value towards a floor by a ratio; the floor is a number, or a share of the base."""
    return [
        f"ratio = {ratio}",
        "change *= ratio",
        "more = more * ratio" + (f" + (1.0 - ratio) * {share!r}" if share else ""),
        "shift = shift * ratio" + (f" + (1.0 - ratio) * {floor!r}" if floor else ""),
    ]


def _named(count: str, name: str) -> tuple[str, str]:
    """A number of steps that is more than a word, under a name."""
    return ("", count) if count.replace("_", "").isalnum() else (f"{name} = {count}\n\n", name)


@write.register
def _(schedule: curves.CosineRestart, place: Place) -> Act:
    pairs = [f"({period}, {float(w)!r})" for period, w in zip(schedule.periods, schedule.restart_weights, strict=True)]
    periods, places = (place.name.replace("cosine", word) for word in ("periods", "places"))
    define = lay(listed(pairs), STEP, f"{periods} = ", margin=0) + "\n"
    define += f"{places} = [(step, n, weight) for n, weight in {periods} for step in range(n)]\n\n"
    doc = "Half a cosine, from 1 to 0 at step `steps`; a squared sine is exact near 0 too."
    define += _function(place.name, doc, _half_wave("steps", True)).replace("(step: int)", "(step: int, steps: int)")
    floor, share = schedule.eta_min or 0.0, schedule.eta_min_ratio or 0.0
    lines = [
        f"step, steps, weight = {places}[{place.step}]",
        "if step:",
        *(f"    {line}" for line in drawn(f"{place.name}(step, steps) / {place.name}(step - 1, steps)", floor, share)),
        "else:",
        "    change, more = 0.0, weight",
        "    shift = 0.0",
    ]
    first = float(schedule.restart_weights[0])
    total = sum(schedule.periods)
    when = "" if _ends_by(place, total) else f"{place.index} < {place.at(total)}"
    return Act(sets=repr(first), lines=tuple(lines), when=when, define=define, adds_base=True, adds=bool(floor))


@write.register
def _(schedule: curves.Exponential, place: Place) -> Act:
    return Act(repr(schedule.gamma))


@write.register
def _(schedule: curves.InverseSqrt, place: Place) -> Act:
    scale = place.count("timescale", schedule.timescale)
    doc = "The inverse square root of time, 1 at step 0."
    return _factors(place, f"return math.sqrt({scale} / ({scale} + step))", doc, schedule)


@write.register
def _(schedule: curves.Linear, place: Place) -> Act:
    start, end = schedule.start_factor, schedule.end_factor
    doc = f"A straight line from {start} to {end} at the last step."
    define = ""
    if place.steps == "1":
        body = f"return {start!r}"
    else:
        define, steps = _named(place.steps, f"{place.name}_steps")
        last = str(int(steps) - 1) if steps.isdigit() else f"max({steps} - 1, 1)"
        body = f"start, end = {start!r}, {end!r}\nreturn start + (end - start) / {last} * step"
    act = _factors(place, body, doc, schedule)
    return Act(act.ratio, act.start, define=define + act.define, is_hidden=act.is_hidden)


@write.register
def _(schedule: curves.MultiStep, place: Place) -> Act:
    begin = place.begin
    times = Counter(schedule.milestones)
    reached = {
        (place.at(milestone) if said.isdigit() else said if begin == "0" else f"{begin} + {said}"): count
        for index, milestone in enumerate(schedule.milestones)
        if milestone > 0 and (place.last is None or milestone <= place.last)
        for said, count in [(place.count("milestones", milestone, index), times[milestone])]
    }
    start = repr(schedule.gamma ** times[0]) if times[0] else ""
    if len(set(reached.values())) <= 1:
        gamma = schedule.gamma ** next(iter(reached.values()), 1)
        define, when = _is_one_of(place, list(reached))
        return Act(repr(gamma), start, when=when, define=define)
    name = f"{place.name}_factors"
    table = Call("{", tuple((f"{step}: ", repr(schedule.gamma**count)) for step, count in reached.items()), "}")
    return Act(f"{name}.get({place.index}, 1.0)", start, define=lay(table, STEP, f"{name} = ", margin=0))


def _is_one_of(place: Place, milestones: list[str]) -> tuple[str, str]:
    """What must stand before the loop, and the condition in it."""
    if not milestones:
        return "", "False"
    if len(milestones) == 1:
        return "", f"{place.index} == {milestones[0]}"
    inline = f"{place.index} in ({', '.join(milestones)})"
    if len(inline) <= SHORT:
        return "", inline
    name = f"{place.name}_milestones"
    return lay(listed(milestones), STEP, f"{name} = ", margin=0), f"{place.index} in {name}"


@write.register
def _(schedule: curves.OneCycle, place: Place) -> Act:
    total = place.steps if schedule.total_steps is None else place.count("total_steps", schedule.total_steps)
    define, total_name = _named(total, f"{place.name}_steps")
    stays = schedule.total_steps is not None and not _ends_by(place, schedule.total_steps) and total != place.steps
    body = _one_cycle(schedule, total_name, stays)
    doc = f"Up to {schedule.eta_max!r}, and down again."
    return Act(value=f"{place.name}({place.step}) / {place.base}", define=define + _function(place.name, doc, body))


def _ends_by(place: Place, count: float) -> bool:
    """Whether a schedule ends, in any run, before it has taken more steps."""
    return place.last is not None and place.last < count


def _one_cycle(schedule: curves.OneCycle, total: str, stays: bool) -> str:
    top, share = repr(schedule.eta_max), repr(schedule.pct_start)
    bottom = f"{top} / {schedule.div_factor!r}"
    last = f"{bottom} / {schedule.final_div_factor!r}"
    turn = f"{share} * {total} - 1"
    lines = [f"step = min(step, {total} - 1)"] if stays else []
    lines += [
        f"peak, last = {turn}, {total} - 1",
        "if step <= peak:",
        f"    begin, end, low, high = 0, peak, {bottom}, {top}",
    ]
    if schedule.three_phase:
        lines.insert(-2, f"middle = 2 * {share} * {total} - 2")
        lines += ["elif step <= middle:", f"    begin, end, low, high = peak, middle, {top}, {bottom}"]
        lines += ["else:", f"    begin, end, low, high = middle, last, {bottom}, {last}"]
    else:
        lines += ["else:", f"    begin, end, low, high = peak, last, {top}, {last}"]
    lines += ["done = (step - begin) / (end - begin) if end != begin else 1.0"]
    if schedule.anneal_strategy == "cos":
        lines += ["done = (1 - math.cos(math.pi * done)) / 2"]
    return "\n".join([*lines, "return low + (high - low) * done"])


@write.register
def _(schedule: curves.Poly, place: Place) -> Act:
    define, steps = _named(place.steps, f"{place.name}_steps")
    last = str(int(steps) - 1) if steps.isdigit() else f"{steps} - 1"
    share = "left / (left + 1)"
    known = {1: share, 2: f"({share}) * ({share})", 0.5: f"math.sqrt({share})"}
    # Otherwise Python's own power may differ from that of NumPy's arrays in the last bit.
    power = known.get(schedule.power, f"float(np.power({share}, {schedule.power!r}))")
    lines = [f"left = {last} - step"]
    doc = f"By what (1 - step / last) ** {schedule.power!r} changes at a step."
    define += _function(place.name, doc, "\n".join([*lines, f"return {power}"]))
    return Act(f"{place.name}({place.step})", floor=schedule.eta_min, define=define)


@write.register
def _(schedule: curves.QuadraticWarmup, place: Place) -> Act:
    define, steps = _named(place.steps, f"{place.name}_steps")
    lines = (f"more += (2 * {place.step} + 1) / {steps}**2",)
    return Act(sets=f"1 / {steps}**2", lines=lines, define=define, adds_base=True)


@write.register
def _(schedule: curves.Step, place: Place) -> Act:
    size = place.count("step_size", schedule.step_size)
    step = place.offset if place.begin == "0" else f"({place.offset})"
    return Act(repr(schedule.gamma), when=f"{step} % {size} == 0")


@write.register
def _(schedule: curves.WarmupStableDecay, place: Place) -> Act:
    warmup, decay = place.count("warmup", schedule.warmup), place.count("decay", schedule.decay)
    define, steps = _named(place.steps, f"{place.name}_steps")
    start, end = schedule.start_factor, schedule.end_factor
    rise = f"step / {warmup}"
    lines = []
    if schedule.warmup:
        rising = f"{start!r} + (1 - {start!r}) * ({rise})" if start else rise
        lines += [f"if step < {warmup}:", f"    return {rising}"]
    if schedule.decay:
        shape = _DECAYS[schedule.decay_type]("done")
        lines += [f"done = max(step - ({steps} - {decay}), 0) / {decay}"]
        lines += [f"return {end!r} + (1 - {end!r}) * ({shape})" if end else f"return {shape}"]
    else:
        lines += [f"return {end + (1 - end) * 1.0!r}"]
    act = _factors(place, "\n".join(lines), "Up, level, and down.", schedule)
    return Act(act.ratio, act.start, define=define + act.define, is_hidden=act.is_hidden)


_DECAYS: Mapping[str, Callable[[str], str]] = {
    "linear": lambda done: f"1 - {done}",
    "cosine": lambda done: f"(1 + math.cos(math.pi * {done})) / 2",
    "sqrt": lambda done: f"1 - math.sqrt({done})",
}


__all__ = ["COUNTS", "Act", "Place", "drawn", "name_of", "write"]
