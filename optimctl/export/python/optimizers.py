"""The optimizers of a job as functions of the script, each with its groups.

In this room: ``Written``, an optimizer, and ``write_optimizers``, which holds each against the plan before it is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim import SGD

from optimctl import plugins
from optimctl.export.python.groups import Groups, groups_of
from optimctl.export.python.imports import Imports, check_apart, names_in
from optimctl.export.python.layout import Call, Expression, call, define, lay, literal
from optimctl.export.python.planned import Planned, hints_of, not_exportable, planned_optimizers
from optimctl.export.python.proof import makes_the_plan
from optimctl.export.python.shares import Share, shares_of
from optimctl.export.python.wanted import wanted_of
from optimctl.optim.constructor import IMPLEMENTATIONS, checked_arguments
from optimctl.optim.fused import torchs_class

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from optimctl.assemble import Assembly
    from optimctl.plugins import LoadedPlugin


@dataclass(frozen=True)
class Written:
    """An optimizer of the script."""

    planned: Planned
    made: Call
    """What makes it, of ``model`` and ``lr``."""
    groups: Groups
    functions: tuple[str, ...]
    """What is called to make it."""
    trains_all: bool
    """Whether it trains all parameters of the model, or of its part of it."""
    lr_value: float | None
    """Its learning rate in the job; None where this gives none."""

    @property
    def name(self) -> str:
        """The script's name for it."""
        return self.planned.name

    @property
    def wrapper_name(self) -> str:
        """The name of its wrapper."""
        return self.planned.wrapper_name

    @property
    def optimizer(self) -> Optimizer:
        """The plan's."""
        return self.planned.optimizer

    @property
    def first_group(self) -> int:
        """Its first group's index in the wrapper."""
        return self.planned.first_group

    @property
    def lr(self) -> str:
        """What the command line calls its learning rate; nothing where it takes none."""
        return self.planned.lr if "lr" in names_in(str(self.made)) else ""

    @property
    def is_sgd_with_momentum(self) -> bool:
        """Whether float16 may leave its momentum uninitialized, as torch's fused SGD does."""
        is_fused = isinstance(self.optimizer, SGD) and bool(self.optimizer.defaults["fused"])
        return is_fused and any(group["momentum"] for group in self.optimizer.param_groups)

    def maker(self, starts_momentum: bool) -> str:
        """The function that makes it.

        Args:
            starts_momentum: Whether its momentum must be there before the first step.
        """
        parameters = {"model": "nn.Module", **({"lr": "float"} if self.lr else {})}
        lines = [
            define(self.planned.maker, parameters, "torch.optim.Optimizer"),
            f'"""{self._doc}"""',
            *self.groups.lines,
        ]
        if starts_momentum:
            lines += [lay(self.made, 4, "optimizer = "), *_START_MOMENTUM, "return optimizer"]
        else:
            lines += [lay(self.made, 4, "return ")]
        return "\n    ".join(lines)

    def call(self) -> str:
        """The line that makes it, where the script trains."""
        given = [self.planned.root, *([f"args.{self.lr}"] if self.lr else [])]
        return lay(call(self.planned.maker, *given), 4, f"{self.name} = ")

    @property
    def _doc(self) -> str:
        if self.planned.is_one_of_several:
            over = "its share of the parameters"
        elif self.name != "optimizer":
            over = f"the parameters of `{_plain(self.wrapper_name)}`"
        else:
            over = "all parameters" if self.trains_all else "all parameters that are trained"
        return f"{self.planned.kind} over {over}{'' if self.groups.is_one else ', in groups'}."


_START_MOMENTUM = (
    "for group in optimizer.param_groups:",
    '    for parameter in group["params"]:',
    "        # Where float16 skips the first step, torch leaves the momentum undefined.",
    '        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)',
)


def write_optimizers(assembly: Assembly, imports: Imports) -> list[Written]:
    """The optimizers, in the order of their steps.

    Raises:
        JobError: One of them cannot be exported; the message says why.
    """
    planned = planned_optimizers(assembly, imports.reserved)
    shares: dict[str, Share] = {}
    for wrapper_name in dict.fromkeys(one.wrapper_name for one in planned):
        ours = [one for one in planned if one.wrapper_name == wrapper_name]
        shares |= shares_of(ours, hints_of(assembly))
    return [_write(assembly, one, shares.get(one.name), imports) for one in planned]


def _write(assembly: Assembly, planned: Planned, share: Share | None, imports: Imports) -> Written:
    """One optimizer, in the plainest form that makes the plan's groups."""
    arguments = dict(planned.table)
    loaded = plugins.resolve("optimizers", arguments.pop("type"), planned.key)
    check_apart(loaded.plugin, planned.key)
    _check_class(planned, loaded)
    arguments = checked_arguments(loaded, arguments)
    wanted = wanted_of(assembly, planned, arguments, share, hints_of(assembly))
    given: dict[str, Expression] = {name: literal(value) for name, value in arguments.items()}
    given |= {"lr": "lr"} if wanted.has_lr else {}
    given |= {"fused": "True"} if _is_fused(planned, arguments) else {}
    for groups in groups_of(wanted):
        made = call(imports.name(loaded.plugin), groups.argument, **{**given, **groups.options})
        functions = (*([share.function] if share is not None else []), *groups.functions)
        written = Written(planned, made, groups, functions, wanted.trains_all, arguments.get("lr"))
        if makes_the_plan(written, loaded, assembly.device):
            return written
    raise not_exportable(
        (*planned.key, "type"),
        f"{loaded} makes other groups of those that it is given here",
        "take an optimizer that keeps them, such as AdamW",
    )


def _plain(path: str) -> str:
    """A module's path as a docstring may hold it."""
    return re.sub(r"[^\w. -]", "_", path)


def _check_class(planned: Planned, loaded: LoadedPlugin) -> None:
    """Make sure that the optimizer is of the class that the job names."""
    own = torchs_class(planned.optimizer) or type(planned.optimizer)
    if isinstance(loaded.object, type) and own is not loaded.object:
        raise not_exportable(
            (*planned.key, "type"),
            f"the constructor makes a {own.__name__} of it",
            f'name that one, as in type = "{own.__name__}", or let the constructor keep what the job names',
        )


def _is_fused(planned: Planned, arguments: Mapping[str, Any]) -> bool:
    """Whether the run chose torch's fused implementation, and not the job."""
    return bool(planned.optimizer.defaults.get("fused")) and not any(arguments.get(name) for name in IMPLEMENTATIONS)


__all__ = ["Written", "write_optimizers"]
