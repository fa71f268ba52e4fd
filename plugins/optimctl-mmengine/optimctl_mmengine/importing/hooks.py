"""The hooks: what is logged and saved, averaged weights, early stopping, trackers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import (
    COUNT,
    FLAG,
    NUMBER,
    SEED,
    SEVERAL,
    STEPS,
    TABLE,
    TEXTS,
    Form,
    is_number,
    texts_in,
    whole_number,
)
from optimctl_mmengine.importing.length import checkpoint_hook
from optimctl_mmengine.importing.metrics import first_metric, why_no_metric
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.importing.schedules import STEPPER
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
OF_ALL = ("type", "priority", "_scope_")
"""What every hook may say, and says nothing of its work."""
REMOVED: Mapping[str, tuple[Key, str]] = {
    "checkpoint": (("checkpoint",), "a run is saved here, at its end if nowhere else"),
    "logger": (("log",), "a run's folder has its records anyway"),
    "sampler_seed": (("train_dataloader",), "there every pass over the data has the same order; here each has its own"),
}
"""What it means that one of MMEngine's own hooks is taken out."""
GREATER = ("acc", "top", "ar@", "auc", "precision", "map", "mdice", "miou", "macc", "aacc")
"""Parts of names by which MMEngine knows, in lower case, that a larger value is better."""
LESS = ("loss",)
"""The same for a smaller one."""
RULES = Form(
    "'greater' or 'less', or a list of them",
    lambda value: bool(texts_in(value)) and set(texts_in(value)) <= {"greater", "less"},
)
EMA_MOMENTUM = 0.0002
WARMED = ("MomentumAnnealingEMA", "ExpMomentumEMA")
"""Averages that begin with a larger momentum."""


def convert_hooks(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``default_hooks``, ``custom_hooks`` and the trackers over."""
    defaults = draft.known(settings, "default_hooks", TABLE, ("hooks",)) or {}
    for name, hook in defaults.items():
        if name in REMOVED and hook is None:
            draft.leave_out(REMOVED[name][0], f"default_hooks.{name} = None", REMOVED[name][1])
        elif draft.known(defaults, name, TABLE, ("hooks",)) and name != "checkpoint":
            _convert(hook, settings, draft)
    if defaults:
        _convert_checkpoints(checkpoint_hook(settings) or {}, settings, draft)
    for hook in draft.known(settings, "custom_hooks", SEVERAL, ("hooks",)) or []:
        if isinstance(hook, Mapping):
            _convert(hook, settings, draft)
        else:
            draft.leave_out(("hooks",), f"the hook {shown(hook)}", "it is no table")
    _convert_trackers(settings, draft)


def _convert(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    name, own = last(hook.get("type")), _own(hook, "ema_type")
    if name == "LoggerHook":
        _convert_log(hook, draft)
    elif name == "EMAHook":
        _convert_average(hook, settings, draft)
    elif name == "EarlyStoppingHook":
        _convert_stopping(hook, draft)
    elif name.endswith(STEPPER) and name != STEPPER:
        draft.leave_out(
            ("param_scheduler",), f"the hook {name} with {shown(own)}", "it is the schedule there, and none is like it"
        )
    elif name and name not in BUILT_IN:
        draft.leave_out(
            ("hooks",), f"the hook {name}{f' with {shown(own)}' if own else ''}", "there is none like it here"
        )
    elif not name:
        draft.leave_out(("hooks",), f"the hook {shown(dict(hook))}", "it says no type")


def _own(hook: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """What is said of a hook, but for what it is."""
    return {key: value for key, value in hook.items() if key not in (*OF_ALL, *more)}


def _convert_log(hook: Mapping[str, Any], draft: Draft) -> None:
    interval = whole_number(draft.known(hook, "interval", COUNT, ("log", "interval")))
    if interval not in (None, 10):
        draft.put(("log", "interval"), interval)
    known = ("interval", "log_metric_by_epoch", "ignore_last", "interval_exp_name")
    draft.leave_rest(("log",), _own(hook), known, "LoggerHook", "a run's folder has its records anyway")


def _convert_checkpoints(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    """What is kept of a run; ``interval`` is converted with the run's length."""
    key: Key = ("checkpoint",)
    if "type" in hook and last(hook["type"]) != "CheckpointHook":
        draft.leave_out(key, f"type = {shown(hook['type'])}", "there is one way to save here")
    draft.known(hook, "by_epoch", FLAG, key)
    keep = draft.known(hook, "max_keep_ckpts", SEED, (*key, "keep"))
    if keep is not None and keep > 0:
        draft.put((*key, "keep"), keep)
    _convert_best(hook, settings, draft)
    known = ("interval", "by_epoch", "max_keep_ckpts", "save_best", "rule", "greater_keys", "less_keys")
    quiet = {"save_optimizer": True, "save_param_scheduler": True, "save_last": True}
    rest = {name: value for name, value in _own(hook).items() if quiet.get(name) is not value or name not in quiet}
    draft.leave_rest(key, rest, known, "CheckpointHook", "a checkpoint holds all of a run, in the run's folder")


def _convert_best(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    key: Key = ("checkpoint", "save_best")
    wanted = draft.known(hook, "save_best", TEXTS, key)
    names = [wanted] if isinstance(wanted, str) else list(wanted or [])
    if not names:
        unused = {name: hook[name] for name in ("rule", "greater_keys", "less_keys") if hook.get(name) is not None}
        draft.leave_rest(key, unused, (), "CheckpointHook", "it is for save_best, and no metric is named")
        return
    first = names[0] if names[0] != "auto" else first_metric(settings.get("val_evaluator"), draft)
    missing = why_no_metric(first, draft)
    if first is None and "val_dataloader" in draft.data:
        missing = "it means what an evaluation gives first, and the task in this file has not got it"
    if missing:
        draft.leave_out(key, f"save_best = {shown(wanted)}", missing)
        return
    greater, less = (texts_in(draft.known(hook, word, TEXTS, key)) for word in ("greater_keys", "less_keys"))
    rule = _direction(_rule(hook, key, draft), str(first), greater or GREATER, less or LESS)
    draft.put(key, {"metric": first, "rule": rule})
    if len(names) > 1:
        draft.leave_out(key, f"save_best = {shown(names[1:])}", "one metric decides here")


def _rule(hook: Mapping[str, Any], key: Key, draft: Draft) -> str | None:
    """The rule that a hook names: for several metrics, that of the first."""
    rule = draft.known(hook, "rule", RULES, key)
    return rule if isinstance(rule, str) else next(iter(rule or []), None)


def _direction(rule: str | None, metric: str, greater: Sequence[str] = GREATER, less: Sequence[str] = LESS) -> str:
    """``max`` or ``min``, as MMEngine finds it out: by the hook's rule, by a whole name, then by the parts of one."""
    if rule is not None:
        return "max" if rule == "greater" else "min"
    name, more, fewer = metric.lower(), [word.lower() for word in greater], [word.lower() for word in less]
    if name in more or name in fewer:
        return "max" if name in more else "min"
    if any(part in name for part in more):
        return "max"
    is_known = any(part in name for part in fewer)
    return "max" if metric in ("PSNR", "SSIM", "SNR") and not is_known else "min"


def _convert_average(hook: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft) -> None:
    """``EMAHook`` averages every iteration, ``EMA`` every update: its decay is that of a whole window."""
    key: Key = ("hooks", "EMA")
    kind, momentum = last(hook.get("ema_type", "ExponentialMovingAverage")), hook.get("momentum", EMA_MOMENTUM)
    if kind not in ("ExponentialMovingAverage", *WARMED):
        what = shown(hook.get("ema_type"))
        draft.leave_out(key, f"EMAHook with ema_type = {what}", "there is the exponential moving average here")
        return
    if not is_number(momentum) or not 0 < momentum <= 1:
        draft.leave_out(key, f"EMAHook with momentum = {shown(momentum)}", "it is a number between 0 and 1 there")
        return
    counts = _counts(settings)
    draft.put((*key, "decay"), (1 - momentum) ** counts if counts > 1 else _one_less(momentum))
    if counts > 1:
        text = f"EMAHook averages in every iteration, also where no update is; this is ({_one_less(momentum)!r})^{counts}, once an update"
        draft.say((*key, "decay"), text)
    if kind in WARMED:
        draft.put((*key, "warmup"), True)
        text = f"{kind} averages faster at first, by a formula of its own: {shown(_own(hook, 'ema_type'))}"
        draft.say((*key, "warmup"), text)
    _convert_begin(hook, counts, draft, key)
    interval = whole_number(draft.known(hook, "interval", COUNT, (*key, "interval")))
    if interval not in (None, 1):
        draft.put((*key, "interval"), interval)
    if draft.known(hook, "update_buffers", FLAG, (*key, "update_buffers")):
        draft.put((*key, "update_buffers"), True)
    known = ("ema_type", "momentum", "begin_iter", "begin_epoch", "interval", "update_buffers", "strict_load")
    why = "the hook here has no such argument"
    draft.leave_rest(key, _own(hook), (*known, *(("gamma",) if kind in WARMED else ())), "EMAHook", why)


def _one_less(momentum: float) -> float:
    """1 - momentum, as a person would write it: 0.9998, not 0.9997999999999999."""
    return float(f"{1 - momentum:.15g}")


def _convert_begin(hook: Mapping[str, Any], counts: int, draft: Draft, key: Key) -> None:
    """The first average is made in iteration ``begin_iter`` there, after ``begin`` updates here."""
    begin = draft.known(hook, "begin_iter", STEPS, (*key, "begin"))
    if begin is not None and begin > 1:
        draft.put((*key, "begin"), -(-int(begin) // counts) - 1 if counts > 1 else int(begin) - 1)
    epoch = draft.known(hook, "begin_epoch", STEPS, (*key, "begin"))
    if epoch:
        why = f"EMA counts updates: add begin = {int(epoch) - 1} times the updates of an epoch"
        draft.leave_out((*key, "begin"), f"begin_epoch = {epoch}", why)


def _counts(settings: Mapping[str, Any]) -> int:
    """Iterations an update."""
    wrapper = settings.get("optim_wrapper")
    counts = wrapper.get("accumulative_counts") if isinstance(wrapper, Mapping) and not is_plural(wrapper) else None
    return whole_number(counts) or 1


def _convert_stopping(hook: Mapping[str, Any], draft: Draft) -> None:
    key: Key = ("hooks", "EarlyStopping")
    missing = why_no_metric(hook.get("monitor"), draft)
    if missing:
        draft.leave_out(key, f"EarlyStoppingHook with {shown(_own(hook))}", missing)
        return
    metric = str(hook["monitor"])
    patience = whole_number(draft.known(hook, "patience", COUNT, key))
    delta = draft.known(hook, "min_delta", NUMBER, key)
    table = {"patience": patience or 5, "min_delta": abs(float(0.1 if delta is None else delta))}
    draft.put(key, {"metric": metric, **table, "rule": _direction(_rule(hook, key, draft), metric)})
    quiet = (("strict", False), ("check_finite", True))
    rest = {name: value for name, value in _own(hook).items() if (name, value) not in quiet}
    known = ("monitor", "rule", "min_delta", "patience")
    draft.leave_rest(key, rest, known, "EarlyStoppingHook", "the hook here has no such argument")


def _convert_trackers(settings: Mapping[str, Any], draft: Draft) -> None:
    """TensorBoard and Weights & Biases, which are backends of the visualizer there."""
    visualizer = draft.known(settings, "visualizer", TABLE, ("hooks",)) or {}
    for backend in draft.known(visualizer, "vis_backends", SEVERAL, ("hooks",)) or []:
        name = last(backend.get("type")) if isinstance(backend, Mapping) else ""
        if name == "TensorboardVisBackend":
            draft.put(("hooks", "TensorBoard"), {})
            _say_rest_of_tracker("TensorBoard", backend, (), draft)
        elif name == "WandbVisBackend":
            _convert_wandb(backend, draft)
        elif name != "LocalVisBackend":
            draft.leave_out(
                ("hooks",), f"the tracker {name or shown(backend)}", "there is CSV, TensorBoard and WandB here"
            )


def _convert_wandb(backend: Mapping[str, Any], draft: Draft) -> None:
    key, known = ("hooks", "WandB"), ("project", "entity", "mode", "tags")
    draft.put(key, {})
    options = draft.known(backend, "init_kwargs", TABLE, key) or {}
    for name in known:
        if options.get(name) is not None:
            draft.put_plain((*key, name), options[name], name)
    draft.leave_rest(key, options, known, "init_kwargs", "the hook here has no such argument")
    _say_rest_of_tracker("WandB", backend, ("init_kwargs",), draft)


def _say_rest_of_tracker(name: str, backend: Mapping[str, Any], known: Iterable[str], draft: Draft) -> None:
    why = "the hook here has no such argument, and writes into the run's folder"
    draft.leave_rest(("hooks", name), _own(backend), known, last(backend["type"]), why)


__all__ = ["convert_hooks"]
