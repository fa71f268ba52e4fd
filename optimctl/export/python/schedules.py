"""The schedules of an option as one function of the script: what each iteration makes of the value that a group started from.

In this room: ``Factors``, such a function, and ``factors_of``. A run's values are a scan over the maps of its schedules
(``optimctl.schedule.trajectory``); the function is the same scan, one step after the other. What is no built-in schedule becomes a
table of its values, where that is short enough to be read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError
from optimctl.export.python.curves import COUNTS, Act, Place, drawn, name_of, write
from optimctl.export.python.foreign import torch_lines, write_foreign
from optimctl.export.python.imports import Imports
from optimctl.export.python.layout import STEP, WIDTH, Call, call, define, indented, lay, listed, words
from optimctl.schedule.curves import ReduceOnPlateau
from optimctl.schedule.place import Placed, RunLength, read_schedules
from optimctl.schedule.trajectory import Affine, Clock, trajectory

if TYPE_CHECKING:
    from optimctl.errors import Key
    from optimctl.schedule.curves import Floats
    from optimctl.schedule.scheduler import Slot

MOST_VALUES = 200
"""How long a table of values may be."""
EXACT = 1e-12
"""How far a value of the script may be from the run's, as a share of it: nothing here, but where NumPy's sine is not Python's."""
LENGTHS = ("epochs", "epoch_length", "iterations", "updates")


@dataclass(frozen=True)
class Factors:
    """A function of the script that gives a list, an entry for each step of ``axis``."""

    name: str
    doc: str
    body: str
    """At the margin."""
    parameters: tuple[str, ...]
    """Of ``LENGTHS``, and ``Scheduled.base`` where the schedules name absolute values."""
    axis: str
    """What the entries count: ``iteration``, or ``epoch`` where nothing changes inside of one."""
    is_affine: bool
    """Whether an entry is a pair, of what a group's own value is multiplied by and what is added; else it is the first alone."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """What it calls, by its names in the script."""
    is_table: bool = False
    """Whether it is the values themselves."""
    fits: frozenset[str] = frozenset({"shorter", "longer"})
    """For which runs, other than the job's, it gives the values that the job would have."""

    def renamed(self, owner: str) -> Factors:
        """The same function, with the name of an optimizer in its own."""
        name = self.name.replace("schedule_", f"schedule_{owner}_", 1)
        return replace(self, name=name)

    @property
    def text(self) -> str:
        """The function."""
        kinds = {name: "int" if name in LENGTHS else "float" for name in self.parameters}
        head = define(self.name, kinds, f"list[{'tuple[float, float]' if self.is_affine else 'float'}]")
        space = "\n" if self.body.startswith("def ") else ""
        return f'{head}\n    """{self.doc}"""\n{space}{indented(self.body)}'

    def call(self, **others: str) -> Call:
        """The call, with the names that the script has for the lengths."""
        return call(self.name, *(others.get(name, name) for name in self.parameters))


@dataclass(frozen=True)
class Scheduled:
    """The schedules of one option, and the run that they stand in."""

    name: str
    """Of the function."""
    slot: Slot
    schedules: Sequence[Placed]
    tables: Sequence[Mapping[str, Any]]
    """What the job says of each."""
    reference: float
    bases: Sequence[float]
    run: RunLength
    key: Key

    @property
    def base(self) -> str:
        """The variable that has ``reference``."""
        return self.slot.option if self.slot.index is None else f"{self.slot.option}_{self.slot.index}"

    def during(self, run: RunLength) -> Scheduled:
        """The same in another run.

        Raises:
            JobError: They have no place in it.
        """
        return replace(self, schedules=read_schedules([dict(table) for table in self.tables], run), run=run)

    @property
    def moving(self) -> list[tuple[Placed, Mapping[str, Any]]]:
        """Those that wait for no metric."""
        pairs = zip(self.schedules, self.tables, strict=True)
        return [(placed, table) for placed, table in pairs if not isinstance(placed.schedule, ReduceOnPlateau)]

    def values(self) -> Affine:
        """What the run has."""
        clock = Clock(self.run.epoch_length, self.run.accumulative_counts)
        schedules = [placed for placed, _ in self.moving]
        return trajectory(schedules, self.reference, clock, 0, self.run.iterations or 0)


def factors_of(scheduled: Scheduled, imports: Imports) -> Factors | None:
    """The function; None where nothing but a metric moves the option.

    Raises:
        JobError: A schedule is neither built in nor short enough for a table.
    """
    if not scheduled.moving:
        return None
    for way in (_written, _by_torch):
        trial = copy.deepcopy(imports)
        factors = way(scheduled, trial)
        if factors is not None and agrees(factors, scheduled):
            imports.take_over(trial)
            return replace(factors, fits=_fits(factors, scheduled))
    table = _table(scheduled)
    return replace(table, fits=_fits(table, scheduled))


def _written(scheduled: Scheduled, imports: Imports) -> Factors | None:
    """The function in full; None where one of the schedules cannot be had without optimctl."""
    taken: list[str] = []
    found: list[tuple[Place, Act]] = []
    names: dict[str, Any] = {}
    for placed, table in scheduled.moving:
        place = Place(placed, table, scheduled.run, _free(name_of(placed), taken), scheduled.base)
        act = write(placed.schedule, place)
        if act is None:
            foreign = write_foreign(place, scheduled.reference, imports)
            if foreign is None:
                return None
            act, called = foreign
            names |= called
        found.append((place, act))
    return replace(_Writer(scheduled, found).write(), names=names)


def _by_torch(scheduled: Scheduled, imports: Imports) -> Factors | None:
    """The function that lets the only schedule, one of torch's, run alone."""
    if len(scheduled.moving) > 1:
        return None
    ((placed, table),) = scheduled.moving
    found = torch_lines(Place(placed, table, scheduled.run, name_of(placed), scheduled.base), imports)
    if found is None:
        return None
    lines, names = found
    used = [name for name in (*LENGTHS, scheduled.base) if re.search(rf"\b{name}\b", "\n".join(lines))]
    doc = (
        f"What {placed.name} multiplies a group's own {words(str(scheduled.slot))} by, {placed.unit} by {placed.unit}."
    )
    return Factors(scheduled.name, doc, "\n".join(lines), tuple(used), placed.unit, False, names)


def _free(name: str, taken: list[str]) -> str:
    free = name if name not in taken else f"{name}_{1 + sum(one.startswith(name) for one in taken)}"
    taken.append(free)
    return free


class _Writer:
    """Puts the acts of several schedules together."""

    def __init__(self, scheduled: Scheduled, found: Sequence[tuple[Place, Act]]) -> None:
        self.scheduled = scheduled
        self.in_order = found
        self.found = sorted(found, key=lambda one: one[0].placed.unit == "epoch")  # as a run takes them
        units = {place.placed.unit for place, _ in found}
        self.axis = units.pop() if len(units) == 1 else "iteration"
        self.has_more = any(act.moves_scale for _, act in found)
        self.has_shift = any(act.moves_offset for _, act in found)
        self.is_alone = len(found) == 1

    def write(self) -> Factors:
        body = "\n".join(self._lines())
        named = [*LENGTHS, self.scheduled.base]
        used = [name for name in named if re.search(rf"\b{name}\b", body)]
        return Factors(self.scheduled.name, self._doc(), body, tuple(used), self.axis, self.has_shift)

    def _doc(self) -> str:
        what = words(str(self.scheduled.slot))
        each = f"{self.axis} by {self.axis}"
        if self.has_shift:
            return f"A factor and a summand for a group's own {what}, {each}."
        return f"What a group's own {what} is multiplied by, {each}."

    def _lines(self) -> Iterator[str]:
        shares: dict[str, str] = {}
        for place, _ in self.found:
            shares |= place.shares()
        same = _merged(shares)
        text = "\n".join([*(f"\n{act.define}\n" for _, act in self.found if act.define), *self._loop()])
        for name, first in same.items():
            text = re.sub(rf"\b{name}\b", first, text)
        used = [name for name in shares if same[name] == name and re.search(rf"\b{name}\b", text)]
        yield "\n".join([*(f"{name} = {shares[name]}" for name in used), text]).lstrip("\n")

    def _loop(self) -> Iterator[str]:
        place, act = self.found[0]
        if self.is_alone and act.value and _is_always(place, act):
            yield f"return [{act.value} for {self.axis} in range({COUNTS[self.axis]})]"
            return
        yield "# Step by step, as the run has it: a closed form would differ in the last bit."
        factors = "values" if self.has_shift else "factors"
        changes = list(self._changes())
        index = self.axis if re.search(rf"\b{self.axis}\b", "\n".join(changes)) else "_"
        yield f"{factors} = [{self._first()}]"
        yield f"for {index} in range(1, {COUNTS[self.axis]}):"
        yield from (f"    {line}" for line in changes)
        yield f"    {factors}.append({self._next()})"
        yield from self._hidden(factors)
        yield f"return {factors}"

    def _first(self) -> str:
        """What the first iteration makes of the value, where schedules act in the order of the job."""
        factor = "1.0"
        for place, act in self.in_order:
            if place.placed.begin > 0:
                continue
            if act.sets or act.value:
                factor = act.sets or act.value.replace(f"({place.step})", "(0)")
            elif act.start:
                factor = act.start if factor == "1.0" else f"{factor} * {act.start}"
        return f"({factor}, 0.0)" if self.has_shift else factor

    def _changes(self) -> Iterator[str]:
        lines = list(self._composed())
        text = "\n".join(lines)
        if self.axis == "iteration":
            periods = {"epoch": "epoch_length", "update": str(self.scheduled.run.accumulative_counts)}
            yield from (f"{unit} = iteration // {n}" for unit, n in periods.items() if re.search(rf"\b{unit}\b", text))
        yield from lines

    def _composed(self) -> Iterator[str]:
        """The change of all schedules together."""
        place, act = self.found[0]
        if self.is_alone and act.ratio and _is_always(place, act):
            yield f"change = {act.ratio}"
            yield from ([f"more = (1.0 - change) * {act.floor_share!r}"] if self.has_more else [])
            yield from ([f"shift = (1.0 - change) * {act.floor!r}"] if self.has_shift else [])
            return
        names = ["change", *(["more"] if self.has_more else []), *(["shift"] if self.has_shift else [])]
        start = ["1.0", *["0.0"] * (len(names) - 1)]
        yield f"{', '.join(names)} = {', '.join(start)}"
        for place, act in self.found:
            yield from self._change(place, act)

    def _change(self, place: Place, act: Act) -> Iterator[str]:
        begins = act.value or act.sets or act.start
        first = [*self._first_lines(act, place)] if place.begin != "0" and begins else []
        later = list(self._later_lines(act))
        if place.begin != "0" and re.search(r"\bstep\b", "\n".join(later)):
            later.insert(0, f"step = {place.offset}")
        when = [] if self.axis == place.placed.unit else [self._begins(place.placed.unit)]
        if act.value:  # the first step is as all others
            yield from _under(" and ".join([*when, *_range(place, True), *_some(act.when)]), later)
            return
        if first:
            yield from _under(" and ".join([*when, f"{place.index} == {place.begin}"]), first)
        if act.when != "False":
            yield from _under(" and ".join([*when, *_range(place, False), *_some(act.when)]), later)

    def _begins(self, unit: str) -> str:
        """The iterations at which a step of another unit begins."""
        period = "epoch_length" if unit == "epoch" else str(self.scheduled.run.accumulative_counts)
        return f"iteration % {period} == 0"

    def _first_lines(self, act: Act, place: Place) -> Iterator[str]:
        yield from self._set(act.sets) if act.sets else self._multiply(act.start)

    def _later_lines(self, act: Act) -> Iterator[str]:
        if act.lines:
            yield from (line for line in act.lines if self.has_shift or not line.lstrip().startswith("shift"))
        elif act.value:
            yield from self._set(act.value)
        else:
            yield from self._multiply(act.ratio, act.floor, act.floor_share)

    def _set(self, value: str) -> Iterator[str]:
        yield f"change, more = 0.0, {value}"
        if self.has_shift:
            yield "shift = 0.0"

    def _multiply(self, ratio: str, floor: float = 0.0, share: float = 0.0) -> Iterator[str]:
        if not self.has_more and not self.has_shift:
            yield f"change *= {ratio}"
            return
        for line in drawn(ratio, floor, share):
            is_there = {"more": self.has_more, "shift": self.has_shift}.get(line.partition(" ")[0], True)
            if is_there:
                yield line

    def _next(self) -> str:
        more = " + more" if self.has_more else ""
        if not self.has_shift:
            return f"factors[-1] * change{more}"
        return f"(values[-1][0] * change{more}, values[-1][1] * change + shift)"

    def _hidden(self, factors: str) -> Iterator[str]:
        """A schedule that starts from nothing shows nothing at its first step."""
        nothing = "(0.0, 0.0)" if self.has_shift else "0.0"
        for place, act in self.found:
            if not act.is_hidden:
                continue
            if self.axis == place.placed.unit and place.placed.end != place.placed.begin + 1:
                yield f"{factors}[{place.begin}] = {nothing}"
            elif place.begin == "0" and place.placed.unit == "epoch":
                yield f"{factors}[:epoch_length] = [{nothing}] * epoch_length"


def _is_always(place: Place, act: Act) -> bool:
    return place.begin == "0" and not place.end and not act.when and not act.lines


def _range(place: Place, with_first: bool) -> list[str]:
    """The steps at which a schedule acts, but for those before 1, which nobody asks about."""
    index, begin, end = place.index, place.begin, place.end
    low = "" if begin == "0" else begin
    sign = "<=" if with_first else "<"
    if low and end:
        return [f"{low} {sign} {index} < {end}"]
    return [f"{index} < {end}"] if end else [f"{index} {'>=' if with_first else '>'} {low}"] if low else []


def _some(text: str) -> list[str]:
    return [text] if text else []


def _under(condition: str, lines: Sequence[str]) -> Iterator[str]:
    if not condition:
        yield from lines
    elif lines:
        yield f"if {condition}:"
        yield from (f"    {line}" for line in lines)


def _merged(shares: Mapping[str, str]) -> dict[str, str]:
    """For each variable the first one of the same value: where one schedule ends, the next begins."""
    first: dict[str, str] = {}
    return {name: first.setdefault(value, name) for name, value in shares.items()}


def agrees(factors: Factors, scheduled: Scheduled) -> bool:
    """Whether the function gives what the run has, for every value that a group starts from."""
    import numpy as np

    wanted = scheduled.values()
    try:
        entries = run_function(factors, scheduled)
    except (ArithmeticError, IndexError):  # a share of a learning rate of 0; behind the end of a table
        return False
    if len(entries) < -(-len(wanted.scale) // _iterations(factors.axis, scheduled.run)):
        return False
    pairs = np.asarray(entries, dtype=np.float64).reshape(-1, 2 if factors.is_affine else 1)
    pairs = np.repeat(pairs, _iterations(factors.axis, scheduled.run), axis=0)[: len(wanted.scale)]
    found = Affine(pairs[:, 0], pairs[:, 1] if factors.is_affine else np.zeros(len(pairs)))
    bases = {scheduled.reference, *scheduled.bases}
    return all(_is_near(found.values(base), wanted.values(base)) for base in bases)


def _fits(factors: Factors, scheduled: Scheduled) -> frozenset[str]:
    """For which other runs the function agrees with what the job would have, too."""
    run = scheduled.run
    name, length = ("max_iters", run.max_iters) if run.max_iters is not None else ("max_epochs", run.max_epochs or 1)
    others = {"shorter": {1, length // 2} - {0, length}, "longer": {2 * length + 1}}
    return frozenset(
        kind for kind, lengths in others.items() if all(_agrees_in(factors, scheduled, name, one) for one in lengths)
    )


def _agrees_in(factors: Factors, scheduled: Scheduled, name: str, length: int) -> bool:
    try:
        other = scheduled.during(replace(scheduled.run, **{name: length}))
    except JobError:  # the job itself could not be so long
        return True
    return agrees(factors, other)


def _is_near(found: Floats, wanted: Floats) -> bool:
    import numpy as np

    return bool((np.abs(found - wanted) <= EXACT * np.abs(wanted).max()).all())


def _iterations(axis: str, run: RunLength) -> int:
    """How many iterations an entry is for."""
    return {"epoch": run.epoch_length or 1, "update": run.accumulative_counts}.get(axis, 1)


def run_function(factors: Factors, scheduled: Scheduled) -> list[Any]:
    """What the function returns for a run."""
    import math

    import numpy as np

    namespace: dict[str, Any] = {"math": math, "np": np, **factors.names}
    exec(compile(factors.text, f"<{factors.name}>", "exec"), namespace)
    run = scheduled.run
    known = {
        "epochs": run.epochs,
        "epoch_length": run.epoch_length,
        "iterations": run.iterations,
        "updates": run.updates,
        scheduled.base: scheduled.reference,
    }
    found: list[Any] = namespace[factors.name](*(known[name] for name in factors.parameters))
    return found


def _table(scheduled: Scheduled) -> Factors:
    """The values themselves, an entry a step."""
    units = {placed.unit for placed, _ in scheduled.moving}
    axis = units.pop() if len(units) == 1 else "iteration"
    wanted, each = scheduled.values(), _iterations(axis, scheduled.run)
    scale, offset = wanted.scale[::each], wanted.offset[::each]
    if len(scale) > MOST_VALUES:
        raise _too_long(scheduled, len(scale))
    is_affine = bool(offset.any())
    entries = [f"({a!r}, {b!r})" for a, b in zip(scale.tolist(), offset.tolist(), strict=True)]
    plain = [repr(a) for a in scale.tolist()]
    what = "Factor and summand" if is_affine else "The factors"
    named = " and ".join(f"`{placed.name}`" for placed, _ in scheduled.moving)
    rest = f"for a group's own {words(str(scheduled.slot))}, {axis} by {axis}."
    doc = f"{what} of {named} {rest}"
    doc = doc if len(doc) + STEP + 6 <= WIDTH else f"{what} of its {len(scheduled.moving)} schedules {rest}"
    body = lay(listed(entries if is_affine else plain), STEP, "return ", margin=0)
    return Factors(scheduled.name, doc, body, (), axis, is_affine, is_table=True)


def _too_long(scheduled: Scheduled, count: int) -> JobError:
    foreign = next(
        (placed for placed, _ in scheduled.moving if write(placed.schedule, _place(placed, scheduled)) is None), None
    )
    placed = foreign or scheduled.moving[0][0]
    message = (
        f"cannot be exported: {placed.name} is no schedule of optimctl's own, and the table of its {count:,} values would be too long "
        f"for a script; let it count epochs, or take one of optimctl's own"
    )
    return JobError.single((*scheduled.key, *placed.key, "type"), message, "not-exportable")


def _place(placed: Placed, scheduled: Scheduled) -> Place:
    return Place(placed, {}, scheduled.run, name_of(placed), scheduled.base)


__all__ = ["Factors", "Scheduled", "agrees", "factors_of", "run_function"]
