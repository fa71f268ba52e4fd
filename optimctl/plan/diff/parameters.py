"""What differs of single parameters: whether they are there and trained, their options, and their schedules over the run.

Equal changes stand together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor
from torch.nn.parameter import is_lazy

from optimctl.plan.diff.change import OptionChange, Origin, Origins, ParameterChange, ScheduleChange
from optimctl.plan.diff.side import Sides
from optimctl.plan.diff.values import ABSENT, plain, same

Change = TypeVar("Change", ParameterChange, OptionChange, ScheduleChange)


def parameter_changes(sides: Sides) -> Iterator[ParameterChange]:
    """Parameters that one side lacks or does not train, and those of another shape or type."""
    return _gathered(sides, _changed_parameters(sides))


def option_changes(sides: Sides) -> Iterator[OptionChange]:
    """Options that parameters start with, but for what schedules make the same of; of another class, those that both have."""
    return _gathered(sides, _changed_options(sides))


def schedule_changes(sides: Sides) -> Iterator[ScheduleChange]:
    """Options whose values over the run differ."""
    return _gathered(sides, _changed_schedules(sides))


def _gathered(sides: Sides, each: Iterable[tuple[str, Change]]) -> Iterator[Change]:
    """Equal changes as one, with all parameters that they are about."""
    found: dict[str, tuple[Change, list[str]]] = {}
    for name, change in each:
        found.setdefault(repr(change), (change, []))[1].append(name)
    for change, names in found.values():
        yield replace(change, tensors=sides.tensors(names))


def _changed_parameters(sides: Sides) -> Iterator[tuple[str, ParameterChange]]:
    before, after = sides.before, sides.after
    both_train = bool(before.parts and after.parts)
    for name in dict.fromkeys((*after.walked, *before.walked)):
        one, other = before.states.get(name), after.states.get(name)
        if one != other and (both_train or one is None or other is None):
            origins = Origins(*(side.freezing.get(name, Origin()) for side in (before, after)))
            yield name, ParameterChange("state", one, other, origins)
        if one is not None and other is not None:
            for what, read in _OF_TENSOR.items():
                values = [read(side.walked[name].parameter) for side in (before, after)]
                if values[0] != values[1]:
                    yield name, ParameterChange(what, values[0], values[1])


def _shape(tensor: Tensor) -> tuple[int, ...] | None:
    """None where a lazy module has not made it yet."""
    return None if is_lazy(tensor) else tuple(tensor.shape)


_OF_TENSOR: Mapping[str, Callable[[Tensor], Any]] = {
    "shape": _shape,
    "dtype": lambda tensor: str(tensor.dtype).removeprefix("torch."),
}


def _changed_options(sides: Sides) -> Iterator[tuple[str, OptionChange]]:
    for name in sides.common:
        optimizers = sides.optimizers(name)
        before, after = (side.trained[name].options for side in (sides.before, sides.after))
        for option in dict.fromkeys((*before, *after)):
            one, other = before.get(option, ABSENT), after.get(option, ABSENT)
            if (one is ABSENT or other is ABSENT) and not sides.is_same_class(optimizers):
                continue
            if not _same_option(sides, name, option, plain(one), plain(other)):
                shown = [None if value is ABSENT else plain(value) for value in (one, other)]
                yield name, OptionChange(option, shown[0], shown[1], sides.reasons(name, option), optimizers)


def _same_option(sides: Sides, name: str, option: str, one: Any, other: Any) -> bool:
    """Whether an option is the same for a parameter, what schedules write to it left out where they write the same."""
    if same(one, other):
        return True
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        entries = enumerate(zip(one, other, strict=True))
        return all(same(*pair) or sides.is_settled(name, f"{option}[{index}]") for index, pair in entries)
    return sides.is_settled(name, option)


def _changed_schedules(sides: Sides) -> Iterator[tuple[str, ScheduleChange]]:
    if sides.iterations is None:
        return
    for name in sides.common:
        for slot, lines in sides.lines(name).items():
            distance = sides.distances.get(lines)
            if distance is not None:
                yield name, ScheduleChange(slot, distance, sides.moving(name, slot), sides.optimizers(name))
