"""What a script imports: the objects behind a job's plugins, and the modules of Python and torch that its lines speak of.

In this room: ``Imports``, which gives a plugin's object its name in the script, ``names_in``, and ``check_apart``, which makes sure that
nothing of a plugin needs optimctl.
"""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError, Key
from optimctl.export.python.layout import WIDTH, call, lay
from optimctl.plugins import OBJECT, OWN, PROJECT

if TYPE_CHECKING:
    from optimctl.plugins import Plugin

MODULES = {
    "argparse": "import argparse",
    "csv": "import csv",
    "datetime": "import datetime",
    "functools": "import functools",
    "itertools": "import itertools",
    "math": "import math",
    "random": "import random",
    "shutil": "import shutil",
    "warnings": "import warnings",
}
"""Modules of Python that a script may speak of."""
NAMES = {
    "collections.abc": ("Callable", "Iterator"),
    "contextlib": ("contextmanager", "nullcontext"),
    "pathlib": ("Path",),
    "safetensors.torch": ("load_file",),
    "typing": ("Any",),
    "torch": ("Tensor", "nn"),
    "torch.optim.swa_utils": ("get_ema_multi_avg_fn",),
    "torch.utils.data": ("DataLoader", "TensorDataset"),
    "torch.utils.tensorboard": ("SummaryWriter",),
}
"""Names that a script may import from a module."""
OTHERS = {"np": "import numpy as np", "torch": "import torch", "wandb": "import wandb"}
PACKAGES = {"np": "numpy", "load_file": "safetensors", "SummaryWriter": "tensorboard", "wandb": "wandb"}
"""The distributions behind those that are neither Python's nor torch's own."""
IMPORTABLE = frozenset((*MODULES, *OTHERS, *itertools.chain.from_iterable(NAMES.values())))
"""Names that mean one thing only in a script."""
STANDARD = ("collections.abc", "contextlib", "pathlib", "typing")


@dataclass
class Imports:
    """The plugins of a script by the names that they have in it."""

    plugins: dict[str, Plugin] = field(default_factory=dict)
    """By name; only those that come from packages, in the order in which they are named."""
    _whole: dict[str, str] = field(default_factory=dict)
    """Modules that are imported whole, and what they are called."""
    reserved: frozenset[str] = frozenset()
    """Names that the script has other uses for."""

    def name(self, plugin: Plugin) -> str:
        """What the script calls a plugin's object; torch's own are reached through ``torch`` and ``nn``."""
        place = OBJECT.fullmatch(plugin.object)
        module, attribute = (place["module"], place["attribute"]) if place else ("", "")
        if module in ("torch.optim", "torch.optim.lr_scheduler"):
            return f"{module}.{attribute}"
        if module == "torch.nn":
            return f"nn.{attribute}"
        first, *rest = attribute.split(".")
        known = self.plugins.get(first)
        if first in self.reserved or (known is not None and known.object != plugin.object):
            self.plugins[f"{module}.{first}"] = plugin
            return f"{self._module(module)}.{attribute}"
        self.plugins[first] = plugin
        return ".".join([first, *rest])

    def _module(self, module: str) -> str:
        """What the script calls a whole module."""
        name = module
        while name.partition(".")[0] in self.reserved:
            name = f"{name.replace('.', '_')}_module"
        return self._whole.setdefault(module, name)

    def take_over(self, tried: Imports) -> None:
        """Name what a copy of this has named."""
        self.plugins |= tried.plugins
        self._whole |= tried._whole

    def known(self, plugin: Plugin) -> dict[str, Any]:
        """What the first part of a plugin's name stands for in the script: the object, or a module."""
        module = plugin.object.partition(":")[0].strip()
        first = self.name(plugin).partition(".")[0]
        if first in self.plugins:
            return {first: getattr(importlib.import_module(module), first)}
        return {first: importlib.import_module(module if self._whole.get(module) == first else first)}

    @property
    def bound(self) -> set[str]:
        """The names that the import statements bind for the sake of plugins."""
        return {name for name in self.plugins if "." not in name} | {
            name.partition(".")[0] for name in self._whole.values()
        }

    def lines(self, body: str) -> str:
        """The import statements of a script, sorted as isort does: Python's own, the packages', the project's own."""
        used = names_in(body)
        standard = [line for name, line in MODULES.items() if name in used]
        other = [line for name, line in OTHERS.items() if name in used]
        for module, name in sorted(self._whole.items()):
            other.append(f"import {module}" if name == module else f"import {module} as {name}")
        wanted: dict[str, set[str]] = {}
        for module, names in NAMES.items():
            wanted[module] = used.intersection(names)
        for name, plugin in self.plugins.items():
            module = plugin.object.partition(":")[0].strip()
            if "." not in name:
                wanted.setdefault(module, set()).add(name)
        froms = {
            module: _from(module, names)
            for module, names in sorted(wanted.items(), key=lambda one: _as_read(one[0]))
            if names
        }
        local = {
            plugin.object.partition(":")[0].strip()
            for plugin in self.plugins.values()
            if plugin.distribution == PROJECT
        }
        sections: list[list[str]] = [standard, [], []]
        for line in sorted(other, key=lambda line: _as_read(line.split()[1])):
            sections[2 if line.split()[1] in local else 1].append(line)
        for module, line in froms.items():
            sections[0 if module in STANDARD else 2 if module in local else 1].append(line)
        return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _from(module: str, names: set[str]) -> str:
    """A line of names, constants before classes before functions."""
    ordered = sorted(
        names,
        key=lambda name: (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, *_as_read(name)),
    )
    flat = f"from {module} import {', '.join(ordered)}"
    return lay(call("", *ordered), before=f"from {module} import ") if len(flat) > WIDTH else flat


def _as_read(name: str) -> tuple[list[str | int], str]:
    """Sorts names as isort does: large letters do not count at first, and 2 comes before 10."""
    parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.lower())]
    return parts, name


def names_in(code: str) -> set[str]:
    """The variables, functions and modules that lines of Python speak of; what stands in strings does not count."""
    return {node.id for node in ast.walk(ast.parse(textwrap.dedent(code))) if isinstance(node, ast.Name)}


def check_apart(plugin: Plugin, key: Key) -> None:
    """Make sure that a plugin's module can be imported where there is no optimctl.

    Raises:
        JobError: It imports optimctl; the message says where.
    """
    module = plugin.object.partition(":")[0].strip()
    found = next(_uses(module, set()), None)
    if found is not None:
        message = (
            f"cannot be exported: {plugin.name} comes from {module}, which needs optimctl ({found}); move it to a module that does "
            "not, or import it there under `if TYPE_CHECKING`"
        )
        raise JobError.single((*key, "type"), message, "not-exportable")


def _uses(name: str, seen: set[str]) -> Iterator[str]:
    """The lines, as ``file.py:14``, that import optimctl when a module is imported, in it and in what it imports."""
    packages = [".".join(name.split(".")[: depth + 1]) for depth in range(name.count(".") + 1)]
    for each in packages:
        module = sys.modules.get(each)
        if module is None or each in seen:
            continue
        seen.add(each)
        for line, imported in _imported(module):
            if f"{imported}.".startswith(f"{OWN}."):
                yield f"{Path(str(module.__file__)).name}:{line}"
            elif _may_need_us(imported):
                yield from _uses(imported, seen)


def _may_need_us(name: str) -> bool:
    """Whether a module could import optimctl: it is loaded, and neither torch's, NumPy's nor Python's."""
    package = name.partition(".")[0]
    return (
        name in sys.modules and package not in {"torch", "numpy", *sys.stdlib_module_names} and not _is_apart(package)
    )


@functools.cache
def _is_apart(package: str) -> bool:
    """Whether a package belongs to a distribution that does not ask for optimctl."""
    import importlib_metadata

    owners = importlib_metadata.packages_distributions().get(package, [])
    needed = [need for owner in owners for need in importlib_metadata.requires(owner) or ()]
    return bool(owners) and not any(re.match(rf"{OWN}(?![\w-])", need) for need in needed)


def _imported(module: ModuleType) -> Iterator[tuple[int, str]]:
    """The modules that are imported with a module, and the lines that do it."""
    file = getattr(module, "__file__", None) or ""
    if not file.endswith(".py"):
        return
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for node in _at_import(ast.parse(Path(file).read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{one.name}") for one in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported; those under ``if TYPE_CHECKING`` and those that may fail do not count."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            checking = "TYPE_CHECKING" in ast.dump(node.test)
            yield from _at_import(node.orelse if checking else [*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            forgiven = any("ImportError" in ast.dump(h) or "ModuleNotFoundError" in ast.dump(h) for h in node.handlers)
            yield from _at_import([*([] if forgiven else node.body), *node.orelse, *node.finalbody])
        elif isinstance(node, (ast.ClassDef, ast.With)):
            yield from _at_import(node.body)


__all__ = ["IMPORTABLE", "PACKAGES", "Imports", "check_apart", "names_in"]
