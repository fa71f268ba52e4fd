"""``optimctl validate`` of a job of 200 lines with three levels of ``extends``, against a process that imports click and no more.

Run it with ``python benchmarks/validate.py``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from side_by_side import medians

BASE = """\
[model]
type = "MLP"
in_features = 64
out_features = 10
[task]
type = "Classification"
[train_dataloader]
batch_size = 64
dataset = { type = "Synthetic", samples = 2048, features = 64, classes = 10 }
[train_cfg]
max_epochs = 12
"""
OPTIMIZER = """\
extends = "base.toml"
[optim_wrapper]
clip_grad = { max_norm = 35, norm_type = 2 }
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.01
"""
SCHEDULE = """\
extends = "optimizer.toml"
[[param_scheduler]]
type = "LinearLR"
by_epoch = false
end = 50
[[param_scheduler]]
type = "MultiStepLR"
milestones = [8, 11]
"""
RULES = 'extends = "schedule.toml"\n[optim_wrapper.paramwise_cfg.custom_keys]\n' + "".join(
    f'"backbone.layer{number}" = {{ lr_mult = 0.5, decay_mult = 0 }}\n' for number in range(198)
)


def process(*arguments: str, folder: Path) -> Callable[[], None]:
    """A whole Python process, from its start to its end."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)

    return run


def measure() -> dict[str, float]:
    """Times over that of importing click; the aim is 6 at most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, text in {"base": BASE, "optimizer": OPTIMIZER, "schedule": SCHEDULE, "job": RULES}.items():
            (folder / f"{stem}.toml").write_text(text, "utf-8")
        times = medians(
            {
                "ours": process("-m", "optimctl", "validate", "job.toml", folder=folder),
                "click": process("-c", "import click", folder=folder),
            },
            rounds=20,
        )
    return {"time of `validate`, 200 lines over three files, over `import click`": times["ours"] / times["click"]}


if __name__ == "__main__":
    for line, ratio in measure().items():
        print(f"{ratio:8.2f}  {line}")
