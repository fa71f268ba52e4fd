"""Early stopping: when it ends a run, what it says, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import optimctl
from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError, RunFailed
from optimctl.job.schema import Job
from optimctl.train.hooks.early_stopping import EarlyStopping
from tests.jobs import BLOBS, blobs
from tests.plugins_on_disk import Site
from tests.train.hooks.runs import interrupted_and_resumed, straight

SCORES = """
    import torch
    from torch import nn

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(8, 3))
            self.register_buffer("trained", torch.tensor(0))

        def forward(self, inputs):
            self.trained += self.training
            return super().forward(inputs)

    class Scored:
        "The validation after each epoch of seven iterations gives the next of some values."

        def __init__(self, values, rule="max"):
            self.values = values
            if rule:
                self.metric_rules = {"score": rule, "other": rule}

        def loss(self, model, batch):
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        def evaluate(self, model, batch):
            return {"score": (self.values[int(model.trained) // 7 - 1], 1), "other": (0.0, 1)}
"""
NAN = float("nan")
RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
PEAKS = [0.1, 0.5, 0.4, 0.5, 0.3, 0.6, 0.6, 0.6]


@pytest.fixture(autouse=True)
def _scores(site: Site) -> None:
    site.install("scores", {"models": {"Net": "scores:Net"}, "tasks": {"Scored": "scores:Scored"}}, {"scores": SCORES})


def scored(folder: Path, values: list[float], options: str = "", *further: str) -> Job:
    """A job of eight epochs whose validations give ``values``, and that stops early."""
    hook = f'[hooks.EarlyStopping]\nmetric = "score"\n{options}\n'
    overrides = (
        "train_cfg.max_epochs=8",
        "val_dataloader.batch_size=100",
        "model.type=Net",
        "task.type=Scored",
        f"task.values={values}",
    )
    file = folder / "scored.toml"
    file.write_text(BLOBS + hook, "utf-8")
    return optimctl.load_job(file, [*overrides, *further])


# --- when it stops


@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        (RISING, "patience = 1", 8),
        (PEAKS, "patience = 1", 3),
        (PEAKS, "patience = 2", 4),  # as good as the best is no better
        (PEAKS, "patience = 3", 5),
        (PEAKS, "patience = 4", 8),  # 0.6 comes in time, and the run's end before the next four
        (RISING, "patience = 2\nmin_delta = 0.15", 8),
        (RISING, "patience = 2\nmin_delta = 0.25", 3),
        (RISING, 'patience = 2\nrule = "min"', 3),
        ([-value for value in PEAKS], 'patience = 3\nrule = "min"', 5),
        ([0.5, NAN, NAN, 0.6, NAN, NAN, NAN, NAN], "patience = 3", 7),
        ([NAN] * 8, "patience = 2", 2),
        ([0.5] * 8, "", 6),
    ],
)
def test_it_stops_after_as_many_validations_as_its_patience(
    tmp_path: Path, values: list[float], options: str, epochs: int
) -> None:
    done = straight(scored(tmp_path, values, options))
    assert done.iteration == 7 * epochs
    assert (done.stop_reason is not None) == (epochs < 8)


def test_the_direction_is_the_tasks(tmp_path: Path) -> None:
    falling = RISING[::-1]
    assert straight(scored(tmp_path, falling, "", "task.rule=min")).iteration == 56
    assert straight(scored(tmp_path, falling)).iteration == 7 * 6


@pytest.mark.parametrize("at", [3, 14, 20, 28, 35])
def test_a_resumed_run_stops_where_the_straight_one_does(tmp_path: Path, at: int) -> None:
    job = scored(tmp_path, PEAKS, "patience = 3")
    resumed, whole = interrupted_and_resumed(job, at), straight(job)
    assert (resumed.iteration, resumed.stop_reason) == (whole.iteration, whole.stop_reason)


def test_another_metric_begins_anew() -> None:
    hook = EarlyStopping("score")
    hook.load_state_dict({"metric": "loss", "best": 0.1, "best_iteration": 7, "waited": 4})
    assert (hook.best, hook.waited) == (None, 0)


# --- what it says


def test_the_run_is_completed_and_says_why_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scored(tmp_path, PEAKS, "patience = 3")
    overrides = ("task.type=Scored", f"task.values={PEAKS}", "model.type=Net", "train_cfg.max_epochs=8")
    one_batch = "val_dataloader.batch_size=100"
    assert exit_code(["run", "scored.toml", *(f"--set={each}" for each in (*overrides, one_batch))]) == 0
    out, err = capsys.readouterr()
    reason = "score was best, 0.5, at iteration 14, and no better in 3 validations since"
    told = f"stopped after 35 of 56 iterations: {reason}"
    assert err.splitlines()[-2:] == ["epoch 5  iteration 35  val  score 0.3  other 0", told]
    folder = Path(out.strip())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (summary["status"], summary["epochs"], summary["stopped"]) == ("completed", 5, reason)
    assert (folder / "log.txt").read_text("utf-8").splitlines()[-1] == told


def test_values_that_were_never_finite_are_told_so(tmp_path: Path) -> None:
    assert straight(scored(tmp_path, [NAN] * 8, "patience = 2")).stop_reason == "score was not finite in 2 validations"


# --- what it refuses


def refused(job: Job) -> str:
    with pytest.raises(JobError) as caught:
        assemble(job)
    return re.sub(r"^\S+/", "", str(caught.value))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("patience = 0", "{line}:12: hooks.EarlyStopping.patience: must be at least 1, not 0"),
        ("min_delta = -1.0", "{line}:13: hooks.EarlyStopping.min_delta: must be at least 0, not -1.0"),
    ],
)
def test_an_argument_out_of_range_is_told_with_its_key(tmp_path: Path, options: str, message: str) -> None:
    line = len(BLOBS.splitlines()) + 3
    assert refused(scored(tmp_path, RISING, options)) == "scored.toml:" + message.format(line=line)


@pytest.mark.parametrize(("argument", "value"), [("rule", "up"), ("patience", 1.5), ("min_delta", "1")])
def test_an_argument_of_another_type_is_told(argument: str, value: Any) -> None:
    with pytest.raises(JobError, match=f"{argument}: must be"):
        EarlyStopping("score", **{argument: value})


def test_a_metric_that_the_task_does_not_give_is_told_before_the_run(tmp_path: Path) -> None:
    line = len(BLOBS.splitlines()) + 2
    job = blobs(tmp_path, extra='[hooks.stop]\nmetric = "accurcy"\ntype = "EarlyStopping"\n')
    assert refused(job) == (
        f"blobs.toml:{line}:10: hooks.stop.metric: the task has no metric 'accurcy'; did you mean 'accuracy'?"
    )


def test_a_metric_without_a_validation_is_told_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(BLOBS + '[hooks.EarlyStopping]\nmetric = "loss"\n', "utf-8")
    told = "'loss' is a metric of the validation, and there is no [val_dataloader]"
    assert refused(optimctl.load_job(file, (), ["val_dataloader"])).endswith(f": hooks.EarlyStopping.metric: {told}")


def test_a_task_that_says_no_direction_asks_for_one_before_the_run(tmp_path: Path) -> None:
    told = 'the task does not say which way is better; add rule = "max" or rule = "min"'
    assert refused(scored(tmp_path, RISING, "", 'task.rule=""')).endswith(f": hooks.EarlyStopping: {told}")


def test_a_metric_that_no_validation_gives_is_told_at_the_first(tmp_path: Path) -> None:
    job = scored(tmp_path, RISING, 'rule = "max"', 'task.rule=""', 'hooks.EarlyStopping.metric="scroe"')
    with pytest.raises(
        RunFailed, match=r"EarlyStopping: the validation gave no metric 'scroe'; did you mean 'score'\?"
    ):
        straight(job)
