"""One iteration of the script's loop: from a batch to the step.

In this room: ``iteration``, its lines, and the functions and classes that it may call: ``Stepper`` where the task takes the steps,
``update`` where the optimizer evaluates the loss itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.export.python.layout import call, define, lay
from optimctl.export.python.loading import inputs, unpack
from optimctl.export.python.stepping import loss_function, loss_parameters, loss_value
from optimctl.export.python.templates import piece

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected


def iteration(of: Collected) -> str:
    """The lines of an iteration."""
    if of.task.kind == "steps":
        return _by_task(of)
    if of.stepping.has_closure:
        return _by_closure(of)
    window = of.stepping.window
    return piece(
        "iteration",
        unpack=unpack(of, of.train),
        amp=_amp(of, "device.type"),
        compute=_compute(of),
        window=window,
        backward=_backward(of),
        step="\n".join(_step(of, 16 if window > 1 else 12)),
        keep=f"{of.kept}.append({'detached(losses)' if of.task.is_foreign else 'loss.detach()'})",
    )


def stepping_functions(of: Collected) -> Iterator[str]:
    """What an iteration calls to step."""
    if of.stepping.steppers is not None:
        yield _stepper(of)
    if of.stepping.has_closure:
        yield _update(of)


def _by_task(of: Collected) -> str:
    one = of.stepping.has_one_stepper
    return piece(
        "iteration_by_task",
        unpack=unpack(of, of.train),
        forward=of.forward,
        may_return_none=of.task.may_return_none,
        steppers="stepper" if one else "steppers",
        updates="stepper.updates" if one else "sum(one.updates for one in steppers.values())",
        ema=of.hooks.averages,
    )


def _by_closure(of: Collected) -> str:
    window = of.stepping.window
    of_loss = loss_parameters(of.task, inputs(of.train))
    given, to_update = (
        [of.forward if name == "model" else name for name in names] for names in (of_loss, _update_parameters(of))
    )
    update, part = call("update", *to_update), call("functools.partial", "loss_of", *given)
    return piece(
        "iteration_by_closure",
        unpack=unpack(of, of.train),
        window=window,
        part=lay(call("parts.append", part), 12, margin=0),
        update=lay(update, 16 if window > 1 else 12, "loss = ", margin=0),
        ema=of.hooks.averages,
    )


def _stepper(of: Collected) -> str:
    """The class that a task steps by."""
    options = of.stepping.stepper_options
    counts = of.hooks.averages is not None
    return piece(
        "stepper",
        task=of.task,
        stepper={
            "init": of.stepping.stepper_head(counts),
            "clips": "clip" in options,
            "windows": "window" in options,
            "counts": counts,
        },
        amp=_amp(of, "device"),
        creates_graph=of.stepping.creates_graph,
    )


def _update(of: Collected) -> str:
    """The function that lets an optimizer evaluate the loss itself."""
    stepping, given = of.stepping, inputs(of.train)
    is_window = stepping.window > 1
    parts = {"loss_of": loss_function(of.task, stepping.precision, given)} if is_window else {}
    return piece(
        "update_window" if is_window else "update",
        head=define("update", _update_parameters(of), "Tensor"),
        returns_first=stepping.returns_first,
        loss=loss_value(of.task, given),
        amp=_amp(of, "device.type"),
        backward=f"loss.backward({'create_graph=True' if stepping.creates_graph else ''})",
        clip=lay(stepping.clip, 8, margin=0) if stepping.clip else "",
        **parts,
    )


def _update_parameters(of: Collected) -> dict[str, str]:
    """Of ``update``, with their types."""
    optimizer = {"optimizer": "torch.optim.Optimizer"}
    clips = {"parameters": "list[nn.Parameter]"} if of.stepping.clip else {}
    if of.stepping.window > 1:
        return {**optimizer, **clips, "parts": "list[Callable[[], Tensor]]"}
    of_loss = loss_parameters(of.task, inputs(of.train))
    batch = {name: kind for name, kind in of_loss.items() if name in ("inputs", "targets", "batch")}
    before = {name: kind for name, kind in of_loss.items() if name not in batch}
    device = {"device": "torch.device"} if of.stepping.precision is not None else {}
    return {**before, **optimizer, **clips, **batch, **device}


def _compute(of: Collected) -> str:
    """The forward pass."""
    if of.task.kind == "supervised":
        return f"loss = criterion({of.forward}({inputs(of.train)}), targets)"
    losses = f"losses_of({of.forward}, batch)" if of.task.kind == "model" else f"task.loss({of.forward}, batch)"
    return f"losses = by_name({losses})"


def _backward(of: Collected) -> str:
    loss = 'losses["loss"]' if of.task.is_foreign else "loss"
    is_part = of.stepping.window > 1
    loss = f"{loss} / size" if is_part else loss
    if of.stepping.precision is not None and of.stepping.precision.scaler:
        loss = f"scaler.scale({loss})"
    elif is_part:
        loss = f"({loss})"
    return f"{loss}.backward({'create_graph=True' if of.stepping.creates_graph else ''})"


def _step(of: Collected, column: int) -> Iterator[str]:
    """What ends a window."""
    names = [written.name for written in of.optimizers]
    precision = of.stepping.precision
    scaled = precision is not None and bool(precision.scaler)
    if scaled:
        yield from (f"scaler.unscale_({name})" for name in names)
    if of.stepping.clip:
        yield lay(of.stepping.clip, column, margin=0)
    yield from (f"scaler.step({name})" if scaled else f"{name}.step()" for name in names)
    if precision is not None and scaled:
        yield from _update_scale(of, precision.scale)
    yield from (f"{name}.zero_grad()" for name in names)
    if of.hooks.averages is not None:
        yield from ["if not is_skipped:", "    averages.update()"] if scaled else ["averages.update()"]


def _update_scale(of: Collected, fixed: float | None) -> Iterator[str]:
    if of.hooks.averages is None:
        yield f"scaler.update({'' if fixed is None else repr(fixed)})"
        return
    yield "scale_before = scaler.get_scale()"
    yield "scaler.update()"
    yield "is_skipped = scaler.get_scale() < scale_before"


def _amp(of: Collected, device: str) -> dict[str, str] | None:
    """What the pieces know of the precision; ``device`` is where they find the kind of it."""
    precision = of.stepping.precision
    return None if precision is None else {"device": device, "dtype": precision.dtype}


__all__ = ["iteration", "stepping_functions"]
