"""Models, datasets and optimizers of OpenMMLab's packages in a job: what their registries build.

Their tables name the package with ``scope``, as ``default_scope`` does in a configuration of MMEngine, and have in ``cfg`` what the
configuration says. Values that TOML does not know stand as ``{ python = "None" }``.

A job stays data: what it names with ``type``, at any depth, has to be registered, and ``scope`` and ``imports`` are packages that are built
on MMEngine, or named by the person in the environment variable ``OPTIMCTL_MMENGINE_IMPORTS``.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, MODELS, OPTIMIZERS
from torch import nn
from torch.optim import Optimizer

from optimctl.errors import JobError
from optimctl_mmengine.guard import OBJECTS, guarded
from optimctl_mmengine.registries import build, enter_scope, find, in_scope, read, read_arguments


@guarded()
def build_model(cfg: dict[str, Any], scope: str | None = None, imports: Sequence[str] = ()) -> nn.Module:
    """A model out of MMEngine's registries, its weights initialized as its ``init_cfg`` says.

    Args:
        cfg: What a configuration calls ``model``, with its ``data_preprocessor``.
        scope: The package whose registries are searched first: ``mmdet``, ``mmpretrain``.
        imports: Modules that register further classes: ``custom_imports`` of a configuration. Those of a project of one's own are
            named in the environment variable ``OPTIMCTL_MMENGINE_IMPORTS``.
    """
    enter_scope(scope, imports)
    model: nn.Module = build(MODELS, read(cfg, ("cfg",), scope, MODELS))
    has_values = all(not parameter.is_meta for parameter in model.parameters())
    if has_values and callable(initialize := getattr(model, "init_weights", None)):
        _initialize(initialize)
    return model


@guarded()
def build_dataset(
    cfg: dict[str, Any],
    scope: str | None = None,
    imports: Sequence[str] = (),
    collate_fn: dict[str, Any] | None = None,
    sampler: dict[str, Any] | None = None,
    batch_sampler: dict[str, Any] | None = None,
    batch_size: int = 1,
) -> Any:
    """A dataset out of MMEngine's registries, with the way that its samples are put together.

    Args:
        cfg: What a configuration calls ``dataset``.
        scope: As for the model.
        imports: As for the model.
        collate_fn: What makes a batch of samples. Default: MMEngine's, ``pseudo_collate``.
        sampler: A sampler, where `shuffle` does not say it.
        batch_sampler: A sampler of whole batches; then `batch_size` stands here, and not beside `dataset`.
        batch_size: For ``batch_sampler``.
    """
    enter_scope(scope, imports)
    tables = {"cfg": cfg, "collate_fn": collate_fn, "sampler": sampler, "batch_sampler": batch_sampler}
    kinds = {"cfg": DATASETS, "collate_fn": FUNCTIONS, "sampler": DATA_SAMPLERS, "batch_sampler": DATA_SAMPLERS}
    said = {name: read(table, (name,), scope, kinds[name]) for name, table in tables.items() if table is not None}
    dataset = build(DATASETS, said["cfg"])
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    dataset.collate_fn = _collate(said.get("collate_fn", {"type": "pseudo_collate"}))
    if "sampler" in said or "batch_sampler" in said:
        order = build(DATA_SAMPLERS, said.get("sampler", {"type": "DefaultSampler", "shuffle": False}), dataset=dataset)
        if "batch_sampler" in said:
            dataset.batch_sampler = _batches(said["batch_sampler"], order, batch_size)
        else:
            dataset.sampler = order
    return dataset


@guarded()
def build_optimizer(
    params: Sequence[dict[str, Any]], name: str, scope: str | None = None, imports: Sequence[str] = (), **options: Any
) -> Optimizer:
    """An optimizer that a package has registered with MMEngine, as LARS and Lamb of MMPretrain.

    Args:
        params: The parameter groups.
        name: What a configuration calls its ``type``.
        scope: As for the model.
        imports: As for the model.
        options: The optimizer's own arguments: ``lr`` and others.
    """
    with in_scope(scope, imports):
        kind = find(OPTIMIZERS, name)
        optimizer: Optimizer = kind(params, **read_arguments(options, (), scope))
    return optimizer


def _initialize(initialize: Callable[[], None]) -> None:
    """Give a model its weights."""
    try:
        initialize()
    except pickle.UnpicklingError as error:
        message = (
            "a checkpoint that it is initialized from holds more than weights, and its objects can be code; "
            f"if you trust where it comes from, set the environment variable {OBJECTS}=1"
        )
        raise JobError.single(("cfg",), message, "not-permitted") from error


def _collate(cfg: Mapping[str, Any]) -> Any:
    """The function that makes a batch of samples; its further keys are arguments."""
    arguments = dict(cfg)
    function = find(FUNCTIONS, arguments.pop("type"), ("collate_fn", "type"))
    return functools.partial(function, **arguments) if arguments else function


def _batches(cfg: Mapping[str, Any], order: Any, batch_size: int) -> Any:
    """The sampler of batches, which hears of a new pass where its sampler would."""
    batches = build(DATA_SAMPLERS, cfg, sampler=order, batch_size=batch_size)
    if not hasattr(batches, "set_epoch") and hasattr(order, "set_epoch"):
        batches.set_epoch = order.set_epoch
    return batches


__all__ = ["build_dataset", "build_model", "build_optimizer"]
