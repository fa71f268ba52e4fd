"""Schedules applied to the groups of an optimizer, iteration by iteration.

In this room: ``Slot`` (one number in an optimizer's groups), ``ParamSchedulers`` (all schedules of a run, one object)
and ``build_param_schedulers``, which makes it from a job's tables. The values are those of ``trajectory``; all that is
saved is how far the run got, so that a resumed run computes its values from the job as it is written now.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from optimctl.errors import JobError, Key, Problem, listing, nearest
from optimctl.schedule.checks import is_number
from optimctl.schedule.curves import PlateauMemory, ReduceOnPlateau
from optimctl.schedule.place import Placed, RunLength, read_schedules, read_tables
from optimctl.schedule.trajectory import BLOCK, Affine, Carry, Clock, blocks, trajectory_at

Group = dict[str, Any]


class Target(Protocol):
    """An optimizer, or a wrapper of one."""

    @property
    def param_groups(self) -> list[Group]:
        """The groups, whose options the schedules move."""
        ...

    @property
    def defaults(self) -> dict[str, Any]:
        """The options before any rule."""
        ...


@dataclass(frozen=True)
class Slot:
    """Where a number stands in a group: an option, or an entry of one that is a tuple (``betas[0]``)."""

    option: str
    index: int | None = None

    @classmethod
    def parse(cls, text: str) -> Slot:
        """The slot that a job's ``param_name`` means."""
        match = re.fullmatch(r"(.+)\[(\d+)\]", text)
        return cls(match[1], int(match[2])) if match else cls(text)

    def __str__(self) -> str:
        return self.option if self.index is None else f"{self.option}[{self.index}]"

    def is_in(self, options: Mapping[str, Any]) -> bool:
        """Whether a group's options have it."""
        if self.index is None:
            return self.option in options
        entries = options.get(self.option)
        return isinstance(entries, list | tuple) and self.index < len(entries)

    def read(self, options: Mapping[str, Any]) -> Any:
        """What stands there."""
        value = options[self.option]
        return value if self.index is None else value[self.index]

    def write(self, group: Group, value: float) -> None:
        """Put a number there: a tensor is filled in place, a tuple replaced by a new one."""
        current = self.read(group)
        if hasattr(current, "fill_"):
            current.fill_(value)
        elif self.index is None:
            group[self.option] = value
        else:
            entries = group[self.option]
            group[self.option] = type(entries)([*entries[: self.index], value, *entries[self.index + 1 :]])


def find_slot(option: str, groups: Sequence[Mapping[str, Any]]) -> Slot:
    """The slot that ``option`` means in ``groups``: ``momentum`` is ``betas[0]`` where there is no momentum.

    Raises:
        JobError: No group has it, or it is no number; the problem stands at the table itself.
    """
    slot = Slot.parse(option)
    if option == "momentum" and not any("momentum" in group for group in groups):
        slot = Slot("betas", 0)
    owners = [group for group in groups if slot.is_in(group)]
    if not owners:
        raise JobError.single((), _missing_text(option, groups), "unknown-option")
    value = slot.read(owners[0])
    if isinstance(value, list | tuple):
        entries = listing(f"{option}[{index}]" for index in range(len(value)))
        raise JobError.single((), f"'{option}' is not one number: name {entries}", "wrong-option")
    if not (is_number(value) or hasattr(value, "fill_")):
        raise JobError.single((), f"'{option}' is {value!r} here, which is no number", "wrong-option")
    if option == "momentum" and all(group.get(f"initial_{slot}", slot.read(group)) == 0 for group in owners):
        message = "the optimizer runs without momentum (it is 0), so there is nothing to schedule"
        raise JobError.single((), message, "no-momentum")
    return slot


def _missing_text(option: str, groups: Sequence[Mapping[str, Any]]) -> str:
    if option == "momentum":
        return "the optimizer has no momentum: its groups have neither 'momentum' nor 'betas'"
    known: list[str] = []
    for name, value in groups[0].items() if groups else ():
        if is_number(value) and not name.startswith("initial_"):
            known.append(name)
        elif isinstance(value, tuple):
            known += [f"{name}[{index}]" for index, entry in enumerate(value) if is_number(entry)]
    return f"the optimizer has no option '{option}'" + (nearest(option, known) or f"; it has {listing(known)}")


def initial_base(group: Group, slot: Slot) -> float:
    """What a group started from; kept in the group as ``initial_<option>``, where torch's schedulers look for it."""
    return float(group.setdefault(f"initial_{slot}", float(slot.read(group))))


@dataclass
class _Plateau:
    """A schedule that waits for a metric: what it remembers, and what it multiplied so far, by column of its track."""

    placed: Placed
    schedule: ReduceOnPlateau
    scales: list[float]
    memory: PlateauMemory = field(default_factory=PlateauMemory)

    def metric(self, metrics: Mapping[str, Any]) -> float:
        name = self.schedule.monitor
        if name not in metrics:
            message = f"no metric is called '{name}'" + (nearest(name, metrics) or f"; there is {listing(metrics)}")
            raise JobError.single((*self.placed.key, "monitor"), message, "unknown-metric")
        return float(metrics[name])

    def state_dict(self) -> dict[str, Any]:
        return {
            "option": self.placed.option,
            "monitor": self.schedule.monitor,
            "scales": self.scales,
            **vars(self.memory),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.memory = PlateauMemory(state["best"], state["bad"], state["cooldown"])
        saved = state["scales"]
        same = len(saved) == len(self.scales)
        self.scales = list(saved) if same else [saved[0]] * len(self.scales)


class _Track:
    """One slot of an optimizer's groups over the run: its schedules, its bases, and a block of values at a time.

    A column stands for a base; the first is the reference, so that its values are the job's before multipliers.
    """

    def __init__(self, slot: Slot, schedules: Sequence[Placed], reference: float, bases: Mapping[int, float]) -> None:
        self.slot = slot
        self.schedules = schedules
        self.reference = reference
        self.bases = bases
        self.column_bases = list(dict.fromkeys([reference, *bases.values()]))
        self.members = [(group, self.column_bases.index(base)) for group, base in bases.items()]
        self.plateaus = [
            _Plateau(placed, placed.schedule, [1.0] * len(self.column_bases))
            for placed in schedules
            if isinstance(placed.schedule, ReduceOnPlateau)
        ]
        self._start, self._entry = 0, Carry()
        # A list a column, not one an iteration: thousands of lists would set off Python's garbage collector.
        self._columns: list[list[float]] = []
        self._plain = False

    def apply(self, iteration: int, groups: Sequence[Group], clock: Clock) -> None:
        """Write the values of ``iteration``."""
        row = iteration - self._start
        if not 0 <= row < BLOCK:
            row = self._fill(iteration, groups, clock)
        columns = self._columns
        if self._plain:
            option = self.slot.option
            for index, column in self.members:
                groups[index][option] = columns[column][row]
        elif row == 0 or any(values[row] != values[row - 1] for values in columns):
            self._write(row, groups)

    def rewrite(self, iteration: int, groups: Sequence[Group], clock: Clock) -> None:
        """Compute anew and write the values of ``iteration``, whatever was written before."""
        self._write(self._fill(iteration, groups, clock), groups)

    def current(self, iteration: int) -> float:
        """The job's value before multipliers, at ``iteration``."""
        return self._columns[0][iteration - self._start]

    def affine_at(self, iterations: Sequence[int], clock: Clock) -> Affine:
        """The track's values at some increasing iterations, for any base."""
        return trajectory_at(self.schedules, self.reference, clock, iterations)

    def is_of(self, defaults: Mapping[str, Any]) -> bool:
        """Whether this is the track of the optimizer's own value, and not of another route's."""
        return self.slot.is_in(defaults) and self.slot.read(defaults) == self.reference

    def observe(self, metrics: Mapping[str, Any], epochs: int, iteration: int) -> bool:
        """Show a metric to the schedules that wait for one; true where any of them reduces the value."""
        values, reduced = [column[iteration - self._start] for column in self._columns], False
        for plateau in self.plateaus:
            placed = plateau.placed
            in_range = placed.begin <= epochs and (placed.end is None or epochs < placed.end)
            if in_range and plateau.schedule.observe(plateau.memory, plateau.metric(metrics)):
                lower = [plateau.schedule.reduced(value) for value in values]
                ratios = [new / old if old else 1.0 for new, old in zip(lower, values, strict=True)]
                plateau.scales = [scale * ratio for scale, ratio in zip(plateau.scales, ratios, strict=True)]
                values, reduced = lower, True
        return reduced

    def keep_bases(self, groups: Sequence[Group]) -> None:
        """Note the bases in the groups again: a loaded optimizer brings those of the job that saved it."""
        for index, base in self.bases.items():
            groups[index][f"initial_{self.slot}"] = base

    def _write(self, row: int, groups: Sequence[Group]) -> None:
        for index, column in self.members:
            self.slot.write(groups[index], self._columns[column][row])

    def _fill(self, iteration: int, groups: Sequence[Group], clock: Clock) -> int:
        """Compute the block of ``iteration``; its row there."""
        start = iteration - iteration % BLOCK
        if start < self._start:
            self._start, self._entry = 0, Carry()
        for at, block, after in blocks(self.schedules, self.reference, clock, self._start, self._entry):
            if at == start:
                self._put(block, groups)
                break
            self._start, self._entry = at + BLOCK, after
        return iteration - start

    def _put(self, block: Affine, groups: Sequence[Group]) -> None:
        self._columns = [
            (block.values(base) * math.prod(plateau.scales[column] for plateau in self.plateaus)).tolist()
            for column, base in enumerate(self.column_bases)
        ]
        self._plain = self.slot.index is None and not any(
            hasattr(self.slot.read(groups[index]), "fill_") for index in self.bases
        )


class Part:
    """One optimizer of a run, with its tracks and its clock."""

    def __init__(self, target: Target, schedules: Sequence[Placed], run: RunLength) -> None:
        self.target = target
        self.schedules = schedules
        self.length = run
        self.clock = Clock(run.epoch_length, run.accumulative_counts)
        self.tracks = list(_tracks(target, schedules))
        self.counts_updates = any(placed.unit == "update" for placed in schedules)
        self.updates: int | None = self.real_updates() or 0

    def real_updates(self) -> int | None:
        """The steps that the optimizer has really taken, where the wrapper counts them and a schedule asks."""
        return getattr(self.target, "updates", None) if self.counts_updates else None

    def apply(self, iteration: int) -> None:
        """Write the values of ``iteration``."""
        groups = self.target.param_groups
        for track in self.tracks:
            track.apply(iteration, groups, self.clock)

    def rewrite(self, iteration: int) -> None:
        """Compute anew and write the values of ``iteration``."""
        groups = self.target.param_groups
        for track in self.tracks:
            track.rewrite(iteration, groups, self.clock)

    def see_updates(self, iteration: int, updates: int | None) -> None:
        """At the end of a window: where no update was taken, the schedules that count updates wait."""
        counts = self.clock.accumulative_counts
        if iteration % counts:
            return
        before, self.updates = self.updates, self.real_updates() if updates is None else updates
        if before is None or self.updates is None or self.updates > before:
            return
        self.clock = replace(self.clock, skipped=(*self.clock.skipped, iteration // counts - 1))
        self.rewrite(iteration)

    def state_dict(self) -> dict[str, Any]:
        """The skipped updates, and what the plateaus remember."""
        plateaus = [plateau.state_dict() for track in self.tracks for plateau in track.plateaus]
        return {"skipped": list(self.clock.skipped), "plateaus": plateaus}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; plateaus find theirs by option and metric."""
        self.clock = replace(self.clock, skipped=tuple(state["skipped"]))
        self.updates = self.real_updates()
        saved = list(state["plateaus"])
        for plateau in (plateau for track in self.tracks for plateau in track.plateaus):
            wanted = (plateau.placed.option, plateau.schedule.monitor)
            own = next((entry for entry in saved if (entry["option"], entry["monitor"]) == wanted), None)
            if own is not None:
                saved.remove(own)
                plateau.load_state_dict(own)
        for track in self.tracks:
            track.keep_bases(self.target.param_groups)


class ParamSchedulers:
    """All schedules of a run, for one optimizer or several; ``build_param_schedulers`` makes it.

    It writes the values of iteration 0 when it is made, and those of the next iteration at each ``after_iteration()``.

    Example:
        >>> schedulers = build_param_schedulers(optim_wrapper, job.param_scheduler, epoch_length=100, max_epochs=12)
        >>> for epoch in range(12):
        ...     for batch in batches:
        ...         optim_wrapper.update_params(loss(model, batch))
        ...         schedulers.after_iteration()
        ...     schedulers.after_epoch({"loss": validate(model)})
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.iteration = 0
        """The iteration that the groups are set for: as many are done."""
        self._parts = dict(parts)
        self._each = list(parts.values())
        self._counts_updates = any(part.counts_updates for part in self._each)
        self._rewrite()

    @property
    def schedules(self) -> dict[str, list[Placed]]:
        """The schedules of each optimizer, in the order of the job; a single optimizer is called ``default``."""
        return {name: list(part.schedules) for name, part in self._parts.items()}

    @property
    def length(self) -> RunLength:
        """The run that they were placed in, as far as it is known."""
        return self._each[0].length

    @property
    def parts(self) -> Mapping[str, Part]:
        """Each optimizer with its schedules, its tracks and its clock, by its name."""
        return self._parts

    def after_iteration(self, updates: int | None = None) -> None:
        """One iteration is done: write the values of the next.

        Args:
            updates: The steps that the optimizer has really taken, for schedules that count updates; by default the
                wrapper's attribute ``updates``. A plain optimizer's accumulation windows count as updates.
        """
        self.iteration += 1
        if self._counts_updates:
            for part in self._each:
                part.see_updates(self.iteration, updates)
        for part in self._each:
            part.apply(self.iteration)

    def after_epoch(self, metrics: Mapping[str, Any] | None = None) -> None:
        """One epoch is done, and validated where there are ``metrics``: ``ReduceOnPlateau`` looks at them.

        Raises:
            JobError: A schedule waits for a metric that is not among them.
        """
        if not metrics:
            return
        for part in self._each:
            epochs = part.clock.index("epoch", self.iteration)
            reduced = [track.observe(metrics, epochs, self.iteration) for track in part.tracks]
            if any(reduced):
                part.rewrite(self.iteration)

    def values(self) -> dict[str, float]:
        """What is scheduled, as the job writes it now, before multipliers; ``name.option`` with several optimizers."""
        several = len(self._parts) > 1
        values: dict[str, float] = {}
        for name, part in self._parts.items():
            for track in part.tracks:
                option = track.schedules[0].option
                key = f"{name}.{option}" if several else option
                if key not in values or track.is_of(part.target.defaults):
                    values[key] = track.current(self.iteration)
        return values

    def values_at(self, iterations: Sequence[int]) -> Iterator[tuple[str, str, int, list[float]]]:
        """What the scheduled options are at some iterations, without what waits for a metric; no group is touched.

        Args:
            iterations: Increasing.

        Yields:
            The optimizer's name, the option (``betas[0]`` where that is what ``momentum`` means), the group's index,
            and a value an iteration.
        """
        for name, part in self._parts.items():
            for track in part.tracks:
                line = track.affine_at(iterations, part.clock)
                for group, base in track.bases.items():
                    yield name, str(track.slot), group, line.values(base).tolist()

    def state_dict(self) -> dict[str, Any]:
        """How far the run got: iterations done, updates skipped, and what schedules that wait for a metric remember."""
        return {
            "iteration": self.iteration,
            "optimizers": {name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: the values are those that the job, as it is written now, has there."""
        self.iteration = int(state["iteration"])
        for name, part in self._parts.items():
            if name in state["optimizers"]:
                part.load_state_dict(state["optimizers"][name])
        self._rewrite()

    def _rewrite(self) -> None:
        for part in self._each:
            part.rewrite(self.iteration)


def build_param_schedulers(
    target: Any,
    tables: Any,
    *,
    epoch_length: int | None = None,
    max_epochs: int | None = None,
    max_iters: int | None = None,
    accumulative_counts: int | None = None,
) -> ParamSchedulers:
    """The schedules of a job, ready to move the options of an optimizer; the values of iteration 0 are written at once.

    Args:
        target: An optimizer or a wrapper of one; or a mapping of several by name, such as an ``OptimWrapperDict``.
        tables: ``param_scheduler`` of a job: one table or a list of them; for several optimizers also a table of lists
        by name.
        epoch_length: Iterations an epoch; needed by schedules that count epochs.
        max_epochs: The run's length in epochs; or ``max_iters``. Needed where a table says no ``end`` or names a share
        of the run.
        max_iters: The run's length in iterations.
        accumulative_counts: Iterations an update of the optimizer; by default the wrapper's.

    Raises:
        JobError: Anything is wrong with the tables, or they move an option that the optimizer does not have.
    """
    several = hasattr(target, "items")
    targets: dict[str, Any] = dict(target.items()) if several else {"default": target}
    by_name = _tables_by_name(tables, list(targets)) if several else None
    parts: dict[str, Part] = {}
    problems: list[Problem] = []
    for name, one in targets.items():
        counts = accumulative_counts if accumulative_counts is not None else getattr(one, "accumulative_counts", 1)
        run = RunLength(epoch_length, max_epochs, max_iters, counts)
        prefix: Key = (name,) if by_name is not None else ()
        try:
            schedules = read_schedules(by_name.get(name) if by_name is not None else tables, run)
            parts[name] = Part(checked_target(one), schedules, run)
        except JobError as error:
            problems += [problem for problem in error.below(*prefix).problems if problem not in problems]
    if problems:
        raise JobError(problems)
    return ParamSchedulers(parts)


def _tables_by_name(tables: Any, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The lists by the optimizers' names; None where one list is for all."""
    read = read_tables(tables)
    if not isinstance(read, dict):
        return None
    unknown = [name for name in read if name not in names]
    if unknown:
        raise JobError(
            [
                Problem((name,), f"no optimizer is called '{name}'; there is {listing(names)}", "unknown-name")
                for name in unknown
            ]
        )
    return read


def checked_target(target: Any) -> Target:
    """The optimizer or wrapper itself; a ``TypeError`` where it is neither."""
    if not hasattr(target, "param_groups"):
        raise TypeError(f"an optimizer or a wrapper of one is needed, not {type(target).__name__}")
    return target  # type: ignore[no-any-return]


def _tracks(target: Target, schedules: Sequence[Placed]) -> Iterator[_Track]:
    """A track for each slot and reference that the schedules move."""
    by_slot: dict[Slot, list[Placed]] = {}
    problems: list[Problem] = []
    for placed in schedules:
        try:
            for slot in _slots(placed.option, target.param_groups):
                by_slot.setdefault(slot, []).append(placed)
        except JobError as error:
            problems += error.below(*placed.key, placed.option_key).problems
    if problems:
        raise JobError(problems)
    for slot, moving in by_slot.items():
        yield from _slot_tracks(slot, moving, target)


def _slots(option: str, groups: Sequence[Group]) -> list[Slot]:
    """The slots that ``option`` means; two for ``momentum`` where some groups have momentum and others betas."""
    slots = [find_slot(option, groups)]
    without = [group for group in groups if "momentum" not in group and "betas" in group]
    if option == "momentum" and slots[0].option == "momentum" and without:
        slots.append(Slot("betas", 0))
    return slots


def _slot_tracks(slot: Slot, schedules: Sequence[Placed], target: Target) -> Iterator[_Track]:
    bases: dict[float, dict[int, float]] = {}
    as_momentum = slot == Slot("betas", 0) and all(placed.option == "momentum" for placed in schedules)
    for index, group in enumerate(target.param_groups):
        if slot.is_in(group) and not (as_momentum and "momentum" in group):
            base = initial_base(group, slot)
            bases.setdefault(_reference(target, index, slot, base), {})[index] = base
    for reference, members in bases.items():
        yield _Track(slot, schedules, reference, members)


def _reference(target: Target, index: int, slot: Slot, base: float) -> float:
    """The job's value before multipliers: what the optimizer was called with."""
    of_group = getattr(target, "defaults_of", None)
    defaults = target.defaults if of_group is None else of_group(index)
    return float(slot.read(defaults)) if slot.is_in(defaults) and is_number(slot.read(defaults)) else base
