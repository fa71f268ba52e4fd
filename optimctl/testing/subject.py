"""The plugin that is checked, and how checks are run.

In this room: ``named`` (any object as a plugin that a job can name) and ``run_checks`` (every check, all failures at once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from optimctl.errors import CheckFailed, JobError, Problem, UsageError, raised_text
from optimctl.plugins import KINDS, PROJECT, Plugin, installed

Subject = TypeVar("Subject")
Check = Callable[[Subject], Iterator[str]]
"""A check yields a sentence for each thing that is wrong: what it is, why it matters, what to do."""

checked = SimpleNamespace()
"""The objects that are being checked, where a plugin's ``module:attribute`` can point at them."""


@contextmanager
def named(kind: str, subject: Any) -> Iterator[str]:
    """The name under which a job finds ``subject`` as a plugin of ``kind`` inside, so that it is checked as it will be used.

    Args:
        subject: What stands behind an entry point, or a plugin's name, which is its own.

    Raises:
        PluginError: No plugin has that name.
        UsageError: It is neither a name nor callable.
    """
    if isinstance(subject, str):
        yield installed().get(kind, subject).qualified
        return
    if not callable(subject):
        raise UsageError(f"what is checked must be {KINDS[kind].contract}, or the name of a plugin; not {subject!r}")
    name = getattr(subject, "__name__", type(subject).__name__).strip("<>")
    claims = cast("dict[str, dict[str, tuple[Plugin, ...]]]", installed().claims).setdefault(kind, {})
    before = claims.get(name, ())
    setattr(checked, name, subject)
    others = tuple(claim for claim in before if claim.distribution != PROJECT)
    claims[name] = (Plugin(kind, name, PROJECT, "", f"{__name__}:checked.{name}"), *others)
    try:
        yield f"{PROJECT}/{name}"
    finally:
        delattr(checked, name)
        claims[name] = before
        if not before:
            del claims[name]


def run_checks(plugin: str, subject: Subject, checks: Mapping[str, Check[Subject]], first: Sequence[str] = ()) -> None:
    """Run every check, in order.

    Args:
        plugin: What is checked, for the message.
        first: The checks without which the others say nothing: where one of these fails, the rest is left out.

    Raises:
        CheckFailed: With all that was found; its cause is the first error that was raised on the way.
    """
    problems: list[Problem] = []
    cause: Exception | None = None
    for code, check in checks.items():
        try:
            problems += [Problem((), sentence, code) for sentence in check(subject)]
        except Exception as error:
            problems.append(Problem((), told(error, check.__doc__ or ""), code))
            cause = cause or error
        if problems and code in first:
            break
    if problems:
        raise CheckFailed(plugin.removeprefix(f"{PROJECT}/"), problems) from cause


def told(error: Exception, must_hold: str) -> str:
    """What was raised, in one line: a job's problem as it is, anything else with its own innermost frame and what was checked."""
    if isinstance(error, JobError):
        return "; ".join(str(problem) for problem in error.problems)
    return f"it raised {raised_text(error)}; what must hold: {must_hold}"
