"""The constructors of MMAction2's video configurations: which options each parameter is trained with, and why.

Each gives `paramwise_cfg` a meaning of its own, that of the class of the same name in MMAction2 1.2
(https://github.com/open-mmlab/mmaction2/tree/main/mmaction/engine/optimizers). As everywhere in optimctl, frozen parameters
never enter the optimizer, and parameters with equal options share a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from optimctl.optim import (
    DefaultOptimWrapperConstructor,
    LayerDecayOptimWrapperConstructor,
    OptimWrapper,
    Options,
    Reason,
)

PARAMWISE = "paramwise_cfg"
MULTIPLIERS = {"lr_mult": "lr", "decay_mult": "weight_decay"}
"""The words of a rule of `SwinOptimWrapperConstructor`, and the option that each multiplies."""


class TSMOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """What the temporal shift module is trained with (Lin et al., 2018, https://arxiv.org/abs/1811.08383).

    | parameter | `lr` times | `weight_decay` times |
    |---|---|---|
    | weight of a convolution or a linear layer | 1 | 1 |
    | its bias | 2 | 0 |
    | weight and bias of a batch or group norm | 1 | 0 |
    | with `fc_lr5`: weight of the last linear layer | 5 | 1 |
    | with `fc_lr5`: its bias | 10 | 0 |

    There is no rule for other layers, such as layer norms and embeddings: they must be frozen. Without `fc_lr5`, the last
    linear layer is one like the others.

    Args:
        optim_wrapper_cfg: the job's table `optim_wrapper`.
        paramwise_cfg: `fc_lr5`, true or false, and nothing else.

    Raises:
        ValueError: `paramwise_cfg` has another key; when called, the model has a trainable parameter without a rule, or
            `fc_lr5` has no linear layer to speak of.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        rules = dict(paramwise_cfg or {})
        self.fc_lr5 = rules.pop("fc_lr5", False)
        if rules:
            raise ValueError(
                f"paramwise_cfg has the unknown key '{next(iter(rules))}'; this constructor knows 'fc_lr5'"
            )
        if not isinstance(self.fc_lr5, bool):
            raise ValueError(f"paramwise_cfg.fc_lr5 must be true or false, not {self.fc_lr5!r}")
        super().__init__(optim_wrapper_cfg)

    def prepare(self, model: nn.Module) -> None:
        """Find the last linear layer."""
        super().prepare(model)
        linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if self.fc_lr5 and not linears:
            raise ValueError(f"fc_lr5 = true, but {type(model).__name__} has no linear layer")
        self._last = linears[-1] if self.fc_lr5 else None

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The job's options, multiplied by what the table above says."""
        chosen = super().options(name, parameter, module, parents)
        if not parameter.requires_grad:
            return chosen
        if isinstance(module, (_BatchNorm, nn.GroupNorm)):
            return chosen.scale("weight_decay", 0.0, "TSM: norm layers are not decayed")
        if not isinstance(module, (_ConvNd, nn.Linear)):
            raise ValueError(_no_rule(name, module))
        is_bias = name.rpartition(".")[2] == "bias"
        if is_bias:
            chosen = chosen.scale("weight_decay", 0.0, "TSM: biases are not decayed")
        if module is self._last:
            which = f"the last linear layer's {'bias' if is_bias else 'weight'}"
            return _scale(chosen, "lr", 10.0 if is_bias else 5.0, (PARAMWISE, "fc_lr5"), which)
        return chosen.scale("lr", 2.0, "TSM: biases learn twice as fast") if is_bias else chosen


def _no_rule(name: str, module: nn.Module) -> str:
    path = name.rpartition(".")[0]
    which = f"'{path}'" if path else "the model itself"
    return (
        f"{which} is a {type(module).__name__} with a parameter '{name}', and there are rules only for convolutions, linear "
        "layers, batch and group norms; freeze it, or take another constructor"
    )


def _scale(chosen: Options, option: str, factor: float, key: tuple[str, ...], text: str | None) -> Options:
    """An option multiplied, for the reason that the job's line `key` gives."""
    return chosen.scale(option, factor, Reason(key, chosen.spoken_for(option), text))


class SwinOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """What Video Swin is trained with (Liu et al., 2021, https://arxiv.org/abs/2106.13230).

    `paramwise_cfg` is a table of rules: each key is a part of parameters' names, each value a table of `lr_mult` and
    `decay_mult`. All keys that a name contains multiply; of the default constructor's `custom_keys`, the longest wins.
    The first releases of MMAction2 1.0 have the same rules one table further in, under `custom_keys`, and so may a job.

    Args:
        optim_wrapper_cfg: the job's table `optim_wrapper`.
        paramwise_cfg: the rules.

    Raises:
        ValueError: a rule is something else; when called, one multiplies an option that the optimizer does not have.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        rules = dict(paramwise_cfg or {})
        self._table: tuple[str, ...] = (PARAMWISE,)
        if isinstance(rules.get("custom_keys"), Mapping) and len(rules) == 1:
            self._table, rules = (PARAMWISE, "custom_keys"), rules["custom_keys"]
        self.multipliers = {key: _read_rule(key, rule) for key, rule in rules.items()}
        super().__init__(optim_wrapper_cfg)

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The job's options, multiplied by every rule whose key the name contains."""
        chosen = super().options(name, parameter, module, parents)
        matching = [key for key in self.multipliers if key in f".{name}"]
        for word, option in MULTIPLIERS.items():
            factors = {key: self.multipliers[key][word] for key in matching if word in self.multipliers[key]}
            if factors:
                chosen = self._multiply(chosen, word, option, factors)
        return replace(chosen, matched=tuple((*self._table, key) for key in matching))

    def wrap(self, optimizer: Optimizer, options: Mapping[str, Options], rule_keys: Sequence[Any]) -> OptimWrapper:
        """The wrapper, told of the rules, so that one that matches nothing is found."""
        return super().wrap(optimizer, options, [*rule_keys, *((*self._table, key) for key in self.multipliers)])

    def _multiply(self, chosen: Options, word: str, option: str, factors: Mapping[str, float]) -> Options:
        first, *others = factors
        if option not in chosen:
            raise ValueError(
                f"{PARAMWISE}.{first}.{word}: there is nothing to multiply: the optimizer has no `{option}`"
            )
        product = " x ".join(f"{factor:g} ({key})" for key, factor in factors.items())
        text = f"times {product}" if others else None
        return _scale(chosen, option, math.prod(factors.values()), (*self._table, first, word), text)


def _read_rule(key: str, rule: Any) -> dict[str, float]:
    if not isinstance(rule, Mapping):
        example = f"'{key}' = {{ lr_mult = 0.1 }}"
        raise ValueError(f"paramwise_cfg has a rule for each part of a name, as in {example}; '{key}' is {rule!r}")
    for word, factor in rule.items():
        if word not in MULTIPLIERS:
            raise ValueError(f"the rule '{key}' has the unknown key '{word}'; it knows {' and '.join(MULTIPLIERS)}")
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
            raise ValueError(f"the rule '{key}' has {word} = {factor!r}; it must be a number from 0 up")
    return dict(rule)


class LearningRateDecayOptimizerConstructor(LayerDecayOptimWrapperConstructor):
    """What MViT is fine-tuned with: a learning rate that falls from layer to layer, and no decay of vectors.

    A parameter of layer `i` gets its learning rate times `decay_rate ** (num_layers + 1 - i)`: layer 0 is what comes
    before the blocks (patches, positions, tokens), layer `k` the `k`-th block, and all that follows the blocks is
    layer `num_layers + 1`, whose rate stays whole. Biases and parameters of one dimension are not decayed. As in
    MMAction2, positions and class tokens are; where the model says that they should not be, `no_weight_decay = true`
    listens to it.

    With `decay_type = "stage_wise"`, as MMDetection and MMSegmentation have it, the layers are the stages of a model such as
    `VideoSwin`: all blocks of a stage share a learning rate.

    Args:
        optim_wrapper_cfg: the job's table `optim_wrapper`.
        paramwise_cfg: `decay_rate`; `decay_type`, "layer_wise" (the default) or "stage_wise"; `num_layers`, which is
            counted where it is not given; and the keys of the default constructor.

    Raises:
        ValueError: a key has a wrong value; when called, the model has more layers than `num_layers`, or no stages.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        rules = dict(paramwise_cfg or {})
        self.decay_type = rules.pop("decay_type", "layer_wise")
        self.num_layers = rules.pop("num_layers", None)
        if self.decay_type not in ("layer_wise", "stage_wise"):
            raise ValueError(f"decay_type must be 'layer_wise' or 'stage_wise', not {self.decay_type!r}")
        _check_num_layers(self.num_layers)
        super().__init__(optim_wrapper_cfg, rules)

    def prepare(self, model: nn.Module) -> None:
        """Number the model's layers, or its stages."""
        super().prepare(model)
        if self.decay_type == "stage_wise":
            self.layers, self.last = _number_stages(model)
        counted = self.last - 1
        if self.num_layers is None or self.num_layers == counted:
            return
        if self.num_layers < counted:
            what = f"num_layers = {self.num_layers}, but {type(model).__name__} has {counted} {self.decay_type[:5]}s"
            raise ValueError(f"{what}; give at least as many, or leave it to be counted")
        behind = self.num_layers + 1
        self.layers = {name: behind if layer == self.last else layer for name, layer in self.layers.items()}
        self.last = behind

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The job's options, the learning rate multiplied by the layer's factor, a vector without decay."""
        chosen = super().options(name, parameter, module, parents)
        if name.rpartition(".")[2] == "bias":
            return chosen.scale("weight_decay", 0.0, "biases are not decayed")
        return chosen.scale("weight_decay", 0.0, "vectors are not decayed") if parameter.ndim == 1 else chosen


def find_stages(module: nn.Module, path: str = "") -> Iterator[str]:
    """The paths of the model's stages, from input to output.

    A stage is a numbered container of blocks: `blocks` of a transformer, `layer0` of a ResNet. Where blocks stand in parts
    of a numbered container themselves (`layers.0.blocks` of Swin), each of those parts is a stage, with all that is in it.
    """
    children = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
    if not _is_stack(module):
        for below, child in children:
            yield from find_stages(child, below)
    elif all(_is_made_of_blocks(child) for _, child in children):
        yield from (below for below, _ in children)
    else:
        yield path


def _is_stack(module: nn.Module) -> bool:
    """A numbered container of modules of one class, each with modules of its own and something to train."""
    children = list(module.named_children())
    alike = len({type(child) for _, child in children}) == 1
    return alike and all(name.isdigit() and _size(child) and any(child.children()) for name, child in children)


def _is_made_of_blocks(module: nn.Module) -> bool:
    return 2 * sum(_size(module.get_submodule(path)) for path in find_stages(module)) > _size(module)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _number_stages(model: nn.Module) -> tuple[dict[str, int], int]:
    """The stage of each parameter by name, and the number of what is behind the last one.

    Stages count from 1; what stands between two of them belongs to the first, and 0 is before all.
    """
    stages = [f"{path}." for path in find_stages(model)]
    if len(stages) < 2:
        what = f"{type(model).__name__} has its blocks in one stage"
        raise ValueError(f"{what}; decay_type = 'stage_wise' is for several, 'layer_wise' for one")
    numbers: dict[str, int] = {}
    newest = 0
    for name, _ in model.named_parameters():
        own = next((number for number, stage in enumerate(stages, 1) if name.startswith(stage)), None)
        newest = own or newest
        numbers[name] = own or (newest + 1 if newest == len(stages) else newest)
    return numbers, len(stages) + 1


def _check_num_layers(number: Any) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ValueError(f"num_layers must be a whole number of at least 1, not {number!r}")
