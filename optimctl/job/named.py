"""The plugins that a job names: which tables name them, and who answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from optimctl.errors import Key
from optimctl.job import names
from optimctl.job.schema import Job
from optimctl.job.table import PluginTable
from optimctl.plugins import Plugin, installed


def plugin_tables(job: Job) -> Iterator[tuple[Key, PluginTable]]:
    """Every table of the job that names a plugin with ``type``, also where that is a default, with its key."""
    yield from _below(job, ())


def answering(table: PluginTable) -> Plugin | None:
    """The installed plugin that a table means."""
    return names.answering(installed(), table.kind, table.type)


def put_type(plain: dict[str, Any], key: Key, name: str) -> None:
    """Write ``name`` as the ``type`` of the table at ``key``; a table that stands there as a bare string becomes it."""
    *path, last = key
    holder: Any = plain
    for part in path:
        holder = holder[part]
    missing = isinstance(holder, dict) and last not in holder
    if missing or isinstance(holder[last], str):
        holder[last] = name
    else:
        holder[last]["type"] = name


def _below(value: Any, key: Key) -> Iterator[tuple[Key, PluginTable]]:
    if isinstance(value, PluginTable):
        yield key, value
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        known = isinstance(value, PluginTable) and "optimizer" not in fields
        extra = {} if known else value.model_extra or {}
        for name, item in {**fields, **extra}.items():
            yield from _below(item, (*key, name))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _below(item, (*key, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _below(item, (*key, index))
