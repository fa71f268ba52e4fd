"""The schedules in the loop of the script: what is prepared before it, and what is set when.

In this room: ``Scheduling`` and ``schedule``, which makes it of a run's schedules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError
from optimctl.export.python.curves import Place
from optimctl.export.python.layout import STEP, WIDTH, lay, literal, text
from optimctl.export.python.schedules import Factors, Scheduled, factors_of
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.schedule.curves import ReduceOnPlateau

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.errors import Key
    from optimctl.export.python.imports import Imports
    from optimctl.export.python.optimizers import Written
    from optimctl.schedule.place import Placed
    from optimctl.schedule.scheduler import Slot


LONGEST = 50
"""How long a value of a record may be."""
ALL = "groups"
"""What the script calls the groups of several optimizers together."""


@dataclass
class Scheduling:
    """Lines of the script, by where they stand."""

    functions: list[str] = field(default_factory=list)
    prepare: list[str] = field(default_factory=list)
    each_epoch: list[str] = field(default_factory=list)
    each_iteration: list[str] = field(default_factory=list)
    observe: list[str] = field(default_factory=list)
    """After a validation."""
    report: dict[str, str] = field(default_factory=dict)
    """What is scheduled, for the records, by its name there."""
    before_report: list[str] = field(default_factory=list)
    plateaus: list[ReduceOnPlateau] = field(default_factory=list)
    uses_groups: bool = False
    """Whether the lines speak of ``groups``, all of several optimizers together."""
    fits: frozenset[str] = frozenset({"shorter", "longer"})
    """For which runs, other than the job's, they are right."""


@dataclass(frozen=True)
class _Moved:
    """An option of one optimizer that schedules move."""

    written: Written
    slot: Slot
    scheduled: Scheduled
    plateaus: Sequence[tuple[str, Placed]]
    """The schedules that wait for a metric, with the script's names of their counters."""
    factors: Factors | None
    is_main: bool
    """Whether the records tell of it, where optimizers of one wrapper start from different values."""
    told_by: int | None
    """The group of its optimizer that starts from what the job says, with no multiplier; None where there is none."""
    variable: str = ""
    groups: str = ""
    """What the script calls the groups in which it is moved."""

    def is_like(self, other: _Moved) -> bool:
        """Whether the same lines move the same option of another optimizer of the same wrapper."""
        same = (self.written.wrapper_name, self.slot, self.variable) == (
            other.written.wrapper_name,
            other.slot,
            other.variable,
        )
        by_name = self.factors is not None and self.scheduled.base in self.factors.parameters
        return same and not by_name and not self.plateaus

    @property
    def reference(self) -> str:
        """What the job gives the option, before multipliers."""
        is_lr = str(self.slot) == "lr" and bool(self.written.lr)
        return f"args.{self.written.lr}" if is_lr else repr(self.scheduled.reference)

    @property
    def initial(self) -> str:
        """The key of a group under which its start stands."""
        index = "" if self.slot.index is None else f"_{self.slot.index}"
        return f"initial_{self.slot.option}{index}"

    @property
    def scale(self) -> str:
        """The key of a group under which stands what metrics have made of it."""
        return f"{self.label}_scale"

    @property
    def is_affine(self) -> bool:
        """Whether something is added, too."""
        return self.factors is not None and self.factors.is_affine

    @property
    def is_by_epoch(self) -> bool:
        """Whether it is set once an epoch."""
        return self.factors is not None and self.factors.axis == "epoch"

    def entry(self, done: str = "") -> str:
        """The list's entry for the iteration that comes, or with ``" - 1"`` for the one that is done."""
        axis = self.factors.axis if self.factors else ""
        counts = self.scheduled.run.accumulative_counts
        if axis == "epoch":
            return f"{self.variable}[epoch - 1]"
        if axis == "update" and counts > 1:
            return f"{self.variable}[{f'(iteration{done})' if done else 'iteration'} // {counts}]"
        return f"{self.variable}[iteration{done}]"

    def next_entry(self) -> str:
        """The list's entry after an epoch."""
        return f"{self.variable}[epoch]" if self.is_by_epoch else self.entry()

    @property
    def label(self) -> str:
        """The option, as a part of a variable's name."""
        return self.initial.removeprefix("initial_")

    @property
    def unpacked(self) -> str:
        """The variables that hold an entry of the list."""
        return "scale, offset" if self.is_affine else "factor"

    def reported(self, before: list[str]) -> str:
        """What a record says after an iteration; ``before`` takes the line that must stand before it.

        Nothing where metrics have a part in it, and a multiplier in every group.
        """
        if (self.plateaus or self.is_affine) and self.told_by is not None:
            index = "" if self.slot.index is None else f"[{self.slot.index}]"
            return f'{self.written.name}.param_groups[{self.told_by}]["{self.slot.option}"]{index}'
        if self.plateaus:
            return ""
        entry, variable = self.entry(" - 1"), self.variable.removesuffix("s")
        if self.is_affine:
            before.append(f"{variable} = {entry}")
            return f"{variable}[0] * {self.reference} + {variable}[1]"
        if len(entry) + len(self.reference) <= LONGEST:
            return f"{self.reference} * {entry}"
        before.append(f"{variable} = {entry}")
        return f"{self.reference} * {variable}"

    def table(self, placed: Placed) -> Mapping[str, Any]:
        """What the job says of a schedule."""
        return self.scheduled.tables[list(self.scheduled.schedules).index(placed)]

    def assign(self, entry: str, column: int) -> Iterator[str]:
        """The lines that set it in a group; they begin at a column."""
        option, index = self.slot.option, self.slot.index
        if index is None:
            yield from self.compute(f'group["{option}"]', entry, column)
            return
        before, after = (f'*group["{option}"][{part}]' for part in (f":{index}", f"{index + 1}:"))
        if len(self.written.optimizer.param_groups[0][option]) == 2:
            before, after = ("", f'group["{option}"][1]') if index == 0 else (f'group["{option}"][0]', "")
        yield from self.compute("value", entry, column)
        yield f'group["{option}"] = ({", ".join(part for part in (before, "value", after) if part)})'

    def compute(self, target: str, entry: str, column: int) -> Iterator[str]:
        """The lines that give a variable the option of a group; they begin at a column."""
        parts = [f'group["{self.initial}"]']
        if self.is_affine:
            factor, _, summand = entry.partition(", ")
            parts = [f"{factor} * {parts[0]}", f"+ {summand}"]
        elif self.factors is not None:
            parts = [f"{parts[0]} * {entry}"]
        parts += [f'* group["{self.scale}"]'] if self.plateaus else []
        yield from _in_steps(target, parts, column, is_flat=not (self.plateaus and self.is_affine))


def _in_steps(target: str, parts: Sequence[str], column: int, is_flat: bool) -> Iterator[str]:
    """One assignment, or one for each part where that would be too long, or would need brackets."""
    flat = f"{target} = {' '.join(parts)}"
    if len(parts) == 1 or (is_flat and column + len(flat) <= WIDTH):
        yield flat
        return
    *most, last = parts
    yield from _in_steps("value", most, column, is_flat=True)
    sign, _, other = last.partition(" ")
    yield f"value {sign}= {other}" if target == "value" else f"{target} = value {last}"


def schedule(assembly: Assembly, optimizers: Sequence[Written], imports: Imports) -> Scheduling:
    """The schedules of a job in a script.

    Raises:
        JobError: One of them cannot be exported; the message names it.
    """
    made = Scheduling()
    moved = list(_together(list(_named(list(_moved(assembly, optimizers, made, imports)), made)), optimizers))
    made.uses_groups = any(one.groups == ALL for one in moved)
    made.prepare = list(_preparing(moved))
    made.fits = frozenset.intersection(made.fits, *(one.factors.fits for one in moved if one.factors))
    for by_epoch, lines, column in ((True, made.each_epoch, 8), (False, made.each_iteration, 12)):
        lines += _setting([one for one in moved if one.is_by_epoch == by_epoch], column)
    for one in moved:
        made.observe += _observing(one)
    _report(moved, assembly, made)
    return made


def _moved(assembly: Assembly, optimizers: Sequence[Written], made: Scheduling, imports: Imports) -> Iterator[_Moved]:
    parts = assembly.schedules.parts if assembly.schedules is not None else {}
    for written in optimizers:
        part = parts[written.wrapper_name]
        tables, key = _tables(assembly, written.wrapper_name)
        last = written.first_group + len(written.optimizer.param_groups)
        for track in part.tracks:
            own = [index for index in track.bases if written.first_group <= index < last]
            if not own:
                continue
            scheduled = Scheduled(
                _name(track.slot),
                track.slot,
                track.schedules,
                [_table(tables, placed) for placed in track.schedules],
                track.reference,
                [track.bases[index] for index in own],
                part.length,
                key,
            )
            _refuse_skipped(scheduled, assembly, written)
            plateaus, factors = _plateaus(track.schedules, made), factors_of(scheduled, imports)
            told_by = next((i - written.first_group for i in own if track.bases[i] == track.reference), None)
            is_main = track.is_of(part.target.defaults)
            yield _Moved(written, track.slot, scheduled, plateaus, factors, is_main, told_by)


def _name(slot: Slot) -> str:
    return f"schedule_{slot.option}" + ("" if slot.index is None else f"_{slot.index}")


def _named(moved: Sequence[_Moved], made: Scheduling) -> Iterator[_Moved]:
    """Each function under a name of its own, with its optimizer's where they differ; what is the same is there once."""
    for one in moved:
        if one.factors is None:
            yield one
            continue
        others = {other.factors.text for other in moved if other.factors and other.factors.name == one.factors.name}
        factors = one.factors if len(others) == 1 else one.factors.renamed(one.written.name)
        if factors.text not in made.functions:
            made.functions.append(factors.text)
        own = factors.name.removeprefix("schedule_") + ("_values" if factors.is_affine else "_factors")
        if len(moved) > 1 and one.scheduled.base in factors.parameters:  # the lists differ though the function is one
            own = f"{one.written.name}_{own}".replace("optimizer_", "")
        yield replace(one, factors=factors, variable=own)


def _together(moved: Sequence[_Moved], optimizers: Sequence[Written]) -> Iterator[_Moved]:
    """What all optimizers of one wrapper share is moved in all their groups together."""
    for one in moved:
        ours = [other for other in optimizers if other.wrapper_name == one.written.wrapper_name]
        alike = [other for other in moved if other.is_like(one)]
        if len(ours) == 1 or len(alike) < len(ours):
            yield replace(one, groups=f"{one.written.name}.param_groups")
        elif one.written.name == ours[-1].name:
            yield replace(one, groups=ALL)


def _tables(assembly: Assembly, name: str) -> tuple[Any, Key]:
    """The job's tables of schedules for one optimizer, and where they stand."""
    tables = assembly.job.plain().get("param_scheduler", [])
    if isinstance(tables, Mapping) and "type" not in tables:
        return tables.get(name, []), ("param_scheduler", name)
    return tables, ("param_scheduler",)


def _table(tables: Any, placed: Placed) -> Mapping[str, Any]:
    found = tables
    for part in placed.key:
        found = found[part]
    return dict(found)


def _refuse_skipped(scheduled: Scheduled, assembly: Assembly, written: Written) -> None:
    """A schedule that counts updates waits where float16 skips one; a list cannot."""
    import torch

    wrapper = assembly.wrapper if written.wrapper_name == DEFAULT_NAME else assembly.wrapper[written.wrapper_name]  # type: ignore[index]
    if getattr(wrapper, "dtype", None) is torch.float16:
        for placed in scheduled.schedules:
            if placed.unit == "update":
                message = f"cannot be exported: {placed.name} counts updates, and float16 may skip some; let it count iterations"
                raise JobError.single((*scheduled.key, *placed.key, "by"), message, "not-exportable")


def _plateaus(schedules: Sequence[Placed], made: Scheduling) -> list[tuple[str, Placed]]:
    found = []
    for placed in schedules:
        if isinstance(placed.schedule, ReduceOnPlateau):
            made.plateaus.append(placed.schedule)
            count = len(made.plateaus)
            found.append(("plateau" if count == 1 else f"plateau_{count}", placed))
    return found


def _preparing(moved: Sequence[_Moved]) -> Iterator[str]:
    """The lists of factors, the counters, and where each group starts."""
    yield from dict.fromkeys(line for one in moved for line in _lists(one))
    for groups in dict.fromkeys(one.groups for one in moved):
        yield f"for group in {groups}:"
        for one in (one for one in moved if one.groups == groups):
            index = "" if one.slot.index is None else f"[{one.slot.index}]"
            yield f'    group["{one.initial}"] = group["{one.slot.option}"]{index}'
            if one.plateaus:
                yield f'    group["{one.scale}"] = 1.0'


def _lists(one: _Moved) -> Iterator[str]:
    if one.factors is not None:
        counts = one.scheduled.run.accumulative_counts
        updates = "iterations" if counts == 1 else f"math.ceil(iterations / {counts})"
        yield lay(one.factors.call(**{one.scheduled.base: one.reference, "updates": updates}), 4, f"{one.variable} = ")
    for name, placed in one.plateaus:
        if isinstance(placed.schedule, ReduceOnPlateau):
            yield f"{name} = {name.title().replace('_', '')}()"


def plateau_context(plateau: ReduceOnPlateau, number: int) -> dict[str, Any]:
    """What the piece ``plateau`` says of the schedule with a number, from 1."""
    is_less, is_relative = plateau.rule == "less", plateau.threshold_rule == "rel"
    threshold = plateau.threshold
    better = {
        (True, True): f"value < self.best * (1 - {threshold!r})",
        (False, True): f"value > self.best * (1 + {threshold!r})",
        (True, False): f"self.best - value > {threshold!r}",
        (False, False): f"value - self.best > {threshold!r}",
    }[is_less, is_relative]
    return {
        "name": "Plateau" if number == 1 else f"Plateau{number}",
        "better": better,
        "start": "math.inf" if is_less else "-math.inf",
        "patience": plateau.patience,
        "cooldown": plateau.cooldown,
    }


def _setting(moved: Sequence[_Moved], column: int) -> Iterator[str]:
    """The lines that set options in all groups, optimizer by optimizer; they begin at a column."""
    for groups in dict.fromkeys(one.groups for one in moved):
        ours = [one for one in moved if one.groups == groups]
        together = [one for one in ours if _fits_inline(one, column + STEP)]
        if together:
            yield f"for group in {groups}:"
            yield from (f"    {line}" for one in together for line in _lines(one, one.entry(), column + STEP))
        for one in (one for one in ours if one not in together):
            yield f"{one.unpacked} = {one.entry()}"
            yield f"for group in {groups}:"
            yield from (f"    {line}" for line in _lines(one, one.unpacked, column + STEP))


def _fits_inline(one: _Moved, column: int) -> bool:
    """Whether the list's entry may stand where the option is set."""
    if one.factors is None:
        return True
    return not one.is_affine and all(column + len(line) <= WIDTH for line in one.assign(one.entry(), column))


def _lines(one: _Moved, entry: str, column: int) -> Iterator[str]:
    """What sets the option of a group."""
    if not (one.is_affine and 0.0 in one.scheduled.bases):
        yield from one.assign(entry, column)
        return
    yield f'if group["{one.initial}"]:'
    yield from (f"    {line}" for line in one.assign(entry, column + STEP))


def _observing(one: _Moved) -> Iterator[str]:
    """What a metric makes of the groups."""
    for name, placed in one.plateaus:
        plateau = placed.schedule
        if not isinstance(plateau, ReduceOnPlateau):
            continue
        yield from _when(one, name, placed, plateau)
        if one.factors is not None:
            yield f"    {one.unpacked} = {one.next_entry()}"
        yield f"    for group in {one.groups}:"
        yield from (f"        {line}" for line in one.compute("value", one.unpacked, 16))
        yield f"        lower = max(value * {literal(plateau.factor)}, {literal(plateau.min_value)})"
        yield f"        if value - lower > {literal(plateau.eps)}:"
        yield f'            group["{one.scale}"] *= lower / value'


def _when(one: _Moved, name: str, placed: Placed, plateau: ReduceOnPlateau) -> Iterator[str]:
    """The condition under which a metric is looked at and has stopped getting better."""
    place = Place(placed, one.table(placed), one.scheduled.run, name, one.scheduled.base)
    end = place.inline("end", placed.end or 0) if place.end else "epochs"
    parts = [f"epoch >= {place.inline('begin', placed.begin)}"] if placed.begin else []
    in_range = " and ".join([*parts, f"epoch < {end}"])
    has_come = f"{name}.has_come(metrics[{text(plateau.monitor)}])"
    if len(f"if {in_range} and {has_come}:") + 8 <= WIDTH:
        yield f"if {in_range} and {has_come}:"
    else:
        yield f"in_range = {in_range}"
        yield f"if in_range and {has_come}:"


def _report(moved: Sequence[_Moved], assembly: Assembly, made: Scheduling) -> None:
    """What a record says of the schedules: the job's own values, before multipliers."""
    several = len(assembly.schedules.parts) > 1 if assembly.schedules is not None else False
    told: dict[str, _Moved] = {}
    for one in moved:
        option = one.scheduled.schedules[0].option
        name = f"{one.written.wrapper_name}.{option}" if several else option
        if name not in told or one.is_main:
            told[name] = one
    for name, one in told.items():
        value = one.reported(made.before_report)
        made.report |= {name: value} if value else {}


__all__ = ["Scheduling", "plateau_context", "schedule"]
