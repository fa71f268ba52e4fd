"""A constructor of OpenMMLab's packages in a job: it says which options each parameter gets, and optimctl makes the groups."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from torch import nn, optim
from torch.optim import Optimizer

from optimctl.errors import JobError
from optimctl.optim import DefaultOptimWrapperConstructor, Options
from optimctl_mmengine.guard import guarded
from optimctl_mmengine.parts import build_optimizer
from optimctl_mmengine.registries import find, in_scope, read, read_arguments, with_scope

NOT_OPTIONS = ("params", "fused", "foreach", "capturable", "differentiable")
"""What stands in a group and is no option of it, or only says how a step is computed."""
OF_THE_PLUGIN = ("name", "scope", "imports")
"""Arguments of the optimizer called ``MMEngine`` that say which one it is."""


class MMEngineConstructor(DefaultOptimWrapperConstructor):
    """The options that a constructor out of MMEngine's registries gives each parameter, in merged groups.

    It gets the optimizer's table as it is. Arguments in it that the constructor takes for itself, and that the optimizer does not
    know, do not reach the optimizer.

    Args:
        optim_wrapper_cfg: The table ``optim_wrapper``.
        paramwise_cfg: What the constructor makes of it is its own business.
        name: What a configuration calls ``constructor``.
        scope: The package whose registries are searched first.
        imports: Modules that register further classes.
    """

    @guarded()
    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
        name: str = "DefaultOptimWrapperConstructor",
        scope: str | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        more = self._begin(optim_wrapper_cfg)
        self.name = name
        try:
            with in_scope(scope, imports):
                self.kind = find(OPTIM_WRAPPER_CONSTRUCTORS, name)
        except JobError as error:
            raise error.below("constructor") from error
        self.scope, self.imports = scope, imports
        self.theirs = None if paramwise_cfg is None else read(paramwise_cfg, ("paramwise_cfg",), scope)
        given = {**self.arguments, **more}
        self._given = read_arguments(given, ("optimizer",), given.get("scope", scope))
        self._chosen: dict[int, dict[str, Any]] = {}
        self._defaults: dict[str, Any] = {}

    def _begin(self, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Read the table, and return what stands in the optimizer's that the optimizer does not take."""
        try:
            super().__init__(cfg)
        except JobError as error:
            if any(problem.code != "unknown-argument" for problem in error.problems):
                raise
            own = {problem.key[-1] for problem in error.problems}
            optimizer = cfg["optimizer"]
            super().__init__({**cfg, "optimizer": {key: optimizer[key] for key in optimizer if key not in own}})
            return {key: optimizer[key] for key in optimizer if key in own}
        return {}

    @guarded()
    def prepare(self, model: nn.Module) -> None:
        """Ask their constructor; the optimizer that it builds on the way is thrown away."""
        with in_scope(self.scope, self.imports):
            cfg = {"type": "OptimWrapper", "optimizer": self._their_table()}
            wrapper = self.kind(optim_wrapper_cfg=cfg, paramwise_cfg=copy.deepcopy(self.theirs))(model)
        if isinstance(wrapper, OptimWrapperDict):
            message = (
                f"{self.name} builds several optimizers; name the sub-modules in optim_wrapper, each with its optimizer"
            )
            raise JobError.single(("constructor", "name"), message, "several-optimizers")
        taken = _arguments_of(type(wrapper.optimizer))
        self._defaults = {name: one.default for name, one in taken.items() if one.default is not one.empty}
        if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            known = (*taken, *OF_THE_PLUGIN)
            self.arguments = {name: value for name, value in self.arguments.items() if name in known}
        self._note(wrapper.optimizer)
        super().prepare(model)

    def _note(self, optimizer: Optimizer) -> None:
        """Remember the options of each parameter."""
        known = [name for name in optimizer.defaults if name not in NOT_OPTIONS]
        for group in optimizer.param_groups:
            options = {name: group[name] for name in known if name in group}
            self._chosen.update({id(parameter): options for parameter in group["params"]})

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """What their constructor chose for the parameter; one that it leaves out is not trained."""
        options = super().options(name, parameter, module, parents)
        chosen = self._chosen.get(id(parameter))
        if chosen is None:
            return options.freeze(f"{self.name} leaves it out")
        for option, value in chosen.items():
            if value != options.get(option, self._defaults.get(option)):
                options = options.set(option, value, f"as {self.name} says")
        return options

    def _their_table(self) -> dict[str, Any]:
        """The optimizer's table, as a configuration of MMEngine has it."""
        arguments = copy.deepcopy(self._given)
        if self.optimizer.object is build_optimizer:
            name, scope = arguments.pop("name"), arguments.pop("scope", None)
            arguments.pop("imports", None)
            with in_scope(scope, self._given.get("imports", ())):
                find(OPTIMIZERS, name, ("optimizer", "name"))
            return {**arguments, "type": with_scope(name, scope)}
        return {**arguments, "type": _name_there(self.optimizer.object)}


def _name_there(kind: Any) -> Any:
    """An optimizer of torch by the name that MMEngine has for it; another one as it is."""
    name = getattr(kind, "__name__", "")
    if getattr(optim, name, None) is not kind:
        return kind
    return "TorchAdafactor" if name == "Adafactor" else name


def _arguments_of(kind: type[Optimizer]) -> dict[str, inspect.Parameter]:
    """The arguments of an optimizer, but for the parameters."""
    return dict(list(inspect.signature(kind).parameters.items())[1:])


__all__ = ["MMEngineConstructor"]
