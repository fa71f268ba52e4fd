"""A model as a program: built, called as its task calls it, and traced by torch.export with a batch of any size.

What cannot be traced is told with torch's own sentence and the line of the model that it is about.
"""

from __future__ import annotations

import inspect
import io
import linecache
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from optimctl.assemble import build_part, seed_everything
from optimctl.data import build_dataloader, one_pass
from optimctl.errors import (
    JobError,
    OptimctlError,
    Problem,
    UsageError,
    frame_text,
    is_library,
    listing,
    own_frame,
    raised_text,
)

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
ADVICE = "; a line that works for a batch of any size has x.shape[0] in place of len(x)"
GUARDS = "torch.fx.experimental.symbolic_shapes"
"""The logger that hears of each decision on a size, while the line that asks for it is running."""


Rows = tuple[int | None, ...]
"""For each leaf of a call's arguments, which of its dimensions counts the samples."""


@dataclass(frozen=True)
class Call:
    """How a task calls the model."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    rows: Rows = ()

    @property
    def leaves(self) -> list[Any]:
        """The arguments, as a flat list."""
        return self._flat()[0]

    def leaves_of(self, model: Callable[..., Any]) -> list[Any]:
        """What ``model`` returns for these arguments, as a flat list."""
        with torch.no_grad():
            leaves: list[Any] = pytree.tree_leaves(model(*self.args, **self.kwargs))
        return leaves

    @property
    def batch_size(self) -> int:
        """How many samples there are; 0 where that is not to be seen."""
        counts = (leaf.shape[row] for leaf, row in zip(self.leaves, self.rows, strict=True) if row is not None)
        return next(counts, 0)

    def with_every_sample_twice(self) -> Call:
        """The same with twice the batch."""
        pairs = zip(self.leaves, self.rows, strict=True)
        args, kwargs = self._tree([leaf if row is None else torch.cat([leaf, leaf], row) for leaf, row in pairs])
        return replace(self, args=args, kwargs=kwargs)

    def shapes(self) -> dict[str, Any]:
        """For torch.export, by the names of the model's arguments: which dimensions are the batch's."""
        batch = Dim("batch", min=1)
        args, kwargs = self._tree([None if row is None else {row: batch} for row in self.rows])
        return dict(inspect.signature(self.model.forward).bind(*args, **kwargs).arguments)

    def _flat(self) -> tuple[list[Any], pytree.TreeSpec]:
        return pytree.tree_flatten((self.args, dict(self.kwargs)))

    def _tree(self, leaves: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with something else in place of each leaf."""
        tree: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(leaves, self._flat()[1])
        return tree


def make_program(job: Job, weights: Mapping[str, Any], extra_files: Mapping[str, str]) -> tuple[bytes, float]:
    """The model of a job, with the weights of a checkpoint, as the file of a program.

    Returns:
        The file; and how far the outputs of what torch makes of it are from the model's at most.

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
    _name_further_keywords(call)
    file = _saved(_exported(call), extra_files, expected)
    return file, _apart(call.leaves_of(_loaded(file, expected)), expected)


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
    task, (batch, larger) = _part(job, "tasks", "task"), _batches(job)
    call, grown = _call(task, model, batch), None
    if larger is not None:
        with suppress(UsageError):  # a task may want just so many
            grown = _call(task, model, larger)
    rows = _grown(call, grown) if grown else None
    if grown and rows:
        call, grown = replace(call, rows=rows), replace(grown, rows=rows)
        return grown if call.batch_size == 1 else call  # torch.export takes a 1 for a constant
    call = replace(call, rows=_as_many_as_the_first(call))
    return call.with_every_sample_twice() if call.batch_size == 1 else call


def _call(task: Any, model: nn.Module, batch: Any) -> Call:
    """How the task calls the model on a batch; behind it, the model is ready for inference, whatever the task has made of it."""
    evaluate = getattr(task, "evaluate", None) or getattr(task, "loss", None)

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Called(Call(model, args, kwargs))

    hook = model.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad(), _told(f"the task {type(task).__name__}"):
            if evaluate is not None:
                evaluate(model, batch)
    except _Called as called:
        return called.call
    finally:
        hook.remove()
        model.eval()
    raise UsageError(
        f"the task {type(task).__name__} does not call the model as a whole, so that pt2 cannot tell what its inputs are; "
        "safetensors has its weights"
    )


def _batches(job: Job) -> tuple[Any, Any]:
    """The first batch of the data, and the same with one of its samples once more; None where the loader does not collate samples."""
    name = next((name for name in DATA if getattr(job, name) is not None), None)
    if name is None:
        message = "pt2 needs data, for an example of the model's inputs: add [val_dataloader]"
        raise JobError(job.located([Problem(("val_dataloader",), message, "missing-section")]))
    table = {key: value for key, value in job.plain()[name].items() if key not in OF_PROCESSES}
    with _located(job), _told(f"the data of [{name}]"):
        loader = build_dataloader(table, (name,))
        keeper = _Keeper(loader.collate_fn)
        if loader.batch_sampler is not None:  # otherwise the data comes in batches, and a sample is one
            loader.collate_fn = keeper
        batch = next(one_pass(loader, job.job.seed, 0), None)
    if batch is None:
        raise UsageError(f"the data of [{name}] gave no batch")
    larger = None
    with suppress(Exception):  # somebody's collate function may want just so many
        larger = keeper.collate([*keeper.samples, keeper.samples[0]])
    return batch, larger


class _Keeper:
    """Collates, and keeps the samples; none where they are collated in another process, or not at all."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate
        self.samples: list[Any] = []

    def __call__(self, samples: Any) -> Any:
        self.samples = list(samples) if isinstance(samples, list) else []
        return self.collate(samples)


def _grown(call: Call, grown: Call) -> Rows | None:
    """Which dimensions have become larger by one with one sample more; None where none has, or there are other arguments."""
    if len(call.leaves) != len(grown.leaves):
        return None
    rows = tuple(map(_longer, call.leaves, grown.leaves))
    return rows if any(row is not None for row in rows) else None


def _longer(one: Any, other: Any) -> int | None:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor) or one.ndim != other.ndim:
        return None
    longer = (dim for dim, (size, then) in enumerate(zip(one.shape, other.shape, strict=True)) if then == size + 1)
    return next(longer, None)


def _as_many_as_the_first(call: Call) -> Rows:
    """The first dimension of each tensor that is as long as the first one: the next best guess."""
    tensors = [leaf if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in call.leaves]
    size = next((len(tensor) for tensor in tensors if tensor is not None), 0)
    return tuple(0 if tensor is not None and len(tensor) == size else None for tensor in tensors)


def _name_further_keywords(call: Call) -> None:
    """What goes into a model's ``**kwargs`` becomes arguments with names, as torch.export cannot be told of sizes in there."""
    forward = call.model.forward
    signature = inspect.signature(forward)
    named = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    given = signature.bind(*call.args, **call.kwargs).arguments
    further = [name for one in signature.parameters.values() if one not in named for name in given.get(one.name, ())]
    if not further:
        return

    def with_names(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    parameters = [*named, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in further)]
    vars(with_names)["__signature__"] = signature.replace(parameters=parameters)
    call.model.forward = with_names


# --- torch.export -----------------------------------------------------------------------------------------------------


def _exported(call: Call) -> ExportedProgram:
    try:
        with _silence():
            return _export(call)
    except Exception as error:
        constrained = str(error).startswith("Constraints violated")
        where, advice = _guard(call) if constrained else (own_frame(error), "")
        told = f"{_sentence(error, constrained)}{f' ({where})' if where else ''}"
        raise UsageError(f"torch.export cannot take the model: {told}{advice}") from error


def _guard(call: Call) -> tuple[str | None, str]:
    """The line that made torch take the size of the batch for something special, and what to do about it."""
    line = _line_of_guard(call)
    if line is None:
        return None, ""
    return frame_text(*line), ADVICE if "len(" in linecache.getline(line.file, line.number) else ""


def _saved(program: ExportedProgram, extra_files: Mapping[str, str], outputs: list[Any]) -> bytes:
    """A program as the bytes of a file."""
    file = io.BytesIO()
    with _through_a_file(outputs), _silence():
        torch.export.save(program, file, extra_files=dict(extra_files))
    return file.getvalue()


def _loaded(file: bytes, outputs: list[Any]) -> nn.Module:
    """What whoever gets the file will have."""
    with _through_a_file(outputs), _silence():
        module: nn.Module = torch.export.load(io.BytesIO(file)).module()
    return module


@contextmanager
def _through_a_file(outputs: list[Any]) -> Iterator[None]:
    """What torch can make a program of, it may not be able to save, or to load again."""
    try:
        yield
    except Exception as error:
        others = {type(leaf).__name__ for leaf in outputs if not isinstance(leaf, (Tensor, int, float, type(None)))}
        what = f"returns more than tensors and numbers: {listing(sorted(others))}" if others else ""
        reason = what or f"makes a program that torch cannot save and load: {_sentence(error, constrained=False)}"
        raise UsageError(f"pt2 cannot hold the model, which {reason}; safetensors has its weights") from error


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
        with redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Line(NamedTuple):
    file: str
    number: int
    function: str


def _line_of_guard(call: Call) -> _Line | None:
    """That line, as far as it can be found: while the model is traced once more."""
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

    line: _Line | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.line is None and "[guard added]" in str(record.msg):
            self.line = _running_line()
        return record.levelno >= logging.WARNING


def _running_line() -> _Line | None:
    """The innermost line that is neither torch's nor ours, of those that are running above this module."""
    frame = inspect.currentframe()
    names = []
    while frame is not None:
        names.append(_Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    inside = [index for index, (file, _, name) in enumerate(names) if file == __file__ and name == _export.__name__]
    return next((one for one in names[: inside[0] if inside else 0] if not is_library(one.file)), None)


def _apart(outputs: list[Any], expected: list[Any]) -> float:
    """The largest difference between tensors of two lists; 0 where they are equal to the last bit."""
    pairs = [(one, other) for one, other in zip(outputs, expected, strict=True) if isinstance(other, Tensor)]
    apart = [_distance(one, other) for one, other in pairs if not torch.equal(one, other)]
    return max(apart, default=0.0)


def _distance(one: Tensor, other: Tensor) -> float:
    distances = (one.double() - other.double()).abs()
    distances = distances[~(one.isnan() & other.isnan())]
    return float(distances.max()) if distances.numel() else 0.0


__all__ = ["Call", "make_program"]
