"""What the options of an optimizer start from, in each of the groups that its rules can make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from optimctl.optim import DefaultOptimWrapperConstructor
from optimctl_mmengine.exporting.optimizers import DEFAULT, name_of, torch_class
from optimctl_mmengine.importing.made_up import made_up_model

Bases = Mapping[str, frozenset[float]]
"""The values of each option, over all groups; ``momentum`` is ``betas[0]`` of an optimizer that has none."""


class DeformConv2d(nn.Module):
    """What rules about deformable convolutions know one by: its name, and a layer for the offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(2, 2, 1)


def bases_of(wrapper: Mapping[str, Any]) -> Bases:
    """The bases of a table ``optim_wrapper``, over a made-up model in which each of its rules has something to match.

    Of a constructor that only a package has, it is not known what the rules say; they are left out.

    Raises:
        JobError: The table is wrong; keys are seen from it.
    """
    ours = name_of(wrapper.get("constructor") or DEFAULT) == DEFAULT
    rules = (wrapper.get("paramwise_cfg") or {}) if ours else {}
    model = made_up_model({"paramwise_cfg": rules})
    model.add_module("deformable", DeformConv2d())
    optimizer, _ = DefaultOptimWrapperConstructor({"optimizer": _stand_in(wrapper["optimizer"])}, rules).optimize(model)
    found: dict[str, set[float]] = {}
    for group in optimizer.param_groups if optimizer else ():
        for option, value in _numbers(group):
            found.setdefault(option, set()).add(value)
    return {option: frozenset(values) for option, values in found.items()}


def _stand_in(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The optimizer; for one that is not torch's, SGD with the options that schedules move."""
    if torch_class(name_of(table)) is not None:
        return table
    return {"type": "SGD", **{name: table[name] for name in ("lr", "momentum", "weight_decay") if name in table}}


def _numbers(group: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for option, value in group.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield option, float(value)
    if "betas" in group and "momentum" not in group:
        yield "momentum", float(group["betas"][0])


__all__ = ["Bases", "bases_of"]
