"""Loading plugins: the one object of each is imported when a job uses it, and what its code raises is told as its own.

In this room: ``LoadedPlugin``, ``load``, ``installed`` (what this process can use), ``resolve`` (what a job's ``type`` means) and
``plugin_code``, inside which a plugin is called.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError, Key, PluginError, nearest, raised_text
from optimctl.plugins.found import DISABLE, OBJECT, PROJECT, Plugin, Plugins
from optimctl.plugins.kinds import KINDS, Kind
from optimctl.plugins.metadata import find
from optimctl.plugins.project import Project, find_project

if TYPE_CHECKING:
    import inspect

_NAME = re.compile(r"[^/\s](?:[^/]*[^/\s])?")


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose object was imported."""

    plugin: Plugin
    object: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.plugin.name} ({self.plugin.distribution})"

    @functools.cached_property
    def signature(self) -> inspect.Signature | None:
        """How it is called; None where Python cannot tell (some classes written in C)."""
        import inspect

        try:
            return inspect.signature(self.object)
        except (TypeError, ValueError):
            return None


@functools.cache
def installed() -> Plugins:
    """What this process can use, found once: the installed distributions and the project of the working directory.

    ``OPTIMCTL_PROJECT`` names another project; the command line's ``--project`` sets it, so that child processes see the
    same. ``OPTIMCTL_DISABLE_PLUGINS`` leaves distributions out.
    """
    return find(find_project(Path.cwd(), os.environ.get("OPTIMCTL_PROJECT")), os.environ.get(DISABLE, ""))


def load(plugin: Plugin, project: Project | None = None) -> LoadedPlugin:
    """Import the plugin's one object.

    Raises:
        PluginError: The module cannot be imported, has no such attribute, or the object is not callable.
    """
    if plugin.distribution == PROJECT and project is not None:
        project.put_on_path()
    if not _NAME.fullmatch(plugin.name) or not plugin.name.isprintable():
        raise _broken(plugin, "its name cannot be written in a job")
    place = OBJECT.fullmatch(plugin.object)
    if place is None:
        raise _broken(plugin, "an entry point must be module:object")
    try:
        found = attrgetter(place["attribute"])(importlib.import_module(place["module"]))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what test frameworks raise past every handler
        raise _broken(plugin, _cause(plugin, error)) from error
    wrong = _misfit(KINDS[plugin.kind], found)
    if wrong:
        raise PluginError(f"{plugin.in_words} is {wrong}; it must be {KINDS[plugin.kind].contract}", "wrong-kind")
    return LoadedPlugin(plugin, found)


def _broken(plugin: Plugin, cause: str) -> PluginError:
    return PluginError(f"{plugin.in_words} cannot be loaded: {cause}", "broken-plugin")


def _misfit(kind: Kind, found: Any) -> str:
    """What an object is that cannot be a plugin of a kind; nothing where it can, or nobody knows before it is called."""
    base = _imported(kind.base)
    if not callable(found):
        return f"of type {type(found).__name__}"
    if not isinstance(found, type):
        return f"{kind.one} that is made already" if base and isinstance(found, base) else ""
    made_by: Any = found.__new__
    if made_by is not object.__new__:  # what it makes may be of another class
        return ""
    derived = base is not None and issubclass(found, base)
    equipped = kind.methods and any(re.fullmatch(kind.methods, name) for name in dir(found))
    anything = not kind.base and not kind.methods
    return "" if derived or equipped or anything else f"the class {found.__name__}"


def _imported(place: str) -> type | None:
    """A class of torch, where it was imported: what derives from it has done so."""
    module, _, name = place.partition(":")
    return getattr(sys.modules.get(module), name, None)


def _cause(plugin: Plugin, error: BaseException) -> str:
    """Why an import failed: the plugin's own frame where its code raised, none where it never came to run."""
    module = plugin.object.partition(":")[0].strip()
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        remedy = "check the name" if plugin.distribution == PROJECT else f"reinstall {plugin.distribution}"
        return f"there is no module '{error.name}'; {remedy}"
    if isinstance(error, AttributeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        return f"{error}{nearest(str(error.name), dir(error.obj))}"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"
    return raised_text(error)


def resolve(kind: str, name: str, key: Key) -> LoadedPlugin:
    """The loaded plugin that the table at ``key`` names with ``type``.

    Raises:
        JobError: It is unknown, ambiguous or broken; the problem stands at ``key.type``.
    """
    try:
        return load(installed().get(kind, name), installed().project)
    except PluginError as error:
        raise error.at((*key, "type")) from error


@contextmanager
def plugin_code(loaded: LoadedPlugin, key: Key, seen_from: Key | None = None) -> Iterator[None]:
    """Code of a plugin runs inside: what it raises becomes a problem at ``key``, with its own innermost frame.

    A ``JobError`` that it raises speaks about its own table; the keys are completed.
    """
    try:
        yield
    except JobError as error:
        raise error.below(*(key if seen_from is None else seen_from)) from error
    except (Exception, SystemExit) as error:
        raise JobError.single(key, f"{loaded} raised {raised_text(error)}", "plugin-raised") from error


__all__ = ["LoadedPlugin", "installed", "load", "plugin_code", "resolve"]
