"""The exported script as a whole: its command line, its imports, its strings."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import optimctl
from optimctl.cli.main import exit_code
from optimctl.export.python import export_python
from optimctl.export.python.layout import text
from optimctl.export.source import Source
from optimctl.job.load import load_job
from tests.export.python.scripts import ruff_finds
from tests.export.python.variants import (
    ROOT,
    function,
)
from tests.jobs import write_blobs


def test_the_command_line_has_what_one_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["export", "python", str(ROOT / "examples" / "gan.toml")]) == 0
    script = capsys.readouterr().out
    options = re.findall(r'"--([a-z-]+)"', function(script, "main"))
    assert options == ["seed", "device", "epochs", "generator-lr", "discriminator-lr", "work-dir"]
    head = f'"""Train `gan` with plain PyTorch.\n\nExported by optimctl {optimctl.__version__} from the job gan.toml;'
    assert script.startswith(head)


def test_a_run_gives_the_script_of_its_job(tmp_path: Path) -> None:
    job = load_job(write_blobs(tmp_path))
    run = optimctl.run(job, work_dir=tmp_path / "runs")
    scripts = [export_python(Source(one)).split('"""', 2)[2] for one in (job, load_job(run / "job.toml"))]
    assert scripts[0] == scripts[1]


def test_only_what_a_job_needs_is_imported(tmp_path: Path) -> None:
    script = export_python(Source(load_job(write_blobs(tmp_path))))
    modules = re.findall(r"^(?:import|from) (\S+)", script, re.MULTILINE)
    assert modules == ["argparse", "math", "pathlib", "typing", "torch", "torch", "torch.utils.data"]


@given(st.text(st.sampled_from("a\"'\\\n\té\x00 "), max_size=8))
def test_strings_are_written_as_themselves(value: str) -> None:
    assert eval(text(value)) == value


def test_strings_are_written_as_a_formatter_would(tmp_path: Path) -> None:
    parts = ("", "a", '"', "'", "\\", "\n\t", "é\x00")
    strings = [text("".join(three)) for three in itertools.product(parts, repeat=3)]
    script = tmp_path / "strings" / "script.py"
    script.parent.mkdir()
    lines = [f"string_{number} = {one}" for number, one in enumerate(strings)]
    script.write_text("\n".join(['"""Strings."""', "", *lines, ""]), "utf-8")
    assert ruff_finds(tmp_path) == ""
