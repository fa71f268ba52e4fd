"""Distributions and projects as they lie on a disk, for tests of what finds them.

In this room: ``Site``, a folder on ``sys.path`` into which distributions are written as pip leaves them, and
``write_project``, a folder with a ``pyproject.toml``.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent


@dataclass(frozen=True)
class Site:
    """A folder that stands for ``site-packages``."""

    folder: Path

    def install(
        self,
        distribution: str,
        entry_points: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> Path:
        """Write a distribution: kind to name to ``module:object``, and its modules by name.

        Returns:
            Its dist-info folder.
        """
        folder = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (folder / "METADATA").write_text(metadata, "utf-8")
        groups = (
            f"[optimctl.{kind}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for kind, entries in entry_points.items()
        )
        (folder / "entry_points.txt").write_text("\n".join(groups), "utf-8")
        self.write_modules(modules or {})
        return folder

    def write_modules(self, modules: Mapping[str, str]) -> None:
        """Write modules, by name."""
        write_modules(self.folder, modules)
        importlib.invalidate_caches()  # folders change faster than a file system's clock tells

    def python(self, code: str, *options: str, cwd: Path | None = None) -> str:
        """What ``code`` prints in a new process that has this folder on its path.

        Raises:
            AssertionError: The process failed; the text is what it wrote to stderr.
        """
        return run_python(*options, "-c", dedent(code), path=self.folder, cwd=cwd)


def run_python(*arguments: str, path: Path | None = None, cwd: Path | None = None) -> str:
    """The output of a new Python process; its stderr is the failure's text where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPTIMCTL", "PYTHON"))}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def write_project(folder: Path, table: str, modules: Mapping[str, str] | None = None) -> Path:
    """Write a project: its ``pyproject.toml`` and its modules, by name; ``src/`` in a name is a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(dedent(table), "utf-8")
    write_modules(folder, modules or {})
    importlib.invalidate_caches()
    return folder


def write_modules(folder: Path, modules: Mapping[str, str]) -> None:
    """Write each module's source below ``folder``."""
    for name, source in modules.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source), "utf-8")
