"""The optimizers of the plan, each with what the job says of it.

In this room: ``Planned``, and ``planned_optimizers``, which finds for each optimizer its table in the job, the part of the model that it
trains, and its name in the script; ``constructor_of``, which makes anew what has made it; ``hints_of``, the names that the job's rules
speak of; ``word_of``, a module's path as a part of names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from optimctl import plugins, signatures
from optimctl.errors import JobError, Key, key_text
from optimctl.export.python.layout import Expression, call, text
from optimctl.export.python.needed import needed, wrappers_of
from optimctl.job.schema import OptimWrappers
from optimctl.optim.constructor import DefaultOptimWrapperConstructor
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.rules import OPTIMIZER, PARAMWISE
from optimctl.optim.walk import unwrapped, walk

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from optimctl.assemble import Assembly
    from optimctl.job.schema import OptimWrapperTable
    from optimctl.optim.wrapper import OptimWrapper

LONGEST = 24
"""How many letters of a module's path are in names, so that a line holds two of these."""


@dataclass(frozen=True)
class Planned:
    """An optimizer of the plan, and what the job says of it."""

    name: str
    """In the script: ``optimizer`` where there is one, else what tells it from the others: ``generator``, ``muon``."""
    wrapper_name: str
    wrapper: OptimWrapper
    optimizer: Optimizer
    table: Mapping[str, Any]
    """Its own: ``type``, and its arguments."""
    key: Key
    """Where its table stands."""
    first_group: int
    """Its first group's index in the wrapper."""
    root: Expression
    """``model``, or the part of it that it trains."""
    module: nn.Module
    names: frozenset[str]
    """Its parameters, as seen from ``module``."""
    is_one_of_several: bool
    """Whether others train parameters of the same module."""

    @property
    def kind(self) -> str:
        """The name of its class."""
        return type(self.optimizer).__name__

    @property
    def lr(self) -> str:
        """What the script's command line calls its learning rate."""
        return "lr" if self.name == "optimizer" else f"{self.name}_lr"

    @property
    def maker(self) -> str:
        """The function of the script that makes it."""
        is_plain = self.is_one_of_several or "optimizer" in self.name.split("_")
        return f"make_{self.name}" if is_plain else f"make_{self.name}_optimizer"

    @property
    def prefix(self) -> str:
        """What stands before the names of its own functions."""
        return "" if self.name == "optimizer" else f"{self.name}_"


@dataclass(frozen=True)
class _Scope:
    """A wrapper of the plan, its table in the job, and the module that it trains."""

    name: str
    wrapper: OptimWrapper
    table: Mapping[str, Any] | None
    key: Key
    root: Expression
    module: nn.Module

    @property
    def constructor(self) -> Key:
        """Where the job names what made it."""
        return (*self.key, "constructor") if self.table is not None else ("optim_wrapper", "constructor")


def planned_optimizers(assembly: Assembly, reserved: Collection[str]) -> list[Planned]:
    """The optimizers, in the order of their steps.

    Args:
        assembly: The parts of the job.
        reserved: Names that the script has other uses for.

    Raises:
        JobError: The job does not tell what one of them trains, or with what.
    """
    found: list[Planned] = []
    for scope in _scopes(assembly):
        found += _planned(scope, [one.name for one in found], reserved)
    return found


def constructor_of(
    assembly: Assembly, planned: Planned, lr: float | None = None
) -> DefaultOptimWrapperConstructor | None:
    """The constructor that made an optimizer, made anew, where it tells the options of each parameter; None where it does not.

    Args:
        assembly: The parts of the job.
        planned: The optimizer.
        lr: A learning rate in place of the job's.
    """
    table = _wrapper_table(assembly, planned.wrapper_name)
    if table is None or planned.is_one_of_several:
        return None
    key = ("constructor",)
    loaded = plugins.resolve("constructors", table.constructor.type, key)
    if not isinstance(loaded.object, type) or not issubclass(loaded.object, DefaultOptimWrapperConstructor):
        return None
    plain = table.model_dump(exclude_unset=True)
    if lr is not None:
        plain[OPTIMIZER] = {**plain[OPTIMIZER], "lr": lr}
    made: DefaultOptimWrapperConstructor = signatures.call(
        loaded, key, table.constructor.arguments, plain, plain.get(PARAMWISE), seen_from=()
    )
    made.prepare(planned.module)
    return made


def _wrapper_table(assembly: Assembly, name: str) -> OptimWrapperTable | None:
    """The job's table of a wrapper."""
    table = assembly.job.optim_wrapper
    return table.wrappers.get(name) if isinstance(table, OptimWrappers) else table


def hints_of(assembly: Assembly) -> list[str]:
    """The parts of names that the job's rules speak of, the longest first."""
    table = assembly.job.optim_wrapper
    found = _spoken_of(table.model_dump(exclude_unset=True)) if table is not None else ()
    return sorted(dict.fromkeys(name for name in found if ":" not in name), key=lambda name: -len(name))


def _spoken_of(table: Mapping[str, Any]) -> Iterator[str]:
    """The names in the rules of a table, and of the tables in it."""
    for key, value in table.items():
        if key == "match":
            yield from value.get("names", ())
        elif key == "custom_keys" and isinstance(value, Mapping):
            yield from value
        elif isinstance(value, Mapping):
            if key == PARAMWISE:  # of a constructor that has tables of its own there
                yield from (name for name, rule in value.items() if isinstance(rule, Mapping) and name != "custom_keys")
            yield from _spoken_of(value)
        elif isinstance(value, list):
            for one in value:
                yield from _spoken_of(one) if isinstance(one, Mapping) else ()


def not_exportable(key: Key, why: str, instead: str) -> JobError:
    """What stands in the way, and what to do about it."""
    return JobError.single(key, f"cannot be exported: {why}; {instead}", "not-exportable")


def _scopes(assembly: Assembly) -> Iterator[_Scope]:
    model = unwrapped(needed(assembly.model))
    wrappers = wrappers_of(assembly)
    table = assembly.job.plain()["optim_wrapper"]
    if list(wrappers) == [DEFAULT_NAME]:
        yield _Scope("", wrappers[DEFAULT_NAME], table, ("optim_wrapper",), "model", model)
        return
    for name, wrapper in wrappers.items():
        root, module = _root(model, name)
        yield _Scope(name, wrapper, table.get(name), ("optim_wrapper", name), root, module)


def _planned(scope: _Scope, taken: Sequence[str], reserved: Collection[str]) -> list[Planned]:
    """The optimizers of one wrapper: one, or those of its routes."""
    names = {id(met.parameter): met.name for met in walk(scope.module)}
    has_routes = len(scope.wrapper.parts) > 1
    found: list[Planned] = []
    first_group = 0
    for route, optimizer, _ in scope.wrapper.parts:
        table, key = _optimizer_table(scope, route)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if table is None or any(id(p) not in names for p in parameters):
            raise not_exportable(
                scope.constructor,
                "its constructor makes optimizers that the job does not name",
                f"take it out, with --unset {key_text(scope.constructor)}, or let Routes make them, which has them in the job",
            )
        one = Planned(
            name=_free(
                _variable(scope.name, optimizer, has_routes, reserved), [*taken, *(other.name for other in found)]
            ),
            wrapper_name=scope.name or DEFAULT_NAME,
            wrapper=scope.wrapper,
            optimizer=optimizer,
            table=table,
            key=key,
            first_group=first_group,
            root=scope.root,
            module=scope.module,
            names=frozenset(names[id(p)] for p in parameters),
            is_one_of_several=has_routes,
        )
        found.append(one)
        first_group += len(optimizer.param_groups)
    return found


def _variable(wrapper_name: str, optimizer: Optimizer, has_routes: bool, reserved: Collection[str]) -> str:
    """What the script calls an optimizer."""
    own = type(optimizer).__name__.lower() if has_routes else ""
    name = "_".join(part for part in (word_of(wrapper_name), own) if part)
    if not name:
        return "optimizer"
    while not name.isidentifier() or iskeyword(name) or name in reserved:
        name = f"optimizer_{name}"
    return name


def word_of(path: str) -> str:
    """A module's path as a part of names in the script: of a long one, as much of its end as is short."""
    word = re.sub("[^a-z0-9]+", "_", path.lower()).strip("_")
    if len(word) <= LONGEST:
        return word
    ends = ("_".join(word.split("_")[skipped:]) for skipped in range(1, word.count("_") + 1))
    return next((end for end in ends if len(end) <= LONGEST and end.isidentifier()), word[:LONGEST])


def _free(name: str, taken: Sequence[str]) -> str:
    """A name that no other optimizer has."""
    count = 1 + sum(one == name or one.startswith(f"{name}_") for one in taken)
    return name if count == 1 else f"{name}_{count}"


def _root(model: nn.Module, path: str) -> tuple[Expression, nn.Module]:
    """The part of the model that a wrapper is called after, in the script and in the plan."""
    try:
        is_plain = all(part.isidentifier() and not iskeyword(part) for part in path.split("."))
        return f"model.{path}" if is_plain else call("model.get_submodule", text(path)), model.get_submodule(path)
    except AttributeError as error:
        raise not_exportable(
            ("optim_wrapper", "constructor"),
            f"its constructor calls an optimizer '{path}', and the model has no such part",
            "let it call each by the path of the sub-module that it trains",
        ) from error


def _optimizer_table(scope: _Scope, route: str) -> tuple[Mapping[str, Any] | None, Key]:
    """The table of a wrapper's optimizer, or of one of its routes, and where it stands."""
    if scope.table is None or not route:
        return (scope.table or {}).get(OPTIMIZER), (*scope.key, OPTIMIZER)
    index = int(route.rpartition(".")[2])
    key = (*scope.key, "constructor", "routes", index, OPTIMIZER)
    return scope.table["constructor"]["routes"][index][OPTIMIZER], key


__all__ = ["Planned", "constructor_of", "hints_of", "not_exportable", "planned_optimizers", "word_of"]
