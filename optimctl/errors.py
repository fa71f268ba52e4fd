"""What can go wrong, and how it is told.

In this room: ``Problem`` (one sentence about one key of a job), and every error that a user can meet, each with the exit
code of the process that it ends. Nothing here imports anything else of optimctl.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

Key = tuple[str | int, ...]
"""A path into a job: table names and array indices, as ``("param_scheduler", 0, "end")``."""

_WORKER = re.compile(
    r"Caught \w+ in DataLoader worker process.*Original Traceback \(most recent call last\):", re.DOTALL
)
_CLOSE = 0.6
"""From here on a name is close to another; 1 is the same."""
_FRAME = re.compile(r'File "(.+)", line (\d+), in (\S+)')


def key_text(key: Key) -> str:
    """A key as a job file writes it: dotted, quoted where a part is no bare key."""
    return ".".join(_part_text(part) for part in key)


def _part_text(part: str | int) -> str:
    text = str(part)
    bare = text.isascii() and text.replace("_", "").replace("-", "").isalnum()
    return text if bare else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def nearest(name: str, candidates: Iterable[str]) -> str:
    """``"; did you mean 'SGD'?"``, or nothing where no candidate is close to ``name``.

    Words that both end in say what sort of thing they are, and not which: ``MyOptimWrapperConstructor`` is not close to
    ``TSMOptimWrapperConstructor``, because ``My`` is not close to ``TSM``.
    """
    known = {candidate.lower(): candidate for candidate in sorted(set(candidates))}
    score, best = max(((_likeness(name, candidate), lower) for lower, candidate in known.items()), default=(0.0, ""))
    return f"; did you mean '{known[best]}'?" if score >= _CLOSE else ""


def _likeness(name: str, candidate: str) -> float:
    """How much of two names is the same, from 0 to 1; 0 at once where it cannot be enough."""
    ending = len(_common_words(name, candidate))
    one, other = name[: len(name) - ending].lower(), candidate[: len(candidate) - ending].lower()
    if not one or not other:  # one of them is the ending
        one, other = name.lower(), candidate.lower()
    short, long = sorted((one, other), key=len)
    is_shortened = bool(ending) and len(short) >= 3 and long.startswith(short)  # `CosineLR` for `CosineAnnealingLR`
    if 2 * len(short) < _CLOSE * (len(one) + len(other)):
        return _CLOSE if is_shortened else 0.0
    if sorted(one) == sorted(other):  # letters that changed places: `Adma` is `Adam`, though `Adamax` has it whole
        return 1.0
    import difflib  # only a mistake pays for it

    return max(difflib.SequenceMatcher(None, other, one).ratio(), _CLOSE * is_shortened)


def _common_words(one: str, other: str) -> str:
    """The capitalized words that two names end in: ``LR`` of ``CosineLR`` and ``LinearLR``."""
    length = next(
        (i for i, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), min(len(one), len(other))
    )
    ending = one[len(one) - length :]
    return ending[next((i for i, char in enumerate(ending) if char.isupper()), length) :]


def visible(text: str) -> str:
    """Text from elsewhere, with control characters spelled out: a plugin's name cannot paint the screen."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def listing(names: Iterable[str], most: int = 8) -> str:
    """``'a', 'b' and 3 more``: names for a sentence."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > most:
        return ", ".join(quoted[:most]) + f" and {len(quoted) - most} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


@dataclass(frozen=True)
class Place:
    """Where something was written: a file with line and column (from 1), or an option of the command line."""

    source: str
    line: int | None = None
    column: int | None = None
    excerpt: str | None = None
    """The offending line itself, for a caret under ``column``."""
    chain: tuple[str, ...] = ()
    """The files that led here through ``extends``, outermost first."""

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a job: the key it concerns, a sentence, and a stable code for scripts."""

    key: Key
    message: str
    code: str
    place: Place | None = None

    def __str__(self) -> str:
        parts = [str(self.place) if self.place else "", key_text(self.key), self.message]
        return ": ".join(part for part in parts if part)

    def below(self, *prefix: str | int) -> Problem:
        """The same problem, seen from a table that contains the one it was found in."""
        return replace(self, key=(*prefix, *self.key))


class OptimctlError(Exception):
    """Any error that is not a bug of optimctl; its text is fit for a screen."""

    exit_code = 2


class UsageError(OptimctlError):
    """The call itself is at fault: an option, an argument, a folder."""


class JobError(OptimctlError):
    """A job that cannot be used; ``problems`` holds all that was found, in the order of the file where it is known."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def single(cls, key: Key, message: str, code: str) -> JobError:
        """The error of one problem."""
        return cls([Problem(key, message, code)])

    def below(self, *prefix: str | int) -> JobError:
        """The same error, its keys seen from a table further out."""
        return JobError([problem.below(*prefix) for problem in self.problems])


class PluginError(OptimctlError):
    """A plugin that is unknown, ambiguous, cannot be imported or is not what its kind asks for."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def at(self, key: Key) -> JobError:
        """The same error, about the key of a job that named the plugin."""
        return JobError.single(key, self.message, self.code)


class CheckFailed(OptimctlError, AssertionError):
    """A plugin that does not do what its kind promises; ``problems`` holds all that was found, each with its check as ``code``."""

    exit_code = 1

    def __init__(self, plugin: str, problems: Sequence[Problem]) -> None:
        self.plugin = plugin
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{plugin} fails:", *(f"  {one.code}: {one.message}" for one in problems)]))

    @property
    def codes(self) -> set[str]:
        """The checks that failed."""
        return {problem.code for problem in self.problems}


class RunFailed(OptimctlError):
    """A run that began and could not go on: the user's code raised, the loss is not finite, the disk is full."""

    exit_code = 1


class RunInterrupted(OptimctlError):
    """A run that a signal ended, after its checkpoint was written."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def raised_text(error: BaseException) -> str:
    """What somebody else's code raised, and where: ``ValueError: widths is empty (resnet.py:41 in __init__)``."""
    text = str(error).strip()
    from_worker = _WORKER.search(text)
    if from_worker:
        return _told_by_worker(text[from_worker.end() :])
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frame = own_frame(error)
    return f"{told} ({frame})" if frame else told


def _told_by_worker(text: str) -> str:
    """What a data-loader process raised, out of the traceback that torch makes the message."""
    frames = _FRAME.findall(text)
    theirs = [frame for frame in frames if not is_library(frame[0])] or frames[-1:]
    message = text.strip().splitlines()[-1]
    return f"{message} ({frame_text(*theirs[-1])})" if theirs else message


def frame_text(filename: str, line: object, function: str) -> str:
    """A frame, as ``train.py:41 in forward``."""
    return f"{filename.replace(chr(92), '/').rsplit('/', 1)[-1]}:{line} in {function}"


def own_frame(error: BaseException) -> str | None:
    """The innermost frame that is neither optimctl's, torch's nor the standard library's, as ``train.py:41 in forward``.

    Where there is none (torch itself complained about a built-in part), the innermost frame of all.
    """
    import traceback  # only an error pays for it

    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return None
    theirs = [frame for frame in frames if not is_library(frame.filename)]
    frame = (theirs or [frame for frame in frames if not frame.filename.startswith("<")] or frames)[-1]
    return frame_text(frame.filename, frame.lineno, frame.name)


def is_ours(error: BaseException) -> bool:
    """Whether optimctl's own code raised ``error``: then it is a bug of ours, unless it is an ``OptimctlError``."""
    traceback = error.__traceback__
    if traceback is None:
        return True
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return _is_below(traceback.tb_frame.f_code.co_filename, "optimctl")


def is_library(filename: str) -> bool:
    """Whether a file is optimctl's, torch's or the standard library's, or none at all."""
    import sysconfig  # only an error pays for it

    standard = sysconfig.get_path("stdlib")
    in_standard = filename.startswith(standard) and "site-packages" not in filename
    return filename.startswith("<") or in_standard or any(_is_below(filename, name) for name in ("optimctl", "torch"))


def _is_below(filename: str, package: str) -> bool:
    import sys

    module = sys.modules.get(package)
    folder = getattr(module, "__file__", None)
    return folder is not None and filename.startswith(folder.removesuffix("__init__.py"))


__all__ = [
    "CheckFailed",
    "JobError",
    "Key",
    "OptimctlError",
    "Place",
    "PluginError",
    "Problem",
    "RunFailed",
    "RunInterrupted",
    "UsageError",
    "key_text",
    "nearest",
    "raised_text",
]
