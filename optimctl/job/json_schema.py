"""The job format as a JSON schema, with the plugins that are installed: what an editor completes and checks.

It is made from the tables of ``schema.py``, of what pydantic says of them, and speaks draft-07, the newest that Taplo (and Even
Better TOML, which is Taplo in Visual Studio Code) takes. Taplo completes with ``properties``, ``items``, ``anyOf`` and ``$ref``, and
looks neither at ``if`` nor at which branch a table fits; its errors name the key only outside of ``anyOf``. Hence two habits:

- Where a value can have several forms, ``anyOf`` has them all and ``true`` beside them: it offers, and refuses nothing. What is
  right is said by ``if`` and ``then``.
- What a file can leave to those that it extends stands apart, in definitions whose names end in ``.alone``; the top refers to
  them where there is no ``extends``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import models_json_schema

from optimctl.job.merge import EXCLUSIVE
from optimctl.job.plugin_schema import (
    LoadedPlugins,
    Schema,
    arguments_schema,
    checks,
    is_toml,
    load_all,
    offered,
    together,
    type_schema,
)
from optimctl.job.schema import (
    DEFAULT_CONSTRUCTOR,
    TABLES,
    ClipByNorm,
    CustomKey,
    HookTable,
    Inheritance,
    Job,
    MatchTable,
    OptimWrappers,
    OptimWrapperTable,
    ParamwiseCfg,
    RoutesTable,
    TrainTable,
)
from optimctl.job.table import PluginTable, Table
from optimctl.plugins import Plugins

DRAFT = "http://json-schema.org/draft-07/schema#"
HERE = "#/definitions/"
ALONE = "alone"
"""The key of a node for what holds only in a file that extends none; no word of JSON schema."""

SEVERAL: Schema = {
    "type": "object",
    "not": {
        "anyOf": [
            {"required": ["optimizer"]},
            {
                "properties": {"constructor": True},
                "additionalProperties": {"not": {"type": "object", "required": ["optimizer"]}},
            },
        ]
    },
}
"""An ``optim_wrapper`` of several optimizers by name."""
BY_NAME: Schema = {
    "type": "object",
    "not": {"required": ["type"]},
    "minProperties": 1,
    "additionalProperties": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
}
"""A ``param_scheduler`` of lists by the optimizers' names."""
DEFAULTS = [DEFAULT_CONSTRUCTOR, f"optimctl/{DEFAULT_CONSTRUCTOR}"]
BY_DEFAULT: Schema = {
    "properties": {
        "constructor": {
            "anyOf": [
                {"enum": DEFAULTS},
                {"type": "object", "properties": {"type": {"enum": DEFAULTS}}, "required": ["type"]},
            ]
        }
    },
    "required": ["constructor"],
}
"""An ``optim_wrapper`` that says that the default constructor builds the optimizer."""
RULES: Mapping[type[Table], Schema] = {
    MatchTable: {"minProperties": 1},
    RoutesTable: {"type": "object", "required": ["type", "routes"]},
    TrainTable: {"anyOf": [{"required": ["max_epochs"]}, {"required": ["max_iters"]}]},
}
"""What a rule across the keys of a table asks for, where JSON schema has words for it."""
CAN_BE_INF: Mapping[type[Table], tuple[str, ...]] = {ClipByNorm: ("max_norm", "norm_type")}
"""The keys whose value can be ``inf``. JSON has no such number: Taplo hands it on as null."""


def job_schema(plugins: Plugins) -> dict[str, Any]:
    """The format of a job, a JSON schema of draft-07, with the names and arguments of these plugins, which are loaded for it."""
    return schema_of(load_for_schema(plugins))


def load_for_schema(plugins: Plugins) -> LoadedPlugins:
    """Load every plugin that a job's table can name."""
    models = (model for models in TABLES.values() for model in models if issubclass(model, PluginTable))
    return load_all(plugins, {model.kind for model in models})


def schema_of(found: LoadedPlugins) -> dict[str, Any]:
    """``job_schema``, of plugins that were loaded before."""
    whole = _Format(found).definitions()
    job, inheritance = whole.pop(Job.__name__), whole.pop(Inheritance.__name__)
    job = {**job, "properties": {**inheritance["properties"], **job["properties"]}}
    definitions = dict(_Split({**whole, Job.__name__: job}).definitions())
    return {
        "$schema": DRAFT,
        "title": "A job of optimctl",
        **definitions.pop(Job.__name__),
        "if": {"not": {"required": ["extends"]}},
        "then": {"$ref": f"{HERE}{Job.__name__}.{ALONE}"},
        "definitions": definitions,
    }


def schema_text(schema: Mapping[str, Any]) -> str:
    """A schema as a file has it; ASCII, so that any screen can show it and any tool read it."""
    return json.dumps(schema, indent=2, allow_nan=False) + "\n"


def table_schemas() -> dict[str, Schema]:
    """Every table of the format as pydantic describes it, by its model's name; without the string that may stand for it."""
    models = sorted({model for models in TABLES.values() for model in models}, key=lambda model: model.__name__)
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=HERE + "{model}")
    return {name: node["anyOf"][-1] if "anyOf" in node else node for name, node in made["$defs"].items()}


def forms_of(node: Schema) -> Iterator[Schema]:
    """The forms that a value can have, unions within unions resolved; TOML has no null."""
    several = node.get("anyOf", node.get("oneOf", node.get("allOf")))  # the last is how an older pydantic refers
    if several is None:
        yield from () if node.get("type") == "null" else (node,)
    else:
        yield from (form for each in several for form in forms_of(each))


class _Format:
    """The format's tables, as definitions of a JSON schema; what holds in a file that stands alone is marked with ``ALONE``."""

    def __init__(self, found: LoadedPlugins) -> None:
        self.found = found
        self.raw = table_schemas()
        self.models = {model.__name__: model for model in _subclasses(Table) if model.__name__ in self.raw}
        self.paths = {model: path[-1] for path, models in TABLES.items() if path for model in models}

    def definitions(self) -> dict[str, Schema]:
        """Every table by the name of its model."""
        return {name: self._table(self.models[name]) for name in self.raw}

    def _table(self, model: type[Table]) -> Schema:
        raw = self.raw[model.__name__]
        keys = {name: self._key(key) for name, key in raw["properties"].items()}
        table = _Node({"description": raw["description"], "type": "object", "properties": keys})
        further = raw["additionalProperties"]
        if further is not True:
            table.schema["additionalProperties"] = self._key(further) if further else False
        if raw.get("required"):
            table.schema |= {"required": raw["required"], "x-taplo": {"initKeys": raw["required"]}}
        self._add_rules(model, table)
        for name in CAN_BE_INF.get(model, ()):
            keys[name] = _or_null(keys[name])
        if issubclass(model, PluginTable) and further is True:
            self._add_plugins(model, table)
        return table.made(keys[model.shorthand] if model.shorthand else None)

    def _add_rules(self, model: type[Table], table: _Node) -> None:
        """What goes beyond single keys."""
        pairs = EXCLUSIVE.get(str(self.paths.get(model)), ())
        possible = [pair for pair in pairs if issubclass(model, PluginTable) or model.model_fields.keys() >= set(pair)]
        table.checks += [{"not": {"required": list(pair)}} for pair in possible]
        table.alone += [RULES[model]] if model in RULES else []
        if model is CustomKey:
            table.schema["additionalProperties"] = {"not": {"type": "object"}}
        if model is OptimWrapperTable:
            rules: Schema = {"properties": {"paramwise_cfg": {"$ref": HERE + ParamwiseCfg.__name__}}}
            table.schema["properties"]["paramwise_cfg"]["anyOf"] = [rules["properties"]["paramwise_cfg"], True]
            table.checks.append({"if": BY_DEFAULT, "then": rules})
            table.alone.append({"if": {"not": {"required": ["constructor"]}}, "then": rules})
        if model is OptimWrappers:
            name = _any_but(sorted(OptimWrapperTable.model_fields))
            table.schema["patternProperties"] = {name: table.schema["additionalProperties"]}
            table.schema["additionalProperties"] = False
        if model is Job:
            self._name_hooks(table.schema["properties"]["hooks"])

    def _add_plugins(self, model: type[PluginTable], table: _Node) -> None:
        keys = table.schema["properties"]
        keys["type"] = type_schema(model, self.found, keys["type"])
        table.offers.append(offered(model, self.found, self._with_own_table(model)))
        table.checks += checks(model, self.found)
        default = model.model_fields["type"].get_default()
        plugin = self.found.names(model).get(default) if isinstance(default, str) else None
        if plugin is not None:
            then = arguments_schema(plugin, model, self.found)
            table.alone.append({"if": {"not": {"required": ["type"]}}, "then": then})

    def _with_own_table(self, model: type[Table]) -> list[str]:
        """The plugins of a kind, by qualified name, that have a table of their own in the format."""
        tables = [self.raw[each.__name__] for each in model.__subclasses__() if each.__name__ in self.raw]
        return [name for table in tables for name in table["properties"]["type"].get("enum", [])]

    def _name_hooks(self, hooks: Schema) -> None:
        """A hook's table is called like its plugin, or names it."""
        names = self.found.names(HookTable)
        no_type = {"not": {"required": ["type"]}}
        hooks["properties"] = dict.fromkeys(names, hooks["additionalProperties"])
        by_name = {
            name: {"if": no_type, "then": arguments_schema(plugin, HookTable, self.found)}
            for name, plugin in names.items()
        }
        hooks[ALONE] = [{"properties": by_name, "additionalProperties": {"required": ["type"]}}]

    def _key(self, node: Schema) -> Schema:
        """One key's values; pydantic's titles say nothing new."""
        forms = [self._form(form) for form in forms_of(node)]
        told: Schema = {"description": _described(node)} if "description" in node else {}
        default = node.get("default")
        if isinstance(default, dict):  # a table's own keys have theirs
            default = default["type"] if list(default) == ["type"] else None
        told |= {"default": default} if is_toml(default) else {}
        if len(forms) == 1:
            return told | forms[0]
        if any("$ref" in form for form in forms):
            return told | self._forms([form if "$ref" in form else told | form for form in forms])
        return told | together(forms)

    def _form(self, node: Schema) -> Schema:
        inner = {
            word: self._key(node[word])
            for word in ("items", "additionalProperties")
            if isinstance(node.get(word), dict)
        }
        dropped = ("title", "description", "default", "unit", "additionalProperties")
        return {word: value for word, value in node.items() if word not in dropped} | inner

    def _forms(self, forms: list[Schema]) -> Schema:
        """A value of several forms, of which the first is meant where none of the others is."""
        first, *others = forms
        chosen: Schema = first
        for form in others:
            chosen = {"if": self._meant(form, first), "then": form, "else": chosen}
        return {"anyOf": [*forms, True], **chosen}

    def _meant(self, form: Schema, first: Schema) -> Schema:
        """What shows that a value is of this form, and not of the first one."""
        if "$ref" not in form:
            return {"type": "array"} if form["type"] == "array" else BY_NAME
        if self._model(form) is OptimWrappers:
            return SEVERAL
        own, others = (self._model(each).model_fields.keys() for each in (form, first))
        type_ = self.raw[form["$ref"].removeprefix(HERE)]["properties"]["type"]
        names: Schema = {"enum": type_.get("enum", [type_.get("const")])}
        return {
            "anyOf": [
                names,
                {"type": "object", "properties": {"type": names}, "required": ["type"]},
                {
                    "type": "object",
                    "anyOf": [{"required": [name]} for name in sorted(own - others)],
                    "not": {"anyOf": [{"required": [name]} for name in sorted({"type", *(others - own)})]},
                },
            ]
        }

    def _model(self, form: Schema) -> type[Table]:
        return self.models[form["$ref"].removeprefix(HERE)]


@dataclass
class _Node:
    """A table in the making: its schema, what is offered beside, what is checked, and what only where it stands alone."""

    schema: Schema
    offers: list[Schema] = field(default_factory=list)
    checks: list[Schema] = field(default_factory=list)
    alone: list[Schema] = field(default_factory=list)

    def made(self, shorthand: Schema | None) -> Schema:
        """The whole; ``shorthand`` is what a bare string in its place must be."""
        made = dict(self.schema)
        offers, otherwise = list(self.offers), {}
        if shorthand is not None:
            made["type"] = ["object", "string"]
            offers, otherwise = [*([] if "enum" in shorthand else [shorthand]), *offers], {"else": shorthand}
        if offers:
            made["anyOf"] = [*offers, True]
        if self.checks or otherwise:
            made |= {"if": {"type": "object"}, "then": {"allOf": self.checks} if self.checks else True, **otherwise}
        if self.alone:
            made[ALONE] = self.alone
        return made


class _Split:
    """Takes definitions apart: what holds in every file, and what only in one that stands alone, such as ``required``."""

    def __init__(self, marked: Mapping[str, Schema]) -> None:
        self.marked = marked
        self.done: dict[str, tuple[Schema, Schema]] = {}

    def definitions(self) -> Iterator[tuple[str, Schema]]:
        """All definitions, those for files that stand alone under names of their own."""
        for name in sorted(self.marked):
            always, alone = self.of(name)
            yield name, always
            if alone:
                yield f"{name}.{ALONE}", alone

    def of(self, name: str) -> tuple[Schema, Schema]:
        """Both parts of a definition; the second is empty where nothing is asked for."""
        if name not in self.done:
            self.done[name] = self._split(self.marked[name])
        return self.done[name]

    def _split(self, node: Schema) -> tuple[Schema, Schema]:
        always: Schema = {}
        alone: Schema = {}
        for word, value in node.items():
            kept, moved = self._split_word(word, value)
            always |= {word: kept} if kept is not None else {}
            alone |= {"allOf" if word == ALONE else word: moved} if moved else {}
        if "then" in alone or "else" in alone:
            alone["if"] = node["if"]
        if "additionalProperties" in alone:  # which are additional to the same ones
            alone["properties"] = dict.fromkeys(node.get("properties", ()), True) | alone.get("properties", {})
        return always, alone

    def _split_word(self, word: str, value: Any) -> tuple[Any, Any]:
        """What stays of a word of JSON schema, None for nothing, and what moves."""
        if word in ("required", ALONE):
            return None, value
        if word == "$ref":
            name = value.removeprefix(HERE)
            return value, f"{value}.{ALONE}" if self.of(name)[1] else None
        if word in ("items", "additionalProperties", "then", "else") and isinstance(value, dict):
            return self._split(value)
        if word in ("properties", "patternProperties"):
            parts = {name: self._split(one) if isinstance(one, dict) else (one, {}) for name, one in value.items()}
            moved = {name: alone for name, (_, alone) in parts.items() if alone}
            return {name: always for name, (always, _) in parts.items()}, moved
        if word == "allOf":
            both = [self._split(one) for one in value]
            return [always for always, _ in both], [alone for _, alone in both if alone]
        return value, None


def _subclasses(model: type[Table]) -> Iterator[type[Table]]:
    for each in model.__subclasses__():
        yield each
        yield from _subclasses(each)


def _described(node: Schema) -> str:
    return f"{node['description']} Unit: {node['unit']}." if "unit" in node else str(node["description"])


def _or_null(key: Schema) -> Schema:
    if "anyOf" in key:
        return {**key, "anyOf": [*key["anyOf"], {"type": "null"}]}
    return {**key, "type": [key["type"], "null"]}


def _any_but(names: Sequence[str]) -> str:
    """A pattern of every name but these; Taplo's regular expressions cannot look ahead, so it goes letter by letter."""
    return f"^({_other_endings(names)})$"


def _other_endings(endings: Sequence[str]) -> str:
    letters = sorted({ending[0] for ending in endings if ending})
    if not letters:
        return ".+"
    further = [letter + f"({_other_endings([one[1:] for one in endings if one[:1] == letter])})" for letter in letters]
    return "|".join([*([] if "" in endings else [""]), f"[^{''.join(letters)}].*", *further])
