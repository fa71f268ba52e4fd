"""Schedules that are not optimctl's own in the script: imported, where that needs no optimctl.

In this room: ``write_foreign``, for a schedule of somebody's package, which is asked for its maps once (a script that does so needs
NumPy, as the schedule itself does), and ``torch_lines``, for one of torch's own, which runs alone to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optimctl import plugins
from optimctl.errors import JobError
from optimctl.export.python.curves import COUNTS, Act, Place
from optimctl.export.python.imports import Imports, check_apart
from optimctl.export.python.layout import STEP, Expression, call, lay, listed, literal
from optimctl.job.names import WITHOUT_EFFECT, meant
from optimctl.schedule.place import COMMON, TORCH_STEPS
from optimctl.signatures import is_torch_scheduler, supplied_to


def write_foreign(place: Place, reference: float, imports: Imports) -> tuple[Act, dict[str, Any]] | None:
    """What a schedule does, by its own ``maps``, and the names that this needs; None where it cannot be written so."""
    import numpy as np

    loaded = _loaded(place)
    if is_torch_scheduler(loaded.object) or not _is_apart(loaded):
        return None
    schedule: Any = place.placed.schedule
    count, name = place.taken, place.name
    maps = schedule.maps(np.arange(count), reference)
    a, b, c = (np.broadcast_to(np.asarray(one, dtype=float), (count,)) for one in maps)
    if b[0] or (c[0] and a[0]):
        return None
    made = call(imports.name(loaded.plugin), **_arguments(place, loaded))
    known = imports.known(loaded.plugin)
    asked = f"schedule.maps(np.arange({place.steps}), {place.base})"
    define = lay(made, STEP, "schedule = ", margin=0)
    if not b.any() and not c.any() and np.ndim(maps[0]):
        define += f"\n{name} = {asked}[0].tolist()\n"
        return Act(f"{name}[{place.step}]", "" if a[0] == 1 else f"{name}[0]", define=define), known
    define += f"\nmaps = {asked}\n{name} = [np.broadcast_to(x, {place.steps}).tolist() for x in maps]\n"
    lines = (
        f"a, b, c = (x[{place.step}] for x in {name})",
        "change *= a",
        "more = more * a + c",
        "shift = shift * a + b",
    )
    sets = f"{name}[2][0]" if c[0] else ""
    start = "" if sets or a[0] == 1 else f"{name}[0][0]"
    return Act(start=start, sets=sets, lines=lines, define=define, adds_base=True, adds=bool(b.any())), known


def torch_lines(place: Place, imports: Imports) -> tuple[list[str], dict[str, Any]] | None:
    """The lines that let a scheduler of torch run alone, and the names that they need; None where it is none."""
    import torch

    loaded = _loaded(place)
    if not is_torch_scheduler(loaded.object) or not _is_apart(loaded) or place.begin != "0" or place.end:
        return None
    options = dict(_arguments(place, loaded))
    if loaded.signature is not None and "cycle_momentum" in loaded.signature.parameters:
        options["cycle_momentum"] = "False"
    name, option = imports.name(loaded.plugin), place.base
    known = {"torch": torch, **imports.known(loaded.plugin)}
    return list(_alone(call(name, "optimizer", **options), option, COUNTS[place.placed.unit])), known


def _alone(scheduler: Expression, option: str, count: str) -> Iterator[str]:
    yield f"optimizer = torch.optim.SGD([torch.zeros(1)], lr={option})"
    yield lay(scheduler, STEP, "scheduler = ", margin=0)
    yield "factors = []"
    yield f"for _ in range({count}):"
    yield f'    factors.append(optimizer.param_groups[0]["lr"] / {option})'
    yield "    optimizer.step()"
    yield "    scheduler.step()"
    yield "return factors"


def _loaded(place: Place) -> plugins.LoadedPlugin:
    return plugins.resolve("schedulers", meant(plugins.installed(), "schedulers", place.table["type"]), ())


def _is_apart(loaded: plugins.LoadedPlugin) -> bool:
    try:
        check_apart(loaded.plugin, ())
    except JobError:
        return False
    return True


def _arguments(place: Place, loaded: plugins.LoadedPlugin) -> Mapping[str, Expression]:
    """The schedule's own arguments, in the words of the script."""
    steps = TORCH_STEPS if is_torch_scheduler(loaded.object) else getattr(loaded.object, "steps", ())
    given: dict[str, Expression] = {}
    for name, value in place.table.items():
        if name in (*COMMON, *WITHOUT_EFFECT["schedulers"]):
            continue
        if name in steps and isinstance(value, list):
            given[name] = listed(place.count(name, one, index) for index, one in enumerate(value))
        else:
            given[name] = place.count(name, value) if name in steps else literal(value)
    if "length" in supplied_to(loaded):
        given["length"] = place.steps
    return given


__all__ = ["torch_lines", "write_foreign"]
