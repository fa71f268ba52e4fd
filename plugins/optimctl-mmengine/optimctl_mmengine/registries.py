"""MMEngine's registries: found by scope, quiet, with an error that says which package is missing."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope, Registry

from optimctl.errors import JobError
from optimctl_mmengine.values import from_toml

MMENGINE = "mmengine"
"""The scope of MMEngine itself."""
_LOGGER = "optimctl-mmengine"


def hush() -> None:
    """Let MMEngine's logger tell of errors only, unless somebody else has set one up: it says a line for each parameter."""
    if not MMLogger.check_instance_created(_LOGGER) and not MMLogger._instance_dict:
        logger = MMLogger.get_instance(_LOGGER, log_level="ERROR")
        for handler in logger.handlers:
            handler.setLevel(logging.ERROR)


def enter_scope(scope: str | None, imports: Sequence[str] = ()) -> None:
    """Look names up in a package's registries from here on, as MMEngine's Runner does with ``default_scope``.

    Raises:
        JobError: A package is not installed; keys are seen from the plugin's table.
    """
    _import(scope, imports)
    current = DefaultScope.get_current_instance()
    if scope and (current is None or current.scope_name != scope):
        DefaultScope.get_instance(f"optimctl-{scope}-{len(DefaultScope._instance_dict)}", scope_name=scope)


@contextmanager
def in_scope(scope: str | None, imports: Sequence[str] = ()) -> Iterator[None]:
    """As ``enter_scope``, but for what runs inside only."""
    _import(scope, imports)
    with DefaultScope.overwrite_default_scope(scope):
        yield


def build(registry: Registry, cfg: Any, **defaults: Any) -> Any:
    """What a table of a configuration describes.

    Args:
        registry: The root registry of its kind.
        cfg: The table, its values as TOML has them.
        defaults: Arguments that it may leave out.
    """
    return registry.build(ConfigDict(from_toml(cfg)), **({"default_args": defaults} if defaults else {}))


def find(registry: Registry, name: str) -> Any:
    """The class or function that a name means in the scope that is entered.

    Raises:
        JobError: There is none.
    """
    with registry.switch_scope_and_registry(None) as own:
        try:
            found = own.get(name)
        except RuntimeError:
            found = None
    if found is None:
        raise JobError.single(("name",), f"MMEngine's registry of {registry.name}s has no '{name}'", "unknown-name")
    return found


def is_there(scope: str) -> bool:
    """Whether a scope's package is installed, or has registered itself."""
    if scope == MMENGINE or MODELS._search_child(scope) is not None:
        return True
    try:
        return importlib.util.find_spec(scope) is not None
    except (ImportError, ValueError):
        return False


def _import(scope: str | None, imports: Sequence[str]) -> None:
    hush()
    for index, name in enumerate(imports):
        try:
            importlib.import_module(name)
        except ImportError as error:
            message = (
                f"the module '{name}' cannot be imported: {error}; install its package, or put its folder on PYTHONPATH"
            )
            raise JobError.single(("imports", index), message, "no-package") from error
    if scope and not is_there(scope):
        message = f"the package '{scope}' is not installed; its registries have what this table names"
        raise JobError.single(("scope",), message, "no-package")


__all__ = ["MMENGINE", "build", "enter_scope", "find", "hush", "in_scope", "is_there"]
