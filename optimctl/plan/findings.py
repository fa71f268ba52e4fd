"""Findings: what is true of a plan and worth knowing. Each has a stable code and a level.

``note``: true but usual. ``warning``: probably not meant. ``error``: it would stop the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimctl.errors import Key, listing, nearest
from optimctl.optim.multi import by_name
from optimctl.schedule.curves import Constant, Linear

if TYPE_CHECKING:
    from optimctl.optim.multi import OptimWrapperDict
    from optimctl.optim.options import Options
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.schedule.place import RunLength
    from optimctl.schedule.scheduler import ParamSchedulers


@dataclass(frozen=True)
class Finding:
    """One finding, about one line of the job; ``unmatched_rules`` sees it from ``optim_wrapper``."""

    level: str
    code: str
    key: Key
    message: str


def unmatched_rules(keys: Iterable[Key], options: Mapping[str, Options]) -> Iterator[Finding]:
    """Rules of ``paramwise_cfg`` that apply to no parameter, with the nearest name where a custom key is misspelt."""
    matched = {key for chosen in {id(o): o for o in options.values()}.values() for key in chosen.matched}
    for key in keys:
        if key in matched:
            continue
        if key[-2] != "custom_keys":
            yield Finding("warning", "rule-matches-nothing", key, "the model has no parameter of this type")
            continue
        pattern = str(key[-1])
        paths = sorted({path for name in options for path in _paths(name)})
        hint = (
            nearest(pattern, paths)
            or f"; its parts are {listing(dict.fromkeys(name.split('.')[0] for name in options))}"
        )
        yield Finding("warning", "rule-matches-nothing", key, f"no parameter's name contains '{pattern}'{hint}")


def untrained(names: Sequence[str]) -> Iterator[Finding]:
    """Parameters that are not frozen, and that no optimizer has."""
    if names:
        message = f"{listing(names, 3)} ask for gradients, and no optimizer has them; freeze them, or give them one"
        yield Finding("warning", "not-trained", ("optim_wrapper",), message)


def one_step_ramps(schedules: ParamSchedulers | None, length: RunLength) -> Iterator[Finding]:
    """A ramp whose range has one step has only its start, and stays there to the end of the run."""
    for placed in (one for each in schedules.schedules.values() for one in each) if schedules is not None else ():
        end = placed.end if placed.end is not None else length.count(placed.unit)
        ramp = isinstance(placed.schedule, (Linear, Constant))
        if ramp and end is not None and end - placed.begin == 1 and (length.count(placed.unit) or 0) > 1:
            message = "a range of one step has only its start: the value stays there for ever, as in MMEngine"
            way = "; convert_to_iter_based = true makes a ramp of it" if placed.unit == "epoch" else ""
            yield Finding("warning", "one-step-ramp", ("param_scheduler", *placed.key), message + way)


def waits_for_the_device(
    wrapper: OptimWrapper | OptimWrapperDict | None, schedules: ParamSchedulers | None, *, by_names: bool = False
) -> Iterator[Finding]:
    """Under float16, a schedule that counts updates has to know whether each was skipped.

    Args:
        by_names: Whether the job lists the schedules by the optimizers' names.
    """
    if wrapper is None or schedules is None:
        return
    for name, one in by_name(wrapper).items():
        scaler = getattr(one, "scaler", None)
        for placed in schedules.schedules[name] if scaler is not None and scaler.is_enabled() else ():
            if placed.unit == "update":
                message = (
                    "under float16 an update may be skipped, so the run waits for the device once an update to know"
                )
                key = ("param_scheduler", *((name,) if by_names else ()), *placed.key)
                yield Finding("note", "waits-for-device", key, message)


def _paths(name: str) -> Iterator[str]:
    parts = name.split(".")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            yield ".".join(parts[start:end])
