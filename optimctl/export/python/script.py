"""The script as a whole: which functions a job needs, and in which order they stand; its header, and its command line.

In this room: ``write_script``. The functions come from the rooms beside.
"""

from __future__ import annotations

import builtins
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from importlib_metadata import PackageNotFoundError, version

import optimctl
from optimctl.errors import visible
from optimctl.export.python.checkpoints import save_function
from optimctl.export.python.clashes import clashes
from optimctl.export.python.collect import Collected, collect
from optimctl.export.python.evaluating import evaluate_function
from optimctl.export.python.freezing import freezing
from optimctl.export.python.imports import IMPORTABLE, PACKAGES, Imports, names_in
from optimctl.export.python.iterating import stepping_functions
from optimctl.export.python.layout import WIDTH, call, lay, literal, text, tidy
from optimctl.export.python.loading import make_loaders, passes
from optimctl.export.python.loop import train_function
from optimctl.export.python.parts import functions_of
from optimctl.export.python.records import report_function
from optimctl.export.python.scheduling import plateau_context
from optimctl.export.python.templates import piece
from optimctl.plugins import PROJECT
from optimctl.train.run import default_work_dir

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.job.schema import Job

LONGEST_NAME = 56
"""Letters of a job's name in the title."""


def write_script(assembly: Assembly) -> str:
    """A job's script.

    Raises:
        JobError: All that cannot be exported, with its places.
    """
    taken = IMPORTABLE.union(dir(builtins))
    while True:
        of = collect(assembly, taken)
        own_lines = _own_lines(of)
        more = clashes(own_lines, of.imports.bound, {one.name: one.planned.maker for one in of.optimizers})
        if not more:
            return tidy("\n\n".join([_header(of, own_lines), of.imports.lines(own_lines), own_lines]))
        taken |= more  # it ends: what is called otherwise for this is not called so again


def _own_lines(of: Collected) -> str:
    """All but the docstring and the import statements."""
    return piece(
        "script",
        parser=lay(
            call("argparse.ArgumentParser", description=text(f"Train {_short(of.job.name)}.".replace("%", "%%"))),
            4,
            "parser = ",
        ),
        window=of.stepping.window,
        log_every=of.job.log.interval,
        body="\n\n\n".join(_body(of)),
        arguments=list(_arguments(of)),
        refused=_refused(of),
    )


# --- the header


def _header(of: Collected, own_lines: str) -> str:
    """The docstring."""
    about = _about(of.job, _needs(of.imports, own_lines))
    filled = textwrap.fill(_plain(about), WIDTH, break_long_words=False, break_on_hyphens=False)
    return f'"""Train `{_short(of.job.name)}` with plain PyTorch.\n\n{filled}\n"""'


def _about(job: Job, needs: Iterator[str]) -> str:
    """Where the script comes from, and what it needs."""
    source = f"the job {job.file.name}" if job.file else "a job made in Python"
    options = f" with {' '.join(job.overrides)}" if job.overrides else ""
    *most, last = dict.fromkeys(needs)
    listed = f"{', '.join(most)} and {last}" if most else last
    return (
        f"Exported by optimctl {optimctl.__version__} from {source}{options}; it gives the losses and the weights of `optimctl run`, "
        f"without optimctl. It needs {listed}."
    )


def _needs(imports: Imports, own_lines: str) -> Iterator[str]:
    """The distributions that the script needs, with the versions that are installed here."""
    used = names_in(own_lines)
    for name in ["torch", *(package for name, package in PACKAGES.items() if name in used)]:
        yield _with_version(name)
    for plugin in imports.plugins.values():
        is_local = plugin.distribution == PROJECT
        yield "the modules of its project" if is_local else f"{plugin.distribution} {plugin.version}"


def _with_version(distribution: str) -> str:
    """A distribution with the version that is installed here; the bare name where there is none."""
    try:
        return f"{distribution} {version(distribution).partition('+')[0]}"
    except PackageNotFoundError:
        return distribution


def _plain(words: str) -> str:
    """Text that a docstring holds without a backslash."""
    return visible(words).replace("\\", "/").replace('"', "'")


def _short(name: str) -> str:
    """A job's name, as the first line of a docstring has room for it."""
    shown = _plain(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 3]}..."


# --- the functions


def _body(of: Collected) -> Iterator[str]:
    """The functions, each before it is used."""
    yield from functions_of([of.model, of.train, *([of.val] if of.val else [])])
    yield make_loaders(of)
    yield from _device_functions(of)
    freeze = freezing(of.assembly, of.frozen)
    if freeze:
        yield freeze
    yield from _optimizer_functions(of)
    yield from of.scheduling.functions
    yield from _task_functions(of)
    yield from _loop_functions(of)
    if of.val is not None:
        yield evaluate_function(of, of.val)
    if of.hooks.trackers.adds_columns:
        yield piece("add_row")
    yield report_function(of)
    yield save_function(of)
    yield train_function(of)


def _device_functions(of: Collected) -> Iterator[str]:
    if of.job.job.device == "auto":
        yield piece("pick_device")
    if "any" in (of.train.batch, of.val.batch if of.val else ""):
        yield piece("to_device")


def _optimizer_functions(of: Collected) -> Iterator[str]:
    """What makes the optimizers, and before each what it calls; what several call is there once."""
    lines: list[str] = []
    for written in of.optimizers:
        lines += [*written.functions, written.maker(written.name in of.stepping.starts_momentum)]
    yield from dict.fromkeys(lines)


def _task_functions(of: Collected) -> Iterator[str]:
    if of.task.kind == "model":
        loaders = [of.train, *([of.val] if of.val is not None else [])]
        yield piece("losses_of", is_listed=all(one.batch != "any" for one in loaders))
        if of.val is not None:
            yield piece("samples_in")
    if of.task.is_foreign:
        yield piece("by_name")
        if not of.stepping.has_closure:
            yield piece("detached")
            yield piece("means")


def _loop_functions(of: Collected) -> Iterator[str]:
    """What the loop calls, beside what has rooms of its own."""
    if of.is_endless:
        yield passes(of.train)
    for number, plateau in enumerate(of.scheduling.plateaus, 1):
        yield piece("plateau", **plateau_context(plateau, number))
    if of.hooks.averages is not None:
        yield piece("averages", ema=of.hooks.averages)
    yield from stepping_functions(of)


# --- the command line


def _arguments(of: Collected) -> Iterator[str]:
    job, length = of.job, of.assembly.length
    yield f'parser.add_argument("--seed", type=int, default={job.job.seed})'
    device = "pick_device()" if job.job.device == "auto" else text(job.job.device)
    yield f'parser.add_argument("--device", default={device})'
    if length.max_iters is not None:
        yield f'parser.add_argument("--iterations", type=int, default={length.max_iters})'
    else:
        yield f'parser.add_argument("--epochs", type=int, default={length.max_epochs})'
    for written in of.optimizers:
        if written.lr:
            name = f'"--{written.lr.replace("_", "-")}"'
            yield lay(call("parser.add_argument", name, type="float", default=literal(written.lr_value)), 4)
    work_dir = call("Path", literal(default_work_dir(job).as_posix()))
    yield lay(call("parser.add_argument", '"--work-dir"', type="Path", default=work_dir), 4)


def _refused(of: Collected) -> dict[str, str] | None:
    """The lengths of a run that the schedule is not written for."""
    wrong = {"shorter", "longer"} - of.scheduling.fits
    if not wrong:
        return None
    length = of.assembly.length
    name, count = ("epochs", length.max_epochs) if length.max_iters is None else ("iterations", length.max_iters)
    sign, how = {1: (">", "at most "), 2: ("!=", "")}[len(wrong)] if "longer" in wrong else ("<", "at least ")
    return {
        "condition": f"args.{name} {sign} {count}",
        "message": f"the schedule is written for {how}{count} {name}",
    }


__all__ = ["write_script"]
