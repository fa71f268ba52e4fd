"""Several optimizers in one run: one wrapper each, as a mapping by the names of the sub-modules that they train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

from torch import nn

from optimctl.errors import OptimctlError
from optimctl.optim.wrapper import OptimWrapper

DEFAULT_NAME = "default"
"""What the only wrapper of a job is called."""


class OptimWrapperDict(Mapping[str, OptimWrapper]):
    """Optim wrappers by name; a task with ``train_step`` picks the one to update by.

    Args:
        wrappers: By name, in the order of the job.
    """

    requires_closure = False

    def __init__(self, **wrappers: OptimWrapper) -> None:
        self.optim_wrappers = wrappers

    def __getitem__(self, name: str) -> OptimWrapper:
        return self.optim_wrappers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.optim_wrappers)

    def __len__(self) -> int:
        return len(self.optim_wrappers)

    @property
    def updates(self) -> int:
        """Updates of the optimizer that was updated most."""
        return max(wrapper.updates for wrapper in self.values())

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:
        """Each optimizer's groups by its name."""
        return {name: wrapper.param_groups for name, wrapper in self.items()}

    def update_params(self, *_: Any, **__: Any) -> NoReturn:
        """Of several optimizers, none is *the* one; raises an ``OptimctlError``."""
        self._refuse("update_params(loss)")

    def backward(self, *_: Any, **__: Any) -> NoReturn:
        """As ``update_params``."""
        self._refuse("backward(loss)")

    def step(self, *_: Any, **__: Any) -> NoReturn:
        """As ``update_params``."""
        self._refuse("step()")

    def _refuse(self, call: str) -> NoReturn:
        names = ", ".join(self)
        raise OptimctlError(
            f"there are several optimizers; write optim_wrapper[NAME].{call}, NAME being one of {names}"
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass runs inside; gradients are synchronized only where every optimizer's window ends."""
        with ExitStack() as stack:
            for wrapper in self.values():
                stack.enter_context(wrapper.optim_context(model))
            yield

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Tell every wrapper where the run stands and ends; each is assumed to be updated once an iteration."""
        for wrapper in self.values():
            wrapper.initialize_count_status(model, init_counts, max_counts)

    def should_sync(self) -> bool:
        """Whether the iteration that is about to run ends a window of any optimizer."""
        return any(wrapper.should_sync() for wrapper in self.values())

    def zero_grad(self, **kwargs: Any) -> None:
        """Forget all gradients."""
        for wrapper in self.values():
            wrapper.zero_grad(**kwargs)

    def get_lr(self) -> dict[str, list[float]]:
        """``{"name.lr": [one a group]}``."""
        return {f"{name}.{option}": values for name, w in self.items() for option, values in w.get_lr().items()}

    def get_momentum(self) -> dict[str, list[float]]:
        """``{"name.momentum": [one a group]}``."""
        return {f"{name}.{option}": values for name, w in self.items() for option, values in w.get_momentum().items()}

    def state_dict(self) -> dict[str, Any]:
        """Each wrapper's state by its name."""
        return {name: wrapper.state_dict() for name, wrapper in self.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give each wrapper the state under its name."""
        for name, wrapper in self.items():
            wrapper.load_state_dict(state[name])

    def __repr__(self) -> str:
        return f"OptimWrapperDict({', '.join(f'{name}={wrapper!r}' for name, wrapper in self.items())})"


def by_name(wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, OptimWrapper]:
    """The wrappers of a run by name; a single one is called ``default``."""
    return dict(wrapper) if isinstance(wrapper, OptimWrapperDict) else {DEFAULT_NAME: wrapper}
