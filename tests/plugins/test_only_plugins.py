"""A job is data: nothing that it can write makes optimctl import or call what is not a plugin of the right kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from optimctl.cli.main import exit_code
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]

NAMES = [
    "os:system",
    "os.system",
    "torch.optim:SGD",
    "torch.optim.SGD",
    "evil",
    "evil:Net",
    "project/evil",
    "../evil",
    "optimctl/../evil",
    "optimctl/evil:Net",
    "sound/../optimctl/evil",
    "/evil",
    "/SGD",
    "/MLP",
    "evil/",
    "./evil.py",
    "builtins/eval",
    "sound",
    "optimctl",
    "__import__",
    "SGD\n",
    "\x00",
    " ",
]
TABLES: list[tuple[str, dict[str, Any], str]] = [
    ("model", {"model": {}}, "MLP"),
    ("task", {"task": {}}, "Classification"),
    ("train_dataloader.dataset", {"train_dataloader": {"dataset": {}}}, "Synthetic"),
    ("optim_wrapper.optimizer", {"optim_wrapper": {"optimizer": {}}}, "SGD"),
    ("optim_wrapper", {"optim_wrapper": {"optimizer": {"type": "SGD"}}}, "OptimWrapper"),
    ("optim_wrapper.constructor", {"optim_wrapper": {"constructor": {}, "optimizer": {"type": "SGD"}}}, "Routes"),
    ("param_scheduler", {"param_scheduler": {}}, "LinearLR"),
    ("hooks.Evil", {"hooks": {"Evil": {}}}, "EMA"),
]
"""The tables of a job that name a plugin, each with a right name; every other one is of another kind."""


@pytest.fixture(autouse=True)
def _evil_lies_everywhere(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that must not be imported can be, from the working directory and from ``site-packages``."""
    for folder in (tmp_path, site.folder):
        (folder / "evil.py").write_text("raise SystemExit('imported')", "utf-8")
    site.install("sound", {"exporters": {"Net": "evil:Net"}})
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))


def refused(job: dict[str, Any], key: str, capsys: Captured, *command: str) -> None:
    Path("job.toml").write_text(tomli_w.dumps(job), "utf-8")
    assert exit_code(["validate", "job.toml", "--json", *command]) == 2
    codes = {(problem["key"], problem["code"]) for problem in json.loads(capsys.readouterr().out)}
    assert (key, "unknown-plugin") in codes
    assert {code for _, code in codes} <= {"unknown-plugin", "missing-key"}
    assert "evil" not in sys.modules


@pytest.mark.parametrize(("key", "job", "right"), TABLES, ids=[key for key, _, _ in TABLES])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_plugins_name_is_refused(
    key: str, job: dict[str, Any], right: str, name: str, capsys: Captured
) -> None:
    refused(_with_type(job, key, name), f"{key}.type", capsys)


@pytest.mark.parametrize(("key", "job", "right"), TABLES, ids=[key for key, _, _ in TABLES])
@pytest.mark.parametrize("name", [*(right for _, _, right in TABLES), "Net"])
def test_a_plugin_of_another_kind_is_refused(
    key: str, job: dict[str, Any], right: str, name: str, capsys: Captured
) -> None:
    if name != right:
        refused(_with_type(job, key, name), f"{key}.type", capsys, "--plugins")
        refused(_with_type(job, key, f"optimctl/{name}"), f"{key}.type", capsys)


@pytest.mark.parametrize("name", ["os.system", "evil", "Module", "../Loss", "modules.loss.MSELoss", "__loader__"])
def test_a_loss_is_one_of_torchs(name: str, capsys: Captured) -> None:
    for loss in (name, {"type": name}):
        Path("job.toml").write_text(tomli_w.dumps({"task": {"type": "Supervised", "loss": loss}}), "utf-8")
        assert exit_code(["inspect", "job.toml"]) == 2
        assert f"torch.nn has no loss called '{name}'" in capsys.readouterr().err


def test_a_route_names_optimizers_only(capsys: Captured) -> None:
    routes = [{"match": {"dimensions": [2]}, "optimizer": {"type": "evil:Net", "lr": 0.1}}]
    job = {"optim_wrapper": {"constructor": {"type": "Routes", "routes": routes}, "optimizer": {"type": "SGD"}}}
    Path("job.toml").write_text(tomli_w.dumps(job), "utf-8")
    assert exit_code(["validate", "job.toml"]) == 2
    assert "no optimizer is called 'evil:Net'" in capsys.readouterr().err


def test_no_command_takes_a_module(capsys: Captured) -> None:
    for arguments in (["plugins", "show", "evil:Net"], ["plugins", "show", "evil"], ["plugins", "check", "evil"]):
        assert exit_code(arguments) == 2
        assert capsys.readouterr().out == ""
    assert "evil" not in sys.modules


def _with_type(job: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """A copy of the job whose table at ``key`` names ``name``."""
    changed: dict[str, Any] = json.loads(json.dumps(job))
    table = changed
    for part in key.split("."):
        table = table[part]
    table["type"] = name
    return changed
