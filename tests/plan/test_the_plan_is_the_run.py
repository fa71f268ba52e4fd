"""Promise 1: what a plan shows, from a model without weights, is what the run's own optimizers have at each iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optimctl.assemble import assemble
from optimctl.job.load import load_job
from optimctl.plan.plan import Plan, make_plan
from optimctl.schedule.scheduler import Slot
from optimctl.train.hooks import Hook
from optimctl.train.loop import Run

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("examples", "plugins")
    for file in (ROOT / folder).rglob("*.toml")
    if file.name != "pyproject.toml"
)
ITERATIONS = 6


class Spy(Hook):
    """Notes what the optimizers have when a batch comes."""

    def __init__(self) -> None:
        self.seen: list[dict[tuple[str, int], dict[str, Any]]] = []

    def before_iteration(self, run: Run) -> None:
        """Runs right before an iteration."""
        groups = {
            (name, index): {option: value for option, value in group.items() if option != "params"}
            for name, wrapper in run.wrappers.items()
            for index, group in enumerate(wrapper.param_groups)
        }
        self.seen.append(groups)


def trained(name: str) -> tuple[Run, Spy]:
    spy = Spy()
    assembly = assemble(load_job(name), for_run=True)
    run = Run(assembly, hooks=(spy,))
    run.train_some(ITERATIONS)
    return run, spy


def planned(name: str) -> tuple[Plan, dict[tuple[str, int, str], list[float]]]:
    assembly = assemble(load_job(name), without_weights=True)
    steps = range(min(ITERATIONS, assembly.length.iterations or 0))
    values = assembly.schedules.values_at(steps) if assembly.schedules is not None else ()
    return make_plan(assembly), {(name, index, option): list(line) for name, option, index, line in values}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_plan_is_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run, spy = trained(name)
    plan, curves = planned(name)
    assert not plan.warnings()
    flat = [group for groups in ([*one.groups] for one in plan.optimizers) for group in groups]
    for place, group in zip(spy.seen[0], flat, strict=True):
        assert spy.seen[0][place]["param_names"] == [_inner(one, place[0]) for one in group.names]
    scheduled = {(optimizer, index, Slot.parse(option).option) for optimizer, index, option in curves}
    for iteration, groups in enumerate(spy.seen):
        for (place, options), group in zip(groups.items(), flat, strict=True):
            still = {option: value for option, value in group.options.items() if (*place, option) not in scheduled}
            assert {option: options[option] for option in still} == still
        for (optimizer, index, option), line in curves.items():
            assert Slot.parse(option).read(groups[optimizer, index]) == line[iteration]
    counts = {wrapper.accumulative_counts for wrapper in run.wrappers.values()}
    assert plan.schedule.iterations == run.iterations
    assert {one.updates for one in plan.optimizers} == {-(-run.iterations // count) for count in counts}


def _inner(name: str, wrapper: str) -> str:
    """A parameter's name as the wrapper of a sub-module has it."""
    return name if wrapper == "default" else name.removeprefix(f"{wrapper}.")
