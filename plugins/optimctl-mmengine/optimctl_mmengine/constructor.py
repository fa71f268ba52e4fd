"""``OptimctlConstructor``: merged, fused groups in MMEngine's own Runner, by one line of its configuration."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from optimctl.optim import DefaultOptimWrapperConstructor as Ours

KEPT = ("params", "lr_mult", "decay_mult")
"""What MMEngine writes into a group that is no option of the optimizer."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimctlConstructor(DefaultOptimWrapperConstructor):  # type: ignore[misc]
    """The options of MMEngine's default constructor, parameter by parameter, in as few groups as they need.

    In a configuration: ``constructor = "optimctl_mmengine.OptimctlConstructor"``. A torch optimizer that can be fused is, unless the
    configuration picks another way with ``foreach`` or ``fused``. Frozen parameters stay out, one that is used in several places is
    counted once, and several optimizers are named after the sub-modules that they train. A checkpoint of a run that began with
    MMEngine's own constructor is loaded by either's order of the parameters.

    Args:
        optim_wrapper_cfg: ``optimizer`` and the wrapper's own arguments; or tables of those, by the names of sub-modules.
        paramwise_cfg: As in MMEngine.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.paramwise_cfg: dict[str, Any] = {}
        self.several: dict[str, OptimctlConstructor] = {}
        if _is_plural(optim_wrapper_cfg):
            self.several = {name: OptimctlConstructor(*_split(table)) for name, table in optim_wrapper_cfg.items()}
        else:
            super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper | OptimWrapperDict:
        """The wrapper for a model; several, by name, where the configuration has several optimizers."""
        model = getattr(model, "module", model)
        if self.several:
            wrappers = {name: one(model.get_submodule(name)) for name, one in self.several.items()}
            return OptimWrapperDict(**wrappers)
        before = list(self._unmerged(model))
        groups = list(_merged(before, {id(p): name for name, p in model.named_parameters()}))
        optimizer = self._optimizer(model, groups)
        _load_unmerged_too(optimizer, [parameter for group in before for parameter in group["params"]])
        tensors = sum(len(group["params"]) for group in groups)
        told = f"OptimctlConstructor: {tensors} parameters in {len(groups)} groups, {type(optimizer).__name__}"
        print_log(told, logger="current", level=logging.INFO)
        return OPTIM_WRAPPERS.build(
            {"type": "OptimWrapper", **self.optim_wrapper_cfg}, default_args={"optimizer": optimizer}
        )

    def _unmerged(self, model: nn.Module) -> Iterator[dict[str, Any]]:
        """A group of each parameter, as MMEngine's own constructor makes them, each parameter once."""
        rules: dict[str, Any] = self.paramwise_cfg
        self.paramwise_cfg = {**rules, "bypass_duplicate": False}  # its search through all groups takes quadratic time
        groups: list[dict[str, Any]] = []
        seen: set[int] = set()
        try:
            self.add_params(groups, model)
        finally:
            self.paramwise_cfg = rules
        for group in groups:
            (parameter,) = group["params"]
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield group

    def _optimizer(self, model: nn.Module, groups: list[dict[str, Any]]) -> Optimizer:
        """The optimizer over the groups, fused where it can be."""
        options = dict(self.optimizer_cfg)
        kind = options.pop("type")
        if isinstance(kind, str):
            with OPTIMIZERS.switch_scope_and_registry(None) as registry:
                kind = registry.get(kind)
        name = getattr(kind, "__name__", "")
        if getattr(optim, name, None) is kind:
            return Ours({"optimizer": {"type": name, **options}}).build(model, groups)
        first = next(iter(inspect.signature(kind).parameters))
        made: Optimizer = kind(**{first: groups}, **options)
        return made


def _is_plural(cfg: Mapping[str, Any]) -> bool:
    tables = [value for value in cfg.values() if isinstance(value, Mapping)]
    return "optimizer" not in cfg and any("optimizer" in table for table in tables)


def _split(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A wrapper's own table, and its rules."""
    own = {key: value for key, value in table.items() if key not in ("paramwise_cfg", "constructor")}
    return own, table.get("paramwise_cfg")


def _merged(groups: Sequence[dict[str, Any]], names: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Groups of equal options put together, in the order of first appearance, with the names of their parameters."""
    merged: dict[Any, dict[str, Any]] = {}
    for group in groups:
        options = {option: value for option, value in group.items() if option not in KEPT}
        identity = tuple(sorted((option, repr(value)) for option, value in options.items()))
        one = merged.setdefault(identity, {"params": [], "param_names": [], **options})
        one["params"] += group["params"]
        one["param_names"] += [names.get(id(parameter), "") for parameter in group["params"]]
    yield from merged.values()


def _load_unmerged_too(optimizer: Optimizer, order: Sequence[Tensor]) -> None:
    """Let the optimizer load what one with a group for each parameter has saved, in MMEngine's order of them."""
    numbers = {id(parameter): number for number, parameter in enumerate(order)}

    def regrouped(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any] | None:
        theirs = saved["param_groups"]
        if len(theirs) != len(order) or len(theirs) == len(optimizer.param_groups):
            return None
        if any(len(group["params"]) != 1 for group in theirs):
            return None
        groups = []
        for own in optimizer.param_groups:
            members = [theirs[numbers[id(parameter)]] for parameter in own["params"]]
            options = {option: value for option, value in members[0].items() if option not in KEPT}
            own_way = {name: own[name] for name in ("fused", "foreach") if name in own}
            groups.append({**options, **own_way, "params": [group["params"][0] for group in members]})
        return {**saved, "param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(regrouped)


__all__ = ["OptimctlConstructor"]
