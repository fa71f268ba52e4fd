"""``param_scheduler``: the schedules, written so that they mean here what they mean in MMEngine's loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import is_number, names_in
from optimctl_mmengine.importing.length import is_by_iteration
from optimctl_mmengine.importing.metrics import why_no_metric
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.values import Unsayable, listed, shown, to_toml

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
SILENT = ("type", "verbose", "_scope_", "_delete_")
"""Words of a schedule that say nothing of its values."""
STEPPER = "ParamSchedulerHook"
"""The hook that steps the schedules there."""
BY_ITERATION = "it counts epochs, and a loop by iteration never ends one"
UNSTEPPED = f"the configuration takes the {STEPPER} out, and nothing steps it"


def convert_schedules(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``param_scheduler`` over."""
    schedules, key = settings.get("param_scheduler"), ("param_scheduler",)
    if schedules in (None, [], (), {}):
        return
    stops = _why_unstepped(settings)
    if isinstance(schedules, Mapping) and "type" not in schedules:
        if not is_plural(settings.get("optim_wrapper")):
            draft.leave_out(
                key, f"param_scheduler = {shown(schedules)}", "schedules by name need optimizers of these names"
            )
            return
        for name, tables in schedules.items():
            if tables is not None:
                _put(tables, stops, draft, (*key, str(name)))
        return
    _put(schedules, stops, draft, key)
    _say_floors(settings, draft)


def steppers(settings: Mapping[str, Any]) -> list[str]:
    """The hooks that step the schedules: MMEngine's own, unless the configuration has another in its place, or takes it out."""
    hooks = settings.get("default_hooks")
    defaults = dict(hooks) if isinstance(hooks, Mapping) else {}
    first = defaults.pop("param_scheduler", {"type": STEPPER})
    others = [*defaults.values(), *names_in(settings.get("custom_hooks"))]
    names = [last(hook.get("type")) for hook in others if isinstance(hook, Mapping)]
    own = [] if first is None else [last(first.get("type")) if isinstance(first, Mapping) else STEPPER]
    return [*own, *(name for name in names if name.endswith(STEPPER))]


def _why_unstepped(settings: Mapping[str, Any]) -> dict[str, str]:
    """Why schedules act once at most, by what they count."""
    if not steppers(settings):
        return {"epoch": UNSTEPPED, "iteration": UNSTEPPED}
    return {"epoch": BY_ITERATION} if is_by_iteration(settings) else {}


def _put(schedules: Any, stops: Mapping[str, str], draft: Draft, key: Key) -> None:
    """One table or several, those that do something."""
    if not isinstance(schedules, (Mapping, list, tuple)):
        draft.leave_out(key, f"param_scheduler = {shown(schedules)}", "there it is a table, or a list of them")
        return
    converted: list[dict[str, Any]] = []
    for table in [schedules] if isinstance(schedules, Mapping) else schedules:
        if isinstance(table, Mapping):
            _convert(table, stops, draft, key, converted)
        else:
            draft.leave_out(key, shown(table), "it is no table")
    if converted:
        draft.put(key, converted)


def _convert(
    table: Mapping[str, Any], stops: Mapping[str, str], draft: Draft, key: Key, converted: list[dict[str, Any]]
) -> None:
    name, text = last(table.get("type")), f"the schedule {shown(dict(table), 120)}"
    if name not in NAMES:
        draft.leave_out(key, text, f"MMEngine has no {name or 'such schedule'}, nor has optimctl")
        return
    missing = why_no_metric(table.get("monitor", "loss"), draft) if name.startswith("ReduceOnPlateau") else ""
    if missing:
        draft.leave_out(key, text, missing)
        return
    try:
        written = {
            "type": name,
            **{k: to_toml(listed(v)) for k, v in table.items() if k not in SILENT and v is not None},
        }
    except Unsayable as error:
        draft.leave_out(key, text, f"{error}, and a job is data")
        return
    if written.pop("last_step", -1) != -1:
        draft.leave_out(key, f"last_step = {shown(table['last_step'])}", "a run knows by itself how far it got")
    if written.get("convert_to_iter_based") is False:
        del written["convert_to_iter_based"]
    counts = "epoch" if table.get("by_epoch", True) is True and not table.get("convert_to_iter_based") else "iteration"
    if counts in stops:
        _write_start_only(written, stops[counts], draft, key, converted)
    else:
        converted.append(written)


def _write_start_only(
    written: dict[str, Any], why: str, draft: Draft, key: Key, converted: list[dict[str, Any]]
) -> None:
    """A schedule that MMEngine steps once, where it is built, and never again."""
    begin = written.get("begin", 0)
    if (is_number(begin) and begin > 0) or not _acts_at_start(written):
        draft.without_effect(key, f"the schedule {shown(written, 120)}", why)
        return
    before = {name: written.pop(name) for name in ("end", "by_epoch", "convert_to_iter_based") if name in written}
    if "by_epoch" in before:
        written["by_epoch"] = before["by_epoch"]
    draft.say(
        (*key, len(converted)), f"in MMEngine it acts once, at the start, and stays ({why}); there: {shown(before)}"
    )
    converted.append({**written, "end": 1})


def _acts_at_start(table: Mapping[str, Any]) -> bool:
    """Whether the first step changes the value."""
    curve = next((curve for curve in AT_START if table["type"].startswith(curve)), None)
    if curve == "MultiStep":
        return 0 in names_in(table.get("milestones"))
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


__all__ = ["NAMES", "STEPPER", "convert_schedules", "steppers"]
