"""The code on the pages runs."""

import re
from pathlib import Path
from typing import Any

import pytest

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
    assert printed[3].startswith("30 {'lr': 0.01")
    assert printed[-2] == "[0.1, 0.05]"
    assert printed[-1] == "digits 16 SGD"
