"""A job from its file: read it and what it extends, lay the command's options over it, check all, tell all problems at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optimctl import plugins
from optimctl.errors import JobError, Key, Problem, key_text, nearest
from optimctl.job.merge import Dropped, element, merge, without
from optimctl.job.messages import MOST, most
from optimctl.job.options import overlay, parse_options
from optimctl.job.origins import Option, Origins, Source
from optimctl.job.read import read_text
from optimctl.job.schema import Inheritance, Job, read_inheritance, read_job
from optimctl.job.syntax import limit_problems, parse, split_key

MOST_FILES = 64
"""Files that one job is made of."""


def load_job(path: str | os.PathLike[str], overrides: Sequence[str] = (), unset: Sequence[str] = ()) -> Job:
    """The job that a file describes, resolved and checked; the plugins it names are looked up, not loaded.

    Args:
        overrides: ``KEY=VALUE`` each, as after ``--set``: a TOML value, or a string where it is none.
        unset: Keys, as after ``--unset``.

    Raises:
        JobError: With everything that is wrong with it, located, in the order of the file.
    """
    name = os.fspath(path)
    return _resolve(_Reader().read(name), overrides, unset, name)


def parse_job(text: str, name: str = "job.toml", overrides: Sequence[str] = (), unset: Sequence[str] = ()) -> Job:
    """The job that a text describes, as if it stood in a file called ``name``; see ``load_job``."""
    return _resolve(_Reader().read(name, text), overrides, unset, name)


def job_from_dict(data: Mapping[str, Any], overrides: Sequence[str] = (), unset: Sequence[str] = ()) -> Job:
    """A job from resolved plain values, without ``extends``; see ``load_job``."""
    return _resolve(_Reader([Source("", data)]), overrides, unset, None)


@dataclass
class _Reader:
    """Reads a file and all that it extends, each once, bases first."""

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    files: int = 1
    """How many it tried to read."""

    def read(self, name: str, text: str | None = None) -> _Reader:
        """Add the job's own file and its bases; what is wrong with them goes to ``problems``."""
        try:
            self._add(name, read_text(name) if text is None else text, ())
        except JobError as error:
            self.problems += error.problems
        return self

    def _add(self, name: str, text: str, chain: tuple[str, ...]) -> None:
        self.seen.add(os.path.realpath(name))
        data = parse(text, name, chain)
        unchecked = Source(name, data, text, chain)
        inheritance = _inheritance(unchecked)
        self._add_bases(unchecked, inheritance.extends)
        own = {key: value for key, value in data.items() if key not in ("extends", "unset")}
        self.sources.append(Source(name, own, text, chain, tuple(inheritance.unset)))

    def _add_bases(self, source: Source, bases: Sequence[str]) -> None:
        for index, base in enumerate(bases):
            key: Key = ("extends", index) if isinstance(source.data["extends"], list) else ("extends",)
            if self.files == MOST_FILES:
                too_many = Problem(key, f"a job is made of at most {MOST_FILES} files", "too-many")
                self.problems += _placed(source, [too_many])
                break
            self._add_base(source, key, base)

    def _add_base(self, source: Source, key: Key, base: str) -> None:
        path = os.path.normpath(os.path.join(os.path.dirname(source.name), base))  # noqa: PTH118, PTH120 - shown as it was written
        chain = (*source.chain, source.name)
        if os.path.realpath(path) in {os.path.realpath(name) for name in chain}:
            cycle = Problem(key, f"a file cannot build on itself: {' extends '.join((*chain, path))}", "cycle")
            self.problems += _placed(source, [cycle])
        elif os.path.realpath(path) not in self.seen:
            self.files += 1
            try:
                text = read_text(path, chain)
            except JobError as error:
                self.problems += _placed(source, [_at_extends(problem, key, path) for problem in error.problems])
                return
            try:
                self._add(path, text, chain)
            except JobError as error:
                self.problems += error.problems


def _inheritance(source: Source) -> Inheritance:
    """What the top of a file says of its base; the file holds nothing that no job can hold."""
    problems = most(limit_problems(source.data))
    if problems:
        raise JobError(_placed(source, problems))
    try:
        inheritance = read_inheritance(source.data)
    except JobError as error:
        raise JobError(_placed(source, error.problems)) from error
    if len(inheritance.unset) > MOST:
        too_many = Problem(("unset",), f"takes away at most {MOST} keys, not {len(inheritance.unset)}", "too-many")
        raise JobError(_placed(source, [too_many]))
    return inheritance


def _at_extends(problem: Problem, key: Key, path: str) -> Problem:
    """A file that cannot be read is told where it is named, but for a wrong byte in it."""
    return problem if problem.code == "encoding" else Problem(key, f"'{path}': {problem.message}", problem.code)


def _placed(source: Source, problems: Sequence[Problem]) -> list[Problem]:
    return [problem if problem.place else replace(problem, place=source.place(problem.key)) for problem in problems]


def _resolve(reader: _Reader, overrides: Sequence[str], unset: Sequence[str], file: str | None) -> Job:
    options, problems = parse_options(overrides, unset)
    problems = [*reader.problems, *problems]
    if problems:
        raise JobError(Origins(sources=tuple(reader.sources), file=file).located(problems))
    data, dropped, problems = _lay_over_each_other(reader.sources, options)
    problems = most(problems)
    origins = Origins(data, tuple(reader.sources), options, dropped, file)
    try:
        job = read_job(data, plugins.installed())
    except JobError as error:
        problems += error.problems
    if problems:
        raise JobError(origins.located(problems))
    job._origins = origins
    return job


def _lay_over_each_other(
    sources: Sequence[Source], options: Sequence[Option]
) -> tuple[dict[str, Any], tuple[Dropped, ...], list[Problem]]:
    """The resolved values, what was dropped on the way, and what could not be done."""
    data: dict[str, Any] = {}
    dropped: list[Dropped] = []
    problems: list[Problem] = []
    for source in sources:
        for index, text in enumerate(source.unset):
            data, found = _take_away(data, split_key(text), text)
            problems += _placed(source, [problem.below("unset", index) for problem in found])
        merged = merge(data, source.data)
        data, dropped = merged.data, [*dropped, *merged.dropped]
    for option in options:
        if option.flag == "--unset":
            data, found = _take_away(data, option.key, option.text)
            problems += [replace(problem, place=option.place) for problem in found]
    laid, found = overlay([option for option in options if option.flag == "--set"], data)
    merged = merge(data, laid, options=True)
    return merged.data, (*dropped, *merged.dropped), [*problems, *found]


def _take_away(data: dict[str, Any], key: Key | None, text: str) -> tuple[dict[str, Any], list[Problem]]:
    if key is None:
        return data, [Problem((), f"'{text}' is no key; write it dotted, as train_cfg.max_iters", "bad-key")]
    try:
        return without(data, key), []
    except LookupError:
        return data, [Problem((), _why_not_there(data, key), "nothing-to-unset")]


def _why_not_there(data: Any, key: Key) -> str:
    """Why a key cannot be taken away: what stands where it leaves what there is."""
    length = 0
    while length < len(key) - 1 and (inner := element(data, key[length])) is not None:
        data, length = inner, length + 1
    if isinstance(data, list) and length == len(key) - 1:
        return f"an element of the array '{key_text(key[:length])}' cannot be taken away; give the whole array anew"
    near = nearest(str(key[length]), data) if isinstance(data, dict) else ""
    return f"there is no '{key_text(key)}' to take away{near}"
