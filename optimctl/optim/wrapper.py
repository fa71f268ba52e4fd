"""How a step is taken: scale the loss, go backward, accumulate, clip, step, zero.

In this room: ``OptimWrapper``, whose arguments and methods are those of MMEngine's class of the same name, and the state of
an optimizer keyed by the names of its parameters.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from optimctl.errors import JobError, OptimctlError
from optimctl.optim.clip import read_clip

if TYPE_CHECKING:
    from optimctl.errors import Key
    from optimctl.optim.options import Options
    from optimctl.plugins import Plugin


class OptimWrapper:
    """An optimizer with gradient accumulation and clipping.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations whose gradients make one update. The loss of each is divided by the number of
            iterations in its window, so that ``n`` small batches give the gradient of one batch ``n`` times as large.
        clip_grad: ``{"max_norm", "norm_type", "error_if_nonfinite"}``, or ``{"type": "value", "clip_value"}``.

    Raises:
        JobError: An option is out of range or unknown; keys are seen from ``optim_wrapper``.
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: Mapping[str, Any] | None = None
    ) -> None:
        if isinstance(accumulative_counts, bool) or not isinstance(accumulative_counts, int) or accumulative_counts < 1:
            message = f"must be a whole number from 1 up, not {accumulative_counts!r}"
            raise JobError.single(("accumulative_counts",), message, "wrong-value")
        self.optimizer = optimizer
        self.accumulative_counts = accumulative_counts
        self.clip = read_clip(clip_grad)
        self.grad_norm: Tensor | None = None
        """The gradients' norm before the last clipping; it stays on the device until somebody reads it."""
        self.options: Mapping[str, Options] = {}
        self.rule_keys: tuple[Key, ...] = ()
        self.parts: tuple[tuple[str, Optimizer, Plugin | None], ...] = (("", optimizer, None),)
        """Each optimizer that a step moves: the name of its route (none where there is one optimizer), itself, who brings it."""
        self.requires_closure = needs_closure(optimizer)
        """Whether the optimizer evaluates the loss itself: then ``update_by_closure`` is the way to step."""
        self._create_graph = bool(getattr(optimizer, "requires_create_graph", False))
        self._built_with = [copy.deepcopy(_options(group)) for group in optimizer.param_groups]
        self._flat: list[Tensor] = []
        self._flat_groups = 0
        self._steps = 0
        self._inner_count = 0
        self._max_counts = -1
        self._window: list[Callable[[], Tensor]] = []

    @property
    def updates(self) -> int:
        """Updates of the parameters so far."""
        return self._steps

    def update_params(
        self, loss: Tensor, step_kwargs: dict[str, Any] | None = None, zero_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Go backward from ``loss``, and at the end of an accumulation window clip, step and zero the gradients.

        Args:
            loss: A scalar: the mean over this iteration's batch.
            step_kwargs: For the optimizer's ``step``.
            zero_kwargs: For the optimizer's ``zero_grad``.

        Raises:
            OptimctlError: The optimizer evaluates the loss itself; ``update_by_closure`` lets it.
        """
        if self.requires_closure:
            name = type(self.optimizer).__name__
            raise OptimctlError(
                f"{name} evaluates the loss itself; write optim_wrapper.update_by_closure(compute_loss)"
            )
        self.backward(self.scale_loss(loss))
        if self.should_update():
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def update_by_closure(self, compute_loss: Callable[[], Tensor]) -> Tensor | None:
        """One iteration for an optimizer that evaluates the loss as often as it likes, as LBFGS does.

        Args:
            compute_loss: The forward pass over this iteration's batch; returns its loss, a scalar.

        Returns:
            The mean loss of the window at the optimizer's first evaluation; None inside a window, where nothing is evaluated.
        """
        self._window.append(compute_loss)
        self._inner_count += 1
        if not self.should_update():
            return None
        window, self._window = self._window, []
        evaluations: list[Tensor] = []
        self.optimizer.step(lambda: self._evaluate(window, evaluations))  # type: ignore[arg-type,return-value]
        self._steps += 1
        self.zero_grad()
        return evaluations[0] if evaluations else None

    def reopen_window(self, compute_loss: Callable[[], Tensor]) -> None:
        """Put an iteration back that was done before the run was resumed; it counts already."""
        self._window.append(compute_loss)

    def _evaluate(self, window: list[Callable[[], Tensor]], evaluations: list[Tensor]) -> Tensor:
        """The mean loss of a window, with its gradients, clipped."""
        self.optimizer.zero_grad()
        total: Tensor | None = None
        with torch.enable_grad():  # some optimizers evaluate the loss where gradients are off
            for compute_loss in window:
                loss = self._evaluate_one(compute_loss) / len(window)
                self._go_backward(loss)
                total = loss.detach() if total is None else total + loss.detach()
        self.clip_gradients()
        if total is None:
            raise ValueError("a window has at least one batch")
        evaluations.append(total)
        return total

    def _evaluate_one(self, compute_loss: Callable[[], Tensor]) -> Tensor:
        return compute_loss()

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The loss divided by the real length of its window: the run's last one may be short."""
        length = self.window_length()
        return loss if length == 1 else loss / length

    def window_length(self) -> int:
        """The number of iterations in the window that the next ``backward`` belongs to."""
        start = self._inner_count - self._inner_count % self.accumulative_counts
        left = self._max_counts - start
        return min(self.accumulative_counts, left) if left > 0 else self.accumulative_counts

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of ``loss``, a scalar; the iteration counts from here on."""
        self._go_backward(loss, **kwargs)
        self._inner_count += 1

    def _go_backward(self, loss: Tensor, **kwargs: Any) -> None:
        if not self._create_graph:
            loss.backward(**kwargs)  # type: ignore[no-untyped-call]
            return
        with warnings.catch_warnings():  # zero_grad ends the cycle that torch warns of
            warnings.filterwarnings("ignore", message="Using backward\\(\\) with create_graph=True")
            loss.backward(**{"create_graph": True, **kwargs})  # type: ignore[no-untyped-call]

    def step(self, **kwargs: Any) -> None:
        """Clip, and step the optimizer."""
        self.clip_gradients()
        self.optimizer.step(**kwargs)
        self._steps += 1

    def clip_gradients(self) -> None:
        """Clip all gradients as the job says, without waiting for the device."""
        if self.clip is not None:
            self.grad_norm = self.clip(self._clipped())

    def _clipped(self) -> list[Tensor]:
        """The parameters of all groups, flat; put together anew only where a group came in."""
        groups = self.optimizer.param_groups
        if len(groups) != self._flat_groups:
            self._flat_groups = len(groups)
            self._flat = [parameter for group in groups for parameter in group["params"]]
        return self._flat

    def zero_grad(self, **kwargs: Any) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass runs inside: gradients are synchronized only in the last iteration of a window."""
        if self.should_sync() or not hasattr(model, "no_sync"):
            yield
        else:
            with model.no_sync():  # type: ignore[operator]
                yield

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Tell where the run stands and ends, so that its last window is divided by its real length.

        Args:
            model: Unused; the argument is MMEngine's.
            init_counts: Iterations done.
            max_counts: Iterations of the whole run; -1 where that is unknown.
        """
        self._inner_count = init_counts
        self._max_counts = max_counts

    def should_update(self) -> bool:
        """Whether the iteration whose ``backward`` has just run ends a window."""
        return self._ends_window(self._inner_count)

    def should_sync(self) -> bool:
        """Whether the iteration that is about to run ends a window."""
        return self._ends_window(self._inner_count + 1)

    def _ends_window(self, count: int) -> bool:
        return count % self.accumulative_counts == 0 or count == self._max_counts

    @property
    def inner_count(self) -> int:
        """Iterations so far."""
        return self._inner_count

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups."""
        return self.optimizer.param_groups

    @property
    def defaults(self) -> dict[str, Any]:
        """The optimizer's own options, before any rule."""
        return self.optimizer.defaults

    def defaults_of(self, index: int) -> dict[str, Any]:
        """The options, before any rule, of the optimizer that has the group ``index``: under ``Routes``, the route's."""
        for _, optimizer, _ in self.parts:
            if index < len(optimizer.param_groups):
                return optimizer.defaults
            index -= len(optimizer.param_groups)
        return self.defaults

    def get_lr(self) -> dict[str, list[float]]:
        """``{"lr": [one a group]}``."""
        return {"lr": [float(group["lr"]) for group in self.param_groups]}

    def get_momentum(self) -> dict[str, list[float]]:
        """``{"momentum": [one a group]}``; ``betas[0]`` where there is no momentum, 0 where there is neither."""
        return {
            "momentum": [
                group["betas"][0] if "betas" in group else group.get("momentum", 0) for group in self.param_groups
            ]
        }

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state by parameter name, its groups' options, and how far accumulation got.

        ``kept`` of a group names the options that the optimizer has moved itself, such as a step count of its own. Gradients
        that wait for an update, as inside a window, are part of the state.
        """
        state = {**named_state(self.optimizer), "updates": self.updates, "inner_count": self._inner_count}
        for group, start in zip(state["groups"], self._built_with, strict=False):
            group["kept"] = sorted(_moved_by_itself(_options(group), start))
        waiting = {name: p.grad.detach() for name, p in named_parameters(self.optimizer) if p.grad is not None}
        return {**state, "gradients": waiting} if waiting else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; the options are the job's, as it is written now, but for those that the optimizer moves itself.

        ``state`` stays as it is.
        """
        load_named_state(self.optimizer, state)
        _load_kept_options(self.optimizer, state["groups"])
        self._steps = int(state["updates"])
        self._inner_count = int(state["inner_count"])
        gradients = state.get("gradients", {})
        for name, parameter in named_parameters(self.optimizer):
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device, copy=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(accumulative_counts={self.accumulative_counts}, clip={self.clip}, {self.optimizer!r})"


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether an optimizer evaluates the loss itself."""
    return isinstance(optimizer, LBFGS) or bool(getattr(optimizer, "requires_closure", False))


def named_parameters(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Every parameter with its name, in the order of the groups; numbers stand in where an optimizer has no names."""
    count = 0
    for group in optimizer.param_groups:
        names = group.get("param_names") or range(count, count + len(group["params"]))
        count += len(group["params"])
        yield from ((str(name), parameter) for name, parameter in zip(names, group["params"], strict=True))


def named_state(optimizer: Optimizer) -> dict[str, Any]:
    """``{"state": {parameter name: its state}, "groups": [the groups' options, and "names"]}``.

    What an optimizer keeps beside its parameters (a state under a string, as MADGRAD's; further keys of its ``state_dict``) is
    in ``shared`` and ``beside``, where there is any.
    """
    plain = optimizer.state_dict()
    names = [name for name, _ in named_parameters(optimizer)]
    groups = []
    start = 0
    for group in plain["param_groups"]:
        count = len(group["params"])
        groups.append({**_options(group), "names": names[start : start + count]})
        start += count
    state = {names[index]: own for index, own in plain["state"].items() if isinstance(index, int)}
    shared = {key: value for key, value in plain["state"].items() if not isinstance(key, int)}
    beside = {key: value for key, value in plain.items() if key not in ("state", "param_groups")}
    further = {"shared": shared, "beside": beside}
    return {"state": state, "groups": groups, **{key: value for key, value in further.items() if value}}


def load_named_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Give each parameter the state saved under its name, whatever group it is in now."""
    state = saved["state"]
    plain = optimizer.state_dict()
    indices = [index for group in plain["param_groups"] for index in group["params"]]
    names = [name for name, _ in named_parameters(optimizer)]
    by_index = {index: state[name] for index, name in zip(indices, names, strict=True) if name in state}
    own = {"state": {**by_index, **saved.get("shared", {})}, "param_groups": plain["param_groups"]}
    optimizer.load_state_dict({**saved.get("beside", {}), **own})


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("params", "param_names", "names")}


def _moved_by_itself(options: Mapping[str, Any], start: Mapping[str, Any]) -> Iterator[str]:
    """The options that are no longer what the optimizer was built with, though no schedule moves them.

    Schedule-free optimizers and Prodigy count their steps in their groups.
    """
    notes = {key for key in options if key.startswith("initial_")}
    scheduled = {note.removeprefix("initial_").partition("[")[0] for note in notes}
    for option in options.keys() - notes - scheduled:
        if option not in start or not _is_equal(options[option], start[option]):
            yield option


def _is_equal(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and bool((value == other).all())
    return type(value) is type(other) and bool(value == other)


def _load_kept_options(optimizer: Optimizer, saved: list[dict[str, Any]]) -> None:
    """Give each group what the optimizer itself had moved in the group that its first parameter was in."""
    kept = {
        name: {option: group[option] for option in group.get("kept", ())} for group in saved for name in group["names"]
    }
    names = (name for name, _ in named_parameters(optimizer))
    for group in optimizer.param_groups:
        own = [next(names) for _ in group["params"]]
        group.update(copy.deepcopy(kept.get(own[0], {}) if own else {}))
