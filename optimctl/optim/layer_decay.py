"""Layer-wise learning-rate decay, for any model whose blocks are numbered.

In this room: ``find_blocks``, which finds the blocks and their order by the structure of the model, and the constructor that
multiplies a parameter's learning rate by ``decay_rate`` once for each layer between it and the output (BEiT,
https://arxiv.org/abs/2106.08254, appendix; ELECTRA before it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from optimctl.errors import JobError
from optimctl.optim.constructor import DefaultOptimWrapperConstructor
from optimctl.optim.options import Options, Reason
from optimctl.optim.rules import PARAMWISE
from optimctl.optim.walk import walk

DECAY_RATE = (PARAMWISE, "decay_rate")


class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """The default constructor, with a learning rate that falls from the output to the input.

    ``paramwise_cfg`` has ``decay_rate`` beside the default constructor's keys. A parameter of layer ``i`` of ``n`` gets its
    learning rate times ``decay_rate ** (n - i)``: layer 0 is all before the first block, layer ``k`` the ``k``-th block with what
    follows it in its stage, layer ``n`` all behind the last block, whose rate stays whole.

    Raises:
        JobError: ``decay_rate`` is missing or not in (0, 1], or the model has no numbered blocks.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        rules = dict(paramwise_cfg or {})
        self.decay_rate = _checked_rate(rules.pop("decay_rate", None))
        super().__init__(optim_wrapper_cfg, rules)

    def prepare(self, model: nn.Module) -> None:
        """Number the model's layers."""
        super().prepare(model)
        self.layers, self.last = number_layers(model)
        if self.last < 2:
            message = f"{type(model).__name__} has no numbered blocks to decay over (a ModuleList or Sequential of modules of one class)"
            raise JobError.single(("constructor",), message, "no-blocks")

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """What the rules say, the learning rate multiplied by the layer's factor."""
        chosen = super().options(name, parameter, module, parents)
        layer = self.layers[name]
        before = chosen.reasons.get("lr", Reason())
        lost = before.lost if before.key is None else (before.key, *before.lost)
        return chosen.scale(
            "lr", self.decay_rate ** (self.last - layer), Reason(DECAY_RATE, lost, f"layer {layer} of {self.last}")
        )


def number_layers(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of each parameter by name, and the number of the last one, that of the output."""
    blocks = list(find_blocks(model))
    number = {path: index for index, path in enumerate(blocks, 1)}
    stages = {path.rpartition(".")[0].rpartition(".")[0] for path in blocks}
    layers: dict[str, int] = {}
    newest = 0
    for met in walk(model):
        own = next((number[path] for path in _ancestors(met.name) if path in number), None)
        newest = max(newest, own or 0)
        in_stage = any(stage and met.name.startswith(f"{stage}.") for stage in stages)
        is_past = newest == len(blocks) and not in_stage
        layers[met.name] = own if own is not None else len(blocks) + 1 if is_past else newest
    return layers, len(blocks) + 1 if blocks else 0


def find_blocks(model: nn.Module, path: str = "") -> Iterator[str]:
    """The paths of the model's blocks, from input to output.

    A block is an element of a numbered container whose elements are all of one class and have modules of their own. Where an
    element is mostly made of such a container itself (the stages of Swin), its elements are the blocks.
    """
    for name, child in model.named_children():
        below = f"{path}.{name}" if path else name
        if name.isdigit() and _is_stack(model):
            inner = list(find_blocks(child, below))
            whole = _size(child)
            inside = sum(_size(child.get_submodule(block[len(below) + 1 :])) for block in inner)
            yield from inner if inner and 2 * inside > whole else [below]
        else:
            yield from find_blocks(child, below)


def _is_stack(container: nn.Module) -> bool:
    children = list(container.named_children())
    alike = len({type(child) for _, child in children}) == 1
    return alike and all(name.isdigit() and _is_block(child) for name, child in children)


def _is_block(module: nn.Module) -> bool:
    """A module with trained numbers in modules of its own: no single layer, and no mere activation."""
    return any(True for _ in module.children()) and _size(module) > 0


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _ancestors(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:count])


def _checked_rate(rate: Any) -> float:
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        said = "; it is missing" if rate is None else f", not {rate!r}"
        raise JobError.single(DECAY_RATE, f"must be a number above 0 and at most 1{said}", "wrong-value")
    return float(rate)
