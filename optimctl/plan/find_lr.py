"""The learning-rate range test: the loss of a short training whose learning rate grows from iteration to iteration.

In this room: ``find_lr``, its result ``RangeTest``, and ``plot_range_test``. The idea is L. N. Smith's ("Cyclical Learning Rates for
Training Neural Networks", 2015, https://arxiv.org/abs/1506.01186, section 3.3); the exponential growth, the smoothed loss and
the end at four times the lowest are those of fastai's and Lightning's ``lr_find``. Theirs give every group the same rate; here one
factor multiplies all, so that layer decay, ``lr_mult`` and the routes of several optimizers keep their ratios.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import nn

from optimctl.assemble import Assembly, assemble
from optimctl.data import stream, to_device
from optimctl.errors import JobError, Key, OptimctlError, RunFailed, UsageError, is_ours, key_text, listing, raised_text
from optimctl.optim.loss import total_loss
from optimctl.optim.multi import OptimWrapperDict
from optimctl.pictures import drawing
from optimctl.schedule.curves import OneCycle
from optimctl.schedule.scheduler import Slot

if TYPE_CHECKING:
    from optimctl.job.schema import Job
    from optimctl.optim.wrapper import OptimWrapper

POINTS = 100
"""Learning rates that are tried, where nobody says how many iterations to take."""
START, END = 1e-7, 10.0
REACH = 0.05
"""How far back the smoothed loss reaches, as a share of the test."""
DIVERGED = 4.0
"""So many times the lowest smoothed loss ends the test."""
MARGIN = 10.0
"""How far below the lowest point a training is safe: the rule of thumb since Smith's test came into use."""
SURE, ROUNDING = 4.0, 1e-6
"""The loss must fall by so many times its usual distance from the smoothed one, and by such a share of itself, or it is noise."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw, an entry a learning rate; the losses are finite."""

    lr: tuple[float, ...]
    """As the job writes it, before multipliers; each was held for one update."""
    loss: tuple[float, ...]
    """Of the update's batches, before it."""
    smoothed: tuple[float, ...]
    """The exponential moving average of ``loss``, corrected for its start."""
    ended_at: float | None
    """The learning rate at which the loss was no longer finite or more than ``DIVERGED`` times its lowest; None: there is none."""
    steepest: float | None
    """Where the smoothed loss falls most steeply over the logarithm of the learning rate; None where it does not fall."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """The keys of the job that carry a learning rate, with the values that the suggestion means."""

    @property
    def lowest(self) -> float:
        """The learning rate at which the smoothed loss is lowest."""
        return self.lr[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float | None:
        """The smaller of ``steepest`` and a tenth of ``lowest``; None where the loss does not fall.

        A tenth of the lowest keeps a distance from where training breaks. A loss that is used up long before that is lowest far
        beyond what is safe, and there the steepest point is the one to trust.
        """
        return None if self.steepest is None else min(self.steepest, self.lowest / MARGIN)

    def as_json(self) -> dict[str, Any]:
        """The test as ``find-lr --json`` prints it."""
        return {name: getattr(self, name) for name in ("lr", "loss", "smoothed", "suggestion")}


def find_lr(
    job: Job,
    *,
    model: nn.Module | None = None,
    start: float = START,
    end: float = END,
    iterations: int | None = None,
) -> RangeTest:
    """Train a copy for a moment, each update with a larger learning rate, and suggest one from where the loss falls.

    Accumulation, clipping and precision are the job's; schedules, hooks, validation and ``compile`` are left out. The copy's weights,
    batches and random numbers are those with which a run would begin. Nothing outlives the test: the model that was given, the
    generators of random numbers and the disk are as before.

    Args:
        job: What ``load_job`` returned.
        model: A ready model in place of the job's section; the test trains a copy of it.
        start: The first learning rate, as the job writes it.
        end: The last one.
        iterations: Of the test, one batch each; by default as many as ``POINTS`` updates take.

    Returns:
        The losses, and a suggestion. It holds for these weights, this batch size and this data: a place to start from. A warm-up allows
        more, a long training may want less.

    Raises:
        JobError: The job is at fault, or has several optimizers, a task with ``train_step`` or an optimizer that evaluates the loss itself.
        UsageError: ``start``, ``end`` and ``iterations`` make no test, or the model cannot be copied.
        RunFailed: The loss is not finite before any update, or the job's own code raised.
    """
    _check(start, end, iterations)
    with _random_numbers_kept():
        assembly = assemble(job, for_run=True, model=None if model is None else _copied(model))
        subject = _Subject(assembly)
        count = iterations if iterations is not None else POINTS * subject.window
        try:
            return _tested(subject, start, end, count)
        except OptimctlError:
            raise
        except (Exception, SystemExit) as error:
            if is_ours(error):
                raise
            raise RunFailed(f"{raised_text(error)}, after {subject.done} iterations") from error


def _check(start: float, end: float, iterations: int | None) -> None:
    if not (0 < start < end < math.inf):
        raise UsageError(f"the test goes from a learning rate above 0 to a larger one, not from {start:g} to {end:g}")
    if iterations is not None and iterations < 1:
        raise UsageError(f"the test takes at least one iteration, not {iterations}")


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise UsageError(f"the model cannot be copied ({raised_text(error)}); give find_lr the job alone") from error


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Whatever happens inside, the generators of Python, NumPy and torch go on as if it had not."""
    python, numpys = random.getstate(), np.random.get_state(legacy=True)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(list(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpys)


class _Subject:
    """The parts that are put to the test, their schedules off and all learning rates in one hand.

    Raises:
        JobError: There is no one learning rate, or nobody but the job's own code could step.
    """

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.model: nn.Module = _present(assembly.model)
        self.task = _present(assembly.task)
        self.wrapper = _one_wrapper(assembly)
        for group in self.wrapper.param_groups:
            _put_back(group)
        self.reference = self._read_reference()
        self.bases = [float(group["lr"]) for group in self.wrapper.param_groups]
        self.window: int = self.wrapper.accumulative_counts
        self.done = 0

    def begin(self, iterations: int) -> Iterator[Any]:
        """The batches of a run, from its first; the model is in training."""
        self.model.train()
        switch = getattr(self.wrapper.optimizer, "train", None)
        if callable(switch):
            switch()
        self.wrapper.initialize_count_status(self.model, 0, iterations)
        return stream(_present(self.assembly.train_loader), self.assembly.job.job.seed)

    def set_lr(self, lr: float) -> None:
        """Give every group its share of ``lr``."""
        for group, base in zip(self.wrapper.param_groups, self.bases, strict=True):
            Slot("lr").write(group, lr * (base / self.reference))

    def step(self, batch: Any) -> float:
        """One iteration; returns its loss."""
        device = self.assembly.device
        moved = batch if device.type == "cpu" else to_device(batch, device)
        with self.wrapper.optim_context(self.model):
            loss = total_loss(self.task.loss(self.model, moved))
        self.wrapper.update_params(loss)
        self.done += 1
        return float(loss.detach())

    def _read_reference(self) -> float:
        """The job's learning rate, before multipliers."""
        lr: Any = self.wrapper.defaults.get("lr")
        rates = [lr, *(group.get("lr") for group in self.wrapper.param_groups)]
        if not all(isinstance(rate, (int, float, torch.Tensor)) for rate in rates):
            message = f"{type(self.wrapper.optimizer).__name__} has no option 'lr' that find-lr could vary"
            _refuse(self.assembly.job, ("optim_wrapper", "optimizer"), message)
        if float(lr) == 0:
            message = "is 0, so that no group has a ratio to it; give it any value above 0"
            _refuse(self.assembly.job, ("optim_wrapper", "optimizer", "lr"), message)
        return float(lr)


def _one_wrapper(assembly: Assembly) -> OptimWrapper:
    """The wrapper that the test steps."""
    job, wrapper, task = assembly.job, _present(assembly.wrapper), assembly.task
    if isinstance(wrapper, OptimWrapperDict):
        message = f"find-lr varies one learning rate, and there are several optimizers: {listing(wrapper)}"
        _refuse(job, ("optim_wrapper",), message)
    if callable(getattr(task, "train_step", None)):
        message = f"find-lr steps the optimizer itself, and {type(task).__name__} does that in its train_step"
        _refuse(job, ("task", "type"), message)
    one: OptimWrapper = wrapper
    if one.requires_closure:
        message = (
            f"find-lr looks at the loss of one step at each learning rate, and {type(one.optimizer).__name__} "
            "evaluates the loss itself, as often as it likes"
        )
        _refuse(job, ("optim_wrapper", "optimizer", "type"), message)
    return one


def _refuse(job: Job, key: Key, message: str) -> NoReturn:
    error = JobError.single(key, message, "no-range-test")
    raise JobError(job.located(error.problems))


def _present(part: Any) -> Any:
    """A part that ``assemble(for_run=True)`` has made sure of."""
    if part is None:
        raise TypeError("the assembly lacks a part that a run needs")
    return part


def _put_back(group: dict[str, Any]) -> None:
    """A group's options as they are before any schedule, which notes them as ``initial_<option>``."""
    for note in [key for key in group if key.startswith("initial_")]:
        slot = Slot.parse(note.removeprefix("initial_"))
        if slot.is_in(group):
            slot.write(group, group[note])


# --- the test


def _tested(subject: _Subject, start: float, end: float, iterations: int) -> RangeTest:
    trace = _Trace(-(-iterations // subject.window))
    points = _losses(subject, start, end, iterations)
    ended_at = next((lr for lr, loss in points if not trace.goes_on(lr, loss)), None)
    test = RangeTest(tuple(trace.lrs), tuple(trace.losses), tuple(trace.smoothed), ended_at, trace.steepest())
    return test if test.suggestion is None else replace(test, settings=_settings(subject, test.suggestion))


def _losses(subject: _Subject, start: float, end: float, iterations: int) -> Iterator[tuple[float, float]]:
    """Each learning rate with the mean loss of the batches of its update, before that."""
    points = -(-iterations // subject.window)
    growth = math.log(end / start) / max(points - 1, 1)
    batches = subject.begin(iterations)
    for point in range(points):
        lr = start * math.exp(growth * point)
        subject.set_lr(lr)
        window = min(subject.window, iterations - subject.done)
        yield lr, sum(subject.step(next(batches)) for _ in range(window)) / window


class _Trace:
    """The points of a test that is going on.

    Args:
        points: How many there will be.
    """

    def __init__(self, points: int) -> None:
        self.reach = REACH * points
        self.fade = math.exp(-1 / self.reach)
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._average = 0.0

    def goes_on(self, lr: float, loss: float) -> bool:
        """Take a point; false where the loss has diverged there.

        Raises:
            RunFailed: The very first loss is not finite.
        """
        if not math.isfinite(loss):
            if self.losses:
                return False
            raise RunFailed(
                f"the loss is {loss} before any update, so that no learning rate is at fault; "
                "look at the data, the initial weights and the precision"
            )
        self.lrs.append(lr)
        self.losses.append(loss)
        self._average = self.fade * self._average + (1 - self.fade) * loss
        self.smoothed.append(self._average / (1 - self.fade ** len(self.losses)))
        return self.smoothed[-1] <= self._limit()

    def _limit(self) -> float:
        """What the loss may not exceed; one that can be negative may lose what it won, and three times more."""
        best = min(self.smoothed)
        return DIVERGED * best if best > 0 else best + DIVERGED * (self.smoothed[0] - best)

    def steepest(self) -> float | None:
        """The learning rate where the smoothed loss falls most steeply, before its lowest; None where it falls by no more than noise.

        The first points do not count: their average is of few losses.
        """
        line, first = np.asarray(self.smoothed), round(self.reach)
        low = int(line.argmin())
        if low <= first:
            return None
        noise = float(np.median(np.abs(np.asarray(self.losses) - line)[: low + 1]))
        rounding = ROUNDING * float(np.abs(line).max())
        if line[: low + 1].max() - line[low] <= max(SURE * noise, rounding):
            return None
        slopes = np.gradient(line, np.log(self.lrs))[first : low + 1]
        return self.lrs[first + int(slopes.argmin())]


# --- what to write into the job


def _settings(subject: _Subject, lr: float) -> dict[str, float]:
    """Every key of the job that carries a learning rate: all grow or shrink by the same factor, to two digits."""
    factor = lr / subject.reference
    rates = {
        **_optimizer_rates(subject.wrapper),
        **_custom_rates(subject.assembly.job.plain().get("optim_wrapper", {})),
    }
    settings = {key_text(("optim_wrapper", *key)): rate * factor for key, rate in rates.items()}
    settings |= {key_text(key): lr for key in _peaks(subject.assembly)}
    return {key: float(f"{value:.2g}") for key, value in settings.items()}


def _optimizer_rates(wrapper: OptimWrapper) -> dict[Key, float]:
    """The learning rate of each route's optimizer, and of the one that takes the rest."""
    rates: dict[Key, float] = {}
    for route, optimizer, _ in getattr(wrapper, "parts", (("", wrapper.optimizer, None),)):
        prefix = ("constructor", *route.split(".")) if route else ()
        rates[(*prefix, "optimizer", "lr")] = float(optimizer.defaults["lr"])
    return {key: rates[key] for key in sorted(rates, key=len)}


def _custom_rates(table: Any, key: Key = ()) -> dict[Key, float]:
    """The absolute learning rates of custom keys, wherever they stand in ``optim_wrapper``."""
    items = table.items() if isinstance(table, Mapping) else enumerate(table) if isinstance(table, list) else ()
    rates: dict[Key, float] = {}
    for part, value in items:
        if part == "lr" and "custom_keys" in key and isinstance(value, (int, float)):
            rates[(*key, part)] = float(value)
        rates |= _custom_rates(value, (*key, part))
    return rates


def _peaks(assembly: Assembly) -> Iterator[Key]:
    """Where a schedule names the learning rate itself, whatever the optimizer's is."""
    for each in assembly.schedules.schedules.values() if assembly.schedules is not None else ():
        for placed in each:
            if isinstance(placed.schedule, OneCycle) and placed.option == "lr":
                yield ("param_scheduler", *placed.key, "eta_max")


# --- the picture


def plot_range_test(test: RangeTest, file: Path, *, title: str) -> None:
    """Draw the loss over the learning rate, with the suggestion and the lowest point.

    Raises:
        UsageError: The ending is unknown, matplotlib is missing, or ``file`` cannot be written.
    """
    with drawing(file, height=4.4, width=7.6) as figure:
        from matplotlib.ticker import FuncFormatter  # an extra, which is there by now

        axes = figure.add_axes((0.1, 0.13, 0.87, 0.74), xscale="log", xlabel="lr", ylabel="loss")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.grid(color="#e4e4e4", linewidth=0.8)
        one = "o" if len(test.lr) == 1 else None
        axes.plot(test.lr, test.loss, color="tab:blue", alpha=0.35, linewidth=1, marker=one, label="loss")
        axes.plot(test.lr, test.smoothed, color="tab:blue", linewidth=2, label="smoothed")
        if test.suggestion is not None and test.steepest is not None:
            axes.axvline(test.suggestion, color="tab:green", linewidth=1.5, label=f"suggestion: {test.suggestion:.2g}")
            axes.axvline(test.steepest, color="tab:gray", linewidth=1, label=f"steepest: {test.steepest:.2g}")
            axes.axvline(test.lowest, color="tab:gray", linewidth=1, linestyle="--", label=f"lowest: {test.lowest:.2g}")
        axes.set_ylim(*_window(test))
        axes.legend(frameon=False, fontsize=8, loc="best")


def _window(test: RangeTest) -> tuple[float, float]:
    """The losses worth looking at: from the lowest to a little above where they began; what diverges leaves at the top."""
    low = min(*test.smoothed, *test.loss)
    high = max(test.smoothed[: int(np.argmin(test.smoothed)) + 1])
    pad = 0.25 * (high - low) or 0.1 * abs(high) or 1.0
    return low - 0.2 * pad, high + pad


__all__ = ["RangeTest", "find_lr", "plot_range_test"]
