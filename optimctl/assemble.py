"""From a job to its parts: what a run and a plan share, so that the plan is the run.

In this room: ``Assembly``, and ``assemble``, which builds what the job describes and reports every problem that it met, not
only the first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn

from optimctl import plugins, signatures
from optimctl.data import batches_in, build_dataloader
from optimctl.errors import JobError, Key, Problem, listing, nearest, raised_text
from optimctl.optim.constructor import build_optim_wrapper
from optimctl.optim.multi import OptimWrapperDict
from optimctl.optim.planned import has_weights, on_meta, planned_for
from optimctl.optim.stand_in import stand_in
from optimctl.schedule.place import RunLength
from optimctl.schedule.scheduler import ParamSchedulers, build_param_schedulers
from optimctl.weights import LoadedWeights, load_weights

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from optimctl.job.schema import Job
    from optimctl.optim.wrapper import OptimWrapper

T = TypeVar("T")

RUN_NEEDS = ("model", "task", "train_dataloader", "train_cfg", "optim_wrapper")
"""The sections that a run cannot do without."""


@dataclass
class Assembly:
    """The parts of a job, built; a part whose section the job lacks is None."""

    job: Job
    device: torch.device
    model: nn.Module | None
    task: Any
    train_loader: DataLoader[Any] | None
    val_loader: DataLoader[Any] | None
    length: RunLength
    weights: LoadedWeights | None
    wrapper: OptimWrapper | OptimWrapperDict | None
    schedules: ParamSchedulers | None
    hooks: Mapping[str, Any]
    needs_values: str | None = None
    """Why a plan's model could not be built without values: what was raised, and by which line."""


def assemble(
    job: Job, *, for_run: bool = False, without_weights: bool = False, model: nn.Module | None = None
) -> Assembly:
    """Build what ``job`` describes, on its device, seeded.

    Args:
        for_run: Everything that a run needs must be there.
        without_weights: For a plan: the model is built on the meta device, where that can be, and data that neither the
            plan's length nor a run needs is not read.
        model: A ready model in place of the job's section.

    Raises:
        JobError: All problems found, with their places.
    """
    assembler = _Assembler(job, model, without_weights)
    device = assembler.device()
    with planned_for(device) if without_weights else nullcontext():
        return assembler.assemble(device, for_run)


def pick_device(name: str) -> torch.device:
    """The device that a job means: ``auto`` is CUDA where there is some, else MPS, else the CPU.

    Raises:
        JobError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        accelerator = next(
            (n for n, part in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if part.is_available()), "cpu"
        )
        return torch.device(accelerator)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise JobError.single(("job", "device"), f"cannot use the device '{name}': {reason}", "no-device") from error
    return device


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class _Assembler:
    """Builds part after part; a part that fails leaves its problems and None."""

    def __init__(self, job: Job, model: nn.Module | None, without_weights: bool) -> None:
        self.job = job
        self.given_model = model
        self.without_weights = without_weights
        self.needs_values: str | None = None
        self.tables: dict[str, Any] = job.plain()
        self.problems: list[Problem] = []

    def device(self) -> torch.device:
        """The job's device, or the CPU where that is a problem."""
        return self._try(lambda: pick_device(self.job.job.device)) or torch.device("cpu")

    def assemble(self, device: torch.device, for_run: bool) -> Assembly:
        if for_run:
            self._require()
        seed_everything(self.job.job.seed)
        model = self._model()
        task = self._part("tasks", ("task",))
        with_data = for_run or not self.without_weights or self._said_epoch_length() is None
        loaders = {name: self._loader(name) if with_data else None for name in ("train_dataloader", "val_dataloader")}
        length = self._length(loaders["train_dataloader"])
        weights = self._weights(model)
        if model is not None and has_weights(model):
            model = model.to(device)
        wrapper = self._wrapper(model)
        self._check_task(task, wrapper)
        schedules = self._schedules(wrapper, length)
        hooks = {name: self._hook(name, table) for name, table in self.tables.get("hooks", {}).items()}
        self.problems += _averaging_problems(hooks)
        if task is not None:
            self.problems += _metric_problems(self.job, task, schedules, hooks)
        if self.problems:
            raise JobError(self.job.located(self.problems))
        train_loader, val_loader = loaders.values()
        return Assembly(
            self.job,
            device,
            model,
            task,
            train_loader,
            val_loader,
            length,
            weights,
            wrapper,
            schedules,
            hooks,
            self.needs_values,
        )

    def _require(self) -> None:
        for section in RUN_NEEDS:
            if section not in self.tables and not (section == "model" and self.given_model is not None):
                self.problems.append(Problem((section,), f"a run needs the table [{section}]", "missing-section"))

    def _try(self, build: Callable[[], T], *prefix: str) -> T | None:
        try:
            return build()
        except JobError as error:
            self.problems += [one for one in error.below(*prefix).problems if one not in self.problems]
            return None

    def _model(self) -> nn.Module | None:
        table = self.tables.get("model")
        if self.given_model is not None or table is None:
            return self.given_model
        model = self._model_on_meta(table) if self.without_weights else None
        return model if model is not None else cast("nn.Module | None", self._part("models", ("model",), nn.Module))

    def _model_on_meta(self, table: Mapping[str, Any]) -> nn.Module | None:
        """The model without values; None where it needs some, and then the generators are as they were before."""
        try:
            with on_meta() as watch:
                model = cast("nn.Module", build_part("models", ("model",), table, nn.Module))
            needs: BaseException | None = watch.raised
        except JobError as error:  # its own mistakes come again where it is built with values
            needs = error.__cause__ or error
        if needs is None:
            return model
        self.needs_values = raised_text(needs)
        seed_everything(self.job.job.seed)
        return None

    def _part(self, kind: str, key: Key, must_be: type = object) -> Any:
        """The plugin that the table at ``key`` names, called with the table's other keys."""
        table = self.tables.get(str(key[0]))
        return None if table is None else self._try(lambda: build_part(kind, key, table, must_be))

    def _hook(self, name: str, table: Mapping[str, Any]) -> Any:
        return self._try(lambda: build_part("hooks", ("hooks", name), {"type": name, **table}))

    def _loader(self, name: str) -> DataLoader[Any] | None:
        table = self.tables.get(name)
        return None if table is None else self._try(lambda: build_dataloader(table, (name,)))

    def _length(self, loader: DataLoader[Any] | None) -> RunLength:
        cfg, said = self.job.train_cfg, self._said_epoch_length()
        measured = batches_in(loader) if loader is not None else None
        length = RunLength(
            epoch_length=said or measured,
            max_epochs=cfg.max_epochs if cfg else None,
            max_iters=cfg.max_iters if cfg else None,
            accumulative_counts=_accumulative_counts(self.tables.get("optim_wrapper", {})),
        )
        if loader is not None and cfg and length.epoch_length is None:
            message = "the training data has no length; say how many iterations make an epoch: epoch_length = 500"
            self.problems.append(Problem(("train_cfg",), message, "no-epoch-length"))
        return length

    def _said_epoch_length(self) -> int | None:
        return self.job.train_cfg.epoch_length if self.job.train_cfg else None

    def _weights(self, model: nn.Module | None) -> LoadedWeights | None:
        source = self.job.job.load_from
        return None if source is None or model is None else self._try(lambda: load_weights(model, source))

    def _check_task(self, task: Any, wrapper: OptimWrapper | OptimWrapperDict | None) -> None:
        if task is None:
            return
        has_step = callable(getattr(task, "train_step", None))
        if isinstance(wrapper, OptimWrapperDict) and not has_step:
            needs = "train_step(model, batch, optim_wrapper), as there are several optimizers"
        elif not has_step and not callable(getattr(task, "loss", None)):
            needs = "loss(model, batch)"
        elif "val_dataloader" in self.tables and not callable(getattr(task, "evaluate", None)):
            needs = "evaluate(model, batch), as there is a [val_dataloader]"
        else:
            return
        message = f"the task needs the method {needs}; {type(task).__name__} has none"
        self.problems.append(Problem(("task", "type"), message, "wrong-kind"))

    def _wrapper(self, model: nn.Module | None) -> OptimWrapper | OptimWrapperDict | None:
        table = self.tables.get("optim_wrapper")
        if table is None or model is None:
            return None
        return self._try(lambda: build_optim_wrapper(model, table), "optim_wrapper")

    def _stand_in(self) -> OptimWrapper | OptimWrapperDict | None:
        """Without a model, the schedules move the job's own options, before any rule."""
        table = self.tables.get("optim_wrapper")
        return None if table is None else self._try(lambda: stand_in(table), "optim_wrapper")

    def _schedules(self, wrapper: OptimWrapper | OptimWrapperDict | None, length: RunLength) -> ParamSchedulers | None:
        tables = self.tables.get("param_scheduler", [])
        target = wrapper if wrapper is not None else self._stand_in()
        if target is None or length.iterations is None:
            return None
        return self._try(
            lambda: build_param_schedulers(
                target,
                tables,
                epoch_length=length.epoch_length,
                max_epochs=length.max_epochs,
                max_iters=length.max_iters,
            ),
            "param_scheduler",
        )


def _metric_problems(
    job: Job, task: Any, schedules: ParamSchedulers | None, hooks: Mapping[str, Any]
) -> Iterator[Problem]:
    """What waits for a metric of the validation must get it, and what compares must know which way is better."""
    rules: Mapping[str, str] = getattr(task, "metric_rules", {})
    for key, metric in _waiting(job, schedules, hooks):
        if job.val_dataloader is None:
            message = f"'{metric}' is a metric of the validation, and there is no [val_dataloader]"
            yield Problem(key, message, "unknown-metric")
        elif rules and metric not in rules:
            hint = nearest(metric, rules) or f"; it gives {listing(rules)}"
            yield Problem(key, f"the task has no metric '{metric}'{hint}", "unknown-metric")
    best = job.checkpoint.save_best
    if best is not None and best.rule is None and not rules:
        message = 'the task does not say which way is better; write { metric = ..., rule = "max" }'
        yield Problem(("checkpoint", "save_best"), message, "missing-key")
    for name, hook in hooks.items():
        if not rules and getattr(hook, "waits_for", None) is not None and getattr(hook, "rule", "") is None:
            message = 'the task does not say which way is better; add rule = "max" or rule = "min"'
            yield Problem(("hooks", name), message, "missing-key")


def _waiting(job: Job, schedules: ParamSchedulers | None, hooks: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    """The metrics that something waits for, with the keys that name them."""
    if job.checkpoint.save_best is not None:
        yield ("checkpoint", "save_best"), job.checkpoint.save_best.metric
    for placed in (placed for each in schedules.schedules.values() for placed in each) if schedules is not None else ():
        monitor = getattr(placed.schedule, "monitor", None)
        if monitor is not None:
            yield ("param_scheduler", *placed.key, "monitor"), monitor
    for name, hook in hooks.items():
        metric = getattr(hook, "waits_for", None)
        if metric is not None:
            arguments = job.hooks[name].arguments
            yield ("hooks", name, *[option for option, value in arguments.items() if value == metric][:1]), metric


def _averaging_problems(hooks: Mapping[str, Any]) -> Iterator[Problem]:
    """What is evaluated is one set of weights."""
    averaging = [name for name, hook in hooks.items() if callable(getattr(hook, "averaged", None))]
    for name in averaging[1:]:
        message = f"[hooks.{averaging[0]}] averages the weights already, and one average is evaluated; take one out"
        yield Problem(("hooks", name), message, "two-averages")


def _accumulative_counts(table: Mapping[str, Any]) -> int:
    """Iterations an update: the job's, or the fewest of several optimizers."""
    own = table.get("accumulative_counts")
    several = [
        one.get("accumulative_counts", 1) for one in table.values() if isinstance(one, Mapping) and "optimizer" in one
    ]
    return int(own or min(several, default=1))


def build_part(kind: str, key: Key, table: Mapping[str, Any], must_be: type = object) -> Any:
    """The object that a plugin table describes.

    Raises:
        JobError: The plugin is unknown or broken, refuses its arguments, or returns something else than its kind must.
    """
    arguments = dict(table)
    loaded = plugins.resolve(kind, arguments.pop("type"), key)
    made = signatures.call(loaded, key, arguments)
    if not isinstance(made, must_be):
        message = f"{loaded} returned a {type(made).__name__}; it must be {plugins.KINDS[kind].contract}"
        raise JobError.single((*key, "type"), message, "wrong-kind")
    return made
