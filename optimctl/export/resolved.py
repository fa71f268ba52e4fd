"""A job with every default written out: the format's own, and those of the plugins' arguments.

What cannot stand there as a value stands as a comment. So does what would not mean the same once it is written: how an optimizer
computes its step (to name one way keeps torch from choosing another), and the device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optimctl import plugins
from optimctl.arguments import check_arguments
from optimctl.errors import Key, visible
from optimctl.job.named import answering
from optimctl.job.plugin_schema import is_toml, plain_default
from optimctl.job.schema import JobTable, OptimizerTable, OptimWrapperTable, ParamwiseCfg, ScheduleTable
from optimctl.job.syntax import limit_problems
from optimctl.job.table import PluginTable, Table
from optimctl.job.write import WIDTH, Document, toml_key, toml_value
from optimctl.optim.constructor import IMPLEMENTATIONS
from optimctl.schedule.place import TORCH_STEPS
from optimctl.signatures import EMPTY, Argument, argument_problems, arguments, is_torch_scheduler
from optimctl.train.run import default_work_dir

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from optimctl.job.schema import Job
    from optimctl.plugins import LoadedPlugin

HEAD = """\
A job of optimctl with every default written out. Behind a # stands the default of a key that is not given:
one that is no value of TOML, or one that is left to the machine."""
_DEFAULT = re.compile(r"Default: (.*?)\.?$")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def with_defaults(job: Job) -> Document:
    """The job, resolved, every plugin as ``distribution/Name``, and every default.

    Loaded again it is the same job in effect, and this document. Plugins are loaded, for their signatures; no model and no data
    is made.

    Raises:
        JobError: A plugin cannot be loaded, or does not take what the job gives it.
    """
    check_arguments(job)
    writer = _Writer(job)
    return Document(writer.table((), job), writer.comments)


class _Writer:
    """Writes table after table; what becomes a comment is noted beside."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.comments: dict[Key, str] = {(): HEAD}

    def table(self, key: Key, table: Table) -> dict[str, Any]:
        """The table's keys in the order of the format, then what a plugin takes, in the order of its signature."""
        loaded = _loaded(table) if isinstance(table, PluginTable) else None
        written: dict[str, Any] = {}
        for name, field in type(table).model_fields.items():
            value = self._said(table, name)
            if value is not None and (name in table.model_fields_set or _can_stand(table, name, field, value, loaded)):
                written[name] = self._value((*key, name), value)
            else:
                self._comment((*key, name), value, field.description or "")
        further: Mapping[str, Any] = table.model_extra or {}
        if isinstance(table, PluginTable) and loaded is not None:
            return {**written, **self._arguments(key, table, loaded, further)}
        return {**written, **{name: self._value((*key, name), value) for name, value in further.items()}}

    def _value(self, key: Key, value: Any) -> Any:
        if isinstance(value, Table):
            return self.table(key, value)
        if isinstance(value, Mapping):
            return {name: self._value((*key, name), item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value((*key, index), item) for index, item in enumerate(value)]
        return value

    def _said(self, table: Table, name: str) -> Any:
        """What a key of the format means, where that is not simply what is written there."""
        value = getattr(table, name)
        match table, name:
            case JobTable(), "name":
                return self.job.name
            case JobTable(), "work_dir":
                return default_work_dir(self.job).as_posix()
            case ScheduleTable(), "by_epoch" if value is None and table.by is None:
                return True
            case OptimWrapperTable(), "paramwise_cfg" if value is not None and table.constructor.is_default:
                return ParamwiseCfg.model_validate(value)
            case PluginTable(), "type" if "/" not in value:
                return f"{_plugin(table).distribution}/{value}"
        return value

    def _arguments(
        self, key: Key, table: PluginTable, loaded: LoadedPlugin, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        own = type(table).model_fields
        known = [one for one in arguments(loaded) or () if one.name not in own]
        defaults = {
            one.name: _in_effect(loaded, one) for one in known if one.name not in given and one.default is not EMPTY
        }
        standing = _standing(table, loaded, given, defaults)
        written = {}
        for one in known:
            if one.name in given or one.name in standing:
                written[one.name] = given[one.name] if one.name in given else plain_default(standing[one.name])
            elif one.name in defaults:
                self._comment((*key, one.name), defaults[one.name])
        return {**written, **given}

    def _comment(self, key: Key, value: Any, description: str = "") -> None:
        told = _DEFAULT.search(description) if value is None else None
        meaning = f" ({told[1]})" if told else ""
        self.comments[key] = f"{toml_key(str(key[-1]))} = {_shown(value)}{meaning}"


def _plugin(table: PluginTable) -> plugins.Plugin:
    return answering(table) or plugins.installed().get(table.kind, table.type)


def _loaded(table: PluginTable) -> LoadedPlugin:
    return plugins.load(_plugin(table), plugins.installed().project)


def _can_stand(table: Table, name: str, field: FieldInfo, default: Any, loaded: LoadedPlugin | None) -> bool:
    """Whether a default of the format means the same once it is written."""
    if isinstance(table, JobTable) and name == "device":
        return False
    if isinstance(table, OptimWrapperTable) and name == "accumulative_counts" and loaded is not None:
        return any(one.name == name and one.default == default for one in arguments(loaded) or ())
    least = max((getattr(limit, "min_length", None) or 0 for limit in field.metadata), default=0)
    return not isinstance(default, list) or len(default) >= least


def _standing(
    table: PluginTable, loaded: LoadedPlugin, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The defaults of a plugin that mean the same once they are written."""
    not_the_same = {*_chosen_by_the_machine(table), *_scaled(table, loaded)}
    in_signature = loaded.signature.parameters if loaded.signature else {}
    exact = {
        name: default
        for name, default in defaults.items()
        if name in in_signature and name not in not_the_same and is_exact(default)
    }
    plain = {name: plain_default(default) for name, default in exact.items()}
    refused = {problem.key[:1] for problem in argument_problems(loaded, (), {**given, **plain})}
    return {name: default for name, default in exact.items() if not refused & {(), (name,)}}


def _chosen_by_the_machine(table: PluginTable) -> tuple[str, ...]:
    return IMPLEMENTATIONS if isinstance(table, OptimizerTable) else ()


def _scaled(table: PluginTable, loaded: LoadedPlugin) -> tuple[str, ...]:
    """Arguments that count epochs where a job gives them, and iterations where it does not."""
    if not isinstance(table, ScheduleTable) or not table.convert_to_iter_based:
        return ()
    return TORCH_STEPS if is_torch_scheduler(loaded.object) else tuple(getattr(loaded.object, "steps", ()))


def _in_effect(loaded: LoadedPlugin, one: Argument) -> Any:
    """An argument's default, but for the one of torch's schedulers that optimctl changes: a schedule moves one option."""
    return False if one.name == "cycle_momentum" and is_torch_scheduler(loaded.object) else one.default


def is_exact(default: Any) -> bool:
    """Whether a plugin that is given a default out of a job gets just what it would have without: a tuple comes as one."""
    if type(default) not in (bool, int, float, str, list, tuple, dict) or not is_toml(default):
        return False
    plain = plain_default(default)
    return (tuple(plain) if isinstance(default, tuple) else plain) == default and not limit_problems(plain)


def _shown(default: Any) -> str:
    """A default, in a comment: as TOML where that can say it, else as Python shows it; the same in every process."""
    text = toml_value(default) if is_toml(default) else _ADDRESS.sub("", " ".join(_python(default).split()))
    return visible(text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ...")


def _python(value: Any) -> str:
    try:
        if isinstance(value, (set, frozenset)) and value:  # in an order of its own in every process
            items = f"{{{', '.join(sorted(map(repr, value)))}}}"
            return items if isinstance(value, set) else f"frozenset({items})"
        return repr(value)
    except Exception:  # a plugin's own
        return f"<{type(value).__name__}>"


__all__ = ["is_exact", "with_defaults"]
