"""The data that a run sees, and its order: a function of the seed and the number of the pass, of nothing else.

In this room: data loaders from a job's tables, the endless stream of batches that a run reads, and moving a batch to a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from optimctl import plugins, signatures
from optimctl.errors import JobError, Key, RunFailed
from optimctl.job.schema import DataLoaderTable

if TYPE_CHECKING:
    from torch import Generator

OWN_PARTS = ("collate_fn", "sampler", "batch_sampler")
"""What a dataset may bring for its loader, as attributes."""
SEEDS_APART = 1_000_003
"""How far apart the orders of two neighbouring seeds are: so many passes."""
_USUAL = {name: field.default for name, field in DataLoaderTable.model_fields.items()}
"""What torch's ``DataLoader`` does anyway, so that a job may say it beside whatever excludes the key."""
_EXCLUDED_BY = {
    "sampler": ("shuffle",),
    "batch_sampler": ("batch_size", "shuffle", "sampler", "drop_last"),
}


def build_dataloader(table: Mapping[str, Any], key: Key) -> DataLoader[Any]:
    """The loader of a job's table; a plugin that returns a ready ``DataLoader`` is taken as it is.

    Raises:
        JobError: The dataset or torch's ``DataLoader`` refuses its arguments, or the loader has no batch.
    """
    options = {name: value for name, value in table.items() if value != _USUAL.get(name)}
    dataset_table = dict(options.pop("dataset", None) or {})
    where = (*key, "dataset")
    if "type" not in dataset_table:
        raise JobError.single(where, 'name the dataset, as in dataset = { type = "Synthetic" }', "missing-key")
    loaded = plugins.resolve("datasets", dataset_table.pop("type"), where)
    dataset = signatures.call(loaded, where, dataset_table)
    if not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
        message = f"{loaded} returned a {type(dataset).__name__}; it must be a dataset or a DataLoader"
        raise JobError.single((*where, "type"), message, "wrong-kind")
    if isinstance(dataset, DataLoader):
        if options:
            message = f"{loaded} returns a ready DataLoader; take this out, the loader has its own"
            raise JobError.single((*key, next(iter(options))), message, "given-argument")
        if dataset.generator is None:
            dataset.generator = torch.Generator()  # so that its order, too, is a function of seed and pass
            if getattr(dataset.sampler, "generator", dataset) is None:
                dataset.sampler.generator = dataset.generator  # type: ignore[attr-defined]
        return dataset
    own = {name: getattr(dataset, name) for name in OWN_PARTS if getattr(dataset, name, None) is not None}
    for part, excluded in _EXCLUDED_BY.items():
        clash = next((name for name in excluded if part in own and name in options), None)
        if clash:
            raise JobError.single((*key, clash), f"{loaded} brings its own {part}; take this out", "given-argument")
    try:
        loader = DataLoader(dataset, generator=torch.Generator(), **own, **options)
    except (ValueError, TypeError) as error:
        raise JobError.single(key, f"torch's DataLoader refuses this: {error}", "plugin-raised") from error
    with plugins.plugin_code(loaded, where):
        length = batches_in(loader)
    if length == 0:
        hint = "; drop_last = true leaves none of its samples" if options.get("drop_last") else ""
        raise JobError.single(where, f"{loaded} gives no batch{hint}", "no-data")
    return loader


def batches_in(loader: DataLoader[Any]) -> int | None:
    """The length of one pass, in batches; None where the data has none."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        if isinstance(loader.dataset, Sized):
            raise  # it has a length, whose computation failed
        return None


def pass_seed(seed: int, number: int) -> int:
    """The seed of one pass over the data: 32 bits, which is all that torch's CPU generator takes."""
    return (seed * SEEDS_APART + number) % 2**32


def one_pass(loader: DataLoader[Any], seed: int, number: int) -> Iterator[Any]:
    """The batches of pass ``number`` (from 0): the same for the same seed, however the run got there."""
    generator: Generator | None = loader.generator
    if generator is not None:
        generator.manual_seed(pass_seed(seed, number))
    for part in (loader.sampler, loader.batch_sampler, loader.dataset):
        set_epoch = getattr(part, "set_epoch", None)
        if callable(set_epoch):
            set_epoch(number)
    return iter(loader)


def stream(
    loader: DataLoader[Any], seed: int, skip: int = 0, after_skip: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Batches for ever, pass after pass, from the one after the first ``skip``.

    Args:
        loader: The data.
        seed: The job's.
        skip: Batches that were used already; those of the pass that was going on are drawn again.
        after_skip: Called once they are drawn, right before the first new batch is.

    Raises:
        RunFailed: A pass gave no batch at all.
    """
    length = batches_in(loader)
    number, behind = divmod(skip, length) if length else (0, skip)
    if behind == 0:
        after_skip()
    while True:
        count = 0
        for count, batch in enumerate(one_pass(loader, seed, number), 1):
            if count > behind:
                yield batch
            elif count == behind:
                after_skip()
        if count == 0:
            raise RunFailed(f"the training data gave no batch in pass {number + 1}")
        behind = max(0, behind - count)
        number += 1


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch on ``device``: tensors anywhere in lists, tuples and dicts are moved, everything else is left."""
    if isinstance(batch, torch.Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(value, device) for value in batch)
    moved = getattr(batch, "to", None)
    return moved(device) if callable(moved) else batch


__all__ = ["batches_in", "build_dataloader", "one_pass", "pass_seed", "stream", "to_device"]
