"""Routes: several optimizers over one model, by rule, in one wrapper with one clip.

In this room: ``RoutedOptimizer``, which steps several optimizers as one, and the constructor ``Routes``. The first route that
matches a parameter takes it; ``optim_wrapper.optimizer`` takes the rest.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from optimctl.errors import JobError, Key
from optimctl.job.schema import MatchTable, RouteTable, read_routes
from optimctl.optim.constructor import DefaultOptimWrapperConstructor, check_coverage
from optimctl.optim.options import Options, Walked
from optimctl.optim.rules import OPTIMIZER, PARAMWISE
from optimctl.optim.walk import unwrapped, walk
from optimctl.optim.wrapper import OptimWrapper, needs_closure

if TYPE_CHECKING:
    from optimctl.plugins import Plugin

ROUTES = ("constructor", "routes")


class RoutedOptimizer(Optimizer):
    """Several optimizers that step as one.

    Its groups are theirs, the very same dicts, so that a schedule, a clip or a checkpoint sees one optimizer.

    Args:
        parts: The optimizers, which share no parameter.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = list(parts)
        self.requires_create_graph = any(getattr(part, "requires_create_graph", False) for part in parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.defaults = dict(parts[-1].defaults)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every part; a closure is evaluated once, before the first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def train(self) -> None:
        """Pass on to the parts that ask for it."""
        self._switch("train")

    def eval(self) -> None:
        """Pass on to the parts that ask for it."""
        self._switch("eval")

    def state_dict(self) -> dict[str, Any]:
        """The parts' states, as one optimizer's."""
        self.state.clear()
        for part in self.parts:
            self.state.update(part.state)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each part what is its own."""
        super().load_state_dict(state_dict)
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups = self.param_groups[start:end]
            for parameter in (parameter for group in part.param_groups for parameter in group["params"]):
                if parameter in self.state:
                    part.state[parameter] = self.state[parameter]
            start = end

    def _switch(self, name: str) -> None:
        for part in self.parts:
            switch = getattr(part, name, None)
            if callable(switch):
                switch()


class Routes:
    """The constructor of ``constructor = { type = "Routes", routes = [...] }``.

    Args:
        optim_wrapper_cfg: The table ``optim_wrapper``; its ``optimizer`` and ``paramwise_cfg`` are for what no route takes.
        paramwise_cfg: The rules for what no route takes.
        routes: Tables of ``match`` (``names``, ``types``, ``dimensions``), ``optimizer`` and ``paramwise_cfg``.

    Raises:
        JobError: A route is malformed; keys are seen from ``optim_wrapper``.
    """

    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
        routes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.rest = DefaultOptimWrapperConstructor(optim_wrapper_cfg, paramwise_cfg)
        self.routes = read_routes(routes, ROUTES)
        self.constructors = [_constructor(route, (*ROUTES, index)) for index, route in enumerate(self.routes)]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapper for ``model``; each of its trainable parameters is in exactly one optimizer."""
        model = unwrapped(model)
        taken = self._assign(model)
        parts: list[tuple[str, Optimizer, Plugin | None]] = []
        options: dict[str, Options] = {}
        rule_keys: list[Key] = []
        for key, constructor, names in zip(self._keys(), [*self.constructors, self.rest], taken, strict=True):
            optimizer, chosen = _optimize(constructor, model, names, key)
            if optimizer is not None:
                parts.append((".".join(str(part) for part in key[1:]), optimizer, constructor.optimizer.plugin))
            options.update(chosen)
            rule_keys += [(*key, *rule) for rule in constructor.rules.all_keys()]
        if not parts:
            raise JobError.single((OPTIMIZER,), "no parameter is left to train: all are frozen", "nothing-to-train")
        routed = RoutedOptimizer([optimizer for _, optimizer, _ in parts])
        check_coverage(model, routed)
        wrapper = self.rest.wrap(routed, options, rule_keys)
        wrapper.parts = tuple(parts)
        return wrapper

    def _keys(self) -> list[Key]:
        """Where the tables of each optimizer stand; the rest's is ``optim_wrapper`` itself."""
        return [*((*ROUTES, index) for index in range(len(self.routes))), ()]

    def _assign(self, model: nn.Module) -> list[set[str]]:
        """The names that each route takes; the rest's come last."""
        taken: list[set[str]] = [set() for _ in (*self.routes, None)]
        for met in walk(model):
            found = (index for index, route in enumerate(self.routes) if _takes(route.match, met))
            taken[next(found, -1)].add(met.name)
        for index, names in enumerate(taken[:-1]):
            if not names:
                raise JobError.single(
                    (*ROUTES, index, "match"),
                    "no parameter is left that fits; a route before takes them, or none does",
                    "route-matches-nothing",
                )
        return taken


def _optimize(
    constructor: DefaultOptimWrapperConstructor, model: nn.Module, names: set[str], key: Key
) -> tuple[Optimizer | None, dict[str, Options]]:
    """One route's optimizer, and the options of its parameters, their lines and problems seen from ``optim_wrapper``."""
    try:
        optimizer, chosen = constructor.optimize(model, names)
    except JobError as error:
        raise error.below(*key) from error
    if optimizer is not None and needs_closure(optimizer):
        message = (
            f"{type(optimizer).__name__} evaluates the loss itself, so that it cannot be one of several optimizers"
        )
        raise JobError.single((*key, OPTIMIZER, "type"), message, "no-closure")
    outward = {id(one): one.below(*key) for one in chosen.values()}
    return optimizer, {name: outward[id(one)] for name, one in chosen.items()}


def _takes(match: MatchTable, met: Walked) -> bool:
    """Whether a parameter fits every condition of a route."""
    by_name = not match.names or any(_fits(pattern, met.name) for pattern in match.names)
    by_type = not match.types or any(base.__name__ in match.types for base in type(met.module).__mro__)
    return by_name and by_type and (not match.dimensions or met.parameter.ndim in match.dimensions)


def _fits(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern[5:]) if pattern.startswith("glob:") else pattern in name


def _constructor(route: RouteTable, key: Key) -> DefaultOptimWrapperConstructor:
    table = route.model_dump(exclude_unset=True)
    try:
        return DefaultOptimWrapperConstructor({OPTIMIZER: table[OPTIMIZER]}, table.get(PARAMWISE))
    except JobError as error:
        raise error.below(*key) from error
