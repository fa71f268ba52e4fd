"""``optimctl schema``: what is printed, written and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimctl.cli.main import exit_code
from tests.plugins_on_disk import Site, write_project

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    monkeypatch.chdir(tmp_path)


def names(schema: dict[str, Any], table: str) -> list[str]:
    found = schema["definitions"][table]["properties"]["type"]["else"]["enum"]
    assert isinstance(found, list)
    return found


def test_what_is_written_is_what_is_printed(capsys: Captured) -> None:
    assert exit_code(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["title"] == "A job of optimctl"
    Path("job.schema.json").write_text("the old one", "utf-8")
    assert exit_code(["schema", "-o", "job.schema.json"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("job.schema.json: ")
    assert err.endswith(" plugins; a job beside it begins with `#:schema ./job.schema.json`\n")
    assert Path("job.schema.json").read_text("utf-8") == printed
    assert [file.name for file in Path().iterdir()] == ["job.schema.json"]


def test_plugins_of_the_project_are_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("OPTIMCTL_PROJECT", "")  # which the option sets, and the test's end takes back
    table = '[tool.optimctl.plugins.tasks]\nMine = "my_parts:Mine"\n'
    module = 'print("a task")\nclass Mine:\n    def loss(self, model, batch): ...\n    def evaluate(self, model, batch): ...\n'
    write_project(tmp_path / "project", table, {"my_parts": module})
    assert exit_code(["schema", "--project", str(tmp_path / "project")]) == 0
    out, err = capsys.readouterr()
    assert "Mine" in names(json.loads(out), "TaskTable")
    assert err == "a task\n"


def test_a_plugin_that_cannot_be_loaded_is_named(site: Site, capsys: Captured) -> None:
    site.install("broken", {"tasks": {"Gone": "no_such_module:Gone"}})
    assert exit_code(["schema"]) == 0
    out, err = capsys.readouterr()
    assert "Gone" in names(json.loads(out), "TaskTable")
    assert err == (
        "warning: the task 'Gone' of broken (no_such_module:Gone) cannot be loaded: there is no module 'no_such_module'; "
        "reinstall broken; its arguments are not in the schema\n"
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (".", "'.' is a folder; name a file in it"),
        ("", "'' is no name of a file"),
        ("no/where.json", "'no/where.json' cannot be written: there is no folder no"),
    ],
)
def test_what_cannot_be_written(file: str, message: str, capsys: Captured) -> None:
    assert exit_code(["schema", "-o", file]) == 2
    assert capsys.readouterr() == ("", f"optimctl: {message}\n")
    assert list(Path().iterdir()) == []
