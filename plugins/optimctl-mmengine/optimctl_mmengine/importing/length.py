"""``train_cfg`` and what is counted with it: how long a run is, when it is validated, when a checkpoint is written.

optimctl counts validations and checkpoints in epochs, and an epoch may be of any length. A loop by iteration, which validates every
4,000 iterations, is a run of epochs of 4,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optimctl.errors import nearest
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import COUNT, FLAG, NUMBER, TABLE, names_in, whole_number
from optimctl_mmengine.importing.names import last
from optimctl_mmengine.values import shown

LOOPS = ("EpochBasedTrainLoop", "IterBasedTrainLoop")
WORDS = ("type", "by_epoch", "max_epochs", "max_iters", "val_interval")
ELSEWHERE = ("val_begin", "dynamic_intervals")
"""Arguments of MMEngine's loops, and those of them that optimctl has no word for."""
SILENT = ("_scope_", "_delete_")
VAL_INTERVAL = 1000
"""What MMEngine's loop by iteration has, where the configuration says nothing."""


def is_by_iteration(settings: Mapping[str, Any]) -> bool:
    """Whether the run is MMEngine's loop by iteration."""
    cfg = settings.get("train_cfg")
    if not isinstance(cfg, Mapping):
        return False
    if last(cfg.get("type")) in LOOPS:
        return last(cfg["type"]) == LOOPS[1]
    return not cfg.get("by_epoch", True) or ("max_iters" in cfg and "max_epochs" not in cfg)


def convert_length(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``train_cfg`` over, and ``interval`` of the checkpoint hook."""
    cfg = draft.known(settings, "train_cfg", TABLE, ("train_cfg",))
    if cfg is None:
        _convert_checkpoints(settings, draft, None, None)
        return
    if is_by_iteration(settings):
        _by_iteration(settings, cfg, draft)
    else:
        _by_epoch(settings, cfg, draft)
    _say_rest(cfg, draft, "max_epochs" if is_by_iteration(settings) else "max_iters")


def _say_rest(cfg: Mapping[str, Any], draft: Draft, idle: str) -> None:
    """The loop's class, and its arguments that have no word here: of a class of one's own, all of them."""
    kind, key = cfg.get("type"), ("train_cfg",)
    draft.known(cfg, "by_epoch", FLAG, key)
    own = {name: value for name, value in cfg.items() if name not in (*WORDS, *SILENT) or name == idle}
    if kind is not None and last(kind) not in LOOPS:
        draft.leave_out(key, f"type = {shown(kind)}", "there is one loop here, by epoch or by iteration")
        draft.leave_rest(key, own, (), "train_cfg", "there is no such loop here")
        return
    if own.get("val_begin") in (0, 1):
        del own["val_begin"]
    unknown = [name for name in own if name not in ELSEWHERE]
    draft.leave_rest(key, own, unknown, "train_cfg", "validation begins at once here, with one interval")
    for name in unknown:
        hint = "" if name == idle else nearest(name, (*WORDS, *ELSEWHERE))
        draft.leave_rest(key, {name: own[name]}, (), "train_cfg", f"MMEngine's loop has no such argument{hint}")


def _by_epoch(settings: Mapping[str, Any], cfg: Mapping[str, Any], draft: Draft) -> None:
    epochs = whole_number(draft.known(cfg, "max_epochs", COUNT, ("train_cfg",)))
    if epochs is not None:
        draft.put(("train_cfg", "max_epochs"), epochs)
    interval = whole_number(draft.known(cfg, "val_interval", COUNT, ("train_cfg",)))
    if interval not in (None, 1):
        draft.put(("train_cfg", "val_interval"), interval)
    _convert_checkpoints(settings, draft, epochs, None)


def _by_iteration(settings: Mapping[str, Any], cfg: Mapping[str, Any], draft: Draft) -> None:
    """An epoch is what validations and checkpoints have in common, unless a schedule counts those of the data."""
    iterations = whole_number(draft.known(cfg, "max_iters", COUNT, ("train_cfg",)))
    if iterations is not None:
        draft.put(("train_cfg", "max_iters"), iterations)
    every = _validated_every(settings, cfg, draft)
    save = _saved_every(settings, iterations)
    if _converts_epochs(settings):
        if every is not None:
            why = "a schedule here counts the epochs of the data, and so does val_interval"
            draft.leave_out(("train_cfg",), f"val_interval = {every} iterations", why)
        _convert_checkpoints(settings, draft, None, None)
        return
    if every is not None and iterations is not None:
        every = min(every, iterations)
    length = math.gcd(*(interval for interval in (every, save) if interval is not None)) or iterations
    if length is not None:
        draft.put(("train_cfg", "epoch_length"), length)
        if every is not None and every > length:
            draft.put(("train_cfg", "val_interval"), every // length)
    _convert_checkpoints(settings, draft, iterations, length)


def _validated_every(settings: Mapping[str, Any], cfg: Mapping[str, Any], draft: Draft) -> int | None:
    """Iterations between two validations, where there are some."""
    every = draft.known(cfg, "val_interval", COUNT, ("train_cfg",))
    if settings.get("val_dataloader"):
        return whole_number(every) or VAL_INTERVAL
    if every is not None:
        draft.without_effect(("train_cfg",), f"val_interval = {every}", "there is no val_dataloader in this file")
    return None


def _converts_epochs(settings: Mapping[str, Any]) -> bool:
    """Whether a schedule is given in epochs of the data and counts iterations."""
    schedules = settings.get("param_scheduler")
    tables = [schedules] if isinstance(schedules, Mapping) else names_in(schedules)
    return any(isinstance(table, Mapping) and table.get("convert_to_iter_based") for table in tables)


def checkpoint_hook(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The configuration's checkpoint hook; MMEngine's own default where it names none, None where it takes it out."""
    hooks = settings.get("default_hooks")
    default = {"type": "CheckpointHook", "interval": 1}
    hook = hooks.get("checkpoint", default) if isinstance(hooks, Mapping) else default
    return hook if isinstance(hook, Mapping) else None


def _saved_every(settings: Mapping[str, Any], iterations: int | None) -> int | None:
    """Iterations between two checkpoints of a loop by iteration; None where there is only the last."""
    hook = checkpoint_hook(settings)
    if hook is None or hook.get("by_epoch", True):
        return None
    interval = whole_number(hook.get("interval", -1))
    return interval if interval and (iterations is None or interval < iterations) else None


def _convert_checkpoints(settings: Mapping[str, Any], draft: Draft, whole: int | None, length: int | None) -> None:
    """``checkpoint.interval`` in epochs: of the data, or of ``length`` iterations each.

    Args:
        settings: The configuration.
        draft: The job.
        whole: The run, in epochs of the data; where ``length`` is given, in iterations.
        length: Iterations of an epoch, where the data does not say it.
    """
    hook, key = checkpoint_hook(settings), ("checkpoint", "interval")
    interval = None if hook is None else _interval(hook, draft)
    if length is not None:
        every = _saved_every(settings, whole) or whole or length
        epochs = -(-every // length)
    elif interval is not None and hook is not None and not hook.get("by_epoch", True):
        why = "checkpoints are counted in epochs here, and how long one is, the data decides"
        draft.leave_out(key, f"a checkpoint every {interval} iterations", why)
        return
    else:
        epochs = interval or whole or 1  # where there is no interval, the last one alone is kept
    if epochs != 1:
        draft.put(key, epochs)


def _interval(hook: Mapping[str, Any], draft: Draft) -> int | None:
    """How often the hook saves; none where it is below 1, by which MMEngine saves at the end only."""
    interval = draft.known(hook, "interval", NUMBER, ("checkpoint", "interval"))
    if interval is not None and interval >= 1:
        draft.known(hook, "interval", COUNT, ("checkpoint", "interval"))
    return whole_number(interval)


__all__ = ["checkpoint_hook", "convert_length", "is_by_iteration"]
