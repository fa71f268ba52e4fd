"""MMEngine's registries while it works for a job: they import nothing, and give out nothing, that a job may not name.

``permission`` reads a job's tables before anything is built of them, and sees what stands under ``type``. A class may take a string from
any other key to a registry, though, and MMEngine's registries import what they do not know, and follow dotted paths to any function. So all
code of MMEngine's kind that builds, initializes and trains for a job runs in ``guarded()``. A configuration of MMEngine's is Python of the
person's own: reading one, checking an import, and MMEngine's Runner are not hindered.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mmengine.registry import Registry

from optimctl_mmengine.permission import at, may_import, refusal, tree

OBJECTS = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""torch's environment variable with which a person lets checkpoints bring objects, and so code, wherever they are loaded."""
_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_YES = ("1", "y", "yes", "true")
_THEIRS = Registry.get


@contextmanager
def guarded() -> Iterator[None]:
    """Let the registries find what is registered in their own tree only, and checkpoints hold weights only, for what runs inside.

    It may be entered again inside, and is a decorator too. Samples are fetched outside of it, in processes of their own: the dataset and
    its transforms are built by then.
    """
    module = sys.modules[Registry.__module__]
    places = ((Registry, "get", _get), (module, "get_object_from_string", at), (module, "import_module", _import))
    before = [(place, name, getattr(place, name)) for place, name, _ in places]  # fails where MMEngine has it no more
    try:
        for place, name, ours in places:
            setattr(place, name, ours)
        with _weights_only():
            yield
    finally:
        for place, name, theirs in before:
            setattr(place, name, theirs)


def _get(self: Registry, key: str) -> Any:
    """``Registry.get``, but for what only another kind of registry has, or none."""
    found = _THEIRS(self, key)
    is_own = any(item is found for one in tree([self.root]) for item in one.module_dict.values())
    return found if is_own else None


def _import(name: str, package: str | None = None) -> ModuleType:
    """``import_module``, but for a scope's registries; what else a registry imports is what its own package has written into it."""
    if name.endswith(".registry") and name not in sys.modules and not may_import(name):
        raise ImportError(refusal(name))  # to MMEngine, a scope that is not installed
    return importlib.import_module(name, package)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Have torch unpickle no objects, also where MMEngine's loader, for an address, asks for them."""
    if os.environ.get(OBJECTS, "").lower() in _YES:  # torch takes one of the two only
        yield
        return
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


__all__ = ["OBJECTS", "guarded"]
