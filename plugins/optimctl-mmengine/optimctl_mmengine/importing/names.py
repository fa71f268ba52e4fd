"""What a configuration calls a class: bare, with its package's scope, or by its whole path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def last(name: Any) -> str:
    """The class's own name: ``SGD`` of ``SGD``, ``mmpretrain.SGD`` and ``torch.optim.sgd.SGD``."""
    return name.rpartition(".")[2] if isinstance(name, str) else ""


def names_parts(name: Any) -> tuple[str | None, str]:
    """The scope that a name is written with, where it is one, and the name to look up."""
    if not isinstance(name, str) or name.count(".") != 1:
        return None, name if isinstance(name, str) else ""
    scope, _, bare = name.partition(".")
    return scope, bare


def scope_of(settings: Mapping[str, Any]) -> str | None:
    """The package in whose registries the configuration's names are looked up."""
    scope = settings.get("default_scope")
    return scope if isinstance(scope, str) else None


__all__ = ["last", "names_parts", "scope_of"]
