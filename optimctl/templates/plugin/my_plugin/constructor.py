"""The constructor: it says which options each parameter is trained with, and why."""

from __future__ import annotations

from optimctl.optim import DefaultOptimWrapperConstructor, Options
from torch import nn


class MyPluginConstructor(DefaultOptimWrapperConstructor):
    """No weight decay for tensors of one dimension: biases, and what norm layers learn.

    The rules of the job's ``paramwise_cfg`` hold as always, but for the decay of these.
    """

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The options of one parameter; it changes nothing, and equal arguments give equal options."""
        options = super().options(name, parameter, module, parents)
        if parameter.ndim == 1 and "weight_decay" in options:
            # `set` returns new options; `optimctl inspect` shows the reason beside the value.
            return options.set("weight_decay", 0.0, reason="MyPluginConstructor: one dimension")
        return options
