"""Learning rates that fall from layer to layer.

In this room: ``Layers``, which ``layers_of`` reads off the constructor that lets them fall, and ``layer_function``, which writes down
what layer a parameter is in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimctl.export.python.layout import STEP, WIDTH, Call, indented, lay, listed, literal, text
from optimctl.export.python.planned import Planned, constructor_of
from optimctl.optim.constructor import DefaultOptimWrapperConstructor
from optimctl.optim.layer_decay import LayerDecayOptimWrapperConstructor
from optimctl.optim.walk import walk

if TYPE_CHECKING:
    from optimctl.assemble import Assembly


@dataclass(frozen=True)
class Layers:
    """The layers of a model."""

    rate: float
    """What the learning rate is multiplied by from one layer to the one before it."""
    numbers: Mapping[str, int]
    """The layer of each parameter."""
    last: int
    values: Mapping[str, float]
    """The learning rate of each parameter before the fall."""

    @property
    def factor(self) -> str:
        """What the learning rate of a parameter is multiplied by, in the script."""
        return f"{literal(self.rate)} ** ({self.last} - layer_of(name))"


def layers_of(assembly: Assembly, planned: Planned, trained: Collection[str]) -> Layers | None:
    """The layers, where the constructor lets the learning rate fall; None where it does not."""
    constructor = constructor_of(assembly, planned)
    if not isinstance(constructor, LayerDecayOptimWrapperConstructor):
        return None
    by_rules = DefaultOptimWrapperConstructor.options
    met = [one for one in walk(planned.module) if one.name in trained]
    values = {one.name: by_rules(constructor, one.name, one.parameter, one.module, one.parents)["lr"] for one in met}
    numbers = {name: number for name, number in constructor.layers.items() if name in trained}
    return Layers(constructor.decay_rate, numbers, constructor.last, values)


def layer_function(layers: Layers) -> str:
    """The function that tells the layer of a parameter by its name."""
    head = f'def layer_of(name: str) -> int:\n    """The layer of a parameter: 0 is the input\'s, {layers.last} the output\'s."""\n'
    counted = _counted(layers)
    return head + (indented(counted) if counted else _tabled(layers))


def _counted(layers: Layers) -> str:
    """Layers that one numbered container counts, with something before and behind it; nothing where there are others."""
    inner = {name: number for name, number in layers.numbers.items() if 0 < number < layers.last}
    stems = {_stem(name) for name in inner}
    if len(stems) != 1:
        return ""
    stem = stems.pop()
    place = stem.count(".")
    offsets = {number - int(name.split(".")[place]) for name, number in inner.items()}
    ends = tuple(sorted({_head(name) for name, number in layers.numbers.items() if number == layers.last}))
    starts = tuple(_head(name) for name, number in layers.numbers.items() if number == 0)
    if len(offsets) != 1 or not stem or any(stem.startswith(head) for head in starts + ends) or set(starts) & set(ends):
        return ""
    (offset,) = offsets
    index = f'int(name.split(".")[{place}])' + (f" + {offset}" if offset else "")
    last = f"{layers.last} if name.startswith({literal(ends if len(ends) != 1 else ends[0])}) else 0"
    written = f"if name.startswith({text(stem)}):\n    return {index}\nreturn {last if ends else 0}"
    return written if max(map(len, written.splitlines())) + STEP <= WIDTH else ""


def _head(name: str) -> str:
    first, dot, _ = name.partition(".")
    return first + dot


def _stem(name: str) -> str:
    """What stands before the first number in a name; nothing where there is none."""
    parts = name.split(".")
    index = next((index for index, part in enumerate(parts) if part.isdigit()), 0)
    return "".join(f"{part}." for part in parts[:index])


def _tabled(layers: Layers) -> str:
    """Layers by what the names of their parameters begin with."""
    rows: dict[int, list[str]] = {number: [] for number in range(layers.last + 1)}
    for name, number in layers.numbers.items():
        rows[number].append(name)
    table = [Call("(", tuple(("", text(head)) for head in _heads(rows, number)), ")") for number in rows]
    body = lay(listed(table), 4, "layers = ")
    return f"    {body}\n    return next(i for i, heads in enumerate(layers) if name.startswith(heads))"


def _heads(rows: Mapping[int, Sequence[str]], number: int) -> list[str]:
    """The shortest beginnings that the names of a layer have, and no others."""
    others = [name for other, names in rows.items() if other != number for name in names]
    heads: dict[str, None] = {}
    for name in rows[number]:
        parts = name.split(".")
        paths = [".".join(parts[:depth]) + "." for depth in range(1, len(parts))]
        heads[next((path for path in paths if not any(other.startswith(path) for other in others)), name)] = None
    return list(heads)


__all__ = ["Layers", "layer_function", "layers_of"]
