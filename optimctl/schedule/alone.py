"""The schedules as classes that step an optimizer on their own, for code that was written for MMEngine's.

In this room: ``ParamScheduler``, and for every curve its three classes, made from it: ``LinearLR``,
``LinearMomentum``, ``LinearParamScheduler`` and so on. Each ``step()`` applies the schedule's one affine map to the
value that stands in the group.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from optimctl.errors import JobError, Problem
from optimctl.job.names import OPTIONS
from optimctl.schedule import CURVES, curves
from optimctl.schedule.checks import flag, is_whole, whole, wrong
from optimctl.schedule.curves import PlateauMemory, ReduceOnPlateau, Schedule
from optimctl.schedule.scheduler import checked_target, find_slot, initial_base

INF = 10**9
"""No end, as MMEngine writes it."""

_COMMON: Mapping[str, Any] = {"begin": 0, "end": INF, "last_step": -1, "by_epoch": True, "verbose": False}


class ParamScheduler:
    """A schedule that steps one option of an optimizer's groups on its own.

    A subclass names its ``curve`` (what makes the schedule) and the ``option`` that it moves; where it names none,
    ``param_name`` is the second argument. Its arguments are the optimizer (or a wrapper), the curve's own, and those
    below. The value of step 0 is written when it is made, the next ones by ``step()``.

    Args:
        begin: The first step at which it acts.
        end: The step after the last.
        last_step: The schedule's own step that was done last, for an optimizer whose groups have ``initial_<option>``;
        -1 for none.
        by_epoch: Whether ``step()`` is called each epoch; only noted.
        verbose: Without effect.

    Raises:
        JobError: An argument is wrong, or the optimizer does not have the option.
        TypeError: An argument is unknown or missing, or ``optimizer`` is none.
    """

    curve: ClassVar[Callable[..., Any]]
    option: ClassVar[str | None] = None
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "curve"):
            cls.__signature__ = _signature(cls.curve, cls.option)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bound = self.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        self.optimizer = checked_target(given.pop("optimizer"))
        self.param_name: str = self.option or given.pop("param_name")
        common = {name: given.pop(name) for name in _COMMON}
        self.begin: int = common["begin"]
        self.end: int = common["end"]
        self.by_epoch: bool = common["by_epoch"]
        self.last_step: int = common["last_step"]
        self.schedule = self._make(common, given)
        self._find_slots()
        self._memory = PlateauMemory()
        self._global_step = 0 if isinstance(self.schedule, ReduceOnPlateau) else -1
        self._note()
        if not isinstance(self.schedule, ReduceOnPlateau):
            self.step()

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """One step is done: write the values of the next.

        Args:
            metrics: What a validation measured; only ``ReduceOnPlateau`` looks at it, and without it only counts.

        Raises:
            JobError: ``ReduceOnPlateau`` waits for a metric that is not among them.
        """
        if isinstance(self.schedule, ReduceOnPlateau):
            self._step_plateau(self.schedule, metrics)
            return
        self._global_step += 1
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            a, b, c = self._map(self.schedule)
            self._write(
                [a * value + b + c * base for value, base in zip(self._values(), self.base_values, strict=True)]
            )
        self._note()

    def get_last_value(self) -> list[float]:
        """The option of each group, as the last step left it."""
        return self._last_value

    def state_dict(self) -> dict[str, Any]:
        """How far it got, and what it remembers of a metric; the arguments are not in here."""
        return {"last_step": self.last_step, "global_step": self._global_step, **vars(self._memory)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``. The values that stand in the groups come back with the optimizer's own state."""
        self.last_step = state_dict["last_step"]
        self._global_step = state_dict["global_step"]
        self._memory = PlateauMemory(state_dict["best"], state_dict["bad"], state_dict["cooldown"])
        self._note()

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: float = 0,
        end: float = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> ParamScheduler:
        """One that counts iterations, from arguments that count epochs.

        Args:
            *args: The optimizer and the schedule's arguments.
            begin: The first epoch.
            end: The epoch after the last.
            by_epoch: Must be true.
            epoch_length: Iterations an epoch.
            **kwargs: The schedule's arguments.

        Raises:
            JobError: ``by_epoch`` is false, or there is no ``epoch_length``.
        """
        problems = list(whole("epoch_length", epoch_length, least=1))
        if not by_epoch:
            problems.append(wrong("by_epoch", "must be true: there are no epochs to turn into iterations"))
        if problems:
            raise JobError(problems)
        length = epoch_length or 1
        bound = cls.__signature__.bind_partial(*args, **kwargs)
        for name in getattr(cls.curve, "steps", ()):
            if bound.arguments.get(name) is not None:
                bound.arguments[name] = _scaled(bound.arguments[name], length)
        last = INF if end == INF else int(end * length)
        return cls(**bound.arguments, begin=int(begin * length), end=last, by_epoch=False)

    def __repr__(self) -> str:
        place = f"param_name={self.param_name!r}, begin={self.begin}, end={self.end}"
        return f"{type(self).__name__}({self.schedule}, {place})"

    def _make(self, common: Mapping[str, Any], arguments: dict[str, Any]) -> Schedule | ReduceOnPlateau:
        problems = [*whole("begin", self.begin), *whole("end", self.end), *whole("last_step", self.last_step, least=-1)]
        problems += [problem for name in ("by_epoch", "verbose") for problem in flag(name, common[name])]
        if is_whole(self.begin) and is_whole(self.end) and self.end <= self.begin:
            problems.append(wrong("end", f"must be greater than 'begin', which is {self.begin}, not {self.end}"))
        if problems:
            raise JobError(problems)
        if "length" in inspect.signature(type(self).curve).parameters:
            arguments["length"] = self.end - self.begin
        schedule: Schedule | ReduceOnPlateau = type(self).curve(**arguments)
        problems = list(getattr(schedule, "problems", tuple)())
        if isinstance(schedule, ReduceOnPlateau) and not self.by_epoch:
            problems.append(wrong("by_epoch", "a schedule that waits for a metric counts epochs"))
        if problems:
            raise JobError(problems)
        return schedule

    def _find_slots(self) -> None:
        """Where the option stands in each group, and what each started from."""
        groups = self.optimizer.param_groups
        try:
            self._slots = [find_slot(self.param_name, [group]) for group in groups]
        except JobError as error:
            raise error.below("param_name") from error
        if self.last_step >= 0:
            missing = [slot for slot, group in zip(self._slots, groups, strict=True) if f"initial_{slot}" not in group]
            if missing:
                message = f"needs 'initial_{missing[0]}' in each of the optimizer's groups"
                raise JobError([Problem(("last_step",), message, "wrong-value")])
        self.base_values = [initial_base(group, slot) for slot, group in zip(self._slots, groups, strict=True)]
        defaults = self.optimizer.defaults
        slot = self._slots[0]
        self._reference = float(slot.read(defaults)) if slot.is_in(defaults) else self.base_values[0]
        self._written: list[tuple[float, float]] = [(float("nan"), 0.0)] * len(groups)

    def _map(self, schedule: Schedule) -> tuple[float, float, float]:
        import numpy as np

        maps = schedule.maps(np.asarray([self.last_step]), self._reference)
        a, b, c = (float(np.asarray(part).reshape(-1)[0]) for part in maps)
        return a, b, c

    def _values(self) -> list[float]:
        """What stands in the groups; as it was written, where a tensor of lower precision has rounded it."""
        found = [float(slot.read(group)) for slot, group in zip(self._slots, self.optimizer.param_groups, strict=True)]
        return [
            exact if value == rounded else value for value, (rounded, exact) in zip(found, self._written, strict=True)
        ]

    def _write(self, values: list[float]) -> None:
        groups = self.optimizer.param_groups
        for index, (slot, value, base) in enumerate(zip(self._slots, values, self.base_values, strict=True)):
            slot.write(groups[index], value if base else 0.0)
            self._written[index] = (float(slot.read(groups[index])), value)

    def _step_plateau(self, schedule: ReduceOnPlateau, metrics: Mapping[str, Any] | None) -> None:
        if metrics is None:
            self._global_step += 1
            return
        if self.begin <= self._global_step < self.end:
            if schedule.monitor not in metrics:
                raise JobError.single(("monitor",), f"no metric is called '{schedule.monitor}'", "unknown-metric")
            self.last_step += 1
            if schedule.observe(self._memory, float(metrics[schedule.monitor])):
                self._write([schedule.reduced(value) for value in self._values()])
        self._note()

    def _note(self) -> None:
        groups = self.optimizer.param_groups
        self._last_value = [float(slot.read(group)) for slot, group in zip(self._slots, groups, strict=True)]


def _signature(curve: Callable[..., Any], option: str | None) -> inspect.Signature:
    """The constructor's: the optimizer, ``param_name`` where that is free, the curve's arguments, the common ones."""
    own = [p for name, p in inspect.signature(curve).parameters.items() if name != "length"]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    first = ["optimizer"] if option else ["optimizer", "param_name"]
    return inspect.Signature(
        [
            *(inspect.Parameter(name, kind) for name in first),
            *(p for p in own if p.kind is kind),
            *(inspect.Parameter(name, kind, default=default) for name, default in _COMMON.items()),
            *(p for p in own if p.kind is not kind),
        ]
    )


def _scaled(value: Any, factor: int) -> Any:
    return [item * factor for item in value] if isinstance(value, list | tuple) else value * factor


def _classes(curve: type) -> dict[str, type[ParamScheduler]]:
    """The classes of one curve, by name: one for each option that a name can say, and one for any."""
    summary, _, rest = str(inspect.getdoc(curve)).partition("\n\n")
    made = {}
    for suffix in ("LR", "Momentum", "ParamScheduler"):
        option = OPTIONS[suffix]
        moved = f"``{option}``" if option else "the option ``param_name``"
        name = f"{curve.__name__}{suffix}"
        text = f"{summary}\n\nMoves {moved} of an optimizer.\n\n{rest}".rstrip()
        contents = {"curve": staticmethod(curve), "option": option, "__module__": __name__, "__doc__": text}
        made[name] = type(name, (ParamScheduler,), contents)
    return made


for _name in CURVES:
    globals().update(_classes(getattr(curves, _name)))

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[ParamScheduler]: ...
