"""The program ``optimctl``: its commands, and what a person sees when one of them fails."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from optimctl import __version__
from optimctl.cli import completion, output
from optimctl.cli.diff import diff
from optimctl.cli.export import export
from optimctl.cli.find_lr import find_lr
from optimctl.cli.importing import import_
from optimctl.cli.init import init
from optimctl.cli.inspect import inspect
from optimctl.cli.options import wants_traceback
from optimctl.cli.plugins import plugins
from optimctl.cli.run import run
from optimctl.cli.schema import schema
from optimctl.cli.validate import validate
from optimctl.errors import OptimctlError

BUG = 3


@click.group(
    commands=[init, validate, inspect, diff, find_lr, run, export, import_, plugins, schema],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="optimctl %(version)s")
def program() -> None:
    """Run, dry-run, inspect and export PyTorch training jobs written in TOML."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with its exit code, or answer the shell that completes a command line."""
    if completion.VARIABLE in os.environ:
        sys.exit(completion.complete(program, os.environ[completion.VARIABLE]))
    sys.exit(exit_code(list(sys.argv[1:] if arguments is None else arguments)))


def exit_code(arguments: list[str]) -> int:
    """Run the program; every error becomes a message and an exit code here, and nowhere else."""
    context: click.Context | None = None
    try:
        with _terminable(arguments), program.make_context("optimctl", arguments) as context:
            program.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OptimctlError as error:
        output.error(error, with_traceback=wants_traceback(context))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 128 + signal.SIGINT
    except _Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; leave without a complaint
        return 0
    except Exception:
        output.bug()
        return BUG
    return 0


class _Terminated(BaseException):
    """SIGTERM has come; what is half-written is taken away on the way out."""


@contextmanager
def _terminable(arguments: list[str]) -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that nothing is left half-done; a second one ends it at once.

    Not so `run`, which ends with a checkpoint when the first comes, and is left alone for the second. Where somebody else has asked
    for the signal, or for none, it stays theirs.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if arguments[:1] == ["run"] or not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() == process:
            raise _Terminated
        os.kill(os.getpid(), number)  # a process that was forked, such as one that loads data

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
