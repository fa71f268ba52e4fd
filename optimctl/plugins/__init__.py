"""Plugins: what a job may name, who brings it, and how it is loaded.

In this room: the kinds (``kinds``), what was found (``found``) in the metadata of what is installed (``metadata``) and in the user's own
project (``project``), and its loading (``loading``). Finding and loading are two steps, so that a plugin that cannot be imported breaks
no command that does not use it.
"""

from __future__ import annotations

from optimctl.plugins.found import DISABLE, OBJECT, PLUGINS, PROJECT, Flaw, Plugin, Plugins, canonical
from optimctl.plugins.kinds import KINDS, OWN, Kind, no_such_kind
from optimctl.plugins.loading import LoadedPlugin, installed, load, plugin_code, resolve
from optimctl.plugins.metadata import disabling, find, is_disabled
from optimctl.plugins.project import Project, find_project

__all__ = [
    "DISABLE",
    "KINDS",
    "OBJECT",
    "OWN",
    "PLUGINS",
    "PROJECT",
    "Flaw",
    "Kind",
    "LoadedPlugin",
    "Plugin",
    "Plugins",
    "Project",
    "canonical",
    "disabling",
    "find",
    "find_project",
    "installed",
    "is_disabled",
    "load",
    "no_such_kind",
    "plugin_code",
    "resolve",
]
