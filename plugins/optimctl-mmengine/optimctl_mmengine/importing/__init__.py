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
from optimctl.errors import JobError, Key, UsageError, key_text
from optimctl.export import Document, Imported
from optimctl_mmengine.importing.bases import difference, laid_over, same
from optimctl_mmengine.importing.compare import compare
from optimctl_mmengine.importing.configuration import Configuration, read
from optimctl_mmengine.importing.draft import Draft, ordered
from optimctl_mmengine.importing.whole import INCOMPLETE, convert


def import_mmengine(file: Path, check: bool = True) -> list[Imported]:
    """A configuration of MMEngine, and those that it builds on: `_base_` stays as `extends` where that says the same.

    Reading a configuration runs the Python in it. What is not carried over, and what was without effect there, stands as a comment
    beside its place. The closing table tells whether options and values are MMEngine's own: those of each parameter, by MMEngine's
    constructor, and of each iteration, by its schedulers.

    Args:
        file: A configuration, in the text style or the new one.
        check: Whether to hold the job against MMEngine.
    """
    configuration = _read(file)
    asked, draft = _imported(file), _draft(file)
    told = {
        "carried": ", ".join(dict.fromkeys(_section(name) for name in ordered(draft.data))) or "nothing",
        "left out": str(len(draft.left_out)),
        **(_compared(configuration, asked) if check else {}),
    }
    return [*_below(asked), replace(asked, told=told)]


def _compared(configuration: Configuration, asked: Imported) -> dict[str, str]:
    """The job that is written, against MMEngine; a part that others build on may be none.

    Raises:
        JobError: It is no job, and no part of one.
    """
    try:
        job = _resolved(asked)
    except JobError as error:
        if any(problem.code not in INCOMPLETE for problem in error.problems):
            raise
        return dict.fromkeys(("options", "values"), "not checked: a part of a job, for others to build on")
    return compare(configuration, job)


def _section(name: str) -> str:
    """What the closing table calls a section; the loaders are the data."""
    return "data" if name.endswith("_dataloader") else name


def _imported(file: Path) -> Imported:
    """A file with what it adds to its bases; whole where those cannot say the same.

    What becomes of a file hangs on that file and its bases alone, and not on who builds on it: several that share a base share the
    job that it becomes. So it is the child that says ``scope``, where its base leaves that to it.
    """
    whole = _draft(file).document()
    bases = _read(file).bases
    if not bases:
        return Imported(file, _with_remarks(whole, _read(file)))
    try:
        below = [_draft(base) for base in bases]
    except UsageError as error:
        return _alone(file, whole, f"one of those cannot be read by itself: {error}")
    own = difference(laid_over(base.data for base in below), whole.data)
    said = {key: text for base in below for key, text in base.document().comments.items()}
    comments = {key: text for key, text in whole.comments.items() if said.get(key) != text}
    child = Imported(file, _with_remarks(Document(ordered(own), comments), _read(file)), bases)
    try:
        is_same = same(_resolved(child), whole.data)
    except JobError as error:
        first = next(iter(error.problems))
        return _alone(file, whole, f"{key_text(first.key)}: {first.message.splitlines()[0]}")
    return child if is_same else _alone(file, whole, "tables of a job merge by other rules than those of MMEngine")


def _below(imported: Imported) -> list[Imported]:
    """The files that one builds on, and those that they build on, each once."""
    found: dict[str, Imported] = {}
    for base in imported.extends:
        one = _imported(base)
        found.update({os.path.realpath(each.file): each for each in (*_below(one), one)})
    return list(found.values())


def _alone(file: Path, whole: Document, why: str) -> Imported:
    """A job that extends nothing, though its configuration does."""
    text = f"the whole job, without the files that {file.name} builds on: {why}"
    return Imported(file, _with_remarks(Document(whole.data, _before(whole.comments, text)), _read(file)))


def _with_remarks(document: Document, configuration: Configuration) -> Document:
    """What the file itself has to hear, above all."""
    remarks = [f"without effect in Python: {one}, and the last counts" for one in configuration.twice]
    remarks += [
        f"what {base} has is written out here: it is no file beside this one" for base in configuration.elsewhere
    ]
    if configuration.missing:
        remarks.append(f"custom_imports cannot be imported here: {configuration.missing}")
    comments = document.comments
    for remark in reversed(remarks):
        comments = _before(comments, remark)
    return Document(document.data, comments)


def _before(comments: Mapping[Key, str], text: str) -> dict[Key, str]:
    head = [text, *([comments[()]] if () in comments else [])]
    return {**comments, (): "\n".join(head)}


def _resolved(imported: Imported) -> dict[str, Any]:
    """What a job is once the files that it extends are laid below it, by optimctl itself.

    Raises:
        JobError: It is no job.
    """
    files = [*_below(imported), imported]
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


def _draft(file: Path) -> Draft:
    """The whole job that a file means by itself."""
    return _converted(os.path.realpath(file), file.stat().st_mtime)


@functools.lru_cache(maxsize=4096)
def _converted(path: str, _: float) -> Draft:
    settings = _read(Path(path)).settings
    return convert(settings, "train_cfg" in settings and "optim_wrapper" in settings)


__all__ = ["import_mmengine"]
