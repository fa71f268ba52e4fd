"""What people who come from elsewhere write, and what it is called here: words of torch, MMEngine, Hugging Face and Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optimctl.errors import Key, Problem, key_text, listing, nearest

_HERE: Mapping[str, str] = {
    "_base_": "extends",
    "accumulate_grad_batches": "optim_wrapper.accumulative_counts",
    "batch_size_per_gpu": "train_dataloader.batch_size",
    "betas": "optim_wrapper.optimizer.betas",
    "check_val_every_n_epoch": "train_cfg.val_interval",
    "checkpoint_interval": "checkpoint.interval",
    "cudnn_deterministic": "job.deterministic",
    "custom_hooks": "hooks",
    "dataloader_num_workers": "train_dataloader.num_workers",
    "default_hooks": "hooks",
    "default_root_dir": "job.work_dir",
    "early_stopping": "hooks",
    "epochs": "train_cfg.max_epochs",
    "eval_interval": "train_cfg.val_interval",
    "eval_steps": "train_cfg.val_interval",
    "grad_clip": "optim_wrapper.clip_grad",
    "gradient_accumulation_steps": "optim_wrapper.accumulative_counts",
    "gradient_clip_val": "optim_wrapper.clip_grad.max_norm",
    "greater_is_better": "checkpoint.save_best.rule",
    "init_checkpoint": "job.load_from",
    "learning_rate": "optim_wrapper.optimizer.lr",
    "log_every_n_steps": "log.interval",
    "logging_steps": "log.interval",
    "lr": "optim_wrapper.optimizer.lr",
    "lr_config": "param_scheduler",
    "lr_scheduler": "param_scheduler",
    "max_grad_norm": "optim_wrapper.clip_grad.max_norm",
    "max_keep_ckpts": "checkpoint.keep",
    "metric_for_best_model": "checkpoint.save_best",
    "momentum": "optim_wrapper.optimizer.momentum",
    "monitor": "checkpoint.save_best",
    "n_epochs": "train_cfg.max_epochs",
    "num_epochs": "train_cfg.max_epochs",
    "num_train_epochs": "train_cfg.max_epochs",
    "optimizer_config": "optim_wrapper",
    "output_dir": "job.work_dir",
    "per_device_eval_batch_size": "val_dataloader.batch_size",
    "per_device_train_batch_size": "train_dataloader.batch_size",
    "pretrained": "job.load_from",
    "random_seed": "job.seed",
    "samples_per_gpu": "train_dataloader.batch_size",
    "save_interval": "checkpoint.interval",
    "save_steps": "checkpoint.interval",
    "save_top_k": "checkpoint.keep",
    "save_total_limit": "checkpoint.keep",
    "steps_per_epoch": "train_cfg.epoch_length",
    "torch_compile": "job.compile",
    "train_batch_size": "train_dataloader.batch_size",
    "trainer": "train_cfg",
    "val_check_interval": "train_cfg.val_interval",
    "weight_decay": "optim_wrapper.optimizer.weight_decay",
    "workers_per_gpu": "train_dataloader.num_workers",
}
"""Where a job says what others call so."""

_AMP = 'mixed precision is `optim_wrapper.type = "AmpOptimWrapper"`, with `dtype` and `loss_scale` beside it'
_DATASET_BRINGS = "no value of TOML can say it; the dataset brings its own"
_OTHER_CONSTRUCTOR = "another constructor than the default one takes it; name it in `optim_wrapper.constructor`"
_RESERVED = "is reserved for a later version"
_SENTENCES: Mapping[str, str] = {
    "auto_scale_lr": _RESERVED,
    "batch_sampler": _DATASET_BRINGS,
    "bf16": _AMP,
    "collate_fn": _DATASET_BRINGS,
    "custom_imports": "a job imports nothing; name your code in `[tool.optimctl.plugins]` of your pyproject.toml",
    "decay_rate": _OTHER_CONSTRUCTOR,
    "decay_type": _OTHER_CONSTRUCTOR,
    "default_scope": "there is none; `distribution/Name` says whose plugin is meant",
    "distributed": _RESERVED,
    "dtype": _AMP,
    "fc_lr5": _OTHER_CONSTRUCTOR,
    "fp16": _AMP,
    "generator": "`job.seed` seeds the order of the data",
    "global_batch_size": _RESERVED,
    "load_best_model_at_end": "`checkpoint.save_best` keeps the best checkpoint, `optimctl evaluate --checkpoint best` uses it",
    "loss_scale": _AMP,
    "max_steps": "here it is `train_cfg.max_iters`, which counts batches, not steps of the optimizer",
    "mixed_precision": _AMP,
    "num_layers": _OTHER_CONSTRUCTOR,
    "on_nonfinite": _RESERVED,
    "param_groups": "`optim_wrapper.paramwise_cfg` gives parameters options of their own",
    "precision": _AMP,
    "resume": "a run is resumed with `optimctl run --resume`",
    "resume_from": "a run is resumed with `optimctl run --resume-from PATH`",
    "resume_from_checkpoint": "a run is resumed with `optimctl run --resume-from PATH`",
    "sampler": _DATASET_BRINGS,
    "test_cfg": "`optimctl evaluate` tests; its metrics are the task's",
    "test_evaluator": "metrics are arguments of the `task`",
    "val_cfg": "validation is `train_cfg.val_interval`; its metrics are the task's",
    "val_evaluator": "metrics are arguments of the `task`",
    "warmup_epochs": "a warm-up is a schedule of its own, at the beginning of `param_scheduler`",
    "warmup_ratio": "a warm-up is a schedule of its own, at the beginning of `param_scheduler`",
    "warmup_steps": "a warm-up is a schedule of its own, at the beginning of `param_scheduler`",
    "worker_init_fn": "no value of TOML can say it; workers are seeded from `job.seed`",
}

_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "optimizers": {"learning_rate": "lr", "wd": "weight_decay", "adam_epsilon": "eps", "l2": "weight_decay"},
    "schedulers": {
        "cycle_momentum": "momentum has a schedule of its own, whose name ends in Momentum",
        "lr_min": "eta_min",
        "total_iters": "end",
        "total_epochs": "end",
        "epochs": "end",
        "last_epoch": "a resumed run knows how far it got",
        "T_0": "the schedule with T_0 is 'CosineAnnealingWarmRestarts'; 'CosineRestartLR' takes periods",
        "T_mult": "the schedule with T_mult is 'CosineAnnealingWarmRestarts'",
        "max_lr": "the highest value of 'OneCycleLR' is 'eta_max'; the schedule with max_lr is 'CyclicLR'",
        "min_lr": "the lowest value is 'eta_min', or 'min_value' of 'ReduceOnPlateauLR'",
        "mode": '\'rule\' says whether "less" or "greater" is better',
        "threshold_mode": "threshold_rule",
        "warmup": "a warm-up is a schedule of its own, such as 'LinearLR' with 'end'",
        "warmup_iters": "a warm-up is a schedule of its own, such as 'LinearLR' with 'end'",
        "warmup_ratio": "a warm-up is a schedule of its own, such as 'LinearLR' with 'start_factor'",
        "num_warmup_steps": "a warm-up is a schedule of its own, such as 'LinearLR' with 'end'",
        "num_training_steps": "end",
        "interval": 'write by = "epoch", "iteration" or "update"',
    },
}


def argument_hint(kind: str, name: str) -> str:
    """What a plugin of ``kind`` calls what others call ``name``, to end a sentence with; nothing where nothing is known."""
    word = _ARGUMENTS.get(kind, {}).get(name)
    if word is None:
        return ""
    return f"; {word}" if " " in word else f"; here it is `{word}`"


def with_hint(kind: str, problem: Problem) -> Problem:
    """The problem, its hint replaced by what the argument is called here, where it is one that others call so."""
    hint = argument_hint(kind, str(problem.key[-1])) if problem.code == "unknown-argument" and problem.key else ""
    return replace(problem, message=problem.message.split(";")[0] + hint) if hint else problem


def unknown_key(key: Key, tables: Mapping[Key, tuple[str, ...]]) -> Problem:
    """The problem of a key that its table does not know, with the way out.

    Args:
        key: From the top of the job.
        tables: The names of each table's keys; ``"*"`` stands for any part of a table's path.
    """
    name, parent = str(key[-1]), key[:-1]
    known = tables.get(table_of(parent, tables), ())
    misplaced = _misplaced(name, parent, tables)
    if not parent and name in known:  # a resolved job has neither `extends` nor `unset`
        return Problem(key, f"only a file can say `{name}`", "misplaced-key")
    if name in known:  # one of two forms of the table has it
        return Problem(key, "does not go with the other keys of its table", "exclusive-keys")
    near = nearest(name, known)
    if name in _SENTENCES and not (name in ("generator",) and not parent):
        return Problem(
            key, f"unknown key; {_SENTENCES[name]}" if _SENTENCES[name] != _RESERVED else _RESERVED, "unknown-key"
        )
    if name in _HERE:
        return Problem(key, f"unknown key; here it is `{_HERE[name]}`", "unknown-key")
    if misplaced and (misplaced[1] or not near or not parent):
        return Problem(key, f"`{name}` belongs {misplaced[0]}", "misplaced-key")
    if near:
        return Problem(key, f"unknown key{near}", "unknown-key")
    what = f"`{key_text(parent)}` takes" if parent else "a job has"
    return Problem(key, f"unknown key; {what} {listing(known, 20)}" if known else "unknown key", "unknown-key")


def table_of(parent: Key, tables: Mapping[Key, tuple[str, ...]]) -> Key:
    """The path in ``tables`` of the table at a job's key: without indices, and without the names of several optimizers."""
    path = tuple(part for part in parent if isinstance(part, str))
    if len(path) > 1 and path[0] == "optim_wrapper" and path[1] not in tables[("optim_wrapper",)]:
        path = (path[0], *path[2:])
    if path[:1] == ("param_scheduler",):
        path = path[:1]
    return next((table for table in tables if _matches(table, path)), path)


def _matches(table: Key, path: Key) -> bool:
    return len(table) == len(path) and all(one in ("*", other) for one, other in zip(table, path, strict=True))


def _misplaced(name: str, parent: Key, tables: Mapping[Key, tuple[str, ...]]) -> tuple[str, bool] | None:
    """Where a key of this name does belong, and whether that is close by: one table up, or one down."""
    here = table_of(parent, tables)
    homes = [table for table, names in tables.items() if name in names and table and name != "type"]
    homes = [home for home in homes if home != ("param_scheduler",) or not parent]  # its words are everybody's
    homes = [home for home in homes if "routes" not in home or "routes" in here]  # a route repeats `optim_wrapper`
    if here[:-1] in homes:
        return f"one level up, in `{key_text(parent[:-1])}`", True
    below = [home for home in homes if home[:-1] == here and here]
    if below:
        return f"one level down, in `{key_text((*parent, below[0][-1]))}`", True
    if not homes:
        return None
    *others, last = [f"`{key_text(home)}`" for home in homes]
    return "in " + (f"{', '.join(others)} or {last}" if others else last), False
