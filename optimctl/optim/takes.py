"""What an optimizer of torch can take: told before its first step fails, with the names of the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn, optim

from optimctl.errors import JobError, listing
from optimctl.optim.rules import OPTIMIZER, PARAMWISE
from optimctl.optim.walk import walk

TAKE_SPARSE = (optim.SGD, optim.Adagrad, optim.SparseAdam)
"""The optimizers of torch that step on sparse gradients."""
ROUTE = "give them another optimizer, with the constructor Routes"


def check_takes(optimizer: Any, model: nn.Module, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse parameters that an optimizer of torch cannot train.

    Raises:
        JobError: It names them, and says what to do; keys are seen from ``optim_wrapper``.
    """
    if not getattr(optimizer, "__module__", "").startswith("torch.optim."):
        return
    if optimizer is optim.LBFGS and len(groups) > 1:
        message = f"LBFGS has one group of parameters, and these rules make {len(groups)}; take them out"
        raise JobError.single((PARAMWISE,), message, "one-group")
    names = {id(p): name for group in groups for p, name in zip(group["params"], group["param_names"], strict=True)}
    sparse = set(_sparse(model)) & set(names)
    if optimizer is optim.Muon:
        _refuse(
            [name for group in groups for name, p in _named(group) if p.ndim != 2], "Muon trains matrices only", ROUTE
        )
    elif optimizer is optim.SparseAdam:
        dense = [name for identity, name in names.items() if identity not in sparse]
        _refuse(dense, "SparseAdam trains embeddings made with sparse = true only", ROUTE)
    elif optimizer not in TAKE_SPARSE:
        kind = optimizer.__name__
        way = f"use SparseAdam, SGD or Adagrad for them ({ROUTE}), or make the embeddings dense"
        _refuse(
            [names[identity] for identity in names if identity in sparse],
            f"{kind} cannot step on sparse gradients",
            way,
        )


def _refuse(names: Sequence[str], why: str, way_out: str) -> None:
    if names:
        raise JobError.single((OPTIMIZER, "type"), f"{why}, and not {listing(names, 3)}; {way_out}", "cannot-take")


def _named(group: Mapping[str, Any]) -> Iterator[tuple[str, nn.Parameter]]:
    return zip(group["param_names"], group["params"], strict=True)


def _sparse(model: nn.Module) -> Iterator[int]:
    """The parameters whose gradients are sparse, by identity: the weights of embeddings made so."""
    for met in walk(model):
        if isinstance(met.module, (nn.Embedding, nn.EmbeddingBag)) and met.module.sparse:
            yield id(met.parameter)
