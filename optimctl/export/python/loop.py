"""The loop of the script: the function ``train``, from the seed to the last checkpoint.

In this room: ``train_function``. What stands in an iteration, a validation, a record and a checkpoint comes from the rooms of these
names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from optimctl.export.python.checkpoints import before_checkpoints, checkpoint
from optimctl.export.python.evaluating import validation
from optimctl.export.python.iterating import iteration
from optimctl.export.python.layout import WIDTH, lay
from optimctl.export.python.loading import pass_seed
from optimctl.export.python.parts import weights_lines
from optimctl.export.python.records import is_due, training_record
from optimctl.export.python.templates import piece

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected


def train_function(of: Collected) -> str:
    """The function that trains; its loop counts the epochs where a line of it asks for the count."""
    told = _told(of)
    counted = piece("train", **told, turn="epoch in range(1, epochs + 1)")
    is_asked_for = len(re.findall(r"\bepoch\b", counted)) > 1
    return counted if is_asked_for else piece("train", **told, turn="_ in range(epochs)")


def _told(of: Collected) -> dict[str, Any]:
    """What the piece ``train`` is told: the loop, with each step of it laid out."""
    return {
        "seeds_all": any(plugin.distribution for plugin in of.imports.plugins.values()),
        "deterministic": of.job.job.deterministic,
        "creates_graph": of.stepping.creates_graph,
        "make": list(_make(of)),
        "prepare": list(_prepare(of)),
        "forward": of.forward,
        "switches": of.stepping.switches,
        "is_endless": of.is_endless,
        "train": of.train,
        "pass_seed": pass_seed("args.seed", "epoch - 1"),
        "scheduling": of.scheduling,
        "iterate": iteration(of),
        "is_logged": is_due(of),
        "log": list(training_record(of)),
        "best": of.job.checkpoint.save_best,
        "validate": validation(of),
        "val_interval": of.job.train_cfg.val_interval if of.job.train_cfg else 1,
        "save": checkpoint(of),
        "save_interval": of.job.checkpoint.interval,
        "stops": bool(of.hooks.observe),
        "trackers": of.hooks.trackers,
    }


def _make(of: Collected) -> Iterator[str]:
    """Model, data and optimizers, in the order in which a run makes them."""
    yield lay(of.model.expression, 4, "model = ")
    if of.task.variable:
        yield lay(of.task.expression, 4, f"{of.task.variable} = ")
    yield f"{'train_loader' if of.val is None else 'train_loader, val_loader'} = make_loaders()"
    source, told = of.job.job.load_from, of.assembly.weights
    if source is not None and told is not None:
        yield from weights_lines(source, told)
    yield "model.to(device)"
    if of.task.moves:
        yield "criterion.to(device)"
    if of.job.job.compile:
        yield "compiled = torch.compile(model)"
    if of.frozen:
        yield "freeze(model)"
    yield from (written.call() for written in of.optimizers)
    yield from _groups(of)
    precision = of.stepping.precision
    if precision is not None and precision.dtype == "dtype":
        yield 'dtype = torch.bfloat16 if device.type == "cpu" else torch.float16'
    if precision is not None and precision.scaler:
        yield lay(precision.scaler, 4, "scaler = ")
    if of.hooks.averages is not None:
        yield "averages = Averages(model)"


def _groups(of: Collected) -> Iterator[str]:
    """All groups together, and what is clipped, in their order."""
    names = [f"{written.name}.param_groups" for written in of.optimizers]
    parameters = 'parameters = [p for group in {} for p in group["params"]]'
    is_alone = len(names) == 1 and 4 + len(parameters.format(names[0])) <= WIDTH
    if not is_alone and of.stepping.steppers is None and (of.stepping.clip or of.scheduling.uses_groups):
        yield from _sum("groups", names)
    if of.stepping.clip:
        yield parameters.format(names[0] if is_alone else "groups")


def _sum(name: str, parts: Sequence[str]) -> Iterator[str]:
    """A new list of all items of others, in as many lines as it takes."""
    line = f"{name} = {parts[0]}"
    for part in parts[1:]:
        if 4 + len(f"{line} + {part}") <= WIDTH:
            line = f"{line} + {part}"
        else:
            yield line
            line = f"{name} = {name} + {part}"
    yield line


def _prepare(of: Collected) -> Iterator[str]:
    """All that the loop starts from."""
    yield from _lengths(of)
    yield from of.scheduling.prepare
    if of.is_endless:
        yield "batches = passes(train_loader, args.seed)"
    yield "args.work_dir.mkdir(parents=True, exist_ok=True)"
    yield from of.hooks.trackers.begin
    yield f"iteration, {of.kept} = 0, []"
    if of.stepping.has_closure and of.stepping.window > 1:
        yield "parts: list[Callable[[], Tensor]] = []"
    if of.task.kind == "steps" and of.hooks.averages is not None:
        yield "averaged = 0  # updates that the averages know of"
    yield from before_checkpoints(of)
    yield from of.hooks.state


def _lengths(of: Collected) -> Iterator[str]:
    cfg = of.job.train_cfg
    said = cfg.epoch_length if cfg is not None else None
    yield f"epoch_length = {said or 'len(train_loader)'}"
    if of.assembly.length.max_iters is not None:
        yield "iterations = args.iterations"
        yield "epochs = math.ceil(iterations / epoch_length)"
    else:
        yield "epochs, iterations = args.epochs, args.epochs * epoch_length"
    if of.stepping.steppers is not None:
        yield of.stepping.make_steppers()


__all__ = ["train_function"]
