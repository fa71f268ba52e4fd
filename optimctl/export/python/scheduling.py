"""The schedules in the loop of the script: what is prepared before it, and what is set when.

In this room: ``Scheduling`` and ``schedule``, which makes it of a run's schedules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError
from optimctl.export.python.layout import WIDTH, lay, text
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
    report: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Learning rates for the records, by their names there: what the job writes, and what it is multiplied by."""
    plateaus: list[ReduceOnPlateau] = field(default_factory=list)
    uses_groups: bool = False
    """Whether the lines speak of ``groups``, all of several optimizers together."""


@dataclass(frozen=True)
class _Moved:
    """An option of one optimizer that schedules move."""

    written: Written
    slot: Slot
    scheduled: Scheduled
    plateaus: Sequence[tuple[str, Placed]]
    """The schedules that wait for a metric, with the script's names of their counters."""
    factors: Factors | None
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
        by_name = self.factors is not None and self.slot.option in self.factors.parameters
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
        return self.initial.replace("initial_", "", 1) + "_scale"

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
        return self.entry().replace("epoch - 1", "epoch")

    def value(self, base: str, entry: str, scale: str = "") -> str:
        """The option of a group that started from ``base``."""
        found = base
        if self.factors is not None:
            found = f"scale * {base} + offset" if self.is_affine else f"{base} * {entry}"
        if not scale:
            return found
        return f"({found}) * {scale}" if "+" in found else f"{found} * {scale}"

    def assign(self, value: str) -> list[str]:
        """The lines that set it in a group."""
        option, index = self.slot.option, self.slot.index
        if index is None:
            return [f'group["{option}"] = {value}']
        before, after = (f'*group["{option}"][{part}]' for part in (f":{index}", f"{index + 1}:"))
        if len(self.written.optimizer.param_groups[0][option]) == 2:
            before, after = ("", f'group["{option}"][1]') if index == 0 else (f'group["{option}"][0]', "")
        entries = ", ".join(part for part in (before, "value", after) if part)
        return [f"value = {value}", f'group["{option}"] = ({entries})']


def schedule(assembly: Assembly, optimizers: Sequence[Written], imports: Imports) -> Scheduling:
    """The schedules of a job in a script.

    Raises:
        JobError: One of them cannot be exported; the message names it.
    """
    made = Scheduling()
    moved = list(_together(list(_named(list(_moved(assembly, optimizers, made, imports)), made)), optimizers))
    made.uses_groups = any(one.groups == ALL for one in moved)
    for one in moved:
        made.prepare += _preparing(one, made.prepare)
    for by_epoch, lines in ((True, made.each_epoch), (False, made.each_iteration)):
        ours = [one for one in moved if one.is_by_epoch == by_epoch]
        lines += _setting(ours)
    for one in moved:
        made.observe += _observing(one)
    made.report = dict(_reported(moved, assembly))
    return made


def _moved(assembly: Assembly, optimizers: Sequence[Written], made: Scheduling, imports: Imports) -> Iterator[_Moved]:
    parts = assembly.schedules.parts if assembly.schedules is not None else {}
    for written in optimizers:
        part = parts[written.wrapper_name]
        tables, key = _tables(assembly, written.wrapper_name)
        last = written.first_group + len(written.optimizer.param_groups)
        for track in part.tracks:
            bases = [base for index, base in track.bases.items() if written.first_group <= index < last]
            if not bases:
                continue
            scheduled = Scheduled(
                _name(track.slot),
                track.slot,
                track.schedules,
                [_table(tables, placed) for placed in track.schedules],
                track.reference,
                bases,
                part.length,
                key,
            )
            _refuse_skipped(scheduled, assembly, written)
            yield _Moved(
                written, track.slot, scheduled, _plateaus(track.schedules, made), factors_of(scheduled, imports)
            )


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
        if len(moved) > 1 and one.slot.option in factors.parameters:  # the lists differ though the function is one
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


def _preparing(one: _Moved, before: Sequence[str]) -> Iterator[str]:
    """The lists of factors, the counters, and where each group starts."""
    if one.factors is not None:
        counts = one.scheduled.run.accumulative_counts
        updates = "iterations" if counts == 1 else f"math.ceil(iterations / {counts})"
        made = one.factors.call(**{one.slot.option: one.reference, "updates": updates})
        line = lay(made, 4, f"{one.variable} = ")
        if line not in before:
            yield line
    for name, placed in one.plateaus:
        plateau = placed.schedule
        if isinstance(plateau, ReduceOnPlateau):
            yield f"{name} = {name.title().replace('_', '')}()"
    yield f"for group in {one.groups}:"
    index = "" if one.slot.index is None else f"[{one.slot.index}]"
    yield f'    group["{one.initial}"] = group["{one.slot.option}"]{index}'
    if one.plateaus:
        yield f'    group["{one.scale}"] = 1.0'


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


def _setting(moved: Sequence[_Moved]) -> Iterator[str]:
    """The lines that set options in all groups, optimizer by optimizer."""
    for groups in dict.fromkeys(one.groups for one in moved):
        ours = [one for one in moved if one.groups == groups]
        short = [one for one in ours if not one.is_affine and _is_short(_lines(one, one.entry()))]
        if short:
            yield f"for group in {groups}:"
            yield from (f"    {line}" for one in short for line in _lines(one, one.entry()))
        for one in (one for one in ours if one not in short):
            yield f"{'scale, offset' if one.is_affine else 'factor'} = {one.entry()}"
            yield f"for group in {groups}:"
            yield from (f"    {line}" for line in _lines(one, "factor"))


def _is_short(lines: Sequence[str]) -> bool:
    """Whether they fit where the loop over the groups is."""
    return all(len(line) + 16 <= WIDTH for line in lines)


def _lines(one: _Moved, entry: str) -> list[str]:
    """What sets the option of a group."""
    scale = f'group["{one.scale}"]' if one.plateaus else ""
    lines = one.assign(one.value(f'group["{one.initial}"]', entry, scale))
    if one.is_affine and 0.0 in one.scheduled.bases:
        return [f'if group["{one.initial}"]:', *(f"    {line}" for line in lines)]
    return lines


def _observing(one: _Moved) -> Iterator[str]:
    """What a metric makes of the groups."""
    for name, placed in one.plateaus:
        plateau = placed.schedule
        if not isinstance(plateau, ReduceOnPlateau):
            continue
        when = [f"epoch >= {placed.begin}"] if placed.begin else []
        total = one.scheduled.run.epochs
        when += [f"epoch < {placed.end}"] if placed.end is not None and placed.end != total else ["epoch < epochs"]
        yield f"if {' and '.join(when)} and {name}.has_come(metrics[{text(plateau.monitor)}]):"
        entry = "factor"
        if one.factors is not None:
            yield f"    {'scale, offset' if one.is_affine else entry} = {one.next_entry()}"
        yield f"    for group in {one.groups}:"
        yield f"        value = {one.value(_in_group(one.initial), entry, _in_group(one.scale))}"
        yield f"        lower = max(value * {plateau.factor!r}, {plateau.min_value!r})"
        yield f"        if value - lower > {plateau.eps!r}:"
        yield f"            {_in_group(one.scale)} *= lower / value"


def _in_group(key: str) -> str:
    return f'group["{key}"]'


def _reported(moved: Sequence[_Moved], assembly: Assembly) -> Iterator[tuple[str, tuple[str, str]]]:
    """What a record says of a schedule: the job's own value, before multipliers."""
    several = len(assembly.schedules.parts) > 1 if assembly.schedules is not None else False
    for one in moved:
        if one.factors is None or one.is_affine or one.plateaus:
            continue
        option = one.scheduled.schedules[0].option
        yield (f"{one.written.wrapper_name}.{option}" if several else option), (one.reference, one.entry(" - 1"))


__all__ = ["Scheduling", "plateau_context", "schedule"]
