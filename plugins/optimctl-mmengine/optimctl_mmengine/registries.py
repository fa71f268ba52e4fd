"""MMEngine's registries: found by scope, quiet, with an error that says which package is missing.

Nothing is imported or built for a job that ``permission`` does not let through, and what it looks up, it looks up ``guarded``.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope, Registry

from optimctl.errors import JobError, Key, nearest
from optimctl_mmengine.guard import guarded
from optimctl_mmengine.permission import check_types, may_import, refusal
from optimctl_mmengine.values import from_toml

INSTALL = "install its package, or put its folder on PYTHONPATH"
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
        JobError: A package is not installed, or none that a job may import; keys are seen from the plugin's table.
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


def read(table: Any, key: Key, scope: str | None, registry: Registry | None = None) -> Any:
    """What a table of a job says, its values as Python has them; every class that it names is registered.

    Args:
        table: As TOML has it.
        key: Where it stands, seen from the plugin's table.
        scope: The scope that is entered.
        registry: The root registry that has the class of the table itself.

    Raises:
        JobError: A class is not registered, or a table that needs one names none.
    """
    found = from_toml(table)
    check_types(found, key, scope)
    if registry is not None:
        if not isinstance(found, Mapping) or not isinstance(found.get("type"), str):
            message = "name the class, as a configuration of MMEngine does"
            raise JobError.single((*key, "type"), message, "missing-key")
        with DefaultScope.overwrite_default_scope(found.get("_scope_")):
            find(registry, found["type"], (*key, "type"))
    return found


def read_arguments(arguments: Mapping[str, Any], key: Key, scope: str | None) -> dict[str, Any]:
    """As ``read``, for arguments that stand beside a plugin's own, and are no table of a configuration.

    Raises:
        JobError: A class in them is not registered, or one of them is a word of MMEngine's.
    """
    found = {name: from_toml(copy.copy(value)) for name, value in arguments.items()}
    check_types(found, key, scope)
    if "_scope_" in found:
        message = "it is no argument; the plugins called MMEngine name the package with `scope`"
        raise JobError.single((*key, "_scope_"), message, "unknown-argument")
    return found


def build(registry: Registry, cfg: Mapping[str, Any], **defaults: Any) -> Any:
    """What a table of a configuration describes.

    Args:
        registry: The root registry of its kind.
        cfg: The table, as ``read`` returns it.
        defaults: Arguments that it may leave out.
    """
    return registry.build(ConfigDict(cfg), **({"default_args": defaults} if defaults else {}))


def find(registry: Registry, name: str, key: Key = ("name",)) -> Any:
    """The class or function that a name means in the scope that is entered.

    Raises:
        JobError: There is none.
    """
    with guarded(), registry.switch_scope_and_registry(None) as own:
        found = own.get(name)
    if found is None:
        names = {*own.module_dict, *registry.module_dict}
        message = f"MMEngine's registry of {registry.name}s has no '{name}'{nearest(name, names)}"
        raise JobError.single(key, message, "unknown-name")
    return found


def with_scope(name: str, scope: str | None) -> str:
    """A name as another scope looks it up; a path leads to the same from everywhere."""
    return name if scope is None or "." in name else f"{scope}.{name}"


def is_there(scope: str) -> bool:
    """Whether a job may import a scope's package, and it is installed or has registered itself."""
    return may_import(scope) and (MODELS._search_child(scope) is not None or _is_installed(scope))


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _import(scope: str | None, imports: Sequence[str]) -> None:
    hush()
    for index, name in enumerate(imports):
        missing = f"the module '{name}' cannot be imported: nothing of its name is installed"
        _require(name, ("imports", index), f"{missing}; {INSTALL}")
        try:
            importlib.import_module(name)
        except ImportError as error:
            message = f"the module '{name}' cannot be imported: {error}; {INSTALL}"
            raise JobError.single(("imports", index), message, "no-package") from error
    if scope:
        missing = f"the package '{scope}' is not installed; its registries have what this table names"
        _require(scope, ("scope",), missing)


def _require(name: str, key: Key, missing: str) -> None:
    """Refuse what is not installed, and what a job may not import."""
    if not _is_installed(name) and MODELS._search_child(name) is None:
        raise JobError.single(key, missing, "no-package")
    if not may_import(name):
        raise JobError.single(key, refusal(name), "not-permitted")


__all__ = ["build", "enter_scope", "find", "hush", "in_scope", "is_there", "read", "read_arguments", "with_scope"]
