"""What docs/export.md shows works as it stands: commands are typed in a shell, files are written, Python is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS: list[tuple[str, str]] = re.findall(
    r"^```(\w+)\n(.*?)^```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


def typed(command: str, folder: Path) -> str:
    """What a command prints; ``optimctl`` is this Python's."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTIMCTL")}
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def words(line: str) -> str:
    """A record without its measured values, which the number of threads changes."""
    return re.sub(r"\d+\.\d+", "...", line)


def test_the_page_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    trained, *shown = [text for language, text in BLOCKS if language == "text"]
    script, printed = "", ""
    for language, text in BLOCKS:
        named = re.match(r"# (\S+\.(?:py|toml))\n", text)
        if named:
            Path(named[1]).write_text(text, "utf-8")
        elif language == "bash":
            run = next(Path("runs/digits").glob("*"), "")  # each block has a shell of its own
            printed = typed(f"run={run}\n{text}", tmp_path)
            script = printed if "train_digits.py --epochs" in text else script
        elif language == "python":
            exec(compile(text, "docs/export.md", "exec"), {})
    assert [words(line) for line in script.splitlines()] == [words(line) for line in trained.splitlines()]
    assert numbers(script.splitlines()[0]) == pytest.approx(numbers(trained.splitlines()[0]), rel=1e-4)
    excerpt = next(text for language, text in BLOCKS if language == "py")
    assert f"\n{excerpt}\n" in Path("train_digits.py").read_text("utf-8")
    assert Path("gan.csv").read_text("utf-8").startswith(shown[0])
    assert capsys.readouterr().out == shown[1]
    whole = Path("digits-whole.toml").read_text("utf-8")
    table = next(text for language, text in BLOCKS if language == "toml" and "[optim_wrapper.optimizer]" in text)
    assert f"\n{table}\n" in whole
    assert printed.splitlines()[0].endswith(",(32, 1, 3, 3)")
    assert printed.splitlines()[-1].split() == ["old.txt", "old.toml", "1", "1"]
    assert "# mood = good\n" in Path("old.toml").read_text("utf-8")
