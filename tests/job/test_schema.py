"""The format's tables: what they take, what they give, and that they read as a manual."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from optimctl.errors import JobError
from optimctl.job.load import job_from_dict
from optimctl.job.names import scheduler_names
from optimctl.job.schema import (
    TABLES,
    ClipByNorm,
    ClipByValue,
    DataLoaderTable,
    Job,
    OptimWrappers,
    OptimWrapperTable,
    ScheduleTable,
    read_optim_wrapper,
    read_param_scheduler,
    read_paramwise,
)

SGD = {"type": "SGD", "lr": 0.1}


def wrapper(**more: Any) -> OptimWrapperTable:
    table = read_optim_wrapper({"optimizer": SGD, **more})
    assert isinstance(table, OptimWrapperTable)
    return table


# --- the manual -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [model for models in TABLES.values() for model in models])
def test_every_key_is_described(model: type[BaseModel]) -> None:
    assert (model.__doc__ or "").strip().endswith((".", "types (bias, norm, flat, depth-wise, offset)."))
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.description.endswith((".", "match the whole name.")), (name, field.description)
        counts = isinstance(field.default, int) and not isinstance(field.default, bool) and name != "seed"
        assert not counts or field.json_schema_extra, f"{name} has no unit"


def test_the_dataloader_has_every_keyword_of_torch_that_toml_can_express() -> None:
    from torch.utils.data import DataLoader

    theirs = {
        name: parameter.default
        for name, parameter in inspect.signature(DataLoader.__init__).parameters.items()
        if name not in ("self", "sampler", "batch_sampler", "collate_fn", "worker_init_fn", "generator")
    }
    ours = {name: field.default for name, field in DataLoaderTable.model_fields.items()}
    assert set(ours) == set(theirs)
    assert {name for name in ours if theirs[name] not in (ours[name], None)} == {"dataset"}


def test_the_format_as_a_json_schema() -> None:
    schema = Job.model_json_schema()
    assert set(schema["properties"]) == set(Job.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["TrainTable"]["properties"]["val_interval"] == {
        "default": 1,
        "description": "How often the model is validated, where there is a `val_dataloader`.",
        "minimum": 1,
        "title": "Val Interval",
        "type": "integer",
        "unit": "epochs",
    }
    assert schema["$defs"]["ConstructorTable"]["anyOf"][0] == {"type": "string"}
    assert "required" not in schema["$defs"]["HookTable"]


# --- what the tables give ---------------------------------------------------------------------------------------------


def test_a_plugins_arguments_are_untouched_and_the_callers_own() -> None:
    given = {"lr": 1, "betas": (0.9, 0.999), "copy": "x", "arguments": [1, {"kind": 2}], "_private": 3}
    table = wrapper(optimizer={"type": "SGD", **given}).optimizer
    assert table.arguments == given
    table.arguments["arguments"].append(2)
    assert table.arguments == given


def test_an_optim_wrapper_and_its_defaults() -> None:
    table = wrapper()
    assert (table.type, table.accumulative_counts, table.clip_grad, table.paramwise_cfg) == (
        "OptimWrapper",
        1,
        None,
        None,
    )
    assert (table.constructor.type, table.constructor.arguments) == ("DefaultOptimWrapperConstructor", {})
    assert table.constructor.is_default
    assert table.arguments == {}


def test_options_of_another_wrapper_are_its_arguments() -> None:
    table = wrapper(type="AmpOptimWrapper", dtype="bfloat16", loss_scale={"init_scale": 1024.0})
    assert table.arguments == {"dtype": "bfloat16", "loss_scale": {"init_scale": 1024.0}}


@pytest.mark.parametrize("form", ["Mine", {"type": "Mine"}])
def test_both_forms_of_a_constructor(form: Any) -> None:
    table = wrapper(constructor=form, paramwise_cfg={"decay_rate": 0.9, "anything": {}})
    assert (table.constructor.type, table.constructor.is_default) == ("Mine", False)
    assert table.paramwise_cfg == {"decay_rate": 0.9, "anything": {}}


@pytest.mark.parametrize("name", ["DefaultOptimWrapperConstructor", "optimctl/DefaultOptimWrapperConstructor"])
def test_the_default_constructors_table_is_checked_under_both_its_names(name: str) -> None:
    with pytest.raises(JobError) as error:
        wrapper(constructor=name, paramwise_cfg={"decay_rate": 0.9})
    assert str(error.value) == (
        "paramwise_cfg.decay_rate: unknown key; "
        "another constructor than the default one takes it; name it in `optim_wrapper.constructor`"
    )


@pytest.mark.parametrize(
    ("table", "clip"),
    [
        ({"max_norm": 35}, ClipByNorm(max_norm=35.0)),
        ({"type": "norm", "max_norm": 1.0, "norm_type": "inf"}, ClipByNorm(max_norm=1.0, norm_type="inf")),
        (
            {"max_norm": float("inf"), "norm_type": float("inf")},
            ClipByNorm(max_norm=float("inf"), norm_type=float("inf")),
        ),
        ({"type": "value", "clip_value": 0.5}, ClipByValue(type="value", clip_value=0.5)),
    ],
)
def test_clipping(table: dict[str, Any], clip: ClipByNorm | ClipByValue) -> None:
    assert wrapper(clip_grad=table).clip_grad == clip


def test_several_optimizers() -> None:
    table = read_optim_wrapper(
        {"net.generator": {"optimizer": SGD}, "critic": {"optimizer": SGD}, "constructor": "Mine"}
    )
    assert isinstance(table, OptimWrappers)
    assert list(table.wrappers) == ["net.generator", "critic"]
    assert table.wrappers["critic"].optimizer.arguments == {"lr": 0.1}
    assert table.constructor is not None
    assert table.constructor.type == "Mine"


def test_a_table_that_was_read_is_read_again() -> None:
    table = wrapper()
    assert read_optim_wrapper(table) is table  # type: ignore[arg-type]


def test_param_schedulers() -> None:
    linear = {"type": "LinearLR", "by_epoch": False, "end": "5%", "start_factor": 0.1}
    one = read_param_scheduler(linear)
    assert isinstance(one, ScheduleTable)
    assert (one.begin, one.end, one.by_epoch, one.arguments) == (0, "5%", linear["by_epoch"], {"start_factor": 0.1})
    assert read_param_scheduler([linear]) == [one]
    assert read_param_scheduler((linear,)) == [one]
    assert read_param_scheduler({"generator": [linear], "critic": []}) == {"generator": [one], "critic": []}


def test_bare_strings_for_tables() -> None:
    job = job_from_dict({"job": {"load_from": "r50.pth"}, "checkpoint": {"save_best": "accuracy"}})
    assert job.job.load_from is not None
    assert (job.job.load_from.path, job.job.load_from.prefix, job.job.load_from.strict) == ("r50.pth", None, False)
    assert job.checkpoint.save_best is not None
    assert (job.checkpoint.save_best.metric, job.checkpoint.save_best.rule) == ("accuracy", None)


def test_a_hook_is_named_by_its_table() -> None:
    job = job_from_dict({"hooks": {"EMA": {"decay": 0.5}, "mine": {"type": "EMA"}}})
    assert [(name, hook.type, hook.arguments) for name, hook in job.hooks.items()] == [
        ("EMA", "EMA", {"decay": 0.5}),
        ("mine", "EMA", {}),
    ]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("LinearLR", ["LinearLR", "LinearMomentum", "LinearWeightDecay", "LinearParamScheduler", "Linear"]),
        ("LinearMomentum", ["LinearMomentum", "LinearLR", "LinearWeightDecay", "LinearParamScheduler", "Linear"]),
        ("mine/StepParamScheduler", ["mine/StepParamScheduler", "mine/StepLR", "mine/StepMomentum", "mine/StepWeightDecay", "mine/Step"]),
        ("Linear", ["Linear"]),
        ("LR", ["LR"]),
    ],
)  # fmt: skip
def test_the_names_that_a_scheduler_answers_to(name: str, names: list[str]) -> None:
    assert scheduler_names(name) == names


@pytest.mark.parametrize(
    "name", ["LinearMomentum", "optimctl/LinearWeightDecay", "MultiStepParamScheduler", "MultiStepLR"]
)
def test_a_scheduler_is_known_under_every_suffix(name: str) -> None:
    job_from_dict({"param_scheduler": {"type": name}})


# --- from Python ------------------------------------------------------------------------------------------------------


def test_paramwise() -> None:
    table = read_paramwise(
        {"norm_decay_mult": 0, "custom_keys": {"head": {"lr_mult": 2, "betas": [0.9, 0.99], "fused": True}}}
    )
    assert (table.norm_decay_mult, table.lr_mult, table.no_weight_decay) == (0.0, None, False)
    head = table.custom_keys["head"]
    assert (head.lr_mult, head.decay_mult, head.freeze, head.options) == (
        2.0,
        None,
        False,
        {"betas": [0.9, 0.99], "fused": True},
    )


@pytest.mark.parametrize(
    ("read", "problems"),
    [
        (
            lambda: read_paramwise({"lr_mul": 1, "custom_keys": {"a.b": {"lr_mult": "x"}}}, ("paramwise_cfg",)),
            [
                "paramwise_cfg.custom_keys.\"a.b\".lr_mult: must be a number, not the string 'x'",
                "paramwise_cfg.lr_mul: unknown key; did you mean 'lr_mult'?",
            ],
        ),
        (lambda: read_paramwise([]), ["must be a table, not an array"]),  # type: ignore[arg-type]
        (
            lambda: read_optim_wrapper({"optimizer": {}, "lr": 1}, ("a", 0)),
            ["a.0.optimizer: needs `type`", "a.0.lr: unknown key; here it is `optim_wrapper.optimizer.lr`"],
        ),
        (lambda: read_optim_wrapper(5), ["must be a table, not 5"]),  # type: ignore[arg-type]
        (
            lambda: read_param_scheduler([{"type": "LinearLR"}, {"type": "LinearLR", "end": 0}], ("param_scheduler",)),
            ["param_scheduler.1.end: must be after `begin`, which is 0; not 0"],
        ),
        (
            lambda: read_param_scheduler({"type": "LinearLR", "end": None, "begin": object()}),
            ['begin: must be a whole number, or a share of the run such as "5%", not an object of type object'],
        ),
        (
            lambda: job_from_dict({"extends": "x", "unset": []}),
            ["extends: only a file can say `extends`", "unset: only a file can say `unset`"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_from_python(read: Callable[[], object], problems: list[str]) -> None:
    with pytest.raises(JobError) as error:
        read()
    assert str(error.value).splitlines() == problems


def test_too_many_problems_are_cut_short() -> None:
    with pytest.raises(JobError) as error:
        job_from_dict({f"k{number}": 1 for number in range(10_000)})
    assert len(error.value.problems) == 501
    assert "9500 more problems are not shown" in str(error.value)
