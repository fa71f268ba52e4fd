"""The script as a whole: which pieces a job needs, what they know, and their order.

In this room: ``write_script``. The pieces stand in ``pieces/``: templates, each a function or a class that is Python but for what
depends on the job. The functions of models, data, groups and schedules come from the rooms beside.
"""

from __future__ import annotations

import builtins
import functools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from importlib_metadata import PackageNotFoundError, version

import optimctl
from optimctl.data import SEEDS_APART
from optimctl.export.python.clashes import clashes
from optimctl.export.python.collect import Collected, collect
from optimctl.export.python.freezing import freezing
from optimctl.export.python.imports import IMPORTABLE, PACKAGES, names_in
from optimctl.export.python.layout import WIDTH, Call, Expression, call, define, lay, literal, text, tidy
from optimctl.export.python.needed import needed
from optimctl.export.python.parts import Data, functions_of, weights_lines
from optimctl.export.python.scheduling import plateau_context
from optimctl.export.python.stepping import loss_function, loss_parameters, loss_value
from optimctl.export.python.tasks import BEFORE
from optimctl.plugins import PROJECT
from optimctl.train.run import default_work_dir
from optimctl.train.task import metric_rule

if TYPE_CHECKING:
    from optimctl.assemble import Assembly


def write_script(assembly: Assembly) -> str:
    """A job's script.

    Raises:
        JobError: All that cannot be exported, with its places.
    """
    taken = IMPORTABLE.union(dir(builtins))
    while True:
        collected = collect(assembly, taken)
        script = _Script(collected)
        own = script.own_lines()
        more = clashes(own, collected.imports.bound, {one.name: one.planned.maker for one in collected.optimizers})
        if not more:
            return script.text(own)
        taken |= more  # it ends: what is called otherwise for this is not called so again


class _Script:
    """A script that is being put together."""

    def __init__(self, of: Collected) -> None:
        self.assembly, self.job, self.imports = of.assembly, of.assembly.job, of.imports
        self.model, self.train, self.val, self.task, self.frozen = of.model, of.train, of.val, of.task, of.frozen
        self.optimizers, self.stepping, self.scheduling = of.optimizers, of.stepping, of.scheduling
        self.hooks = of.hooks

    # --- the whole

    def own_lines(self) -> str:
        """All but the docstring and the import statements."""
        return _piece(
            "script",
            name=_plain(self.job.name),
            window=self.stepping.window,
            log_every=self.job.log.interval,
            body="\n\n\n".join(self._body()),
            arguments=list(self._arguments()),
            refused=self._refused(),
        )

    def text(self, own_lines: str) -> str:
        """The script, formatted."""
        about = textwrap.fill(_plain(self._about(own_lines)), WIDTH, break_long_words=False, break_on_hyphens=False)
        doc = f'"""Train `{_plain(self.job.name)}` with plain PyTorch.\n\n{about}\n"""'
        return tidy("\n\n".join([doc, self.imports.lines(own_lines), own_lines]))

    def _about(self, own_lines: str) -> str:
        """Where the script comes from, and what it needs."""
        source = f"the job {self.job.file.name}" if self.job.file else "a job made in Python"
        options = f" with {' '.join(self.job.overrides)}" if self.job.overrides else ""
        *most, last = dict.fromkeys(self._needs(own_lines))
        listed = f"{', '.join(most)} and {last}" if most else last
        return (
            f"Exported by optimctl {optimctl.__version__} from {source}{options}; it gives the losses and the weights of `optimctl run`, "
            f"without optimctl. It needs {listed}."
        )

    def _needs(self, own_lines: str) -> Iterator[str]:
        """The distributions that the script needs, with the versions that are installed here."""
        used = names_in(own_lines)
        for name in ["torch", *(package for name, package in PACKAGES.items() if name in used)]:
            yield _with_version(name)
        for plugin in self.imports.plugins.values():
            is_local = plugin.distribution == PROJECT
            yield "the modules of its project" if is_local else f"{plugin.distribution} {plugin.version}"

    def _body(self) -> Iterator[str]:
        """The functions, each before it is used."""
        yield from functions_of([self.model, self.train, *([self.val] if self.val else [])])
        yield self._make_loaders()
        yield from self._device_pieces()
        freeze = freezing(self.assembly, self.frozen)
        if freeze:
            yield freeze
        yield from self._optimizer_functions()
        yield from self.scheduling.functions
        yield from self._task_pieces()
        yield from self._helper_pieces()
        if self.val is not None:
            yield _piece("evaluate", **self._evaluation())
        if self.hooks.trackers.adds_columns:
            yield _piece("add_row")
        yield _piece("report", **self._reporting())
        yield _piece("save", **self._saving())
        yield self._train()

    def _optimizer_functions(self) -> Iterator[str]:
        """What makes the optimizers, and before each what it calls; what several call is there once."""
        lines: list[str] = []
        for written in self.optimizers:
            lines += [*written.functions, written.maker(written.name in self.stepping.starts_momentum)]
        yield from dict.fromkeys(lines)

    def _device_pieces(self) -> Iterator[str]:
        if self.job.job.device == "auto":
            yield _piece("pick_device")
        if "any" in (self.train.batch, self.val.batch if self.val else ""):
            yield _piece("to_device")

    def _task_pieces(self) -> Iterator[str]:
        if self.task.kind == "model":
            loaders = [self.train, *([self.val] if self.val is not None else [])]
            yield _piece("losses_of", is_listed=all(one.batch != "any" for one in loaders))
            if self.val is not None:
                yield _piece("samples_in")
        if self.task.is_foreign:
            yield _piece("by_name")
            if not self.stepping.has_closure:
                yield _piece("detached")
                yield _piece("means")

    def _helper_pieces(self) -> Iterator[str]:
        if self.is_endless:
            yield _piece("passes", train=self.train, pass_seed=_pass_seed("seed", "number"))
        for number, plateau in enumerate(self.scheduling.plateaus, 1):
            yield _piece("plateau", **plateau_context(plateau, number))
        if self.hooks.averages is not None:
            yield _piece("averages", ema=self.hooks.averages)
        if self.stepping.steppers is not None:
            yield self._stepper()
        if self.stepping.has_closure:
            yield self._update()

    def _stepper(self) -> str:
        """The class that a task steps by."""
        options = self.stepping.stepper_options
        counts = self.hooks.averages is not None
        return _piece(
            "stepper",
            task=self.task,
            stepper={
                "init": self.stepping.stepper_head(counts),
                "clips": "clip" in options,
                "windows": "window" in options,
                "counts": counts,
            },
            amp=self._amp("device"),
            creates_graph=self.stepping.creates_graph,
        )

    def _update(self) -> str:
        """The function that lets an optimizer evaluate the loss itself."""
        stepping, inputs = self.stepping, _inputs(self.train)
        is_window = stepping.window > 1
        parts = {"loss_of": loss_function(self.task, stepping.precision, inputs)} if is_window else {}
        return _piece(
            "update_window" if is_window else "update",
            head=define("update", self._update_parameters(), "Tensor"),
            returns_first=stepping.returns_first,
            loss=loss_value(self.task, inputs),
            amp=self._amp("device.type"),
            backward=f"loss.backward({'create_graph=True' if stepping.creates_graph else ''})",
            clip=lay(stepping.clip, 8, margin=0) if stepping.clip else "",
            **parts,
        )

    # --- main

    def _refused(self) -> dict[str, str] | None:
        """The lengths of a run that the schedule is not written for."""
        wrong = {"shorter", "longer"} - self.scheduling.fits
        if not wrong:
            return None
        length = self.assembly.length
        name, count = ("epochs", length.max_epochs) if length.max_iters is None else ("iterations", length.max_iters)
        sign, how = {1: (">", "at most "), 2: ("!=", "")}[len(wrong)] if "longer" in wrong else ("<", "at least ")
        return {
            "condition": f"args.{name} {sign} {count}",
            "message": f"the schedule is written for {how}{count} {name}",
        }

    def _arguments(self) -> Iterator[str]:
        job, length = self.job, self.assembly.length
        yield f'parser.add_argument("--seed", type=int, default={job.job.seed})'
        device = "pick_device()" if job.job.device == "auto" else text(job.job.device)
        yield f'parser.add_argument("--device", default={device})'
        if length.max_iters is not None:
            yield f'parser.add_argument("--iterations", type=int, default={length.max_iters})'
        else:
            yield f'parser.add_argument("--epochs", type=int, default={length.max_epochs})'
        for written in self.optimizers:
            if written.lr:
                name = f'"--{written.lr.replace("_", "-")}"'
                yield lay(call("parser.add_argument", name, type="float", default=literal(written.lr_value)), 4)
        work_dir = f"Path({literal(default_work_dir(job).as_posix())})"
        yield lay(call("parser.add_argument", '"--work-dir"', type="Path", default=work_dir), 4)

    # --- train

    @property
    def is_endless(self) -> bool:
        """Whether an epoch is anything but a pass over the data."""
        cfg = self.job.train_cfg
        return cfg is None or cfg.max_iters is not None or cfg.epoch_length is not None

    @property
    def forward(self) -> str:
        """What the script calls to go forward."""
        return "compiled" if self.job.job.compile else "model"

    def _train(self) -> str:
        """The function that trains; its loop counts the epochs where a line of it asks for the count."""
        context = self._training()
        counted = _piece("train", **context, turn="epoch in range(1, epochs + 1)")
        is_asked_for = len(re.findall(r"\bepoch\b", counted)) > 1
        return counted if is_asked_for else _piece("train", **context, turn="_ in range(epochs)")

    def _training(self) -> dict[str, Any]:
        """What the piece ``train`` is told: the loop, with each step of it laid out."""
        return {
            "seeds_all": any(plugin.distribution for plugin in self.imports.plugins.values()),
            "deterministic": self.job.job.deterministic,
            "creates_graph": self.stepping.creates_graph,
            "make": list(self._make()),
            "prepare": list(self._prepare()),
            "forward": self.forward,
            "switches": self.stepping.switches,
            "is_endless": self.is_endless,
            "train": self.train,
            "pass_seed": _pass_seed("args.seed", "epoch - 1"),
            "scheduling": self.scheduling,
            "iterate": self._iterate(),
            "is_logged": self._is_logged(),
            "log": list(self._log()),
            "best": self._best(),
            "validate": self._validate(),
            "val_interval": self.job.train_cfg.val_interval if self.job.train_cfg else 1,
            "save": self._save(),
            "save_interval": self.job.checkpoint.interval,
            "stops": bool(self.hooks.observe),
            "trackers": self.hooks.trackers,
        }

    def _iterate(self) -> str:
        """One iteration: from the batch to the step."""
        if self.task.kind == "steps":
            return self._iterate_by_task()
        if self.stepping.has_closure:
            return self._iterate_by_closure()
        window = self.stepping.window
        return _piece(
            "iteration",
            unpack=self._unpack(self.train),
            amp=self._amp("device.type"),
            compute=self._compute(),
            window=window,
            backward=self._backward(),
            step="\n".join(self._step(16 if window > 1 else 12)),
            keep=f"{self.kept}.append({'detached(losses)' if self.task.is_foreign else 'loss.detach()'})",
        )

    def _iterate_by_task(self) -> str:
        one = self.stepping.has_one_stepper
        return _piece(
            "iteration_by_task",
            unpack=self._unpack(self.train),
            forward=self.forward,
            steppers="stepper" if one else "steppers",
            updates="stepper.updates" if one else "sum(one.updates for one in steppers.values())",
            ema=self.hooks.averages,
        )

    def _iterate_by_closure(self) -> str:
        window = self.stepping.window
        of_loss = loss_parameters(self.task, _inputs(self.train))
        given, to_update = (
            [self.forward if name == "model" else name for name in names]
            for names in (of_loss, self._update_parameters())
        )
        update, part = call("update", *to_update), call("functools.partial", "loss_of", *given)
        return _piece(
            "iteration_by_closure",
            unpack=self._unpack(self.train),
            window=window,
            part=lay(call("parts.append", part), 12, margin=0),
            update=lay(update, 16 if window > 1 else 12, "loss = ", margin=0),
            ema=self.hooks.averages,
        )

    def _is_logged(self) -> str:
        """When a record is due; inside the first window, an optimizer that evaluates the loss itself has none to tell."""
        due = "iteration % LOG_EVERY == 0 or iteration == iterations"
        return f"losses and ({due})" if self.stepping.has_closure and self.stepping.window > 1 else due

    def _validate(self) -> str:
        """The validation, and what comes of it; nothing where there is none."""
        if self.val is None:
            return ""
        return _piece(
            "validation",
            switches=self.stepping.switches,
            ema=self.hooks.averages,
            evaluate=f"evaluate({', '.join(self._evaluate_arguments())})",
            report=self._report_call("val", "metrics"),
            observe=[*self.scheduling.observe, *self.hooks.observe],
            best=self._best(),
        )

    def _best(self) -> dict[str, str] | None:
        """The metric of the best checkpoint, and how a better value compares."""
        best = self.job.checkpoint.save_best
        return None if best is None else {"metric": text(best.metric), "sign": ">" if self._best_is_max() else "<"}

    def _save(self) -> str:
        """What writes a checkpoint, and deletes the oldest."""
        column = 8 if self.job.checkpoint.interval == 1 else 12
        return _piece(
            "checkpoint",
            switches=self.stepping.switches,
            save=lay(call("save", *self._save_parameters()), column, margin=0),
            best=self._best(),
            keep=self.job.checkpoint.keep,
        )

    def _make_loaders(self) -> str:
        """The function that makes the data."""
        if self.val is None:
            head, doc, lines = define("make_loaders", {}, "DataLoader[Any]"), "The data to train on.", _only(self.train)
        else:
            head = define("make_loaders", {}, "tuple[DataLoader[Any], DataLoader[Any]]")
            doc = "The data to train and to validate on."
            lines = [*_assigned(self.train), *_assigned(self.val), "return train_loader, val_loader"]
        return "\n".join([head, *(f"    {line}" for line in [f'"""{doc}"""', *lines])])

    def _make(self) -> Iterator[str]:
        """Model, data and optimizers, in the order in which a run makes them."""
        yield lay(self.model.expression, 4, "model = ")
        if self.task.variable:
            yield lay(self.task.expression, 4, f"{self.task.variable} = ")
        yield f"{'train_loader' if self.val is None else 'train_loader, val_loader'} = make_loaders()"
        source, told = self.job.job.load_from, self.assembly.weights
        if source is not None and told is not None:
            yield from weights_lines(source, told)
        yield "model.to(device)"
        if self.task.moves:
            yield "criterion.to(device)"
        if self.job.job.compile:
            yield "compiled = torch.compile(model)"
        if self.frozen:
            yield "freeze(model)"
        yield from (written.call() for written in self.optimizers)
        yield from self._groups()
        precision = self.stepping.precision
        if precision is not None and precision.dtype == "dtype":
            yield 'dtype = torch.bfloat16 if device.type == "cpu" else torch.float16'
        if precision is not None and precision.scaler:
            yield lay(precision.scaler, 4, "scaler = ")
        if self.hooks.averages is not None:
            yield "averages = Averages(model)"

    def _groups(self) -> Iterator[str]:
        """All groups together, and what is clipped, in their order."""
        names = [f"{written.name}.param_groups" for written in self.optimizers]
        groups = names[0] if len(names) == 1 else "groups"
        if len(names) > 1 and self.stepping.steppers is None and (self.stepping.clip or self.scheduling.uses_groups):
            yield f"groups = {' + '.join(names)}"
        if self.stepping.clip:
            yield f'parameters = [p for group in {groups} for p in group["params"]]'

    def _prepare(self) -> Iterator[str]:
        """All that the loop starts from."""
        yield from self._lengths()
        yield from self.scheduling.prepare
        if self.is_endless:
            yield "batches = passes(train_loader, args.seed)"
        yield "args.work_dir.mkdir(parents=True, exist_ok=True)"
        yield from self.hooks.trackers.begin
        yield f"iteration, {self.kept} = 0, []"
        if self.stepping.has_closure and self.stepping.window > 1:
            yield "parts: list[Callable[[], Tensor]] = []"
        if self.task.kind == "steps" and self.hooks.averages is not None:
            yield "averaged = 0  # updates that the averages know of"
        yield from self._state()

    def _lengths(self) -> Iterator[str]:
        cfg = self.job.train_cfg
        said = cfg.epoch_length if cfg is not None else None
        yield f"epoch_length = {said or 'len(train_loader)'}"
        if self.assembly.length.max_iters is not None:
            yield "iterations = args.iterations"
            yield "epochs = math.ceil(iterations / epoch_length)"
        else:
            yield "epochs, iterations = args.epochs, args.epochs * epoch_length"
        if self.stepping.steppers is not None:
            yield self.stepping.make_steppers()

    def _state(self) -> Iterator[str]:
        if self.job.checkpoint.save_best is not None:
            yield f"best = {'-' if self._best_is_max() else ''}math.inf"
        if self.job.checkpoint.keep is not None:
            yield "saved: list[Path] = []"
        yield from self.hooks.state

    def _best_is_max(self) -> bool:
        best = self.job.checkpoint.save_best
        return best is not None and (metric_rule(self.assembly.task, best.metric, best.rule) or "max") == "max"

    @property
    def kept(self) -> str:
        """What the script calls the losses since the last record: numbers, or dicts of them."""
        return "history" if self._has_names else "losses"

    @property
    def _has_names(self) -> bool:
        """Whether the losses of an iteration have names."""
        return self.task.is_foreign and not self.stepping.has_closure

    def _unpack(self, data: Data) -> str:
        """How a batch comes to the device."""
        target = {"pair": "inputs, targets"}.get(data.batch, "*inputs, targets")
        if data.batch == "any":
            return f"{'batch' if self.task.is_foreign else target} = to_device(batch, device)"
        moved = "part.to(device, non_blocking=True)" if data.pins_memory else "part.to(device)"
        parts = f"{moved} for part in batch"
        return f"batch = [{parts}]" if self.task.is_foreign else f"{target} = ({parts})"

    def _compute(self) -> str:
        """The forward pass."""
        if self.task.kind == "supervised":
            return f"loss = criterion({self.forward}({_inputs(self.train)}), targets)"
        losses = (
            f"losses_of({self.forward}, batch)" if self.task.kind == "model" else f"task.loss({self.forward}, batch)"
        )
        return f"losses = by_name({losses})"

    def _backward(self) -> str:
        loss = 'losses["loss"]' if self.task.is_foreign else "loss"
        is_part = self.stepping.window > 1
        loss = f"{loss} / size" if is_part else loss
        if self.stepping.precision is not None and self.stepping.precision.scaler:
            loss = f"scaler.scale({loss})"
        elif is_part:
            loss = f"({loss})"
        return f"{loss}.backward({'create_graph=True' if self.stepping.creates_graph else ''})"

    def _step(self, column: int) -> Iterator[str]:
        """What ends a window."""
        names = [written.name for written in self.optimizers]
        precision = self.stepping.precision
        scaled = precision is not None and bool(precision.scaler)
        if scaled:
            yield from (f"scaler.unscale_({name})" for name in names)
        if self.stepping.clip:
            yield lay(self.stepping.clip, column, margin=0)
        yield from (f"scaler.step({name})" if scaled else f"{name}.step()" for name in names)
        if precision is not None and scaled:
            yield from self._update_scale(precision.scale)
        yield from (f"{name}.zero_grad()" for name in names)
        if self.hooks.averages is not None:
            yield from ["if not is_skipped:", "    averages.update()"] if scaled else ["averages.update()"]

    def _update_scale(self, fixed: float | None) -> Iterator[str]:
        if self.hooks.averages is None:
            yield f"scaler.update({'' if fixed is None else repr(fixed)})"
            return
        yield "scale_before = scaler.get_scale()"
        yield "scaler.update()"
        yield "is_skipped = scaler.get_scale() < scale_before"

    def _update_parameters(self) -> dict[str, str]:
        """Of ``update``, with their types."""
        optimizer = {"optimizer": "torch.optim.Optimizer"}
        clips = {"parameters": "list[nn.Parameter]"} if self.stepping.clip else {}
        if self.stepping.window > 1:
            return {**optimizer, **clips, "parts": "list[Callable[[], Tensor]]"}
        of_loss = loss_parameters(self.task, _inputs(self.train))
        batch = {name: kind for name, kind in of_loss.items() if name in ("inputs", "targets", "batch")}
        before = {name: kind for name, kind in of_loss.items() if name not in batch}
        device = {"device": "torch.device"} if self.stepping.precision is not None else {}
        return {**before, **optimizer, **clips, **batch, **device}

    def _log(self) -> Iterator[str]:
        yield from self.scheduling.before_report
        rates: list[tuple[str, Expression]]
        rates = [(f"{text(name)}: ", value) for name, value in self.scheduling.report.items()]
        loss = "sum(x.item() for x in losses) / len(losses)"
        first: list[tuple[str, Expression]] = [("**", "means(history)") if self._has_names else ('"loss": ', loss)]
        plain = first[0][1] if self._has_names and not rates else Call("{", (*first, *rates), "}")
        yield lay(plain, 16, "values = ")
        yield self._report_call("train", "values")
        yield 'if not math.isfinite(values["loss"]):'
        yield '    raise SystemExit(f"the run diverged by iteration {iteration}")'
        yield f"{self.kept}.clear()"

    # --- what is called

    def _amp(self, device: str) -> dict[str, str] | None:
        precision = self.stepping.precision
        return None if precision is None else {"device": device, "dtype": precision.dtype}

    def _evaluation(self) -> dict[str, Any]:
        val = needed(self.val)
        kinds = {
            "model": "nn.Module",
            "criterion": "nn.Module",
            "task": "Any",
            "loader": "DataLoader[Any]",
            "device": "torch.device",
            "seed": "int",
        }
        names = ["model", *([self.task.variable] if self.task.variable else []), "loader", "device"]
        names += ["seed"] if val.reseeds else []
        return {
            "evaluate_head": define("evaluate", {name: kinds[name] for name in names}, "dict[str, float]"),
            "val": val,
            "val_unpack": self._unpack(val),
            "val_inputs": _inputs(val),
            "task": self.task,
            "before": BEFORE,
            "pass_seed": _pass_seed("seed", "0"),
        }

    def _evaluate_arguments(self) -> list[str]:
        task = [self.task.variable] if self.task.variable else []
        reseeds = self.val is not None and self.val.reseeds
        return [self.forward, *task, "val_loader", "device", *(["args.seed"] if reseeds else [])]

    def _report_parameters(self) -> dict[str, str]:
        trackers = self.hooks.trackers
        epoch = {"epoch": "int"} if trackers.wants_epoch else {}
        return {**trackers.parameters, "split": "str", **epoch, "iteration": "int", "values": "dict[str, float]"}

    def _report_call(self, split: str, values: str) -> str:
        given = {"split": text(split), "values": values}
        return f"report({', '.join(given.get(name, name) for name in self._report_parameters())})"

    def _reporting(self) -> dict[str, Any]:
        head = define("report", self._report_parameters(), "None")
        return {"report_head": head, "trackers": self.hooks.trackers}

    def _save_parameters(self) -> dict[str, str]:
        optimizers = {written.name: "torch.optim.Optimizer" for written in self.optimizers}
        scaler = {"scaler": "torch.amp.GradScaler"} if self._scales else {}
        averages = {"averages": "Averages"} if self.hooks.averages is not None else {}
        return {"file": "Path", "model": "nn.Module", **optimizers, **scaler, **averages, "iteration": "int"}

    @property
    def _scales(self) -> bool:
        """Whether there is a loss scaler."""
        return self.stepping.precision is not None and self.stepping.precision.scaler is not None

    def _saving(self) -> dict[str, Any]:
        names = ["model", *(written.name for written in self.optimizers), *(["scaler"] if self._scales else [])]
        states = [(f'"{name}": ', f"{name}.state_dict()") for name in names]
        return {
            "save_head": define("save", self._save_parameters(), "None"),
            "save_state": lay(Call("{", (*states, ('"iteration": ', "iteration")), "}"), 4, "state = "),
            "ema": self.hooks.averages,
        }


def _with_version(distribution: str) -> str:
    """A distribution with the version that is installed here; the bare name where there is none."""
    try:
        return f"{distribution} {version(distribution).partition('+')[0]}"
    except PackageNotFoundError:
        return distribution


def _plain(words: str) -> str:
    """Text that a docstring holds without a backslash."""
    return words.replace("\\", "/").replace('"', "'")


def _pass_seed(seed: str, number: str) -> str:
    """The seed of a pass over the data, as ``optimctl.data.pass_seed`` computes it."""
    product = f"{seed} * {SEEDS_APART:_}"
    return f"{product} % 2**32" if number == "0" else f"({product} + {number}) % 2**32"


def _assigned(data: Data) -> Iterator[str]:
    """The lines that make a loader under its name."""
    yield from data.before
    if not data.reseeds:
        yield "# Its own generator: going through it leaves torch's random numbers alone."
    yield lay(data.expression, 4, f"{data.name} = ")
    yield from data.after


def _only(data: Data) -> list[str]:
    """The lines that make a loader and return it."""
    if data.after:
        return [*_assigned(data), f"return {data.name}"]
    *lines, _ = _assigned(data)
    return [*lines, lay(data.expression, 4, "return ")]


def _inputs(data: Data) -> str:
    return "inputs" if data.batch == "pair" else "*inputs"


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "pieces")
    return jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )


def _piece(name: str, /, **context: Any) -> str:
    return _templates().get_template(f"{name}.jinja").render(context).strip("\n")


__all__ = ["write_script"]
