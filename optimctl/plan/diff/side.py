"""Two jobs side by side: what each plans, which parameters and optimizers of them belong together, and how their curves differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from optimctl.errors import JobError, Key
from optimctl.optim.constructor import DefaultOptimWrapperConstructor
from optimctl.optim.multi import DEFAULT_NAME, by_name
from optimctl.optim.options import Walked
from optimctl.optim.planned import planned_for
from optimctl.optim.stand_in import stand_in
from optimctl.plan.diff.apart import Distance, Line, curves_of, distances
from optimctl.plan.diff.change import Origin, Origins, Tensors
from optimctl.plan.diff.values import ABSENT, at, plain
from optimctl.plan.memory import numbers_in
from optimctl.plan.plan import Plan, PlannedParameter, plan_of
from optimctl.plan.subject import Part, Subject
from optimctl.schedule.scheduler import Slot
from optimctl.schedule.trajectory import of_option

if TYPE_CHECKING:
    from torch import nn

    from optimctl.job.schema import Job
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.schedule.place import Placed

Read = TypeVar("Read")

TRAINED, FROZEN, NOWHERE = "trained", "frozen", "in no optimizer"


class Side:
    """One of two jobs.

    Args:
        subject: What its plan is of.
        with_model: Whether both jobs have a model; else a stand-in shows the optimizers' own options.

    Raises:
        JobError: An optimizer or a wrapper refuses its arguments; those of a job with a model were tried before.
    """

    def __init__(self, subject: Subject, job: Job, with_model: bool) -> None:
        self.job = job
        self.tables: Mapping[str, Any] = job.plain()
        self.subject = subject if with_model or "optim_wrapper" not in self.tables else _without_model(subject, job)
        self.plan: Plan = plan_of(self.subject)
        self.trained: Mapping[str, PlannedParameter] = {parameter.name: parameter for parameter in self.plan.parameters}
        self.parts: Mapping[str, Part] = {part.name: part for part in self.subject.parts}
        self.types: Mapping[str, str] = {one.name: named(one.type, one.distribution) for one in self.plan.optimizers}
        self.implementations: Mapping[str, str] = {one.name: one.implementation for one in self.plan.optimizers}
        self._origins: dict[Key, Origin] = {}

    @cached_property
    def walked(self) -> Mapping[str, Walked]:
        """All parameters by their names."""
        return {met.name: met for met in self.subject.walked}

    @cached_property
    def wrappers(self) -> Mapping[str, Part]:
        """A part of each wrapper, by the wrapper's name."""
        return {part.wrapper_name: part for part in reversed(self.subject.parts)}

    @cached_property
    def states(self) -> Mapping[str, str]:
        """What becomes of each parameter."""
        frozen = set(self.plan.frozen)
        others = {name: FROZEN if name in frozen else NOWHERE for name in self.walked}
        return {**others, **dict.fromkeys(self.trained, TRAINED)}

    @cached_property
    def freezing(self) -> Mapping[str, Origin]:
        """The line that freezes a parameter, where one does."""
        keys = {
            name: (*part.prefix, *options.reasons["freeze"].key)
            for part in self.wrappers.values()
            for name, options in part.chosen.items()
            if options.frozen and options.reasons["freeze"].key is not None
        }
        return {name: self.origin(("optim_wrapper", *key)) for name, key in keys.items()}

    @cached_property
    def _curves(self) -> Mapping[tuple[str, int], Mapping[str, Line]]:
        return {} if self.subject.schedules is None else curves_of(self.subject.schedules)

    def lines(self, parameter: PlannedParameter) -> Mapping[str, Line]:
        """The curves of a parameter's options, by what they move: ``lr``, ``betas[0]``."""
        part = self.parts[parameter.optimizer]
        return self._curves.get((part.wrapper_name, part.first_group + parameter.group), {})

    @cached_property
    def waiting(self) -> Mapping[str, Mapping[str, Placed]]:
        """The schedules of each wrapper that wait for a metric, by what they move; several of one option are numbered."""
        found: dict[str, dict[str, Placed]] = {}
        for name, part in self.subject.schedules.parts.items() if self.subject.schedules is not None else ():
            by_slot = {str(track.slot): [plateau.placed for plateau in track.plateaus] for track in part.tracks}
            found[name] = {
                slot if number == 1 else f"{slot} ({number})": placed
                for slot, several in by_slot.items()
                for number, placed in enumerate(several, 1)
            }
        return {name: waiting for name, waiting in found.items() if waiting}

    def origin(self, key: Key) -> Origin:
        """Where the job says ``key``; empty where it does not. A ``type`` that is not written is that of its table's name."""
        if key not in self._origins:
            where = key[:-1] if key[-1:] == ("type",) and at(self.tables, key) is ABSENT else key
            is_there = bool(where) and at(self.tables, where) is not ABSENT
            self._origins[key] = Origin(where, self.job.place(where)) if is_there else Origin()
        return self._origins[key]

    def reason(self, parameter: PlannedParameter, option: str) -> Origin:
        """Why an option of a parameter has its value."""
        reason = parameter.reasons.get(option)
        if reason is None or reason.key is None:
            return Origin(text=None if reason is None else reason.text)
        return replace(self.origin(("optim_wrapper", *reason.key)), text=reason.text)

    def table_key(self, wrapper: str, placed: Placed) -> Key:
        """Where the table of a schedule stands."""
        by_name = isinstance(self.job.param_scheduler, dict)
        return ("param_scheduler", *((wrapper,) if by_name else ()), *placed.key)

    def schedules(self, wrapper: str) -> list[Placed]:
        """The schedules of a wrapper, in the order of the job."""
        return [] if self.subject.schedules is None else self.subject.schedules.schedules[wrapper]

    def moving(self, parameter: PlannedParameter, slot: str) -> dict[Key, Placed]:
        """The schedules that move a slot of a parameter, by their tables; for the comparison, without what says nothing."""
        name = self.parts[parameter.optimizer].wrapper_name
        moving = of_option(self.schedules(name), slot, parameter.options)
        return {self.table_key(name, one): replace(one, key=(), name="", option_key="") for one in moving}

    def options_of(self, optimizer: str) -> list[str]:
        """The options that an optimizer has for its groups."""
        groups = next(one.groups for one in self.plan.optimizers if one.name == optimizer)
        return list(dict.fromkeys(option for group in groups for option in group.options))


@dataclass(frozen=True)
class Sides:
    """Both jobs."""

    before: Side
    after: Side
    with_model: bool

    def both(self, read: Callable[[Side], Read]) -> tuple[Read, Read]:
        """What is read off each side."""
        return read(self.before), read(self.after)

    @cached_property
    def common(self) -> tuple[str, ...]:
        """The parameters that both train."""
        return tuple(name for name in self.before.trained if name in self.after.trained)

    @cached_property
    def iterations(self) -> int | None:
        """The iterations that both runs have; None where a length is not known, or a job has no optimizer."""
        subjects = [side.subject for side in (self.before, self.after)]
        lengths = [one.length.iterations for one in subjects if one.schedules is not None]
        known = [length for length in lengths if length is not None]
        return min(known) if len(known) == 2 else None

    @cached_property
    def met(self) -> tuple[tuple[str, str], ...]:
        """The optimizers, by their names, that train the same parameters."""
        trained = ((self.before.trained[name], self.after.trained[name]) for name in self.common)
        return tuple(dict.fromkeys((one.optimizer, other.optimizer) for one, other in trained))

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The optimizers that belong together: also by their name, where they train nothing in common with any."""
        taken = {name for pair in self.met for name in pair}
        named = ((name, name) for name in self.before.parts if name in self.after.parts and name not in taken)
        return (*self.met, *named)

    @cached_property
    def wrapper_pairs(self) -> tuple[tuple[str, str], ...]:
        """The wrappers of the optimizers that belong together, by their names."""
        before, after = self.before.parts, self.after.parts
        return tuple(dict.fromkeys((before[one].wrapper_name, after[other].wrapper_name) for one, other in self.pairs))

    @property
    def several(self) -> bool:
        """Whether it must be said which optimizer is meant."""
        return max(len(self.before.parts), len(self.after.parts)) > 1

    def optimizers(self, name: str) -> tuple[str, str]:
        """The optimizers that train a parameter, by their names."""
        return self.before.trained[name].optimizer, self.after.trained[name].optimizer

    def is_same_class(self, optimizers: tuple[str, str]) -> bool:
        """Whether both optimizers are of one plugin."""
        return self.before.types[optimizers[0]] == self.after.types[optimizers[1]]

    def reasons(self, name: str, option: str) -> Origins:
        """Why an option of a parameter has its values."""
        one, other = self.before.trained[name], self.after.trained[name]
        return Origins(self.before.reason(one, option), self.after.reason(other, option))

    def tensors(self, names: list[str]) -> Tensors:
        """Parameters, and what they hold in the later job, or in the earlier where that has none; nothing for a stand-in."""
        if not self.with_model:
            return Tensors()
        walked = {**self.before.walked, **self.after.walked}
        return Tensors(tuple(names), sum(numbers_in(walked[name].parameter) for name in names))

    def moving(self, name: str, slot: str) -> tuple[tuple[Origin, ...], tuple[Origin, ...]]:
        """The tables of the schedules that move a slot of a parameter on one side, and not in the same way on the other."""
        before, after = self.before.trained[name], self.after.trained[name]
        one, other = self.before.moving(before, slot), self.after.moving(after, slot)
        only_before = [key for key, placed in one.items() if placed not in other.values()]
        only_after = [key for key, placed in other.items() if placed not in one.values()]
        return tuple(map(self.before.origin, only_before)), tuple(map(self.after.origin, only_after))

    @cached_property
    def distances(self) -> Mapping[tuple[Line, Line], Distance]:
        """How far apart the curves are, where they are not equal."""
        before, after = self.before.subject.schedules, self.after.subject.schedules
        if before is None or after is None or self.iterations is None:
            return {}
        pairs = dict.fromkeys(lines for name in self.common for lines in self.lines(name).values())
        return distances(before, after, list(pairs), self.iterations)

    def lines(self, name: str) -> Mapping[str, tuple[Line, Line]]:
        """Both lines of each option of a parameter that a schedule moves, on either side, and that both sides have."""
        one, other = self.before.trained[name], self.after.trained[name]
        before, after = self.before.lines(one), self.after.lines(other)
        both = {
            slot: (before.get(slot) or _constant(one, slot), after.get(slot) or _constant(other, slot))
            for slot in {**before, **after}
        }
        return {slot: (b, a) for slot, (b, a) in both.items() if b is not None and a is not None}

    def is_settled(self, name: str, slot: str) -> bool:
        """Whether schedules make the same of an option of a parameter, whatever it starts from."""
        lines = self.lines(name).get(slot) if self.iterations is not None else None
        return lines is not None and lines not in self.distances


def named(plugin: str, distribution: str | None) -> str:
    """A plugin as the screen has it: ``SGD (optimctl)``."""
    return f"{plugin} ({distribution})" if distribution else plugin


def _constant(parameter: PlannedParameter, slot: str) -> Line | None:
    """The line of an option that nothing moves; None where the parameter has no such number."""
    place = Slot.parse(slot)
    value = plain(place.read(parameter.options)) if place.is_in(parameter.options) else None
    return Line(constant=float(value)) if isinstance(value, (int, float)) else None


def _without_model(subject: Subject, job: Job) -> Subject:
    """The subject with a single matrix for each optimizer: the job's own options, before any rule."""
    table = job.plain()["optim_wrapper"]
    with planned_for(subject.device), torch.device("meta"):
        stand_ins = by_name(stand_in(table))
        try:
            wrapped = {name: _wrapped(name, table, one) for name, one in stand_ins.items()}
        except JobError as error:
            raise JobError(job.located(error.below("optim_wrapper").problems)) from error
    parts = [Part(name, one.optimizer, one.parts[0][2], one, name) for name, one in wrapped.items()]
    return replace(subject, model=None, parts=parts, walked=[_met(part) for part in parts], task=None)


def _wrapped(name: str, table: Mapping[str, Any], one: OptimWrapper) -> OptimWrapper:
    """A stand-in's optimizer in the job's own wrapper: as it clips, accumulates and computes."""
    try:
        wrapper = DefaultOptimWrapperConstructor(table if name == DEFAULT_NAME else table[name]).wrap(
            one.optimizer, one.options, one.rule_keys
        )
    except JobError as error:
        raise error.below(*(() if name == DEFAULT_NAME else (name,))) from error
    wrapper.parts = one.parts
    return wrapper


def _met(part: Part) -> Walked:
    parameter: nn.Parameter = part.optimizer.param_groups[0]["params"][0]
    return Walked(
        ".".join([*map(str, part.prefix), "weight"]), parameter, torch.nn.Linear(1, 1, bias=False, device="meta"), ()
    )
