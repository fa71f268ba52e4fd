"""The script as a whole: which pieces a job needs, what they know, and their order.

In this room: ``write_script``. The pieces stand in ``pieces/``: templates, each a function or a class that is Python but for what
depends on the job. The functions of models, data, groups and schedules come from the rooms beside.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import torch

import optimctl
from optimctl.export.python.collect import Collected, collect
from optimctl.export.python.layout import WIDTH, Call, Expression, call, define, lay, literal, text, tidy
from optimctl.export.python.needed import needed
from optimctl.export.python.optimizers import Written, freezing
from optimctl.export.python.parts import Data, functions_of, weights_lines
from optimctl.export.python.scheduling import plateau_context
from optimctl.export.python.stepping import loss_function
from optimctl.plugins import PROJECT
from optimctl.train.run import default_work_dir

if TYPE_CHECKING:
    from optimctl.assemble import Assembly

RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        args argparse batch batches best by_name compiled criterion csv detached device epoch epochs evaluate file freeze functools
        generator iteration iterations itertools layer_of losses losses_of loss_of main make_groups make_loaders make_model
        make_optimizer make_points math means metrics model nn np optimizer optimizer_of parameters_of parser passes pick_device
        random report samples_in save saved scaler state steppers task to_device torch train update values wandb window
        Any Averages Callable DataLoader Iterator Path Plateau Stepper SummaryWriter Tensor TensorDataset LOG_EVERY WINDOW
        """,
    )
)
"""Names that a plugin cannot have in a script."""


def write_script(assembly: Assembly) -> str:
    """A job's script.

    Raises:
        JobError: All that cannot be exported, with its places.
    """
    return _Script(collect(assembly, RESERVED)).text()


class _Script:
    """A script that is being put together."""

    def __init__(self, of: Collected) -> None:
        self.assembly, self.job, self.imports = of.assembly, of.assembly.job, of.imports
        self.model, self.train, self.val, self.task, self.frozen = of.model, of.train, of.val, of.task, of.frozen
        self.optimizers, self.stepping, self.scheduling = of.optimizers, of.stepping, of.scheduling
        self.hooks = of.hooks

    # --- the whole

    def text(self) -> str:
        """The script, formatted."""
        body = "\n\n\n".join(self._body())
        arguments = list(self._arguments())
        context = {
            **self._constants(),
            "title": f"Train `{_plain(self.job.name)}` with plain PyTorch.",
            "about": textwrap.fill(_plain(self._about()), WIDTH, break_long_words=False),
            "body": body,
            "arguments": arguments,
            "description": f"Train {_plain(self.job.name)}.",
        }
        rest = _piece("script", **context, imports="")
        return tidy(_piece("script", **context, imports=self.imports.lines(rest)))

    def _about(self) -> str:
        """Where the script comes from, and what it needs."""
        source = f"the job {self.job.file.name}" if self.job.file else "a job made in Python"
        options = f" with {' '.join(self.job.overrides)}" if self.job.overrides else ""
        needs = {f"torch {torch.__version__.partition('+')[0]}": None}
        for plugin in self.imports.plugins.values():
            local = plugin.distribution == PROJECT
            needs["the modules of its project" if local else f"{plugin.distribution} {plugin.version}"] = None
        *most, last = needs
        listed = f"{', '.join(most)} and {last}" if most else last
        return (
            f"Exported by optimctl {optimctl.__version__} from {source}{options}; it gives the losses and the weights of `optimctl run`, "
            f"without optimctl. It needs {listed}."
        )

    def _constants(self) -> dict[str, Any]:
        return {"window": self.stepping.window, "log_every": self.job.log.interval}

    def _body(self) -> Iterator[str]:
        """The functions, each before it is used."""
        yield from functions_of([self.model, self.train, *([self.val] if self.val else [])])
        yield self._make_loaders()
        yield from self._device_pieces()
        freeze = freezing(self.assembly, self.frozen)
        if freeze:
            yield freeze
        for written in self.optimizers:
            yield from written.functions
        if len(self.optimizers) == 1:
            yield self._make_optimizer(self.optimizers[0])
        yield from self.scheduling.functions
        yield from self._task_pieces()
        yield from self._helper_pieces()
        if self.val is not None:
            yield _piece("evaluate", **self._evaluation())
        yield _piece("report", **self._reporting())
        yield _piece("save", **self._saving())
        yield _piece("train", **self._training())

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
        stepping = self.stepping
        if self.is_endless:
            yield _piece("passes", train=self.train)
        for number, plateau in enumerate(self.scheduling.plateaus, 1):
            yield _piece("plateau", **plateau_context(plateau, number))
        if self.hooks.averages is not None:
            yield _piece("averages", ema=self.hooks.averages)
        if stepping.steppers is not None:
            options = {name for one in stepping.steppers.values() for name in one}
            yield _piece(
                "stepper",
                task=self.task,
                stepper={"init": stepping.stepper_head(), "clips": "clip" in options, "windows": "window" in options},
                amp=self._amp("device"),
                creates_graph=stepping.creates_graph,
            )
        if stepping.has_closure:
            head = define("update", self._update_parameters(), "Tensor")
            yield _piece(
                "update",
                loss_of=loss_function(self.task, stepping.precision, _inputs(self.train)),
                update_head=head,
                clip=lay(stepping.clip, 8) if stepping.clip else "",
                creates_graph=stepping.creates_graph,
            )

    # --- main

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
                yield lay(call("parser.add_argument", name, type="float", default=repr(written.lr_value)), 4)
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

    def _training(self) -> dict[str, Any]:
        stepping, job = self.stepping, self.job
        best = job.checkpoint.save_best
        return {
            "train_doc": "Train from the first iteration to the last, as `args` says.",
            "seeds_all": any(plugin.distribution for plugin in self.imports.plugins.values()),
            "deterministic": job.job.deterministic,
            "creates_graph": stepping.creates_graph,
            "make": list(self._make()),
            "lengths": list(self._lengths()),
            "scheduling": self.scheduling,
            "is_endless": self.is_endless,
            "trackers": self.hooks.trackers,
            "closure": self._closure() if stepping.has_closure else "",
            "update_arguments": ", ".join(name for name in self._update_parameters() if name != "losses"),
            "window": stepping.window,
            "state": list(self._state()),
            "forward": self.forward,
            "switches": stepping.switches,
            "train": self.train,
            "train_unpack": self._unpack(self.train),
            "task": self.task,
            "steppers": "stepper" if len(self.optimizers) == 1 else "steppers",
            "amp": self._amp("device.type"),
            "compute": self._compute(),
            "backward": self._backward(),
            "step": list(self._step()),
            "kept_loss": "detached(found)" if self.task.is_foreign else "loss.detach()",
            "log": list(self._log()),
            "validates": self.val is not None,
            "val_interval": job.train_cfg.val_interval if job.train_cfg else 1,
            "ema": self.hooks.averages,
            "evaluate": f"evaluate({', '.join(self._evaluate_arguments())})",
            "report_arguments": "".join(f"{name}, " for name in self.hooks.trackers.arguments),
            "stopping": self.hooks,
            "best": None
            if best is None
            else {"metric": text(best.metric), "sign": ">" if self._best_is_max() else "<"},
            "save": self._save_call(),
            "save_interval": job.checkpoint.interval,
            "keep": job.checkpoint.keep,
        }

    def _make_loaders(self) -> str:
        """The function that makes the data."""
        loaders = [self.train, *([self.val] if self.val is not None else [])]
        *lines, last = [line for loader in loaders for line in loader.lines]
        if len(loaders) == 2:
            kind, doc = "tuple[DataLoader, DataLoader]", "The data to train and to validate on."
            lines += [last, "return train_loader, val_loader"]
        else:
            kind, doc = "DataLoader", "The data to train on."
            made = last.removeprefix("train_loader = ")
            lines += [f"return {made}"] if made != last else [last, "return train_loader"]
        body = "\n".join(f"    {line}" for line in [f'"""{doc}"""', *lines])
        return f"{define('make_loaders', {}, kind)}\n{body}"

    def _make_optimizer(self, written: Written) -> str:
        """The function that makes the only optimizer."""
        parameters = {"model": "nn.Module", **({written.lr: "float"} if written.lr else {})}
        head = define("make_optimizer", parameters, "torch.optim.Optimizer")
        lines = ['"""The optimizer, with its groups."""', lay(written.expression, 4, "return ")]
        if written.name in self.stepping.starts_momentum:
            lines = [lines[0], lay(written.expression, 4, "optimizer = "), *_START_MOMENTUM, "return optimizer"]
        return "\n".join([head, *(f"    {line}" for line in lines)])

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
        yield from self._make_optimizers()
        yield from self._groups()
        precision = self.stepping.precision
        if precision is not None and precision.dtype == "dtype":
            yield 'dtype = torch.bfloat16 if device.type == "cpu" else torch.float16'
        if precision is not None and precision.scaler:
            yield lay(precision.scaler, 4, "scaler = ")
        if self.hooks.averages is not None:
            yield "averages = Averages(model)"

    def _make_optimizers(self) -> Iterator[str]:
        if len(self.optimizers) == 1:
            lr = self.optimizers[0].lr
            yield f"optimizer = make_optimizer(model{f', args.{lr}' if lr else ''})"
            return
        for written in self.optimizers:
            items = written.expression.items
            if written.lr:
                items = tuple((before, _with_args(value, written.lr)) for before, value in items)
            yield lay(Call(written.expression.opening, items), 4, f"{written.name} = ")

    def _groups(self) -> Iterator[str]:
        """All groups together, and what is clipped, in their order."""
        names = [f"{written.name}.param_groups" for written in self.optimizers]
        groups = names[0] if len(names) == 1 else "groups"
        if len(names) > 1 and self.stepping.steppers is None and (self.stepping.clip or self.scheduling.uses_groups):
            yield f"groups = {' + '.join(names)}"
        if self.stepping.clip:
            yield f'parameters = [p for group in {groups} for p in group["params"]]'

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
            yield from self.stepping.stepper_lines()

    def _state(self) -> Iterator[str]:
        if self.job.checkpoint.save_best is not None:
            yield f"best = {'-' if self._best_is_max() else ''}math.inf"
        if self.job.checkpoint.keep is not None:
            yield "saved: list[Path] = []"
        yield from self.hooks.state

    def _best_is_max(self) -> bool:
        best = self.job.checkpoint.save_best
        rules = getattr(self.assembly.task, "metric_rules", {})
        return best is not None and (best.rule or rules.get(best.metric, "max")) == "max"

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
        return f"found = by_name({losses})"

    def _backward(self) -> str:
        loss = 'found["loss"]' if self.task.is_foreign else "loss"
        if self.stepping.window > 1:
            loss = f"({loss} / size)"
        if self.stepping.precision is not None and self.stepping.precision.scaler:
            loss = f"scaler.scale({loss.removeprefix('(').removesuffix(')')})"
        return f"{loss}.backward({'create_graph=True' if self.stepping.creates_graph else ''})"

    def _step(self) -> Iterator[str]:
        """What ends a window."""
        names = [written.name for written in self.optimizers]
        precision = self.stepping.precision
        scaled = precision is not None and bool(precision.scaler)
        if self.task.kind == "steps" or self.stepping.has_closure:
            yield from ["averages.update()"] if self.hooks.averages is not None else []
            return
        if scaled:
            yield from (f"scaler.unscale_({name})" for name in names)
        if self.stepping.clip:
            yield lay(self.stepping.clip, 16 if self.stepping.window > 1 else 12)
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

    def _closure(self) -> str:
        given = {
            "supervised": f"{self.forward}, criterion, {_inputs(self.train).lstrip('*')}, targets",
            "model": f"{self.forward}, batch",
        }.get(self.task.kind, f"task, {self.forward}, batch")
        return f"functools.partial(loss_of, {given})"

    def _update_parameters(self) -> dict[str, str]:
        clips = {"parameters": "list[nn.Parameter]"} if self.stepping.clip else {}
        return {"optimizer": "torch.optim.Optimizer", **clips, "losses": "list[Callable[[], Tensor]]"}

    def _log(self) -> Iterator[str]:
        named = not (self.task.kind == "supervised" or self.stepping.has_closure)
        rates: list[tuple[str, Expression]] = []
        for name, (base, entry) in self.scheduling.report.items():
            value = f"{base} * {entry}"
            if len(value) + len(name) > 59:
                variable = f"{name.partition('.')[0]}_factor"
                yield f"{variable} = {entry}"
                value = f"{base} * {variable}"
            rates.append((f"{text(name)}: ", value))
        loss = "sum(x.item() for x in losses) / len(losses)"
        first: list[tuple[str, Expression]] = [("**", "means(losses)") if named else ('"loss": ', loss)]
        plain = first[0][1] if named and not rates else Call("{", (*first, *rates), "}")
        yield lay(plain, 16, "values = ")
        yield f'report({"".join(f"{name}, " for name in self.hooks.trackers.arguments)}"train", epoch, iteration, values)'
        yield 'if not math.isfinite(values["loss"]):'
        yield '    raise SystemExit(f"the run diverged by iteration {iteration}")'
        yield "losses.clear()"

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
            "loader": "DataLoader",
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
        }

    def _evaluate_arguments(self) -> list[str]:
        task = [self.task.variable] if self.task.variable else []
        reseeds = self.val is not None and self.val.reseeds
        return [self.forward, *task, "val_loader", "device", *(["args.seed"] if reseeds else [])]

    def _reporting(self) -> dict[str, Any]:
        trackers = self.hooks.trackers
        own = {"split": "str", "epoch": "int", "iteration": "int", "values": "dict[str, float]"}
        return {"report_head": define("report", {**trackers.parameters, **own}, "None"), "trackers": trackers}

    def _save_parameters(self) -> dict[str, str]:
        optimizers = {written.name: "torch.optim.Optimizer" for written in self.optimizers}
        averages = {"averages": "Averages"} if self.hooks.averages is not None else {}
        return {"file": "Path", "model": "nn.Module", **optimizers, **averages, "iteration": "int"}

    def _save_call(self) -> str:
        """The call, as it stands in a block that is moved to the right as a whole."""
        column = 8 if self.job.checkpoint.interval == 1 else 12
        return lay(call("save", *self._save_parameters()), column).replace("\n" + " " * column, "\n")

    def _saving(self) -> dict[str, Any]:
        names = [written.name for written in self.optimizers]
        state = Call(
            "{",
            (('"model": ', "model.state_dict()"), *self._optimizer_states(names), ('"iteration": ', "iteration")),
            "}",
        )
        return {
            "save_head": define("save", self._save_parameters(), "None"),
            "save_state": lay(state, 4, "state = "),
            "ema": self.hooks.averages,
        }

    def _optimizer_states(self, names: list[str]) -> list[tuple[str, str]]:
        return [(f'"{name}": ', f"{name}.state_dict()") for name in names]


_START_MOMENTUM = (
    "for group in optimizer.param_groups:",
    '    for parameter in group["params"]:',
    "        # Where float16 skips the first step, torch leaves the momentum undefined.",
    '        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)',
)


def _with_args(value: Any, lr: str) -> Any:
    """An argument in which the learning rate is the command line's."""
    if isinstance(value, Call):
        return Call(value.opening, tuple((before, _with_args(item, lr)) for before, item in value.items), value.closing)
    return re.sub(rf"(?<![\w.]){lr}\b(?!=)", f"args.{lr}", value)


def _plain(words: str) -> str:
    """Text that a docstring holds without a backslash."""
    return words.replace("\\", "/").replace('"', "'")


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
