"""Layer-wise learning-rate decay, for any model whose blocks are numbered.

In this room: ``find_blocks``, which finds the blocks and their order by the structure of the model, and the constructor that
multiplies a parameter's learning rate by ``decay_rate`` once for each layer between it and the output (BEiT,
https://arxiv.org/abs/2106.08254, appendix; ELECTRA before it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        if "lr" not in self.rules.base:
            message = f"there is nothing to multiply: `lr` is no option of {self.optimizer}"
            raise JobError.single(DECAY_RATE, message, "nothing-to-multiply")
        self.layers, self.last = number_layers(model)
        if not self.last:
            message = f"{type(model).__name__} has no numbered blocks to decay over (a ModuleList or Sequential of modules of one class)"
            raise JobError.single(("constructor",), message, "no-blocks")
        self._made: dict[tuple[int, int], tuple[Options, Options]] = {}

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """What the rules say, the learning rate multiplied by the layer's factor, but where a custom key gives it as a number."""
        chosen = super().options(name, parameter, module, parents)
        layer = self.layers[name]
        known = self._made.get((id(chosen), layer))
        if known is None:  # `chosen` is kept too, so that the id stays its own
            known = self._made[id(chosen), layer] = (chosen, self._decayed(chosen, layer))
        return known[1]

    def _decayed(self, chosen: Options, layer: int) -> Options:
        before = chosen.reasons.get("lr", Reason())
        if before.key is not None and before.key[-1] == "lr" and before.key[0] == PARAMWISE:
            return chosen
        reason = Reason(DECAY_RATE, chosen.spoken_for("lr"), f"layer {layer} of {self.last}")
        return chosen.scale("lr", self.decay_rate ** (self.last - layer), reason)


def number_layers(model: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of each parameter by name, and the number of the last one, that of the output; 0 where there are no blocks."""
    blocks = list(find_blocks(model))
    number = {block.path: index for index, block in enumerate(blocks, 1)}
    stages = {block.stage for block in blocks}
    layers: dict[str, int] = {}
    newest = 0
    for met in walk(model):
        above = set(_ancestors(met.name))
        own = next((number[path] for path in above if path in number), None)
        newest = max(newest, own or 0)
        is_past = newest == len(blocks) and above.isdisjoint(stages)
        layers[met.name] = own if own is not None else len(blocks) + 1 if is_past else newest
    return layers, len(blocks) + 1 if blocks else 0


@dataclass(frozen=True)
class Block:
    """A block of a model."""

    path: str
    stage: str | None
    """The path of the numbered stage that it is in; what follows in the stage belongs to the stage's last block."""


def find_blocks(model: nn.Module, path: str = "") -> Iterator[Block]:
    """The model's blocks, from input to output.

    A block is an element of a numbered container whose elements are all of one class and have modules of their own. Where an
    element is mostly made of blocks, its own elements or those of its own child (the stages of Swin), these are the blocks; what
    lies deeper, as the experts of a mixture do, is no layer of its own.
    """
    numbered = _is_stack(model)
    for name, child in model.named_children():
        below = f"{path}.{name}" if path else name
        inner = list(find_blocks(child, below))
        if not numbered:
            yield from inner
        elif _are_stage(child, below, inner):
            yield from (Block(block.path, below) for block in inner)
        else:
            yield Block(below, None)


def _are_stage(child: nn.Module, path: str, inner: Sequence[Block]) -> bool:
    """Whether a numbered element is mostly made of blocks, its own elements or those of its own child."""
    near = [block.path[len(path) + 1 :] for block in inner]
    inside = sum(_size(child.get_submodule(below)) for below in near if below.count(".") < 2)
    return 2 * inside > _size(child)


def _is_stack(container: nn.Module) -> bool:
    children = list(container.named_children())
    alike = len({type(child) for _, child in children}) == 1
    return alike and all(name.isdigit() and _is_block(child) for name, child in children)


def _is_block(module: nn.Module) -> bool:
    """A module with trained numbers in modules of its own: no single layer, and no mere activation."""
    return any(True for _ in module.children()) and any(True for _ in module.parameters())


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
