"""A model as a program: built, called as its task calls it, and traced by torch.export with a batch of any size.

What cannot be traced is told with torch's own sentence and the line of the model that it is about.
"""

from __future__ import annotations

import inspect
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from optimctl.assemble import build_part, seed_everything
from optimctl.data import build_dataloader, one_pass
from optimctl.errors import JobError, OptimctlError, Problem, UsageError, frame_text, is_library, own_frame, raised_text

if TYPE_CHECKING:
    from optimctl.job.schema import Job

DATA = ("val_dataloader", "test_dataloader", "train_dataloader")
"""Where the example comes from: the first that the job has."""
OF_PROCESSES = (
    "num_workers",
    "prefetch_factor",
    "persistent_workers",
    "multiprocessing_context",
    "timeout",
    "pin_memory",
)
"""What one batch does without."""
MOST = 500
"""Characters of a list of names that does not end."""
GUARDS = "torch.fx.experimental.symbolic_shapes"
"""The logger that hears of each decision on a size, while the line that asks for it is running."""


@dataclass(frozen=True)
class Call:
    """How a task calls the model."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def leaves_of(self, model: Callable[..., Any]) -> list[Any]:
        """What ``model`` returns for these arguments, as a flat list."""
        with torch.no_grad():
            leaves: list[Any] = pytree.tree_leaves(model(*self.args, **self.kwargs))
        return leaves

    @property
    def batch_size(self) -> int:
        """The first dimension of the first tensor; 0 where there is none."""
        leaves = pytree.tree_leaves((self.args, dict(self.kwargs)))
        return next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), 0)

    def with_every_sample_twice(self) -> Call:
        """The same with twice the batch."""
        args, kwargs = self._mapped(
            lambda rows: torch.cat([rows, rows]), lambda other: other, (self.args, dict(self.kwargs))
        )
        return Call(self.model, args, kwargs)

    def shapes(self) -> dict[str, Any]:
        """For torch.export, by the names of the model's arguments: which dimensions are the batch's."""
        batch = Dim("batch", min=1)
        bound = inspect.signature(self.model.forward).bind(*self.args, **self.kwargs)
        shapes: dict[str, Any] = self._mapped(lambda _: {0: batch}, lambda _: None, dict(bound.arguments))
        return shapes

    def _mapped(self, of_rows: Callable[[Tensor], Any], of_others: Callable[[Any], Any], tree: Any) -> Any:
        """A tree with something in place of each tensor that has a row for each sample, and of everything else."""
        size = self.batch_size

        def put(leaf: Any) -> Any:
            return of_rows(leaf) if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size else of_others(leaf)

        return pytree.tree_map(put, tree)


def make_program(job: Job, weights: Mapping[str, Any]) -> tuple[ExportedProgram, float]:
    """The model of a job, with the weights of a checkpoint, as a program; and how far its outputs are from the model's at most.

    Raises:
        JobError: The job lacks a section, or a plugin refuses its arguments.
        UsageError: The weights do not fit the model, or torch.export cannot take it.
    """
    model = _model(job, weights)
    call = _example(job, model)
    with _told("the model"):
        expected = call.leaves_of(model)
    if call.batch_size == 0:
        raise UsageError(
            "pt2 is for models whose inputs are batches, and none of this one's is a tensor with a dimension"
        )
    program = _exported(call)
    return program, _apart(call.leaves_of(program.module()), expected)


def saved(program: ExportedProgram, extra_files: Mapping[str, str]) -> bytes:
    """A program as the bytes of a file."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=dict(extra_files))
    return file.getvalue()


def _model(job: Job, weights: Mapping[str, Any]) -> nn.Module:
    seed_everything(job.job.seed)
    model: nn.Module = _part(job, "models", "model")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reasons = " ".join(str(error).split("\n", 1)[-1].split())
        raise UsageError(f"the checkpoint does not fit the job's model: {reasons[:MOST]}") from error
    return model.eval()


def _part(job: Job, kind: str, section: str) -> Any:
    table = job.plain().get(section)
    if table is None:
        problem = Problem((section,), f"pt2 needs the table [{section}]", "missing-section")
        raise JobError(job.located([problem]))
    with _located(job):
        return build_part(kind, (section,), table, nn.Module if kind == "models" else object)


@contextmanager
def _located(job: Job) -> Iterator[None]:
    try:
        yield
    except JobError as error:
        raise JobError(job.located(error.problems)) from error


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What somebody's code raises inside is told with their line."""
    try:
        yield
    except OptimctlError:
        raise
    except Exception as error:
        raise UsageError(f"{what} raised {raised_text(error)}") from error


# --- how the task calls the model -------------------------------------------------------------------------------------


class _Called(BaseException):
    """Ends the task's work once it has called the model; no task means to catch it."""

    def __init__(self, call: Call) -> None:
        self.call = call


def _example(job: Job, model: nn.Module) -> Call:
    """The arguments with which the task calls the model on the first batch of the data, with two samples at least."""
    task, batch = _part(job, "tasks", "task"), _batch(job)
    evaluate = getattr(task, "evaluate", None) or getattr(task, "loss", None)

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Called(Call(model, args, kwargs))

    hook = model.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad(), _told(f"the task {type(task).__name__}"):
            if evaluate is not None:
                evaluate(model, batch)
    except _Called as called:
        call = called.call
        return call.with_every_sample_twice() if call.batch_size == 1 else call  # torch.export takes a 1 for a constant
    finally:
        hook.remove()
    raise UsageError(
        f"the task {type(task).__name__} does not call the model as a whole, so that pt2 cannot tell what its inputs are; "
        "safetensors has its weights"
    )


def _batch(job: Job) -> Any:
    name = next((name for name in DATA if getattr(job, name) is not None), None)
    if name is None:
        message = "pt2 needs data, for an example of the model's inputs: add [val_dataloader]"
        raise JobError(job.located([Problem(("val_dataloader",), message, "missing-section")]))
    table = {key: value for key, value in job.plain()[name].items() if key not in OF_PROCESSES}
    with _located(job), _told(f"the data of [{name}]"):
        loader = build_dataloader(table, (name,))
        batch = next(one_pass(loader, job.job.seed, 0), None)
    if batch is None:
        raise UsageError(f"the data of [{name}] gave no batch")
    return batch


# --- torch.export -----------------------------------------------------------------------------------------------------


def _exported(call: Call) -> ExportedProgram:
    try:
        with _silence():
            return _export(call)
    except Exception as error:
        constrained = str(error).startswith("Constraints violated")
        line = _line_of_guard(call) if constrained else own_frame(error)
        where = f" ({line})" if line else ""
        advice = "; a line that works for a batch of any size has x.shape[0] in place of len(x)" if constrained else ""
        raise UsageError(
            f"torch.export cannot take the model: {_sentence(error, constrained)}{where}{advice}"
        ) from error


def _export(call: Call) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(call.model, call.args, dict(call.kwargs), dynamic_shapes=call.shapes())


def _sentence(error: Exception, constrained: bool) -> str:
    """What torch says, without its advice on how to call it."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    if constrained:
        return lines[1].partition(". ")[0].removesuffix(".") if len(lines) > 1 else lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Where it fails, torch logs and prints whole programs; what matters of it is in the error."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _line_of_guard(call: Call) -> str | None:
    """The line of the model that made torch take the size of the batch for something special, as far as it can be found."""
    logger, watch = logging.getLogger(GUARDS), _Watch()
    before = logger.level
    logger.addFilter(watch)
    logger.setLevel(logging.INFO)
    try:
        with suppress(Exception):
            _export(call)
    finally:
        logger.setLevel(before)
        logger.removeFilter(watch)
    return watch.line


class _Watch(logging.Filter):
    """Sees where the first decision on a size is asked for; lets nothing through that was not wanted before."""

    line: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.line is None and "[guard added]" in str(record.msg):
            self.line = _running_line()
        return record.levelno >= logging.WARNING


def _running_line() -> str | None:
    """The innermost line that is neither torch's nor ours, of those that are running above this module."""
    frame = inspect.currentframe()
    names = []
    while frame is not None:
        names.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    inside = [index for index, (file, _, name) in enumerate(names) if file == __file__ and name == _export.__name__]
    theirs = [one for one in names[: inside[0] if inside else 0] if not is_library(one[0])]
    return frame_text(*theirs[0]) if theirs else None


def _apart(outputs: list[Any], expected: list[Any]) -> float:
    """The largest difference between tensors of two lists; 0 where they are equal to the last bit."""
    pairs = [(one, other) for one, other in zip(outputs, expected, strict=True) if isinstance(other, Tensor)]
    apart = [_distance(one, other) for one, other in pairs if not torch.equal(one, other)]
    return max(apart, default=0.0)


def _distance(one: Tensor, other: Tensor) -> float:
    distances = (one.double() - other.double()).abs()
    distances = distances[~(one.isnan() & other.isnan())]
    return float(distances.max()) if distances.numel() else 0.0


__all__ = ["Call", "make_program", "saved"]
