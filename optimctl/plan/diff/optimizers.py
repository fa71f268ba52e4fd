"""What differs of optimizers as a whole: their classes, how they and their wrappers take a step, and what waits for a metric."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key
from optimctl.job.named import answering
from optimctl.job.schema import OptimWrappers, OptimWrapperTable, RoutesTable
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.optim.clip import ClipNorm
from optimctl.optim.constructor import IMPLEMENTATIONS
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.wrapper import OptimWrapper
from optimctl.plan.diff.facts import Fact, Facts, Names, argument_facts, differing
from optimctl.plan.diff.side import Side, Sides, named

if TYPE_CHECKING:
    from optimctl.job.schema import OptimizerTable
    from optimctl.plan.diff.change import SettingChange

OWN = (OptimWrapper, AmpOptimWrapper)
"""Wrappers whose options are compared by what they do."""


def optimizer_changes(sides: Sides) -> Iterator[SettingChange]:
    """Which optimizers there are, what each is, and how a step is taken."""
    yield from differing(sides, "optimizer", sides.both(_names))
    for one, other in (*sides.pairs, *_alone(sides)):
        if one is not None and other is not None and sides.is_same_class((one, other)):
            facts = _optimizer(sides.before, one), _optimizer(sides.after, other)
        else:
            facts = _class(sides.before, one), _class(sides.after, other)
        yield from differing(sides, "optimizer", facts, (one, other) if sides.several else None)
    for pair in sides.wrapper_pairs:
        steps = _step(sides.before, pair[0]), _step(sides.after, pair[1])
        yield from differing(sides, "optimizer", steps, pair if sides.several else None)


def waiting_changes(sides: Sides) -> Iterator[SettingChange]:
    """Schedules that wait for a metric: by their arguments, as nobody knows the metric before the run."""
    for one, other in sides.wrapper_pairs:
        both = sides.before.waiting.get(one, {}).keys() & sides.after.waiting.get(other, {}).keys()
        facts = _waiting(sides.before, one, both), _waiting(sides.after, other, both)
        yield from differing(sides, "schedule", facts, (one, other) if sides.several else None)


def _names(side: Side) -> Facts:
    return {"optimizers": Fact(tuple(sorted(side.wrappers)) or None, ("optim_wrapper",))}


def _alone(sides: Sides) -> Iterator[Names]:
    """Optimizers that belong to none of the other side, where both have some."""
    if sides.before.parts and sides.after.parts:
        yield from ((name, None) for name in sides.before.parts if name not in {one for one, _ in sides.pairs})
        yield from ((None, name) for name in sides.after.parts if name not in {other for _, other in sides.pairs})


def _class(side: Side, name: str | None) -> Facts:
    """An optimizer's class."""
    return {} if name is None else {"type": Fact(side.types[name], (*_optimizer_table(side, name)[0], "type"))}


def _optimizer(side: Side, name: str) -> Facts:
    """What no group of an optimizer shows."""
    key, table = _optimizer_table(side, name)
    defaults = side.parts[name].optimizer.defaults
    facts = {choice: Fact(bool(defaults.get(choice)), (*key, choice)) for choice in ("capturable", "differentiable")}
    hidden = {} if table is None else argument_facts(table, key, ())
    facts |= {name: fact for name, fact in hidden.items() if name not in (*defaults, *IMPLEMENTATIONS)}
    return {"implementation": Fact(side.implementations[name], key), **facts}


def _optimizer_table(side: Side, name: str) -> tuple[Key, OptimizerTable | None]:
    """The table of an optimizer, or of its route, and where it stands; None for what a constructor made by itself."""
    part = side.parts[name]
    key: Key = ("optim_wrapper", *part.prefix)
    wrapper = _wrapper_table(side, part.wrapper_name)
    _, is_route, index = name.removeprefix(part.wrapper_name).rpartition("routes.")
    if not is_route:
        return (*key, "optimizer"), None if wrapper is None else wrapper.optimizer
    routes = wrapper.constructor.routes if wrapper is not None and isinstance(wrapper.constructor, RoutesTable) else []
    table = routes[int(index)].optimizer if index.isdigit() and int(index) < len(routes) else None
    return (*key, "constructor", "routes", int(index), "optimizer"), table


def _wrapper_table(side: Side, name: str) -> OptimWrapperTable | None:
    read = side.job.optim_wrapper
    if isinstance(read, OptimWrappers):
        return read.wrappers.get(name)
    return read if name == DEFAULT_NAME else None


def _step(side: Side, name: str) -> Facts:
    """What a wrapper does beside the optimizer."""
    wrapper, table = side.wrappers[name].wrapper, _wrapper_table(side, name)
    key: Key = ("optim_wrapper", *side.wrappers[name].prefix)
    plugin = None if table is None else answering(table)
    kind = type(wrapper).__name__ if plugin is None else named(plugin.name, plugin.distribution)
    facts = {
        "wrapper": Fact(kind, (*key, "type")),
        "accumulative_counts": Fact(getattr(wrapper, "accumulative_counts", 1), (*key, "accumulative_counts")),
        "clip_grad": Fact(_clip(wrapper), (*key, "clip_grad")),
    }
    if isinstance(wrapper, AmpOptimWrapper):
        return facts | _precision(wrapper, table, key)
    return facts if type(wrapper) in OWN or table is None else facts | argument_facts(table, key, ())


def _clip(wrapper: Any) -> Mapping[str, Any] | None:
    """How gradients are clipped; a norm without a bound, which only measures them, is no clipping."""
    clip = getattr(wrapper, "clip", None)
    if isinstance(clip, ClipNorm) and math.isinf(clip.max_norm) and not clip.error_if_nonfinite:
        return None
    return None if clip is None else {name: value for name, value in vars(clip).items() if value is not False}


def _precision(wrapper: AmpOptimWrapper, table: OptimWrapperTable | None, key: Key) -> dict[str, Fact]:
    """The type that is computed in, and how the loss is scaled, where it is."""
    facts = {"dtype": Fact(str(wrapper.dtype).removeprefix("torch."), (*key, "dtype"))}
    scaler = wrapper.scaler
    if not scaler.is_enabled():
        return facts
    values = {"init_scale": scaler.get_scale()}
    if table is None or not isinstance(table.arguments.get("loss_scale"), (int, float)):  # a number stays as it is
        values |= {
            "growth_factor": scaler.get_growth_factor(),
            "backoff_factor": scaler.get_backoff_factor(),
            "growth_interval": scaler.get_growth_interval(),
        }
    return facts | {f"loss_scale.{name}": Fact(value, (*key, "loss_scale")) for name, value in values.items()}


def _waiting(side: Side, name: str, both: Collection[str]) -> dict[str, Fact]:
    """The arguments and the range of each schedule that waits for a metric, or, where only one side has it, what it is."""
    facts: dict[str, Fact] = {}
    for label, placed in side.waiting.get(name, {}).items():
        key = side.table_key(name, placed)
        if label not in both:
            facts[label] = Fact(placed.name, (*key, "type"))
            continue
        end = min(placed.end or math.inf, side.subject.length.epochs or math.inf)
        values = {**vars(placed.schedule), "begin": placed.begin, "end": None if math.isinf(end) else end}
        facts |= {f"{label}.{field}": Fact(value, (*key, field)) for field, value in values.items()}
    return facts
