"""From the tables of a job to schedules that stand somewhere in a run.

In this room: ``RunLength`` (how long a run is, in each unit), ``Placed`` (a schedule, the option it moves, and the
steps where it acts) and ``read_schedules``, which makes one from the other. All that is wrong with all tables is found
at once; keys are relative to ``param_scheduler``: ``(0, "end")`` in a list of tables, ``("end",)`` in a single one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from optimctl.errors import JobError, Key, Problem
from optimctl.job.hints import with_hint
from optimctl.job.length import parse_share
from optimctl.job.names import OPTIONS, WITHOUT_EFFECT, meant, suffix_of
from optimctl.plugins import LoadedPlugin, installed, plugin_code, resolve
from optimctl.schedule.checks import flag, is_number, is_whole, wrong
from optimctl.schedule.curves import ReduceOnPlateau, Schedule
from optimctl.signatures import argument_problems, is_torch_scheduler, supplied_to, with_tuples

if TYPE_CHECKING:
    from optimctl.job.schema import ScheduleTable

Unit = Literal["epoch", "iteration", "update"]
UNITS: tuple[str, ...] = get_args(Unit)

COMMON = ("type", "begin", "end", "by_epoch", "by", "convert_to_iter_based", "param_name")
"""What every table may say, whatever its schedule."""
TORCH_STEPS = (
    "total_iters",
    "total_steps",
    "T_max",
    "T_0",
    "step_size",
    "step_size_up",
    "step_size_down",
    "milestones",
)
"""The arguments of ``torch.optim.lr_scheduler`` that count steps."""
SOME_END = 10**9
"""Stands in for an ``end`` that is wrong, so that the other arguments can be checked."""

_OPTION = re.compile(r"[A-Za-z_]\w*(\[\d+\])?")


@dataclass(frozen=True)
class RunLength:
    """How long a run is, as far as it is known.

    Args:
        epoch_length: Iterations an epoch.
        max_epochs: The run's length in epochs; or ``max_iters``, never both.
        max_iters: The run's length in iterations.
        accumulative_counts: Iterations an update of the optimizer.

    Raises:
        JobError: A length is not a whole number from 1 up, or there are both.
    """

    epoch_length: int | None = None
    max_epochs: int | None = None
    max_iters: int | None = None
    accumulative_counts: int = 1

    def __post_init__(self) -> None:
        problems = [
            wrong(name, f"must be a whole number from 1 up, not {value!r}")
            for name, value in vars(self).items()
            if value is not None and not (is_whole(value) and value >= 1)
        ]
        if self.max_epochs is not None and self.max_iters is not None:
            problems.append(wrong("max_iters", "cannot stand together with 'max_epochs': give one of them"))
        if problems:
            raise JobError(problems)

    @property
    def iterations(self) -> int | None:
        """Iterations of the whole run."""
        if self.max_iters is not None:
            return self.max_iters
        return self.max_epochs * self.epoch_length if self.max_epochs and self.epoch_length else None

    @property
    def epochs(self) -> int | None:
        """Epochs of the whole run, rounded up."""
        if self.max_iters is not None and self.epoch_length:
            return -(-self.max_iters // self.epoch_length)
        return self.max_epochs

    @property
    def updates(self) -> int | None:
        """Updates of the whole run; its last accumulation window may be short."""
        return -(-self.iterations // self.accumulative_counts) if self.iterations else None

    def count(self, unit: Unit) -> int | None:
        """The run's length in ``unit``."""
        return {"epoch": self.epochs, "iteration": self.iterations, "update": self.updates}[unit]


@dataclass(frozen=True)
class Placed:
    """A schedule that has its place in a run."""

    schedule: Schedule | ReduceOnPlateau
    option: str
    """What it moves: ``lr``, ``momentum``, ``betas[1]``, or any other number of an optimizer's groups."""
    begin: int
    end: int | None
    """It acts at the steps from ``begin`` to before ``end``, counted in ``unit``; None: for ever."""
    unit: Unit
    key: Key = ()
    """Where its table stands, relative to ``param_scheduler``."""
    name: str = ""
    """What its table calls it."""
    option_key: str = "type"
    """The argument of the table that says which option it moves."""


def read_schedules(tables: Any, run: RunLength, only: Unit | None = None) -> list[Placed]:
    """The schedules that a job's tables name, each in its place.

    Args:
        tables: One table or a list of them; mappings, or pydantic models.
        run: The run that they stand in.
        only: Where all schedules count this unit, whatever it is called: a table that names another unit is an error.

    Raises:
        JobError: Anything is wrong with any of the tables; all problems are in it.
    """
    placed: list[Placed] = []
    problems: list[Problem] = []
    for key, table in _numbered(tables):
        try:
            placed.append(_Reader(key, table.model_dump(exclude_unset=True), run, only).read())
        except JobError as error:
            problems.extend(error.below(*key).problems)
    if problems:
        raise JobError(problems)
    return placed


def read_tables(tables: Any) -> ScheduleTable | list[ScheduleTable] | dict[str, list[ScheduleTable]]:
    """``param_scheduler`` as the format has it; what a job has read already stays as it is.

    Raises:
        JobError: A table says what the format does not know.
    """
    from optimctl.job.schema import read_param_scheduler  # pydantic takes longer than all of this room

    return read_param_scheduler([] if tables is None else tables)


def _numbered(tables: Any) -> list[tuple[Key, ScheduleTable]]:
    read = read_tables(tables)
    if isinstance(read, dict):
        message = "a table of schedules by optimizer needs several optimizers; here there is one"
        raise JobError.single((next(iter(read)),), message, "wrong-value")
    return [((index,), table) for index, table in enumerate(read)] if isinstance(read, list) else [((), read)]


@dataclass(frozen=True)
class _Reader:
    """Reads one table; keys of problems are relative to it."""

    key: Key
    table: Mapping[str, Any]
    run: RunLength
    only: Unit | None

    def read(self) -> Placed:
        """The schedule in its place; all that is wrong with the table is raised together."""
        problems = list(self._common_problems())
        name: str = self.table["type"]
        loaded = None
        try:
            loaded = resolve("schedulers", meant(installed(), "schedulers", name), ())
        except JobError as error:
            problems += error.problems
        begin, end = self._read_range(problems)
        option = self._read_option(problems)
        schedule = self._build(loaded, None if end is None else end - begin, problems) if loaded else None
        if isinstance(schedule, ReduceOnPlateau) and self.unit != "epoch":
            problems.append(wrong(self._unit_key, "a schedule that waits for a metric counts epochs"))
        if problems or schedule is None:
            raise JobError(problems)
        option_key = "param_name" if "param_name" in self.table else "type"
        return Placed(schedule, option, begin, end, self.unit, self.key, name, option_key)

    @property
    def unit(self) -> Unit:
        """What the schedule counts."""
        if self.only is not None:
            return self.only
        by: Unit = self.table.get("by", "iteration" if self.table.get("by_epoch") is False else "epoch")
        return "iteration" if self.converts else by

    @property
    def converts(self) -> bool:
        """Whether the table counts epochs, and is to be read as iterations."""
        return self.table.get("convert_to_iter_based") is True

    @property
    def _unit_key(self) -> str:
        return next((key for key in ("by", "by_epoch", "convert_to_iter_based") if key in self.table), "type")

    def _common_problems(self) -> Iterator[Problem]:
        table = self.table
        yield from flag("verbose", table.get("verbose", False))
        if table.get("last_step", -1) != -1 or isinstance(table.get("last_step"), bool):
            yield wrong("last_step", "a resumed run knows how far it got; take it out")
        yield from self._unit_problems()

    def _unit_problems(self) -> Iterator[Problem]:
        if self.only is not None:
            yield from self._only_problems(self.only)
            return
        if self.run.epoch_length is None and (self.converts or self.unit == "epoch"):
            message = "counts epochs, and the number of iterations an epoch (epoch_length) is not known"
            yield Problem((self._unit_key,), message, "missing-epoch-length")

    def _only_problems(self, only: Unit) -> Iterator[Problem]:
        names_other = self.table.get("by", only) not in (only, "iteration") or self.table.get("by_epoch") is True
        if names_other or self.converts:
            yield wrong(self._unit_key, f"every schedule counts {only}s here; take it out")

    def _read_range(self, problems: list[Problem]) -> tuple[int, int | None]:
        before = len(problems)
        begin, end = self._read_end("begin", problems) or 0, self._read_end("end", problems)
        if len(problems) > before:
            return 0, SOME_END
        if end is None or end > begin:
            return begin, end
        if self.table.get("end") is None:
            message = f"must be before the end of the run, which has {end} {self.unit}s; not {begin}"
            problems.append(wrong("begin", message))
        else:
            problems.append(wrong("end", f"must be greater than 'begin', which is {begin}, not {end}"))
        return 0, SOME_END

    def _read_end(self, name: str, problems: list[Problem]) -> int | None:
        """``begin`` or ``end`` in the schedule's own unit; None for an ``end`` that the run does not have."""
        value = self.table.get(name)
        if value is None:
            return 0 if name == "begin" else self.run.count(self.unit)
        try:
            count = self._count(value)
        except JobError as error:
            problems += error.below(name).problems
            return None
        return int(count)

    def _count(self, value: Any) -> Any:
        """A number of steps in the schedule's own unit: a share of the run is taken, epochs become iterations."""
        share = parse_share(value) if isinstance(value, str) else None
        if share is not None:
            return self._share(value, share)
        if is_number(value) and self.converts and self.run.epoch_length:
            count = value * self.run.epoch_length
            return int(count) if count == int(count) else count
        return value

    def _share(self, text: str, share: float) -> int:
        total = self.run.count(self.unit)
        if total is None:
            raise JobError.single((), f"{text!r} is a share of the run, whose length is not known", "missing-length")
        count = round(total * share)
        if count == 0 and share > 0 and self.unit == "epoch":
            message = f'{text!r} of {total} epochs is less than one; count iterations (by = "iteration")'
            raise JobError.single((), message, "wrong-value")
        return max(count, 1) if share > 0 else 0

    def _read_option(self, problems: list[Problem]) -> str:
        name, suffix = self.table.get("param_name"), suffix_of(self.table["type"])
        if name is not None:
            if not _OPTION.fullmatch(name):
                problems.append(wrong("param_name", f'must name an option, such as "lr" or "betas[1]", not {name!r}'))
            return str(name)
        if suffix == "ParamScheduler":
            message = 'is needed: it says which option the schedule moves, such as "lr" or "betas[1]"'
            problems.append(Problem(("param_name",), message, "missing-argument"))
        return OPTIONS.get(suffix) or "lr"

    def _build(self, loaded: LoadedPlugin, length: int | None, problems: list[Problem]) -> Any:
        """The schedule itself; None where something is wrong with its arguments."""
        before = len(problems)
        make, steps = _maker(loaded)
        supplied: dict[str, Any] = {}
        arguments = {
            name: value for name, value in self.table.items() if name not in (*COMMON, *WITHOUT_EFFECT["schedulers"])
        }
        if "length" in supplied_to(loaded):
            if arguments.pop("length", None) is not None:
                problems.append(
                    wrong("length", "optimctl itself counts it: 'begin' and 'end' say where the schedule acts")
                )
            supplied["length"] = length
        for name in steps:
            if name in arguments:
                arguments[name] = self._steps(name, arguments[name], problems)
        problems += [
            with_hint("schedulers", problem) for problem in argument_problems(loaded, (), arguments, COMMON[1:])
        ]
        if len(problems) > before:
            return None
        return self._checked(loaded, make, {**arguments, **supplied}, problems)

    def _checked(
        self, loaded: LoadedPlugin, make: Callable[..., Any], arguments: Mapping[str, Any], problems: list[Problem]
    ) -> Any:
        try:
            with plugin_code(loaded, ()):
                schedule = make(**with_tuples(loaded, arguments))
                found = list(getattr(schedule, "problems", tuple)())
        except JobError as error:
            problems += error.problems
            return None
        if not found and not isinstance(schedule, Schedule | ReduceOnPlateau):
            message = f"{loaded} makes {type(schedule).__name__}, which has no maps(t, reference)"
            found = [Problem(("type",), message, "wrong-kind")]
        problems += found
        return None if found else schedule

    def _steps(self, name: str, value: Any, problems: list[Problem]) -> Any:
        """An argument that counts steps, or an array of them, in the schedule's own unit."""
        if isinstance(value, list | tuple):
            return [self._step((name, index), item, problems) for index, item in enumerate(value)]
        return self._step((name,), value, problems)

    def _step(self, key: Key, value: Any, problems: list[Problem]) -> Any:
        try:
            return self._count(value)
        except JobError as error:
            problems += error.below(*key).problems
            return value


def _maker(loaded: LoadedPlugin) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """How a schedule is made of its arguments, and which of them count steps."""
    if not is_torch_scheduler(loaded.object):
        return loaded.object, tuple(getattr(loaded.object, "steps", ()))
    from optimctl.schedule.from_torch import adapt

    return adapt(loaded.object), TORCH_STEPS
