"""The checkpoints of the script: what is in one, when it is the best, and which are kept.

In this room: ``save_function``, which writes ``save``, and the lines of the loop around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.export.python.layout import WIDTH, Call, call, define, lay, text
from optimctl.export.python.tasks import is_better
from optimctl.export.python.templates import piece
from optimctl.train.task import metric_rule

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected

ROOM = WIDTH - 12 - len("is_best = ")
"""How long a condition may be that tells whether the model is the best so far."""


def save_function(of: Collected) -> str:
    """The function ``save``."""
    names = ["model", *(written.name for written in of.optimizers), *(["scaler"] if _scales(of) else [])]
    states = [(f'"{name}": ', f"{name}.state_dict()") for name in names]
    return piece(
        "save",
        save_head=define("save", _parameters(of), "None"),
        save_state=lay(Call("{", (*states, ('"iteration": ', "iteration")), "}"), 4, "state = "),
        ema=of.hooks.averages,
    )


def checkpoint(of: Collected) -> str:
    """What writes a checkpoint, and deletes the oldest."""
    column = 8 if of.job.checkpoint.interval == 1 else 12
    return piece(
        "checkpoint",
        switches=of.stepping.switches,
        save=lay(call("save", *_parameters(of)), column, margin=0),
        best=of.job.checkpoint.save_best,
        keep=of.job.checkpoint.keep,
    )


def before_checkpoints(of: Collected) -> Iterator[str]:
    """What the loop knows of checkpoints before there are any."""
    if of.job.checkpoint.save_best is not None:
        yield f"best = {'-' if _best_is_max(of) else ''}math.inf"
    if of.job.checkpoint.keep is not None:
        yield "saved: list[Path] = []"


def note_best(of: Collected) -> Iterator[str]:
    """After a validation, whether the model is the best so far; nothing where the job does not ask for it."""
    best = of.job.checkpoint.save_best
    if best is None:
        return
    value, is_max = f"metrics[{text(best.metric)}]", _best_is_max(of)
    is_share = of.task.is_share(best.metric)
    if len(is_better(value, "best", is_max, is_share)) > ROOM:
        yield f"value = {value}"
        value = "value"
    yield f"is_best = {is_better(value, 'best', is_max, is_share)}"
    yield "if is_best:"
    yield f"    best = {value}"


def _best_is_max(of: Collected) -> bool:
    best = of.job.checkpoint.save_best
    return best is not None and (metric_rule(of.assembly.task, best.metric, best.rule) or "max") == "max"


def _parameters(of: Collected) -> dict[str, str]:
    """Of ``save``, with their types."""
    optimizers = {written.name: "torch.optim.Optimizer" for written in of.optimizers}
    scaler = {"scaler": "torch.amp.GradScaler"} if _scales(of) else {}
    averages = {"averages": "Averages"} if of.hooks.averages is not None else {}
    return {"file": "Path", "model": "nn.Module", **optimizers, **scaler, **averages, "iteration": "int"}


def _scales(of: Collected) -> bool:
    """Whether there is a loss scaler."""
    return of.stepping.precision is not None and of.stepping.precision.scaler is not None


__all__ = ["before_checkpoints", "checkpoint", "note_best", "save_function"]
