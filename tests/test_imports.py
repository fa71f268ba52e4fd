"""What may be imported when: a command that needs no torch must not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from importlib_metadata import packages_distributions

JOB = """
[optim_wrapper.optimizer]
type = "AdamW"
lr = 1e-3

[[param_scheduler]]
type = "CosineAnnealingLR"
by_epoch = true

[train_cfg]
max_epochs = 3
epoch_length = 100
"""

HELP = {"click"}
FINDING = {"importlib_metadata", "lazy-importer", "tomli", "zipp"}
SCREEN = {"Pygments", "markdown-it-py", "mdurl", "rich"}
SCHEMA = {"annotated-types", "pydantic", "pydantic_core", "typing-inspection", "typing_extensions"}


def imported(*arguments: str) -> set[str]:
    """The modules that a Python process imports, beyond those that each one does."""
    return set(_imported(arguments) - _imported(("-c", "pass")))


@cache
def _imported(arguments: tuple[str, ...]) -> frozenset[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPTIMCTL", "PYTHON", "COV"))
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return frozenset(line.rpartition("|")[2].strip() for line in lines)


def distributions(modules: set[str]) -> set[str]:
    """The installed distributions that modules belong to; optimctl's own modules and the standard library's are of none."""
    whose = packages_distributions()
    packages = {module.partition(".")[0] for module in modules} - {"optimctl"}
    return {distribution for package in packages for distribution in whose.get(package, [])}


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["run", "--help"], ["inspect", "--help"], ["diff", "--help"]]
)
def test_help_imports_click_and_nothing_else(command: list[str]) -> None:
    assert distributions(imported("-m", "optimctl", *command)) <= HELP


@pytest.mark.parametrize("command", [["export", "--help"], ["export", "pt2", "--help"], ["import", "--help"]])
def test_help_tells_of_formats_without_what_they_need(command: list[str]) -> None:
    assert distributions(imported("-m", "optimctl", *command)) <= HELP | FINDING


def test_listing_plugins_reads_metadata_only() -> None:
    assert distributions(imported("-m", "optimctl", "plugins", "list")) <= HELP | FINDING | SCREEN


def test_validating_a_job_needs_no_torch(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text(JOB, "utf-8")
    assert distributions(imported("-m", "optimctl", "validate", str(job))) <= HELP | FINDING | SCREEN | SCHEMA


@pytest.mark.parametrize("module", ["optimctl", "optimctl.errors", "optimctl.plugins", "optimctl.cli.main"])
def test_importing_the_lower_rooms_is_light(module: str) -> None:
    assert distributions(imported("-c", f"import {module}")) <= HELP


def test_help_imports_no_room_that_it_does_not_show() -> None:
    rooms = {name.split(".")[1] for name in imported("-m", "optimctl", "--help") if name.startswith("optimctl.")}
    assert rooms <= {"__main__", "cli", "errors", "plugins"}
