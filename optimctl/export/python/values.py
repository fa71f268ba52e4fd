"""An option of a parameter as Python: an expression of its name and shape, with the functions that this calls.

In this room: ``option_of``, for all parameters of an optimizer, and ``value_of``, for one value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from optimctl.export.python.apart import Branch, negated, tell_apart
from optimctl.export.python.imports import names_in
from optimctl.export.python.layers import Layers, layer_function
from optimctl.export.python.layout import WIDTH, Expression, define, literal, words
from optimctl.export.python.wanted import Fixed, Wanted

MOST = 1e6
"""Up to where a whole factor is written as one, before what it multiplies."""


def option_of(wanted: Wanted, option: str) -> tuple[Expression, list[str]]:
    """What an option is, as an expression of ``name`` and ``parameter``; and the functions that it calls."""
    if option == "lr" and wanted.layers is not None:
        return _fallen(wanted, wanted.layers)
    base = wanted.base.get(option)
    values = {name: as_key(own.get(option, base)) for name, own in wanted.own.items()}
    return _chosen(wanted, option, values, as_key(base), lambda value: value_of(wanted, option, value))


def value_of(wanted: Wanted, option: str, value: Any) -> str:
    """An option's value: a multiple of the learning rate, where the job says so."""
    if isinstance(value, Fixed):
        return str(literal(value.value))
    if option != "lr" or not wanted.has_lr or value == 0:
        return str(literal(value))
    base = wanted.base["lr"]
    if value == base:
        return "lr"
    factor = _factor_between(base, value)
    if factor is None:
        return str(literal(value))
    return f"{factor:.0f} * lr" if factor.is_integer() and 1 < factor < MOST else f"lr * {literal(factor)}"


def as_key(value: Any) -> Any:
    """A value that can be looked up."""
    if isinstance(value, Mapping):
        return tuple((name, as_key(item)) for name, item in value.items())
    return tuple(map(as_key, value)) if isinstance(value, (list, tuple)) else value


def _chosen(
    wanted: Wanted, option: str, values: Mapping[str, Hashable], usual: Hashable, write: Callable[[Any], str]
) -> tuple[Expression, list[str]]:
    """What each parameter has.

    Args:
        values: Of each parameter, by its name.
        usual: The value of those that no condition takes.
        write: Makes an expression of a value.
    """
    branches = tell_apart(values, wanted.parameters, usual, wanted.hints)
    if len(branches) == 1:
        return write(branches[0].value), []
    inline = _inline(option, branches, write)
    return (inline, []) if inline else _by_function(wanted, option, branches, write)


def _inline(option: str, branches: Sequence[Branch], write: Callable[[Any], str]) -> str:
    """Two values as one expression, where that is short."""
    if len(branches) > 2 or not branches[0].condition:
        return ""
    (first, condition), other = (branches[0].value, branches[0].condition), branches[1].value
    if isinstance(first, bool) and isinstance(other, bool):
        line = condition if first else negated(condition)
    else:
        line = f"{write(first)} if {condition} else {write(other)}"
    return line if len(line) + len(option) + 17 <= WIDTH else ""


def _by_function(
    wanted: Wanted, option: str, branches: Sequence[Branch], write: Callable[[Any], str]
) -> tuple[Expression, list[str]]:
    lines = list(_returns(branches, write))
    spoken = names_in("\n".join(lines))
    kinds = {"name": "str", "parameter": "nn.Parameter", "lr": "float"}
    used = {name: kind for name, kind in kinds.items() if name in spoken}
    word = option if option.isidentifier() else f"option_{wanted.varying.index(option) + 1}"
    function = f"{wanted.prefix}{word}_of"
    kind = _kind(branches[-1].value)
    said = words(word)
    doc = f"Whether a parameter has {said}." if kind == "bool" else f"The {said} of a parameter."
    head = [define(function, used, kind), f'    """{doc}"""']
    return f"{function}({', '.join(used)})", ["\n".join([*head, *lines])]


def _returns(branches: Sequence[Branch], write: Callable[[Any], str]) -> Iterator[str]:
    """The lines that return the value of each branch; where these are true and false, the last condition is the last value."""
    are_bool = all(isinstance(branch.value, bool) for branch in branches)
    word = "return not" if are_bool else "if"
    pairs = [(condition, branch.value) for branch in branches[:-1] for condition in branch.conditions(4, word)]
    last = write(branches[-1].value)
    if are_bool:
        condition, value = pairs.pop()
        last = condition if value else negated(condition)
    for condition, value in pairs:
        yield from (f"    if {condition}:", f"        return {write(value)}")
    yield f"    return {last}"


def _kind(value: Any) -> str:
    """What a function that returns such values says of it."""
    kind = "float" if isinstance(value, Fixed) else type(value).__name__
    return kind if kind in ("float", "int", "bool", "str") else "Any"


def _fallen(wanted: Wanted, layers: Layers) -> tuple[Expression, list[str]]:
    """The learning rate of a parameter's layer."""
    fixed = {name: own["lr"] for name, own in wanted.own.items() if isinstance(own.get("lr"), Fixed)}
    values = {**layers.values, **fixed}
    usual = as_key(wanted.base.get("lr"))
    if fixed:

        def write(value: Any) -> str:
            written = value_of(wanted, "lr", value)
            return written if isinstance(value, Fixed) else f"{written} * {layers.factor}"

        expression, functions = _chosen(wanted, "lr", values, usual, write)
        return expression, [layer_function(layers), *functions]
    before, functions = _chosen(wanted, "lr", values, usual, lambda value: value_of(wanted, "lr", value))
    whole = f"({before})" if " if " in str(before) else before
    return f"{whole} * {layers.factor}", [layer_function(layers), *functions]


def _factor_between(base: Any, value: Any) -> float | None:
    """The shortest number that makes ``value`` of ``base``, to the bit; None where there is none, or it says nothing."""
    for digits in range(1, 18) if base else ():
        factor = float(f"{value / base:.{digits}g}")
        if base * factor == value:
            return factor
    return None


__all__ = ["as_key", "option_of", "value_of"]
