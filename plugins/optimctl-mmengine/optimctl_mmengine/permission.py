"""What a job may import, and which classes it may name: a job is data, whatever MMEngine would do with it.

MMEngine's registries follow dotted paths to any function, and import modules on the way. A job gets at less: packages that are built on
MMEngine, what the person has named in ``OPTIMCTL_MMENGINE_IMPORTS``, and of both the classes and functions that are registered.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

from mmengine.registry import Registry

from optimctl.errors import JobError, Key, Problem, nearest

VARIABLE = "OPTIMCTL_MMENGINE_IMPORTS"
"""The environment variable with the names of a person's own modules and packages; each stands for its sub-modules too."""
MMENGINE = "mmengine"
"""The scope of MMEngine itself."""
_BASES = {"mmengine", "mmengine-lite", "mmcv", "mmcv-lite"}
_WORD = re.compile(r"[\w-]*")
_NAME = re.compile(r"[\w.-]+")


def may_import(module: str) -> bool:
    """Whether a job may name a module: one of a package that is built on MMEngine, or one that the person has named."""
    named = os.environ.get(VARIABLE, "").replace(",", " ").split()
    if any(module == name or module.startswith(f"{name}.") for name in named):
        return True
    return module.partition(".")[0] in _built_on_mmengine(tuple(sys.path))


def refusal(module: str) -> str:
    """The sentence about a module that a job may not import."""
    return (
        f"a job is data, and cannot import '{module}': no installed package that is built on MMEngine has it; "
        f"if it is code of your own, name it in the environment variable {VARIABLE}, as in {VARIABLE}={module}"
    )


def check_types(value: Any, key: Key, scope: str | None) -> None:
    """Hold every class that a table names, at any depth, against the registries, before anything is built of it.

    A dotted path passes where what it leads to is registered. A word that is in no registry may be one of the class's own, as
    ``nms`` is in MMDetection: it passes, and ``guarded`` registries do not take it for the name of a module.

    Args:
        value: A table of a configuration, its values as Python has them.
        key: Where it stands.
        scope: The package whose registries are searched first.

    Raises:
        JobError: Classes are named that are not registered, or scopes that a job may not import.
    """
    problems = list(_problems(value, key, scope))
    if problems:
        raise JobError(problems)


def _problems(value: Any, key: Key, scope: str | None) -> Iterator[Problem]:
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    )
    for name, item in items:
        here = (*key, name if isinstance(name, int) else str(name))
        if name == "type" and isinstance(item, str) and isinstance(value, Mapping):
            if not _is_known(item, scope):
                yield _unregistered(item, here)
        elif name == "_scope_" and item is not None:
            if not isinstance(item, str) or not may_import(item):
                yield Problem(here, refusal(str(item)), "not-permitted")
        else:
            yield from _problems(item, here, scope)


def _unregistered(name: str, key: Key) -> Problem:
    names = [one for registry in _registries() for one in registry.module_dict]
    message = (
        f"'{name}' is in no registry of MMEngine's, and a job, which is data, names no other class or function; register it, "
        f"with @MODELS.register_module() or its like, in a module that `imports` names{nearest(name.rpartition('.')[2], names)}"
    )
    return Problem(key, message, "not-registered")


# --- names ------------------------------------------------------------------------------------------------------------


def _is_known(name: str, scope: str | None) -> bool:
    """Whether MMEngine can look a name up without importing, or calling, what no registry has."""
    if _WORD.fullmatch(name):
        return True
    head, _, rest = name.partition(".")
    scopes = {one for one in (scope, head) if one and may_import(one)}
    if _is_registered(lambda registry: name in registry.module_dict, scopes):
        return True
    if rest and head in scopes and _is_registered(lambda registry: _has(registry, head, rest), scopes):
        return True
    found = at(name) if rest else None
    return found is not None and _is_registered(lambda registry: _holds(registry, found), scopes)


def _has(registry: Registry, scope: str, name: str) -> bool:
    """Whether a name of a scope is in its registry, or in one above."""
    one: Registry | None = registry if registry.scope == scope else None
    while one is not None:
        if name in one.module_dict:
            return True
        one = one.parent
    return False


def _holds(registry: Registry, found: Any) -> bool:
    return any(item is found for item in registry.module_dict.values())


def _is_registered(fits: Callable[[Registry], bool], scopes: set[str]) -> bool:
    """Whether a registry fits: as they are, or once the scopes' own have imported what they hold."""
    for scope in scopes:
        with suppress(ImportError, AttributeError):  # as MMEngine does
            importlib.import_module(f"{scope}.registry")
    if any(map(fits, _registries())):
        return True
    for registry in _registries():
        if registry.scope in scopes:
            with suppress(Exception):  # a package that lacks one of its parts has the others
                registry.import_from_location()
            if fits(registry):
                return True
    return False


def _registries() -> list[Registry]:
    """All registries: of every scope that is imported, and those below them."""
    modules = [module for name, module in list(sys.modules.items()) if name.endswith(".registry") and module]
    return tree(one for module in modules for one in list(vars(module).values()) if isinstance(one, Registry))


def tree(registries: Iterable[Registry]) -> list[Registry]:
    """Registries and all below them, each once."""
    found: dict[int, Registry] = {}
    left = list(registries)
    while left:
        one = left.pop()
        if id(one) not in found:
            found[id(one)] = one
            left += one.children.values()
    return list(found.values())


def at(path: str) -> Any:
    """What a dotted path leads to, of modules that a job may import or that are imported; None where it leads nowhere."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        if may_import(name):
            with suppress(Exception):  # it may be a class, or a module that lacks what it needs
                importlib.import_module(name)
        found: Any = sys.modules.get(name)
        if found is not None:
            for part in parts[count:]:
                found = getattr(found, "__dict__", {}).get(part)
            return found
    return None


# --- packages ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _built_on_mmengine(path: Sequence[str]) -> frozenset[str]:
    """The top-level packages of the distributions on a path that require MMEngine, if only with an extra.

    optimctl is none: its tests require it.
    """
    found = {MMENGINE}
    for distribution in metadata.distributions(path=list(path)):
        if _canonical(distribution.metadata["Name"] or "") == "optimctl":
            continue
        required = {_canonical(match[0]) for each in distribution.requires or () if (match := _NAME.match(each))}
        if required & _BASES:
            found |= set(_packages(distribution))
    return frozenset(found)


def _packages(distribution: metadata.Distribution) -> Iterator[str]:
    """What a distribution is imported as; one that is installed as editable may tell by its own name only."""
    yield _canonical(distribution.metadata["Name"] or "").replace("-", "_")
    yield from (distribution.read_text("top_level.txt") or "").split()
    for file in distribution.files or ():
        name = file.parts[0].removesuffix(".py")
        if file.suffix == ".py" and name.isidentifier():
            yield name


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


__all__ = ["MMENGINE", "VARIABLE", "at", "check_types", "may_import", "refusal", "tree"]
