"""The data loaders: torch's own arguments as they are, and MMEngine's dataset, samplers and collate function in ``dataset``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl.errors import Key
from optimctl_mmengine.importing.draft import Draft
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
    if not isinstance(loader.get("dataset"), Mapping):
        draft.leave_out(key, f"{key[0]} = {shown(dict(loader))}", "it has no dataset")
        return
    if loader.get("batch_sampler") is None:
        for option in ("batch_size", "drop_last"):
            if loader.get(option):
                draft.put((*key, option), loader[option])
    workers = loader.get("num_workers", 0)
    for option in OF_TORCH:
        if loader.get(option) and (workers or option not in OF_WORKERS):
            draft.put_plain((*key, option), loader[option], option)
    _convert_dataset(loader, settings, draft, key)
    _convert_order(loader, settings, draft, key)
    draft.leave_rest(
        key,
        loader,
        (*OF_TORCH, *PARTS, "_scope_", "_delete_"),
        str(key[0]),
        "torch's DataLoader, or optimctl, has another way",
    )


def _convert_dataset(loader: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft, key: Key) -> None:
    at = (*key, "dataset")
    draft.put((*at, "type"), "MMEngine")
    _put_scope(settings, draft, at)
    draft.put_plain((*at, "cfg"), dict(loader["dataset"]), "dataset")
    collate = loader.get("collate_fn")
    if isinstance(collate, Mapping) and dict(collate) != {"type": PSEUDO}:
        draft.put_plain((*at, "collate_fn"), dict(collate), "collate_fn")
    elif collate is not None and not isinstance(collate, Mapping):
        draft.leave_out(at, f"collate_fn = {shown(collate)}", "it is no table")


def _convert_order(loader: Mapping[str, Any], settings: Mapping[str, Any], draft: Draft, key: Key) -> None:
    """The order of the samples: ``shuffle`` where that says it, else the samplers themselves."""
    sampler, batches, at = loader.get("sampler"), loader.get("batch_sampler"), (*key, "dataset")
    if isinstance(sampler, Mapping) and _is_plain(sampler):
        shuffles = bool(sampler.get("shuffle", True))
        endless = last(sampler.get("type")) == "InfiniteSampler"
        if batches is None:
            _put_shuffle(shuffles, endless, loader, draft, key)
            return
        sampler = {"type": "DefaultSampler", "shuffle": shuffles}
        if endless:
            draft.say(at, "InfiniteSampler: here a pass over the data ends, and the next begins in another order")
    if isinstance(sampler, Mapping):
        draft.put_plain((*at, "sampler"), dict(sampler), "sampler")
    elif loader.get("shuffle") and batches is None:
        draft.put((*key, "shuffle"), True)
    if isinstance(batches, Mapping):
        draft.put_plain((*at, "batch_sampler"), dict(batches), "batch_sampler")
        draft.put((*at, "batch_size"), loader.get("batch_size", 1))


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


def imports_of(settings: Mapping[str, Any]) -> list[str]:
    """The modules of ``custom_imports``."""
    custom = settings.get("custom_imports")
    names = custom.get("imports") if isinstance(custom, Mapping) else None
    names = [names] if isinstance(names, str) else names
    return [name for name in names if isinstance(name, str)] if isinstance(names, (list, tuple)) else []


__all__ = ["LOADERS", "convert_loaders", "imports_of"]
