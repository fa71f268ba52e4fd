"""An exported script, run without optimctl, prints the run's own losses to the last bit and ends with its weights."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import optimctl
from optimctl.cli.main import exit_code
from optimctl.export.python import export_python
from optimctl.export.source import Source
from tests.jobs import BLOBS, read_records

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(
    str(file.relative_to(ROOT))
    for folder in ("examples", "plugins")
    for file in (ROOT / folder).glob("**/*.toml")
    if file.name != "pyproject.toml"
)
PARTS = 4
"""Scripts share a process, as most of their time is torch's import; so many processes can run side by side."""
SHORT: dict[str, tuple[str, ...]] = {
    **{f"examples/video_{name}.toml": ("train_cfg.max_iters=3",) for name in ("tsm", "layer_decay")},
    "examples/video_swin.toml": ("train_cfg.max_iters=3", "param_scheduler.0.end=40%", "param_scheduler.1.begin=40%"),
    "examples/customize_optimizer/16_warmup_converted.toml": ("train_cfg.max_epochs=11",),
    "examples/gan.toml": ("train_cfg.max_epochs=3",),
}
RUNNER = """
import contextlib, io, pathlib, runpy, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "optimctl":
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Without())
for script in map(pathlib.Path, sys.argv[1:]):
    sys.argv = [str(script), "--work-dir", str(script.with_suffix(""))]
    with open(script.with_suffix(".txt"), "w") as out, contextlib.redirect_stdout(out):
        runpy.run_path(str(script), run_name="__main__")
"""


def job_of(name: str) -> Any:
    return optimctl.load_job(name, overrides=SHORT.get(name, ("train_cfg.max_epochs=2",)))


def printed(script: Path) -> list[tuple[str, int, dict[str, float]]]:
    """The records that a script has printed: split, iteration, values."""
    found = []
    for line in script.with_suffix(".txt").read_text("utf-8").splitlines():
        match = re.fullmatch(r"(\w+), iteration (\d+): (.*)", line)
        if match:
            pairs = (pair.rsplit(" ", 1) for pair in match[3].split(", "))
            found.append((match[1], int(match[2]), {name: float(value) for name, value in pairs}))
    return found


def run_scripts(scripts: list[Path]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", RUNNER, *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def assert_same(job: Any, script: Path, folder: Path) -> None:
    """The script's records and last weights are the run's."""
    records = [(one["split"], one["iteration"], one) for one in read_records(folder)]
    came = printed(script)
    assert [one[:2] for one in came] == [one[:2] for one in records], job.name
    for (_, _, values), (_, _, record) in zip(came, records, strict=True):
        told = {name: value for name, value in values.items() if name in record}
        assert told, job.name
        assert told == {name: record[name] for name in told}, job.name
    last = sorted((folder / "checkpoints").glob("*.pt"))[-1]
    theirs = torch.load(script.with_suffix("") / last.name, weights_only=True)["model"]
    ours = torch.load(last, weights_only=True)["model"]
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items()), job.name


@pytest.mark.parametrize("part", range(PARTS))
def test_a_script_has_the_runs_losses_and_weights(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    jobs = [job_of(name) for name in EXAMPLES[part::PARTS]]
    scripts = [tmp_path / f"{index}.py" for index in range(len(jobs))]
    for job, script in zip(jobs, scripts, strict=True):
        script.write_text(export_python(Source(job)), "utf-8")
    run_scripts(scripts)
    for job, script in zip(jobs, scripts, strict=True):
        folder = optimctl.run(job, work_dir=tmp_path / "runs" / script.stem)
        assert_same(job, script, Path(folder))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_script_reads_as_one_written_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = export_python(Source(optimctl.load_job(name)))
    tree = ast.parse(text)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [one for one in names if one.partition(".")[0] == "optimctl"]
    assert text.endswith('if __name__ == "__main__":\n    main()\n')
    assert max(len(line) for line in text.splitlines()) <= 88
    assert text == export_python(Source(optimctl.load_job(name)))


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blobs.toml").write_text(BLOBS, "utf-8")
    assert exit_code(["export", "python", "blobs.toml", "-o", "train.py"]) == 0
    script = tmp_path / "train.py"
    run_scripts([script])
    folder = Path(optimctl.run(optimctl.load_job("blobs.toml"), work_dir="runs"))
    assert_same(optimctl.load_job("blobs.toml"), script, folder)
    assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "completed"


FOREIGN = """
class Spy:
    def before_iteration(self, run):
        pass
"""


def test_what_cannot_be_exported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.optimctl.plugins.hooks]\nSpy = "spy:Spy"\n', "utf-8")
    Path("spy.py").write_text(FOREIGN, "utf-8")
    Path("blobs.toml").write_text(BLOBS + "[hooks.Spy]\n", "utf-8")
    assert exit_code(["export", "python", "blobs.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("blobs.toml:")
    assert "hooks.Spy" in err
