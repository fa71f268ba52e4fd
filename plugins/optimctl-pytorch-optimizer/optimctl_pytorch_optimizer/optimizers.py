"""The optimizers of the library that say nothing of what they need from a training loop, or need it otherwise than a job can give it.

All others are named in ``pyproject.toml`` as they stand in the library. Here are those that want a closure or a graph of the
gradients, those over a base optimizer (a job has its name, not its class), Muon's family (a job's groups have no flag
``use_muon``), and three that a checkpoint would stumble over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytorch_optimizer
import torch
from torch.optim import Optimizer

Groups = Sequence[Mapping[str, Any]]


# --- a graph of the gradients, for their second derivatives ---------------------------------------------------------


class AdaHessian(pytorch_optimizer.AdaHessian):
    """The library's, on gradients with a graph."""

    requires_create_graph = True


class SophiaH(pytorch_optimizer.SophiaH):
    """The library's, on gradients with a graph."""

    requires_create_graph = True


# --- a closure: the loss itself, or the loss somewhere else ----------------------------------------------------------


class AliG(pytorch_optimizer.AliG):
    """The library's, with the loss from a closure."""

    requires_closure = True


def base_class(name: str) -> type[Optimizer]:
    """The optimizer that a job names as ``base_optimizer``: one of ``torch.optim``, or else of the library.

    Raises:
        ValueError: Neither has one of that name.
    """
    for home in (torch.optim, pytorch_optimizer):
        found = getattr(home, name, None)
        if isinstance(found, type) and issubclass(found, Optimizer):
            return found
    raise ValueError(
        f"neither torch.optim nor pytorch_optimizer has an optimizer called {name!r} to be the base_optimizer"
    )


def first_gradients(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of the SAM family that computes its first gradients itself.

    The library wants ``closure()`` to be called before ``step(closure)``; without, it steps as the base optimizer alone.
    """

    class FirstGradients(kind):  # type: ignore[misc, valid-type]
        requires_closure = True

        def step(self, closure: Callable[[], Any]) -> Any:
            with torch.enable_grad():
                loss = closure()
            super().step(closure)
            return loss

    return _as(FirstGradients, kind)


def over_base(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of the SAM family that takes the name of its base optimizer."""

    class OverBase(first_gradients(kind)):  # type: ignore[misc]
        def __init__(self, params: Groups, base_optimizer: str = "SGD", **options: Any) -> None:
            super().__init__(params, base_class(base_optimizer), **options)

    made, signature = _as(OverBase, kind), inspect.signature(kind)
    parameters = dict(signature.parameters)
    parameters["base_optimizer"] = parameters["base_optimizer"].replace(default="SGD", annotation=str)
    made.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    first_line = str(kind.__doc__).partition("\n")[0]
    made.__doc__ = f"""{first_line}

    Args:
        base_optimizer: The name of the optimizer that takes the steps, of torch.optim or else of the library; further arguments are its.
    """
    return made


def _as(made: type[Optimizer], kind: type[Optimizer]) -> type[Optimizer]:
    """The class under the name, the documentation and the arguments of the library's."""
    made.__name__ = made.__qualname__ = kind.__name__
    made.__doc__ = kind.__doc__
    made.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return made


SAM = over_base(pytorch_optimizer.SAM)
LookSAM = over_base(pytorch_optimizer.LookSAM)
FriendlySAM = over_base(pytorch_optimizer.FriendlySAM)


# --- Muon's family ---------------------------------------------------------------------------------------------------


def by_dimension(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of Muon's family over any groups: tensors of two and more dimensions are Muon's, the AdamW inside takes the rest.

    The rest has ``adamw_lr``, and ``adamw_wd`` where no rule says otherwise. A group with a learning rate of its own keeps the
    proportion: ``lr_mult = 0.1`` is a tenth of ``lr`` for its matrices and of ``adamw_lr`` for its vectors.
    """

    class ByDimension(kind):  # type: ignore[misc, valid-type]
        def __init__(self, params: Groups, **options: Any) -> None:
            bound = inspect.signature(kind).bind(params, **options)
            bound.apply_defaults()
            lr, adamw_lr = bound.arguments["lr"], bound.arguments["adamw_lr"]
            super().__init__(list(_apart(params, lr, adamw_lr)), **options)
            self.defaults |= {"lr": lr, "weight_decay": bound.arguments["weight_decay"]}

    return _as(ByDimension, kind)


def _apart(groups: Groups, lr: float, adamw_lr: float) -> Iterator[dict[str, Any]]:
    """The groups, each in two where it has tensors of both sorts."""
    for group in groups:
        for matrices in (True, False):
            parameters = [p for p in group["params"] if (p.ndim >= 2) == matrices]
            if parameters:
                own = {**group, "params": parameters, "use_muon": matrices}
                if "lr" in group and lr and not matrices:
                    own["lr"] = group["lr"] * (adamw_lr / lr)
                yield own


AdaGO = by_dimension(pytorch_optimizer.AdaGO)
AdaMuon = by_dimension(pytorch_optimizer.AdaMuon)
Muon = by_dimension(pytorch_optimizer.Muon)
MuonClip = by_dimension(pytorch_optimizer.MuonClip)
NorMuon = by_dimension(pytorch_optimizer.NorMuon)


# --- checkpoints -----------------------------------------------------------------------------------------------------


class SPlus(pytorch_optimizer.SPlus):
    """The library's, also where a parameter has no average yet."""

    def eval(self) -> None:
        """Switch to the averaged weights; a parameter that was never stepped on has no average, and stays as it is."""
        every = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [p for p in group["params"] if "ema" in self.state.get(p, {})]
        super().eval()  # type: ignore[no-untyped-call]
        for group, parameters in zip(self.param_groups, every, strict=True):
            group["params"] = parameters


def plain_norm_type(kind: type[Optimizer]) -> type[Optimizer]:
    """A class of the SCION family whose groups hold ``norm_type`` as a number, which a checkpoint gives back without running code."""

    class PlainNormType(kind):  # type: ignore[misc, valid-type]
        def __init__(self, params: Groups, **options: Any) -> None:
            super().__init__(params, **options)
            for group in (self.defaults, *self.param_groups):
                group["norm_type"] = int(group["norm_type"])

    return _as(PlainNormType, kind)


SCION = plain_norm_type(pytorch_optimizer.SCION)
SCIONLight = plain_norm_type(pytorch_optimizer.SCIONLight)
