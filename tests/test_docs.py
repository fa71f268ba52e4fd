"""The code on the pages runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import optimctl
from optimctl import plugins
from optimctl.cli.main import exit_code

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def test_docs_python_runs_from_top_to_bottom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    scope: dict[str, Any] = {}
    for block in blocks("docs/python.md"):
        exec(compile(block, "docs/python.md", "exec"), scope)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        "['0.weight'] 0.003 0.05",
        "['0.bias', '1.weight', '1.bias'] 0.003 0.0",
        "['3.weight', '3.bias'] 0.006 0.05",
    ]
    assert printed[3] == "True ['decay-on-small']"
    assert printed[4].startswith("30 {'lr': 0.01")
    assert printed[-2] == "[0.1, 0.05]"
    assert printed[-1] == "digits 16 SGD"


def test_the_readmes_first_screen_is_what_comes(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    for block in blocks("README.md"):
        exec(compile(block, "README.md", "exec"), scope)
    came = capsys.readouterr().out
    page = (ROOT / "README.md").read_text("utf-8")
    shown = page[page.index("```\nTransformerEncoder: ") + 4 :].partition("\n```")[0]
    first, last = shown.split("   ...\n")
    assert came.startswith(first)
    assert came.endswith(f"{last}\n")
    wrapped = optimctl.explain(scope["model"], scope["optimizer"], scope["scheduler"])
    assert [finding.code for finding in wrapped.findings] == []


def fenced(page: str) -> Iterator[tuple[str, str]]:
    """Each block of a page: its language, and what is in it."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_docs_plugins_runs_from_top_to_bottom(
    tmp_path: Path, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A block that begins with the name of a file is that file, a console is typed, and any other Python is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    scope: dict[str, Any] = {}
    ran: list[str] = []
    printed = ""
    for language, text in fenced("docs/plugins.md"):
        named = re.match(r"# (\S+\.(?:py|toml))\n", text)
        if named:
            file = tmp_path / named[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
            plugins.installed.cache_clear()
        elif language == "console":
            for line in text.splitlines():
                command = line.removeprefix("$ optimctl ").split()
                assert (command, exit_code(command)) == (command, 0), capsys.readouterr().err
                ran.append(line)
            capsys.readouterr()
        elif language == "text":
            assert text == printed
        elif language == "python":
            exec(compile(text, "docs/plugins.md", "exec"), scope)
            printed = capsys.readouterr().out
    assert len(ran) == 10
    assert len(list((tmp_path / "runs").iterdir())) == 2
