"""Facts of a job by name, held against those of the other: settings, and the arguments of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from optimctl.errors import JobError, Key, key_text
from optimctl.job.named import answering
from optimctl.plan.diff.change import Origins, SettingChange
from optimctl.plan.diff.side import Sides, named
from optimctl.plan.diff.values import same
from optimctl.plugins import resolve
from optimctl.signatures import EMPTY, arguments

if TYPE_CHECKING:
    from optimctl.job.table import PluginTable
    from optimctl.plugins import Plugin

Names = tuple[str | None, str | None]
"""An optimizer's, or a wrapper's, on both sides."""


class Fact(NamedTuple):
    """What a side has, and the key that says so."""

    value: Any
    key: Key = ()


Facts = Mapping[str, Fact]


def differing(
    sides: Sides, section: str, facts: tuple[Facts, Facts], optimizers: Names | None = None
) -> Iterator[SettingChange]:
    """The facts that are not the same; what a side lacks is None there."""
    for name in dict.fromkeys((*facts[0], *facts[1])):
        for whole, one, other in _split(name, *(side.get(name, Fact(None)) for side in facts)):
            if not same(one.value, other.value):
                origins = Origins(sides.before.origin(one.key), sides.after.origin(other.key))
                yield SettingChange(section, whole, one.value, other.value, origins, optimizers)


def _split(name: str, before: Fact, after: Fact) -> Iterator[tuple[str, Fact, Fact]]:
    """Two tables key by key, where they have any in common; all else as it is."""
    one, other = before.value, after.value
    if not (isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() & other.keys()):
        yield name, before, after
        return
    for key in dict.fromkeys((*one, *other)):
        inner = Fact(one.get(key), (*before.key, key)), Fact(other.get(key), (*after.key, key))
        yield from _split(f"{name}.{key_text((key,))}", *inner)


def plugin_changes(
    sides: Sides, section: str, key: Key, before: PluginTable | None, after: PluginTable | None
) -> Iterator[SettingChange]:
    """Another plugin at a key of both jobs, or other arguments of the same."""
    one, other = (None if table is None else answering(table) for table in (before, after))
    facts: tuple[Facts, Facts]
    if before is None or after is None or one != other:
        name, where = key_text(key), (*key, "type")
        facts = {name: Fact(_name(one), where)}, {name: Fact(_name(other), where)}
    elif same(before.arguments, after.arguments):
        return  # a plugin that takes long to import is not loaded for its defaults
    else:
        facts = argument_facts(before, key), argument_facts(after, key)
    yield from differing(sides, section, facts)


def argument_facts(table: PluginTable, key: Key, prefix: Key | None = None) -> dict[str, Fact]:
    """The arguments of a plugin; what the job does not say has the plugin's own default.

    Args:
        key: Where the table stands.
        prefix: What stands before the names; by default the key.
    """
    shown = key if prefix is None else prefix
    given = {**_defaults(table), **table.arguments}
    return {key_text((*shown, name)): Fact(value, (*key, name)) for name, value in given.items()}


def _name(plugin: Plugin | None) -> str | None:
    return None if plugin is None else named(plugin.name, plugin.distribution)


def _defaults(table: PluginTable) -> dict[str, Any]:
    """What a plugin takes for arguments that nobody gives; nothing where it cannot be loaded."""
    plugin = answering(table)
    with suppress(JobError):
        taken = arguments(resolve(table.kind, plugin.qualified, ())) if plugin is not None else None
        return {each.name: each.default for each in taken or () if each.default is not EMPTY}
    return {}
