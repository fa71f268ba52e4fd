"""What differs of the jobs as a whole: the run, its data, its model, its task and its hooks."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.plan.diff.facts import Fact, Facts, differing, plugin_changes

if TYPE_CHECKING:
    from optimctl.job.schema import DataLoaderTable
    from optimctl.plan.diff.change import SettingChange
    from optimctl.plan.diff.side import Side, Sides

DATA_KEYS = ("batch_size", "shuffle", "drop_last", "in_order")
"""The keys of a data loader that say which samples make a batch."""


def run_changes(sides: Sides) -> Iterator[SettingChange]:
    """How long the run is, what it starts from, and how it computes."""
    yield from differing(sides, "run", sides.both(_run))
    before, after = sides.both(_weights)
    if _is_same_file(before["initial_weights"].value, after["initial_weights"].value):
        after = {**after, "initial_weights": before["initial_weights"]}
    yield from differing(sides, "run", (before, after))


def part_changes(sides: Sides) -> Iterator[SettingChange]:
    """The data, the model and the task."""
    before, after = sides.before.job, sides.after.job
    yield from _loader_changes(sides, "train_dataloader")
    if any(side.waiting or side.job.hooks for side in (sides.before, sides.after)):
        yield from _loader_changes(sides, "val_dataloader")
        yield from differing(sides, "data", sides.both(_validation))
    yield from plugin_changes(sides, "model", ("model",), before.model, after.model)
    yield from plugin_changes(sides, "task", ("task",), before.task, after.task)


def hook_changes(sides: Sides) -> Iterator[SettingChange]:
    """The hooks, by the names of their tables."""
    before, after = sides.before.job.hooks, sides.after.job.hooks
    for name in dict.fromkeys((*before, *after)):
        yield from plugin_changes(sides, "hooks", ("hooks", name), before.get(name), after.get(name))


def _run(side: Side) -> Facts:
    job, length = side.job, side.subject.length
    ends = ("train_cfg", "max_iters" if length.max_iters is not None else "max_epochs")
    return {
        "iterations": Fact(length.iterations, ends),
        "epochs": Fact(length.epochs, ends),
        "epoch_length": Fact(length.epoch_length, ("train_cfg", "epoch_length")),
        "updates": Fact(length.updates, ends),
        "seed": Fact(job.job.seed, ("job", "seed")),
        "device": Fact(side.subject.device.type, ("job", "device")),
        "deterministic": Fact(job.job.deterministic, ("job", "deterministic")),
        "compile": Fact(job.job.compile, ("job", "compile")),
    }


def _weights(side: Side) -> dict[str, Fact]:
    source, key = side.job.job.load_from, ("job", "load_from")
    return {
        "initial_weights": Fact(None if source is None else source.path, key),
        "initial_weights.prefix": Fact(None if source is None else source.prefix or None, key),
    }


def _is_same_file(one: str | None, other: str | None) -> bool:
    """Whether two files hold the same bytes; a file that is not there is like no other."""
    if one is None or other is None:
        return False
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def _loader_changes(sides: Sides, name: str) -> Iterator[SettingChange]:
    """The data set, and how it is cut into batches."""
    before, after = sides.both(lambda side: _loader(side, name))
    if before is not None and after is not None:
        yield from differing(sides, "data", (_batches(name, before), _batches(name, after)))
    datasets = (None if one is None else one.dataset for one in (before, after))
    yield from plugin_changes(sides, "data", (name, "dataset"), *datasets)


def _loader(side: Side, name: str) -> DataLoaderTable | None:
    return {"train_dataloader": side.job.train_dataloader, "val_dataloader": side.job.val_dataloader}[name]


def _batches(name: str, table: DataLoaderTable) -> Facts:
    return {f"{name}.{key}": Fact(getattr(table, key), (name, key)) for key in DATA_KEYS}


def _validation(side: Side) -> Facts:
    cfg = side.job.train_cfg
    return {"train_cfg.val_interval": Fact(cfg.val_interval if cfg else None, ("train_cfg", "val_interval"))}
