"""What two jobs say differently, and nobody can tell the effect of before a run: it counts as a difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key, key_text, listing
from optimctl.job.named import answering
from optimctl.job.schema import OptimWrappers, ScheduleTable
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.optim.fused import torchs_class
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.plan.diff.change import NotCompared
from optimctl.plan.diff.side import Side, Sides
from optimctl.plan.diff.values import same

if TYPE_CHECKING:
    from optimctl.schedule.place import Placed


def not_compared(sides: Sides) -> Iterator[NotCompared]:
    """All of it."""
    if sides.with_model and sides.before.parts and sides.after.parts and not sides.common:
        yield NotCompared("options and schedules", "the jobs train no parameter of the same name")
    yield from _other_classes(sides)
    yield from _split_optimizers(sides)
    if not sides.with_model:
        yield from _rules(sides)
    yield from _schedules_of_unknown_length(sides)
    yield from _skipped_updates(sides)


def _other_classes(sides: Sides) -> Iterator[NotCompared]:
    """Options that only one of two classes of optimizers has."""
    for pair in sides.pairs:
        if not sides.is_same_class(pair):
            one, other = sides.before.options_of(pair[0]), sides.after.options_of(pair[1])
            types = sides.before.types[pair[0]], sides.after.types[pair[1]]
            own = [name for name in one if name not in other], [name for name in other if name not in one]
            told = [f"only {type_} has {listing(names, 12)}" for type_, names in zip(types, own, strict=True) if names]
            if told:
                yield NotCompared("options", "; ".join(told))


def _split_optimizers(sides: Sides) -> Iterator[NotCompared]:
    """An optimizer that is not torch's may look at all its parameters at once, so that it matters which are together."""
    for index, side in enumerate((sides.before, sides.after)):
        for name, part in side.parts.items():
            others = {pair[1 - index] for pair in sides.met if pair[index] == name}
            if len(others) > 1 and torchs_class(part.optimizer) is None:
                why = "the other job trains its parameters with several optimizers; whether it looks at them together is not known"
                yield NotCompared(side.types[name], why)


def _rules(sides: Sides) -> Iterator[NotCompared]:
    """What the optimizers start from is compared, and rules need a model."""
    before, after = _said_of_rules(sides.before), _said_of_rules(sides.after)
    for key in dict.fromkeys((*before, *after)):
        if not same(before.get(key), after.get(key)):
            yield NotCompared(key_text(key), "which parameters it is about is not known without a model in both jobs")


def _said_of_rules(side: Side) -> dict[Key, Any]:
    read = side.job.optim_wrapper
    several = read.wrappers if isinstance(read, OptimWrappers) else {DEFAULT_NAME: read} if read is not None else {}
    said: dict[Key, Any] = {}
    for name, table in several.items():
        key: Key = ("optim_wrapper", *(() if name == DEFAULT_NAME else (name,)))
        said[(*key, "paramwise_cfg")] = table.paramwise_cfg or {}
        said[(*key, "constructor")] = (answering(table.constructor), table.constructor.arguments)
    return said


def _schedules_of_unknown_length(sides: Sides) -> Iterator[NotCompared]:
    """Schedules of runs whose end is not known; where they are written alike, they are."""
    if sides.iterations is not None:
        return
    before, after = _schedules(sides.before), _schedules(sides.after)
    lengths = [side.subject.length.iterations for side in (sides.before, sides.after)]
    if same(before, after) and (lengths[0] == lengths[1] or not before):
        return
    for side, length in zip((sides.before, sides.after), lengths, strict=True):
        if side.job.optim_wrapper is None:
            yield NotCompared(
                "param_scheduler", f"{side.job.file or 'a job'} has no [optim_wrapper], whose options it could move"
            )
        elif length is None:
            why = "does not say how long the run is: max_epochs with epoch_length, or max_iters"
            yield NotCompared("param_scheduler", f"{side.job.file or 'a job'} {why}")


def _schedules(side: Side) -> Any:
    """The tables as they are written."""
    read = side.job.param_scheduler
    if isinstance(read, ScheduleTable):
        read = [read]
    by_name = read if isinstance(read, dict) else {DEFAULT_NAME: read} if read else {}
    return {name: [table.model_dump(exclude_unset=True) for table in tables] for name, tables in by_name.items()}


def _skipped_updates(sides: Sides) -> Iterator[NotCompared]:
    """Under float16 an update may be skipped: a schedule that counts updates waits then, and another one goes on."""
    if not (_waits_for_updates(sides.before) or _waits_for_updates(sides.after)):
        return
    before, after = _placed(sides.before), _placed(sides.after)
    counts_alike = all(
        one.unit == "update" for one in (*before, *after)
    )  # equal in every update, so wherever one is skipped
    if before != after and not counts_alike:
        yield NotCompared(
            "param_scheduler", "updates that float16 skips: the schedules were compared as if there were none"
        )


def _waits_for_updates(side: Side) -> bool:
    """Whether a schedule counts updates that may be skipped."""
    return any(
        isinstance(part.wrapper, AmpOptimWrapper)
        and part.wrapper.scaler.is_enabled()
        and any(one.unit == "update" for one in side.schedules(part.wrapper_name))
        for part in side.wrappers.values()
    )


def _placed(side: Side) -> list[Placed]:
    """The schedules of all wrappers in their places, whatever table they were written in."""
    several = [(name, one) for name in sorted(side.wrappers) for one in side.schedules(name)]
    return [replace(one, key=(name,), name="", option_key="") for name, one in several]
