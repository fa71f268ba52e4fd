"""What an optimizer of the script is to train, and with what.

In this room: ``Wanted``, and ``wanted_of``, which reads it off the plan: the options that each parameter has there, and which learning
rates are ``Fixed``; ``is_same``, whether two values of an option are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optimctl.export.python.apart import Named
from optimctl.export.python.layers import Layers, layers_of
from optimctl.export.python.planned import Planned, constructor_of
from optimctl.export.python.shares import Share
from optimctl.optim.rules import PARAMWISE
from optimctl.optim.walk import walk
from optimctl.plan.subject import start_options

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.optim.options import Reason


@dataclass(frozen=True)
class Fixed:
    """A learning rate that the job, or its constructor, gives as a number of its own: it stays where the command line changes others."""

    value: float


@dataclass(frozen=True)
class Wanted:
    """What one optimizer is to train, and with what."""

    prefix: str
    """What stands before the names of its functions."""
    parameters: Sequence[Named]
    """All that a loop over the model, or its share of it, meets."""
    own: Mapping[str, Mapping[str, Any]]
    """For each parameter that it trains, the options in which it departs from ``base``, in the order of the walk."""
    base: Mapping[str, Any]
    """The optimizer's arguments and defaults."""
    has_lr: bool
    """Whether the job gives a learning rate, which the script then calls ``lr``."""
    share: Share | None
    """What it gets, where other optimizers train parameters of the same model."""
    hints: Sequence[str]
    """Parts of names that the job's rules speak of."""
    layers: Layers | None

    @property
    def trains_all(self) -> bool:
        """Whether the loop meets nothing but what is trained."""
        return len(self.own) == len(self.parameters)

    @property
    def varying(self) -> list[str]:
        """The options in which parameters differ from the base, or from each other."""
        found = list(dict.fromkeys(option for options in self.own.values() for option in options))
        return sorted(found, key=lambda option: (option != "lr", option != "weight_decay"))


def wanted_of(
    assembly: Assembly, planned: Planned, arguments: Mapping[str, Any], share: Share | None, hints: Sequence[str]
) -> Wanted:
    """What the plan's optimizer trains.

    Args:
        arguments: The optimizer's, as the job gives them.
        share: What it gets of the model; None where all of it.
    """
    base = {**planned.optimizer.defaults, **arguments}
    own = _own(planned, base, set(_fixed(assembly, planned, base["lr"])) if "lr" in arguments else set())
    return Wanted(
        prefix=planned.prefix,
        parameters=[Named(met.name, met.parameter) for met in walk(planned.module) if not share or met.name in own],
        own=own,
        base=base,
        has_lr="lr" in arguments,
        share=share,
        hints=hints,
        layers=layers_of(assembly, planned, own),
    )


def _own(planned: Planned, base: Mapping[str, Any], fixed: Collection[str]) -> dict[str, dict[str, Any]]:
    """For each parameter the options in which it departs from the optimizer's arguments."""
    noted = planned.wrapper.options
    in_groups = {
        id(p): _departing(start_options(group), planned.optimizer.defaults)
        for group in planned.optimizer.param_groups
        for p in group["params"]
    }
    own = {}
    for met in walk(planned.module):
        if met.name in planned.names:
            known = met.name in noted
            own[met.name] = _departing(noted[met.name], base) if known else in_groups[id(met.parameter)]
        if met.name in fixed:
            own[met.name]["lr"] = Fixed(noted[met.name]["lr"])
    return own


def _departing(options: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {
        option: value for option, value in options.items() if option not in base or not is_same(value, base[option])
    }


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal; nan is the same as nan."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one is other or bool(one == other) or bool(one != one and other != other)


# --- learning rates that stay


def _fixed(assembly: Assembly, planned: Planned, lr: float) -> Iterator[str]:
    """The parameters whose learning rate is a number of its own, rather than a multiple of the optimizer's."""
    ours = {name: options for name, options in planned.wrapper.options.items() if name in planned.names}
    reasons = {name: options.reasons.get("lr") for name, options in ours.items()}
    yield from (name for name, reason in reasons.items() if reason is not None and _is_given(reason))
    untold = {name: ours[name]["lr"] for name, reason in reasons.items() if reason is not None and reason.key is None}
    constructor = constructor_of(assembly, planned, 2 * lr or 1.0) if untold else None
    if constructor is not None:
        for met in walk(planned.module):
            changed = constructor.options(met.name, met.parameter, met.module, met.parents)
            if met.name in untold and changed.get("lr") == untold[met.name]:
                yield met.name


def _is_given(reason: Reason) -> bool:
    """Whether a custom key of the job gives the learning rate itself."""
    return reason.key is not None and reason.key[-1] == "lr" and PARAMWISE in reason.key


__all__ = ["Fixed", "Wanted", "is_same", "wanted_of"]
