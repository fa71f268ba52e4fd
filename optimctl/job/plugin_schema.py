"""What a JSON schema says of a table that names a plugin: the names that can stand there, and each one's arguments.

In this room: ``load_all``, and ``type_schema``, ``offered`` and ``checks`` of a table. What an editor offers and what it checks are
two things: a key of any plugin is offered, and once the table has a ``type``, it must be one of that plugin's.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimctl.errors import PluginError
from optimctl.job.names import SUFFIXES, WITHOUT_EFFECT, answering, plugin_names
from optimctl.job.table import PluginTable
from optimctl.plugins import LoadedPlugin, Plugin, Plugins, load
from optimctl.signatures import EMPTY, Argument, arguments, is_torch_scheduler, takes_any

Schema = dict[str, Any]

SHARE: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"}
"""A share of the run, which can stand for a number of steps."""
ANY_TYPE = ["array", "boolean", "integer", "number", "object", "string"]


@dataclass(frozen=True)
class LoadedPlugins:
    """The plugins that were found, and of some kinds those that could be loaded."""

    plugins: Plugins
    loaded: Mapping[Plugin, LoadedPlugin]
    broken: tuple[PluginError, ...] = ()

    def names(self, model: type[PluginTable]) -> dict[str, Plugin]:
        """The names to choose from, each with its plugin: bare ones, qualified where several claim the bare one."""
        claims = self.plugins.claims.get(model.kind, {})
        contested = {claim for several in claims.values() if len(several) > 1 for claim in several}
        bare = self._answering(model, _candidates(model, claims))
        return bare | {name: plugin for name, plugin in self.qualified(model).items() if plugin in contested}

    def qualified(self, model: type[PluginTable]) -> dict[str, Plugin]:
        """Every name with its distribution before it, which can always stand there."""
        claims = [plugin for plugin in self.plugins if plugin.kind == model.kind]
        names = {f"{claim.distribution}/{name}" for claim in claims for name in _candidates(model, [claim.name])}
        return self._answering(model, names)

    def _answering(self, model: type[PluginTable], names: Iterable[str]) -> dict[str, Plugin]:
        answers = ((name, answering(self.plugins, model.kind, name)) for name in sorted(names))
        return {name: plugin for name, plugin in answers if plugin is not None}


def load_all(plugins: Plugins, kinds: Iterable[str]) -> LoadedPlugins:
    """Load every plugin of these kinds; one that cannot be loaded keeps its name, and its error stands in ``broken``."""
    loaded: dict[Plugin, LoadedPlugin] = {}
    broken: list[PluginError] = []
    wanted = frozenset(kinds)
    for plugin in plugins:
        if plugin.kind in wanted:
            try:
                loaded[plugin] = load(plugin, plugins.project)
            except PluginError as error:
                broken.append(error)
    return LoadedPlugins(plugins, loaded, tuple(broken))


def _candidates(model: type[PluginTable], names: Iterable[str]) -> set[str]:
    """The plugins' own names, and those under which one may answer too: a scheduler's, with every suffix."""
    found = set(names)
    if model.kind != "schedulers":
        return found
    stems = {other for name in found for other in plugin_names(model.kind, name)}
    return stems | {stem + suffix for stem in stems for suffix in SUFFIXES if not stem.endswith(SUFFIXES)}


# --- a table ----------------------------------------------------------------------------------------------------------


def type_schema(model: type[PluginTable], found: LoadedPlugins, described: Schema) -> Schema:
    """``type``: the names to choose from are offered, and told apart by what their docstrings say; qualified ones are right too."""
    offered = found.names(model)
    docs = [_summary(found.loaded.get(plugin), plugin) for plugin in offered.values()]
    return {
        **described,
        "type": "string",
        "anyOf": [{"enum": list(offered), "x-taplo": {"docs": {"enumValues": docs}}}, True],
        "if": {"pattern": "/"},
        "then": {"enum": list(found.qualified(model))},
        "else": {"enum": list(offered)},
    }


def offered(model: type[PluginTable], found: LoadedPlugins, but: Collection[str] = ()) -> Schema:
    """The arguments of all plugins that the table can name, for completion: each once, with what it is to whom.

    Args:
        but: Qualified names of plugins whose arguments are told elsewhere.
    """
    by_name: dict[str, dict[str, Schema]] = {}
    plugins = {plugin for plugin in found.names(model).values() if plugin.qualified not in but}
    for plugin in sorted(plugins):
        for name, argument in _arguments(found.loaded.get(plugin), model).items():
            by_name.setdefault(name, {})[plugin.name] = argument
    return {"properties": {name: _of_all(by_name[name]) for name in sorted(by_name)}}


def checks(model: type[PluginTable], found: LoadedPlugins) -> list[Schema]:
    """For each plugin: where ``type`` names it, the table has its arguments and no others."""
    names = found.names(model) | found.qualified(model)
    by_plugin: dict[Plugin, list[str]] = {}
    for name, plugin in names.items():
        by_plugin.setdefault(plugin, []).append(name)
    return [
        {
            "if": {"properties": {"type": {"enum": by_plugin[plugin]}}, "required": ["type"]},
            "then": arguments_schema(plugin, model, found),
        }
        for plugin in sorted(by_plugin)
    ]


def arguments_schema(plugin: Plugin, model: type[PluginTable], found: LoadedPlugins) -> Schema:
    """The keys of a table that names ``plugin``: the table's own, and the plugin's arguments."""
    loaded = found.loaded.get(plugin)
    own = dict.fromkeys((*model.model_fields, *WITHOUT_EFFECT.get(model.kind, ())), True)
    taken = {name: schema for name, schema in _arguments(loaded, model).items() if name not in own}
    schema: Schema = {
        "title": plugin.qualified,
        "description": _summary(loaded, plugin),
        "properties": {**own, **taken},
    }
    known = arguments(loaded) if loaded else None
    if loaded is None or known is None:
        return schema
    required = [argument.name for argument in known if argument.required and argument.name not in own]
    closed = {} if takes_any(loaded) else {"additionalProperties": False}
    return {**schema, **closed, **({"required": required} if required else {})}


def _arguments(loaded: LoadedPlugin | None, model: type[PluginTable]) -> dict[str, Schema]:
    known = arguments(loaded) if loaded else None
    return {
        argument.name: _argument(argument, loaded)
        for argument in known or ()
        if loaded and argument.name not in model.model_fields
    }


def _argument(argument: Argument, loaded: LoadedPlugin) -> Schema:
    taken = in_draft_07(argument.json_type)
    if argument.name in _steps(loaded):
        taken = _or_share(taken)
    default = argument.default
    return {
        **({"description": argument.description} if argument.description else {}),
        **taken,
        **({"default": plain_default(default)} if default is not EMPTY and is_toml(default) else {}),
    }


def _steps(loaded: LoadedPlugin) -> Collection[str]:
    """The arguments of a scheduler that count steps; a class of torch's does not say which, but they are its whole numbers."""
    if loaded.plugin.kind != "schedulers":
        return ()
    if not is_torch_scheduler(loaded.object):
        return tuple(getattr(loaded.object, "steps", ()))
    whole = ({"type": "integer"}, {"type": "array", "items": {"type": "integer"}})
    return [argument.name for argument in arguments(loaded) or () if argument.json_type in whole]


def _or_share(taken: Schema) -> Schema:
    """A number of steps can also be a share of the run, and a fraction where epochs become iterations."""
    if taken.get("type") in ("integer", "number"):
        return together([{**taken, "type": "number"}, SHARE])
    return {**taken, "items": _or_share(taken["items"])} if isinstance(taken.get("items"), dict) else taken


def together(forms: Sequence[Schema]) -> Schema:
    """A value of one of several forms: in one schema where they are of different types, since no word is about two types."""
    types = [form.get("type") for form in forms]
    apart = len(set(map(str, types))) == len(forms) and all(isinstance(one, str) for one in types)
    if apart and not any(form.keys() & {"enum", "const", "anyOf", "not"} for form in forms):
        return {word: value for form in forms for word, value in form.items()} | {"type": types}
    return {"anyOf": list(forms)}


def in_draft_07(schema: Schema) -> Schema:
    """A schema of ``json_type``, as the older draft says it: what comes in order in an array is called ``items`` there."""
    words = {"items" if word == "prefixItems" else word: _in_draft_07(value) for word, value in schema.items()}
    forms = words.pop("anyOf", None)
    return words if forms is None else {**words, **together(forms)}


def _in_draft_07(value: Any) -> Any:
    if isinstance(value, dict):
        return in_draft_07(value)
    return [_in_draft_07(item) for item in value] if isinstance(value, list) else value


def is_toml(value: Any) -> bool:
    """Whether a default can stand in a job, and in JSON, which has no inf and no nan."""
    if isinstance(value, (list, tuple)):
        return all(is_toml(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_toml(item) for name, item in value.items())
    return type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def plain_default(value: Any) -> Any:
    """A default as JSON reads it back: a tuple is an array."""
    if isinstance(value, dict):
        return {name: plain_default(item) for name, item in value.items()}
    return [plain_default(item) for item in value] if isinstance(value, (list, tuple)) else value


def _of_all(by_plugin: Mapping[str, Schema]) -> Schema:
    """One argument of several plugins, as something to offer: what they do not agree on is told, and not filled in."""
    schemas = list(by_plugin.values())
    told: dict[str, list[str]] = {}
    for plugin, schema in by_plugin.items():
        told.setdefault(schema.get("description", ""), []).append(plugin)
    lines = [f"{', '.join(plugins)}: {text}" if text else f"Of {', '.join(plugins)}." for text, plugins in told.items()]
    first: Schema = {word: schemas[0][word] for word in ("enum", "items", "default") if word in schemas[0]}
    agreed = {word: value for word, value in first.items() if all(one.get(word) == value for one in schemas)}
    types = sorted({one for schema in schemas for one in _types(schema)})
    return {"description": "\n\n".join(lines), "type": types[0] if len(types) == 1 else types, **agreed}


def _types(schema: Schema) -> Iterable[str]:
    """The types that a value can be of."""
    if "type" in schema:
        return [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    if "enum" in schema:
        return {"string" if isinstance(value, str) else "number" for value in schema["enum"]}
    return [one for form in schema["anyOf"] for one in _types(form)] if "anyOf" in schema else ANY_TYPE


def _summary(loaded: LoadedPlugin | None, plugin: Plugin) -> str:
    """The first paragraph of a plugin's docstring, and whose it is."""
    whose = f"Of {plugin.distribution}."
    item = loaded.object if loaded else None
    while isinstance(item, functools.partial):
        item = item.func
    text = getattr(item, "__doc__", None) if hasattr(item, "__name__") else None
    first = " ".join((text or "").strip().split("\n\n")[0].split())
    is_made = first.startswith(f"{getattr(item, '__name__', '')}(")  # by dataclass, out of the signature
    return f"{re.sub(r':[a-z:]+:(?=`)', '', first)} {whose}" if first and not is_made else whose
