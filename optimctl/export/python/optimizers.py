"""The optimizers of a job as lines of the script, each with its groups.

In this room: ``Written``, an optimizer, ``write_optimizers``, and the proof that what was written makes the very groups of the plan:
the functions are run on the plan's model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import SGD

from optimctl import plugins, signatures
from optimctl.errors import JobError, Key
from optimctl.export.python.apart import Branch, Named, tell_apart
from optimctl.export.python.groups import Groups, Layers, Wanted, groups_of, listed_groups
from optimctl.export.python.imports import Imports
from optimctl.export.python.layout import Call, Expression, literal
from optimctl.export.python.needed import needed
from optimctl.optim.constructor import IMPLEMENTATIONS, DefaultOptimWrapperConstructor, checked_arguments
from optimctl.optim.fused import torchs_class
from optimctl.optim.layer_decay import LayerDecayOptimWrapperConstructor
from optimctl.optim.multi import DEFAULT_NAME, by_name
from optimctl.optim.options import Options
from optimctl.optim.planned import planned_for
from optimctl.optim.rules import OPTIMIZER, PARAMWISE
from optimctl.optim.walk import unwrapped, walk
from optimctl.plan.subject import start_options

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from optimctl.assemble import Assembly
    from optimctl.job.schema import OptimWrapperTable
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.plugins import LoadedPlugin


TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        args averages batch batches best compiled compute count criterion device dtype epoch epoch_length epochs file found group groups
        is_best is_due is_skipped iteration iterations loss losses lower lr math metrics model nn np order own parameter parameters
        prefix saved scale scaler size state stepper steppers table task torch train_loader val_loader value values weights window writer
        """,
    )
)
"""What the function that trains has other uses for."""


@dataclass(frozen=True)
class Written:
    """An optimizer of the script."""

    name: str
    """``optimizer`` where there is one, else what tells it from the others: ``generator``, ``muon``."""
    wrapper_name: str
    optimizer: Optimizer
    expression: Call
    functions: tuple[str, ...]
    lr: str
    """The script's name for its learning rate; nothing where the job gives none."""
    lr_value: float | None
    first_group: int
    """Its first group's index in the wrapper."""
    key: Key
    """Where its table stands."""

    @property
    def is_sgd_with_momentum(self) -> bool:
        """Whether float16 may leave its momentum uninitialized, as torch's fused SGD does."""
        is_fused = isinstance(self.optimizer, SGD) and bool(self.optimizer.defaults["fused"])
        return is_fused and any(group["momentum"] for group in self.optimizer.param_groups)


@dataclass(frozen=True)
class _Part:
    """An optimizer of the plan, and what the job says of it."""

    name: str
    wrapper_name: str
    wrapper: OptimWrapper
    optimizer: Optimizer
    table: Mapping[str, Any]
    """Its own: ``type``, and its arguments."""
    key: Key
    first_group: int
    root: str
    """``model``, or the part of it that it trains."""
    module: nn.Module
    names: frozenset[str]
    """Its parameters, as seen from ``module``."""
    is_one_of_several: bool
    """Whether others train parameters of the same module."""

    @property
    def lr(self) -> str:
        return "lr" if self.name == "optimizer" else f"{self.name}_lr"


def write_optimizers(assembly: Assembly, imports: Imports) -> list[Written]:
    """The optimizers, in the order of their steps.

    Raises:
        JobError: One of them cannot be exported; the message says why.
    """
    parts = list(_parts(assembly, unwrapped(needed(assembly.model))))
    written = [_Writer(assembly, part, parts, imports).write() for part in parts]
    first = replace(written[0], functions=(*owners(parts, assembly), *written[0].functions))
    return [first, *written[1:]]


def frozen_by_rule(assembly: Assembly) -> list[str]:
    """The parameters that a rule of the job freezes, by their names in the model."""
    found = []
    for wrapper_name, wrapper in by_name(needed(assembly.wrapper)).items():
        prefix = "" if wrapper_name == DEFAULT_NAME else f"{wrapper_name}."
        found += [f"{prefix}{name}" for name, options in wrapper.options.items() if options.frozen]
    return found


def freezing(assembly: Assembly, names: Sequence[str]) -> str:
    """A function of the script that freezes parameters; nothing where there are none."""
    if not names:
        return ""
    parameters = [Named(met.name, met.parameter) for met in walk(unwrapped(needed(assembly.model)))]
    values = {one.name: one.name in names for one in parameters}
    branch = next(one for one in tell_apart(values, parameters, False, _hints(assembly.job.optim_wrapper)) if one.value)
    conditions = branch.conditions(8)
    met = (
        "name, parameter in model.named_parameters()"
        if "name" in " ".join(conditions)
        else "parameter in model.parameters()"
    )
    lines = ["def freeze(model: nn.Module) -> None:", '    """Some parameters are not trained."""', f"    for {met}:"]
    for condition in conditions:
        lines += [f"        if {condition}:", "            parameter.requires_grad_(False)"]
    return "\n".join(lines)


def _parts(assembly: Assembly, model: nn.Module) -> Iterator[_Part]:
    wrappers = by_name(needed(assembly.wrapper))
    table = assembly.job.plain()["optim_wrapper"]
    taken: list[str] = []
    for wrapper_name, wrapper in wrappers.items():
        several = len(wrappers) > 1 or wrapper_name != DEFAULT_NAME
        own, key = (
            (table.get(wrapper_name), ("optim_wrapper", wrapper_name)) if several else (table, ("optim_wrapper",))
        )
        root, module = ("model", model) if not several else _root(model, wrapper_name, key)
        names = {id(met.parameter): met.name for met in walk(module)}
        first = 0
        for route, optimizer, _ in wrapper.parts:
            below, found = _optimizer_table(own, route, (*key, OPTIMIZER))
            name = _variable(wrapper_name, optimizer, several, len(wrapper.parts) > 1)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            unknown = any(id(p) not in names for p in parameters)
            if found is None or unknown:
                raise _not_exportable(
                    (*key, "constructor"), "its constructor makes optimizers that the job does not name"
                )
            yield _Part(
                _free(name, taken),
                wrapper_name,
                wrapper,
                optimizer,
                found,
                below,
                first,
                root,
                module,
                frozenset(names[id(p)] for p in parameters),
                len(wrapper.parts) > 1,
            )
            first += len(optimizer.param_groups)


def _variable(wrapper_name: str, optimizer: Optimizer, several: bool, has_routes: bool) -> str:
    """What the script calls an optimizer."""
    own = type(optimizer).__name__.lower() if has_routes else ""
    path = re.sub(r"\W", "_", wrapper_name) if several else ""
    name = "_".join(part for part in (path, own) if part)
    is_free = name.isidentifier() and not iskeyword(name) and name not in TAKEN
    return name if is_free else f"optimizer_{name}".rstrip("_")


def _root(model: nn.Module, path: str, key: Key) -> tuple[str, nn.Module]:
    try:
        is_plain = all(part.isidentifier() and not iskeyword(part) for part in path.split("."))
        return f"model.{path}" if is_plain else f'model.get_submodule("{path}")', model.get_submodule(path)
    except AttributeError as error:
        raise _not_exportable(
            key, "its constructor makes optimizers that are called after no part of the model"
        ) from error


def _optimizer_table(table: Mapping[str, Any] | None, route: str, key: Key) -> tuple[Key, Mapping[str, Any] | None]:
    """The table of a wrapper's optimizer, or of one of its routes, and where it stands."""
    if table is None:
        return key, None
    if not route:
        return key, table.get(OPTIMIZER)
    index = int(route.rpartition(".")[2])
    return (*key[:-1], "constructor", "routes", index, OPTIMIZER), table["constructor"]["routes"][index][OPTIMIZER]


def _free(name: str, taken: list[str]) -> str:
    count = 1 + sum(one == name or one.startswith(f"{name}_") for one in taken)
    free = name if count == 1 else f"{name}_{count}"
    taken.append(free)
    return free


class _Writer:
    """Writes one optimizer."""

    def __init__(self, assembly: Assembly, part: _Part, parts: Sequence[_Part], imports: Imports) -> None:
        self.assembly, self.part, self.parts, self.imports = assembly, part, parts, imports
        arguments = dict(part.table)
        self.loaded: LoadedPlugin = plugins.resolve("optimizers", arguments.pop("type"), part.key)
        self.arguments = checked_arguments(self.loaded, arguments)
        own = torchs_class(part.optimizer) or type(part.optimizer)
        if isinstance(self.loaded.object, type) and own is not self.loaded.object:
            raise _not_exportable((*part.key, "type"), f"the constructor makes a {own.__name__} of it")

    def write(self) -> Written:
        """By rules where these make the plan's groups, else by names."""
        part, own = self.part, self._own()
        wanted = self._wanted(own)
        by_rules = groups_of(wanted, part.root)
        for groups in (by_rules, by_rules.in_a_table(), listed_groups(wanted, part.root, self._tables(own))):
            written = self._written(groups, wanted)
            if self._is_true(written):
                return written
        message = f"{self.loaded} makes other groups of those that it is given here"
        raise _not_exportable((*part.key, "type"), message)

    def _own(self) -> dict[str, dict[str, Any]]:
        """For each parameter the options in which it departs from the optimizer's arguments, in the order of the walk."""
        part = self.part
        noted: Mapping[str, Options] = part.wrapper.options
        in_groups = {
            id(p): {k: v for k, v in start_options(group).items() if v != part.optimizer.defaults.get(k)}
            for group in part.optimizer.param_groups
            for p in group["params"]
        }
        return {
            met.name: self._departing(noted[met.name]) if met.name in noted else in_groups[id(met.parameter)]
            for met in walk(part.module)
            if met.name in part.names
        }

    def _departing(self, options: Options) -> dict[str, Any]:
        base = {**self.part.optimizer.defaults, **self.arguments}
        return {option: value for option, value in options.items() if option not in base or value != base[option]}

    def _tables(self, own: Mapping[str, Mapping[str, Any]]) -> list[tuple[list[str], Mapping[str, Any]]]:
        """The groups as they were given to the optimizer."""
        found: list[tuple[list[str], Mapping[str, Any]]] = []
        for name, options in own.items():
            names = next((names for names, other in found if other == options), None)
            if names is None:
                found.append(([name], options))
            else:
                names.append(name)
        return found

    def _wanted(self, own: Mapping[str, Mapping[str, Any]]) -> Wanted:
        part = self.part
        shares = part.is_one_of_several
        met = [Named(one.name, one.parameter) for one in walk(part.module) if not shares or one.name in own]
        return Wanted(
            name=part.name,
            parameters=met,
            own=own,
            base={**part.optimizer.defaults, **self.arguments},
            lr=part.lr if "lr" in self.arguments else "",
            shares=shares,
            hints=_hints(self.assembly.job.optim_wrapper),
            layers=self._layers(own),
        )

    def _layers(self, own: Mapping[str, Mapping[str, Any]]) -> Layers | None:
        """The layers, where the constructor lets the learning rate fall from one to the next."""
        table = _wrapper_table(self.assembly, self.part.wrapper_name)
        named = table.constructor if table is not None else None
        if named is None or self.part.is_one_of_several:
            return None
        loaded = plugins.resolve("constructors", named.type, ("constructor",))
        if not isinstance(loaded.object, type) or not issubclass(loaded.object, LayerDecayOptimWrapperConstructor):
            return None
        plain = table.model_dump(exclude_unset=True) if table is not None else {}
        constructor: LayerDecayOptimWrapperConstructor = signatures.call(
            loaded, ("constructor",), named.arguments, plain, plain.get(PARAMWISE), seen_from=()
        )
        constructor.prepare(self.part.module)
        by_rules = DefaultOptimWrapperConstructor.options
        values = {
            met.name: float(by_rules(constructor, met.name, met.parameter, met.module, met.parents)["lr"])
            for met in walk(self.part.module)
            if met.name in own
        }
        numbers = {name: number for name, number in constructor.layers.items() if name in own}
        return Layers(constructor.decay_rate, numbers, constructor.last, values)

    def _written(self, groups: Groups, wanted: Wanted) -> Written:
        part = self.part
        given: dict[str, Expression] = {name: literal(value) for name, value in self.arguments.items()}
        if wanted.lr:
            given["lr"] = wanted.lr
        given |= groups.options
        if part.optimizer.defaults.get("fused") and not any(self.arguments.get(name) for name in IMPLEMENTATIONS):
            given["fused"] = "True"
        keywords = tuple((f"{name}=", value) for name, value in given.items())
        expression = Call(f"{self.imports.name(self.loaded.plugin)}(", (("", groups.argument), *keywords))
        lr = self.arguments.get("lr")
        return Written(
            part.name,
            part.wrapper_name,
            part.optimizer,
            expression,
            groups.functions,
            wanted.lr,
            lr if wanted.lr else None,
            part.first_group,
            part.key,
        )

    def _is_true(self, written: Written) -> bool:
        """Whether the lines, run on the plan's model, make the plan's groups, in the plan's order."""
        made = self._made(written)
        if made is None:
            return False
        planned = self.part.optimizer.param_groups
        return len(made) == len(planned) and all(_same(one, other) for one, other in zip(made, planned, strict=True))

    def _made(self, written: Written) -> list[dict[str, Any]] | None:
        """The groups of the optimizer that the lines make; None where it refuses what it is given."""
        code = "\n\n".join([*owners(self.parts, self.assembly), *written.functions])
        namespace: dict[str, Any] = {
            "model": unwrapped(needed(self.assembly.model)),
            written.lr or "lr": written.lr_value,
        }
        namespace |= {"nn": nn, "math": math, "Any": Any, "Iterator": Iterator}
        exec(compile(code, "<groups>", "exec"), namespace)
        (_, parameters), *keywords = written.expression.items
        given = {before[:-1]: eval(str(value), namespace) for before, value in keywords}
        try:
            with planned_for(self.assembly.device):
                optimizer: Optimizer = self.loaded.object(eval(str(parameters), namespace), **given)
        except Exception:  # whatever somebody's code makes of it
            return None
        return optimizer.param_groups


def owners(parts: Sequence[_Part], assembly: Assembly) -> list[str]:
    """The functions that tell which of several optimizers trains a parameter; none where each has a part of the model."""
    ours = [part for part in parts if part.is_one_of_several]
    if not ours:
        return []
    every = list(walk(ours[0].module))
    walked = [met for met in every if met.parameter.requires_grad]
    values = {name: part.name for part in ours for name in part.names}
    met = [Named(one.name, one.parameter) for one in walked]
    branches = tell_apart(values, met, ours[-1].name, _hints(assembly.job.optim_wrapper))
    return [
        _owner(branches),
        _OWNED.replace("is_trained and ", "parameter.requires_grad and " if len(walked) < len(every) else ""),
    ]


def _owner(branches: Sequence[Branch]) -> str:
    lines = [
        "def optimizer_of(name: str, parameter: nn.Parameter) -> str:",
        '    """The optimizer that trains a parameter."""',
    ]
    for branch in branches[:-1]:
        for condition in branch.conditions(4):
            lines += [f"    if {condition}:", f'        return "{branch.value}"']
    return "\n".join([*lines, f'    return "{branches[-1].value}"'])


_OWNED = """\
def parameters_of(
    model: nn.Module,
    optimizer: str,
) -> Iterator[tuple[str, nn.Parameter]]:
    \"""The parameters that an optimizer trains, with their names.\"""
    for name, parameter in model.named_parameters():
        if is_trained and optimizer_of(name, parameter) == optimizer:
            yield name, parameter"""


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two groups have the same parameters in the same order, and the same options."""
    if [id(p) for p in one["params"]] != [id(p) for p in other["params"]]:
        return False
    first, second = (start_options(group) for group in (one, other))
    return first == second


def _hints(table: Any) -> list[str]:
    """The parts of names that a job's rules speak of, the longest first."""
    found: list[str] = []
    stack = [table.model_dump(exclude_unset=True)] if table is not None else []
    while stack:
        for key, value in stack.pop().items():
            if key == "match":
                found += [name for name in value.get("names", ()) if ":" not in name]
            elif key == "custom_keys" and isinstance(value, Mapping):
                found += [name for name in value if ":" not in name]
            elif key == PARAMWISE and isinstance(value, Mapping):
                found += [name for name, rule in value.items() if isinstance(rule, Mapping) and name != "custom_keys"]
                stack.append(value)
            elif isinstance(value, Mapping):
                stack.append(value)
            elif isinstance(value, list):
                stack += [one for one in value if isinstance(one, Mapping)]
    return sorted(dict.fromkeys(found), key=lambda name: -len(name))


def _wrapper_table(assembly: Assembly, name: str) -> OptimWrapperTable | None:
    from optimctl.job.schema import OptimWrappers

    table = assembly.job.optim_wrapper
    return table.wrappers.get(name) if isinstance(table, OptimWrappers) else table


def _not_exportable(key: Key, why: str) -> JobError:
    return JobError.single(key, f"cannot be exported: {why}", "not-exportable")


__all__ = ["Written", "freezing", "frozen_by_rule", "write_optimizers"]
