"""The data loaders: torch's own arguments as they are, and MMEngine's dataset, samplers and collate function in ``dataset``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import TABLE, names_in
from optimctl_mmengine.importing.names import last, scope_of
from optimctl_mmengine.values import shown

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
OF_TORCH = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor", "timeout", "multiprocessing_context")
"""Arguments of torch's ``DataLoader`` that are carried as they are, beside those that a batch sampler replaces."""
OF_WORKERS = ("persistent_workers", "prefetch_factor", "timeout", "multiprocessing_context")
PARTS = ("dataset", "sampler", "batch_sampler", "collate_fn", "batch_size", "drop_last", "shuffle")
PSEUDO = "pseudo_collate"


def convert_loaders(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry the data loaders over."""
    for name in LOADERS:
        loader = settings.get(name)
        if isinstance(loader, Mapping):
            _convert(loader, settings, draft, (name,))
        elif loader is not None:
            draft.leave_out((name,), f"{name} = {shown(loader)}", "it is no table; a run has one loader of each sort")


def _convert(loader: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft, key: Key) -> None:
    if draft.known(loader, "dataset", TABLE, key) is None:
        draft.leave_out(key, f"{key[0]} = {shown(dict(loader))}", "it has no dataset")
        return
    batches = draft.known(loader, "batch_sampler", TABLE, (*key, "dataset"))
    for option in ("batch_size", "drop_last"):
        if loader.get(option) not in (None, False) and batches is None:
            draft.put_plain((*key, option), loader[option], option)
    _convert_workers(loader, draft, key)
    _convert_dataset(loader, settings, draft, key)
    _convert_order(loader, batches, draft, key)
    known = (*OF_TORCH, *PARTS, "_scope_", "_delete_")
    draft.leave_rest(key, loader, known, str(key[0]), "torch's DataLoader, or optimctl, has another way")


def _convert_workers(loader: Mapping[str, Any], draft: Draft, key: Key) -> None:
    """Torch's own arguments; what is said of workers is without effect where there are none."""
    for option in (option for option in OF_TORCH if loader.get(option)):
        if loader.get("num_workers") or option not in OF_WORKERS:
            draft.put_plain((*key, option), loader[option], option)
        else:
            draft.without_effect(key, f"{option} = {shown(loader[option])}", "num_workers is 0")


def _convert_dataset(loader: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft, key: Key) -> None:
    at = (*key, "dataset")
    draft.put((*at, "type"), "MMEngine")
    _put_scope(settings, draft, at)
    draft.put_plain((*at, "cfg"), dict(loader["dataset"]), "dataset")
    collate = draft.known(loader, "collate_fn", TABLE, at)
    if collate is not None and dict(collate) != {"type": PSEUDO}:
        draft.put_plain((*at, "collate_fn"), dict(collate), "collate_fn")


def _convert_order(loader: Mapping[str, Any], batches: Mapping[str, Any] | None, draft: Draft, key: Key) -> None:
    """The order of the samples: ``shuffle`` where that says it, else the samplers themselves."""
    at = (*key, "dataset")
    sampler = draft.known(loader, "sampler", TABLE, at)
    _say_exclusive(loader, draft, key)
    if sampler is not None and _is_plain(sampler):
        shuffles = bool(sampler.get("shuffle", True))
        endless = last(sampler.get("type")) == "InfiniteSampler"
        if batches is None:
            _put_shuffle(shuffles, endless, loader, draft, key)
            return
        sampler = {"type": "DefaultSampler", "shuffle": shuffles}
        if endless:
            draft.say(at, "InfiniteSampler: here a pass over the data ends, and the next begins in another order")
    if sampler is not None:
        draft.put_plain((*at, "sampler"), dict(sampler), "sampler")
    elif loader.get("shuffle") and batches is None:
        draft.put_plain((*key, "shuffle"), loader["shuffle"], "shuffle")
    if batches is not None:
        draft.put_plain((*at, "batch_sampler"), dict(batches), "batch_sampler")
        if loader.get("batch_size") is not None:
            draft.put_plain((*at, "batch_size"), loader["batch_size"], "batch_size")


def _say_exclusive(loader: Mapping[str, Any], draft: Draft, key: Key) -> None:
    """What torch's loader refuses beside a sampler."""
    for option, others in (("shuffle", ("sampler", "batch_sampler")), ("drop_last", ("batch_sampler",))):
        other = next((name for name in others if loader.get(name) is not None), None)
        if loader.get(option) and other:
            draft.leave_out(key, f"{option} = {shown(loader[option])}", f"the {other} decides that")


def _put_shuffle(shuffles: bool, endless: bool, loader: Mapping[str, Any], draft: Draft, key: Key) -> None:
    if shuffles:
        draft.put((*key, "shuffle"), True)
    if shuffles and endless and not loader.get("drop_last"):
        draft.put((*key, "drop_last"), True)
        draft.say((*key, "drop_last"), "for InfiniteSampler, whose batches are all full")


def _is_plain(sampler: Mapping[str, Any]) -> bool:
    """Whether a sampler only shuffles, or does not."""
    rest = {name: value for name, value in sampler.items() if name not in ("type", "shuffle", "_scope_")}
    known = last(sampler.get("type")) in ("DefaultSampler", "InfiniteSampler")
    return known and all(name in ("round_up", "seed") for name in rest) and rest.get("seed") is None


def _put_scope(settings: Mapping[str, Any], draft: Draft, key: Key) -> None:
    scope = scope_of(settings)
    if scope is not None:
        draft.put((*key, "scope"), scope)
    imports = imports_of(settings)
    if imports:
        draft.put((*key, "imports"), imports)


def modules_of(settings: Mapping[str, Any]) -> list[str]:
    """The modules that ``custom_imports`` names."""
    custom = settings.get("custom_imports")
    names = custom.get("imports") if isinstance(custom, Mapping) else None
    return [name for name in ([names] if isinstance(names, str) else names_in(names)) if isinstance(name, str)]


def imports_of(settings: Mapping[str, Any]) -> list[str]:
    """Those that a job needs: one that may fail, and did when the configuration was read, is none of them."""
    custom = settings.get("custom_imports")
    may_fail = isinstance(custom, Mapping) and bool(custom.get("allow_failed_imports"))
    return [name for name in modules_of(settings) if not may_fail or name in sys.modules]


__all__ = ["LOADERS", "convert_loaders", "imports_of", "modules_of"]
