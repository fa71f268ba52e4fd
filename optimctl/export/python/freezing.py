"""The parameters that a rule of the job freezes, as a function of the script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optimctl.export.python.apart import Named, tell_apart
from optimctl.export.python.imports import names_in
from optimctl.export.python.needed import needed, wrappers_of
from optimctl.export.python.planned import hints_of
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.walk import unwrapped, walk

if TYPE_CHECKING:
    from optimctl.assemble import Assembly


def frozen_by_rule(assembly: Assembly) -> list[str]:
    """The parameters that a rule of the job freezes, by their names in the model."""
    found = []
    for wrapper_name, wrapper in wrappers_of(assembly).items():
        prefix = "" if wrapper_name == DEFAULT_NAME else f"{wrapper_name}."
        found += [f"{prefix}{name}" for name, options in wrapper.options.items() if options.frozen]
    return found


def freezing(assembly: Assembly, names: Sequence[str]) -> str:
    """A function of the script that freezes parameters; nothing where there are none."""
    if not names:
        return ""
    parameters = [Named(met.name, met.parameter) for met in walk(unwrapped(needed(assembly.model)))]
    values = {one.name: one.name in names for one in parameters}
    branches = tell_apart(values, parameters, False, hints_of(assembly))
    conditions = next(one for one in branches if one.value).conditions(8)
    with_names = "name" in names_in("\n".join(conditions))
    met = "name, parameter in model.named_parameters()" if with_names else "parameter in model.parameters()"
    lines = ["def freeze(model: nn.Module) -> None:", '    """Some parameters are not trained."""', f"    for {met}:"]
    for condition in conditions:
        lines += [f"        if {condition}:", "            parameter.requires_grad_(False)"]
    return "\n".join(lines)


__all__ = ["freezing", "frozen_by_rule"]
