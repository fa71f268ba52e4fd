"""The hooks of a job in the script: what is built in is written out, and what comes from elsewhere asks for optimctl's run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from optimctl.errors import JobError
from optimctl.export.python.layout import call, lay, literal, text
from optimctl.export.python.needed import needed, wrappers_of
from optimctl.export.python.tasks import is_better
from optimctl.optim.amp import AmpOptimWrapper
from optimctl.train.hooks.csv import CSV
from optimctl.train.hooks.early_stopping import EarlyStopping
from optimctl.train.hooks.ema import EMA
from optimctl.train.hooks.tensorboard import TensorBoard
from optimctl.train.hooks.wandb import WandB
from optimctl.train.task import metric_rule

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.export.python.tasks import Task

LONGEST_METRIC = 30
"""Letters of a metric that is called by its name in the name of a variable."""


@dataclass
class Trackers:
    """Lines that pass records on."""

    begin: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    """Of ``report``, with their types; it is called with what ``train`` keeps under the same names."""
    wants_epoch: bool = False
    """Whether they pass the epoch on."""
    adds_columns: bool = False
    """Whether a table may get further columns as the run goes on."""


@dataclass
class Hooks:
    """What the pieces know of the hooks."""

    trackers: Trackers = field(default_factory=Trackers)
    averages: dict[str, Any] | None = None
    state: list[str] = field(default_factory=list)
    """What early stopping remembers, as it is before the loop."""
    bests: list[str] = field(default_factory=list)
    """The variables of it that hold the best values so far, one for each hook."""
    observe: list[str] = field(default_factory=list)
    """What early stopping does after a validation."""


def hooks_of(assembly: Assembly, task: Task | None, columns: Iterable[str]) -> Hooks:
    """The hooks of a job.

    Args:
        task: The script's; None where it has none, for which there is a problem already.
        columns: The names of all values that a record is known to have.

    Raises:
        JobError: One of them is not built in; the message names it.
    """
    made = Hooks()
    for name, hook in assembly.hooks.items():
        kind = type(hook)
        if kind is EMA:
            made.averages = _averages(name, hook, assembly, task)
        elif kind is EarlyStopping:
            _early_stopping(made, hook, assembly, task)
        elif kind is CSV:
            _csv(made.trackers, list(dict.fromkeys(columns)), adds_columns=task is not None and task.is_foreign)
        elif kind is TensorBoard:
            _tensorboard(made.trackers)
        elif kind is WandB:
            _wandb(made.trackers, hook, assembly.job.name)
        else:
            what = f"the hook {kind.__name__} is called with optimctl's run, which a script does not have"
            message = f"cannot be exported: {what}; take it out, with --unset hooks.{name}"
            raise JobError.single(("hooks", name), message, "not-exportable")
    return made


def _averages(name: str, hook: EMA, assembly: Assembly, task: Task | None) -> dict[str, Any]:
    wrapper = assembly.wrapper
    if getattr(wrapper, "dtype", None) is torch.float16 and getattr(wrapper, "_fixed_scale", None) is not None:
        message = (
            "cannot be exported: with a fixed loss_scale, a script does not see which updates float16 has skipped; "
            "let it be dynamic, with --unset optim_wrapper.loss_scale"
        )
        raise JobError.single(("hooks", name), message, "not-exportable")
    skips_updates = isinstance(wrapper, AmpOptimWrapper) or (task is not None and task.kind == "steps")
    longest = max(one.accumulative_counts for one in wrappers_of(assembly).values())
    since = f"self.updates - {hook.begin + 1}" if hook.begin else "self.updates - 1"
    skips = [f"self.updates <= {hook.begin}"] if hook.begin else []
    skips += [f"({since}) % {hook.interval}"] if hook.interval > 1 else []
    return {
        "decay": repr(hook.decay),
        "warmup": hook.warmup,
        "update_buffers": hook.update_buffers,
        "skips": " or ".join(skips),
        "may_be_empty": bool(hook.begin) or skips_updates or longest > needed(assembly.length.epoch_length),
    }


def _early_stopping(made: Hooks, hook: EarlyStopping, assembly: Assembly, task: Task | None) -> None:
    """A hook that may end the run, beside those that there are already."""
    is_max = metric_rule(assembly.task, hook.metric, hook.rule) == "max"
    is_share = task is not None and task.is_share(hook.metric)
    number = len(made.bests) + 1
    best, waited = _best_so_far(hook.metric, is_max), f"waited_{number}" if made.bests else "waited"
    while best in made.bests:
        best = f"{best}_{number}"
    if number == 1 and assembly.job.train_cfg is not None and assembly.job.train_cfg.val_interval > 1:
        made.state += ["has_stopped = False"]
    made.state += [f"{best}, {waited} = {'-math.inf' if is_max else 'math.inf'}, 0"]
    made.observe += [f"value = metrics[{text(hook.metric)}]", *_if_better(hook, best, is_max, is_share)]
    made.observe += [f"    {best}, {waited} = value, 0", "else:", f"    {waited} += 1"]
    ends = f"{waited} >= {hook.patience} and epoch < epochs"
    made.observe += [f"if {ends}:", "    has_stopped = True"] if made.bests else [f"has_stopped = {ends}"]
    made.bests.append(best)


def _best_so_far(metric: str, is_max: bool) -> str:
    """What the script calls the best value so far, as ``lowest_loss``."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", metric)
    return "_".join(["highest" if is_max else "lowest", *([name] if len(name) <= LONGEST_METRIC else [])])


def _if_better(hook: EarlyStopping, best: str, is_max: bool, is_share: bool) -> Iterator[str]:
    """The lines that ask whether ``value`` is better than the best so far, by as much as the hook wants."""
    if not hook.min_delta:
        yield f"if {is_better('value', best, is_max, is_share)}:"
        return
    yield f"gain = {f'value - {best}' if is_max else f'{best} - value'}"
    yield f"if gain > {hook.min_delta!r}:" if is_share else f"if math.isfinite(value) and gain > {hook.min_delta!r}:"


def _csv(made: Trackers, columns: list[str], adds_columns: bool) -> None:
    fields = lay(literal(["iteration", "epoch", "split", *columns]), 4, "columns = ").split("\n")
    made.begin += ['table = args.work_dir / "metrics.csv"', *fields, 'table.write_text(",".join(columns) + "\\n")']
    made.write += ['row = {"iteration": iteration, "epoch": epoch, "split": split, **values}']
    if adds_columns:
        made.write += ["add_row(table, columns, row)"]
    else:
        made.write += ['with table.open("a", newline="") as file:']
        made.write += ['    csv.DictWriter(file, columns, lineterminator="\\n").writerow(row)']
    made.parameters |= {"table": "Path", "columns": "list[str]"}
    made.wants_epoch = True
    made.adds_columns = adds_columns


def _tensorboard(made: Trackers) -> None:
    made.begin += ['writer = SummaryWriter(args.work_dir / "tensorboard")']
    made.write += ["for name, value in values.items():", '    writer.add_scalar(f"{split}/{name}", value, iteration)']
    made.end += ["writer.close()"]
    made.parameters |= {"writer": "SummaryWriter"}


def _wandb(made: Trackers, hook: WandB, name: str) -> None:
    given: dict[str, Any] = {"project": hook.project or name}
    given |= {name: getattr(hook, name) for name in ("entity", "mode", "tags") if getattr(hook, name)}
    options = {name: literal(value) for name, value in given.items()}
    made.begin += [lay(call("wandb.init", **options, config="vars(args)"), 4)]
    made.begin += ['wandb.define_metric("*", step_metric="iteration")']
    made.write += [
        'named = {f"{split}/{name}": value for name, value in values.items()}',
        'wandb.log({"iteration": iteration, "epoch": epoch, **named})',
    ]
    made.end += ["wandb.finish()"]
    made.wants_epoch = True


__all__ = ["Hooks", "Trackers", "hooks_of"]
