"""What the plugins promise to a job; what is your own, such as the values of the schedule, is tested beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optimctl
import pytest
import torch
from optimctl.testing import check_constructor, check_optimizer, check_schedule

from my_plugin.constructor import MyPluginConstructor
from my_plugin.optimizer import MyPluginOptimizer
from my_plugin.schedule import MyPluginSchedule

JOB = Path(__file__).parents[1] / "examples" / "job.toml"


def test_the_optimizer_does_what_a_run_asks_of_it() -> None:
    check_optimizer(MyPluginOptimizer, lr=0.01, weight_decay=0.1)


def test_the_constructor_gives_each_parameter_its_options_once() -> None:
    check_constructor(MyPluginConstructor)


def test_the_schedule_previews_as_it_steps_and_resumes() -> None:
    check_schedule(MyPluginSchedule, half_life=20)


def test_half_is_left_after_a_half_life() -> None:
    factors, _, _ = MyPluginSchedule(half_life=4).maps(np.arange(13), reference=1.0)
    assert np.cumprod(factors)[[0, 4, 12]] == pytest.approx([1, 1 / 2, 1 / 4])


@pytest.mark.parametrize("option", [{"lr": -1.0}, {"betas": (1.0, 0.99)}, {"weight_decay": -0.1}])
def test_options_out_of_their_range_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be"):
        MyPluginOptimizer([torch.zeros(1)], **option)  # type: ignore[arg-type]


def test_the_example_runs(tmp_path: Path) -> None:
    run = optimctl.run(optimctl.load_job(JOB, ["train_cfg.max_epochs=1", 'job.device="cpu"']), work_dir=tmp_path)
    assert (run / "summary.json").is_file()
