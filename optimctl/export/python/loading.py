"""The data in the script: the function that makes its loaders, the order of their batches, and how a batch comes to the device.

In this room: ``make_loaders`` and ``passes``, which write functions, and what other lines say of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.data import SEEDS_APART
from optimctl.export.python.layout import define, lay
from optimctl.export.python.templates import piece

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected
    from optimctl.export.python.parts import Data


def make_loaders(of: Collected) -> str:
    """The function that makes the data."""
    if of.val is None:
        head, doc, lines = define("make_loaders", {}, "DataLoader[Any]"), "The data to train on.", _only(of.train)
    else:
        head = define("make_loaders", {}, "tuple[DataLoader[Any], DataLoader[Any]]")
        doc = "The data to train and to validate on."
        lines = [*_assigned(of.train), *_assigned(of.val), "return train_loader, val_loader"]
    return "\n".join([head, *(f"    {line}" for line in [f'"""{doc}"""', *lines])])


def passes(data: Data) -> str:
    """The function that gives batches without end."""
    return piece("passes", train=data, pass_seed=pass_seed("seed", "number"))


def pass_seed(seed: str, number: str) -> str:
    """The seed of a pass over the data, as ``optimctl.data.pass_seed`` computes it."""
    product = f"{seed} * {SEEDS_APART:_}"
    return f"{product} % 2**32" if number == "0" else f"({product} + {number}) % 2**32"


def inputs(data: Data) -> str:
    """What the model is called with, where the last tensor of a batch is the targets."""
    return "inputs" if data.batch == "pair" else "*inputs"


def unpack(of: Collected, data: Data) -> str:
    """How a batch comes to the device."""
    target = f"{inputs(data)}, targets"
    if data.batch == "any":
        return f"{'batch' if of.task.is_foreign else target} = to_device(batch, device)"
    moved = "part.to(device, non_blocking=True)" if data.pins_memory else "part.to(device)"
    parts = f"{moved} for part in batch"
    return f"batch = [{parts}]" if of.task.is_foreign else f"{target} = ({parts})"


def _assigned(data: Data) -> Iterator[str]:
    """The lines that make a loader under its name."""
    yield from data.before
    if not data.reseeds:
        yield "# Its own generator: going through it leaves torch's random numbers alone."
    yield lay(data.expression, 4, f"{data.name} = ")
    yield from data.after


def _only(data: Data) -> list[str]:
    """The lines that make a loader and return it."""
    if data.after:
        return [*_assigned(data), f"return {data.name}"]
    *lines, _ = _assigned(data)
    return [*lines, lay(data.expression, 4, "return ")]


__all__ = ["inputs", "make_loaders", "pass_seed", "passes", "unpack"]
