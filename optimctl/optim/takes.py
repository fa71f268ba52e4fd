"""What an optimizer of torch can take: told before its first step fails, with the names of the parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn, optim

from optimctl.errors import JobError, listing
from optimctl.optim.rules import OPTIMIZER, PARAMWISE

if TYPE_CHECKING:
    from optimctl.optim.options import Walked

TAKE_SPARSE = (optim.SGD, optim.Adagrad, optim.SparseAdam, optim.LBFGS)
"""The optimizers of torch that step on sparse gradients."""
ROUTE = "give them another optimizer, with the constructor Routes"


def check_takes(
    optimizer: Any, sparse: Sequence[Walked], groups: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> None:
    """Refuse parameters that an optimizer of torch cannot train.

    Args:
        optimizer: The class.
        sparse: What ``maybe_sparse`` found.
        groups: ``params``, ``param_names`` and the options in which a group differs from ``arguments``.
        arguments: What the optimizer is called with.

    Raises:
        JobError: It names them, and says what to do; keys are seen from ``optim_wrapper``.
    """
    if not is_torchs(optimizer):
        return
    if optimizer is optim.LBFGS and len(groups) > 1:
        message = f"LBFGS has one group of parameters, and these rules make {len(groups)}; take them out"
        raise JobError.single((PARAMWISE,), message, "one-group")
    names = {id(p): name for group in groups for p, name in _named(group)}
    embeddings = {id(met.parameter) for met in sparse if isinstance(met.module, (nn.Embedding, nn.EmbeddingBag))}
    if optimizer is optim.Muon:
        _refuse(
            [name for group in groups for p, name in _named(group) if p.ndim != 2],
            "Muon trains matrices only, and these are none",
            ROUTE,
        )
    elif optimizer is optim.SparseAdam:
        dense = [name for identity, name in names.items() if identity not in embeddings]
        _refuse(dense, "SparseAdam trains embeddings made with sparse = true only, and these are none", ROUTE)
    elif optimizer not in TAKE_SPARSE:
        way = f"use SparseAdam, SGD or Adagrad for them ({ROUTE}), or make the embeddings dense"
        own = [name for identity, name in names.items() if identity in embeddings]
        _refuse(own, f"{optimizer.__name__} cannot step on sparse gradients", way)
    elif embeddings:
        decayed = [group for group in groups if {**arguments, **group}.get("weight_decay")]
        own = [name for group in decayed for p, name in _named(group) if id(p) in embeddings]
        way = "give them decay_mult = 0 in paramwise_cfg.custom_keys"
        _refuse(own, f"{optimizer.__name__} cannot decay weights whose gradients are sparse", way)


def maybe_sparse(walked: Iterable[Walked]) -> list[Walked]:
    """The parameters whose gradients may be sparse: those of embeddings made so, and of anything else that says ``sparse``."""
    return [met for met in walked if vars(met.module).get("sparse")]


def is_torchs(optimizer: Any) -> bool:
    """Whether it is a class of ``torch.optim``, whose Muon and Adafactor have no module of their own."""
    return f"{getattr(optimizer, '__module__', '')}.".startswith("torch.optim.")


def _refuse(names: Sequence[str], why: str, way_out: str) -> None:
    if names:
        raise JobError.single((OPTIMIZER, "type"), f"{why}: {listing(names, 3)}; {way_out}", "cannot-take")


def _named(group: Mapping[str, Any]) -> Iterator[tuple[nn.Parameter, str]]:
    return zip(group["params"], group["param_names"], strict=True)
