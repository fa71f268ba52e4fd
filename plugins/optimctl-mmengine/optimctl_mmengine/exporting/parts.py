"""Model, data, task, ``[job]`` and the hooks: what MMEngine has a word for, and comments for what does not change the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.exporting.length import Length
from optimctl_mmengine.exporting.optimizers import name_of
from optimctl_mmengine.exporting.page import Page
from optimctl_mmengine.importing.hooks import GREATER
from optimctl_mmengine.permission import MMENGINE
from optimctl_mmengine.registries import with_scope
from optimctl_mmengine.values import from_toml

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
WITHOUT = ("CSV",)
"""Hooks whose work MMEngine does anyway: it writes its records to a file."""


def write_job(job: Mapping[str, Any], name: str, page: Page) -> None:
    """Write what stands in ``[job]``."""
    own, key = job.get("job", {}), ("job",)
    page.settings["work_dir"] = own.get("work_dir", f"runs/{name}")
    page.settings["randomness"] = {"seed": own.get("seed", 0), "deterministic": own.get("deterministic", False)}
    source = own.get("load_from")
    if isinstance(source, Mapping) and source.get("prefix"):
        page.refuse((*key, "load_from", "prefix"), "MMEngine loads a file's tensors under their own names")
    if source is not None:
        page.settings["load_from"] = source if isinstance(source, str) else source["path"]
    if isinstance(source, Mapping) and source.get("strict"):
        page.say("load_from", "strict: MMEngine shows what does not fit, and goes on.")
    if own.get("compile"):
        page.settings["compile"] = True
    if own.get("device", "auto") != "auto":
        page.say("", f"The job's device is {own['device']}; MMEngine takes the GPU where there is one.")


def write_model(job: Mapping[str, Any], page: Page) -> None:
    """Write the model, where it is MMEngine's, where its names are looked up, and the modules that register them."""
    model, task = job.get("model"), job.get("task")
    tables = [table for table in (model, task) if table is not None]
    tables += [job[name]["dataset"] for name in LOADERS if "dataset" in job.get(name, {})]
    theirs = [table for table in tables if name_of(table) == "MMEngine"]
    if theirs:
        scopes = [table["scope"] for table in theirs if table.get("scope")]
        page.settings["default_scope"] = scopes[0] if scopes else MMENGINE
    theirs += [table for table in _of_optimizers(job.get("optim_wrapper") or {}) if name_of(table) == "MMEngine"]
    imports = list(dict.fromkeys(name for table in theirs for name in table.get("imports") or ()))
    if imports:  # a job cannot do without any of them
        page.settings["custom_imports"] = {"imports": imports, "allow_failed_imports": False}
    if model is not None and name_of(model) == "MMEngine":
        page.settings["model"] = _in_scope(from_toml(model["cfg"]), model, page)
    elif model is not None:
        page.say(
            "model",
            f"model: '{name_of(model)}' is a plugin of optimctl; a model of MMEngine's, with a train_step, goes here.",
        )
    if task is not None and name_of(task) != "MMEngine":
        page.say(
            "model",
            f"Its loss is what the task '{name_of(task)}' computes: a model of MMEngine's has that in its forward.",
        )


def _of_optimizers(wrapper: Mapping[str, Any]) -> Iterator[Any]:
    """The tables of one wrapper, or of several, that name a class."""
    wrappers = [wrapper, *(table for table in wrapper.values() if isinstance(table, Mapping) and "optimizer" in table)]
    for one in wrappers:
        yield from (one[name] for name in ("optimizer", "constructor") if isinstance(one.get(name), Mapping))


def _in_scope(cfg: dict[str, Any], table: Mapping[str, Any], page: Page) -> dict[str, Any]:
    """What a plugin's table has MMEngine build; with its scope, where that is not the configuration's."""
    own = table.get("scope")
    return cfg if own in (None, page.settings["default_scope"]) else {"_scope_": own, **cfg}


def write_loaders(job: Mapping[str, Any], length: Length | None, page: Page) -> None:
    """Write the data loaders; validation and test where there is an evaluator of MMEngine's."""
    task = job.get("task", {})
    metrics = from_toml(task["metrics"]) if task and name_of(task) == "MMEngine" and task.get("metrics") else None
    for name in LOADERS:
        if name not in job:
            continue
        split = name.removesuffix("_dataloader")
        if split != "train" and metrics is None:
            page.say(
                name,
                f"{name}: an evaluation is for MMEngine's own metrics; {split}_evaluator and {split}_cfg go with it.",
            )
            continue
        endless = split == "train" and length is not None and length.by_iteration
        page.settings[name] = _loader(job[name], endless, page, name)
        if split != "train":
            page.settings[f"{split}_cfg"] = {"type": f"{split.capitalize()}Loop"}
            page.settings[f"{split}_evaluator"] = [_in_scope(metric, task, page) for metric in metrics or ()]


def _loader(table: Mapping[str, Any], endless: bool, page: Page, name: str) -> dict[str, Any]:
    dataset = table.get("dataset", {})
    own = {option: value for option, value in table.items() if option not in ("dataset", "shuffle")}
    written: dict[str, Any] = {"batch_size": dataset.get("batch_size", 1), "num_workers": 0, **own}
    if name_of(dataset) != "MMEngine":
        page.say(name, f"dataset: '{name_of(dataset)}' is a plugin of optimctl; a dataset of MMEngine's goes here.")
        sampler = _sampler(table, endless, page, name)
        return {**written, "sampler": sampler, "collate_fn": {"type": "default_collate"}}
    parts = {
        part: _in_scope(from_toml(dataset[part]), dataset, page)
        for part in ("sampler", "batch_sampler")
        if part in dataset
    }
    if "collate_fn" in dataset:
        parts["collate_fn"] = _collate(from_toml(dataset["collate_fn"]), dataset, page)
    sampler = parts.pop("sampler", None) or _sampler(table, endless and "batch_sampler" not in parts, page, name)
    return {**written, "sampler": sampler, **parts, "dataset": _in_scope(from_toml(dataset["cfg"]), dataset, page)}


def _sampler(table: Mapping[str, Any], endless: bool, page: Page, name: str) -> dict[str, Any]:
    """The order of the samples; MMEngine's loop by iteration waits for two seconds wherever a pass over them ends."""
    if endless:
        page.say(name, "InfiniteSampler: each pass over the data runs into the next one, and no batch is short.")
    return {"type": "InfiniteSampler" if endless else "DefaultSampler", "shuffle": table.get("shuffle", False)}


def _collate(cfg: dict[str, Any], dataset: Mapping[str, Any], page: Page) -> dict[str, Any]:
    """The function that makes a batch; it is looked up by its name, and not built."""
    other = "_scope_" in _in_scope({}, dataset, page)
    return {**cfg, "type": with_scope(str(cfg.get("type")), dataset["scope"])} if other else cfg


# --- hooks ------------------------------------------------------------------------------------------------------------


def write_hooks(job: Mapping[str, Any], length: Length | None, page: Page) -> None:
    """Write ``default_hooks``, ``custom_hooks`` and the trackers."""
    logger = {"type": "LoggerHook", "interval": job.get("log", {}).get("interval", 10)}
    page.settings["default_hooks"] = {"logger": logger, "checkpoint": _checkpoint(job, length, page)}
    custom: list[dict[str, Any]] = []
    backends: list[dict[str, Any]] = []
    for name, table in job.get("hooks", {}).items():
        kind, key = name_of({"type": name, **table}), ("hooks", name)
        if kind == "EMA":
            custom.append(_average(table, job, page))
        elif kind == "EarlyStopping":
            custom.append(_stopping(table, page, key))
        elif kind in ("TensorBoard", "WandB"):
            backends.append(_tracker(kind, table))
        elif kind in WITHOUT:
            page.say("default_hooks", f"{kind}: MMEngine writes its records into work_dir anyway.")
        else:
            page.refuse(key, f"MMEngine has no hook called '{kind}'")
    if custom:
        page.settings["custom_hooks"] = custom
    if backends:
        page.settings["visualizer"] = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}, *backends]}


def _checkpoint(job: Mapping[str, Any], length: Length | None, page: Page) -> dict[str, Any]:
    own = job.get("checkpoint", {})
    interval = own.get("interval", 1)
    written: dict[str, Any] = {"type": "CheckpointHook", "interval": interval}
    if length is not None and length.by_iteration:
        written = {**written, "interval": interval * (length.epoch_length or 0) or -1, "by_epoch": False}
    if "keep" in own:
        written["max_keep_ckpts"] = own["keep"]
    best = own.get("save_best")
    if best is not None and "val_evaluator" in page.settings:
        metric = best if isinstance(best, str) else best["metric"]
        rule = None if isinstance(best, str) else best.get("rule")
        written |= {"save_best": metric, "rule": _rule(rule, metric)}
    elif best is not None:
        page.say("default_hooks", "save_best: it is for a metric of an evaluator of MMEngine's.")
    return written


def _rule(rule: str | None, metric: str) -> str:
    if rule is None:
        return "greater" if any(part in metric.lower() for part in GREATER) else "less"
    return "greater" if rule == "max" else "less"


def _average(table: Mapping[str, Any], job: Mapping[str, Any], page: Page) -> dict[str, Any]:
    """``EMAHook`` averages in every iteration; as often as an update has iterations, its momentum is smaller."""
    wrapper = job.get("optim_wrapper", {})
    counts = wrapper.get("accumulative_counts", 1) if "optimizer" in wrapper else 1
    decay, begin = table.get("decay", 0.9999), table.get("begin", 0)
    written: dict[str, Any] = {
        "type": "EMAHook",
        "momentum": _one_less(decay if counts == 1 else decay ** (1 / counts)),
    }
    if table.get("warmup"):
        written |= {"ema_type": "MomentumAnnealingEMA", "gamma": 9}
        page.say(
            "custom_hooks",
            "warmup: the n-th average has a momentum of at least 9 / (9 + n) here, and 9 / (10 + n) in optimctl.",
        )
    if begin:
        written["begin_iter"] = (begin + 1) * counts
    if table.get("interval", 1) != 1:
        written["interval"] = table["interval"] * counts
    if table.get("update_buffers"):
        written["update_buffers"] = True
    return written


def _one_less(value: float) -> float:
    return float(f"{1 - value:.12g}")


def _stopping(table: Mapping[str, Any], page: Page, key: Key) -> dict[str, Any]:
    metric = table["metric"]
    if "val_evaluator" not in page.settings:
        page.refuse((*key, "metric"), f"it waits for '{metric}', and there is no evaluator of MMEngine's that gives it")
    return {
        "type": "EarlyStoppingHook",
        "monitor": metric,
        "rule": _rule(table.get("rule"), metric),
        "min_delta": table.get("min_delta", 0.0),
        "patience": table.get("patience", 5),
        "check_finite": False,
    }


def _tracker(kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "TensorBoard":
        return {"type": "TensorboardVisBackend"}
    options = {name: value for name, value in table.items() if name != "type"}
    return {"type": "WandbVisBackend", **({"init_kwargs": options} if options else {})}


__all__ = ["write_hooks", "write_job", "write_loaders", "write_model"]
