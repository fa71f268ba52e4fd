"""``param_scheduler``: the schedules, written so that they mean here what they mean in MMEngine's loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.length import is_by_iteration
from optimctl_mmengine.importing.metrics import why_no_metric
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.values import listed, shown, to_toml

CURVES = (
    "Constant",
    "CosineAnnealing",
    "CosineRestart",
    "Exponential",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Poly",
    "QuadraticWarmup",
    "ReduceOnPlateau",
    "Step",
)
SUFFIXES = ("LR", "Momentum", "WeightDecay", "ParamScheduler")
NAMES = frozenset(curve + suffix for curve in CURVES for suffix in SUFFIXES)
"""MMEngine's schedulers, MMDetection's ``QuadraticWarmup`` and MMPretrain's ``…WeightDecay``: optimctl has all of them."""
AT_START = ("Constant", "CosineRestart", "Linear", "MultiStep", "OneCycle", "QuadraticWarmup")
"""The curves that may change a value at their very first step."""


def convert_schedules(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``param_scheduler`` over."""
    schedules, key = settings.get("param_scheduler"), ("param_scheduler",)
    if not schedules:
        return
    by_iteration = is_by_iteration(settings)
    if isinstance(schedules, Mapping) and "type" not in schedules:
        if not is_plural(settings.get("optim_wrapper") or {}):
            draft.leave_out(
                key, f"param_scheduler = {shown(schedules)}", "schedules by name need optimizers of these names"
            )
            return
        for name, tables in schedules.items():
            _put(tables, by_iteration, draft, (*key, name))
        return
    _put(schedules, by_iteration, draft, key)
    _say_floors(settings, draft)


def _put(schedules: Any, by_iteration: bool, draft: Draft, key: Key) -> None:
    """One table or several, those that do something."""
    tables = [schedules] if isinstance(schedules, Mapping) else schedules if isinstance(schedules, Sequence) else []
    converted: list[dict[str, Any]] = []
    for table in tables:
        if isinstance(table, Mapping):
            _convert(table, by_iteration, draft, key, converted)
        else:
            draft.leave_out(key, shown(table), "it is no table")
    if converted:
        draft.put(key, converted)


def _convert(
    table: Mapping[str, Any], by_iteration: bool, draft: Draft, key: Key, converted: list[dict[str, Any]]
) -> None:
    name = last(table.get("type"))
    if name not in NAMES:
        draft.leave_out(
            key,
            f"the schedule {shown(dict(table), 120)}",
            f"MMEngine has no {name or 'such schedule'}, nor has optimctl",
        )
        return
    missing = why_no_metric(table.get("monitor", "loss"), draft) if name.startswith("ReduceOnPlateau") else ""
    if missing:
        draft.leave_out(key, f"the schedule {shown(dict(table), 120)}", missing)
        return
    written = {
        "type": name,
        **{
            k: to_toml(listed(v))
            for k, v in table.items()
            if k not in ("type", "_scope_", "_delete_") and v is not None
        },
    }
    for word in ("verbose", "last_step"):
        written.pop(word, None)
    if written.get("convert_to_iter_based") is False:
        del written["convert_to_iter_based"]
    at = (*key, len(converted))
    steps_by_epoch = table.get("by_epoch", True) is True and not table.get("convert_to_iter_based")
    if by_iteration and steps_by_epoch:
        _write_start_only(written, draft, key, at, converted)
    else:
        converted.append(written)


def _write_start_only(
    written: dict[str, Any], draft: Draft, key: Key, at: Key, converted: list[dict[str, Any]]
) -> None:
    """A schedule by epoch in a run by iteration: MMEngine steps it once, where it is built, and never again."""
    why = "it counts epochs, and a loop by iteration never ends one"
    if written.get("begin", 0) > 0 or not _acts_at_start(written):
        draft.without_effect(key, f"the schedule {shown(written, 120)}", why)
        return
    before = {name: written[name] for name in ("end", "by_epoch") if name in written}
    written["end"] = 1
    converted.append(written)
    draft.say(at, f"in MMEngine it acts once, at the start, and stays ({why}); there: {shown(before)}")


def _acts_at_start(table: Mapping[str, Any]) -> bool:
    """Whether the first step changes the value."""
    curve = next((curve for curve in AT_START if table["type"].startswith(curve)), None)
    if curve == "MultiStep":
        return 0 in table.get("milestones", ())
    if curve == "Linear":
        return bool(table.get("start_factor", 1 / 3) != 1)
    return curve is not None


def _say_floors(settings: Mapping[str, Any], draft: Draft) -> None:
    """Groups that a multiplier has stopped: MMEngine's floors lift them, optimctl's do not."""
    wrapper = settings.get("optim_wrapper")
    rules = wrapper.get("paramwise_cfg") if isinstance(wrapper, Mapping) else None
    stopped = isinstance(rules, Mapping) and _stops_some(rules)
    for index, table in enumerate(draft.data.get("param_scheduler", [])):
        if stopped and table.get("eta_min") and table["type"].endswith("LR"):
            text = "groups that lr_mult = 0 has stopped stay at 0 here; MMEngine lifts them to eta_min"
            draft.say(("param_scheduler", index), text)


def _stops_some(rules: Mapping[str, Any]) -> bool:
    keys = rules.get("custom_keys")
    tables = [table for table in keys.values() if isinstance(table, Mapping)] if isinstance(keys, Mapping) else []
    values = [rules.get("bias_lr_mult"), rules.get("dcn_offset_lr_mult"), *(table.get("lr_mult") for table in tables)]
    return 0 in [value for value in values if value is not None]


__all__ = ["NAMES", "convert_schedules"]
