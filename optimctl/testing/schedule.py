"""``check_schedule``: what previews, runs and resumed runs expect of a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from optimctl.job.names import meant
from optimctl.plugins import installed, load
from optimctl.schedule.place import Placed, RunLength, read_schedules
from optimctl.schedule.scheduler import ParamSchedulers, build_param_schedulers
from optimctl.schedule.trajectory import preview_param_schedulers
from optimctl.testing.subject import Check, named, run_checks

if TYPE_CHECKING:
    from optimctl.schedule.curves import Floats, Schedule, Steps

LENGTH = 200
"""Iterations of the run that a schedule is checked over."""
REFERENCE, SHARE = 0.1, 0.25
"""The job's value, and what a multiplier makes of it for another group."""
SAME = 1e-9
"""How far two ways to one value may be apart, as a share of the largest value."""


def check_schedule(schedule: Any, **arguments: Any) -> None:
    """Whether a schedule does in a run what a preview of it shows, and goes on from any point.

    Its maps are three numbers or arrays for the steps that are asked for, finite, and the same however often, in which order and
    how many steps at a time they are asked for; the preview is what a run writes step by step, for groups with a multiplier
    too; a resumed run goes on with the same values; and the names in ``steps`` are those of arguments.

    Args:
        schedule: The class or callable behind the entry point (a ``Schedule``, or a torch ``LRScheduler``), or the plugin's name.
        arguments: As a job's table has them; they should fit a run of 200 iterations. ``length`` is supplied.

    Raises:
        CheckFailed: With all that was found.
        PluginError: No plugin has that name.
        UsageError: It is no schedule at all.
    """
    known = meant(installed(), "schedulers", schedule) if isinstance(schedule, str) else schedule
    with named("schedulers", known) as name:
        run_checks(name, Trial(name, arguments), CHECKS, first=("builds", "maps"))


@dataclass(frozen=True)
class Trial:
    """A schedule with its arguments."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def table(self) -> dict[str, Any]:
        """``param_scheduler`` of a job."""
        return {"param_name": "lr", "by": "iteration", **self.arguments, "type": self.name}

    def place(self) -> Placed:
        """A fresh schedule, where it stands in the run."""
        (placed,) = read_schedules(self.table, RunLength(max_iters=LENGTH))
        return placed

    def make(self) -> Schedule:
        """A fresh schedule."""
        return cast("Schedule", self.place().schedule)

    @cached_property
    def t(self) -> Steps:
        """Its own steps, from 0 to before the end of its range."""
        placed = self.place()
        return np.arange((LENGTH if placed.end is None else placed.end) - placed.begin)

    def maps(self, t: Steps, reference: float = REFERENCE) -> Floats:
        """What a fresh schedule's maps are at ``t``, shape (3, len(t))."""
        return _arrays(self.make().maps(t.copy(), reference), len(t))

    def start(self) -> ParamSchedulers:
        """The schedule at work on an optimizer of two groups, the second with a multiplier."""
        return build_param_schedulers(_optimizer(), self.table, max_iters=LENGTH)


def _optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": factor * REFERENCE} for factor in (1.0, SHARE)]
    return torch.optim.SGD(groups, lr=REFERENCE)


def _builds(trial: Trial) -> Iterator[str]:
    """It is made of a job's arguments."""
    trial.make()
    yield from ()


def _maps(trial: Trial) -> Iterator[str]:
    """Three finite numbers or arrays, of the shape of the steps."""
    for reference in (REFERENCE, 0.0):
        t = trial.t.copy()
        maps = trial.make().maps(t, reference)
        if not isinstance(maps, tuple) or len(maps) != 3:
            yield f"maps(t, reference) returns {type(maps).__name__}; it must return three: (a, b, c) of value <- a * value + b + c * base"
            return
        for letter, part in zip("abc", maps, strict=True):
            values = np.asarray(part)
            if values.shape not in ((), t.shape):
                yield f"{letter} has the shape {values.shape} for steps of shape {t.shape}; return an array of their shape, or one number"
                return
            if not np.isfinite(values).all():
                step = int(np.flatnonzero(~np.isfinite(np.broadcast_to(values, t.shape)))[0])
                yield (
                    f"{letter} is {np.broadcast_to(values, t.shape)[step]} at step {step} with a reference of {reference}; a factor of 0 "
                    "that is to be taken back later counts as 1e-100, and a value in a share of the reference needs one that is not 0"
                )
                return


def _is_pure(trial: Trial) -> Iterator[str]:
    """Asked again, or in another order, the same object says the same; the steps are left alone."""
    schedule, t = trial.make(), trial.t
    late, early, every = t[len(t) // 2 :].copy(), t[: len(t) // 2].copy(), t.copy()
    _arrays(schedule.maps(late, REFERENCE), len(late))
    parts = [_arrays(schedule.maps(part, REFERENCE), len(part)) for part in (early, late)]
    again = _arrays(schedule.maps(every, REFERENCE), len(every))
    if not np.array_equal(every, t):
        yield "maps changes the steps that it is asked for; work on a copy"
    elif not _same(np.concatenate(parts, axis=1), again):
        yield (
            "maps says something else when it is asked a second time, or later steps first; a resumed run asks in another order, so "
            "compute from t alone and remember nothing"
        )


def _each_alone(trial: Trial) -> Iterator[str]:
    """One step at a time, all at once, or with gaps: the same maps."""
    t = trial.t
    whole = trial.maps(t)
    alone = np.concatenate([trial.maps(t[step : step + 1]) for step in range(0, len(t), 7)], axis=1)
    gaps = trial.maps(t[::3])
    if not _same(alone, whole[:, ::7]) or not _same(gaps, whole[:, ::3]):
        yield (
            "the maps of a step depend on the steps that are asked for with it; a preview asks for all at once, a run for blocks of "
            "them: compute each from its own t, never from its place in the array"
        )


def _previews_as_it_steps(trial: Trial) -> Iterator[str]:
    """The preview is what a run writes, and what the maps make of a value one after the other."""
    preview = np.stack([_preview(trial, REFERENCE), _preview(trial, REFERENCE * SHARE)], axis=1)
    if not np.isfinite(preview).all():
        step = int(np.flatnonzero(~np.isfinite(preview).all(axis=1))[0])
        yield f"the value is no number at step {step}: the maps grow without end, or are taken back from 0"
        return
    written = _written(trial.start(), LENGTH)
    by_hand = _by_hand(trial)
    if not _same(written, preview) or not _same(by_hand, preview):
        step = int(np.argmax(np.abs(written - preview).max(axis=1) + np.abs(by_hand - preview).max(axis=1)))
        yield (
            f"at step {step} a run writes {written[step, 0]:.6g}, the maps one by one make {by_hand[step, 0]:.6g}, and the preview "
            f"shows {preview[step, 0]:.6g}; compute each map from its own t, and from nothing else"
        )


def _preview(trial: Trial, value: float) -> Floats:
    """What a group that starts from ``value`` gets, as a share of what the job's own value gets where it is another."""
    if value == REFERENCE:
        return preview_param_schedulers(trial.table, {"lr": REFERENCE}, max_iters=LENGTH)["lr"]
    schedulers, at = trial.start(), list(range(LENGTH))
    return next(np.asarray(values) for _, _, group, values in schedulers.values_at(at) if group == 1)


def _written(schedulers: ParamSchedulers, iterations: int) -> Floats:
    """What stands in the groups, iteration by iteration, shape (iterations, 2)."""
    (part,) = schedulers.parts.values()
    rows = []
    for _ in range(iterations):
        rows.append([float(group["lr"]) for group in part.target.param_groups])
        schedulers.after_iteration()
    return np.asarray(rows)


def _by_hand(trial: Trial) -> Floats:
    """What the maps, asked one step at a time, make of both groups, shape (iterations, 2)."""
    placed, bases = trial.place(), np.asarray([1.0, SHARE]) * REFERENCE
    values, rows, schedule = bases, [], trial.make()
    end = LENGTH if placed.end is None else placed.end
    for step in range(LENGTH):
        if placed.begin <= step < end:
            a, b, c = _arrays(schedule.maps(np.asarray([step - placed.begin]), REFERENCE), 1)
            values = a * values + b + c * bases
        rows.append(values)
    return np.stack(rows)


def _resumes(trial: Trial) -> Iterator[str]:
    """A run that is resumed anywhere writes the values of one that went on."""
    straight = _written(trial.start(), LENGTH)
    for done in (1, 50, 137):
        before = trial.start()
        _written(before, done)
        resumed = trial.start()
        resumed.load_state_dict(before.state_dict())
        if not np.array_equal(_written(resumed, LENGTH - done), straight[done:]):
            yield (
                f"a run that is resumed after {done} iterations writes other values than one that went on; all that is saved is how far "
                "it got, so the maps must follow from t and the arguments alone"
            )
            return


def _names_its_steps(trial: Trial) -> Iterator[str]:
    """``steps`` names arguments, so that shares of the run and ``convert_to_iter_based`` find them."""
    found = load(installed().get("schedulers", trial.name), installed().project).object
    steps = getattr(found, "steps", ())
    if not isinstance(steps, (tuple, list)):
        yield f'steps is {steps!r}; it must be a tuple of the names of arguments that count steps, as steps = ("period",)'
        return
    parameters = inspect.signature(found).parameters
    for step in steps:
        if step not in parameters:
            yield f"steps names '{step}', and no argument is called that, so that convert_to_iter_based leaves it out; name the argument"


def _arrays(maps: Any, count: int) -> Floats:
    return np.stack([np.broadcast_to(np.asarray(part, dtype=np.float64), (count,)) for part in maps])


def _same(one: Floats, other: Floats) -> bool:
    return bool(np.allclose(one, other, rtol=SAME, atol=SAME * max(float(np.abs(other).max()), 1e-300)))


CHECKS: Mapping[str, Check[Trial]] = {
    "builds": _builds,
    "maps": _maps,
    "is-pure": _is_pure,
    "each-alone": _each_alone,
    "previews-as-it-steps": _previews_as_it_steps,
    "resumes": _resumes,
    "names-its-steps": _names_its_steps,
}
