"""A whole configuration as a job: every section carried over, and what the format refuses taken out again with the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optimctl import load_job
from optimctl.errors import JobError, Key, Problem, key_text
from optimctl_mmengine.importing.data import convert_loaders
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.hooks import convert_hooks
from optimctl_mmengine.importing.length import convert_length
from optimctl_mmengine.importing.optimizers import convert_optim_wrapper
from optimctl_mmengine.importing.run import convert_job, convert_model
from optimctl_mmengine.importing.schedules import convert_schedules
from optimctl_mmengine.values import shown

INCOMPLETE = ("missing-key", "missing-section", "unknown-optimizer")
"""What may be wrong with a part of a job, and is not with the whole."""
TRIES = 20


def convert(settings: Mapping[str, Any], whole: bool = True) -> Draft:
    """The job that the settings of a configuration mean.

    Args:
        settings: Plain values, resolved.
        whole: Whether this is all of a configuration, or a part that others build on.
    """
    draft = Draft()
    for section in (
        convert_job,
        convert_loaders,
        convert_model,
        convert_length,
        convert_optim_wrapper,
        convert_schedules,
        convert_hooks,
    ):
        section(settings, draft)
    for _ in range(TRIES):
        problems = [one for one in _problems(draft) if whole or one.code not in INCOMPLETE]
        if not problems or not _take_out(problems, draft):
            return draft
    return draft


def _problems(draft: Draft) -> Iterable[Problem]:
    """What the format refuses."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.toml"
        file.write_text(draft.document().text(), "utf-8")
        try:
            load_job(file)
        except JobError as error:
            return error.problems
    return ()


def _take_out(problems: Iterable[Problem], draft: Draft) -> bool:
    """Take the keys out that a problem is about; whether there was one."""
    found = False
    for problem in problems:
        key = _within_tables(problem.key, draft.data)
        if key:
            value = _pop(key, draft.data)
            draft.leave_out(key, f"{key_text(key)} = {shown(value)}", problem.message.splitlines()[0])
            found = True
    return found


def _within_tables(key: Key, data: Mapping[str, Any]) -> Key:
    """The part of a key that can be taken out: no further than an array, and of what is missing the table that it is missing in."""
    table: Any = data
    for length, part in enumerate(key):
        if not isinstance(table, Mapping) or part not in table:
            return key[:length]
        table = table[part]
    return key


def _pop(key: Key, data: dict[str, Any]) -> Any:
    *path, name = key
    for part in path:
        data = data[str(part)]
    return data.pop(str(name))


__all__ = ["INCOMPLETE", "convert"]
