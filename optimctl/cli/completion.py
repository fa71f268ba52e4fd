"""What the shell offers after TAB: job files, folders and the names of plugins, out of metadata; torch is never imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem, shell_complete

VARIABLE = "_OPTIMCTL_COMPLETE"
"""What a shell sets when it asks; ``bash_source`` as its value prints the lines that make bash ask."""


def complete(program: click.Command, instruction: str) -> int:
    """Answer a shell; the exit code of the process that does. Where nothing can be found out, it is told nothing."""
    try:
        return shell_complete(program, {}, "optimctl", VARIABLE, instruction)
    except Exception:  # a traceback would stand in the middle of what is being typed; the command itself will tell
        return 1


def job_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The job files and the folders that a path goes on with; a folder that is the only choice is looked into."""
    found = _paths(incomplete)
    while len(found) == 1 and found[0].endswith("/"):
        inside = _paths(found[0])
        if not inside:
            break
        found = inside
    return _items(found)


def folders(_: click.Context, __: click.Parameter, ___: str) -> list[CompletionItem]:
    """Any folder: the shell knows them best."""
    return [CompletionItem("", type="dir")]


def plugin_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of plugins, of the kind that the command line says or of all; qualified ones once there is a slash."""
    from optimctl.plugins import installed

    kind = context.params.get("kind")
    plugins = [plugin for plugin in installed() if kind in (None, plugin.kind)]
    qualified = "/" in incomplete
    names = {plugin.qualified if qualified else plugin.name for plugin in plugins}
    return _items(sorted(name for name in names if name.lower().startswith(incomplete.lower())))


def kind_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The kinds of plugins."""
    from optimctl.plugins import KINDS

    return _items(kind for kind in KINDS if kind.startswith(incomplete))


def distribution_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The distributions that bring plugins."""
    from optimctl.plugins import installed

    names = {plugin.distribution for plugin in installed()}
    return _items(sorted(name for name in names if name.startswith(incomplete.lower())))


def _paths(start: str) -> list[str]:
    """The job files and folders whose path begins with ``start``, sorted; hidden ones where ``start`` asks for them."""
    head, slash, prefix = start.rpartition("/")
    try:
        found = [(path.name, path.is_dir()) for path in Path(head + slash).expanduser().iterdir()]
    except (OSError, RuntimeError):  # there is no such folder, or no such user
        return []
    return sorted(
        head + slash + name + ("/" if is_folder else "")
        for name, is_folder in found
        if name.startswith(prefix) and (prefix or not name.startswith(".")) and (is_folder or _is_job(name))
    )


def _is_job(name: str) -> bool:
    return name.endswith(".toml") and name != "pyproject.toml"


def _items(texts: Iterable[str]) -> list[CompletionItem]:
    """What a shell can take: a line each, without white space, which would end the word."""
    return [CompletionItem(text) for text in texts if text.isprintable() and not any(char.isspace() for char in text)]
