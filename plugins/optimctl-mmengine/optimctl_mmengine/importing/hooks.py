"""The hooks: what is logged and saved, averaged weights, early stopping, trackers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.length import checkpoint_hook
from optimctl_mmengine.importing.metrics import why_no_metric
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.values import shown

BUILT_IN = (
    "IterTimerHook",
    "ParamSchedulerHook",
    "DistSamplerSeedHook",
    "RuntimeInfoHook",
    "SyncBuffersHook",
    "NaiveVisualizationHook",
    "EmptyCacheHook",
    "CheckInvalidLossHook",
    "NumClassCheckHook",
)
"""Hooks whose work is the loop's own here, or none of a training's."""
GREATER = ("acc", "top", "ar@", "auc", "precision", "map", "mdice", "miou", "macc", "aacc")
"""Parts of names by which MMEngine knows, in lower case, that a larger value is better."""
EMA_MOMENTUM = 0.0002
WARMED = ("MomentumAnnealingEMA", "ExpMomentumEMA")
"""Averages that begin with a larger momentum."""


def convert_hooks(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``default_hooks``, ``custom_hooks`` and the trackers over."""
    defaults = settings.get("default_hooks")
    for name, hook in (defaults if isinstance(defaults, Mapping) else {}).items():
        if isinstance(hook, Mapping) and name not in ("checkpoint",):
            _convert(hook, settings, draft)
    if "default_hooks" in settings:
        _convert_checkpoints(checkpoint_hook(settings) or {}, draft)
    custom = settings.get("custom_hooks")
    for hook in custom if isinstance(custom, (list, tuple)) else []:
        if isinstance(hook, Mapping):
            _convert(hook, settings, draft)
        else:
            draft.leave_out(("hooks",), f"the hook {shown(hook)}", "it is no table")
    _convert_trackers(settings, draft)


def _convert(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    name = last(hook.get("type"))
    if name == "LoggerHook":
        _convert_log(hook, draft)
    elif name == "EMAHook":
        _convert_average(hook, settings, draft)
    elif name == "EarlyStoppingHook":
        _convert_stopping(hook, draft)
    elif name not in BUILT_IN:
        own = {key: value for key, value in hook.items() if key not in ("type", "priority", "_scope_")}
        draft.leave_out(
            ("hooks",), f"the hook {name}{f' with {shown(own)}' if own else ''}", "there is none like it here"
        )


def _convert_log(hook: Mapping[str, Any], draft: Draft) -> None:
    interval = hook.get("interval", 10)
    if isinstance(interval, int) and interval >= 1 and interval != 10:
        draft.put(("log", "interval"), interval)
    known = ("type", "priority", "interval", "log_metric_by_epoch", "ignore_last", "interval_exp_name", "_scope_")
    draft.leave_rest(("log",), hook, known, "LoggerHook", "a run's folder has its records anyway")


def _convert_checkpoints(hook: Mapping[str, Any], draft: Draft) -> None:
    """What is kept of a run; ``interval`` is converted with the run's length."""
    keep = hook.get("max_keep_ckpts", -1)
    if isinstance(keep, int) and keep > 0:
        draft.put(("checkpoint", "keep"), keep)
    _convert_best(hook, draft)
    known = (
        "type",
        "priority",
        "interval",
        "by_epoch",
        "max_keep_ckpts",
        "save_best",
        "rule",
        "greater_keys",
        "less_keys",
        "_scope_",
    )
    quiet = {"save_optimizer": True, "save_param_scheduler": True, "save_last": True}
    rest = {name: value for name, value in hook.items() if quiet.get(name) is not value or name not in quiet}
    why = "a checkpoint holds all of a run, in the run's folder"
    draft.leave_rest(("checkpoint",), rest, known, "CheckpointHook", why)


def _convert_best(hook: Mapping[str, Any], draft: Draft) -> None:
    wanted, key = hook.get("save_best"), ("checkpoint", "save_best")
    names = [wanted] if isinstance(wanted, str) else list(wanted or [])
    if not names:
        return
    first = names[0]
    missing = why_no_metric(first, draft)
    if missing:
        draft.leave_out(key, f"save_best = {shown(wanted)}", missing)
        return
    rule = hook.get("rule")
    rules = [rule] if isinstance(rule, str) else list(rule or [])
    draft.put(key, {"metric": first, "rule": _direction(rules[0] if rules else None, first)})
    if len(names) > 1:
        draft.leave_out(key, f"save_best = {shown(names[1:])}", "one metric decides here")


def _direction(rule: Any, metric: str) -> str:
    """``max`` or ``min``, as MMEngine finds it out."""
    if rule in ("greater", "less"):
        return "max" if rule == "greater" else "min"
    return "max" if any(part in metric.lower() for part in GREATER) or metric in ("PSNR", "SSIM", "SNR") else "min"


def _convert_average(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    """``EMAHook`` averages every iteration, ``EMA`` every update: its decay is that of a whole window."""
    key: Key = ("hooks", "EMA")
    kind, momentum = last(hook.get("ema_type", "ExponentialMovingAverage")), hook.get("momentum", EMA_MOMENTUM)
    if kind not in ("ExponentialMovingAverage", *WARMED):
        draft.leave_out(key, f"EMAHook with ema_type = {shown(kind)}", "there is the exponential moving average here")
        return
    if not isinstance(momentum, (int, float)) or not 0 < momentum <= 1:
        draft.leave_out(key, f"EMAHook with momentum = {shown(momentum)}", "it is a number between 0 and 1 there")
        return
    counts = _counts(settings)
    draft.put((*key, "decay"), (1 - momentum) ** counts if counts > 1 else _one_less(momentum))
    if counts > 1:
        text = f"EMAHook averages in every iteration, also where no update is; this is ({_one_less(momentum)!r})^{counts}, once an update"
        draft.say((*key, "decay"), text)
    if kind in WARMED:
        draft.put((*key, "warmup"), True)
        text = f"{kind} averages faster at first, by a formula of its own: {shown(_own(hook))}"
        draft.say((*key, "warmup"), text)
    _convert_begin(hook, counts, draft, key)
    if hook.get("interval", 1) != 1:
        draft.put((*key, "interval"), hook["interval"])
    if hook.get("update_buffers"):
        draft.put((*key, "update_buffers"), True)
    known = (
        "type",
        "priority",
        "ema_type",
        "momentum",
        "gamma",
        "begin_iter",
        "begin_epoch",
        "interval",
        "update_buffers",
    )
    draft.leave_rest(key, hook, (*known, "strict_load", "_scope_"), "EMAHook", "the hook here has no such argument")


def _one_less(momentum: float) -> float:
    """1 - momentum, as a person would write it: 0.9998, not 0.9997999999999999."""
    return float(f"{1 - momentum:.15g}") if math.isfinite(momentum) else momentum


def _own(hook: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in hook.items() if key not in ("type", "priority", "_scope_", "ema_type")}


def _convert_begin(hook: Mapping[str, Any], counts: int, draft: Draft, key: Key) -> None:
    """The first average is made in iteration ``begin_iter`` there, after ``begin`` updates here."""
    begin = hook.get("begin_iter", 0)
    if isinstance(begin, int) and begin > 1:
        draft.put((*key, "begin"), -(-begin // counts) - 1 if counts > 1 else begin - 1)
    if hook.get("begin_epoch"):
        why = f"EMA counts updates: add begin = {hook['begin_epoch'] - 1} times the updates of an epoch"
        draft.leave_out((*key, "begin"), f"begin_epoch = {hook['begin_epoch']}", why)


def _counts(settings: Mapping[str, Any]) -> int:
    """Iterations an update."""
    wrapper = settings.get("optim_wrapper")
    if not isinstance(wrapper, Mapping) or is_plural(wrapper):
        return 1
    counts = wrapper.get("accumulative_counts", 1)
    return counts if isinstance(counts, int) and counts > 1 else 1


def _convert_stopping(hook: Mapping[str, Any], draft: Draft) -> None:
    key: Key = ("hooks", "EarlyStopping")
    metric = str(hook.get("monitor"))
    missing = why_no_metric(metric, draft)
    if missing:
        draft.leave_out(key, f"EarlyStoppingHook with {shown(_own(hook))}", missing)
        return
    table = {"metric": metric, "patience": hook.get("patience", 5), "min_delta": abs(float(hook.get("min_delta", 0.1)))}
    draft.put(key, {**table, "rule": _direction(hook.get("rule"), metric)})
    taken = ("type", "priority", "monitor", "rule", "min_delta", "patience", "strict", "check_finite", "_scope_")
    draft.leave_rest(key, hook, taken, "EarlyStoppingHook", "the hook here has no such argument")


def _convert_trackers(settings: Mapping[str, Any], draft: Draft) -> None:
    """TensorBoard and Weights & Biases, which are backends of the visualizer there."""
    visualizer = settings.get("visualizer")
    backends = visualizer.get("vis_backends") if isinstance(visualizer, Mapping) else None
    for backend in backends if isinstance(backends, (list, tuple)) else []:
        name = last(backend.get("type")) if isinstance(backend, Mapping) else ""
        if name == "TensorboardVisBackend":
            draft.put(("hooks", "TensorBoard"), {})
        elif name == "WandbVisBackend":
            _convert_wandb(backend.get("init_kwargs") or {}, draft)
        elif name and name != "LocalVisBackend":
            draft.leave_out(("hooks",), f"the tracker {name}", "there is CSV, TensorBoard and WandB here")


def _convert_wandb(options: Mapping[str, Any], draft: Draft) -> None:
    known = ("project", "entity", "mode", "tags")
    draft.put(("hooks", "WandB"), {})
    for name in known:
        if options.get(name) is not None:
            draft.put_plain(("hooks", "WandB", name), options[name], name)
    draft.leave_rest(("hooks", "WandB"), options, known, "init_kwargs", "the hook here has no such argument")


__all__ = ["convert_hooks"]
