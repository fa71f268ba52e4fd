"""The format as a JSON schema: it takes what the format takes, refuses what is wrong in shape, and says what can stand where."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from optimctl.errors import JobError, Key
from optimctl.job.json_schema import _any_but, job_schema, load_for_schema, schema_of, schema_text
from optimctl.job.load import parse_job
from optimctl.plugins import Plugins, find
from tests.job.conftest import claims
from tests.job.corpus import BAD_JOBS
from tests.job.test_bad_jobs import GOOD, LINES, PLUGINS, SNIPPETS, keys, replaced
from tests.plugins_on_disk import Site

ROOT = Path(__file__).parents[2]
JOBS = [
    *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "examples").rglob("*.toml")),
    *(
        str(file.relative_to(ROOT))
        for name in sorted({plugin.distribution for plugin in find()})
        for file in sorted((ROOT / "plugins" / name).rglob("*.toml"))
        if file.name != "pyproject.toml"
    ),
]
"""The examples, and those of the packages under ``plugins/`` that are installed."""
STRUCTURAL = {
    "ambiguous-plugin",
    "exclusive-keys",
    "missing-argument",
    "missing-key",
    "misplaced-key",
    "unknown-argument",
    "unknown-key",
    "unknown-plugin",
    "wrong-type",
}
"""The codes of problems that are in the shape of a job: what JSON schema has words for."""

NOT_IN_JSON = re.compile(r"must be a finite number|must be a whole number, not \d+\.0;")
"""JSON has neither nan nor a difference between 10 and 10.0."""


@cache
def installed_schema() -> dict[str, Any]:
    return job_schema(find())


@cache
def corpus_schema() -> dict[str, Any]:
    """The names of ``conftest.py``, with the arguments of those that are installed."""
    installed = find()
    known = {
        kind: {name: installed.claims.get(kind, {}).get(name, found) for name, found in by_name.items()}
        for kind, by_name in claims().items()
    }
    return job_schema(Plugins(known))


def errors(schema: Mapping[str, Any], text: str) -> list[str]:
    """What is wrong with a job, as ``key: message``."""
    found = Draft7Validator(dict(schema)).iter_errors(tomli.loads(dedent(text)))
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found)


def paths(schema: Mapping[str, Any], text: str) -> set[Key]:
    found = Draft7Validator(dict(schema)).iter_errors(tomli.loads(text))
    return {tuple(error.absolute_path) for error in found}


def nodes(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from nodes(one)


def arguments(schema: Mapping[str, Any], table: str, name: str) -> dict[str, Any]:
    """What is checked of a table that names the plugin."""
    (found,) = (
        check["then"]
        for check in schema["definitions"][table]["then"]["allOf"]
        if name in check.get("if", {}).get("properties", {}).get("type", {}).get("enum", [])
    )
    assert isinstance(found, dict)
    return found


# --- as a schema


def test_it_is_a_schema_of_draft_07_and_the_same_each_time() -> None:
    schema = installed_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)
    assert schema_text(job_schema(find())) == schema_text(schema)
    assert json.loads(schema_text(schema)) == schema
    assert not any("$id" in node for node in nodes(schema) if isinstance(node, dict))


def test_every_reference_leads_somewhere() -> None:
    schema = installed_schema()
    refs = {node["$ref"] for node in nodes(schema) if isinstance(node, dict) and "$ref" in node}
    assert refs <= {f"#/definitions/{name}" for name in schema["definitions"]}
    assert all(re.fullmatch(r"#/definitions/[A-Za-z.]+", ref) for ref in refs)  # Taplo takes a pointer as it stands


def test_there_is_no_null_which_would_bring_taplo_down() -> None:
    assert None not in list(nodes(installed_schema()))


# --- what it takes


@pytest.mark.parametrize("name", JOBS)
def test_it_takes_every_job_of_the_repository(name: str) -> None:
    assert errors(installed_schema(), (ROOT / name).read_text("utf-8")) == []


def test_it_takes_a_job_with_every_key() -> None:
    assert errors(names_only(), GOOD) == []


@given(st.lists(st.sampled_from(SNIPPETS), max_size=12).map("\n".join))
def test_it_takes_whatever_the_format_takes(text: str) -> None:
    try:
        parse_job(text)
    except JobError:
        return
    assert errors(names_only(), text) == []


@cache
def names_only() -> dict[str, Any]:
    """The schema of plugins none of which can be loaded."""
    return job_schema(Plugins(claims()))


ONE = '[optim_wrapper]\noptimizer = { type = "SGD", lr = 0.1 }\n'
RIGHT = {
    "nothing": "",
    "a base": 'extends = "base.toml"',
    "several bases": 'extends = ["a.toml", "b.toml"]\nunset = ["model.type"]',
    "weights by their path": 'job.load_from = "r50.pth"',
    "a qualified name": 'model = { type = "optimctl/MLP", in_features = 1, out_features = 2 }',
    "a bare constructor": ONE + 'constructor = "optimctl/DefaultOptimWrapperConstructor"',
    "a constructor in a table": ONE + 'constructor = { type = "LayerDecayOptimWrapperConstructor" }',
    "another constructor's rules": ONE
    + 'constructor = "LayerDecayOptimWrapperConstructor"\nparamwise_cfg = { decay_rate = 0.9, x = {} }',
    "routes": ONE + 'constructor = { type = "Routes", routes = [{ match = { names = ["x"] }, optimizer = { type = "SGD" } }] }',
    "clipping by norm": ONE + 'clip_grad = { max_norm = inf, norm_type = "inf" }',
    "clipping by value": ONE + 'clip_grad = { type = "value", clip_value = 1 }',
    "an option of a custom key": ONE + 'paramwise_cfg.custom_keys."a.b" = { betas = [0.9, 0.99], lr_mult = 0, fused = true }',
    "mixed precision": ONE + 'type = "AmpOptimWrapper"\ndtype = "bfloat16"\nloss_scale = { init_scale = 1024 }',
    "several optimizers": """
        [optim_wrapper]
        constructor = "DefaultOptimWrapperConstructor"
        [optim_wrapper."net.generator"]
        type = "AmpOptimWrapper"
        dtype = "bfloat16"
        optimizer = { type = "Adam", betas = [0.5, 0.9] }
        [optim_wrapper.optimizers]
        optimizer = { type = "SGD" }
        [[param_scheduler."net.generator"]]
        type = "LinearLR"
        """,
    "one schedule": 'param_scheduler = { type = "LinearLR", end = "5%" }',
    "no schedules by a name": "param_scheduler = { generator = [] }",
    "a schedule under another suffix": """
        [[param_scheduler]]
        type = "MultiStepParamScheduler"
        param_name = "betas[1]"
        milestones = [2, "50%", 0.5]
        [[param_scheduler]]
        type = "optimctl/CosineAnnealingWeightDecay"
        T_max = "10%"
        verbose = true
        [[param_scheduler]]
        type = "CosineAnnealingWarmRestarts"
        T_0 = "10%"
        """,
    "the best by a bare name": 'checkpoint.save_best = "accuracy"',
    "a dataset's own arguments": 'train_dataloader.dataset = { type = "Synthetic", samples = 10, noise = 1 }',
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_it_takes(name: str) -> None:
    assert errors(installed_schema(), RIGHT[name]) == []


# --- what it refuses


WRONG = {
    "an unknown name": ('model = { type = "MPL" }', "model.type: 'MPL' is not one of ["),
    "an unknown name of a distribution": ('model = { type = "optimctl/MPL" }', "model.type: 'optimctl/MPL' is not one of ["),
    "an unknown argument": (
        'model = { type = "MLP", in_features = 1, out_features = 1, hiden = [1] }',
        "model: Additional properties are not allowed ('hiden' was unexpected)",
    ),
    "an argument of a wrong type": (
        'model = { type = "MLP", in_features = "1", out_features = 1 }',
        "model.in_features: '1' is not of type 'integer'",
    ),
    "a missing argument": ('model = { type = "MLP", in_features = 1 }', "model: 'out_features' is a required property"),
    "a model without a type": ("[model]", "model: 'type' is a required property"),
    "an option of another wrapper": (
        ONE + 'dtype = "bfloat16"',
        "optim_wrapper: Additional properties are not allowed ('dtype' was unexpected)",
    ),
    "a rule misspelt": (
        ONE + "paramwise_cfg.norm_decay_mul = 0",
        "optim_wrapper.paramwise_cfg: Additional properties are not allowed ('norm_decay_mul' was unexpected)",
    ),
    "a rule misspelt, the constructor named": (
        ONE + 'paramwise_cfg.norm_decay_mul = 0\nconstructor.type = "DefaultOptimWrapperConstructor"',
        "optim_wrapper.paramwise_cfg: Additional properties are not allowed ('norm_decay_mul' was unexpected)",
    ),
    "a table in a custom key": (
        ONE + "paramwise_cfg.custom_keys.a.b = { lr_mult = 0 }",
        "optim_wrapper.paramwise_cfg.custom_keys.a.b: {'lr_mult': 0} should not be valid under {'type': 'object'}",
    ),
    "an unknown constructor": (ONE + 'constructor = "Default"', "optim_wrapper.constructor: 'Default' is not one of ["),
    "routes without a route": (ONE + 'constructor = "Routes"', "optim_wrapper.constructor: 'Routes' is not of type 'object'"),
    "routes without a type": (
        ONE + "constructor = { routes = [] }",
        "optim_wrapper.constructor: 'type' is a required property",
    ),
    "a route misspelt": (
        ONE + 'constructor = { type = "Routes", routes = [{ match = { name = ["x"] }, optimizer.type = "SGD" }] }',
        "optim_wrapper.constructor.routes.0.match: Additional properties are not allowed ('name' was unexpected)",
    ),
    "clipping by two ways": (
        ONE + "clip_grad = { max_norm = 1, clip_value = 1 }",
        "optim_wrapper.clip_grad: Additional properties are not allowed ('clip_value' was unexpected)",
    ),
    "clipping by value without a type": (
        ONE + "clip_grad = { clip_value = 1 }",
        "optim_wrapper.clip_grad: 'type' is a required property",
    ),
    "a key for several optimizers": (
        'optim_wrapper = { accumulative_counts = 2, a.optimizer.type = "SGD" }',
        "optim_wrapper: 'accumulative_counts' does not match any of the regexes: ",
    ),
    "one of several without an optimizer": (
        'optim_wrapper = { a.optimizer.type = "SGD", b.accumulative_counts = 2 }',
        "optim_wrapper.b: 'optimizer' is a required property",
    ),
    "two lengths": ("train_cfg = { max_epochs = 1, max_iters = 1 }", "train_cfg: "),
    "no length": ("[train_cfg]", "train_cfg: {} is not valid under any of the given schemas"),
    "two units": ('param_scheduler = { type = "LinearLR", by = "epoch", by_epoch = true }', "param_scheduler: "),
    "two floors": ('param_scheduler = { type = "CosineAnnealingLR", eta_min = 0, eta_min_ratio = 0.1 }', "param_scheduler: "),
    "a schedule's argument": (
        '[[param_scheduler]]\ntype = "LinearLR"\nstart_facto = 1',
        "param_scheduler.0: Additional properties are not allowed ('start_facto' was unexpected)",
    ),
    "what is no share": ('param_scheduler = [{ type = "LinearLR", end = "5" }]', "param_scheduler.0.end: '5' does not match"),
    "what is no share of an argument": (
        'param_scheduler = [{ type = "CosineAnnealingLR", T_max = "5" }]',
        "param_scheduler.0.T_max: '5' does not match",
    ),
    "schedules that are none": ('param_scheduler = ["LinearLR"]', "param_scheduler.0: 'LinearLR' is not of type 'object'"),
    "a schedule by name that is no array": (
        'param_scheduler.generator.type = "LinearLR"',
        "param_scheduler.generator: {'type': 'LinearLR'} is not of type 'array'",
    ),
    "a schedule without a type": ("param_scheduler = { end = 5 }", "param_scheduler: 'type' is a required property"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_refuses(name: str) -> None:
    text, message = WRONG[name]
    (error,) = errors(installed_schema(), text)
    assert error.startswith(message)


def structural_problems() -> Iterator[tuple[str, str, list[Key]]]:
    for name, bad in BAD_JOBS.items():
        with pytest.raises(JobError) as error:
            parse_job(bad.text)
        shape = [problem for problem in error.value.problems if problem.code in STRUCTURAL]
        found = [problem.key for problem in shape if not NOT_IN_JSON.search(problem.message)]
        if found:
            yield name, bad.text, found


def test_it_refuses_every_structural_mistake_of_the_corpus_at_its_table() -> None:
    seen = 0
    for name, text, found in structural_problems():
        told = paths(corpus_schema(), text)
        for key in found:
            seen += 1
            assert any(path[: len(key)] == key or path in (key[:-1], key[:-2]) for path in told), (name, key)
    assert seen >= 100


@pytest.mark.parametrize("key", [key for key, _, _ in keys()])
def test_it_refuses_each_key_misspelt_and_with_a_wrong_type(key: Key) -> None:
    line = next(number for each, number, _ in keys() if each == key)
    name, text = str(key[-1]), LINES[line - 1]
    assert paths(corpus_schema(), replaced(line, f"{name} = 1979-05-27")) >= {key}
    if key[0] not in ("model", "task", "hooks", "param_scheduler") and key[:2] not in PLUGINS:
        assert paths(corpus_schema(), replaced(line, text.replace(name, name + "x", 1))) >= {key[:-1]}


# --- a file that builds on another


@pytest.mark.parametrize(
    "text",
    [
        "model.hidden = [1]",
        "train_dataloader.batch_size = 8",
        "train_cfg.val_interval = 2",
        "optim_wrapper.optimizer.lr = 0.1",
        "optim_wrapper.accumulative_counts = 2",
        'optim_wrapper.dtype = "bfloat16"',
        "optim_wrapper.clip_grad.clip_value = 0.5",
        "optim_wrapper.paramwise_cfg.decay_rate = 0.9",
        'optim_wrapper.constructor = "Routes"',
        "optim_wrapper.constructor.routes = [{ match = {} }]",
        "optim_wrapper.generator.accumulative_counts = 2",
        "param_scheduler.end = 5",
        "job.load_from.strict = true",
        "hooks.mine.decay = 0.5",
        'model = { type = "MLP", hidden = [1] }',
    ],
)
def test_what_the_base_can_have_may_be_absent(text: str) -> None:
    assert errors(installed_schema(), f'extends = "base.toml"\n{text}') == []
    assert text == "optim_wrapper.generator.accumulative_counts = 2" or errors(installed_schema(), text)


@pytest.mark.parametrize(
    "text",
    [
        "modell.hidden = [1]",
        "train_cfg.max_epoch = 2",
        'train_cfg.max_epochs = "2"',
        'optim_wrapper.optimizer = { type = "SGD", lrr = 0.1 }',
        'optim_wrapper = { type = "OptimWrapper", dtype = "bfloat16" }',
        "train_cfg = { max_epochs = 1, max_iters = 1 }",
        'hooks.mine.type = "EAM"',
    ],
)
def test_what_no_base_can_put_right_is_refused(text: str) -> None:
    assert len(errors(installed_schema(), f'extends = "base.toml"\n{text}')) == 1


# --- plugins


def test_the_example_package_is_offered_with_its_arguments() -> None:
    schema = installed_schema()
    table = schema["definitions"]["OptimizerTable"]
    names, _ = table["properties"]["type"]["anyOf"]
    assert "MyOptimizer" in names["enum"]
    (offers, _) = table["anyOf"]
    assert {"a", "b", "c"} <= offers["properties"].keys()
    checked = arguments(schema, "OptimizerTable", "MyOptimizer")
    assert checked["title"] == "optimctl-example/MyOptimizer"
    assert checked["description"].startswith("Momentum whose steps all have the same length")
    assert checked["additionalProperties"] is False
    assert checked["properties"] == {
        "type": True,
        "a": {
            "description": "Step size: how far a number of a tensor moves in one step, as a root mean square. 0 or more.",
            "type": "number",
            "default": 0.01,
        },
        "b": {
            "description": "Momentum: the share of the old direction that is kept in a step. From 0 (none) to below 1.",
            "type": "number",
            "default": 0.9,
        },
        "c": {
            "description": "Decoupled weight decay, as in AdamW: a step shrinks each number by the share ``a * c``. 0 or more.",
            "type": "number",
            "default": 0.0,
        },
    }
    right = 'optim_wrapper.optimizer = { type = "MyOptimizer", a = 0.1, b = 0, c = 1 }'
    assert errors(schema, right) == []
    (error,) = errors(schema, right.replace("c =", "d ="))
    assert error == "optim_wrapper.optimizer: Additional properties are not allowed ('d' was unexpected)"


def test_each_name_that_is_offered_is_described() -> None:
    offered = [
        node for node in nodes(installed_schema()) if isinstance(node, dict) and "x-taplo" in node and "enum" in node
    ]
    assert len(offered) >= 7
    for node in offered:
        docs = node["x-taplo"]["docs"]["enumValues"]
        assert len(docs) == len(node["enum"])
        assert all(re.search(r"Of [a-z-]+\.$", text) for text in docs)


def test_a_scheduler_is_offered_under_every_suffix_and_refused_under_none() -> None:
    type_ = installed_schema()["definitions"]["ScheduleTable"]["properties"]["type"]
    names, qualified = type_["else"]["enum"], type_["then"]["enum"]
    linear = ["LinearLR", "LinearMomentum", "LinearParamScheduler", "LinearWeightDecay"]
    assert [name for name in names if name.startswith("Linear")] == linear
    assert [name for name in qualified if "/Linear" in name] == [f"optimctl/{name}" for name in linear]
    mine = ["", "LR", "Momentum", "ParamScheduler", "WeightDecay"]
    assert [name for name in names if name.startswith("MyScheduler")] == [f"MyScheduler{suffix}" for suffix in mine]
    checked = arguments(installed_schema(), "ScheduleTable", "LinearMomentum")
    assert checked["title"] == "optimctl/LinearLR"
    assert checked["properties"]["start_factor"]["type"] == "number"


PARTS = '''
from typing import Literal
from torch import nn

class Net(nn.Module):
    """A :class:`Net` of layers.

    More of it.

    Args:
        width: Numbers in a layer.
        kind: What it
            is made of.
        mode (str): "a" or "b".
    """
    def __init__(self, width: int, kind: str | list[int] = "x", mode: Literal["a", "b"] = "a", other=None, far=float("inf"),
                 pair: tuple[float, float] = (0.9, 0.99)): ...

def anything(width: int, **more): ...

class Hook:
    """Does something."""
    def __init__(self, decay: float): ...
    def after_epoch(self, run): ...
'''


@pytest.fixture(scope="module")
def own_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The schema where two more distributions are installed, one of them with a plugin that cannot be loaded."""
    site = Site(tmp_path_factory.mktemp("site"))
    one = {
        "Net": "schema_parts:Net",
        "Any": "schema_parts:anything",
        "Gone": "schema_nowhere:Gone",
        "MLP": "schema_parts:Net",
    }
    site.install("one", {"models": one, "hooks": {"Mean": "schema_parts:Hook"}}, {"schema_parts": PARTS})
    site.install("two", {"models": {"Net": "schema_parts:anything"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site.folder))
        found = load_for_schema(find())
    ours = [error.message for error in found.broken if "of one" in error.message]
    assert ours == [
        "the model 'Gone' of one (schema_nowhere:Gone) cannot be loaded: there is no module 'schema_nowhere'; reinstall one"
    ]
    yield schema_of(found)
    del sys.modules["schema_parts"]


def test_the_arguments_of_a_plugin(own_schema: dict[str, Any]) -> None:
    checked = arguments(own_schema, "ModelTable", "one/Net")
    assert checked["description"] == "A `Net` of layers. Of one."
    assert checked["properties"] == {
        "type": True,
        "width": {"description": "Numbers in a layer.", "type": "integer"},
        "kind": {
            "description": "What it is made of.",
            "type": ["string", "array"],
            "items": {"type": "integer"},
            "default": "x",
        },
        "mode": {"description": '"a" or "b".', "enum": ["a", "b"], "default": "a"},
        "other": {},
        "far": {},
        "pair": {
            "type": "array",
            "items": [{"type": "number"}, {"type": "number"}],
            "minItems": 2,
            "maxItems": 2,
            "default": [0.9, 0.99],
        },
    }
    assert errors(own_schema, 'model = { type = "one/Net", width = 1, other = { a = [1] }, pair = [1, 2] }') == []
    assert errors(own_schema, 'model = { type = "one/Net", kind = ["x"], mode = "c", pair = [1] }') == [
        "model.kind.0: 'x' is not of type 'integer'",
        "model.mode: 'c' is not one of ['a', 'b']",
        "model.pair: [1] is too short",
        "model: 'width' is a required property",
    ]


def test_a_name_that_two_claim_is_offered_with_its_distribution(own_schema: dict[str, Any]) -> None:
    names, _ = own_schema["definitions"]["ModelTable"]["properties"]["type"]["anyOf"]
    assert {"one/Net", "two/Net", "MLP", "optimctl/MLP", "one/MLP", "Any"} <= set(names["enum"])
    assert not {"Net", "one/Any"} & set(names["enum"])
    assert errors(own_schema, 'model.type = "Net"')[0].startswith("model.type: 'Net' is not one of [")
    assert errors(own_schema, 'model = { type = "one/Any", width = 1 }') == []
    assert errors(own_schema, 'model = { type = "MLP", in_features = 1, out_features = 1 }') == []  # optimctl's own
    assert errors(own_schema, 'model = { type = "one/MLP", width = 1 }') == []


def test_a_plugin_that_takes_anything_still_needs_what_it_names(own_schema: dict[str, Any]) -> None:
    assert errors(own_schema, 'model = { type = "Any", width = 1, x = {} }') == []
    assert errors(own_schema, 'model = { type = "Any", x = 1 }') == ["model: 'width' is a required property"]


def test_a_plugin_that_cannot_be_loaded_keeps_its_name_and_takes_anything(own_schema: dict[str, Any]) -> None:
    assert errors(own_schema, 'model = { type = "Gone", whatever = [1] }') == []


def test_a_hook_is_named_by_its_table_or_by_its_type(own_schema: dict[str, Any]) -> None:
    assert errors(own_schema, "hooks.Mean.decay = 0.5") == []
    assert errors(own_schema, 'hooks.mine = { type = "one/Mean", decay = 0.5 }') == []
    assert errors(own_schema, "hooks.Mean.decy = 0.5") == [
        "hooks.Mean: 'decay' is a required property",
        "hooks.Mean: Additional properties are not allowed ('decy' was unexpected)",
    ]
    assert errors(own_schema, "hooks.mine = { decay = 0.5 }") == ["hooks.mine: 'type' is a required property"]
    assert errors(own_schema, 'hooks.Mean = { type = "mean" }')[0].startswith("hooks.Mean.type: 'mean' is not one of [")


# --- for Taplo


def test_infinity_is_handed_on_as_null_where_it_may_be() -> None:
    validator = Draft7Validator(installed_schema())
    clip = {"max_norm": None, "norm_type": None}
    assert validator.is_valid({"optim_wrapper": {"optimizer": {"type": "SGD"}, "clip_grad": clip}})
    assert not validator.is_valid({"train_cfg": {"max_epochs": None}})


SHORT = st.text("abc_", min_size=1, max_size=4)


@given(SHORT, st.lists(SHORT, min_size=1, max_size=5))
def test_a_pattern_of_any_name_but_some(name: str, names: list[str]) -> None:
    assert bool(re.search(_any_but(names), name)) == (name not in names)
    for each in names:
        assert not re.search(_any_but(names), each)
