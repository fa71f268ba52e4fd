"""What a job can tell a plugin: its arguments, the values of TOML that each takes, and the call.

In this room: ``Argument`` and ``arguments`` (what a plugin's signature, or its own pydantic model, says), ``json_type`` (an
annotation as a JSON schema: the same that an editor completes and that ``argument_problems`` checks) and ``call``.

A plugin may bring a pydantic model of its own arguments: the attribute ``Arguments`` of the class or function, a subclass of
``pydantic.BaseModel`` whose fields are the keys of the job's table. The table is held against it, strictly: ``"1"`` is no number,
though an array is fine for a tuple and a string for a path. It only checks: the plugin is called with the values as the job has
them (an array as a tuple, where the default is one), and defaults are the signature's. A validator may raise ``ValueError``, or
``JobError`` with keys below the table.

    class NetArguments(BaseModel):
        hidden: list[PositiveInt] = Field([64], description="Sizes of the hidden layers.")

    class Net(nn.Module):
        Arguments = NetArguments

        def __init__(self, hidden: Sequence[int] = (64,)) -> None: ...
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import inspect
import numbers
import os
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from optimctl.errors import JobError, Key, Problem, listing, nearest
from optimctl.plugins import KINDS, LoadedPlugin, plugin_code
from optimctl.sentences import WORDS, argument_lines, must_be, one_of, shown, wrong_type, wrong_value

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails
    from torch.optim.lr_scheduler import LRScheduler

EMPTY = inspect.Parameter.empty
JsonType = dict[str, Any]
"""A JSON schema, of the few words that ``json_type`` needs; empty for one that takes anything."""


@dataclass(frozen=True)
class Argument:
    """One key that a job's table can set for a plugin."""

    name: str
    required: bool
    default: Any = EMPTY
    annotation: Any = EMPTY
    description: str = ""
    """What the docstring says of it, on one line."""

    @property
    def json_type(self) -> JsonType:
        """The values of TOML that it takes: what the annotation says, and whatever is like the default."""
        wanted, usual = json_type(self.annotation), _type_of(self.default)
        if not wanted or usual is None or not list(_misfits(wanted, self.default, ())):
            return wanted
        return _union([wanted, {"type": usual}])


# --- what a plugin takes ----------------------------------------------------------------------------------------------


def arguments(loaded: LoadedPlugin) -> tuple[Argument, ...] | None:
    """What a job's table can set for a plugin, without what optimctl itself supplies; None where Python cannot tell."""
    if loaded.signature is None:
        return None
    model, described = own_model(loaded), _descriptions(loaded.object)
    found = {one.name: one for one in _fields(model)} if model else {}
    for parameter in _settable(loaded):
        name, default = parameter.name, parameter.default
        field = found.get(name) or Argument(name, False, annotation=_resolved(loaded.object, parameter))
        found[name] = replace(field, required=field.required or default is EMPTY, default=default)
    return tuple(replace(one, description=one.description or described.get(one.name, "")) for one in found.values())


def takes_any(loaded: LoadedPlugin) -> bool:
    """Whether a job's table may have keys that ``arguments`` does not name."""
    model = own_model(loaded)
    if model is not None:
        return model.model_config.get("extra") == "allow"
    return loaded.signature is None or any(p.kind is p.VAR_KEYWORD for p in loaded.signature.parameters.values())


def supplied_to(loaded: LoadedPlugin) -> list[str]:
    """The names of the arguments that optimctl itself gives: the first ones, by kind, and some by their names."""
    if loaded.signature is None:
        return []
    kind = KINDS[loaded.plugin.kind]
    parameters = list(loaded.signature.parameters.values())
    count = 1 if kind.name == "schedulers" and is_torch_scheduler(loaded.object) else kind.given
    leading = [p.name for p in parameters[:count] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return leading + [p.name for p in parameters[count:] if p.name in kind.supplied]


def is_torch_scheduler(item: Any) -> TypeGuard[type[LRScheduler]]:
    """Whether it is a class of ``torch.optim.lr_scheduler``, or one derived from them."""
    module = sys.modules.get("torch.optim.lr_scheduler")  # such a class has imported it
    return module is not None and isinstance(item, type) and issubclass(item, module.LRScheduler)


def own_model(loaded: LoadedPlugin) -> type[BaseModel] | None:
    """The pydantic model that a plugin brings for its own arguments."""
    pydantic, model = sys.modules.get("pydantic"), getattr(loaded.object, "Arguments", None)
    if pydantic is None or not isinstance(model, type) or not issubclass(model, pydantic.BaseModel):
        return None
    return model


def _settable(loaded: LoadedPlugin) -> list[inspect.Parameter]:
    parameters = loaded.signature.parameters.values() if loaded.signature else ()
    ours = supplied_to(loaded)
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in ours]


def _fields(model: type[BaseModel]) -> Iterator[Argument]:
    for name, field in model.model_fields.items():
        default = EMPTY if field.is_required() or field.default_factory is not None else field.default
        annotation = EMPTY if field.annotation is None else field.annotation
        yield Argument(field.alias or name, field.is_required(), default, annotation, field.description or "")


def _resolved(item: Any, parameter: inspect.Parameter) -> Any:
    """A parameter's annotation; empty where a name in it is not to be had."""
    if parameter.annotation is EMPTY or parameter.annotation is None:
        return EMPTY
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    for namespace in _namespaces(item):
        try:
            return typing.get_type_hints(holder, namespace)[parameter.name]
        except Exception:  # a name that only type checkers know, or whatever else stands there
            continue
    return EMPTY


def _namespaces(item: Any) -> Iterator[dict[str, Any]]:
    """Where the names in the annotations of a class or function may be known: its module, and those of its bases."""
    item = _function_of(item)
    if isinstance(item, type):
        yield from (vars(sys.modules[base.__module__]) for base in item.__mro__ if base.__module__ in sys.modules)
    else:
        yield getattr(item, "__globals__", {})


def _function_of(item: Any) -> Any:
    """The class, or the function itself, below a ``partial``, a decorator, a method or an object that is called."""
    while isinstance(item, functools.partial):
        item = item.func
    item = inspect.unwrap(item)
    return item if isinstance(item, type) or hasattr(item, "__globals__") else inspect.unwrap(type(item).__call__)


# --- docstrings -------------------------------------------------------------------------------------------------------

_SECTION = re.compile(
    r"(?:Args|Arguments|Parameters|Keyword Args|Keyword Arguments|Other Parameters|Attributes):?", re.I
)
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?")
_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_ROLE = re.compile(r":[\w:]+:(?=`)")


def _descriptions(item: Any) -> dict[str, str]:
    """What docstrings say of arguments, by name: those of a class, of its ``__init__``, and of its bases."""
    item = _function_of(item)
    holders = (
        [one for base in item.__mro__ for one in (base, vars(base).get("__init__"))]
        if isinstance(item, type)
        else [item]
    )
    found: dict[str, str] = {}
    for holder in holders:
        text = getattr(holder, "__doc__", None)
        for name, description in _described(inspect.cleandoc(text)) if isinstance(text, str) else ():
            found.setdefault(name, _ROLE.sub("", " ".join(description.split())))
    return found


def _described(docstring: str) -> Iterator[tuple[str, str]]:
    """The arguments that a docstring describes, in Google's, NumPy's or Sphinx' style."""
    lines = docstring.splitlines()
    for start, line in enumerate(lines):
        if match := _SPHINX.match(line.strip()):
            yield match[1], "\n".join([match[2], *_indented(lines, start + 1, _indent(line))])
        elif _SECTION.fullmatch(line.strip()) and start + 1 < len(lines):
            underlined = set(lines[start + 1].strip()) == {"-"}
            entries = (
                _numpy_entries(lines, start + 2) if underlined else _google_entries(lines, start + 1, _indent(line))
            )
            yield from entries


def _google_entries(lines: list[str], start: int, outer: int) -> Iterator[tuple[str, str]]:
    section = _indented(lines, start, outer)
    inner = next((_indent(line) for line in section if line.strip()), 0)
    for index, line in enumerate(section):
        if _indent(line) == inner and (match := _GOOGLE.match(line.strip())):
            yield match[1], "\n".join([match[2], *_indented(section, index + 1, inner)])


def _numpy_entries(lines: list[str], start: int) -> Iterator[tuple[str, str]]:
    for index in range(start, len(lines)):
        if index + 1 < len(lines) and set(lines[index + 1].strip()) == {"-"}:
            return  # the next section
        if lines[index].strip() and not _indent(lines[index]) and (match := _NUMPY.fullmatch(lines[index])):
            text = "\n".join(_indented(lines, index + 1, 0))
            yield from ((name.strip(), text) for name in match[1].split(","))


def _indented(lines: list[str], start: int, outer: int) -> list[str]:
    """The lines from ``start`` that are indented more than ``outer``, up to the first that is not; for ``_described``."""
    end = next((i for i in range(start, len(lines)) if lines[i].strip() and _indent(lines[i]) <= outer), len(lines))
    return lines[start:end]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# --- an annotation as the values of TOML that it takes ----------------------------------------------------------------

_PLAIN: Mapping[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    numbers.Integral: "integer",
    numbers.Real: "number",
    numbers.Number: "number",
    os.PathLike: "string",
}
_ARRAYS = (
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.MutableSequence,
    collections.abc.MutableSet,
    collections.abc.Sequence,
    collections.abc.Set,
)
_TABLES = (dict, collections.OrderedDict, collections.abc.Mapping, collections.abc.MutableMapping)
_NEVER: JsonType = {"not": {}}
"""What no value of TOML is: ``None``, a tensor."""
_DEEPEST = 8
"""Levels of an annotation that are looked at; aliases may contain themselves."""


def json_type(annotation: Any, _depth: int = 0) -> JsonType:
    """The values of TOML that an annotation takes, as a JSON schema; empty for all that is not known to refuse any.

    ``None`` and tensors drop out of unions: TOML has neither. A class that is not known here may well be made of a string or a
    table by the plugin itself, so that it takes anything.
    """
    found = _json_type(annotation, _depth)
    return {} if found == _NEVER else found


def _json_type(annotation: Any, depth: int) -> JsonType:
    if depth > _DEEPEST:
        return {}
    if annotation is None or annotation is type(None) or _is_tensor(annotation):
        return _NEVER
    if isinstance(annotation, typing.NewType):
        return _json_type(annotation.__supertype__, depth + 1)
    if type(annotation).__name__ == "TypeAliasType":  # of typing from Python 3.12 on, or of typing_extensions
        return _json_type(annotation.__value__, depth + 1)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _json_type(inner[0], depth + 1)
    if origin in (typing.Union, types.UnionType):
        return _union([_json_type(one, depth + 1) for one in inner])
    if origin is typing.Literal:
        return _choices(inner)
    return _of_class(annotation if origin is None else origin, inner, depth)


def _of_class(kind: Any, inner: tuple[Any, ...], depth: int) -> JsonType:
    if not isinstance(kind, type):
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind in _ARRAYS:
        return _array(kind, inner, depth)
    if kind in _TABLES:
        values = json_type(inner[1], depth + 1) if len(inner) == 2 else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if issubclass(kind, enum.Enum):
        return _choices(tuple(member.value for member in kind)) if issubclass(kind, (str, int)) else {}
    if issubclass(kind, os.PathLike) and kind.__module__.startswith("pathlib"):
        return {"type": "string"}
    return {"type": "object"} if typing.is_typeddict(kind) or hasattr(kind, "__pydantic_validator__") else {}


def _array(kind: type, inner: tuple[Any, ...], depth: int) -> JsonType:
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        items = [json_type(one, depth + 1) for one in inner]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    items_type = json_type(inner[0], depth + 1) if inner else {}
    return {"type": "array", **({"items": items_type} if items_type else {})}


def _choices(values: tuple[Any, ...]) -> JsonType:
    written = [value for value in values if value is not None]
    if not all(isinstance(value, (str, int, float)) and not isinstance(value, enum.Enum) for value in written):
        return {}
    return {"enum": written} if written else _NEVER


def _union(options: list[JsonType]) -> JsonType:
    """What any of several takes; the number takes in the whole number."""
    if {} in options:
        return {}
    flat = [one for option in options for one in option.get("anyOf", [option]) if one != _NEVER]
    flat = [one for one in flat if one != {"type": "integer"} or {"type": "number"} not in flat]
    distinct = [one for index, one in enumerate(flat) if one not in flat[:index]]
    if not distinct:
        return _NEVER
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _is_tensor(annotation: Any) -> bool:
    module = getattr(annotation, "__module__", None)
    return (
        isinstance(module, str)
        and module.partition(".")[0] == "torch"
        and annotation.__name__ in ("Tensor", "Parameter")
    )


# --- the check --------------------------------------------------------------------------------------------------------


def argument_problems(
    loaded: LoadedPlugin, key: Key, table: Mapping[str, Any], also: Sequence[str] = ()
) -> list[Problem]:
    """What is wrong with a table's arguments, held against the plugin's signature or its own model.

    Unknown names, missing ones, and values that are not of the type that is annotated. A schedule with ``problems()`` knows its
    values best: it is asked when it is made.

    Args:
        also: Further names that the table may use, for the hint at the nearest one.
    """
    known = arguments(loaded)
    if known is None:
        return []
    problems = [*_unknown(loaded, key, table, known, also)]
    model = own_model(loaded)
    if model is not None:
        problems += _model_problems(loaded, key, table, model)
    missing = [one.name for one in known if one.required and one.name not in table]
    problems += [Problem(key, f"{loaded} needs the argument '{name}'", "missing-argument") for name in missing]
    if not hasattr(loaded.object, "problems"):
        own = set(model.model_fields) if model else set()
        problems += [
            problem
            for one in known
            if one.name in table and one.name not in own
            for problem in _misfits(one.json_type, table[one.name], (*key, one.name))
        ]
    return problems


def _unknown(
    loaded: LoadedPlugin, key: Key, table: Mapping[str, Any], known: tuple[Argument, ...], also: Sequence[str]
) -> Iterator[Problem]:
    names, ours = [one.name for one in known], supplied_to(loaded)
    takes_more = takes_any(loaded)
    for name in table:
        if name in ours:
            message = f"optimctl itself gives {loaded} its '{name}'; take it out"
            yield Problem((*key, name), message, "given-argument")
        elif name not in names and not takes_more:
            words = [*names, *also]
            hint = nearest(name, words) or (f"; it takes {listing(words, 12)}" if words else "; it takes no arguments")
            yield Problem((*key, name), f"{loaded} has no argument '{name}'{hint}", "unknown-argument")


def _model_problems(loaded: LoadedPlugin, key: Key, table: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """What the plugin's own model says of values, and of tables in them."""
    from pydantic import ValidationError

    try:
        with plugin_code(loaded, key):
            try:
                _validate(model, table)
            except ValidationError as error:
                by_name = (
                    "missing-argument",
                    "unknown-argument",
                )  # known without the model, and told with the nearest name
                return [one.below(*key) for one in _told(loaded, error, table) if one.code not in by_name]
    except JobError as error:
        return list(error.problems)
    return []


def _validate(model: type[BaseModel], table: Mapping[str, Any]) -> None:
    """Out of JSON, pydantic's strictness takes an array for a tuple, and a string for a path; not everything from Python is JSON."""
    from pydantic_core import PydanticSerializationError, to_json

    try:
        written = to_json(table, inf_nan_mode="constants")
    except PydanticSerializationError:
        model.model_validate(dict(table))
    else:
        model.model_validate_json(written, strict=True)


def _told(loaded: LoadedPlugin, error: ValidationError, table: Mapping[str, Any]) -> list[Problem]:
    """A model's error as problems, keys as in the plugin's table."""
    problems: list[Problem] = []
    inside: list[ErrorDetails] = []
    for line in error.errors(include_url=False):
        match line["type"], line["loc"]:
            case _, ():
                message = f"{loaded} refuses its arguments: {wrong_value(line)}"
                problems.append(Problem((), message, "wrong-value"))
            case "missing", (name,):
                problems.append(Problem((), f"{loaded} needs the argument '{name}'", "missing-argument"))
            case "extra_forbidden", (name,):
                problems.append(Problem((name,), f"{loaded} has no argument '{name}'", "unknown-argument"))
            case _:
                inside.append(line)
    return [*problems, *argument_lines(inside, table)]


def _misfits(wanted: JsonType, value: Any, key: Key) -> Iterator[Problem]:
    """Why a value of TOML is none that a schema of ``json_type`` takes."""
    if _type_of(value) is None:
        return  # a date, or what only Python can say: the plugin's own matter
    options: list[JsonType] = wanted.get("anyOf", [wanted])
    found = [list(_misfit(option, value, key)) for option in options]
    if not all(found):
        return
    inside = [problems for option, problems in zip(options, found, strict=True) if _is_of(option.get("type"), value)]
    if inside:
        yield from inside[0]
    elif any("enum" in option for option in options):
        yield _wrong_choice(options, value, key)
    else:
        yield wrong_type(key, [option["type"] for option in options], value)


def _misfit(wanted: JsonType, value: Any, key: Key) -> Iterator[Problem]:
    """The problems of a value with one of the options of a schema."""
    if "enum" in wanted:
        if not any(
            isinstance(value, bool) == isinstance(choice, bool) and value == choice for choice in wanted["enum"]
        ):
            yield _wrong_choice([wanted], value, key)
    elif "type" in wanted and not _is_of(wanted["type"], value):
        yield wrong_type(key, [wanted["type"]], value)
    elif isinstance(value, (list, tuple)) and len(value) != wanted.get("minItems", len(value)):
        count = wanted["minItems"]
        yield Problem(key, f"must be an array of {count}, not of {len(value)}", "wrong-type")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            inner = wanted["prefixItems"][index] if "prefixItems" in wanted else wanted.get("items", {})
            yield from _misfits(inner, item, (*key, index))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _misfits(wanted.get("additionalProperties", {}), item, (*key, str(name)))


def _wrong_choice(options: list[JsonType], value: Any, key: Key) -> Problem:
    choices = [choice for option in options for choice in option.get("enum", ())]
    others = [WORDS[option["type"]] for option in options if "type" in option]
    words = one_of([*(shown_choice(choice) for choice in choices), *others])
    near = nearest(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) else ""
    return Problem(key, must_be(words, value) + near, "wrong-value")


def shown_choice(choice: Any) -> str:
    """A choice, in a sentence: ``'cos'``, ``1``, ``true``."""
    return repr(choice) if isinstance(choice, str) else shown(choice)


def _is_of(kind: str | None, value: Any) -> bool:
    """Whether a value is of a type of JSON schema, strictly: true is no number, though a whole number is one."""
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, numbers.Integral) and not isinstance(value, bool)
        case "number":
            return isinstance(value, numbers.Real) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, (list, tuple))
        case "object":
            return isinstance(value, Mapping)
    return False


def _type_of(value: Any) -> str | None:
    """The type of JSON schema that a value is of; None where it is of none."""
    return next((kind for kind in WORDS if _is_of(kind, value)), None)


# --- the call ---------------------------------------------------------------------------------------------------------


def call(loaded: LoadedPlugin, key: Key, table: Mapping[str, Any], *given: Any, seen_from: Key | None = None) -> Any:
    """Call a plugin with what optimctl gives (``given``) and what the table at ``key`` says.

    Args:
        seen_from: The table that the plugin's own ``JobError`` speaks about, where that is another than its own.

    Raises:
        JobError: An argument is unknown, missing or of the wrong type, or the plugin raised.
    """
    problems = argument_problems(loaded, key, table)
    if problems:
        raise JobError(problems)
    try:
        with plugin_code(loaded, key, seen_from):
            return loaded.object(*given, **with_tuples(loaded, table))
    except JobError as error:
        told = _told_of_table(loaded, error.__cause__, table)
        if told is None:
            raise
        raise JobError([one.below(*key) for one in told]) from error.__cause__


def with_tuples(loaded: LoadedPlugin, table: Mapping[str, Any]) -> dict[str, Any]:
    """A job's arguments as the plugin's own code knows them: an array comes as a tuple where the default is one."""
    tuples = {one.name for one in arguments(loaded) or () if isinstance(one.default, tuple)}
    return {
        name: tuple(value) if name in tuples and isinstance(value, list) else value for name, value in table.items()
    }


def _told_of_table(loaded: LoadedPlugin, error: BaseException | None, table: Mapping[str, Any]) -> list[Problem] | None:
    """The problems in a pydantic error that a plugin raised, where all of them are about its table; None otherwise."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(error, pydantic.ValidationError):
        return None
    about_it = all(_is_about(line["type"], line["loc"], loaded, table) for line in error.errors(include_url=False))
    return _told(loaded, error, table) if about_it else None


def _is_about(kind: str, loc: tuple[int | str, ...], loaded: LoadedPlugin, table: Mapping[str, Any]) -> bool:
    if kind == "missing" and len(loc) == 1:
        return takes_any(loaded) or loc[0] in [one.name for one in arguments(loaded) or ()]
    return not loc or loc[0] in table
