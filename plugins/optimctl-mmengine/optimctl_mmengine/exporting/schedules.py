"""``param_scheduler``: the schedules, in MMEngine's names and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from optimctl import preview_param_schedulers
from optimctl.errors import JobError, Key
from optimctl_mmengine.exporting.bases import Bases, bases_of
from optimctl_mmengine.exporting.length import Length
from optimctl_mmengine.exporting.optimizers import name_of
from optimctl_mmengine.exporting.page import Page

OPTIONS: Mapping[str, str] = {"LR": "lr", "Momentum": "momentum", "WeightDecay": "weight_decay", "ParamScheduler": ""}
"""What the end of a schedule's name says it moves."""
STEPS: Mapping[str, tuple[str, ...]] = {
    "Constant": (),
    "CosineAnnealing": ("T_max",),
    "CosineRestart": ("periods",),
    "Exponential": (),
    "Linear": (),
    "MultiStep": ("milestones",),
    "OneCycle": ("total_steps",),
    "Poly": (),
    "QuadraticWarmup": (),
    "ReduceOnPlateau": (),
    "Step": ("step_size",),
}
"""MMEngine's curves, and their arguments that count steps."""
NEARLY_ZERO = 1e-100
"""A factor of 0 at the start, by which MMEngine would divide; values are the same to 1e-15."""
ABSOLUTE = ("CosineAnnealing", "CosineRestart", "OneCycle", "Poly")
"""Curves that can lead to a value of their own, whatever a group starts from."""
EPOCHS = ("epoch", "converted")
COMMON = ("type", "begin", "end", "by", "by_epoch", "convert_to_iter_based", "param_name")


SURELY_ENOUGH = 1_000_000
"""Iterations an epoch, where nobody says, so that no schedule ends too late."""


@dataclass(frozen=True)
class Moved:
    """What is said of the optimizers whose options a schedule moves."""

    wrappers: Mapping[Key, Mapping[str, Any]]
    """The table of each, by its key."""

    def bases(self, option: str) -> list[frozenset[float]]:
        """What an option starts from, in each group of each optimizer.

        Raises:
            JobError: The rules of one are wrong.
        """
        option = "momentum" if option == "betas[0]" else option
        return [self._bases[key].get(option, frozenset()) for key in self.wrappers]

    @cached_property
    def _bases(self) -> Mapping[Key, Bases]:
        return {key: self._bases_of(key) for key in self.wrappers}

    def _bases_of(self, key: Key) -> Bases:
        try:
            return bases_of(self.wrappers[key])
        except JobError as error:
            raise error.below(*key) from error

    @property
    def counts(self) -> int:
        """Iterations of an update."""
        return max((one.get("accumulative_counts", 1) for one in self.wrappers.values()), default=1)

    @property
    def multipliers(self) -> set[float]:
        """``lr_mult`` of every parameter."""
        found = [(one.get("paramwise_cfg") or {}).get("lr_mult") for one in self.wrappers.values()]
        return {1.0 if one is None else one for one in found}

    @property
    def are_theirs(self) -> bool:
        """Whether a constructor of MMEngine's registries chooses options, so that not all bases are known."""
        return any(name_of(one.get("constructor") or "") == "MMEngine" for one in self.wrappers.values())


def write_schedules(job: Mapping[str, Any], length: Length | None, page: Page) -> None:
    """Write ``param_scheduler``."""
    tables, key = job.get("param_scheduler"), ("param_scheduler",)
    wrapper = job.get("optim_wrapper")
    if not tables:
        return
    if length is None or wrapper is None:
        page.refuse(key, "the schedules need the tables [train_cfg] and [optim_wrapper]")
        return
    wrappers: dict[Key, Mapping[str, Any]] = {("optim_wrapper",): wrapper}
    if "optimizer" not in wrapper:
        wrappers = {("optim_wrapper", name): table for name, table in wrapper.items() if name != "constructor"}
    try:
        if isinstance(tables, Mapping) and "type" not in tables:
            own = {name: Moved({key: one for key, one in wrappers.items() if key[-1] == name}) for name in tables}
            written: Any = {name: _list(table, own[name], length, page, (*key, name)) for name, table in tables.items()}
        else:
            written = _list(tables, Moved(wrappers), length, page, key)
    except JobError as error:
        page.problems += error.problems
    else:
        page.settings["param_scheduler"] = written


def _list(tables: Any, moved: Moved, length: Length, page: Page, key: Key) -> list[dict[str, Any]]:
    """The schedules of one optimizer; those that are stepped by epoch come last, as they act last."""
    several = list(tables) if isinstance(tables, Sequence) else [tables]
    _check(several, moved, length, key, alone=not isinstance(tables, Sequence))
    keys = [(*key, index) for index in range(len(several))] if isinstance(tables, Sequence) else [key]
    written = [_Writer(table, moved, length, page, at) for table, at in zip(several, keys, strict=True)]
    found = [one.written(written) for one in written]
    last = [table for table, one in zip(found, written, strict=True) if one.was_by_epoch]
    return [*(table for table, one in zip(found, written, strict=True) if not one.was_by_epoch), *last]


def _check(tables: Sequence[Mapping[str, Any]], moved: Moved, length: Length, key: Key, alone: bool) -> None:
    """Read the schedules as a run would: what has no meaning here is not written, to be refused there.

    Raises:
        JobError: One is wrong.
    """
    told = {name: length.train_cfg.get(name) for name in ("max_epochs", "max_iters")}
    try:
        preview_param_schedulers(
            tables, {}, epoch_length=_epoch_length(tables, length), accumulative_counts=moved.counts, **told
        )
    except JobError as error:
        problems = [replace(one, key=one.key[1:]) for one in error.problems] if alone else error.problems
        raise JobError(problems).below(*key) from error


def _epoch_length(tables: Sequence[Mapping[str, Any]], length: Length) -> int:
    """Iterations an epoch; the data is read only where a schedule cannot do without."""
    if "epoch_length" in length.train_cfg:
        return int(length.train_cfg["epoch_length"])
    by_iteration = "max_iters" in length.train_cfg
    needed = any(unit_of(table) in EPOCHS if by_iteration else _has_shares(table) for table in tables)
    return (length.epoch_length if needed else None) or SURELY_ENOUGH


def unit_of(table: Mapping[str, Any]) -> str:
    """What a schedule counts; ``"converted"`` for epochs that are told in iterations."""
    if table.get("convert_to_iter_based"):
        return "converted"
    return str(table.get("by", "iteration" if table.get("by_epoch") is False else "epoch"))


def _has_shares(table: Mapping[str, Any]) -> bool:
    """Whether something is a share of the run's iterations."""
    flat = [item for value in table.values() for item in (value if isinstance(value, (list, tuple)) else [value])]
    return unit_of(table) != "epoch" and any(isinstance(value, str) and value.endswith("%") for value in flat)


class _Writer:
    """Writes one schedule."""

    def __init__(self, table: Mapping[str, Any], moved: Moved, length: Length, page: Page, key: Key) -> None:
        self.table, self.moved, self.length, self.page, self.key = table, moved, length, page, key
        self.name = name_of(table)
        self.suffix = next((suffix for suffix in OPTIONS if self.name.endswith(suffix)), "")
        self.curve = self.name.removesuffix(self.suffix)
        self.arguments = {name: value for name, value in table.items() if name not in COMMON}
        self.was_by_epoch = False
        """Whether it steps by epoch here, and by iteration there."""

    def written(self, peers: Sequence[_Writer]) -> dict[str, Any]:
        """The table, as MMEngine reads it, beside all schedules of its optimizer."""
        if self.name == "ReduceLROnPlateau":
            self._read_torchs_plateau()
        elif self.curve not in STEPS:
            self._refuse("type", f"MMEngine has no schedule called '{self.name}'")
            return {"type": self.name}
        self._check_factors([one for one in peers if one.option == self.option])
        self._check_groups(self.option)
        place = self._at_some_time(self._placed())
        return {**self._named(), **place, **self.arguments}

    @property
    def option(self) -> str:
        """The option of the optimizer that it moves."""
        return str(self.table.get("param_name") or OPTIONS.get(self.suffix) or "lr")

    def _named(self) -> dict[str, Any]:
        option = self.option
        if self.curve == "QuadraticWarmup" and option == "lr":
            self.page.say("param_scheduler", "QuadraticWarmupLR comes with MMDetection, which has to be installed.")
            return {"type": "mmdet.QuadraticWarmupLR"}
        if option == "lr":
            return {"type": f"{self.curve}LR"}
        if self.curve in ("OneCycle", "QuadraticWarmup") or "[" in option.replace("betas[0]", ""):
            self._refuse("type", f"MMEngine cannot move '{option}' in this way")
        if option in ("momentum", "betas[0]"):
            return {"type": f"{self.curve}Momentum"}
        return {"type": f"{self.curve}ParamScheduler", "param_name": option}

    def _refuse(self, name: str, message: str) -> None:
        self.page.refuse((*self.key, name) if name in self.table else self.key, message)

    # --- arguments ---

    def _read_torchs_plateau(self) -> None:
        rules = {
            "mode": ("rule", {"min": "less", "max": "greater"}),
            "threshold_mode": ("threshold_rule", {}),
            "min_lr": ("min_value", {}),
        }
        for name, (there, values) in rules.items():
            if name in self.arguments:
                value = self.arguments.pop(name)
                self.arguments[there] = values.get(value, value) if isinstance(value, str) else value
        self.curve, self.suffix = "ReduceOnPlateau", "LR"

    @property
    def only_multiplies(self) -> bool:
        """Whether it adds nothing to a value."""
        floor = self.arguments.get("eta_min") or self.arguments.get("eta_min_ratio") or self.arguments.get("T_max")
        return self.curve not in ("CosineRestart", "OneCycle", "QuadraticWarmup") and not floor

    def _check_factors(self, peers: Sequence[_Writer]) -> None:
        """MMEngine's factors are at most 1, and it divides by the first."""
        for name in ("factor", "start_factor", "end_factor"):
            value = self.arguments.get(name)
            if value is not None and value > 1:
                self._refuse(name, f"MMEngine's factors are at most 1, not {value}")
            if value == 0 and name != "end_factor" and self.curve in ("Constant", "Linear"):
                if not all(one.only_multiplies for one in peers):
                    self._refuse(
                        name, "MMEngine divides by it; beside a schedule that adds, no other factor means the same"
                    )
                self.arguments[name] = NEARLY_ZERO
                self.page.say(
                    "param_scheduler", f"{name} = {NEARLY_ZERO} stands for 0, by which MMEngine would divide."
                )
        if self.curve == "OneCycle":
            self.arguments["pct_start"] = float(self.arguments.get("pct_start", 0.3))
            self.arguments["eta_max"] *= min(self.moved.multipliers)
        if self.curve == "ReduceOnPlateau" and "val_evaluator" not in self.page.settings:
            metric = self.arguments.get("monitor", "loss")
            self._refuse("monitor", f"it waits for '{metric}', and there is no evaluator of MMEngine's that gives it")

    def _check_groups(self, option: str) -> None:
        """Where groups start apart, MMEngine's absolute values must not bring them together."""
        floor = "eta_max" if self.curve == "OneCycle" else "eta_min"
        if self.curve not in ABSOLUTE or not self.arguments.get(floor):
            return
        bases = self.moved.bases(option)
        if self.curve == "OneCycle" and (any(len(one) > 1 for one in bases) or len(self.moved.multipliers) > 1):
            self._refuse("type", "MMEngine's OneCycleLR gives every group the same values, and drops their multipliers")
        elif any(0 in one for one in bases):
            hint = "; use eta_min_ratio" if self.curve.startswith("Cosine") else ""
            what = f"parameters whose {option} is 0 from the start, by a multiplier or by itself, stay at 0"
            self._refuse(floor, f"{what} in optimctl, and MMEngine lifts them to {floor}{hint}")
        elif self.moved.are_theirs:
            text = f"{floor}: MMEngine lifts parameters to it whose {option} the constructor has made 0; optimctl does not."
            self.page.say("param_scheduler", text)

    # --- begin, end, and the unit ---

    def _at_some_time(self, place: dict[str, Any]) -> dict[str, Any]:
        begin, end = place.get("begin", 0), place.get("end")
        if end is not None and begin >= end:
            self._refuse("end", f"to MMEngine it begins at {begin} and ends at {end}, which it refuses")
        return place

    def _placed(self) -> dict[str, Any]:
        """``begin``, ``end`` and ``by_epoch``; arguments that count steps are brought into the same unit."""
        unit = self._unit()
        if unit == "epoch" and self.length.by_iteration:
            return self._epochs_in_iterations()
        place: dict[str, Any] = {"by_epoch": unit in EPOCHS}
        scale = 1
        if unit == "converted" and (self.length.by_iteration or _has_shares(self.table)):
            place, scale = {"by_epoch": False}, self._epoch_length()
        elif unit == "converted":
            place["convert_to_iter_based"] = True
        for name in ("begin", "end"):
            if name in self.table:
                place[name] = self._steps(name, self.table[name], unit, scale)
        for name in STEPS[self.curve]:
            if self.arguments.get(name) is not None:
                self.arguments[name] = self._steps(name, self.arguments[name], unit, scale)
        return self._ended(place, unit, scale)

    def _unit(self) -> str:
        unit = unit_of(self.table)
        if unit == "update":
            if self.moved.counts != 1:
                self._refuse("by", "MMEngine's schedules step in every iteration, and not in every update")
            return "iteration"
        return unit

    def _ended(self, place: dict[str, Any], unit: str, scale: int) -> dict[str, Any]:
        """OneCycle stays where it has ended; MMEngine's would raise."""
        total = self.arguments.get("total_steps")
        if self.curve == "OneCycle" and total is not None:
            last = place.get("begin", 0) + total
            place["end"] = min(place.get("end", last), last)
        return place

    def _epochs_in_iterations(self) -> dict[str, Any]:
        """A schedule by epoch, for a loop that ends none: one that moves in jumps can be told in iterations."""
        self.was_by_epoch = True
        length, epochs = self._epoch_length(), self.length.epochs or 1
        begin = self._steps("begin", self.table.get("begin", 0), "epoch", 1)
        end = self._steps("end", self.table.get("end", epochs), "epoch", 1)
        place: dict[str, Any] = {"by_epoch": False, "begin": begin * length, "end": end * length}
        if self.curve == "Constant":
            place["end"] = (end - 1) * length + 1
        elif self.curve == "MultiStep":
            self.arguments["milestones"] = [
                self._steps("milestones", step, "epoch", length) for step in self.arguments["milestones"]
            ]
        elif self.curve == "Step":
            self.arguments["step_size"] = self._steps("step_size", self.arguments["step_size"], "epoch", length)
        elif self.curve == "Exponential":
            self.curve, self.arguments["step_size"] = "Step", length
        else:
            message = (
                "it steps by epoch, and MMEngine's loop by iteration ends none; "
                "convert_to_iter_based or by_epoch = false says it in iterations"
            )
            self._refuse("type", message)
        return place

    def _steps(self, name: str, value: Any, unit: str, scale: int) -> Any:
        """A number of steps, or an array of them; a share of the run is taken of its length in the schedule's unit."""
        if isinstance(value, list):
            return [self._steps(name, item, unit, scale) for item in value]
        if not isinstance(value, str):
            return _whole(value * scale)
        total = self.length.epochs if unit == "epoch" else self.length.iterations
        if total is None:
            self._refuse(
                name, f"'{value}' is a share of the run, whose length is not known; add train_cfg.epoch_length"
            )
            return 1
        share = float(value.rstrip("%")) / 100
        return (max(round(total * share), 1) if share > 0 else 0) * (scale if unit == "epoch" else 1)

    def _epoch_length(self) -> int:
        length = self.length.epoch_length
        if length is None:
            self._refuse("type", "how many iterations an epoch has is not known; add train_cfg.epoch_length")
        return length or 1


def _whole(value: float) -> float:
    """A number without a fraction that says nothing."""
    return int(value) if value == int(value) else value


__all__ = ["write_schedules"]
