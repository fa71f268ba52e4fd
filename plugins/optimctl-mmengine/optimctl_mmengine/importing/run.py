"""What a run is made of beside its data and its optimizer: ``[job]``, the model, the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl_mmengine.importing.data import imports_of
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.names import last, scope_of
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.values import shown

MEANS = ("Accuracy", "MAE", "MSE", "PSNR", "SNR", "SSIM")
"""Metrics of MMPretrain and MMagic that are means over samples."""
ELSEWHERE: Mapping[str, str] = {
    "model_wrapper_cfg": "how a model is distributed is not the job's",
    "activation_checkpointing": "a model says that itself",
    "efficient_conv_bn_eval": "a model says that itself",
    "strategy": "how a model is distributed is not the job's",
    "runner_type": "there is one loop here",
    "sync_bn": "how a model is distributed is not the job's",
}
"""Settings of MMEngine's Runner that optimctl has no word for."""


def convert_job(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry over what belongs into ``[job]``: seed, folders, initial weights."""
    key = ("job",)
    _convert_randomness(settings.get("randomness"), draft)
    for name in ("work_dir", "experiment_name"):
        if isinstance(settings.get(name), str) and settings[name]:
            draft.put((*key, {"experiment_name": "name"}.get(name, name)), settings[name])
    _convert_weights(settings, draft)
    compiled = settings.get("compile")
    if compiled:
        draft.put((*key, "compile"), True)
        if isinstance(compiled, Mapping):
            draft.leave_rest((*key, "compile"), compiled, (), "compile", "torch.compile has its defaults here")
    _convert_environment(settings.get("env_cfg"), draft)
    for name, why in ELSEWHERE.items():
        if settings.get(name):
            draft.leave_out(key, f"{name} = {shown(settings[name])}", why)
    scaling = settings.get("auto_scale_lr")
    if isinstance(scaling, Mapping) and scaling.get("enable"):
        why = "the learning rate is as written; there it is multiplied by the whole batch's size over base_batch_size"
        draft.leave_out(("optim_wrapper",), f"auto_scale_lr = {shown(dict(scaling))}", why)


def _convert_randomness(randomness: Any, draft: Draft) -> None:
    if not isinstance(randomness, Mapping):
        return
    seed = randomness.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool):
        draft.put(("job", "seed"), seed)
    elif seed is not None:
        draft.leave_out(("job", "seed"), f"seed = {shown(seed)}", "a seed is one number")
    if randomness.get("deterministic"):
        draft.put(("job", "deterministic"), True)
    if randomness.get("diff_rank_seed"):
        draft.leave_out(("job", "seed"), "diff_rank_seed = True", "a job says nothing of several processes")


def _convert_weights(settings: Mapping[str, Any], draft: Draft) -> None:
    source, key = settings.get("load_from"), ("job", "load_from")
    if settings.get("resume"):
        draft.leave_out(key, "resume = True", "the command says that: optimctl run JOB --resume")
    if not isinstance(source, str) or not source:
        return
    if "://" in source:
        draft.leave_out(key, f"load_from = {source!r}", "nothing is downloaded; fetch the file and write its path here")
    else:
        draft.put(key, source)


def _convert_environment(environment: Any, draft: Draft) -> None:
    if isinstance(environment, Mapping) and environment.get("cudnn_benchmark"):
        draft.leave_out(("job",), "env_cfg.cudnn_benchmark = True", "it is torch's own switch, and the process's")


# --- model and task ---------------------------------------------------------------------------------------------------


def convert_model(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry the model over, with its ``data_preprocessor``, and the task that it needs."""
    model = settings.get("model")
    if isinstance(model, Mapping):
        cfg = dict(model)
        if settings.get("data_preprocessor") is not None:
            cfg.setdefault("data_preprocessor", settings["data_preprocessor"])
        _put_part("model", settings, draft)
        if not draft.put_plain(("model", "cfg"), cfg, "model"):
            _put_what_can_be(cfg, draft)
    elif model is not None:
        draft.leave_out(("model",), f"model = {shown(model)}", "it is no table")
    evaluator = settings.get("val_evaluator")
    if isinstance(model, Mapping) or evaluator:
        _convert_task(settings, evaluator, draft)
    for name in ("val_cfg", "test_cfg"):
        _convert_loop(name, settings.get(name), draft)


def _put_part(name: str, settings: Mapping[str, Any], draft: Draft) -> None:
    draft.put((name, "type"), "MMEngine")
    scope, imports = scope_of(settings), imports_of(settings)
    if scope is not None:
        draft.put((name, "scope"), scope)
    if imports:
        draft.put((name, "imports"), imports)


def _put_what_can_be(cfg: Mapping[str, Any], draft: Draft) -> None:
    """The model's arguments one by one: those that are objects are told already."""
    for name, value in cfg.items():
        draft.put_plain(("model", "cfg", name), value, name)


def _convert_task(settings: Mapping[str, Any], evaluator: Any, draft: Draft) -> None:
    _put_part("task", settings, draft)
    if is_plural(settings.get("optim_wrapper") or {}):
        draft.put(("task", "own_step"), True)
    kept = []
    for metric in _metrics(evaluator):
        if isinstance(metric, Mapping) and last(metric.get("type")) in MEANS:
            kept.append(dict(metric))
        else:
            why = "optimctl's metrics are sums over samples, and this one looks at all data at once; it is left to MMEngine's test tool"
            draft.leave_out(
                ("task", "metrics"), f"the metric {shown(dict(metric) if isinstance(metric, Mapping) else metric)}", why
            )
    if kept:
        draft.put_plain(("task", "metrics"), kept, "val_evaluator")


def _metrics(evaluator: Any) -> list[Any]:
    """The metrics of an evaluator: a table, several, or one that holds them."""
    if isinstance(evaluator, Mapping):
        inner = evaluator.get("metrics")
        return _metrics(inner) if inner and last(evaluator.get("type", "Evaluator")) == "Evaluator" else [evaluator]
    return [one for each in evaluator or [] for one in _metrics(each)] if isinstance(evaluator, (list, tuple)) else []


def _convert_loop(name: str, loop: Any, draft: Draft) -> None:
    """The loops of validation and test, which have next to nothing to say."""
    if isinstance(loop, Mapping):
        own = {
            key: value
            for key, value in loop.items()
            if last(value) not in ("ValLoop", "TestLoop") and value is not False
        }
        draft.leave_rest(("task",), own, ("_scope_",), name, "an evaluation is the task's")


__all__ = ["convert_job", "convert_model"]
