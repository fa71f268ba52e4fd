"""Whether a job's plugins take the arguments that it gives them: the plugins are loaded, but no model and no data is made.

In this room: ``check_arguments``. An optimizer and a schedule are asked what the run would ask them; the others are held against
their signatures, or their own models (``signatures``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimctl import plugins, signatures
from optimctl.errors import JobError, Key, Problem
from optimctl.job.hints import with_hint
from optimctl.job.named import plugin_tables
from optimctl.job.schema import Job, OptimizerTable, OptimWrappers, OptimWrapperTable, ScheduleTable
from optimctl.job.table import PluginTable
from optimctl.optim.constructor import checked_arguments
from optimctl.schedule.place import RunLength, read_schedules

MANY = 10**6
"""Stands for a length that only the data could tell: long enough that nothing in a job is wrong because of it."""


def check_arguments(job: Job) -> None:
    """Load the plugins that a job names, and hold the job's arguments against them.

    Raises:
        JobError: All problems, with their places.
    """
    problems: list[Problem] = []
    for key, table in plugin_tables(job):
        if not isinstance(table, ScheduleTable):
            problems += _problems(key, table)
    problems += _schedule_problems(job)
    if problems:
        raise JobError(job.located(problems))


def _problems(key: Key, table: PluginTable) -> list[Problem]:
    try:
        loaded = plugins.resolve(table.kind, table.type, key)
        if isinstance(table, OptimizerTable):
            return _optimizer_problems(loaded, key, table.arguments)
    except JobError as error:
        return list(error.problems)
    return [with_hint(table.kind, one) for one in signatures.argument_problems(loaded, key, _arguments(table))]


def _optimizer_problems(loaded: plugins.LoadedPlugin, key: Key, arguments: Mapping[str, Any]) -> list[Problem]:
    try:
        checked_arguments(loaded, arguments)
    except JobError as error:
        return list(error.below(*key[:-1]).problems)
    return []


def _arguments(table: PluginTable) -> dict[str, Any]:
    """What the plugin is called with, out of its table: a wrapper gets some of the format's own keys."""
    if not isinstance(table, OptimWrapperTable):
        return table.arguments
    written = table.model_dump(exclude_unset=True, exclude_none=True)
    return {
        name: written[name] for name in written if name not in ("type", "optimizer", "constructor", "paramwise_cfg")
    }


def _schedule_problems(job: Job) -> list[Problem]:
    tables = job.param_scheduler
    several = tables if isinstance(tables, dict) else {None: tables}
    problems: list[Problem] = []
    for name, schedules in several.items():
        try:
            read_schedules(schedules, _run_length(job))
        except JobError as error:
            problems += error.below("param_scheduler", *([] if name is None else [name])).problems
    return problems


def _run_length(job: Job) -> RunLength:
    """The run's length, as far as the job itself says it."""
    cfg, wrapper = job.train_cfg, job.optim_wrapper
    wrappers = list(wrapper.wrappers.values()) if isinstance(wrapper, OptimWrappers) else [wrapper] if wrapper else []
    counts = min((one.accumulative_counts for one in wrappers), default=1)
    if cfg is None:
        return RunLength(MANY, max_epochs=MANY, accumulative_counts=counts)
    epoch_length = cfg.epoch_length or (MANY if cfg.max_epochs else 1)  # under max_iters, short epochs are many
    return RunLength(epoch_length, cfg.max_epochs, cfg.max_iters, counts)
