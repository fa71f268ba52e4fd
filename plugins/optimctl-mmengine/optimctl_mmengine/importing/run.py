"""What a run is made of beside its data and its optimizer: ``[job]``, the model, the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

from optimctl_mmengine.importing.data import imports_of, modules_of
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import FLAG, SEED, SEVERAL, TABLE, TEXT
from optimctl_mmengine.importing.metrics import MEANS, metrics_of
from optimctl_mmengine.importing.names import last, scope_of
from optimctl_mmengine.importing.optimizers import is_plural
from optimctl_mmengine.permission import VARIABLE, may_import
from optimctl_mmengine.values import shown

ELSEWHERE: Mapping[str, str] = {
    "model_wrapper_cfg": "how a model is distributed is not the job's",
    "activation_checkpointing": "a model says that itself",
    "efficient_conv_bn_eval": "a model says that itself",
    "strategy": "how a model is distributed is not the job's",
    "runner_type": "there is one loop here",
    "sync_bn": "how a model is distributed is not the job's",
    "find_unused_parameters": "how a model is distributed is not the job's",
    "tta_model": "an evaluation takes each sample as it is",
}
"""Settings of MMEngine's Runner that optimctl has no word for."""
DISTRIBUTED = {"backend": "nccl"}
PROCESSES = {"mp_start_method": "fork", "opencv_num_threads": 0}
"""What ``env_cfg`` has in nearly all configurations, and MMEngine where it says nothing."""


def convert_job(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry over what belongs into ``[job]``: seed, folders, initial weights."""
    key = ("job",)
    _convert_randomness(draft.known(settings, "randomness", TABLE, (*key, "seed")) or {}, draft)
    for name in ("work_dir", "experiment_name"):
        at = (*key, {"experiment_name": "name"}.get(name, name))
        if text := draft.known(settings, name, TEXT, at):
            draft.put(at, text)
    _convert_weights(settings, draft)
    _convert_compile(settings.get("compile"), draft)
    _convert_environment(draft.known(settings, "env_cfg", TABLE, key) or {}, draft)
    for name, why in ELSEWHERE.items():
        if settings.get(name):
            draft.leave_out(key, f"{name} = {shown(settings[name])}", why)
    scaling = draft.known(settings, "auto_scale_lr", TABLE, ("optim_wrapper",)) or {}
    if scaling.get("enable"):
        why = "the learning rate is as written; there it is multiplied by the whole batch's size over base_batch_size"
        draft.leave_out(("optim_wrapper",), f"auto_scale_lr = {shown(dict(scaling))}", why)


def _convert_randomness(randomness: Mapping[str, Any], draft: Draft) -> None:
    key = ("job", "seed")
    seed = draft.known(randomness, "seed", SEED, key)
    if seed is not None:
        draft.put(key, seed)
    if draft.known(randomness, "deterministic", FLAG, ("job", "deterministic")):
        draft.put(("job", "deterministic"), True)
    if randomness.get("diff_rank_seed"):
        draft.leave_out(key, "diff_rank_seed = True", "a job says nothing of several processes")
    known = ("seed", "deterministic", "diff_rank_seed")
    draft.leave_rest(key, randomness, known, "randomness", "a job has seed and deterministic")


def _convert_weights(settings: Mapping[str, Any], draft: Draft) -> None:
    key = ("job", "load_from")
    if settings.get("resume"):
        draft.leave_out(
            key, f"resume = {shown(settings['resume'])}", "the command says that: optimctl run JOB --resume"
        )
    source = draft.known(settings, "load_from", TEXT, key)
    if source is not None and "://" in source:
        draft.leave_out(key, f"load_from = {source!r}", "nothing is downloaded; fetch the file and write its path here")
    elif source is not None:
        draft.put(key, source)


def _convert_compile(compiled: Any, draft: Draft) -> None:
    """``compile``, which MMEngine takes as a flag or as the arguments of ``torch.compile``."""
    key = ("job", "compile")
    if compiled is True or isinstance(compiled, Mapping):
        draft.put(key, True)
        rest = compiled if isinstance(compiled, Mapping) else {}
        draft.leave_rest(key, rest, (), "compile", "torch.compile has its defaults here")
    elif compiled not in (None, False):
        draft.leave_out(
            key, f"compile = {shown(compiled)}", "MMEngine knows it, and there it is True, False or a table"
        )


def _convert_environment(environment: Mapping[str, Any], draft: Draft) -> None:
    """What is set up around a run; nothing is said where it is what MMEngine does anyway."""
    idle = (False, DISTRIBUTED, PROCESSES)
    rest = {name: value for name, value in environment.items() if value not in idle}
    draft.leave_rest(("job",), rest, (), "env_cfg", "it is torch's and the processes' own, and not the job's")


# --- model and task ---------------------------------------------------------------------------------------------------


def convert_model(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry the model over, with its ``data_preprocessor``, and the task that it needs."""
    model = draft.known(settings, "model", TABLE, ("model",))
    _say_odd_names(settings, draft)
    if model is not None:
        cfg = dict(model)
        if settings.get("data_preprocessor") is not None:
            cfg.setdefault("data_preprocessor", settings["data_preprocessor"])
        _put_part("model", settings, draft)
        if not draft.put_plain(("model", "cfg"), cfg, "model"):
            _put_what_can_be(cfg, draft)
    elif settings.get("data_preprocessor") is not None:
        text = f"data_preprocessor = {shown(settings['data_preprocessor'])}"
        draft.leave_out(("model",), text, "it is the model's, and there is none in this file")
    evaluator = settings.get("val_evaluator")
    if model is not None or evaluator:
        _convert_task(settings, evaluator, draft)
    _convert_test(settings, draft)


def _say_odd_names(settings: Mapping[str, Any], draft: Draft) -> None:
    """``default_scope`` and ``custom_imports``, where they have no form that MMEngine takes, or name what is not there."""
    draft.known(settings, "default_scope", TEXT, ("model", "scope"))
    custom, key = draft.known(settings, "custom_imports", TABLE, ("model", "imports")) or {}, ("model", "imports")
    if custom and not isinstance(custom.get("imports"), str):
        for name in draft.known(custom, "imports", SEVERAL, key) or []:
            draft.known({"imports": name}, "imports", TEXT, key)
    for name in (one for one in modules_of(settings) if one not in imports_of(settings)):
        why = "it cannot be imported here, and with allow_failed_imports MMEngine trains without; add it where it is there"
        draft.leave_out(key, f"of custom_imports: {name!r}", why)
    known = ("imports", "allow_failed_imports", "_delete_")
    draft.leave_rest(key, custom, known, "custom_imports", "MMEngine takes no such word")
    _say_unknown_packages(settings, draft)


def _say_unknown_packages(settings: Mapping[str, Any], draft: Draft) -> None:
    """Code of one's own, which a job does not import unless a person says so beside it."""
    scope = scope_of(settings)
    named = {**dict.fromkeys(imports_of(settings), "imports"), **({scope: "scope"} if scope else {})}
    for module, word in named.items():
        if module.partition(".")[0] not in MODULE2PACKAGE and not may_import(module):
            text = f"'{module}' is no part of an installed package that is built on MMEngine; a job imports it only where the"
            draft.say(("model", word), f"{text} environment variable {VARIABLE} names it")


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
    if is_plural(settings.get("optim_wrapper")):
        draft.put(("task", "own_step"), True)
    kept = []
    if evaluator is not None and not isinstance(evaluator, (Mapping, list, tuple)):
        draft.leave_out(
            ("task", "metrics"), f"val_evaluator = {shown(evaluator)}", "there it is a table, or a list of them"
        )
    for metric in metrics_of(evaluator):
        if isinstance(metric, Mapping) and last(metric.get("type")) in MEANS:
            kept.append(dict(metric))
        else:
            why = "optimctl's metrics are sums over samples, and this one looks at all data at once; it is left to MMEngine's test tool"
            draft.leave_out(
                ("task", "metrics"), f"the metric {shown(dict(metric) if isinstance(metric, Mapping) else metric)}", why
            )
    if kept:
        draft.put_plain(("task", "metrics"), kept, "val_evaluator")


def _convert_test(settings: Mapping[str, Any], draft: Draft) -> None:
    """The loops of validation and test, which have next to nothing to say, and what a test measures."""
    for name in ("val_cfg", "test_cfg"):
        loop = draft.known(settings, name, TABLE, ("task",)) or {}
        own = {
            key: value
            for key, value in loop.items()
            if last(value) not in ("ValLoop", "TestLoop") and value is not False
        }
        draft.leave_rest(("task",), own, ("_scope_",), name, "an evaluation is the task's")
    measured = settings.get("test_evaluator")
    if measured is not None and measured != settings.get("val_evaluator"):
        why = "a task has the metrics of the validation, and a test has the same"
        draft.leave_out(("task", "metrics"), f"test_evaluator = {shown(measured)}", why)


__all__ = ["convert_job", "convert_model"]
