"""How a step is taken in the script: precision, accumulation, clipping, and optimizers that ask for more than a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from optimctl.errors import JobError, Key
from optimctl.export.python.layout import Call, Expression, call, define, lay, literal
from optimctl.export.python.needed import needed
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.optim.clip import ClipNorm, ClipValue
from optimctl.optim.multi import DEFAULT_NAME, by_name
from optimctl.optim.takes import maybe_sparse
from optimctl.optim.walk import unwrapped, walk
from optimctl.optim.wrapper import OptimWrapper

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.export.python.optimizers import Written
    from optimctl.export.python.tasks import Task


@dataclass(frozen=True)
class Precision:
    """What the forward pass computes in."""

    dtype: str
    scaler: Call | None
    """The loss scaler; None where none is needed."""
    scale: float | None
    """The loss scale, where it is fixed."""


@dataclass(frozen=True)
class Stepping:
    """What the pieces know of a step."""

    window: int
    """Iterations that make one update."""
    clip: Call | None
    """The call that clips ``parameters``; None where nothing is clipped."""
    precision: Precision | None
    has_closure: bool
    creates_graph: bool
    switches: tuple[str, ...]
    """The optimizers that are told whether the model is trained or evaluated."""
    starts_momentum: tuple[str, ...] = ()
    """The optimizers whose momentum must be there before the first step."""
    steppers: Mapping[str, Mapping[str, Expression]] | None = None
    """What each optimizer's ``Stepper`` is made with, where the task itself takes the steps."""

    def stepper_head(self) -> str:
        """The first lines of ``Stepper``."""
        options = list(dict.fromkeys(name for one in (self.steppers or {}).values() for name in one))
        kinds = {"clip": "Callable[[list[Tensor]], Any] | None = None", "window": "int = 1", "iterations": "int = 0"}
        given = {"self": "", "optimizer": "torch.optim.Optimizer", **{name: kinds[name] for name in options}}
        items = tuple((name if not kind else f"{name}: ", kind) for name, kind in given.items())
        lines = [lay(Call("def __init__(", items), 4, after=" -> None:"), "        self.optimizer = optimizer"]
        lines += [f"        self.{name} = {name}" for name in options]
        lines += ["        self.iteration = 0"] if "window" in options else []
        return "\n".join(lines)

    def stepper_lines(self) -> list[str]:
        """The lines that make the steppers."""
        steppers = self.steppers or {}
        made = {name: call("Stepper", name, **given) for name, given in steppers.items()}
        if list(made) == ["optimizer"]:
            return [lay(made["optimizer"], 4, "stepper = ")]
        table = Call("{", tuple((f'"{name}": ', one) for name, one in made.items()), "}")
        return [lay(table, 4, "steppers = ")]


def stepping_of(assembly: Assembly, optimizers: Sequence[Written], task: Task) -> Stepping:
    """How the job's steps are taken.

    Raises:
        JobError: In a way that the script does not know; the message says what.
    """
    wrappers = by_name(needed(assembly.wrapper))
    for name, wrapper in wrappers.items():
        _check(name, wrapper, assembly, task, optimizers)
    first = next(iter(wrappers.values()))
    by_task = task.kind == "steps"
    precision = _precision(assembly, wrappers, scales=not (by_task or first.requires_closure))
    return Stepping(
        window=1 if by_task else first.accumulative_counts,
        clip=None if by_task else clip_call(first.clip),
        precision=precision,
        has_closure=first.requires_closure,
        creates_graph=any(wrapper._create_graph for wrapper in wrappers.values()),
        switches=tuple(one.name for one in optimizers if _switches(one)),
        starts_momentum=tuple(
            one.name for one in optimizers if precision and precision.scaler and one.is_sgd_with_momentum
        ),
        steppers=_steppers(wrappers, optimizers) if by_task else None,
    )


def _steppers(wrappers: Mapping[str, OptimWrapper], optimizers: Sequence[Written]) -> dict[str, dict[str, Expression]]:
    """What each optimizer's ``Stepper`` is made with."""
    accumulates = any(wrapper.accumulative_counts > 1 for wrapper in wrappers.values())
    found: dict[str, dict[str, Expression]] = {}
    for one in optimizers:
        wrapper = wrappers[one.wrapper_name]
        clip = clip_call(wrapper.clip)
        given: dict[str, Expression] = {}
        if clip is not None:
            given["clip"] = Call("functools.partial(", (("", clip.opening[:-1]), *clip.items[1:]))
        if accumulates:
            given |= {"window": repr(wrapper.accumulative_counts), "iterations": "iterations"}
        found[one.name] = given
    return found


def clip_call(clip: ClipNorm | ClipValue | None) -> Call | None:
    """The call that clips ``parameters``."""
    if clip is None:
        return None
    if isinstance(clip, ClipValue):
        return call("nn.utils.clip_grad_value_", "parameters", clip_value=literal(clip.clip_value))
    options: dict[str, Expression] = {"max_norm": literal(clip.max_norm)}
    options |= {"norm_type": literal(clip.norm_type)} if clip.norm_type != 2 else {}
    options |= {"error_if_nonfinite": "True"} if clip.error_if_nonfinite else {}
    return call("nn.utils.clip_grad_norm_", "parameters", **options)


def _check(name: str, wrapper: Any, assembly: Assembly, task: Task, optimizers: Sequence[Written]) -> None:
    key: Key = ("optim_wrapper",) if name == DEFAULT_NAME else ("optim_wrapper", name)
    if type(wrapper) not in (OptimWrapper, AmpOptimWrapper):
        _refuse((*key, "type"), f"{type(wrapper).__name__} is a wrapper of its own kind")
    if wrapper.clip is not None and maybe_sparse(list(walk(unwrapped(needed(assembly.model))))):
        _refuse((*key, "clip_grad"), "torch cannot clip gradients that are sparse")
    if task.kind == "steps" and wrapper.requires_closure:
        _refuse(
            (*key, "optimizer", "type"), "the task takes the steps itself, and this optimizer evaluates the loss itself"
        )
    scales = getattr(wrapper, "dtype", None) is torch.float16
    if scales and (task.kind == "steps" or sum(one.wrapper_name == name for one in optimizers) > 1):
        _refuse(
            (*key, "dtype"),
            "float16 with several optimizers, or with a task that takes the steps itself; take bfloat16",
        )


def _precision(assembly: Assembly, wrappers: Mapping[str, OptimWrapper], scales: bool) -> Precision | None:
    """What the forward pass computes in.

    Args:
        scales: Whether the loop itself goes backward, so that it can scale the loss.
    """
    found = {getattr(wrapper, "dtype", None) for wrapper in wrappers.values()}
    if len(found) > 1:
        _refuse(("optim_wrapper",), "its optimizers differ in their precision")
    (dtype,) = found
    if dtype is None:
        return None
    table = assembly.job.plain()["optim_wrapper"]
    is_left_open = "dtype" not in table and assembly.job.job.device == "auto"
    if not scales or not (is_left_open or dtype is torch.float16):
        return Precision(str(dtype), None, None)
    fixed = getattr(next(iter(wrappers.values())), "_fixed_scale", None)
    loss_scale = table.get("loss_scale", "dynamic")
    given = dict(loss_scale) if isinstance(loss_scale, Mapping) else {"init_scale": fixed} if fixed else {}
    options = {option: literal(value) for option, value in given.items()}
    if is_left_open:
        options["enabled"] = "dtype is torch.float16"
    scaler = call("torch.amp.GradScaler", "device.type", **options)
    return Precision("dtype" if is_left_open else str(dtype), scaler, fixed)


def loss_function(task: Task, precision: Precision | None, inputs: str) -> str:
    """``loss_of``, for optimizers that evaluate the loss themselves.

    Args:
        inputs: What the model is called with: ``inputs``, or ``*inputs`` where there are several.
    """
    if task.kind == "supervised":
        several = "list[Tensor]" if inputs.startswith("*") else "Tensor"
        parameters = {"model": "nn.Module", "criterion": "nn.Module", "inputs": several, "targets": "Tensor"}
        value = f"criterion(model({inputs}), targets)"
    elif task.kind == "model":
        parameters = {"model": "nn.Module", "batch": "Any"}
        value = 'by_name(losses_of(model, batch))["loss"]'
    else:
        parameters = {"task": "Any", "model": "nn.Module", "batch": "Any"}
        value = 'by_name(task.loss(model, batch))["loss"]'
    lines = [define("loss_of", parameters, "Tensor"), '    """The loss of a batch."""']
    if precision is None:
        return "\n".join([*lines, f"    return {value}"])
    lines += ["    device = next(model.parameters()).device.type"]
    lines += [f"    with torch.autocast(device, dtype={precision.dtype}):", f"        return {value}"]
    return "\n".join(lines)


def _switches(written: Written) -> bool:
    return all(callable(getattr(written.optimizer, name, None)) for name in ("train", "eval"))


def _refuse(key: Key, why: str) -> None:
    raise JobError.single(key, f"cannot be exported: {why}", "not-exportable")


__all__ = ["Precision", "Stepping", "clip_call", "loss_function", "stepping_of"]
