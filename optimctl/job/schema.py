"""The job file's tables, in the order in which a job is usually written: the reference manual of the format.

A key's ``description`` says what it does, its ``unit`` what its number counts, its default what holds where it is absent.
Unknown keys are errors everywhere but in a plugin's table, whose other keys are the plugin's own arguments. Values are
strict: ``"1"`` is no number, ``true`` no float; an integer is fine where a float is asked for. What several keys of one
table must have in common is a ``Rule``; rules are told together with the errors of single keys.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard, cast

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    PrivateAttr,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from optimctl.errors import JobError, Key, Place, Problem, listing
from optimctl.job.length import parse_share
from optimctl.job.messages import problems_of
from optimctl.job.origins import Origins
from optimctl.job.table import PluginTable, Table, documented, exclusive, wrong
from optimctl.sentences import shown

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema
    from typing_extensions import Self

    from optimctl.job.merge import Dropped
    from optimctl.plugins import Plugins

DEFAULT_CONSTRUCTOR = "DefaultOptimWrapperConstructor"
DEFAULT_WRAPPER = "OptimWrapper"


# --- extends, unset ---------------------------------------------------------------------------------------------------


_PATHS = {"type": "array", "items": {"type": "string", "minLength": 1}}
OneOrSeveral = Annotated[
    list[Annotated[str, Field(min_length=1)]], WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _PATHS]})
]


class Inheritance(Table):
    """The two keys at the top of a file that say what it is built on; a job that was loaded has neither."""

    extends: OneOrSeveral = documented(
        [],
        "A file, or several, that this one builds on, relative to this file; of several, the later one wins over the earlier. "
        "Tables merge, arrays replace; a table that names another `type` replaces the whole table of its base.",
    )
    unset: list[Annotated[str, Field(min_length=1)]] = documented(
        [], "Keys of the base, dotted as in `train_cfg.max_iters`, that this file takes away."
    )

    @field_validator("extends", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, (str, list)):
            return [value] if isinstance(value, str) else value
        raise wrong("wrong-type", f"must be a path, or an array of paths, not {shown(value)}")


# --- [job] ------------------------------------------------------------------------------------------------------------


class LoadFrom(Table):
    """The weights that a run starts from; a bare string is the path."""

    shorthand = "path"

    path: str = documented(
        ..., "A safetensors file, or a state dict that torch saved; relative to the working directory.", min_length=1
    )
    prefix: str | None = documented(
        None,
        "Only the file's tensors whose names begin so are taken, and what is cut off their names before they are matched.",
    )
    strict: bool = documented(
        False, "Whether tensors that are missing, left over or of another shape are an error, or only shown."
    )


class JobTable(Table):
    """`[job]`: what the job is called, where it runs and what it starts from."""

    name: str | None = documented(
        None, "What the job is called. Default: the file's name without `.toml`.", min_length=1
    )
    seed: int = documented(0, "Seeds Python, NumPy, torch and the order of the data.", ge=0, le=2**32 - 1)
    device: str = documented(
        "auto", "`auto` (cuda, else mps, else cpu), or a device of torch: `cpu`, `cuda`, `cuda:1`."
    )
    work_dir: str | None = documented(
        None,
        "The folder in which each run makes its own, relative to the working directory. Default: `runs/<name>`.",
        min_length=1,
    )
    load_from: LoadFrom | None = documented(
        None, "Initial weights: a path, or a table of `path`, `prefix` and `strict`."
    )
    deterministic: bool = documented(
        False, "Whether torch must use deterministic algorithms, and raise where it has none."
    )
    compile: bool = documented(False, "Whether the model goes through `torch.compile`.")

    @field_validator("name")
    @classmethod
    def _is_a_folders_name(cls, value: str) -> str:
        if value in (".", "..") or not value.isprintable() or any(char in value for char in "/\\"):
            raise wrong(
                "wrong-value",
                f"must be fit for a folder's name, not {shown(value)}; `work_dir` says where runs are written",
            )
        return value

    @field_validator("work_dir")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not value.isprintable():
            raise wrong("wrong-value", f"must be fit for a folder's path, not {shown(value)}")
        return value

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not re.fullmatch("[a-z]+(:[0-9]{1,3})?", value):
            raise wrong(
                "wrong-value",
                f"must be 'auto', or a device of torch such as 'cpu', 'cuda' or 'cuda:1', not {shown(value)}",
            )
        return value


# --- [model], [task] --------------------------------------------------------------------------------------------------


class ModelTable(PluginTable):
    """`[model]`: the network; the keys beside `type` are its arguments."""

    kind = "models"


class TaskTable(PluginTable):
    """`[task]`: what a batch means to the model: its loss, and the metrics of an evaluation."""

    kind = "tasks"


# --- [train_dataloader], [val_dataloader], [test_dataloader] ----------------------------------------------------------


class DatasetTable(PluginTable):
    """`dataset`: where the samples come from. A dataset's own `collate_fn`, `sampler` and `batch_sampler` are used."""

    kind = "datasets"


_NEEDS_WORKERS = ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")


def _workers_for_their_options(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Options of worker processes need ``num_workers``: torch refuses them where there is none."""
    if data.get("num_workers", 0) == 0:
        for name in _NEEDS_WORKERS:
            if data.get(name) and isinstance(data[name], (int, float, str)):
                yield Problem(
                    (name,), f"`{name}` needs worker processes; set `num_workers` to 1 or more", "needs-workers"
                )


class DataLoaderTable(Table):
    """`[train_dataloader]`, `[val_dataloader]`, `[test_dataloader]`: a dataset, and every keyword of torch's `DataLoader`."""

    rules = (_workers_for_their_options,)

    dataset: DatasetTable = documented(..., "Where the samples come from.")
    batch_size: int = documented(1, "How many samples the model sees at once.", "samples", ge=1)
    shuffle: bool = documented(
        False, "Whether the order changes each epoch; it is a function of `job.seed` and the epoch."
    )
    num_workers: int = documented(
        0, "How many processes load samples; 0 loads them in the run's own process.", "processes", ge=0
    )
    pin_memory: bool = documented(
        False, "Whether batches are put into page-locked memory, from which copies to a GPU are faster."
    )
    drop_last: bool = documented(False, "Whether a last batch that is not full is left out.")
    timeout: float = documented(
        0.0, "How long to wait for a batch of a worker process; 0 waits for ever.", "seconds", ge=0
    )
    prefetch_factor: int | None = documented(
        None, "How many batches each worker process keeps ready. Default: 2, with workers.", "batches", ge=1
    )
    persistent_workers: bool = documented(False, "Whether worker processes live on from epoch to epoch.")
    pin_memory_device: str = documented("", "The device that `pin_memory` pins for. Default: the current accelerator.")
    in_order: bool = documented(True, "Whether batches keep the sampler's order, or come as workers finish them.")
    multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = documented(
        None, "How worker processes are started. Default: the system's own way."
    )


# --- [train_cfg] ------------------------------------------------------------------------------------------------------


def _has_a_length(data: Mapping[str, Any]) -> Iterator[Problem]:
    """One of ``max_epochs`` and ``max_iters`` is needed: a run has an end."""
    if "max_epochs" not in data and "max_iters" not in data:
        yield Problem((), "needs `max_epochs` or `max_iters`", "missing-key")


class TrainTable(Table):
    """`[train_cfg]`: how long a run is."""

    rules = (exclusive("train_cfg"), _has_a_length)

    max_epochs: int | None = documented(None, "The run's length; excludes `max_iters`.", "epochs", ge=1)
    max_iters: int | None = documented(None, "The run's length; excludes `max_epochs`.", "iterations", ge=1)
    val_interval: int = documented(
        1, "How often the model is validated, where there is a `val_dataloader`.", "epochs", ge=1
    )
    epoch_length: int | None = documented(
        None,
        "How long an epoch is; wins over the length of the data. Needed where the data has none.",
        "iterations",
        ge=1,
    )


# --- [optim_wrapper] --------------------------------------------------------------------------------------------------


def _belongs_to_the_wrapper(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of ``optim_wrapper`` stand above the header ``[optim_wrapper.optimizer]``; what follows it is the optimizer's."""
    for name in ("accumulative_counts", "constructor", "paramwise_cfg", "clip_grad"):
        if name in data and (name != "clip_grad" or isinstance(data[name], dict)):
            yield Problem((name,), "", "unknown-key")


class OptimizerTable(PluginTable):
    """`[optim_wrapper.optimizer]`: the optimizer; the keys beside `type` are its arguments."""

    kind = "optimizers"
    rules = (_belongs_to_the_wrapper,)


class ConstructorTable(PluginTable):
    """`constructor`: what turns the model and this table into parameter groups and an optimizer; a bare string is its `type`."""

    kind = "constructors"
    shorthand = "type"

    @property
    def is_default(self) -> bool:
        """Whether ``paramwise_cfg`` is read as ``ParamwiseCfg``."""
        return self.type.removeprefix("optimctl/") == DEFAULT_CONSTRUCTOR


def _norm_type(value: Any) -> float | str:
    """The p of a p-norm."""
    if value == "inf" or (_is_number(value) and value > 0):
        return cast("float | str", value)
    raise wrong("wrong-value", f'must be a number above 0, or "inf", not {shown(value)}')


NormType = Annotated[
    float | str,
    PlainValidator(_norm_type),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "inf"}]}),
]


class ClipByNorm(Table):
    """`clip_grad`: scales the gradients so that their norm, taken over all of them, stays within a bound."""

    type: Literal["norm"] = documented("norm", "Clip by norm.")
    max_norm: float = documented(..., "The largest norm; `inf` only measures it.", gt=0, allow_inf_nan=True)
    norm_type: NormType = documented(2.0, 'The p of the p-norm; `inf` or `"inf"` for the largest value.')
    error_if_nonfinite: bool = documented(False, "Whether a norm that is not finite ends the run.")

    @field_validator("type", mode="before")
    @classmethod
    def _is_one_of_two(cls, value: Any) -> Any:
        if value != "norm":
            raise wrong("wrong-value", f"must be 'norm' or 'value', not {shown(value)}")
        return value


class ClipByValue(Table):
    """`clip_grad`: cuts each value of a gradient off at a bound."""

    type: Literal["value"] = documented(..., "Clip by value.")
    clip_value: float = documented(..., "The largest magnitude that a value keeps.", gt=0)


def _clip_tag(data: Any) -> str:
    by_value = isinstance(data, ClipByValue) or (
        isinstance(data, dict) and (data.get("type") == "value" or "clip_value" in data)
    )
    return "<value>" if by_value and not (isinstance(data, dict) and "max_norm" in data) else "<norm>"


ClipGrad = Annotated[
    Annotated[ClipByNorm, Tag("<norm>")] | Annotated[ClipByValue, Tag("<value>")], Discriminator(_clip_tag)
]


Multiplier = Annotated[float, Field(ge=0)]


class CustomKey(Table):
    """One of `custom_keys`: what holds for the parameters whose names it matches; further keys are options of the optimizer."""

    model_config = ConfigDict(extra="allow")

    lr_mult: Multiplier | None = documented(None, "Multiplies the learning rate.", "factor")
    decay_mult: Multiplier | None = documented(None, "Multiplies the weight decay.", "factor")
    freeze: bool = documented(False, "Whether these parameters are not trained.")

    @property
    def options(self) -> dict[str, Any]:
        """Options of the optimizer that the key sets to a value of its own."""
        return copy.deepcopy(self.model_extra or {})

    @model_validator(mode="after")
    def _no_tables(self) -> Self:
        nested = next((name for name, value in (self.model_extra or {}).items() if isinstance(value, dict)), None)
        if nested is not None:
            raise wrong(
                "wrong-type", f"`{nested}` is a table here, and no option is; a name with dots is written in quotes"
            )
        return self


class ParamwiseCfg(Table):
    """`[optim_wrapper.paramwise_cfg]` of the default constructor: rules by which parameters get options of their own.

    A rule that is absent does nothing. A custom key replaces the rules by type (bias, norm, flat, depth-wise, offset).
    """

    lr_mult: Multiplier | None = documented(None, "Multiplies the learning rate of every parameter.", "factor")
    decay_mult: Multiplier | None = documented(None, "Multiplies the weight decay of every parameter.", "factor")
    bias_lr_mult: Multiplier | None = documented(
        None, "Multiplies the learning rate of biases, but those of norm layers and of offset layers of DCN.", "factor"
    )
    bias_decay_mult: Multiplier | None = documented(
        None,
        "Multiplies the weight decay of biases, but those of offset layers, and those of norm layers where `norm_decay_mult` is given.",
        "factor",
    )
    norm_decay_mult: Multiplier | None = documented(
        None, "Multiplies the weight decay of norm layers' weights and biases.", "factor"
    )
    flat_decay_mult: Multiplier | None = documented(
        None, "Multiplies the weight decay of parameters of one dimension.", "factor"
    )
    dwconv_decay_mult: Multiplier | None = documented(
        None, "Multiplies the weight decay of depth-wise convolutions.", "factor"
    )
    dcn_offset_lr_mult: Multiplier | None = documented(
        None, "Multiplies the learning rate of the offset layers of deformable convolutions.", "factor"
    )
    bypass_duplicate: bool = documented(
        False, "Accepted and without effect: a parameter that is used in several places is always counted once."
    )
    norm_types: list[Annotated[str, Field(min_length=1)]] = documented(
        [], "Further classes of modules, by name, that count as norm layers."
    )
    no_weight_decay: bool = documented(
        False, "Whether the model's own `no_weight_decay()` says which parameters are not decayed."
    )
    custom_keys: dict[Annotated[str, Field(min_length=1)], CustomKey] = documented(
        {},
        "Rules by name. A key matches the parameters whose names contain it, the longest key wins; `glob:` and `re:` before a key "
        "match the whole name.",
    )


def _says_what_it_takes(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A route has a condition: without one it would take every parameter, and leave the others none."""
    if not data:
        yield Problem((), f"say what the route takes: a table of {listing(MatchTable.model_fields)}", "missing-key")


AtLeastOne = Field(min_length=1)


class MatchTable(Table):
    """`match`: which parameters a route takes; one must fit all of the keys that are given, and one item of each."""

    rules = (_says_what_it_takes,)

    names: Annotated[list[Annotated[str, AtLeastOne]], AtLeastOne] = documented(
        [], "Substrings of the parameter's name, or `glob:` patterns of the whole name."
    )
    types: Annotated[list[Annotated[str, AtLeastOne]], AtLeastOne] = documented(
        [], "Classes of the parameter's module, by name; a base of its class counts too."
    )
    dimensions: Annotated[list[Annotated[int, Field(ge=0)]], AtLeastOne] = documented(
        [], "Numbers of the parameter's dimensions: 2 for matrices.", "dimensions"
    )


class RouteTable(Table):
    """`[[optim_wrapper.constructor.routes]]`: an optimizer, and the parameters that it takes; the first route that matches wins."""

    match: MatchTable = documented(..., "Which parameters it takes.")
    optimizer: OptimizerTable = documented(..., "The route's optimizer.")
    paramwise_cfg: ParamwiseCfg | None = documented(None, "Rules for the parameters of the route.")


def _has_a_route(data: Mapping[str, Any]) -> Iterator[Problem]:
    """There is at least one route: without any there is one optimizer, and nothing to construct."""
    if data.get("routes", []) == []:
        yield Problem((), "there is no route; add [[optim_wrapper.constructor.routes]]", "missing-key")


class RoutesTable(ConstructorTable):
    """`[optim_wrapper.constructor]` with `type = "Routes"`: several optimizers over one model, by rule.

    `optim_wrapper.optimizer` and `optim_wrapper.paramwise_cfg` are for what no route takes.
    """

    model_config = ConfigDict(extra="forbid")
    rules = (_has_a_route,)

    type: Literal["Routes", "optimctl/Routes"] = documented("Routes", "Several optimizers, by rule.")
    routes: list[RouteTable] = documented([], "The routes; the first one that matches a parameter takes it.")

    @property
    def arguments(self) -> dict[str, Any]:
        """The routes, as plain TOML values."""
        return self.model_dump(include={"routes"}, exclude_unset=True)


def _constructor_tag(data: Any) -> str:
    if isinstance(data, ConstructorTable):
        return "<routes>" if isinstance(data, RoutesTable) else "<constructor>"
    type_ = data.get("type") if isinstance(data, dict) else data
    return "<routes>" if type_ in ("Routes", "optimctl/Routes") else "<constructor>"


ConstructorForm = Annotated[
    Annotated[ConstructorTable, Tag("<constructor>")] | Annotated[RoutesTable, Tag("<routes>")],
    Discriminator(_constructor_tag),
]


def _plain_wrapper_has_no_options(data: Mapping[str, Any]) -> Iterator[Problem]:
    """``OptimWrapper`` has no options beside the format's own keys; other wrappers have."""
    if data.get("type", DEFAULT_WRAPPER) in (DEFAULT_WRAPPER, f"optimctl/{DEFAULT_WRAPPER}"):
        for name in data:
            if name not in OptimWrapperTable.model_fields:
                yield Problem((name,), "", "unknown-key")


class OptimWrapperTable(PluginTable):
    """`[optim_wrapper]`: the optimizer, and how a step is taken.

    The keys of other wrappers than `OptimWrapper` stand beside these: `dtype` and `loss_scale` of `AmpOptimWrapper`.
    """

    kind = "optim_wrappers"
    rules = (_plain_wrapper_has_no_options,)

    type: str = documented(
        DEFAULT_WRAPPER, "The wrapper: `OptimWrapper`, or `AmpOptimWrapper` for mixed precision.", min_length=1
    )
    optimizer: OptimizerTable = documented(..., "The optimizer.")
    accumulative_counts: int = documented(
        1, "How many batches' gradients are added up for one step.", "iterations", ge=1
    )
    clip_grad: ClipGrad | None = documented(None, "Clips the gradients before each step, by norm or by value.")
    constructor: ConstructorForm = documented(
        ConstructorTable(type=DEFAULT_CONSTRUCTOR),
        "What builds the optimizer; a name, or a table of `type` and arguments.",
    )
    paramwise_cfg: dict[str, Any] | None = documented(
        None, "Rules by which parameters get options of their own; what they mean is the constructor's."
    )

    @field_validator("paramwise_cfg")
    @classmethod
    def _rules_of_the_default(cls, value: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        constructor = info.data.get("constructor")
        if value is not None and constructor is not None and constructor.is_default:
            ParamwiseCfg.model_validate(value)
        return value


class OptimWrappers(Table):
    """`[optim_wrapper.<name>]`: several optimizers, each a table like `[optim_wrapper]`, by the paths of their sub-modules."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, OptimWrapperTable] = PrivateAttr(init=False)

    constructor: ConstructorForm | None = documented(
        None, "What builds the wrappers. Default: each sub-module's own constructor."
    )

    @property
    def wrappers(self) -> dict[str, OptimWrapperTable]:
        """The wrappers by the paths of their sub-modules, in the order of the job."""
        return dict(self.__pydantic_extra__ or {})


def _wrapper_tag(data: Any) -> str:
    """Several, too, where only some of the keys are tables with an optimizer: then the others are told what they lack."""
    if not isinstance(data, dict):
        return "<several>" if isinstance(data, OptimWrappers) else "<one>"
    tables = [value for name, value in data.items() if name != "constructor" and isinstance(value, dict)]
    return "<several>" if "optimizer" not in data and any("optimizer" in table for table in tables) else "<one>"


OptimWrapperForm = Annotated[
    Annotated[OptimWrapperTable, Tag("<one>")] | Annotated[OptimWrappers, Tag("<several>")], Discriminator(_wrapper_tag)
]


# --- [[param_scheduler]] ----------------------------------------------------------------------------------------------


_STEPS = 'must be a whole number, or a share of the run such as "5%", not '


def _steps(value: Any) -> float | str:
    """A point of a run: a number of steps, or a share of the run such as ``"5%"``."""
    if isinstance(value, str) and value.endswith("%"):
        if parse_share(value) is None:
            raise wrong("wrong-value", f'must be a share between "0%" and "100%", not {shown(value)}')
        return value
    if not _is_number(value) or not math.isfinite(value):
        raise wrong("wrong-type", _STEPS + shown(value))
    if value < 0:
        raise wrong("wrong-value", f"must be at least 0, not {value}")
    return value


Steps = Annotated[
    int | float | str,
    PlainValidator(_steps),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"}]}
    ),
]


def _ends_after_it_begins(data: Mapping[str, Any]) -> Iterator[Problem]:
    """A schedule covers at least one step; steps and shares can be compared only once the run's length is known."""
    begin, end = data.get("begin", 0), data.get("end")
    first, last = (parse_share(value) if isinstance(value, str) else value for value in (begin, end))
    comparable = type(begin) is type(end) or begin == 0
    if comparable and _is_number(first) and _is_number(last) and last <= first:
        yield Problem(("end",), f"must be after `begin`, which is {begin}; not {end}", "wrong-value")


def _whole_steps(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Only epochs that are converted to iterations can be fractions."""
    for name in ("begin", "end"):
        if isinstance(data.get(name), float) and data.get("convert_to_iter_based") is not True:
            yield Problem((name,), _STEPS + shown(data[name]), "wrong-type")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _converts_epochs(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Only what is given in epochs can be converted to iterations."""
    in_epochs = data.get("by", "epoch") == "epoch" and data.get("by_epoch", True) is True
    if data.get("convert_to_iter_based") is True and not in_epochs:
        yield Problem(
            ("convert_to_iter_based",),
            "converts epochs to iterations, and this schedule is not by epoch",
            "wrong-value",
        )


class ScheduleTable(PluginTable):
    """`[[param_scheduler]]`: a schedule of the learning rate or of another option; its further keys are its own arguments.

    The end of its name says what it moves: `…LR`, `…Momentum`, `…WeightDecay`; `…ParamScheduler` moves what `param_name` says.
    """

    kind = "schedulers"
    rules = (exclusive("param_scheduler"), _whole_steps, _ends_after_it_begins, _converts_epochs)

    begin: Steps = documented(
        0, 'When it begins: a number, or a share of the run such as "5%".', "epochs, iterations or updates"
    )
    end: Steps | None = documented(
        None, "When it ends, exclusive. Default: the end of the run.", "epochs, iterations or updates"
    )
    by_epoch: bool | None = documented(
        None, "Whether it steps each epoch (the default) or each iteration; excludes `by`."
    )
    by: Literal["epoch", "iteration", "update"] | None = documented(
        None, "What it steps by; an update is a step of the optimizer. Excludes `by_epoch`."
    )
    convert_to_iter_based: bool = documented(
        False, "Whether it steps each iteration although `begin`, `end` and its other arguments are given in epochs."
    )
    param_name: str | None = documented(
        None,
        "The option of the optimizer that it moves, where the name of the schedule does not say: `lr`, `betas[1]`.",
        min_length=1,
    )


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, (dict, ScheduleTable)) for item in value)


def _schedule_tag(data: Any) -> str:
    if isinstance(data, list):
        return "<list>"
    by_name = (
        isinstance(data, dict)
        and "type" not in data
        and data
        and all(isinstance(value, dict) or _is_tables(value) for value in data.values())
    )
    return "<by name>" if by_name else "<one>"


ParamScheduler = Annotated[
    Annotated[ScheduleTable, Tag("<one>")]
    | Annotated[list[ScheduleTable], Tag("<list>")]
    | Annotated[dict[str, list[ScheduleTable]], Tag("<by name>")],
    Discriminator(_schedule_tag),
]


# --- [log], [checkpoint], [hooks] -------------------------------------------------------------------------------------


class LogTable(Table):
    """`[log]`: what a run tells while it runs."""

    interval: int = documented(10, "How often a record is written.", "iterations", ge=1)


class SaveBest(Table):
    """`save_best`: the metric by which the best checkpoint is kept; a bare string is the metric."""

    shorthand = "metric"

    metric: str = documented(..., "A metric of the task.", min_length=1)
    rule: Literal["max", "min"] | None = documented(
        None, "Which way is better. Default: what the task says of its metric."
    )


class CheckpointTable(Table):
    """`[checkpoint]`: what is kept of a run."""

    interval: int = documented(1, "How often a checkpoint is written.", "epochs", ge=1)
    keep: int | None = documented(
        None, "How many of the newest checkpoints are kept. Default: all.", "checkpoints", ge=1
    )
    save_best: SaveBest | None = documented(
        None, "Keeps the best checkpoint beside them: the name of a metric, or a table of `metric` and `rule`."
    )


class HookTable(PluginTable):
    """`[hooks.<name>]`: what else happens during a run: averaged weights, early stopping, trackers."""

    kind = "hooks"

    type: str = documented(..., "The plugin's name. Default: the table's name.", min_length=1)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        table = handler(schema)
        table.pop("required")  # the job gives each its name
        return table


# --- the whole --------------------------------------------------------------------------------------------------------


def _schedules_fit_the_optimizers(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Schedules by name need the optimizers of these names; a constructor of a plugin may make its own."""
    wrappers, schedules = data.get("optim_wrapper"), data.get("param_scheduler")
    if not isinstance(wrappers, dict) or _schedule_tag(schedules) != "<by name>" or not isinstance(schedules, dict):
        return
    if wrappers.get("constructor", DEFAULT_CONSTRUCTOR) != DEFAULT_CONSTRUCTOR:
        return
    names = [name for name in wrappers if name != "constructor"] if _wrapper_tag(wrappers) == "<several>" else []
    for name in schedules:
        if name not in names:
            those = " or ".join(f"`{name}`" for name in names) if names else "one optimizer, which has no name"
            yield Problem(
                ("param_scheduler", name),
                f"no optimizer is called '{name}'; `optim_wrapper` has {those}",
                "unknown-optimizer",
            )


class Job(Table):
    """A job, resolved: its files merged, the command's options applied, every key checked.

    All sections may be absent; a command says which it needs.
    """

    rules = (_schedules_fit_the_optimizers,)

    job: JobTable = documented(JobTable(), "What the job is called, where it runs and what it starts from.")
    model: ModelTable | None = documented(None, "The network.")
    task: TaskTable | None = documented(None, "What a batch means to the model: its loss and its metrics.")
    train_dataloader: DataLoaderTable | None = documented(None, "The data to train on.")
    val_dataloader: DataLoaderTable | None = documented(
        None, "The data to validate on, every `train_cfg.val_interval`."
    )
    test_dataloader: DataLoaderTable | None = documented(None, "The data to test on, once all is trained.")
    train_cfg: TrainTable | None = documented(None, "How long a run is.")
    optim_wrapper: OptimWrapperForm | None = documented(
        None, "The optimizer and how a step is taken; several by name, where each key is a table with an `optimizer`."
    )
    param_scheduler: ParamScheduler = documented(
        [], "Schedules: one table, an array of them, or, for several optimizers, arrays by the optimizers' names."
    )
    log: LogTable = documented(LogTable(), "What a run tells while it runs.")
    checkpoint: CheckpointTable = documented(CheckpointTable(), "What is kept of a run.")
    hooks: dict[str, HookTable] = documented({}, "What else happens during a run, by name.")

    _origins: Origins = PrivateAttr(default_factory=Origins)

    @field_validator("hooks", mode="before")
    @classmethod
    def _named_by_their_tables(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"type": name, **table} if isinstance(table, dict) else table for name, table in value.items()}

    @property
    def name(self) -> str:
        """What the job is called: `job.name`, or the file's stem."""
        return self.job.name or (self.file.stem if self.file else "job")

    @property
    def file(self) -> Path | None:
        """The file that was loaded; None for a job made in Python."""
        return Path(self._origins.file) if self._origins.file else None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The command's options, as ``--set KEY=VALUE`` and ``--unset KEY``."""
        return tuple(str(option) for option in self._origins.options)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """What a later file or option made go: by another `type`, or by a key that excludes it."""
        return self._origins.dropped

    def place(self, key: Key) -> Place | None:
        """Where the value that won for ``key`` was written: of its nearest ancestor, where the key itself is absent."""
        return self._origins.place(key)

    def located(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems with their places, in the order of the file."""
        return self._origins.located(problems)

    def plain(self) -> dict[str, Any]:
        """The resolved job as plain TOML values, as written, without defaults; the caller's own copy."""
        return copy.deepcopy(dict(self._origins.data))


TABLES: Mapping[Key, tuple[type[Table], ...]] = {
    (): (Inheritance, Job),
    ("job",): (JobTable,),
    ("job", "load_from"): (LoadFrom,),
    ("model",): (ModelTable,),
    ("task",): (TaskTable,),
    **{
        key: (model,)
        for name in ("train_dataloader", "val_dataloader", "test_dataloader")
        for key, model in (((name,), DataLoaderTable), ((name, "dataset"), DatasetTable))
    },
    ("train_cfg",): (TrainTable,),
    ("optim_wrapper",): (OptimWrapperTable,),
    ("optim_wrapper", "optimizer"): (OptimizerTable,),
    ("optim_wrapper", "clip_grad"): (ClipByNorm, ClipByValue),
    ("optim_wrapper", "constructor"): (ConstructorTable, RoutesTable),
    ("optim_wrapper", "constructor", "routes"): (RouteTable,),
    ("optim_wrapper", "constructor", "routes", "match"): (MatchTable,),
    ("optim_wrapper", "constructor", "routes", "optimizer"): (OptimizerTable,),
    ("optim_wrapper", "constructor", "routes", "paramwise_cfg"): (ParamwiseCfg,),
    ("optim_wrapper", "constructor", "routes", "paramwise_cfg", "custom_keys", "*"): (CustomKey,),
    ("optim_wrapper", "paramwise_cfg"): (ParamwiseCfg,),
    ("optim_wrapper", "paramwise_cfg", "custom_keys", "*"): (CustomKey,),
    ("param_scheduler",): (ScheduleTable,),
    ("log",): (LogTable,),
    ("checkpoint",): (CheckpointTable,),
    ("checkpoint", "save_best"): (SaveBest,),
    ("hooks", "*"): (HookTable,),
}
"""The format's tables by their paths, in the order of the manual; ``"*"`` stands for any name."""

KEYS: Mapping[Key, tuple[str, ...]] = {
    path: tuple(dict.fromkeys(name for model in models for name in model.model_fields))
    for path, models in TABLES.items()
}
"""The names of each table's keys."""


# --- for tables from Python -------------------------------------------------------------------------------------------


def read_paramwise(table: Mapping[str, Any], key: Key = ()) -> ParamwiseCfg:
    """The default constructor's ``paramwise_cfg``, checked.

    Raises:
        JobError: With a problem, its key below ``key``, for each thing that is wrong.
    """
    return cast("ParamwiseCfg", _read(ParamwiseCfg, table, key, ("optim_wrapper", "paramwise_cfg")))


def read_optim_wrapper(table: Mapping[str, Any], key: Key = ()) -> OptimWrapperTable | OptimWrappers:
    """``optim_wrapper`` from a plain dict: one, or several by name. Names of plugins are not looked up.

    Raises:
        JobError: With a problem, its key below ``key``, for each thing that is wrong.
    """
    return cast("OptimWrapperTable | OptimWrappers", _read(OptimWrapperForm, table, key, ("optim_wrapper",)))


def read_routes(tables: Sequence[Mapping[str, Any]], key: Key = ()) -> list[RouteTable]:
    """The routes of the constructor `Routes`, from plain dicts.

    Raises:
        JobError: With a problem, its key below ``key``, for each thing that is wrong.
    """
    section = ("optim_wrapper", "constructor", "routes")
    return cast("list[RouteTable]", _read(list[RouteTable], tables, key, section))


def read_clip_grad(table: Mapping[str, Any], key: Key = ()) -> ClipByNorm | ClipByValue:
    """``clip_grad`` from a plain dict.

    Raises:
        JobError: With a problem, its key below ``key``, for each thing that is wrong.
    """
    return cast("ClipByNorm | ClipByValue", _read(ClipGrad, table, key, ("optim_wrapper", "clip_grad")))


def read_param_scheduler(
    tables: Mapping[str, Any] | Sequence[Mapping[str, Any]], key: Key = ()
) -> ScheduleTable | list[ScheduleTable] | dict[str, list[ScheduleTable]]:
    """``param_scheduler`` from plain values: one table, several, or lists by name. Names of plugins are not looked up.

    Raises:
        JobError: With a problem, its key below ``key``, for each thing that is wrong.
    """
    return cast(
        "ScheduleTable | list[ScheduleTable] | dict[str, list[ScheduleTable]]",
        _read(ParamScheduler, tables, key, ("param_scheduler",)),
    )


def read_inheritance(data: Mapping[str, Any]) -> Inheritance:
    """What the top of a file says of its base.

    Raises:
        JobError: With a problem for each thing that is wrong.
    """
    return cast(
        "Inheritance",
        _read(Inheritance, {name: data[name] for name in Inheritance.model_fields if name in data}, (), ()),
    )


def read_job(data: Mapping[str, Any], plugins: Plugins | None = None) -> Job:
    """A job from resolved data; with ``plugins``, the plugins that it names are looked up (nothing is loaded).

    Raises:
        JobError: With a problem for each thing that is wrong.
    """
    return cast("Job", _read(Job, data, (), (), {"plugins": plugins}))


def _read(form: Any, data: Any, key: Key, section: Key, context: Mapping[str, Any] | None = None) -> Any:
    try:
        return TypeAdapter(form).validate_python(_plain(data), context=dict(context or {}))
    except ValidationError as error:
        raise JobError([problem.below(*key) for problem in problems_of(error, data, section, KEYS)]) from error


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return dict(data)
    return list(data) if isinstance(data, tuple) else data
