"""The records of the script: what it prints as it trains, and passes on to trackers.

In this room: ``report_function``, which writes ``report``, and the lines that call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimctl.export.python.layout import WIDTH, Call, Expression, define, lay, text
from optimctl.export.python.templates import piece

if TYPE_CHECKING:
    from optimctl.export.python.collect import Collected

ROOM = WIDTH - 20
"""How long an entry of a record may be."""


def report_function(of: Collected) -> str:
    """The function ``report``."""
    return piece("report", report_head=define("report", _parameters(of), "None"), trackers=of.hooks.trackers)


def report_call(of: Collected, split: str, values: str) -> str:
    """What passes a record on."""
    given = {"split": text(split), "values": values}
    return f"report({', '.join(given.get(name, name) for name in _parameters(of))})"


def is_due(of: Collected) -> str:
    """When a record is due; an optimizer that evaluates the loss itself has none to tell inside the first window."""
    due = "iteration % LOG_EVERY == 0 or iteration == iterations"
    may_be_empty = of.task.may_return_none or (of.stepping.has_closure and of.stepping.window > 1)
    return f"{of.kept} and ({due})" if may_be_empty else due


def training_record(of: Collected) -> Iterator[str]:
    """The lines of a record of the training: the mean losses since the last one, and what is scheduled."""
    yield from of.scheduling.before_report
    rates: list[tuple[str, Expression]] = []
    for number, (name, value) in enumerate(of.scheduling.report.items(), 1):
        is_long = len(f"{text(name)}: {value},") > ROOM
        if is_long:
            yield f"rate_{number} = {value}"
        rates.append((f"{text(name)}: ", f"rate_{number}" if is_long else value))
    loss = "sum(x.item() for x in losses) / len(losses)"
    first: list[tuple[str, Expression]] = [("**", "means(history)") if of.has_names else ('"loss": ', loss)]
    plain = first[0][1] if of.has_names and not rates else Call("{", (*first, *rates), "}")
    yield lay(plain, 16, "values = ")
    yield report_call(of, "train", "values")
    yield 'if not math.isfinite(values["loss"]):'
    yield '    raise SystemExit(f"the run diverged by iteration {iteration}")'
    yield f"{of.kept}.clear()"


def _parameters(of: Collected) -> dict[str, str]:
    """Of ``report``, with their types."""
    trackers = of.hooks.trackers
    epoch = {"epoch": "int"} if trackers.wants_epoch else {}
    return {**trackers.parameters, "split": "str", **epoch, "iteration": "int", "values": "dict[str, float]"}


__all__ = ["is_due", "report_call", "report_function", "training_record"]
