"""The packages below ``plugins/`` use what any package may use, and nothing else of optimctl."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC = (
    "optimctl",
    "optimctl.contracts",
    "optimctl.errors",
    "optimctl.export",
    "optimctl.optim",
    "optimctl.schedule",
    "optimctl.testing",
)
PACKAGES = sorted(folder for folder in (ROOT / "plugins").glob("*/optimctl_*") if folder.is_dir())


def imports(package: Path) -> Iterator[tuple[str, str]]:
    """Each module of optimctl that a package imports, with the name that it takes from there: nothing for the module as a whole."""
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "optimctl":
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "optimctl")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_imports_public_names_only(package: Path) -> None:
    assert list(package.rglob("*.py"))
    assert [found for found in imports(package) if not is_public(*found)] == []


def is_public(module: str, name: str) -> bool:
    return module in PUBLIC and (not name or name in _names(module))


def _names(module: str) -> list[str]:
    found = importlib.import_module(module)
    return list(getattr(found, "__all__", dir(found)))


def test_the_manual_lists_the_public_modules() -> None:
    _, _, section = (ROOT / "docs" / "plugins.md").read_text("utf-8").partition("## What a plugin may import")
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert sorted(word.strip("`") for row in rows for word in row.split("|")[1].strip().split(", ")) == sorted(PUBLIC)
