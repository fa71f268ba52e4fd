"""The validation of the script.

In this room: ``evaluate_function``, which writes ``evaluate``, and the lines of the loop that call it and go by its metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optimctl.export.python.checkpoints import note_best
from optimctl.export.python.layout import define
from optimctl.export.python.loading import inputs, pass_seed, unpack
from optimctl.export.python.records import report_call
from optimctl.export.python.tasks import BEFORE
from optimctl.export.python.templates import piece

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected
    from optimctl.export.python.parts import Data

KINDS = {
    "model": "nn.Module",
    "criterion": "nn.Module",
    "task": "Any",
    "loader": "DataLoader[Any]",
    "device": "torch.device",
    "seed": "int",
}
"""The types of what ``evaluate`` may be given."""


def evaluate_function(of: Collected, val: Data) -> str:
    """The function ``evaluate``, over the validation data."""
    names = ["model", *([of.task.variable] if of.task.variable else []), "loader", "device"]
    names += ["seed"] if val.reseeds else []
    return piece(
        "evaluate",
        evaluate_head=define("evaluate", {name: KINDS[name] for name in names}, "dict[str, float]"),
        val=val,
        val_unpack=unpack(of, val),
        val_inputs=inputs(val),
        task=of.task,
        before=BEFORE,
        pass_seed=pass_seed("seed", "0"),
    )


def validation(of: Collected) -> str:
    """The validation, and what comes of it; nothing where there is none."""
    if of.val is None:
        return ""
    task = [of.task.variable] if of.task.variable else []
    given = [of.forward, *task, "val_loader", "device", *(["args.seed"] if of.val.reseeds else [])]
    return piece(
        "validation",
        switches=of.stepping.switches,
        ema=of.hooks.averages,
        evaluate=f"evaluate({', '.join(given)})",
        report=report_call(of, "val", "metrics"),
        observe=[*of.scheduling.observe, *of.hooks.observe],
        note_best=list(note_best(of)),
    )


__all__ = ["evaluate_function", "validation"]
