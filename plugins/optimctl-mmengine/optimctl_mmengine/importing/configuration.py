"""A configuration of MMEngine, read by MMEngine: its settings as plain values, and the files that it builds on.

Reading it runs the Python in it.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
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
    missing: str = ""
    """Why its ``custom_imports`` cannot be imported."""


def read(file: Path) -> Configuration:
    """The configuration in a file.

    Raises:
        UsageError: MMEngine cannot read it, or what it runs fails.
    """
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name the configurations in it, as {file / '*.py'}")
    hush()
    try:
        config, missing = _load(file)
        settings = {name: plain(value) for name, value in config.to_dict().items()}
    except (Exception, SystemExit) as error:
        raise UsageError(f"{file} cannot be read: {_first_line(error)}") from error
    tree = _tree(file)
    return Configuration(file, settings, tuple(_bases(tree, file)), tuple(_words_twice(tree)), missing)


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


def _first_line(error: BaseException) -> str:
    """What was raised, and where, without the lists of paths that MMEngine adds."""
    first, *rest = raised_text(error).splitlines()
    return first + (rest[-1][rest[-1].rindex(" (") :] if rest and " (" in rest[-1] else "")


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text("utf-8")) if file.suffix == ".py" else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


def _bases(tree: ast.Module, file: Path) -> Iterator[Path]:
    """The files beside it that it names in ``_base_`` or imports under ``read_base()``."""
    for name in (*_named_bases(tree), *_imported_bases(tree)):
        path = Path(os.path.normpath(file.parent / name))
        if path.is_file():
            yield path


def _named_bases(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                return
            names = [value] if isinstance(value, str) else value
            yield from (name for name in names if "::" not in name)


def _imported_bases(tree: ast.Module) -> Iterator[str]:
    for block in (node for node in tree.body if isinstance(node, ast.With) and _reads_base(node)):
        for node in block.body:
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                yield "/".join([*([".."] * (node.level - 1)), f"{node.module.replace('.', '/')}.py"])


def _reads_base(block: ast.With) -> bool:
    calls = [item.context_expr for item in block.items]
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "read_base" for call in calls)


def _words_twice(tree: ast.Module) -> Iterator[str]:
    """Words that stand twice between the braces of one table: of those, only the last counts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            words = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            for word, count in Counter(words).items():
                if count > 1:
                    lines = [key.lineno for key in node.keys if isinstance(key, ast.Constant) and key.value == word]
                    yield f"line {', '.join(map(str, lines[:-1]))}: {word!r} stands again in line {lines[-1]}"


__all__ = ["Configuration", "read"]
