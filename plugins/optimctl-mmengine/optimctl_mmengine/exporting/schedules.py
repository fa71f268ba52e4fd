"""``param_scheduler``: the schedules, in MMEngine's names and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimctl.errors import Key
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
COMMON = ("type", "begin", "end", "by", "by_epoch", "convert_to_iter_based", "param_name")


@dataclass(frozen=True)
class Moved:
    """What is said of the optimizer whose options a schedule moves."""

    wrapper: Mapping[str, Any]

    @property
    def rules(self) -> Mapping[str, Any]:
        """``paramwise_cfg``."""
        return self.wrapper.get("paramwise_cfg") or {}

    def multipliers(self, option: str) -> list[float]:
        """What rules multiply ``lr`` or ``weight_decay`` by, for some of the parameters; 0 where one sets it to 0."""
        word = {"lr": "lr_mult", "weight_decay": "decay_mult"}.get(option)
        if word is None:
            return []
        found = [value for rule, value in self.rules.items() if rule.endswith(f"_{word}") and value is not None]
        for table in self.rules.get("custom_keys", {}).values():
            found += [table[word]] if table.get(word) is not None else []
            found += [0.0 if table[option] == 0 else -1.0] if option in table else []
        return found


def write_schedules(job: Mapping[str, Any], length: Length | None, page: Page) -> None:
    """Write ``param_scheduler``."""
    tables, key = job.get("param_scheduler"), ("param_scheduler",)
    wrapper = job.get("optim_wrapper")
    if not tables:
        return
    if length is None or wrapper is None:
        page.refuse(key, "the schedules need the tables [train_cfg] and [optim_wrapper]")
        return
    if isinstance(tables, Mapping) and "type" not in tables:
        written = {
            name: _list(own, Moved(wrapper.get(name, {})), job, length, page, (*key, name))
            for name, own in tables.items()
        }
        page.settings["param_scheduler"] = written
        return
    moved = Moved(wrapper if "optimizer" in wrapper else {})
    page.settings["param_scheduler"] = _list(tables, moved, job, length, page, key)


def _list(
    tables: Any, moved: Moved, job: Mapping[str, Any], length: Length, page: Page, key: Key
) -> list[dict[str, Any]]:
    """The schedules of one optimizer; those that are stepped by epoch come last, as they act last."""
    several = list(tables) if isinstance(tables, Sequence) else [tables]
    keys = [(*key, index) for index in range(len(several))] if isinstance(tables, Sequence) else [key]
    written = [_Writer(table, moved, job, length, page, at) for table, at in zip(several, keys, strict=True)]
    found = [one.written(written) for one in written]
    last = [table for table, one in zip(found, written, strict=True) if one.was_by_epoch]
    return [*(table for table, one in zip(found, written, strict=True) if not one.was_by_epoch), *last]


class _Writer:
    """Writes one schedule."""

    def __init__(
        self, table: Mapping[str, Any], moved: Moved, job: Mapping[str, Any], length: Length, page: Page, key: Key
    ) -> None:
        self.table, self.moved, self.job, self.length, self.page, self.key = table, moved, job, length, page, key
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
        named = self._named()
        self._check_groups(self.option)
        return {**named, **self._placed(), **self.arguments}

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
            self.arguments["eta_max"] *= self.moved.rules.get("lr_mult") or 1
        if self.curve == "ReduceOnPlateau" and "val_evaluator" not in self.page.settings:
            metric = self.arguments.get("monitor", "loss")
            self._refuse("monitor", f"it waits for '{metric}', and there is no evaluator of MMEngine's that gives it")

    def _check_groups(self, option: str) -> None:
        """Where multipliers keep groups apart, MMEngine's absolute values must not bring them together."""
        factors = self.moved.multipliers(option)
        if self.curve == "OneCycle" and any(factor != 1 for factor in factors):
            self._refuse("type", "MMEngine's OneCycleLR gives every group the same values, and drops their multipliers")
        if 0 in factors and self.arguments.get("eta_min"):
            self._refuse(
                "eta_min", "MMEngine lifts groups that a multiplier of 0 has stopped to eta_min; use eta_min_ratio"
            )

    # --- begin, end, and the unit ---

    def _placed(self) -> dict[str, Any]:
        """``begin``, ``end`` and ``by_epoch``; arguments that count steps are brought into the same unit."""
        unit = self._unit()
        if unit == "epoch" and self.length.by_iteration:
            return self._epochs_in_iterations()
        place: dict[str, Any] = {"by_epoch": unit in ("epoch", "converted")}
        scale = 1
        if unit == "converted" and (self.length.by_iteration or self._has_shares()):
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
        if self.table.get("convert_to_iter_based"):
            return "converted"
        by = self.table.get("by", "iteration" if self.table.get("by_epoch") is False else "epoch")
        if by == "update":
            if self.moved.wrapper.get("accumulative_counts", 1) != 1:
                self._refuse("by", "MMEngine's schedules step in every iteration, and not in every update")
            return "iteration"
        return str(by)

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
        place = {"by_epoch": False, "begin": begin * length, "end": end * length}
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
            place["type"] = self.name.replace("Exponential", "Step")
        else:
            message = (
                "it steps by epoch, and MMEngine's loop by iteration ends none; "
                "convert_to_iter_based or by_epoch = false says it in iterations"
            )
            self._refuse("type", message)
        return place

    def _has_shares(self) -> bool:
        values = [
            self.table.get("begin"),
            self.table.get("end"),
            *(self.arguments.get(name) for name in STEPS[self.curve]),
        ]
        flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
        return any(isinstance(value, str) for value in flat)

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
