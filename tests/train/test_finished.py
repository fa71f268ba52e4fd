"""Which folder is a run, and which of its files is meant by best, last, or a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimctl.errors import UsageError
from optimctl.train.finished import find_checkpoint, is_run, newest_run


def a_run(folder: Path, *iterations: int, best: int | None = None) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "job.toml").touch()
    for iteration in iterations:
        (folder / "checkpoints" / f"iteration-{iteration:08d}.pt").touch()
    summary: dict[str, Any] = {"best": None if best is None else {"checkpoint": f"checkpoints/iteration-{best:08d}.pt"}}
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    return folder


def refusal(run: Path, which: str | None) -> str:
    with pytest.raises(UsageError) as caught:
        find_checkpoint(run, which)
    return str(caught.value)


def test_a_run_is_a_folder_with_its_job_and_its_summary(tmp_path: Path) -> None:
    run = a_run(tmp_path / "digits" / "20260102-030405-ab12")
    a_run(tmp_path / "digits" / "20260102-030405-00ff")
    assert is_run(run)
    assert not is_run(run / "job.toml")
    assert not is_run(tmp_path)
    assert not is_run("x" * 5000)
    assert newest_run(tmp_path) == newest_run(tmp_path / "digits") == run
    assert newest_run(run) is None


def test_best_last_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = a_run(Path("run"), 5, 10, 100, best=10)
    Path("elsewhere.pt").touch()
    folder = run / "checkpoints"
    assert find_checkpoint(run) == find_checkpoint(run, "best") == folder / "iteration-00000010.pt"
    assert find_checkpoint(run, "last") == folder / "iteration-00000100.pt"
    assert find_checkpoint(run, "iteration-00000005.pt") == folder / "iteration-00000005.pt"
    assert find_checkpoint(run, "checkpoints/iteration-00000005.pt") == folder / "iteration-00000005.pt"
    assert find_checkpoint(run, "elsewhere.pt") == Path("elsewhere.pt")
    assert find_checkpoint(a_run(Path("other"), 3)) == Path("other/checkpoints/iteration-00000003.pt")


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(a_run(Path("empty")), None) == (
        "empty has no checkpoint: it ended before the first one, or they were deleted"
    )
    assert refusal(a_run(Path("plain"), 3), "best") == (
        "plain has no best checkpoint, as its job has no checkpoint.save_best; --checkpoint last takes the newest one"
    )
    gone = "the best checkpoint of gone is gone, iteration-00000003.pt; --checkpoint last takes the newest one"
    assert refusal(a_run(Path("gone"), 5, best=3), None) == gone
    assert refusal(Path("gone"), "iteration-00000003.pt") == (
        "there is no checkpoint 'iteration-00000003.pt'; did you mean 'iteration-00000005.pt'?"
    )
    assert refusal(Path("gone"), "?") == "there is no checkpoint '?'; the newest of the run is iteration-00000005.pt"
    assert refusal(Path("empty"), "lst") == "there is no checkpoint 'lst'; did you mean 'last'?"
    Path("gone/summary.json").write_text("{", "utf-8")
    assert refusal(Path("gone"), None).startswith("gone/summary.json cannot be read (JSONDecodeError: ")
    assert find_checkpoint(Path("gone"), "last").name == "iteration-00000005.pt"
