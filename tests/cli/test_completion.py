"""What the shell offers after TAB."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from optimctl.cli.completion import job_files
from optimctl.cli.main import program
from tests.plugins_on_disk import Site, write_project


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def offered(*words: str) -> list[str]:
    """What is offered for the last of the words of a command line."""
    *before, incomplete = words
    items = ShellComplete(program, {}, "optimctl", "_OPTIMCTL_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in items]


def test_jobs_and_folders_complete_where_a_job_is_wanted() -> None:
    for name in (
        "job.toml",
        "jobs/a.toml",
        "jobs/deep/b.toml",
        "notes.txt",
        "pyproject.toml",
        ".hidden.toml",
        "runs/x.log",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert offered("run", "") == ["job.toml", "jobs/", "runs/"]
    assert offered("inspect", "jo") == ["job.toml", "jobs/"]
    assert offered("validate", "job.toml", "job.") == ["job.toml"]
    assert offered("run", "jobs") == ["jobs/a.toml", "jobs/deep/"]
    assert offered("run", "jobs/d") == ["jobs/deep/b.toml"]
    assert offered("run", "runs") == ["runs/"]
    assert offered("run", ".h") == [".hidden.toml"]
    assert offered("run", f"{Path.cwd()}/job.") == [f"{Path.cwd()}/job.toml"]
    assert offered("run", "nowhere/") == []
    assert offered("run", "~nobody-at-all/") == []


def test_names_of_plugins_complete(site: Site) -> None:
    names = {"Sgdish": "net:Net", "two words": "net:Net", "\x1bpaints": "net:Net"}
    site.install("nets", {"models": names}, {"net": "raise OSError"})
    assert offered("plugins", "show", "sgdi") == ["Sgdish"]
    assert offered("plugins", "show", "--kind", "optimizers", "LB") == ["LBFGS"]
    assert offered("plugins", "show", "nets/") == ["nets/Sgdish"]
    assert offered("plugins", "check", "net") == ["nets"]
    assert "net" not in sys.modules


def test_kinds_and_commands_complete() -> None:
    assert offered("plugins", "list", "mo") == ["models"]
    assert offered("plugins", "show", "--kind", "hoo") == ["hooks"]
    assert offered("plug") == ["plugins"]
    assert offered("plugins", "") == ["check", "list", "new", "show"]


def test_names_of_the_project_complete_that_the_line_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIMCTL_PROJECT", "")  # so that what the line sets is undone after the test
    monkeypatch.delenv("OPTIMCTL_PROJECT")
    folder = write_project(tmp_path / "mine", '[tool.optimctl.plugins.models]\nVeryOwn = "train:VeryOwn"\n')
    assert offered("plugins", "show", "VeryO") == []
    from optimctl import plugins

    plugins.installed.cache_clear()
    assert offered("plugins", "show", "--project", str(folder), "VeryO") == ["VeryOwn"]


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


def test_every_command_that_takes_a_job_completes_it() -> None:
    wanting = [
        (command.name, parameter)
        for command in commands(program)
        for parameter in command.params
        if isinstance(parameter, click.Argument) and "JOB" in (parameter.metavar or "")
    ]
    assert len(wanting) >= 3
    assert [name for name, parameter in wanting if parameter._custom_shell_complete is not job_files] == []


def ask(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_OPTIMCTL_COMPLETE": "bash_complete"}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "optimctl"],
        cwd=cwd,
        env={**os.environ, **words, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("optimctl run j", "plain,job.toml\n"),
        ("optimctl plugins show LBF", "plain,LBFGS\n"),
        ("optimctl run --project x", "dir,\n"),
    ],
)
def test_a_shell_is_answered_without_torch(line: str, answer: str) -> None:
    Path("job.toml").touch()
    done = ask(line, Path.cwd())
    assert (done.returncode, done.stdout) == (0, answer)
    modules = {row.rpartition("|")[2].strip().partition(".")[0] for row in done.stderr.splitlines()}
    assert not modules & {"torch", "pydantic", "rich", "numpy"}


def test_a_shell_is_told_nothing_where_nothing_can_be_found_out() -> None:
    Path("pyproject.toml").write_text("[tool.optimctl.plugins.modles]\n", "utf-8")
    done = ask("optimctl plugins show Ada", Path.cwd())
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_that_a_shell_needs_are_printed(shell: str) -> None:
    environment = {**os.environ, "_OPTIMCTL_COMPLETE": f"{shell}_source"}
    command = [str(Path(sys.executable).with_name("optimctl"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "_OPTIMCTL_COMPLETE" in done.stdout
