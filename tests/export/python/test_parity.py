"""Exported scripts print and end with what a run records and ends with; ruff finds nothing in them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from optimctl.export.python import export_python
from optimctl.export.source import Source
from optimctl.job.load import load_job
from tests.export.python.scripts import differences, ruff_finds
from tests.export.python.variants import (
    CHANGED,
    JOB,
    ROOT,
    UNSET,
    VARIANTS,
    write_weights,
)

FOLDERS = ("examples/**/*.toml", "plugins/*/examples/**/*.toml")
EXAMPLES = [str(file.relative_to(ROOT)) for pattern in FOLDERS for file in sorted(ROOT.glob(pattern))]
WHOLE = ("examples/customize_optimizer/11_accumulative_counts.toml", "examples/customize_optimizer/12_large_batch.toml")
SHORTER = {
    "examples/customize_optimizer/16_warmup_converted.toml": ["train_cfg.max_epochs=11"],
    "examples/customize_optimizer/17_momentum.toml": ["train_cfg.max_iters=60", "param_scheduler.1.end=60"],
    "examples/ema.toml": ["train_cfg.max_epochs=3"],
    "examples/video_layer_decay.toml": ["train_cfg.max_epochs=1", "train_dataloader.dataset.clips=1"],
    "examples/video_swin.toml": ["train_cfg.max_epochs=2", "train_dataloader.dataset.clips=1"],
}
"""What is set so that an example takes a moment; one epoch for those that are not here."""


def test_each_example_gives_the_losses_and_the_weights_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    overrides = {name: SHORTER.get(name, [] if name in WHOLE else ["train_cfg.max_epochs=1"]) for name in EXAMPLES}
    jobs = {name: load_job(name, settings) for name, settings in overrides.items()}
    assert len(jobs) >= 31
    assert differences(jobs, tmp_path) == {}
    assert ruff_finds(tmp_path) == ""


@pytest.mark.usefixtures("project")
def test_whatever_a_job_asks_for_the_script_does_as_the_run_does(tmp_path: Path) -> None:
    write_weights()
    jobs = {name: load_job("job.toml", settings, UNSET.get(name, ())) for name, settings in VARIANTS.items()}
    ready = (
        dedent(JOB)
        .replace("batch_size = 16\nshuffle = true\n", "")
        .replace('{ type = "Points" }', '{ type = "Ready" }')
    )
    Path("ready.toml").write_text(ready, "utf-8")
    jobs["a loader that is ready"] = load_job("ready.toml")
    assert differences(jobs, tmp_path / "made") == {}
    assert ruff_finds(tmp_path / "made") == ""


@pytest.mark.usefixtures("project")
def test_a_script_with_other_values_is_the_job_with_them(tmp_path: Path) -> None:
    exported, jobs, arguments = {}, {}, {}
    for name, own in CHANGED.items():
        for epochs in (1, 5):
            other = [f"train_cfg.max_epochs={epochs}", "optim_wrapper.optimizer.lr=0.03", "job.seed=9"]
            key = f"{name}, {epochs} epochs"
            exported[key], jobs[key] = load_job("job.toml", own), load_job("job.toml", [*own, *other])
            arguments[key] = ["--epochs", str(epochs), "--lr", "0.03", "--seed", "9"]
    assert differences(jobs, tmp_path / "made", exported, arguments) == {}


@pytest.mark.usefixtures("project")
def test_a_script_refuses_a_length_that_its_schedule_is_not_written_for(tmp_path: Path) -> None:
    job = load_job("job.toml", ['param_scheduler={type="CosineAnnealingLR",T_max=2}'])
    longer = load_job("job.toml", ["train_cfg.max_epochs=3"])
    found = differences({"": longer}, tmp_path / "made", {"": job}, {"": ["--epochs", "3"]})
    assert "SystemExit: 2" in found[""]
    assert 'parser.error("the schedule is written for at most 2 epochs")' in export_python(Source(job))
