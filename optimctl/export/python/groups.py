"""The parameter groups of one optimizer as a function of the script: the options of each parameter, and equal ones together.

In this room: ``Groups``, ``groups_of``, which writes them by rules that a reader can check, and ``listed_groups``, which names every
parameter: for options that no short rule tells apart, and for optimizers that do not keep the groups that they are given.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optimctl.export.python.apart import Branch, Named, tell_apart
from optimctl.export.python.layout import (
    STEP,
    WIDTH,
    Call,
    Expression,
    define,
    indented,
    lay,
    listed,
    literal,
    text,
    words,
)

SAME = "Parameters with the same options share a group."


@dataclass(frozen=True)
class Layers:
    """Learning rates that fall from layer to layer."""

    rate: float
    numbers: Mapping[str, int]
    """The layer of each parameter."""
    last: int
    values: Mapping[str, float]
    """The learning rate of each parameter before the fall."""


@dataclass(frozen=True)
class Wanted:
    """What one optimizer is to train, and with what."""

    name: str
    """Of the optimizer, in the script."""
    parameters: Sequence[Named]
    """All that a loop over the model, or its part, meets."""
    own: Mapping[str, Mapping[str, Any]]
    """For each parameter that it trains, the options in which it departs from ``base``."""
    base: Mapping[str, Any]
    """The optimizer's arguments and defaults."""
    lr: str = ""
    """The script's name for the learning rate of the job; nothing where the job gives none."""
    shares: bool = False
    """Whether other optimizers train parameters of the same model: then ``parameters_of`` gives this one's."""
    hints: Sequence[str] = ()
    layers: Layers | None = None

    @property
    def trains_all(self) -> bool:
        """Whether the loop meets nothing but what is trained."""
        return len(self.own) == len(self.parameters)

    @property
    def varying(self) -> list[str]:
        """The options in which parameters differ from the base, or from each other."""
        found = list(dict.fromkeys(option for options in self.own.values() for option in options))
        return sorted(found, key=lambda option: (option != "lr", option != "weight_decay"))


@dataclass(frozen=True)
class Groups:
    """The groups, as an argument of the optimizer."""

    argument: Expression
    options: Mapping[str, Expression] = field(default_factory=dict)
    """Options that all parameters share, though the job says otherwise: they stand in the optimizer's own arguments."""
    functions: tuple[str, ...] = ()

    def in_a_table(self) -> Groups:
        """The same for an optimizer that takes tables only; groups are tables already."""
        if not isinstance(self.argument, str) or self.functions:
            return self
        listing = self.argument if self.argument.startswith("[") else f"list({self.argument})"
        return replace(self, argument=f'[{{"params": {listing}}}]')


def groups_of(wanted: Wanted, root: str) -> Groups:
    """The groups by rules."""
    distinct = {tuple(sorted((k, _key(v)) for k, v in own.items())) for own in wanted.own.values()}
    if len(distinct) == 1:
        own = next(iter(wanted.own.values()))
        options = {option: _value(wanted, option, value) for option, value in own.items()}
        return Groups(_all_parameters(wanted, root), options)
    name = "make_groups" if wanted.name == "optimizer" else f"make_{wanted.name}_groups"
    arguments = [root, *([wanted.lr] if wanted.lr and "lr" in wanted.varying else [])]
    return Groups(f"{name}({', '.join(arguments)})", functions=tuple(_functions(wanted, name)))


def listed_groups(wanted: Wanted, root: str, groups: Sequence[tuple[Sequence[str], Mapping[str, Any]]]) -> Groups:
    """The groups by names.

    Args:
        groups: The names of each, and its options.
    """
    name = "make_groups" if wanted.name == "optimizer" else f"make_{wanted.name}_groups"
    tables = [
        Call(
            "{",
            (
                ('"params": ', listed(text(one) for one in names)),
                *((f'"{option}": ', _value(wanted, option, value)) for option, value in options.items()),
            ),
            "}",
        )
        for names, options in groups
    ]
    has_lr = bool(wanted.lr) and any("lr" in options for _, options in groups)
    body = [
        "parameters = dict(model.named_parameters())",
        lay(listed(tables), 4, "groups: list[dict[str, Any]] = "),
        "for group in groups:",
        '    group["params"] = [parameters[name] for name in group["params"]]',
        "return groups",
    ]
    head = define(name, _parameters(wanted.lr if has_lr else ""), "list[dict[str, Any]]")
    function = f'{head}\n    """The groups, parameter by parameter."""\n' + "\n".join(f"    {line}" for line in body)
    return Groups(f"{name}({', '.join([root, *([wanted.lr] if has_lr else [])])})", functions=(function,))


def _parameters(lr: str) -> dict[str, str]:
    return {"model": "nn.Module", **({lr: "float"} if lr else {})}


def _all_parameters(wanted: Wanted, root: str) -> Expression:
    if wanted.shares:
        return f'[p for _, p in parameters_of({root}, "{wanted.name}")]'
    return f"{root}.parameters()" if wanted.trains_all else f"[p for p in {root}.parameters() if p.requires_grad]"


def _functions(wanted: Wanted, name: str) -> Iterator[str]:
    """``make_groups``, and before it what it calls."""
    options: list[tuple[str, Expression]] = []
    for option in wanted.varying:
        expression, functions = _option(wanted, option)
        yield from functions
        options.append((f'"{option}": ', expression))
    lines = list(_loop(wanted, Call("{", tuple(options), "}")))
    head = define(name, _parameters(wanted.lr if "lr" in wanted.varying else ""), "list[dict[str, Any]]")
    yield f'{head}\n    """{SAME}"""\n' + "\n".join(f"    {line}" for line in lines)


def _loop(wanted: Wanted, options: Call) -> Iterator[str]:
    yield "groups: dict[Any, dict[str, Any]] = {}"
    yield f"for {_met(wanted, 'name' in str(options))}:"
    if not wanted.trains_all:
        yield "    if not parameter.requires_grad:"
        yield "        continue"
    yield f"    {lay(options, 8, 'options = ')}"
    yield '    group = groups.setdefault(tuple(options.values()), {"params": [], **options})'
    yield '    group["params"].append(parameter)'
    yield "return list(groups.values())"


def _met(wanted: Wanted, with_names: bool) -> str:
    """What a loop over the parameters says."""
    if wanted.shares:
        return f'{"name" if with_names else "_"}, parameter in parameters_of(model, "{wanted.name}")'
    return "name, parameter in model.named_parameters()" if with_names else "parameter in model.parameters()"


def _option(wanted: Wanted, option: str) -> tuple[Expression, list[str]]:
    """What an option is, as an expression of ``name`` and ``parameter``; and the functions that it calls."""
    if option == "lr" and wanted.layers is not None:
        return _fallen(wanted, wanted.layers)
    base = wanted.base.get(option)
    values = {name: _key(own.get(option, base)) for name, own in wanted.own.items()}
    return _chosen(wanted, option, values, _key(base))


def _chosen(
    wanted: Wanted, option: str, values: Mapping[str, Hashable], usual: Hashable
) -> tuple[Expression, list[str]]:
    branches = tell_apart(values, wanted.parameters, usual, wanted.hints)
    if len(branches) == 1:
        return _value(wanted, option, branches[0].value), []
    inline = _inline(wanted, option, branches)
    if inline:
        return inline, []
    return _by_function(wanted, option, branches)


def _inline(wanted: Wanted, option: str, branches: Sequence[Branch]) -> str:
    """Two values as one expression, where that is short."""
    if len(branches) > 2 or not branches[0].condition:
        return ""
    one, other = (_value(wanted, option, branch.value) for branch in branches)
    line = f"{one} if {branches[0].condition} else {other}"
    return line if len(line) + len(option) + 17 <= WIDTH else ""


def _by_function(wanted: Wanted, option: str, branches: Sequence[Branch]) -> tuple[Expression, list[str]]:
    function = f"{option}_of" if wanted.name == "optimizer" else f"{wanted.name}_{option}_of"
    lines: list[str] = []
    for branch in branches[:-1]:
        value = _value(wanted, option, branch.value)
        for condition in branch.conditions(4):
            lines += [f"    if {condition}:", f"        return {value}"]
    lines += [f"    return {_value(wanted, option, branches[-1].value)}"]
    needs_lr = option == "lr" and bool(wanted.lr)
    parameters = {"name": "str", "parameter": "nn.Parameter", **({wanted.lr: "float"} if needs_lr else {})}
    used = {name: kind for name, kind in parameters.items() if name in "\n".join(lines)}
    kind = type(branches[-1].value).__name__ if not isinstance(branches[-1].value, tuple) else "tuple[float, ...]"
    doc = f"The {words(option)} of a parameter."
    head = define(function, used, kind if kind in ("float", "int", "bool", "str") else "Any")
    return f"{function}({', '.join(used)})", [f'{head}\n    """{doc}"""\n' + "\n".join(lines)]


def _fallen(wanted: Wanted, layers: Layers) -> tuple[Expression, list[str]]:
    """The learning rate of a parameter's layer."""
    before, functions = _chosen(wanted, "lr", layers.values, _key(wanted.base.get("lr")))
    factor = f"{layers.rate!r} ** ({layers.last} - layer_of(name))"
    expression = f"({before}) * {factor}" if " if " in str(before) else f"{before} * {factor}"
    return expression, [_layer_of(layers), *functions]


def _layer_of(layers: Layers) -> str:
    head = f'def layer_of(name: str) -> int:\n    """The layer of a parameter: 0 is the input\'s, {layers.last} the output\'s."""\n'
    counted = _counted(layers)
    return head + (indented(counted) if counted else _tabled(layers))


def _counted(layers: Layers) -> str:
    """Layers that one numbered container counts, with something before and behind it; nothing where there are others."""
    inner = {name: number for name, number in layers.numbers.items() if 0 < number < layers.last}
    stems = {_stem(name) for name in inner}
    if len(stems) != 1:
        return ""
    stem = stems.pop()
    place = stem.count(".")
    offsets = {number - int(name.split(".")[place]) for name, number in inner.items()}
    ends = tuple(sorted({_head(name) for name, number in layers.numbers.items() if number == layers.last}))
    starts = tuple(_head(name) for name, number in layers.numbers.items() if number == 0)
    if len(offsets) != 1 or not stem or any(stem.startswith(head) for head in starts + ends) or set(starts) & set(ends):
        return ""
    (offset,) = offsets
    index = f'int(name.split(".")[{place}])' + (f" + {offset}" if offset else "")
    last = f"{layers.last} if name.startswith({literal(ends if len(ends) != 1 else ends[0])}) else 0"
    written = f"if name.startswith({text(stem)}):\n    return {index}\nreturn {last if ends else 0}"
    return written if max(map(len, written.splitlines())) + STEP <= WIDTH else ""


def _head(name: str) -> str:
    first, dot, _ = name.partition(".")
    return first + dot


def _stem(name: str) -> str:
    """What stands before the first number in a name; nothing where there is none."""
    parts = name.split(".")
    index = next((index for index, part in enumerate(parts) if part.isdigit()), 0)
    return "".join(f"{part}." for part in parts[:index])


def _tabled(layers: Layers) -> str:
    """Layers by what the names of their parameters begin with."""
    rows: dict[int, list[str]] = {number: [] for number in range(layers.last + 1)}
    for name, number in layers.numbers.items():
        rows[number].append(name)
    table = [Call("(", tuple(("", text(head)) for head in _heads(rows, number)), ")") for number in rows]
    body = lay(listed(table), 4, "layers = ")
    return f"    {body}\n    return next(i for i, heads in enumerate(layers) if name.startswith(heads))"


def _heads(rows: Mapping[int, Sequence[str]], number: int) -> list[str]:
    """The shortest beginnings that the names of a layer have, and no others."""
    others = [name for other, names in rows.items() if other != number for name in names]
    heads: dict[str, None] = {}
    for name in rows[number]:
        parts = name.split(".")
        paths = [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]
        heads[next((path for path in paths if not any(other.startswith(path) for other in others)), name)] = None
    return list(heads)


def _value(wanted: Wanted, option: str, value: Any) -> str:
    """An option's value as Python: a multiple of the learning rate, where the job says what that is."""
    if option != "lr" or not wanted.lr:
        return str(literal(value))
    base = wanted.base.get("lr")
    if value == base:
        return wanted.lr
    factor = factor_between(base, value)
    return f"{wanted.lr} * {factor!r}" if factor is not None else repr(value)


def factor_between(base: Any, value: Any) -> float | None:
    """The shortest number that makes ``value`` of ``base``, to the bit; None where there is none, or it says nothing."""
    if not base or value == 0:
        return 0.0 if base and value == 0 else None
    for digits in range(1, 18):
        factor = float(f"{value / base:.{digits}g}")
        if base * factor == value:
            return factor
    return None


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


__all__ = ["Groups", "Layers", "Wanted", "groups_of", "listed_groups"]
