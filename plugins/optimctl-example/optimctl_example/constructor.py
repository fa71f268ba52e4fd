"""A constructor as a plugin: it says which options each parameter is trained with, and why."""

from torch import nn

from optimctl.optim import DefaultOptimWrapperConstructor, Options


class MyOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Vectors are not decayed: biases, and the weights and biases of norm layers.

    They are few, and pulling them towards zero does not keep a network simple. What the job's ``paramwise_cfg`` says is
    obeyed as always, but for the decay of these.
    """

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The options that the job's rules give, without decay for a vector."""
        options = super().options(name, parameter, module, parents)
        if parameter.ndim == 1:
            # Torch's optimizers call it weight_decay, MyOptimizer calls it c. `set` changes nothing, it returns new
            # options; `optimctl inspect` shows the reason beside the value.
            for option in {"weight_decay", "c"} & options.keys():
                options = options.set(option, 0.0, reason="MyOptimWrapperConstructor: vectors are not decayed")
        return options
