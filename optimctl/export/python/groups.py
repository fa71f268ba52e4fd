"""The parameter groups of one optimizer as a function of the script.

In this room: ``Groups``, and ``groups_of``, which writes them in several forms, the plainest first: a list of parameters for each group;
the options of each parameter, and equal ones together; or every parameter by its name, for options that no short rule tells apart,
and for optimizers that do not keep the groups that they are given.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import Any

from optimctl.export.python.apart import Branch, choosing, tell_apart
from optimctl.export.python.imports import names_in
from optimctl.export.python.layout import WIDTH, Call, Expression, define, lay, listed, text
from optimctl.export.python.values import as_key, option_of, value_of
from optimctl.export.python.wanted import Fixed, Wanted, is_same

DOC = "Parameter groups: one for each set of options."
MOST_LISTS = 3
"""How many groups have a list each, at most."""
KNOWN = {
    "parameter.ndim < 2": "vectors",
    "parameter.ndim == 2": "matrices",
    'name.endswith("bias")': "biases",
    'name.endswith("weight")': "weights",
}
"""What the script calls the list of those of which a condition is true."""
OTHERS = "others"
"""What the script calls the list of what no condition takes."""


@dataclass(frozen=True)
class Groups:
    """The groups, as an argument of the optimizer."""

    argument: Expression
    options: Mapping[str, Expression] = field(default_factory=dict)
    """Options that all parameters share, though the job says otherwise: they stand in the optimizer's own arguments."""
    functions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """What comes before the optimizer is made."""
    is_one: bool = False
    """Whether all parameters have the same options."""


def groups_of(wanted: Wanted) -> Iterator[Groups]:
    """The groups in all forms that there are for them; which one makes the groups of the plan is to be seen."""
    if len({_options_key(own) for own in wanted.own.values()}) == 1:
        yield from _alone(wanted)
    else:
        yield from _in_lists(wanted)
        yield _by_rules(wanted)
    yield _by_names(wanted)


def _alone(wanted: Wanted) -> Iterator[Groups]:
    """All parameters together; then the same for an optimizer that takes tables only."""
    own = next(iter(wanted.own.values()))
    options: dict[str, Expression] = {option: value_of(wanted, option, value) for option, value in own.items()}
    lines = _shared(wanted)
    listing = argument = "[p for p in model.parameters() if p.requires_grad]"
    if wanted.share is not None:
        argument = f"{wanted.share.own}.values()"
        listing = f"list({argument})"
    elif wanted.trains_all:
        argument = "model.parameters()"
        listing = f"list({argument})"
    yield Groups(argument, options, lines=lines, is_one=True)
    yield Groups(f'[{{"params": {listing}}}]', options, lines=lines, is_one=True)


# --- a list for each group


def _in_lists(wanted: Wanted) -> Iterator[Groups]:
    """The groups as a list each, where they are few, and short conditions tell them apart."""
    keys = {name: _options_key(own) for name, own in wanted.own.items()}
    tables = {_options_key(own): own for own in wanted.own.values()}
    if len(tables) > MOST_LISTS:
        return
    branches = tell_apart(keys, wanted.parameters, (), wanted.hints)
    names = _list_names(wanted, branches, tables)
    if names is None:
        return
    ordered = {key: names[key] for key in tables}
    lines = {key: f"{name}.append(parameter)" for key, name in ordered.items()}
    chosen = list(choosing(branches, lines, 8))
    body = [
        *_shared(wanted),
        f"{', '.join(ordered.values())} = {', '.join('[]' for _ in ordered)}",
        *_loop(wanted, "\n".join(chosen)),
        *(f"    {line}" for line in chosen),
        lay(listed(_table(wanted, name, tables[key]) for key, name in ordered.items()), 4, "return "),
    ]
    yield _function(wanted, body)


def _list_names(
    wanted: Wanted, branches: Sequence[Branch], tables: Mapping[Hashable, Mapping[str, Any]]
) -> dict[Hashable, str] | None:
    """What the lists are called; None where a condition is too long, or says too much for a name."""
    conditions = [branch.condition for branch in branches[:-1]]
    if not all(conditions) or any(len(one) + 8 + len("elif :") > WIDTH for one in conditions):
        return None
    names = _by_decay(wanted, tables) or {
        **{branch.value: _list_name(wanted, branch.condition) for branch in branches[:-1]},
        branches[-1].value: OTHERS,
    }
    return names if all(names.values()) and len(set(names.values())) == len(branches) else None


def _by_decay(wanted: Wanted, tables: Mapping[Hashable, Mapping[str, Any]]) -> dict[Hashable, str]:
    """The names of two groups of which one is not decayed, where that is all they differ in."""
    base = wanted.base.get("weight_decay")
    decays = {key: own.get("weight_decay", base) for key, own in tables.items()}
    if wanted.varying != ["weight_decay"] or len(decays) != 2 or list(decays.values()).count(0) != 1:
        return {}
    return {key: "decay" if decay else "no_decay" for key, decay in decays.items()}


def _list_name(wanted: Wanted, condition: str) -> str:
    """What parameters are called of which a condition is true; nothing where it has several parts."""
    if condition in KNOWN:
        return KNOWN[condition]
    part = re.fullmatch(r'"([^"]*)" in name|name == "([^"]*)"|name\.startswith\("([^"]*)"\)', condition)
    name = re.sub(r"\W+", "_", next(filter(None, part.groups()), "") if part else "").strip("_")
    if not name.isidentifier():
        return ""
    others = {"lr", "model", "name", "parameter", OTHERS, *([wanted.share.own] if wanted.share else [])}
    return f"{name}_parameters" if name in others or iskeyword(name) or hasattr(builtins, name) else name


def _table(wanted: Wanted, name: str, own: Mapping[str, Any]) -> Call:
    """A group whose parameters stand in a list."""
    options = (
        (f"{text(option)}: ", value_of(wanted, option, own[option])) for option in wanted.varying if option in own
    )
    return Call("{", (('"params": ', name), *options), "}")


# --- the options of each parameter


def _by_rules(wanted: Wanted) -> Groups:
    """The options of each parameter, and those with equal ones together."""
    found = {option: option_of(wanted, option) for option in wanted.varying}
    options = Call("{", tuple((f"{text(option)}: ", expression) for option, (expression, _) in found.items()), "}")
    body = [
        *_shared(wanted),
        "groups: dict[Any, dict[str, Any]] = {}",
        *_loop(wanted, str(options)),
        f"    {lay(options, 8, 'options = ')}",
        '    group = groups.setdefault(tuple(options.values()), {"params": [], **options})',
        '    group["params"].append(parameter)',
        "return list(groups.values())",
    ]
    return _function(wanted, body, [function for _, functions in found.values() for function in functions])


# --- every parameter by its name


def _by_names(wanted: Wanted) -> Groups:
    """The groups as the job gives them to the optimizer, parameter by parameter."""
    tables = [
        Call(
            "{",
            (
                ('"params": ', listed(text(name) for name in names)),
                *((f"{text(option)}: ", value_of(wanted, option, value)) for option, value in own.items()),
            ),
            "}",
        )
        for names, own in _given(wanted)
    ]
    body = [
        "parameters = dict(model.named_parameters())",
        lay(listed(tables), 4, "groups: list[dict[str, Any]] = "),
        "for group in groups:",
        '    group["params"] = [parameters[name] for name in group["params"]]',
        "return groups",
    ]
    return _function(wanted, body)


def _given(wanted: Wanted) -> list[tuple[list[str], Mapping[str, Any]]]:
    """The groups as they were given to the optimizer; those that only a fixed learning rate sets apart are one."""
    found: dict[Hashable, tuple[list[str], Mapping[str, Any]]] = {}
    for name, own in wanted.own.items():
        plain = {option: value.value if isinstance(value, Fixed) else value for option, value in own.items()}
        departing = {option: value for option, value in plain.items() if not is_same(value, wanted.base.get(option))}
        found.setdefault(_options_key(departing), ([], own))[0].append(name)
    return list(found.values())


# --- what all forms share


def _function(wanted: Wanted, body: Sequence[str], functions: Sequence[str] = ()) -> Groups:
    """``make_groups``, behind what it calls."""
    name = f"make_{wanted.prefix}groups"
    parameters = {"model": "nn.Module", **({"lr": "float"} if "lr" in names_in("\n".join(body)) else {})}
    head = define(name, parameters, "list[dict[str, Any]]")
    written = "\n".join([head, f'    """{DOC}"""', *(f"    {line}" for line in body)])
    return Groups(f"{name}({', '.join(parameters)})", functions=(*functions, written))


def _shared(wanted: Wanted) -> tuple[str, ...]:
    """What takes its share of the model, where others have theirs."""
    return (wanted.share.line,) if wanted.share is not None else ()


def _loop(wanted: Wanted, inside: str) -> Iterator[str]:
    """The head of the loop over the parameters.

    Args:
        inside: The lines that tell whether it needs their names.
    """
    with_names = "name" in names_in(inside)
    if wanted.share is not None:
        met = f"{wanted.share.own}.{'items' if with_names else 'values'}()"
    else:
        met = "model.named_parameters()" if with_names else "model.parameters()"
    yield f"for {'name, ' if with_names else ''}parameter in {met}:"
    if not wanted.trains_all:
        yield from ("    if not parameter.requires_grad:", "        continue")


def _options_key(own: Mapping[str, Any]) -> Hashable:
    return tuple(sorted((option, as_key(value)) for option, value in own.items()))


__all__ = ["Groups", "groups_of"]
