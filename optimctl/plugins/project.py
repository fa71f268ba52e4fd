"""The user's own project: a folder whose ``pyproject.toml`` names plugins, without a package."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimctl.errors import UsageError, nearest
from optimctl.plugins.found import OBJECT, PLUGINS, PROJECT, Plugin
from optimctl.plugins.kinds import KINDS, OWN, no_such_kind


@dataclass(frozen=True)
class Project:
    """The user's own folder, and the plugins that its ``pyproject.toml`` names."""

    directory: Path
    plugins: tuple[Plugin, ...]

    def put_on_path(self) -> None:
        """Make the project's modules importable: its ``src/`` and itself, before everything else."""
        own = [str(folder) for folder in (self.directory / "src", self.directory) if folder.is_dir()]
        sys.path[:] = own + [entry for entry in sys.path if entry not in own]


def find_project(directory: Path, named: str | None = None) -> Project | None:
    """The nearest folder at or above ``directory`` with a table ``[tool.optimctl]``; ``named`` is taken as it is.

    Raises:
        UsageError: ``named`` has no such table, or a ``pyproject.toml`` on the way cannot be read.
    """
    if named is not None:
        project = _read_project(Path(named).resolve())
        if project is None:
            raise UsageError(f"{named} is no optimctl project: it has no pyproject.toml with a table [tool.optimctl]")
        return project
    for folder in (directory, *directory.parents):
        project = _read_project(folder)
        if project is not None:
            return project
    return None


def _read_project(folder: Path) -> Project | None:
    import tomli

    file = folder / "pyproject.toml"
    try:
        document = tomli.loads(file.read_text("utf-8"))
    except OSError:
        return None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    if OWN not in _table(file, "tool", document.get("tool", {})):
        return None
    settings = _table(file, f"tool.{OWN}", document["tool"][OWN])
    for key in settings.keys() - {"plugins"}:
        hint = nearest(key, ["plugins"]) or "; there is only 'plugins'"
        raise UsageError(f"{file}: tool.{OWN}.{key}: unknown key{hint}")
    return Project(folder, tuple(_project_plugins(file, settings.get("plugins", {}))))


def _project_plugins(file: Path, tables: Any) -> Iterator[Plugin]:
    for kind, entries in _table(file, PLUGINS, tables).items():
        if kind not in KINDS:
            raise UsageError(f"{file}: {PLUGINS}.{kind}: {no_such_kind(kind)}")
        for name, value in _table(file, f"{PLUGINS}.{kind}", entries).items():
            if not isinstance(value, str) or not OBJECT.fullmatch(value):
                wanted = f'write {name} = "module:{name}"'
                raise UsageError(f"{file}: {PLUGINS}.{kind}.{name}: {value!r} is no module:object; {wanted}")
            yield Plugin(kind, name, PROJECT, "", value)


def _table(file: Path, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: {key}: must be a table, not {value!r}")
    return value


__all__ = ["Project", "find_project"]
