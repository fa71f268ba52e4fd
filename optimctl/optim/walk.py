"""The walk over a model that every constructor shares: each parameter once, with where it was met."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from optimctl.optim.options import Walked


def walk(model: nn.Module) -> Iterator[Walked]:
    """Every parameter of ``model`` once, under its first name, in the order of ``model.named_parameters()``."""
    seen: set[int] = set()
    visited: set[int] = set()
    stack: list[tuple[str, nn.Module, tuple[nn.Module, ...]]] = [("", model, ())]
    while stack:
        path, module, parents = stack.pop()
        if id(module) in visited:
            continue
        visited.add(id(module))
        for leaf, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield Walked(f"{path}.{leaf}" if path else leaf, parameter, module, parents)
        below = (*parents, module)
        children = [
            (f"{path}.{name}" if path else name, child, below)
            for name, child in module._modules.items()
            if child is not None
        ]
        stack.extend(reversed(children))


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside ``DistributedDataParallel``, ``DataParallel`` or ``torch.compile``, whose names the rules mean."""
    inner = model._modules.get("_orig_mod")  # a model's own __getattr__ may raise anything
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        return unwrapped(model.module)
    return model


def undecayed(model: nn.Module) -> frozenset[str]:
    """The parameters that the model, or a module in it, lists in ``no_weight_decay()`` (timm's convention)."""
    names: set[str] = set()
    for path, module in model.named_modules():
        hint = getattr(module, "no_weight_decay", None)
        if callable(hint):
            names.update(f"{path}.{name}" if path else str(name) for name in hint())
    return frozenset(names)
