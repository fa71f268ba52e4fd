"""The hooks of a job in the script: what is built in is written out, and what comes from elsewhere asks for optimctl's run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from optimctl.errors import JobError
from optimctl.export.python.layout import call, lay, literal, text
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.train.hooks.csv import CSV
from optimctl.train.hooks.early_stopping import EarlyStopping
from optimctl.train.hooks.ema import EMA
from optimctl.train.hooks.tensorboard import TensorBoard
from optimctl.train.hooks.wandb import WandB

if TYPE_CHECKING:
    from optimctl.assemble import Assembly


@dataclass
class Trackers:
    """Lines that pass records on."""

    begin: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    """Of ``report``, with their types."""
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass
class Hooks:
    """What the pieces know of the hooks."""

    trackers: Trackers = field(default_factory=Trackers)
    averages: dict[str, Any] | None = None
    state: list[str] = field(default_factory=list)
    """What early stopping remembers, as it is before the loop."""
    observe: list[str] = field(default_factory=list)
    """What early stopping does after a validation."""


def hooks_of(assembly: Assembly, columns: list[str]) -> Hooks:
    """The hooks of a job.

    Args:
        columns: The names of all values that a record may have.

    Raises:
        JobError: One of them is not built in; the message names it.
    """
    made = Hooks()
    for name, hook in assembly.hooks.items():
        kind = type(hook)
        if kind is EMA:
            made.averages = _averages(name, hook, assembly)
        elif kind is EarlyStopping:
            made.state, made.observe = list(_stop_state(hook, assembly)), list(_stop(hook, assembly))
        elif kind in _TRACKERS:
            _TRACKERS[kind](hook, made.trackers, assembly, columns)
        else:
            what = f"the hook {kind.__name__} is called with optimctl's run, which a script does not have"
            message = f"cannot be exported: {what}; take it out, with --unset hooks.{name}"
            raise JobError.single(("hooks", name), message, "not-exportable")
    return made


def _averages(name: str, hook: EMA, assembly: Assembly) -> dict[str, Any]:
    wrapper = assembly.wrapper
    if getattr(wrapper, "dtype", None) is torch.float16 and getattr(wrapper, "_fixed_scale", None) is not None:
        message = "cannot be exported: with a fixed loss_scale, a script does not see which updates float16 has skipped; let it be dynamic"
        raise JobError.single(("hooks", name), message, "not-exportable")
    since = f"self.updates - {hook.begin + 1}" if hook.begin else "self.updates - 1"
    skips = [f"self.updates <= {hook.begin}"] if hook.begin else []
    skips += [f"({since}) % {hook.interval}"] if hook.interval > 1 else []
    return {
        "decay": repr(hook.decay),
        "warmup": hook.warmup,
        "update_buffers": hook.update_buffers,
        "skips": " or ".join(skips),
        "may_be_empty": bool(hook.begin) or isinstance(wrapper, AmpOptimWrapper),
    }


def _stop_state(hook: EarlyStopping, assembly: Assembly) -> Iterator[str]:
    yield "has_stopped = False"
    yield f"best_seen, waited = {'-math.inf' if _is_max(hook, assembly) else 'math.inf'}, 0"


def _stop(hook: EarlyStopping, assembly: Assembly) -> Iterator[str]:
    value, best = f"metrics[{text(hook.metric)}]", "best_seen"
    gain = f"{value} - {best}" if _is_max(hook, assembly) else f"{best} - {value}"
    yield f"if {gain} > {hook.min_delta!r}:"
    yield f"    {best}, waited = {value}, 0"
    yield "else:"
    yield "    waited += 1"
    yield f"has_stopped = waited >= {hook.patience} and epoch < epochs"


def _is_max(hook: EarlyStopping, assembly: Assembly) -> bool:
    rules: Mapping[str, str] = getattr(assembly.task, "metric_rules", {})
    return (hook.rule or rules.get(hook.metric)) == "max"


def _csv(hook: Any, made: Trackers, assembly: Assembly, columns: list[str]) -> None:
    fields = lay(literal(["iteration", "epoch", "split", *columns]), 4, "columns = ").split("\n")
    made.begin += ['table = args.work_dir / "metrics.csv"', *fields, 'table.write_text(",".join(columns) + "\\n")']
    made.write += [
        'row = {"iteration": iteration, "epoch": epoch, "split": split, **values}',
        'with table.open("a", newline="") as file:',
        "    csv.DictWriter(file, columns).writerow(row)",
    ]
    made.parameters |= {"table": "Path", "columns": "list[str]"}
    made.arguments |= {"table": "table", "columns": "columns"}


def _tensorboard(hook: Any, made: Trackers, assembly: Assembly, columns: list[str]) -> None:
    made.begin += ['writer = SummaryWriter(args.work_dir / "tensorboard")']
    made.write += ["for name, value in values.items():", '    writer.add_scalar(f"{split}/{name}", value, iteration)']
    made.end += ["writer.close()"]
    made.parameters |= {"writer": "SummaryWriter"}
    made.arguments |= {"writer": "writer"}


def _wandb(hook: WandB, made: Trackers, assembly: Assembly, columns: list[str]) -> None:
    given: dict[str, Any] = {"project": hook.project or assembly.job.name}
    given |= {name: getattr(hook, name) for name in ("entity", "mode", "tags") if getattr(hook, name)}
    options = {name: literal(value) for name, value in given.items()}
    made.begin += [lay(call("wandb.init", **options, config="vars(args)"), 4)]
    made.begin += ['wandb.define_metric("*", step_metric="iteration")']
    made.write += [
        'named = {f"{split}/{name}": value for name, value in values.items()}',
        'wandb.log({"iteration": iteration, "epoch": epoch, **named})',
    ]
    made.end += ["wandb.finish()"]


_TRACKERS: Mapping[type, Any] = {CSV: _csv, TensorBoard: _tensorboard, WandB: _wandb}


__all__ = ["Hooks", "Trackers", "hooks_of"]
