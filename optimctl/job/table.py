"""What all tables of the format share: strictness, the description of a key, rules across keys, and plugins' tables."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from optimctl.errors import PluginError, Problem
from optimctl.job.merge import EXCLUSIVE
from optimctl.job.messages import MOST
from optimctl.job.names import answering, meant
from optimctl.sentences import shown

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema
    from typing_extensions import Self

    from optimctl.plugins import Plugins

Rule = Callable[[Mapping[str, Any]], Iterator[Problem]]
"""What the keys of one table must have in common: yields problems, their keys seen from that table."""


def documented(default: Any, description: str, unit: str = "", **limits: Any) -> Any:
    """A key of the format: its default (``...`` where it must be given), what it does, and what its number counts."""
    return Field(default, description=description, json_schema_extra={"unit": unit} if unit else None, **limits)


class Table(BaseModel):
    """A table all of whose keys are known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    rules: ClassVar[tuple[Rule, ...]] = ()
    shorthand: ClassVar[str | None] = None
    """The key that a bare string in place of the table stands for."""

    @model_validator(mode="wrap")
    @classmethod
    def _apply_rules(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, str) and cls.shorthand:
            data = {cls.shorthand: data}
        elif cls.shorthand and not isinstance(data, (dict, cls)):
            raise wrong("wrong-type", f"must be a string or a table, not {shown(data)}")
        found = [problem for rule in cls.rules for problem in rule(data)] if isinstance(data, dict) else []
        if not found:
            return handler(data)
        details = [_detail(problem, data) for problem in found]
        try:
            handler(data)
        except ValidationError as error:
            details = [*_details(error), *details]
        raise ValidationError.from_exception_data(cls.__name__, details)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        table = handler(schema)
        return {"anyOf": [{"type": "string"}, table]} if cls.shorthand else table


class PluginTable(Table):
    """A table that names a plugin with `type`; its other keys are the plugin's own arguments."""

    model_config = ConfigDict(extra="allow")

    kind: ClassVar[str]
    """The kind of plugin that `type` names, as in the entry-point group ``optimctl.<kind>``."""

    type: str = documented(
        ..., "The plugin's name; `distribution/Name` where two distributions bring the same name.", min_length=1
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """The table's other keys, as plain TOML values; the caller's own copy."""
        return copy.deepcopy(self.model_extra or {})

    @field_validator("type")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        context = info.context or {}
        plugins: Plugins | None = context.get("plugins")
        if plugins is None or answering(plugins, cls.kind, value):
            return value
        context["unknown"] = context.get("unknown", 0) + 1
        if context["unknown"] > MOST:  # will not be shown, and hints take time
            raise wrong("unknown-plugin", f"no {cls.kind} are called so")
        try:
            plugins.get(cls.kind, meant(plugins, cls.kind, value))
        except PluginError as error:
            raise wrong(error.code, error.message) from error
        return value


def exclusive(table: str) -> Rule:
    """The rule that of each pair in ``EXCLUSIVE[table]`` only one may be given."""

    def only_one(data: Mapping[str, Any]) -> Iterator[Problem]:
        for pair in EXCLUSIVE[table]:
            if all(name in data for name in pair):
                later = [name for name in data if name in pair][-1]
                yield Problem((later,), f"`{pair[0]}` and `{pair[1]}` exclude each other; keep one", "exclusive-keys")

    return only_one


def wrong(code: str, message: str) -> PydanticCustomError:
    """What a validator raises: our own code, which has a hyphen, and the sentence that a person reads."""
    return PydanticCustomError(code, message)


def _detail(problem: Problem, data: Any) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(problem.code, problem.message), loc=problem.key, input=data)


def _details(error: ValidationError) -> list[InitErrorDetails]:
    """The lines of an error as what another error can be made from; codes with a hyphen are our own."""
    return [
        InitErrorDetails(
            type=wrong(line["type"], line["msg"]) if "-" in line["type"] else line["type"],
            loc=line["loc"],
            input=line["input"],
            ctx=line.get("ctx", {}),
        )
        for line in error.errors(include_url=False)
    ]
