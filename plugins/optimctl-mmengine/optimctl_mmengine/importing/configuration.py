"""A configuration of MMEngine, read by MMEngine: its settings as plain values, and the files that it builds on.

Reading it runs the Python in it.
"""

from __future__ import annotations

import ast
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from optimctl.errors import UsageError, raised_text
from optimctl_mmengine.registries import hush
from optimctl_mmengine.values import plain


@dataclass(frozen=True)
class Configuration:
    """What MMEngine makes of a file."""

    file: Path
    settings: Mapping[str, Any]
    """Resolved, as dicts, lists, tuples and scalars; classes by their names."""
    bases: tuple[Path, ...] = ()
    """The files that it builds on, of those that lie beside it and not in an installed package."""
    twice: tuple[str, ...] = ()
    """Words that stand twice in one table, where Python takes the last."""
    elsewhere: tuple[str, ...] = ()
    """What it builds on beside those, by the names that it gives them."""
    missing: str = ""
    """Why its ``custom_imports`` cannot be imported."""


def read(file: Path) -> Configuration:
    """The configuration in a file.

    Raises:
        UsageError: MMEngine cannot read it, or what it runs fails.
    """
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name the configurations in it, as {file / '*.py'}")
    if ring := _ring(file, ()):
        names = " -> ".join(one.name for one in ring)
        raise UsageError(
            f"{file} cannot be read: its _base_ lead back to where they began, {names}; take one of them out"
        )
    hush()
    try:
        config, missing = _load(file)
        settings = {name: plain(value) for name, value in config.to_dict().items()}
    except (Exception, SystemExit) as error:
        raise UsageError(f"{file} cannot be read: {_reason(error, file)}") from error
    tree = _tree(file)
    places = {name: Path(os.path.normpath(file.parent / name)) for name in _base_names(tree, file)}
    bases = {name: place for name, place in places.items() if place.is_file()}
    elsewhere = tuple(name for name in places if name not in bases)
    return Configuration(file, settings, tuple(bases.values()), tuple(_words_twice(tree)), elsewhere, missing)


def _load(file: Path) -> tuple[Config, str]:
    """The configuration, and why its ``custom_imports`` cannot be imported; without them it can still be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Config.fromfile(file), ""
        except ImportError as error:
            if "Failed to import custom modules" not in str(error):
                raise
            reason = str(error.__cause__ or error)
        return Config.fromfile(file, import_custom_modules=False), reason


# --- why it cannot be read --------------------------------------------------------------------------------------------


def _reason(error: BaseException, file: Path) -> str:
    """Why MMEngine cannot read a file, where in it, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name == "pkg_resources":
        named = [name for name in _base_names(_tree(file), file) if "::" in name]
        what = f"the package of _base_ = {named[0]!r}" if named else "the package of a _base_"
        return f"MMEngine looks for {what} with pkg_resources, which is not installed: pip install 'setuptools<81'"
    if isinstance(error, RuntimeError) and not str(error) and _is_from_lazy(error):
        why = "MMEngine takes what a configuration imports for names, which cannot be called; write the value out"
        return f"{_line(error, file)}{why}, or leave the import out and use _base_"
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    """What was raised, and where, without the lists of paths that MMEngine adds."""
    first, *rest = raised_text(error).splitlines()
    return first + (rest[-1][rest[-1].rindex(" (") :] if rest and " (" in rest[-1] else "")


def _is_from_lazy(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "lazy.py"


def _line(error: BaseException, file: Path) -> str:
    """The line of the configuration, or of a base, that ran last."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.name == "<module>"]
    own = [one for one in frames if Path(one.filename).suffix == file.suffix]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""


def _ring(file: Path, before: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files from one to itself, each the base of the one before it; none where no way leads back."""
    here = Path(os.path.realpath(file))
    if here in before:
        return (*before[before.index(here) :], here)
    bases: list[Path] = []
    with suppress(Exception, SystemExit):  # whatever it is, MMEngine meets it too, and tells of it
        bases = [file.parent / name for name in _base_names(_tree(file), file)]
    rings = (_ring(base, (*before, here)) for base in bases if base.is_file())
    return next((ring for ring in rings if ring), ())


# --- what it builds on ------------------------------------------------------------------------------------------------


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text("utf-8")) if file.suffix == ".py" else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _base_names(tree: ast.Module, file: Path) -> Iterator[str]:
    """What it names in ``_base_``, which may be computed, or imports under ``read_base()``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from (str(name) for name in Config._get_base_files(str(file)))
    yield from _imported_bases(tree)


def _imported_bases(tree: ast.Module) -> Iterator[str]:
    for block in (node for node in tree.body if isinstance(node, ast.With) and _reads_base(node)):
        for node in block.body:
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                yield "/".join([*([".."] * (node.level - 1)), f"{node.module.replace('.', '/')}.py"])
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def _reads_base(block: ast.With) -> bool:
    calls = [item.context_expr for item in block.items]
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "read_base" for call in calls)


def _words_twice(tree: ast.Module) -> Iterator[str]:
    """Words that stand twice between the braces of one table: of those, only the last counts."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        by_word: dict[object, list[ast.Constant]] = {}
        for key in (key for key in node.keys if isinstance(key, ast.Constant)):
            by_word.setdefault(key.value, []).append(key)
        for first, *rest in (keys for keys in by_word.values() if len(keys) > 1):
            lines = ", ".join(str(key.lineno) for key in (first, *rest[:-1]))
            written = "" if ast.unparse(rest[-1]) == ast.unparse(first) else f" as {ast.unparse(rest[-1])}"
            yield f"line {lines}: {ast.unparse(first)} stands again{written} in line {rest[-1].lineno}"


__all__ = ["Configuration", "read"]
