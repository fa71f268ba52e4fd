"""``optimctl import mmengine``: configurations of MMEngine as jobs.

In this room: the importer. ``configuration`` reads a file, ``whole`` makes a job of what it says, ``bases`` keeps ``_base_`` as
``extends``, ``compare`` holds the job against MMEngine.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from optimctl import load_job
from optimctl.errors import JobError, Key, UsageError
from optimctl.export import Document, Imported
from optimctl_mmengine.importing.bases import difference, laid_over, same
from optimctl_mmengine.importing.compare import compare
from optimctl_mmengine.importing.configuration import Configuration, read
from optimctl_mmengine.importing.draft import Draft, ordered
from optimctl_mmengine.importing.names import scope_of
from optimctl_mmengine.importing.whole import convert


def import_mmengine(file: Path, check: bool = True) -> list[Imported]:
    """A configuration of MMEngine, and those that it builds on: `_base_` stays as `extends` where that says the same.

    Reading a configuration runs the Python in it. What is not carried over, and what was without effect there, stands as a comment
    beside its place. The closing table tells whether options and values are MMEngine's own: those of each parameter, by MMEngine's
    constructor, and of each iteration, by its schedulers.

    Args:
        file: A configuration, in the text style or the new one.
        check: Whether to hold the job against MMEngine.
    """
    known = _Known(scope_of(_read(file).settings))
    asked = known.imported(file)
    job = _resolved(asked, known)
    told = {
        "carried": ", ".join(dict.fromkeys(_section(name) for name in ordered(job))) or "nothing",
        "left out": str(len(known.draft(file).left_out)),
        **(compare(_read(file), job, known.draft(file)) if check else {}),
    }
    return [*known.below(asked), replace(asked, told=told)]


def _section(name: str) -> str:
    """What the closing table calls a section; the loaders are the data."""
    return "data" if name.endswith("_dataloader") else name


class _Known:
    """Configurations that were read, and the jobs that they became.

    Args:
        scope: The package that the configuration which was asked for names; the files that it builds on may leave that to it.
    """

    def __init__(self, scope: str | None) -> None:
        self.scope = scope

    def draft(self, file: Path) -> Draft:
        """The whole job that a file means by itself."""
        return _draft(os.path.realpath(file), self.scope, file.stat().st_mtime)

    def imported(self, file: Path) -> Imported:
        """A file with what it adds to its bases; whole where those cannot say the same."""
        whole = self.draft(file).document()
        bases = _read(file).bases
        if not bases:
            return Imported(file, _with_remarks(whole, _read(file)))
        try:
            below = [self.draft(base).data for base in bases]
        except UsageError as error:
            return self._alone(file, whole, f"one of those cannot be read by itself: {error}")
        own = difference(laid_over(below), whole.data)
        said = {key: text for base in bases for key, text in self.draft(base).document().comments.items()}
        comments = {key: text for key, text in whole.comments.items() if said.get(key) != text}
        child = Imported(file, _with_remarks(Document(ordered(own), comments), _read(file)), bases)
        try:
            is_same = same(_resolved(child, self), whole.data)
        except JobError as error:
            return self._alone(file, whole, str(error).splitlines()[0])
        return (
            child
            if is_same
            else self._alone(file, whole, "tables of a job merge by other rules than those of MMEngine")
        )

    def below(self, imported: Imported) -> list[Imported]:
        """The files that one builds on, and those that they build on, each once."""
        found: dict[str, Imported] = {}
        for base in imported.extends:
            one = self.imported(base)
            found.update({os.path.realpath(each.file): each for each in (*self.below(one), one)})
        return list(found.values())

    @staticmethod
    def _alone(file: Path, whole: Document, why: str) -> Imported:
        """A job that extends nothing, though its configuration does."""
        text = f"the whole job, without the files that {file.name} builds on: {why}"
        return Imported(file, _with_remarks(Document(whole.data, _before(whole.comments, text)), _read(file)))


def _with_remarks(document: Document, configuration: Configuration) -> Document:
    """What the file itself has to hear, above all."""
    remarks = [f"without effect in Python: {one}, and the last counts" for one in configuration.twice]
    if configuration.missing:
        remarks.append(f"custom_imports cannot be imported here: {configuration.missing}")
    comments = document.comments
    for remark in reversed(remarks):
        comments = _before(comments, remark)
    return Document(document.data, comments)


def _before(comments: Mapping[Key, str], text: str) -> dict[Key, str]:
    head = [text, *([comments[()]] if () in comments else [])]
    return {**comments, (): "\n".join(head)}


def _resolved(imported: Imported, known: _Known) -> dict[str, Any]:
    """What a job is once the files that it extends are laid below it, by optimctl itself.

    Raises:
        JobError: It is no job.
    """
    files = [*known.below(imported), imported]
    root = os.path.commonpath([Path(os.path.realpath(one.file)).parent for one in files])
    with tempfile.TemporaryDirectory() as folder:
        places = {os.path.realpath(one.file): Path(folder, _place(one.file, root)) for one in files}
        for one in files:
            _write(one, places)
        return load_job(places[os.path.realpath(imported.file)]).plain()


def _place(file: Path, root: str) -> str:
    return os.path.relpath(os.path.splitext(os.path.realpath(file))[0] + ".toml", root)  # noqa: PTH122


def _write(imported: Imported, places: Mapping[str, Path]) -> None:
    place = places[os.path.realpath(imported.file)]
    bases = [os.path.relpath(places[os.path.realpath(base)], place.parent) for base in imported.extends]
    place.parent.mkdir(parents=True, exist_ok=True)
    data = {**({"extends": bases} if bases else {}), **imported.document.data}
    place.write_text(Document(data).text(), "utf-8")


@functools.lru_cache(maxsize=4096)
def _remembered(_: str, shown: Path, __: float) -> Configuration:
    return read(shown)


def _read(file: Path) -> Configuration:
    """A configuration, read once as long as nobody writes to it.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        changed = file.stat().st_mtime
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    return _remembered(os.path.realpath(file), file, changed)


@functools.lru_cache(maxsize=4096)
def _draft(path: str, scope: str | None, _: float) -> Draft:
    settings = _read(Path(path)).settings
    whole = "train_cfg" in settings and "optim_wrapper" in settings
    return convert({"default_scope": scope, **settings} if scope else settings, whole)


__all__ = ["import_mmengine"]
