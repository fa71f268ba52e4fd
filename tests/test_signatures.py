"""What a job can tell a plugin: names, values, and what is said where they do not fit."""

from __future__ import annotations

import datetime
import enum
import functools
import importlib
import numbers
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR

from optimctl import signatures
from optimctl.errors import JobError, Problem
from optimctl.plugins import LoadedPlugin, Plugin, find, load
from optimctl.signatures import EMPTY, Argument, argument_problems, arguments, call, json_type, takes_any
from tests.plugins_on_disk import Site


def loaded(item: Callable[..., Any], kind: str = "models") -> LoadedPlugin:
    return LoadedPlugin(Plugin(kind, "Net", "parts", "1.0", "parts:Net"), item)


def said(item: Callable[..., Any], table: Mapping[str, Any], kind: str = "models") -> list[str]:
    """The problems as they are read, in the table ``model``."""
    return [str(problem) for problem in argument_problems(loaded(item, kind), ("model",), table)]


def names(item: Callable[..., Any], kind: str = "models") -> list[str]:
    return [argument.name for argument in arguments(loaded(item, kind)) or ()]


# --- names


def net(params: object, width: int, depth: int = 2, *, bias: bool = True) -> tuple[object, int, int, bool]:
    return params, width, depth, bias


def test_arguments_are_held_against_the_signature() -> None:
    table = {"params": [], "widht": 3, "xyz": 0}
    assert argument_problems(loaded(net, "optimizers"), ("model",), table) == [
        Problem(("model", "params"), "optimctl itself gives Net (parts) its 'params'; take it out", "given-argument"),
        Problem(("model", "widht"), "Net (parts) has no argument 'widht'; did you mean 'width'?", "unknown-argument"),
        Problem(
            ("model", "xyz"),
            "Net (parts) has no argument 'xyz'; it takes 'width', 'depth' and 'bias'",
            "unknown-argument",
        ),
        Problem(("model",), "Net (parts) needs the argument 'width'", "missing-argument"),
    ]


def test_arguments_that_fit_are_no_problem() -> None:
    assert not said(net, {"width": 3, "bias": False}, "optimizers")
    assert not said(lambda **anything: None, {"width": 3})
    assert not said(type, {"width": 3})  # no signature to hold them against
    assert arguments(loaded(type)) is None
    assert takes_any(loaded(type))


def test_what_takes_nothing_says_so() -> None:
    assert said(lambda: None, {"width": 3}) == [
        "model.width: Net (parts) has no argument 'width'; it takes no arguments"
    ]


def test_further_names_are_hints_too() -> None:
    (problem,) = argument_problems(loaded(lambda: None), ("x",), {"begni": 3}, also=["begin"])
    assert problem.message.endswith("; did you mean 'begin'?")


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("models", ["a", "b", "c", "length", "last_epoch"]),
        ("optimizers", ["b", "c", "length", "last_epoch"]),
        ("optim_wrappers", ["b", "c", "length", "last_epoch"]),
        ("constructors", ["c", "length", "last_epoch"]),
        ("schedulers", ["a", "b", "c"]),
    ],
)
def test_what_optimctl_gives_is_no_argument_of_the_job(kind: str, left: list[str]) -> None:
    def item(a: int, b: int, c: int, length: int = 1, last_epoch: int = -1) -> None: ...

    assert names(item, kind) == left


def test_a_scheduler_of_torch_gets_its_optimizer_from_optimctl() -> None:
    found = arguments(loaded(CyclicLR, "schedulers")) or ()
    assert [argument.name for argument in found][:3] == ["base_lr", "max_lr", "step_size_up"]
    assert "last_epoch" not in [argument.name for argument in found]
    by_name = {argument.name: argument for argument in found}
    assert by_name["mode"].json_type == {"enum": ["triangular", "triangular2", "exp_range"]}
    assert by_name["scale_fn"].json_type == {}
    assert by_name["base_lr"].description.startswith("Initial learning rate which is the lower boundary in the cycle")


def test_only_names_that_a_keyword_can_reach_are_arguments() -> None:
    def item(first: int, /, second: int, *others: int, third: int = 0, **anything: int) -> None: ...

    assert names(item) == ["second", "third"]
    assert takes_any(loaded(item))


# --- annotations


class Colour(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shape(enum.Enum):
    ROUND = 1


class Options(TypedDict):
    depth: int


class Reads(Protocol):
    def read(self) -> str: ...


T = TypeVar("T")
Count = NewType("Count", int)
NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, WHOLE),
        (float, NUMBER),
        (bool, {"type": "boolean"}),
        (str, TEXT),
        (numbers.Real, NUMBER),
        (int | float, NUMBER),
        (Optional[int], WHOLE),  # noqa: UP045
        (Union[str, int, None], {"anyOf": [TEXT, WHOLE]}),  # noqa: UP007
        (float | Tensor, NUMBER),
        (Tensor, {}),
        (Tensor | None, {}),
        (None, {}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": WHOLE}),
        (tuple[int, ...], {"type": "array", "items": WHOLE}),
        (set[str], {"type": "array", "items": TEXT}),
        (Sequence[Any], {"type": "array"}),
        (Iterable[float], {"type": "array", "items": NUMBER}),
        (tuple[int, str], {"type": "array", "prefixItems": [WHOLE, TEXT], "minItems": 2, "maxItems": 2}),
        (int | tuple[int, int], {"anyOf": [WHOLE, {"type": "array", "prefixItems": [WHOLE, WHOLE], "minItems": 2, "maxItems": 2}]}),
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (Mapping[str, list[int]], {"type": "object", "additionalProperties": {"type": "array", "items": WHOLE}}),
        (Options, {"type": "object"}),
        (Literal["a", "b", None], {"enum": ["a", "b"]}),
        (Literal["auto"] | float, {"anyOf": [{"enum": ["auto"]}, NUMBER]}),
        (Colour, {"enum": ["red", "blue"]}),
        (Shape, {}),
        (Path, TEXT),
        (str | os.PathLike[str], TEXT),
        (pathlib.PurePath, TEXT),
        (Annotated[int, "in pixels"], WHOLE),
        (Count, WHOLE),
        (Any, {}),
        (object, {}),
        (T, {}),
        (Reads, {}),
        (nn.Module, {}),
        (type[nn.Module], {}),
        (Callable[[int], int], {}),
        (str | Callable[[], int], {}),
        (datetime.date, {}),
        (bytes, {}),
        ("no type at all", {}),
        (3, {}),
        (EMPTY, {}),
    ],
)  # fmt: skip
def test_an_annotation_as_the_values_of_toml_that_it_takes(annotation: Any, schema: dict[str, Any]) -> None:
    assert json_type(annotation) == schema


values = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_what_is_not_known_refuses_nothing(value: Any) -> None:
    def item(a: Reads, b: T, c, d: list[Any] | Callable[[], int], e: Tensor | None = None) -> None: ...  # type: ignore[no-untyped-def]

    table = dict.fromkeys("abcde", value)
    assert not said(item, table)


@given(values)
def test_a_default_is_a_value_that_may_be_written(value: Any) -> None:
    def item(a: str = value, b: int = value, c: Literal["x"] = value, d: dict[str, int] = value) -> None: ...

    assert not said(item, dict.fromkeys("abcd", value))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"width": "1"}, "model.width: must be a whole number, not the string '1'; write 1, without quotes"),
        ({"width": 1.0}, "model.width: must be a whole number, not 1.0; write 1"),
        ({"width": 1.5}, "model.width: must be a whole number, not 1.5"),
        ({"width": True}, "model.width: must be a whole number, not true"),
        ({"ratio": True}, "model.ratio: must be a number, not true"),
        ({"ratio": [1]}, "model.ratio: must be a number, not an array"),
        ({"bias": "false"}, "model.bias: must be true or false, not the string 'false'; write false, without quotes"),
        ({"bias": 1}, "model.bias: must be true or false, not 1"),
        ({"name": 1}, "model.name: must be a string, not 1"),
        ({"name": datetime.date(2024, 5, 1)}, None),
        ({"hidden": 64}, "model.hidden: must be an array, not 64"),
        ({"hidden": "64"}, "model.hidden: must be an array, not the string '64'"),
        (
            {"hidden": [64, "64"]},
            "model.hidden.1: must be a whole number, not the string '64'; write 64, without quotes",
        ),
        ({"kernel": [3, 3, 3]}, "model.kernel: must be an array of 2, not of 3"),
        ({"kernel": [3, 0.5]}, "model.kernel.1: must be a whole number, not 0.5"),
        (
            {"kernel": "3"},
            "model.kernel: must be a whole number or an array, not the string '3'; write 3, without quotes",
        ),
        ({"act": "rleu"}, "model.act: must be 'relu' or 'gelu', not the string 'rleu'; did you mean 'relu'?"),
        ({"act": 1}, "model.act: must be 'relu' or 'gelu', not 1"),
        ({"scale": "aut"}, "model.scale: must be 'auto' or a number, not the string 'aut'; did you mean 'auto'?"),
        ({"options": {"a": "x"}}, "model.options.a: must be a number, not the string 'x'"),
        ({"options": [1]}, "model.options: must be a table, not an array"),
        ({"stages": [[1], [2, "x"]]}, "model.stages.1.1: must be a whole number, not the string 'x'"),
    ],
)
def test_values_are_held_against_the_annotations(value: dict[str, Any], sentence: str | None) -> None:
    def item(
        width: int = 1,
        ratio: float = 0.5,
        bias: bool = True,
        name: str | None = None,
        hidden: Sequence[int] = (64,),
        kernel: int | tuple[int, int] = 3,
        act: Literal["relu", "gelu"] = "relu",
        scale: Literal["auto"] | float = "auto",
        options: Mapping[str, float] | None = None,
        stages: list[list[int]] | None = None,
    ) -> None: ...

    assert said(item, value) == ([] if sentence is None else [sentence])


@pytest.mark.parametrize(
    "table",
    [
        {"ratio": 1},
        {"ratio": float("inf")},
        {"kernel": [3, 3]},
        {"kernel": (3, 3)},
        {"kernel": 3},
        {"hidden": []},
        {"path": "a/b"},
        {"width": None},  # from Python
        {"width": torch.tensor(1)},
        {"hidden": torch.tensor([1])},
    ],
)
def test_what_toml_writes_differently_fits(table: dict[str, Any]) -> None:
    def item(
        width: int = 1,
        ratio: float = 0.5,
        kernel: int | tuple[int, int] = 3,
        hidden: Sequence[int] = (),
        path: Path = Path(),
    ) -> None: ...

    assert not said(item, table)


def test_whoever_lies_about_the_type_of_the_default_is_believed_twice() -> None:
    def item(lr: float = "auto", sizes: int = (1, 2), ratio: int = 0.5) -> None: ...  # type: ignore[assignment]

    assert not said(item, {"lr": "linear", "sizes": [3], "ratio": 0.25})
    assert not said(item, {"lr": 0.1, "sizes": 3, "ratio": 1})
    assert said(item, {"lr": True}) == ["model.lr: must be a number or a string, not true"]


@dataclass
class Block:
    width: int
    name: str = "block"
    limit: ClassVar[int] = 3


def test_annotations_are_resolved_where_they_were_written(site: Site) -> None:
    source = """
        from __future__ import annotations
        import functools
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from nowhere import Thing
        Size = int

        class Base:
            def __init__(self, size: Size, thing: Thing | None = None, other: Size = 1) -> None: ...

        class Net(Base): ...

        def decorated(function):
            @functools.wraps(function)
            def inner(*arguments, **keywords): ...
            return inner

        @decorated
        def make(size: Size) -> Net: ...

        class Maker:
            def __call__(self, size: Size) -> Net: ...

        maker = Maker()
        half = functools.partial(make, size=2)
        """
    site.write_modules({"parts": source})
    parts = importlib.import_module("parts")
    found = {name: arguments(loaded(getattr(parts, name))) or () for name in ("Net", "make", "maker", "half")}
    assert [(a.name, a.required, a.json_type) for a in found["Net"]] == [
        ("size", True, WHOLE),
        ("thing", False, {}),  # a name that only type checkers know
        ("other", False, WHOLE),
    ]
    for name, required in (("make", True), ("maker", True), ("half", False)):
        assert [(a.name, a.required, a.json_type) for a in found[name]] == [("size", required, WHOLE)]


def test_a_dataclass_and_a_bound_method_are_callables_too() -> None:
    assert [(a.name, a.json_type) for a in arguments(loaded(Block)) or ()] == [("width", WHOLE), ("name", TEXT)]
    assert names(Block(1).__eq__) == ["other"]
    assert names(functools.partial(net, 1)) == ["width", "depth", "bias"]


def test_a_schedule_that_checks_its_own_values_is_left_to_it() -> None:
    class Curve:
        def __init__(self, factor: float) -> None: ...

        def problems(self) -> list[Problem]:
            return []

    assert not said(Curve, {"factor": "x"}, "schedulers")
    assert said(Curve, {"facto": 1}, "schedulers")


# --- docstrings

GOOGLE = """One line.

    Args:
        width (int, optional): Channels of the stem,
            and of what follows: all of it.
        depth: How many
            blocks.

            Two of them at least.
        **others: Anything.

    Returns:
        name: Nothing.
    """
NUMPY = """One line.

    Parameters
    ----------
    width : int, optional
        Channels of the stem,
        and of what follows: all of it.
    depth, height
        How many blocks.

    Returns
    -------
    name : int
        Nothing.
    """
SPHINX = """One line.

    :param int width: Channels of the stem,
        and of what follows: all of it.
    :param depth: How many blocks.
    :returns: Nothing.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX])
def test_docstrings_describe_arguments(text: str) -> None:
    def item(width: int, depth: int = 1, name: str = "") -> None: ...

    item.__doc__ = text
    described = {argument.name: argument.description for argument in arguments(loaded(item)) or ()}
    assert described.pop("depth").startswith("How many blocks.")
    assert described == {"width": "Channels of the stem, and of what follows: all of it.", "name": ""}


def test_a_class_is_described_by_itself_by_its_init_and_by_its_bases() -> None:
    class Base:
        """One.

        Args:
            width: Of the base.
            depth: Of the base, see :class:`Base`.
        """

    class Item(Base):
        """Another.

        Args:
            width: Its own.
        """

        def __init__(self, width: int, depth: int, height: int) -> None:
            """Make it.

            Args:
                height: Of the init.
            """

    assert {argument.name: argument.description for argument in arguments(loaded(Item)) or ()} == {
        "width": "Its own.",
        "depth": "Of the base, see `Base`.",
        "height": "Of the init.",
    }


@given(st.text(alphabet="ab:()-* \n\t`Args,", max_size=200))
def test_any_docstring_is_read(text: str) -> None:
    def item(a: int) -> None: ...

    item.__doc__ = f"Args:\n{text}"
    (argument,) = arguments(loaded(item)) or ()
    assert "\n" not in argument.description


# --- a plugin's own pydantic model


class Stage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: PositiveInt
    blocks: int = 1


class NetArguments(BaseModel):
    hidden: tuple[PositiveInt, ...] = Field((64,), description="Sizes of the hidden layers.")
    rate: float = Field(ge=0, lt=1)
    stages: list[Stage] = []
    mode: Literal["a", "b"] = "a"
    weights: Path | None = None
    level: int | list[int] = 0
    colour: Colour = Colour.RED

    @field_validator("hidden")
    @classmethod
    def _grow(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(value) != list(value):
            raise ValueError("widths must grow")
        return value

    @model_validator(mode="after")
    def _fit(self) -> NetArguments:
        if len(self.stages) > 2:
            raise ValueError("there are more stages than layers")
        return self


class Modelled:
    Arguments = NetArguments

    def __init__(self, rate: float, hidden: Sequence[int] = (64,), extra: int = 0, **more: Any) -> None:
        self.seen = {"rate": rate, "hidden": hidden, **more}


def test_a_model_of_its_own_says_what_a_plugin_takes() -> None:
    found = arguments(loaded(Modelled)) or ()
    assert [(argument.name, argument.required) for argument in found] == [
        ("hidden", False),
        ("rate", True),
        ("stages", False),
        ("mode", False),
        ("weights", False),
        ("level", False),
        ("colour", False),
        ("extra", False),
    ]
    assert found[0] == Argument("hidden", False, (64,), tuple[PositiveInt, ...], "Sizes of the hidden layers.")
    assert not takes_any(loaded(Modelled))


@pytest.mark.parametrize(
    ("table", "sentences"),
    [
        ({"rate": 0.5, "hidden": [1, 2], "weights": "a.pt", "stages": [{"width": 1}]}, []),
        ({"rate": 0, "extra": 1}, []),
        ({}, ["model: Net (parts) needs the argument 'rate'"]),
        ({"rate": "1"}, ["model.rate: must be a number, not the string '1'; write 1, without quotes"]),
        ({"rate": True}, ["model.rate: must be a number, not true"]),
        ({"rate": 1}, ["model.rate: must be less than 1, not 1"]),
        ({"rat": 0.5, "rate": 0}, ["model.rat: Net (parts) has no argument 'rat'; did you mean 'rate'?"]),
        ({"rate": 0, "hidden": [2, 0]}, ["model.hidden.1: must be more than 0, not 0"]),
        ({"rate": 0, "hidden": [2, 1]}, ["model.hidden: widths must grow"]),
        ({"rate": 0, "hidden": 3}, ["model.hidden: must be an array, not 3"]),
        ({"rate": 0, "mode": "c"}, ["model.mode: must be 'a' or 'b', not the string 'c'"]),
        ({"rate": 0, "level": [1, "x"]}, ["model.level.1: must be a whole number, not the string 'x'"]),
        ({"rate": 0, "level": "x"}, ["model.level: must be a whole number or an array, not the string 'x'"]),
        (
            {"rate": 0, "stages": [{"width": 1}, {"blocks": 1, "x": 2}]},
            ["model.stages.1: needs `width`", "model.stages.1.x: unknown key"],
        ),
        (
            {"rate": 0, "stages": [{"width": 1}] * 3},
            ["model: Net (parts) refuses its arguments: there are more stages than layers"],
        ),
        (
            {"rate": 0, "colour": "bleu"},
            ["model.colour: must be 'red' or 'blue', not the string 'bleu'; did you mean 'blue'?"],
        ),
        ({"rate": 0, "extra": "x"}, ["model.extra: must be a whole number, not the string 'x'"]),
    ],
)
def test_a_table_is_held_against_the_model(table: dict[str, Any], sentences: list[str]) -> None:
    assert said(Modelled, table) == sentences


def test_a_plugin_gets_the_values_as_the_job_has_them() -> None:
    made = call(loaded(Modelled), ("model",), {"rate": 0, "hidden": [1, 2], "stages": [{"width": 1}]})
    assert made.seen == {"rate": 0, "hidden": (1, 2), "stages": [{"width": 1}]}  # a tuple, as its default is one
    assert (
        call(loaded(Modelled), ("model",), {"rate": 0, "level": torch.device("cpu")} | {"level": 1}).seen["rate"] == 0
    )


def test_a_model_that_allows_more_is_asked_about_what_it_knows() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

        rate: float

    def item(**anything: Any) -> None: ...

    item.Arguments = Open  # type: ignore[attr-defined]
    assert takes_any(loaded(item))
    assert said(item, {"rat": 1}) == ["model: Net (parts) needs the argument 'rate'"]


def test_what_a_model_itself_does_wrong_is_the_plugins_fault() -> None:
    class Broken(BaseModel):
        rate: float

        @field_validator("rate")
        @classmethod
        def _look(cls, value: float) -> float:
            return {}[value]  # type: ignore[index]

    def item(rate: float) -> None: ...

    item.Arguments = Broken  # type: ignore[attr-defined]
    (sentence,) = said(item, {"rate": 1})
    assert sentence.startswith("model: Net (parts) raised KeyError: 1.0 (test_signatures.py:")


def test_an_attribute_that_is_no_model_is_none_of_our_business() -> None:
    def item(rate: float) -> None: ...

    for other in ("text", int, Stage(width=1), None):
        item.Arguments = other  # type: ignore[attr-defined]
        assert names(item) == ["rate"]


# --- the call


def test_a_call_passes_what_is_given_and_what_the_table_says() -> None:
    optimizer = loaded(net, "optimizers")
    assert call(optimizer, ("model",), {"width": 3}, "groups") == ("groups", 3, 2, True)
    with pytest.raises(JobError) as caught:
        call(optimizer, ("model",), {"depth": "2"}, "groups")
    assert [problem.code for problem in caught.value.problems] == ["missing-argument", "wrong-type"]


def test_what_a_plugin_raises_is_told_with_its_own_frame(site: Site) -> None:
    source = "def Net(width: int) -> None:\n    raise ValueError(f'too narrow: {width}')\n"
    site.install("picky", {"models": {"Net": "net:Net"}}, {"net": source})
    with pytest.raises(JobError) as caught:
        call(load(find().get("models", "Net")), ("model",), {"width": 1})
    assert caught.value.problems == (
        Problem(("model",), "Net (picky) raised ValueError: too narrow: 1 (net.py:2 in Net)", "plugin-raised"),
    )


def raised(item: Callable[..., Any], table: Mapping[str, Any]) -> list[str]:
    with pytest.raises(JobError) as caught:
        call(loaded(item), ("model",), table)
    return [str(problem) for problem in caught.value.problems]


def test_a_model_that_a_plugin_makes_of_its_arguments_is_told_key_by_key() -> None:
    def item(**table: Any) -> None:
        NetArguments.model_validate(table, strict=False)

    assert raised(item, {"rate": 2, "stages": [{"width": 0}]}) == [
        "model.rate: must be less than 1, not 2",
        "model.stages.0.width: must be more than 0, not 0",
    ]
    assert raised(item, {"rate": "x", "level": "1x"}) == [
        "model.rate: must be a number, not the string 'x'",
        "model.level: must be a whole number or an array, not the string '1x'",
    ]
    assert raised(item, {"hidden": [1]}) == ["model: Net (parts) needs the argument 'rate'"]

    def strict(**table: Any) -> Stage:
        return Stage(**table)

    assert raised(strict, {"width": 1, "x": 1}) == ["model.x: Net (parts) has no argument 'x'"]


def test_a_model_of_something_else_is_told_as_what_was_raised() -> None:
    def item(width: int) -> None:
        NetArguments.model_validate({"rate": "of a file of its own"})

    (sentence,) = raised(item, {"width": 1})
    assert sentence.startswith("model: Net (parts) raised ValidationError: 1 validation error for NetArguments")


def test_a_constructors_own_error_is_seen_from_the_table_above() -> None:
    def item(cfg: object, rules: object, **table: Any) -> None:
        Stage(**table)

    with pytest.raises(JobError) as caught:
        call(loaded(item, "constructors"), ("constructor",), {"width": 0}, {}, None, seen_from=())
    assert [str(problem) for problem in caught.value.problems] == ["constructor.width: must be more than 0, not 0"]
    assert isinstance(caught.value.__cause__, ValidationError)


def test_the_room_is_light() -> None:
    assert not {"torch", "pydantic"} & set(vars(signatures))
