"""A constructor of OpenMMLab's packages in a job: it says which options each parameter gets, and optimctl makes the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.optim import SGD

from optimctl.errors import JobError
from optimctl.optim import DefaultOptimWrapperConstructor, Options
from optimctl_mmengine.registries import find, in_scope
from optimctl_mmengine.values import from_toml

NOT_OPTIONS = ("params", "param_names", "lr_mult", "decay_mult")
"""What MMEngine's constructors leave in a group that is no option of an optimizer."""


class MMEngineConstructor(DefaultOptimWrapperConstructor):
    """The options that a constructor out of MMEngine's registries gives each parameter, in merged groups.

    Args:
        optim_wrapper_cfg: The table ``optim_wrapper``.
        paramwise_cfg: What the constructor makes of it is its own business.
        name: What a configuration calls ``constructor``.
        scope: The package whose registries are searched first.
        imports: Modules that register further classes.
    """

    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
        name: str = "DefaultOptimWrapperConstructor",
        scope: str | None = None,
        imports: Sequence[str] = (),
    ) -> None:
        super().__init__(optim_wrapper_cfg)
        self.name = name
        with in_scope(scope, imports):
            try:
                self.kind = find(OPTIM_WRAPPER_CONSTRUCTORS, name)
            except JobError as error:
                raise error.below("constructor") from error
        self.scope, self.imports = scope, imports
        self.theirs = from_toml(dict(paramwise_cfg or {}))
        self._chosen: dict[int, dict[str, Any]] = {}
        self._made: dict[str, Options] = {}

    def prepare(self, model: nn.Module) -> None:
        """Ask their constructor; the optimizer that it builds on the way is thrown away."""
        super().prepare(model)
        optimizer = {"type": SGD, "lr": 0.0, "weight_decay": 0.0, **self._numbers()}
        cfg = {"type": "OptimWrapper", "optimizer": optimizer}
        with in_scope(self.scope, self.imports):
            wrapper = self.kind(optim_wrapper_cfg=cfg, paramwise_cfg=dict(self.theirs))(model)
        for group in wrapper.optimizer.param_groups:
            options = {option: value for option, value in group.items() if option not in NOT_OPTIONS}
            self._chosen.update({id(parameter): options for parameter in group["params"]})

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """What their constructor chose for the parameter; one that it leaves out is not trained."""
        options = super().options(name, parameter, module, parents)
        chosen = self._chosen.get(id(parameter))
        if chosen is None:
            return options.freeze(f"{self.name} leaves it out")
        for option in ("lr", "weight_decay"):
            if option in options and options[option] != chosen[option]:
                options = options.set(option, chosen[option], f"as {self.name} says")
        return options

    def _numbers(self) -> dict[str, Any]:
        """The options that their constructor may multiply."""
        return {name: self.arguments[name] for name in ("lr", "weight_decay") if name in self.arguments}


__all__ = ["MMEngineConstructor"]
