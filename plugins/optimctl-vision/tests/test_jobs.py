"""The jobs of examples/ that this package is for: a few iterations of each, from the file to the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import optimctl

EXAMPLES = Path(__file__).parents[3] / "examples"
SHORT = ["log.interval=1", 'job.device="cpu"']
SMALL = {
    "video_tsm": ["model.widths=[4]", "train_dataloader.batch_size=8", "train_cfg.max_epochs=1"],
    "video_swin": ["model.width=8", "train_dataloader.batch_size=8", "train_cfg.max_epochs=3"],
    "video_layer_decay": ["model.width=8", "train_dataloader.batch_size=8", "train_cfg.max_epochs=1"],
    "gan": ["model.width=8", "train_cfg.max_epochs=50", "train_cfg.val_interval=50"],
}
"""What makes a job small; each has a few iterations an epoch."""
ITERATIONS = {"video_tsm": 20, "video_swin": 1, "video_layer_decay": 10, "gan": 1}


def run_small(name: str, folder: Path) -> Path:
    """The run of a small copy of an example."""
    length = f"train_cfg.epoch_length={ITERATIONS[name]}"
    return optimctl.run(optimctl.load_job(EXAMPLES / f"{name}.toml", [*SHORT, *SMALL[name], length]), work_dir=folder)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("video_tsm", "accuracy"),
        ("video_swin", "accuracy"),
        ("video_layer_decay", "accuracy"),
        ("gan", "energy_distance"),
    ],
)
def test_an_example_begins_to_train(name: str, metric: str, tmp_path: Path) -> None:
    folder = run_small(name, tmp_path)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [record["iteration"] for record in records if record["split"] == "train"][:2] == [1, 2]
    assert metric in records[-1]
    assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "completed"


def test_the_halves_of_the_gan_have_rates_of_their_own(tmp_path: Path) -> None:
    folder = run_small("gan", tmp_path)
    first = json.loads((folder / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    assert first["generator.lr"] == pytest.approx(1e-3)
    assert first["discriminator.lr"] == pytest.approx(2e-4)  # it warms up
    assert first["loss"] == pytest.approx(first["loss_d"] + first["loss_g"])
