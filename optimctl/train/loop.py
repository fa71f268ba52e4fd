"""The loop: batches in, updates out; validation and checkpoints between epochs.

In this room: ``Run``, the state of a run and its steps. It knows no screen and no command line; what wants to see it is a hook.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from optimctl.data import one_pass, stream, to_device
from optimctl.errors import RunFailed, nearest
from optimctl.optim.loss import total_loss
from optimctl.optim.multi import by_name
from optimctl.train.averages import averaged_state, weights_in
from optimctl.train.checkpoint import checkpoint_name, keep_newest, random_state, restore_random_state, save_checkpoint
from optimctl.train.hooks import Hooks
from optimctl.train.task import metric_rule

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.schedule.scheduler import ParamSchedulers
    from optimctl.train.folder import RunFolder

Record = dict[str, Any]


class Run:
    """A run in progress.

    Args:
        assembly: The job's parts, all of those that a run needs.
        folder: Where records and checkpoints go; None leaves no file behind.
        hooks: Further hooks, after the job's own.
    """

    def __init__(self, assembly: Assembly, folder: RunFolder | None = None, hooks: tuple[Any, ...] = ()) -> None:
        job, length = assembly.job, assembly.length
        self.assembly, self.job, self.folder = assembly, job, folder
        self.model: nn.Module = _present(assembly.model)
        self.task = _present(assembly.task)
        self.wrapper: Any = _present(assembly.wrapper)
        self.wrappers: dict[str, OptimWrapper] = by_name(self.wrapper)
        self.schedules: ParamSchedulers = _present(assembly.schedules)
        self.iterations: int = _present(length.iterations)
        self.epoch_length: int = _present(length.epoch_length)
        self.val_interval: int = _present(job.train_cfg).val_interval
        self.hooks = Hooks(assembly.hooks, hooks)
        self.forward_model: nn.Module = torch.compile(self.model) if job.job.compile else self.model  # type: ignore[assignment]
        self.iteration = 0
        """Iterations done."""
        self.record: Record | None = None
        """The record that the iteration or the validation that is ending has written; None where it wrote none."""
        self.metrics: dict[str, float] = {}
        """The newest metrics of the validation."""
        self.best: dict[str, Any] | None = None
        self.stop_signal: int | None = None
        """A signal that asked the run to end after the iteration that is going on."""
        self.stop_reason: str | None = None
        """Why the run ends before its length is reached, though nothing went wrong."""
        self.failed = False
        """Whether an error has ended the run."""
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self._losses: list[Tensor | Mapping[str, Any]] = []
        self._saved_at = -1
        self._epoch_is_due = False
        """Whether the epoch's iterations are done and its validation is not: a signal came in between."""
        self._random: Mapping[str, Any] | None = None
        self._best_rule = self._read_best_rule()

    @property
    def epoch(self) -> int:
        """The epoch that the newest iteration belongs to, counted from 1."""
        return max(1, math.ceil(self.iteration / self.epoch_length))

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, the last one perhaps short."""
        return math.ceil(self.iterations / self.epoch_length)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the run has taken so far."""
        return self.seconds_before + time.monotonic() - self._started

    def train(self) -> None:
        """Go on to the end of the run, or of the iteration in which a signal arrives or a hook stops the run."""
        self._started = time.monotonic()
        self.wrapper.initialize_count_status(self.model, self.iteration, self.iterations)
        self.batches = self._batches()
        try:
            self.hooks.call("before_run", self)
            if self._epoch_is_due:
                self._end_due_epoch()
            while self.iteration < self.iterations and not self._is_told_to_end:
                self._epoch()
            self._finish()
        except BaseException:
            self.failed = True
            with suppress(Exception):  # what ended the run is told, not what came of it
                self.hooks.end(self)
            raise
        self.hooks.end(self)

    def train_some(self, iterations: int) -> list[float]:
        """The first ``iterations`` of the run; returns the seconds that each took, the device's work included."""
        self.wrapper.initialize_count_status(self.model, self.iteration, self.iterations)
        batches = stream(_present(self.assembly.train_loader), self.job.job.seed)
        self.set_training(True)
        seconds = []
        try:
            self.hooks.call("before_run", self)
            for _ in range(min(iterations, self.iterations)):
                start = time.perf_counter()
                self._iteration(next(batches))
                _synchronize(self.assembly.device)
                seconds.append(time.perf_counter() - start)
        finally:
            self.hooks.end(self)
        return seconds

    def stop(self, reason: str) -> None:
        """End the run in good order after the iteration that is going on: it is completed, and ``reason`` is told.

        The epoch ends there too, with its validation and a checkpoint. A run that is at its end, or was stopped, goes its way.
        """
        if self.stop_reason is None and self.iteration < self.iterations:
            self.stop_reason = reason

    def ending(self) -> str:
        """Where and why the run was stopped, as a sentence."""
        return f"stopped after {self.iteration} of {self.iterations} iterations: {self.stop_reason}"

    @property
    def _is_told_to_end(self) -> bool:
        return self.stop_signal is not None or self.stop_reason is not None

    def validate(self, most: int | None = None) -> dict[str, float]:
        """The metrics over the validation data, or over its first ``most`` batches."""
        self.hooks.call("before_validation", self)
        sums: dict[str, Any] = {}
        counts: dict[str, int] = {}
        with self.evaluation(), torch.no_grad():
            for number, batch in enumerate(one_pass(_present(self.assembly.val_loader), self.job.job.seed, 0), 1):
                for name, (total, count) in _sums(self.task.evaluate(self.forward_model, self._moved(batch))):
                    sums[name] = sums.get(name, 0.0) + total
                    counts[name] = counts.get(name, 0) + count
                if number == most or self.stop_signal is not None:
                    break
        return {name: float(total) / max(1, counts[name]) for name, total in sums.items()}

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The model is evaluated inside, with the averaged weights where a hook brings some; training goes on after."""
        self.set_training(False)
        try:
            with weights_in(self.model, self.hooks.averaged(self)):
                yield
        finally:
            self.set_training(True)

    def set_training(self, training: bool) -> None:
        """Switch the model, and an optimizer that asks for it, between training and evaluation."""
        self.forward_model.train(training)
        for wrapper in self.wrappers.values():
            switch = getattr(wrapper.optimizer, "train" if training else "eval", None)
            if callable(switch):
                switch()

    def save(self) -> Path | None:
        """Write a checkpoint of this moment, and delete those that the job does not keep."""
        if self.folder is None:
            return None
        self.hooks.call("before_checkpoint", self)
        file = self.folder.checkpoints / checkpoint_name(self.iteration)
        self.set_training(False)
        save_checkpoint(file, self.state_dict())
        self.set_training(True)
        self._saved_at = self.iteration
        besides = self.folder.path / self.best["checkpoint"] if self.best else None
        keep_newest(self.folder.checkpoints, self.job.checkpoint.keep, besides)
        self.hooks.call("after_checkpoint", self)
        return file

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values; the keys are those of a checkpoint."""
        averages = self.hooks.averaged(self)
        return {
            "model": self.model.state_dict(),
            **({"averaged": averaged_state(self.model, averages)} if averages else {}),
            "hooks": self.hooks.state_dict(self),
            "optimizers": {name: wrapper.state_dict() for name, wrapper in self.wrappers.items()},
            "schedules": self.schedules.state_dict(),
            "progress": {"iteration": self.iteration, "epoch_is_due": self._epoch_is_due, "seconds": self.seconds},
            "random": random_state(),
            "metrics": self.metrics,
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``: weights, optimizer, schedule, order of the data and random numbers; the job is as it is now."""
        self.model.load_state_dict(state["model"])
        for name, wrapper in self.wrappers.items():
            wrapper.load_state_dict(state["optimizers"][name])
        self.schedules.load_state_dict(state["schedules"])
        self.hooks.load_state_dict(state.get("hooks", {}))
        self.iteration = int(state["progress"]["iteration"])
        self._epoch_is_due = bool(state["progress"].get("epoch_is_due", False))
        self.seconds_before = float(state["progress"]["seconds"])
        self.metrics, self.best = dict(state["metrics"]), state["best"]
        self._random = state["random"]

    def _restore_random_state(self) -> None:
        """Go on with the random numbers of the checkpoint, once the batches that it had seen were drawn again."""
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None

    def _epoch(self) -> None:
        """From where the run stands to the end of the epoch."""
        end = min((self.iteration // self.epoch_length + 1) * self.epoch_length, self.iterations)
        self.set_training(True)
        self.hooks.call("before_epoch", self)
        while self.iteration < end and not self._is_told_to_end:
            self._iteration(next(self.batches))
        if self.iteration == end or self.stop_signal is None:
            self.hooks.call("after_epoch", self)
            self._after_epoch()

    def _end_due_epoch(self) -> None:
        """Validate what a signal has left to the resumed run, with the random numbers that it would have had."""
        if self._random is not None:
            restore_random_state(self._random)
        self._after_epoch()
        if self._random is not None:
            self._random = random_state()

    def _iteration(self, batch: Any) -> None:
        hooks = self.hooks.methods
        if hooks["before_iteration"]:
            self.hooks.call("before_iteration", self)
        ends_window = self.wrapper.should_sync()
        if ends_window and hooks["before_update"]:
            self.hooks.call("before_update", self)
        loss = self._step(self._moved(batch))
        if ends_window and hooks["after_update"]:
            self.hooks.call("after_update", self)
        if loss is not None:
            self._losses.append(loss)
        self.iteration += 1
        self.record = None
        if self.iteration % self.job.log.interval == 0 or self.iteration == self.iterations:
            self._record_training()
        self.schedules.after_iteration()
        if hooks["after_iteration"]:
            self.hooks.call("after_iteration", self)

    def _step(self, batch: Any) -> Tensor | Mapping[str, Any] | None:
        """One iteration of the task; returns its loss, without its graph, or None where it was not evaluated yet."""
        own_step = getattr(self.task, "train_step", None)
        if own_step is not None:
            return _detached(own_step(self.forward_model, batch, self.wrapper))
        if self.wrapper.requires_closure:
            evaluated: Tensor | None = self.wrapper.update_by_closure(self._closure(batch))
            return evaluated
        with self.wrapper.optim_context(self.forward_model):
            loss = self.task.loss(self.forward_model, batch)
            total = total_loss(loss)
        self.wrapper.update_params(total)
        return _detached(loss)

    def _closure(self, batch: Any) -> Callable[[], Tensor]:
        return lambda: total_loss(self.task.loss(self.forward_model, batch))

    def _batches(self) -> Iterator[Any]:
        """The batches from here on; those of an open window are read again where the optimizer evaluates them itself."""
        counts = self.wrapper.accumulative_counts if self.wrapper.requires_closure else 1
        reopened = self.iteration % counts
        loader = _present(self.assembly.train_loader)
        batches = stream(loader, self.job.job.seed, self.iteration - reopened, self._restore_random_state)
        for _ in range(reopened):
            self.wrapper.reopen_window(self._closure(self._moved(next(batches))))
        return batches

    def _moved(self, batch: Any) -> Any:
        device = self.assembly.device
        return batch if device.type == "cpu" else to_device(batch, device)

    def _record_training(self) -> None:
        """Write the mean loss since the last record, and the scheduled options; here the run waits for the device."""
        losses, self._losses = _means(self._losses), []
        own = {"iteration": self.iteration, "epoch": self.epoch, "split": "train"}
        record: Record = {**own, **losses, **own}
        record.update(self._options())
        for name, wrapper in self.wrappers.items():
            if wrapper.grad_norm is not None:
                record[self._of(name, "grad_norm")] = float(wrapper.grad_norm)
            skipped = getattr(wrapper, "skipped", 0)
            if skipped:
                record[self._of(name, "skipped_updates")] = skipped
        self._write(record)
        if not math.isfinite(record.get("loss", 0.0)):
            self._diverged(record["loss"])

    def _diverged(self, loss: float) -> NoReturn:
        raise RunFailed(
            f"the run diverged: the loss is {loss} by iteration {self.iteration}; "
            "a smaller lr, a longer warm-up or clip_grad in optim_wrapper are the usual ways out"
        )

    def _options(self) -> dict[str, float]:
        """Scheduled options and ``lr`` as the job wrote them, before multipliers, at this iteration."""
        lrs = {self._of(name, "lr"): wrapper.defaults.get("lr") for name, wrapper in self.wrappers.items()}
        return {**{name: float(lr) for name, lr in lrs.items() if lr is not None}, **self.schedules.values()}

    def _of(self, name: str, what: str) -> str:
        """What a record calls a value of one optimizer: with the optimizer's name where there are several."""
        return what if len(self.wrappers) == 1 else f"{name}.{what}"

    def _after_epoch(self) -> None:
        last = self.iteration == self.iterations or self.stop_reason is not None
        validates = self.assembly.val_loader is not None and (last or self.epoch % self.val_interval == 0)
        self._epoch_is_due = validates
        if validates and not self._validate_and_record():
            return
        self._epoch_is_due = False
        self.schedules.after_epoch(self.metrics if validates else None)
        if last or self.epoch % self.job.checkpoint.interval == 0 or self._is_best_now():
            self.save()

    def _validate_and_record(self) -> bool:
        """Whether the validation was done: where a signal has cut it off, its part of the data says nothing."""
        metrics = self.validate()
        if self.stop_signal is not None:
            return False
        if not metrics:
            raise RunFailed("the validation data gave no batch")
        self.metrics = metrics
        self._note_best()
        own = {"iteration": self.iteration, "epoch": self.epoch, "split": "val"}
        self._write({**own, **self.metrics, **own})
        self.hooks.call("after_validation", self)
        return True

    def _finish(self) -> None:
        if self._is_told_to_end and self._saved_at != self.iteration:
            self.save()
        if self.stop_reason is not None and self.folder is not None:
            self.folder.log(self.ending())

    def _write(self, record: Record) -> None:
        self.record = record
        if self.folder is not None:
            self.folder.record(record)

    def _read_best_rule(self) -> tuple[str, str] | None:
        """The metric and the direction of ``checkpoint.save_best``."""
        wanted = self.job.checkpoint.save_best
        if wanted is None:
            return None
        return wanted.metric, metric_rule(self.task, wanted.metric, wanted.rule) or "max"

    def _note_best(self) -> None:
        if self._best_rule is None:
            return
        name, rule = self._best_rule
        if name not in self.metrics:
            raise RunFailed(
                f"checkpoint.save_best: the validation gave no metric '{name}'{nearest(name, self.metrics)}"
            )
        value = self.metrics[name]
        sign = 1 if rule == "max" else -1
        if math.isfinite(value) and (self.best is None or sign * value > sign * self.best["value"]):
            file = f"checkpoints/{checkpoint_name(self.iteration)}"
            self.best = {"metric": name, "value": value, "iteration": self.iteration, "checkpoint": file}

    def _is_best_now(self) -> bool:
        return self.best is not None and self.best["iteration"] == self.iteration


def _detached(loss: Any) -> Tensor | Mapping[str, Any] | None:
    """A loss without its graph; a ``train_step`` need not return one."""
    if loss is None or isinstance(loss, Tensor):
        return None if loss is None else loss.detach()
    if not isinstance(loss, Mapping):
        raise RunFailed(
            f"a task's train_step returns a tensor, a dict of tensors or nothing, not a {type(loss).__name__}"
        )
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in loss.items()}


def _sums(evaluated: Any) -> list[tuple[str, tuple[Any, int]]]:
    """What a task's ``evaluate`` returned, checked: for each metric a sum and a count."""
    pairs = list(evaluated.items()) if isinstance(evaluated, Mapping) else []
    if not pairs or not all(isinstance(value, (tuple, list)) and len(value) == 2 for _, value in pairs):
        raise RunFailed(f"a task's evaluate returns {{metric: (sum, count)}}; this one returned {evaluated!r}")
    return pairs


def _means(losses: list[Any]) -> dict[str, float]:
    """The mean of each named loss, and of their total as ``loss``."""
    if not losses:
        return {}  # an optimizer that evaluates the loss itself has not done so yet
    means = {"loss": _mean([total_loss(loss) for loss in losses])}
    named = [loss for loss in losses if isinstance(loss, Mapping)]
    for name in sorted({str(name) for loss in named for name in loss} - {"loss"}) if named else ():
        values = [_number(name, loss[name]) for loss in named if name in loss]
        means[name] = sum(values) / len(values)
    return means


def _mean(losses: list[Tensor]) -> float:
    """The mean of scalars, in double precision; a device is waited for once."""
    on_cpu = losses[0].device.type == "cpu"
    values: list[float] = [loss.item() for loss in losses] if on_cpu else torch.stack(losses).tolist()
    return sum(values) / len(values)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RunFailed(f"a task's loss may have further entries of one number each; '{name}' is none") from error


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _present(part: Any) -> Any:
    """A part that ``assemble(for_run=True)`` has made sure of."""
    if part is None:
        raise TypeError("a run was made from an assembly that lacks a part; assemble the job with for_run=True")
    return part


__all__ = ["Record", "Run"]
