"""Plugins that are broken in every way: commands that do not use them go on, and a job that does is told whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from tests.jobs import BLOBS, write_blobs
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]

BROKEN = {
    "import-error": (
        "import no_such_library",
        "cannot be loaded: ModuleNotFoundError: No module named 'no_such_library'",
    ),
    "syntax-error": ("def f(:", "cannot be loaded: SyntaxError: invalid syntax (syntax_error.py, line 1)"),
    "exits": ("import sys\nsys.exit(3)", "cannot be loaded: SystemExit: 3 (exits.py:2 in <module>)"),
    "no-attribute": (
        "def Nat(): ...",
        "cannot be loaded: module 'no_attribute' has no attribute 'Net'; did you mean 'Nat'?",
    ),
    "wrong-type": ("Net = 3", "is of type int; it must be a callable that returns a torch.nn.Module"),
    "wrong-class": ("class Net: ...", "is the class Net; it must be a callable that returns a torch.nn.Module"),
    "hard-exit": ("import os\nos._exit(7)", None),
    "endless": ("while True: ...", None),
}
"""Distribution to: its module, and what a job that names its model is told; nothing can tell it where the process is gone."""


def install_all(site: Site) -> None:
    for name, (source, _) in BROKEN.items():
        module = name.replace("-", "_")
        site.install(name, {"models": {f"Net-{name}": f"{module}:Net"}}, {module: source})
    site.install("painted", {"models": {"\x1b[2JNet": "net:Net", "Net\x07": "net:Net", "sla/sh": "net:Net"}})
    site.install("unknown-kind", {"model": {"Net": "net:Net"}})
    (site.install("no-metadata", {"models": {"Net": "net:Net"}}) / "METADATA").unlink()
    (site.install("halved", {"models": {"Net": "net:Net"}}) / "entry_points.txt").write_text("[optimctl.models]\nNet\n")
    (site.install("garbled", {"models": {"Net": "net:Net"}}) / "entry_points.txt").write_bytes(
        b"[optimctl.models]\n\xff = x"
    )


@pytest.mark.parametrize(
    "command",
    [
        ("plugins", "list"),
        ("plugins", "show", "MLP"),
        ("plugins", "check", "optimctl"),
        ("validate", "blobs.toml", "--plugins"),
        ("inspect", "blobs.toml"),
        ("run", "blobs.toml", "--set", "train_cfg.max_epochs=1", "--set", "train_dataloader.num_workers=1"),
    ],
    ids=" ".join,
)
def test_commands_that_do_not_use_them_go_on(site: Site, tmp_path: Path, command: tuple[str, ...]) -> None:
    install_all(site)
    write_blobs(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(site.folder)}
    done = subprocess.run(
        [sys.executable, "-m", "optimctl", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name, (_, cause) in BROKEN.items() if cause])
@pytest.mark.parametrize("command", [["validate", "--plugins"], ["inspect"], ["run"]], ids=" ".join)
def test_the_job_that_uses_one_is_told_whose_it_is(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, name: str, command: list[str]
) -> None:
    install_all(site)
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text(BLOBS.replace('type = "MLP"', f'type = "Net-{name}"'), "utf-8")
    assert exit_code([command[0], "job.toml", *command[1:]]) == 2
    out, err = capsys.readouterr()
    place = f"{name.replace('-', '_')}:Net"
    assert out == ""
    assert f"job.toml:6:8: model.type: the model 'Net-{name}' of {name} ({place}) {BROKEN[name][1]}" in err
    assert "Traceback" not in err


def test_a_job_that_needs_flawed_metadata_is_told_whose_it_is(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    install_all(site)
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text('[model]\ntype = "Net"\n', "utf-8")
    assert exit_code(["validate", "job.toml"]) == 2
    told = capsys.readouterr().err
    assert "model.type: no model is called 'Net'" in told
    (line,) = [line for line in told.splitlines() if "something is wrong with the metadata of" in line]
    assert line.endswith("'garbled', 'halved' and 'unknown-kind': `optimctl plugins check`")
