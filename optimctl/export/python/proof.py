"""Whether what was written of an optimizer makes the very groups of the plan: the lines are run on the plan's model."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from optimctl.export.python.wanted import is_same
from optimctl.optim.planned import planned_for
from optimctl.plan.subject import start_options

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from optimctl.export.python.optimizers import Written
    from optimctl.plugins import LoadedPlugin


def makes_the_plan(written: Written, loaded: LoadedPlugin, device: torch.device) -> bool:
    """Whether an optimizer of the script has the plan's groups, in the plan's order."""
    made = _made(written, loaded, device)
    planned = written.optimizer.param_groups
    return made is not None and len(made) == len(planned) and all(map(_same, made, planned))


def _made(written: Written, loaded: LoadedPlugin, device: torch.device) -> list[dict[str, Any]] | None:
    """The groups of the optimizer that the lines make; None where it refuses what it is given."""
    namespace: dict[str, Any] = {"model": written.planned.module, "lr": written.lr_value}
    namespace |= {"nn": nn, "math": math, "datetime": datetime, "Any": Any}
    exec(compile("\n\n".join([*written.functions, *written.groups.lines]), "<groups>", "exec"), namespace)
    given, named = eval(str(replace(written.made, opening="given(")), {**namespace, "given": _given})
    try:
        with planned_for(device):
            optimizer: Optimizer = loaded.object(*given, **named)
    except Exception:  # whatever somebody's code makes of it
        return None
    return optimizer.param_groups


def _given(*given: Any, **named: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call."""
    return given, named


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two groups have the same parameters in the same order, and the same options."""
    if [id(p) for p in one["params"]] != [id(p) for p in other["params"]]:
        return False
    return is_same(start_options(one), start_options(other))


__all__ = ["makes_the_plan"]
