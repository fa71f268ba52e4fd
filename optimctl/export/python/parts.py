"""Model, data and weights as lines of the script.

In this room: ``Part``, an expression with the functions that it calls, and what makes one of a job's tables. Plugins of packages are
imported; optimctl's own model and data set are written out.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from optimctl import plugins, signatures
from optimctl.data import OWN_PARTS
from optimctl.errors import JobError, Key
from optimctl.export.python.imports import Imports, check_apart
from optimctl.export.python.layout import Call, Expression, call, define, lay, literal
from optimctl.parts import Synthetic
from optimctl.plugins import OWN, plugin_code
from optimctl.weights import HOLDERS

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.job.schema import LoadFrom
    from optimctl.plugins import LoadedPlugin
    from optimctl.weights import LoadedWeights


@dataclass(frozen=True)
class Part:
    """Something that the script makes."""

    expression: Expression
    functions: tuple[str, ...] = ()


def part_of(kind: str, key: Key, table: Mapping[str, Any], imports: Imports) -> Part:
    """What a plugin's table makes.

    Raises:
        JobError: It is one of optimctl's own that nobody has written out, or its module needs optimctl.
    """
    arguments = dict(table)
    loaded = plugins.resolve(kind, arguments.pop("type"), key)
    own = _OWN.get(loaded.plugin.object)
    if own is not None:
        return own(_bound(loaded, arguments), arguments)
    _refuse_own(loaded, key)
    check_apart(loaded.plugin, key)
    given = signatures.with_tuples(loaded, arguments)
    return Part(call(imports.name(loaded.plugin), **{name: literal(value) for name, value in given.items()}))


def _bound(loaded: LoadedPlugin, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the defaults of those that are not given."""
    if loaded.signature is None:
        return dict(arguments)
    bound = loaded.signature.bind(**arguments)
    bound.apply_defaults()
    return dict(bound.arguments)


def _perceptron(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Part:
    """``optimctl.parts.MLP``."""
    sizes = [arguments["in_features"], *arguments["hidden"], arguments["out_features"]]
    layers: list[Expression] = ["nn.Flatten()"]
    for before, after in itertools.pairwise(sizes):
        layers += [f"nn.Linear({before}, {after})", "nn.ReLU()"]
    body = lay(Call("nn.Sequential(", tuple(("", layer) for layer in layers[:-1])), 4, "return ")
    function = f'def make_model() -> nn.Module:\n    """A multi-layer perceptron."""\n    {body}'
    return Part("make_model()", (function,))


def _synthetic(arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Part:
    """``optimctl.parts.Synthetic``."""
    defaults = inspect.signature(Synthetic).parameters
    kinds = {name: f"{type(one.default).__name__} = {literal(one.default)}" for name, one in defaults.items()}
    lines = [
        '"""Points around random centres, one for each class; both splits have the same."""',
        "generator = torch.Generator().manual_seed(seed)",
        "centres = torch.randn(classes, features, generator=generator)",
        'generator.manual_seed(2 * seed + 1 + (split == "test"))',
        "labels = torch.randint(classes, (samples,), generator=generator)",
        "points = torch.randn(samples, features, generator=generator)",
        "return TensorDataset(centres[labels] + noise * points, labels)",
    ]
    function = "\n".join([define("make_points", kinds, "TensorDataset"), *(f"    {line}" for line in lines)])
    return Part(call("make_points", **{name: literal(value) for name, value in given.items()}), (function,))


_OWN: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Part]] = {
    "optimctl.parts:MLP": _perceptron,
    "optimctl.parts:Synthetic": _synthetic,
}
"""What ships with optimctl and is written out."""


@dataclass(frozen=True)
class Data:
    """A loader of the script."""

    name: str
    """Of its variable."""
    before: tuple[str, ...]
    """Lines that stand before it is made."""
    expression: Expression
    after: tuple[str, ...]
    """Lines that finish it."""
    functions: tuple[str, ...]
    batch: str
    """What a batch is: ``pair`` of tensors, ``tensors`` in a list, or ``any``."""
    has_plain_targets: bool
    """Whether the last tensor of a batch has one number for each sample."""
    reseeds: bool
    """Whether its order, or its workers' random numbers, are a function of seed and pass."""
    set_epoch: tuple[str, ...]
    """The parts of it that are told the number of each pass: ``sampler``, ``dataset``."""
    pins_memory: bool


def data_of(assembly: Assembly, section: str, loader: DataLoader[Any], imports: Imports) -> Data:
    """The loader that a section of the job describes."""
    table: dict[str, Any] = assembly.job.plain()[section]
    name = section.replace("dataloader", "loader")
    options = dict(table)
    source = options.pop("dataset")
    part = part_of("datasets", (section, "dataset"), source, imports)
    ready = _ready(source, section, bool(options))
    if ready is not None:
        before: tuple[str, ...] = ()
        expression, after = part.expression, tuple(_given_generator(name, ready))
        batch, plain = "any", False
    else:
        (before, expression), after = _loader(name, part, loader, options), ()
        batch, plain = _batch_of(loader, (section, "dataset"), source)
    told = [
        attribute
        for attribute in ("sampler", "batch_sampler", "dataset")
        if callable(getattr(getattr(loader, attribute), "set_epoch", None))
    ]
    is_random = bool(options.get("shuffle")) or bool(options.get("num_workers")) or batch == "any"
    return Data(
        name=name,
        before=before,
        expression=expression,
        after=after,
        functions=part.functions,
        batch=batch,
        has_plain_targets=plain,
        reseeds=is_random,
        set_epoch=tuple(told),
        pins_memory=bool(options.get("pin_memory")),
    )


def _ready(table: Mapping[str, Any], section: str, has_options: bool) -> DataLoader[Any] | None:
    """What the plugin returns, where that is a loader itself, which leaves no options to the job."""
    arguments = dict(table)
    loaded = plugins.resolve("datasets", arguments.pop("type"), (section, "dataset"))
    made = loaded.object
    if has_options or (isinstance(made, type) and not issubclass(made, DataLoader)):
        return None
    found = signatures.call(loaded, (section, "dataset"), arguments)
    return found if isinstance(found, DataLoader) else None


def _given_generator(name: str, loader: DataLoader[Any]) -> Iterator[str]:
    """A loader that was ready gets a generator where it has none."""
    if loader.generator is None:
        yield f"{name}.generator = torch.Generator()"
        if getattr(loader.sampler, "generator", loader) is None:
            yield f"{name}.sampler.generator = {name}.generator"


def _loader(
    name: str, part: Part, loader: DataLoader[Any], options: Mapping[str, Any]
) -> tuple[tuple[str, ...], Expression]:
    """What makes a loader, after the lines that make its data where these bring parts of it."""
    own = [one for one in OWN_PARTS if getattr(loader.dataset, one, None) is not None]
    dataset = name.replace("loader", "data") if own else part.expression
    before = (lay(part.expression, 4, f"{dataset} = "),) if own else ()
    given: dict[str, Expression] = {option: literal(value) for option, value in options.items()}
    given |= {one: f"{dataset}.{one}" for one in own}
    return before, call("DataLoader", dataset, **given, generator="torch.Generator()")


def _batch_of(loader: DataLoader[Any], key: Key, table: Mapping[str, Any]) -> tuple[str, bool]:
    """What a batch is, by the first sample; a loader that collates in its own way may make anything of it."""
    if loader.collate_fn is not default_collate or loader.batch_sampler is None:
        return "any", False
    with plugin_code(plugins.resolve("datasets", table["type"], key), key):
        is_iterable = isinstance(loader.dataset, IterableDataset)
        sample = next(iter(loader.dataset)) if is_iterable else loader.dataset[next(iter(loader.sampler))]
    if not isinstance(sample, (list, tuple)) or hasattr(sample, "_fields"):
        return "any", False
    if not all(isinstance(one, (Tensor, int, float)) or type(one).__module__ == "numpy" for one in sample):
        return "any", False
    last = sample[-1]
    plain = not hasattr(last, "ndim") or last.ndim == 0
    return ("pair" if len(sample) == 2 else "tensors"), plain


def weights_lines(source: LoadFrom, told: LoadedWeights) -> Iterator[str]:
    """Initial weights: what was found in the file when the script was written."""
    path = literal(source.path)
    if Path(source.path).suffix == ".safetensors":
        yield lay(call("load_file", path), 4, "weights = ")
    else:
        holder = "".join(f'["{name}"]' for name in _holders(source.path))
        loaded = call("torch.load", path, map_location='"cpu"', weights_only="True")
        yield lay(loaded, 4, "weights = ", holder)
    if source.prefix:
        yield f"prefix = {literal(source.prefix)}"
        yield "own = {k: v for k, v in weights.items() if k.startswith(prefix)}"
        yield "weights = {k.removeprefix(prefix): v for k, v in own.items()}"
    if told.other_shape:
        yield "own = model.state_dict()"
        yield "weights = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}"
    loose = ", strict=False" if told.missing or told.left_over or told.other_shape else ""
    yield f"model.load_state_dict(weights{loose})"


def _holders(path: str) -> list[str]:
    """Where in a file the weights are."""
    import torch

    loaded = torch.load(path, map_location="meta", weights_only=True)
    found: list[str] = []
    while True:
        holder = next(
            (name for name in HOLDERS if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping)), None
        )
        if holder is None:
            return found
        found.append(holder)
        loaded = loaded[holder]


def _refuse_own(loaded: LoadedPlugin, key: Key) -> None:
    """Refuse what comes from optimctl itself and is not written out."""
    if loaded.plugin.distribution == OWN:
        message = (
            f"cannot be exported: {loaded.plugin.name} is optimctl's own, and there is no plain form of it; "
            "take one of a package, or of your own project"
        )
        raise JobError.single((*key, "type"), message, "not-exportable")


def functions_of(parts: Sequence[Part | Data]) -> list[str]:
    """The functions of several parts, each once."""
    return list(dict.fromkeys(function for part in parts for function in part.functions))


__all__ = ["Data", "Part", "data_of", "functions_of", "part_of", "weights_lines"]
