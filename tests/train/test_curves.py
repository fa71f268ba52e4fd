"""The picture that a run leaves: what is in it, and that no run is worse for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optimctl
from optimctl.errors import RunFailed
from optimctl.train.curves import curve_panels, read_series
from optimctl.train.run import run
from tests.jobs import blobs, read_records


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_records(*records: dict[str, Any]) -> Path:
    file = Path("metrics.jsonl")
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return file


def train(iteration: int, **values: Any) -> dict[str, Any]:
    return {"iteration": iteration, "epoch": 1, "split": "train", **values}


def val(iteration: int, **values: Any) -> dict[str, Any]:
    return {**train(iteration, **values), "split": "val"}


def test_a_run_leaves_its_curves(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path))
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" not in (folder / "log.txt").read_text("utf-8")


def test_the_lines_are_the_records(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path))
    panels = {panel.name: panel for panel in curve_panels(read_series(folder / "metrics.jsonl"), {"lr": "lr"})}
    assert list(panels) == ["loss", "accuracy", "lr", "grad_norm"]
    records = read_records(folder)
    for split, line in zip(("train", "val"), panels["loss"].lines, strict=True):
        own = [record for record in records if record["split"] == split]
        assert line.label == split
        assert (line.x.tolist(), line.y.tolist()) == ([r["iteration"] for r in own], [r["loss"] for r in own])
    assert [line.label for line in panels["accuracy"].lines] == ["val"]


def test_every_number_has_its_panel() -> None:
    file = write_records(
        train(5, loss=3.0, loss_a=1.0, loss_b=2.0, **{"g.lr": 0.1, "d.lr": 0.2, "d.grad_norm": 4.0}),
        val(5, loss=2.5, accuracy=0.5, note="a text"),
        train(10, loss=None, loss_a=1.0, loss_b=2.0, **{"g.lr": 0.1, "d.lr": 0.2, "d.grad_norm": 4.0}),
    )
    best = {"metric": "accuracy", "value": 0.5, "iteration": 5, "checkpoint": "..."}
    panels = curve_panels(read_series(file), {"g.lr": "lr", "d.lr": "lr"}, best)
    assert {panel.name: [line.label for line in panel.lines] for panel in panels} == {
        "loss": ["train", "train loss_a", "train loss_b", "val"],
        "accuracy": ["val", "best: 0.5 at 5"],
        "lr": ["g.lr", "d.lr"],
        "d.grad_norm": ["train"],
    }
    assert np.array_equal(panels[0].lines[0].y, [3.0, np.nan], equal_nan=True)


def test_an_option_steps_where_a_record_says_another_value() -> None:
    file = write_records(*(train(10 * n, lr=0.1 if n <= 3 else 0.01) for n in range(1, 6)))
    ((line,),) = (panel.lines for panel in curve_panels(read_series(file), {"lr": "lr"}))
    assert (line.x.tolist(), line.y.tolist()) == ([0, 30, 30, 50], [0.1, 0.1, 0.01, 0.01])


def test_many_records_are_few_points_with_their_means_before_them() -> None:
    file = write_records(*(train(n, loss=(n * 7919 % 1000) / 1000) for n in range(1, 20_001)))
    ((means, line),) = (panel.lines for panel in curve_panels(read_series(file), {}))
    assert len(line.x) < 5000
    assert (line.y.min(), line.y.max()) == (0.0, 0.999)
    assert [(one.label, one.pale) for one in (means, line)] == [("train, means of 100", False), ("train", True)]
    assert (len(means.x), means.x[0]) == (200, 50.5)
    assert means.y.mean() == pytest.approx(0.4995)


def test_a_run_that_fails_leaves_its_curves_too(tmp_path: Path) -> None:
    with pytest.raises(RunFailed):
        run(blobs(tmp_path, "optim_wrapper.optimizer.lr=1e38", "log.interval=1"))
    (folder,) = Path("runs/blobs").iterdir()
    assert (folder / "curves.png").exists()


def test_a_run_that_fails_at_once_has_none(tmp_path: Path) -> None:
    class Stop(optimctl.Hook):
        def before_run(self, run: Any) -> None:
            raise OSError("no")

    with pytest.raises(RunFailed):
        run(blobs(tmp_path), hooks=[Stop()])
    (folder,) = Path("runs/blobs").iterdir()
    assert not (folder / "curves.png").exists()
    assert "curves.png" not in (folder / "log.txt").read_text("utf-8")


def test_without_matplotlib_there_is_none_and_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = run(blobs(tmp_path))
    assert not (folder / "curves.png").exists()
    assert "matplotlib" not in (folder / "log.txt").read_text("utf-8")


def test_a_picture_that_cannot_be_drawn_is_one_line_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such colour")

    monkeypatch.setattr("optimctl.train.curves.draw_panels", broken)
    folder = run(blobs(tmp_path))
    assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "completed"
    lines = (folder / "log.txt").read_text("utf-8").splitlines()
    assert lines[-1].startswith("curves.png was not drawn: ValueError: no such colour (test_curves.py:")
