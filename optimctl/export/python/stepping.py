"""How a step is taken in the script: precision, accumulation, clipping, and optimizers that ask for more than a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from optimctl.errors import JobError, Key, key_text
from optimctl.export.python.layout import Call, Expression, call, define, lay, literal, text
from optimctl.export.python.needed import needed, wrappers_of
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.optim.clip import ClipNorm, ClipValue
from optimctl.optim.multi import DEFAULT_NAME
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
    returns_first: bool
    """Whether the optimizer's step returns the loss of its first evaluation, and evaluates with gradients: torch's own does."""
    creates_graph: bool
    switches: tuple[str, ...]
    """The optimizers that are told whether the model is trained or evaluated."""
    starts_momentum: tuple[str, ...] = ()
    """The optimizers whose momentum must be there before the first step."""
    steppers: Mapping[str, Call] | None = None
    """What makes the ``Stepper`` of each wrapper, by its name in the job, where the task itself takes the steps."""

    @property
    def has_one_stepper(self) -> bool:
        """Whether the task gets one ``Stepper``, and not several by name."""
        return list(self.steppers or {}) == [DEFAULT_NAME]

    @property
    def stepper_options(self) -> list[str]:
        """What a ``Stepper`` is made with, beside its optimizer."""
        items = [item for made in (self.steppers or {}).values() for item in made.items]
        return list(dict.fromkeys(before[:-1] for before, _ in items if before))

    def stepper_head(self, counts: bool) -> str:
        """The first lines of ``Stepper``.

        Args:
            counts: Whether it counts its updates.
        """
        options = self.stepper_options
        kinds = {"clip": "Callable[[list[Tensor]], Any] | None = None", "window": "int = 1", "iterations": "int = 0"}
        given = {"self": "", "optimizer": "torch.optim.Optimizer", **{name: kinds[name] for name in options}}
        items = tuple((name if not kind else f"{name}: ", kind) for name, kind in given.items())
        lines = [lay(Call("def __init__(", items), 4, after=" -> None:"), "        self.optimizer = optimizer"]
        lines += [f"        self.{name} = {name}" for name in options]
        lines += ["        self.iteration = 0"] if "window" in options else []
        lines += ["        self.updates = 0"] if counts else []
        return "\n".join(lines)

    def make_steppers(self) -> str:
        """The line that makes them."""
        steppers = self.steppers or {}
        if self.has_one_stepper:
            return lay(steppers[DEFAULT_NAME], 4, "stepper = ")
        table = Call("{", tuple((f"{text(name)}: ", made) for name, made in steppers.items()), "}")
        return lay(table, 4, "steppers = ")


def stepping_of(assembly: Assembly, optimizers: Sequence[Written], task: Task) -> Stepping:
    """How the job's steps are taken.

    Raises:
        JobError: In a way that the script does not know; the message says what.
    """
    wrappers = wrappers_of(assembly)
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
        returns_first=type(first.optimizer) is torch.optim.LBFGS,
        creates_graph=any(wrapper._create_graph for wrapper in wrappers.values()),
        switches=tuple(one.name for one in optimizers if _switches(one)),
        starts_momentum=tuple(
            one.name for one in optimizers if precision and precision.scaler and one.is_sgd_with_momentum
        ),
        steppers=_steppers(wrappers, optimizers) if by_task else None,
    )


def _steppers(wrappers: Mapping[str, OptimWrapper], optimizers: Sequence[Written]) -> dict[str, Call]:
    """What makes each ``Stepper``."""
    accumulates = any(wrapper.accumulative_counts > 1 for wrapper in wrappers.values())
    found: dict[str, Call] = {}
    for one in optimizers:
        wrapper = wrappers[one.wrapper_name]
        clip = clip_call(wrapper.clip)
        given: dict[str, Expression] = {}
        if clip is not None:
            given["clip"] = Call("functools.partial(", (("", clip.opening[:-1]), *clip.items[1:]))
        if accumulates:
            given |= {"window": repr(wrapper.accumulative_counts), "iterations": "iterations"}
        found[one.wrapper_name] = call("Stepper", one.name, **given)
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
        known = f'take one of optimctl\'s own, as with --set {key_text(key)}.type="OptimWrapper"'
        _refuse((*key, "type"), f"{type(wrapper).__name__} is a wrapper of its own kind; {known}")
    if wrapper.clip is not None and maybe_sparse(list(walk(unwrapped(needed(assembly.model))))):
        taken_out = f"take it out, with --unset {key_text(key)}.clip_grad, or make the model's embeddings dense"
        _refuse((*key, "clip_grad"), f"torch cannot clip gradients that are sparse; {taken_out}")
    if task.kind == "steps" and wrapper.requires_closure:
        _refuse(
            (*key, "optimizer", "type"),
            "the task takes the steps itself, and this optimizer evaluates the loss itself; take another optimizer, as "
            f'with --set {key_text(key)}.optimizer.type="AdamW", or a task without train_step',
        )
    has_several = sum(one.wrapper_name == name for one in optimizers) > 1
    if task.kind == "steps" and has_several:
        _refuse(
            (*key, "constructor"),
            "the task takes the steps itself, and a script has no wrapper over several optimizers that it could hand to it; "
            f"take one optimizer, with --unset {key_text(key)}.constructor, or a task without train_step",
        )
    scales = getattr(wrapper, "dtype", None) is torch.float16
    if scales and (task.kind == "steps" or has_several):
        _refuse(
            (*key, "dtype"),
            "float16 with several optimizers, or with a task that takes the steps itself; "
            f'take bfloat16, with --set {key_text(key)}.dtype="bfloat16"',
        )


def _precision(assembly: Assembly, wrappers: Mapping[str, OptimWrapper], scales: bool) -> Precision | None:
    """What the forward pass computes in.

    Args:
        scales: Whether the loop itself goes backward, so that it can scale the loss.
    """
    found = {getattr(wrapper, "dtype", None) for wrapper in wrappers.values()}
    if len(found) > 1:
        told = "; ".join(f"{name} computes in {_computes_in(wrapper)}" for name, wrapper in wrappers.items())
        _refuse(
            ("optim_wrapper",), f"its optimizers differ in their precision: {told}; give all the same type and dtype"
        )
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


def loss_parameters(task: Task, inputs: str) -> dict[str, str]:
    """What the loss of a batch is computed from, with the types.

    Args:
        task: The script's.
        inputs: What the model is called with: ``inputs``, or ``*inputs`` where there are several.
    """
    if task.kind == "supervised":
        several = "list[Tensor]" if inputs.startswith("*") else "Tensor"
        return {"model": "nn.Module", "criterion": "nn.Module", "inputs": several, "targets": "Tensor"}
    return {"model": "nn.Module", **({} if task.kind == "model" else {"task": "Any"}), "batch": "Any"}


def loss_value(task: Task, inputs: str) -> str:
    """The loss of a batch, as one number; the arguments are those of ``loss_parameters``."""
    if task.kind == "supervised":
        return f"criterion(model({inputs}), targets)"
    return f'by_name({"losses_of" if task.kind == "model" else "task.loss"}(model, batch))["loss"]'


def loss_function(task: Task, precision: Precision | None, inputs: str) -> str:
    """``loss_of``, for optimizers that evaluate the losses of a window themselves; the arguments are as above."""
    value = loss_value(task, inputs)
    lines = [define("loss_of", loss_parameters(task, inputs), "Tensor"), '    """The loss of a batch."""']
    if precision is None:
        return "\n".join([*lines, f"    return {value}"])
    lines += ["    device = next(model.parameters()).device.type"]
    lines += [f"    with torch.autocast(device, dtype={precision.dtype}):", f"        return {value}"]
    return "\n".join(lines)


def _switches(written: Written) -> bool:
    return all(callable(getattr(written.optimizer, name, None)) for name in ("train", "eval"))


def _computes_in(wrapper: OptimWrapper) -> str:
    dtype = getattr(wrapper, "dtype", None)
    return "the model's own" if dtype is None else str(dtype).removeprefix("torch.")


def _refuse(key: Key, why: str) -> None:
    raise JobError.single(key, f"cannot be exported: {why}", "not-exportable")


__all__ = ["Precision", "Stepping", "clip_call", "loss_function", "loss_parameters", "loss_value", "stepping_of"]
