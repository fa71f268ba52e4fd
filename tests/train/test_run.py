"""A run: its folder, its records, its end; the plan is the run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import optimctl
from optimctl.assemble import assemble
from optimctl.errors import JobError, RunFailed
from optimctl.job.length import Length
from optimctl.job.load import load_job
from optimctl.plan.plan import make_plan
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.loop import Run
from optimctl.train.run import run, try_out
from tests.jobs import blobs, read_records


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return read


def test_the_folder_has_what_the_contract_says(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path, "checkpoint.save_best=accuracy"))
    assert folder.parent == Path("runs/blobs")
    assert sorted(file.name for file in folder.iterdir()) == [
        "checkpoints",
        "curves.png",
        "environment.json",
        "job.toml",
        "log.txt",
        "metrics.jsonl",
        "summary.json",
    ]
    told = summary(folder)
    assert {key: told[key] for key in ("status", "iterations", "epochs", "updates")} == {
        "status": "completed",
        "iterations": 21,
        "epochs": 3,
        "updates": 11,
    }
    assert told["best"]["metric"] == "accuracy"
    assert (folder / told["best"]["checkpoint"]).exists()
    assert json.loads((folder / "environment.json").read_text("utf-8"))["overrides"] == [
        "--set checkpoint.save_best=accuracy"
    ]


def test_the_resolved_job_names_distributions_and_runs_again(tmp_path: Path) -> None:
    first = run(blobs(tmp_path))
    again = load_job(first / "job.toml")
    assert again.model is not None
    assert again.model.type == "optimctl/MLP"
    assert read_records(run(again)) == read_records(first)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    first, second, other = (read_records(run(blobs(tmp_path, f"job.seed={seed}"))) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_the_plan_is_the_run(tmp_path: Path) -> None:
    job = blobs(tmp_path)
    plan = make_plan(assemble(job))
    curve = next(curve for curve in plan.schedule.curves if curve.option == "lr")
    records = [record for record in read_records(run(job)) if record["split"] == "train"]
    assert [record["iteration"] for record in records] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21]
    assert [record["lr"] for record in records] == [curve.values[record["iteration"] - 1] for record in records]
    assert [record["epoch"] for record in records] == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert plan.optimizers[0].updates == 11


def test_a_checkpoint_an_epoch_of_tensors_and_plain_values(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path))
    files = sorted((folder / "checkpoints").iterdir())
    assert [file.name for file in files] == [f"iteration-000000{n:02}.pt" for n in (7, 14, 21)]
    state = load_checkpoint(files[-1])
    assert set(state["optimizers"]["default"]["state"]) == set(state["model"])
    assert state["progress"]["iteration"] == state["schedules"]["iteration"] == 21


def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path) -> None:
    class Fading(nn.Module):
        """Right in the first epoch, wrong ever after."""

        def __init__(self) -> None:
            super().__init__()
            self.validated = 0
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.validated += not self.training
            good = torch.zeros(len(inputs), 3) + torch.arange(3.0)
            return self.scale * (good if self.validated <= 2 else -good)

    extra = '[checkpoint]\nkeep = 1\nsave_best = "accuracy"\n'
    folder = run(blobs(tmp_path, extra=extra), model=Fading())
    told = summary(folder)
    assert told["best"]["iteration"] == 7
    assert sorted(file.name for file in (folder / "checkpoints").iterdir()) == [
        "iteration-00000007.pt",
        "iteration-00000021.pt",
    ]


def test_a_run_by_iterations_validates_at_its_end(tmp_path: Path) -> None:
    job = blobs(tmp_path, "train_cfg.max_iters=10")
    folder = run(job)
    assert [record["iteration"] for record in read_records(folder) if record["split"] == "val"] == [7, 10]
    assert summary(folder)["updates"] == 5


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="the run diverged: the loss is nan by iteration") as caught:
        run(blobs(tmp_path, "optim_wrapper.optimizer.lr=1e38"))
    assert caught.value.exit_code == 1
    (folder,) = Path("runs/blobs").iterdir()
    assert summary(folder)["status"] == "failed"
    assert "the run diverged" in (folder / "log.txt").read_text("utf-8")


def test_what_a_model_raises_is_told_with_its_own_frame(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise KeyError("no such thing")

    with pytest.raises(
        RunFailed, match=r"KeyError: 'no such thing' \(test_run\.py:\d+ in forward\), after 0 iterations"
    ) as caught:
        run(blobs(tmp_path), model=Broken())
    assert caught.value.exit_code == 1


def test_events_come_in_order(tmp_path: Path) -> None:
    seen: list[str] = []

    def note(name: str) -> Any:
        return lambda self, run: seen.append(f"{name}@{run.iteration}")

    events = [
        f"{when}_{event}"
        for event in ("run", "epoch", "iteration", "update", "validation", "checkpoint")
        for when in ("before", "after")
    ]
    spy = type("Spy", (optimctl.Hook,), {event: note(event) for event in events})()
    run(blobs(tmp_path, "train_cfg.max_iters=2", "train_cfg.epoch_length=2"), hooks=[spy])
    assert seen == [
        "before_run@0",
        "before_epoch@0",
        "before_iteration@0",
        "after_iteration@1",
        "before_iteration@1",
        "before_update@1",
        "after_update@1",
        "after_iteration@2",
        "after_epoch@2",
        "before_validation@2",
        "after_validation@2",
        "before_checkpoint@2",
        "after_checkpoint@2",
        "after_run@2",
    ]


def test_a_run_that_was_interrupted_and_goes_on_equals_the_straight_one(tmp_path: Path) -> None:
    job = blobs(tmp_path)
    straight = Run(assemble(job, for_run=True))
    straight.train()
    first = Run(assemble(job, for_run=True))
    first.hooks.methods["after_iteration"].append(
        lambda run: setattr(run, "stop_signal", 15 if run.iteration == 9 else None)
    )
    first.train()
    assert first.iteration == 9
    second = Run(assemble(job, for_run=True))
    second.load_state_dict(first.state_dict())
    second.train()
    for ours, theirs in zip(second.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert second.wrapper.updates == straight.wrapper.updates


def test_trying_out_measures_and_leaves_nothing(tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    trial = try_out(assemble(blobs(tmp_path), for_run=True), Length(5, "iterations"))
    assert trial.iterations == 5
    assert trial.estimated_seconds > 0
    assert trial.seconds_per_validation_batch is not None
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "blobs.toml"]


def test_every_missing_section_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text("[train_cfg]\nmax_epochs = 1\nepoch_length = 2\n", "utf-8")
    with pytest.raises(JobError) as caught:
        assemble(load_job(file.name), for_run=True)
    sections = ("model", "task", "train_dataloader", "optim_wrapper")
    assert str(caught.value).splitlines() == [
        f"job.toml: {section}: a run needs the table [{section}]" for section in sections
    ]


def test_problems_of_several_parts_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        assemble(
            blobs(tmp_path, "model.hiden=[3]", 'task.metrics=["accurcy"]', 'train_dataloader.dataset.split="trian"')
        )
    assert sorted(problem.code for problem in caught.value.problems) == [
        "plugin-raised",
        "unknown-argument",
        "unknown-metric",
    ]
