"""What hooks may do in a run: remember, fail with their names, end it; what the loop makes of it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import optimctl
from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError, RunFailed
from optimctl.train.loop import Run
from optimctl.train.run import run
from tests.jobs import blobs, read_records, write_blobs
from tests.plugins_on_disk import Site
from tests.train.hooks.runs import checkpoint, straight


def stopping(event: str, at: int) -> optimctl.Hook:
    """A hook that stops the run at an event, from the iteration ``at`` on."""

    def stop(self: optimctl.Hook, run: Run) -> None:
        if run.iteration >= at:
            run.stop(f"{event} said so")

    return type("Stopping", (optimctl.Hook,), {event: stop})()  # type: ignore[no-any-return]


# --- a run that a hook stops


@pytest.mark.parametrize(
    ("event", "at", "end"),
    [
        ("before_run", 0, 0),
        ("after_iteration", 9, 9),
        ("before_update", 9, 10),
        ("after_update", 9, 10),
        ("after_epoch", 7, 7),
        ("after_validation", 7, 7),
        ("after_checkpoint", 14, 14),
    ],
)
def test_a_run_that_is_stopped_is_completed_and_has_a_checkpoint(tmp_path: Path, event: str, at: int, end: int) -> None:
    folder = run(blobs(tmp_path), hooks=[stopping(event, at)])
    told = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (told["status"], told["iterations"], told["stopped"]) == ("completed", end, f"{event} said so")
    assert (folder / "checkpoints" / f"iteration-{end:08d}.pt").exists()
    last = (folder / "log.txt").read_text("utf-8").splitlines()[-1]
    assert last == f"stopped after {end} of 21 iterations: {event} said so"
    if end:
        assert read_records(folder)[-1]["split"] == "val"  # its last weights are validated


def test_a_run_that_is_at_its_end_is_not_stopped(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path), hooks=[stopping("after_validation", 21)])
    told = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (told["status"], told["iterations"], told["stopped"]) == ("completed", 21, None)


# --- what a hook remembers


class Counter(optimctl.Hook):
    """Counts epochs."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"epochs": 0, "values": [torch.ones(2)]}

    def after_epoch(self, run: Run) -> None:
        self.state["epochs"] += 1

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = dict(state)


def test_what_hooks_remember_is_in_the_checkpoint_by_their_names_and_comes_back(tmp_path: Path) -> None:
    job = blobs(tmp_path)
    hooks = (Counter(), Counter(), optimctl.Hook())
    first = straight(job, hooks=hooks)
    state = checkpoint(first, 14)
    assert {name: each["epochs"] for name, each in state["hooks"].items()} == {"Counter": 2, "Counter-2": 2}
    resumed = Run(assemble(job, for_run=True), None, (Counter(),))
    resumed.load_state_dict(state)
    resumed.train()
    assert resumed.hooks.by_name["Counter"].state["epochs"] == 3


def test_a_checkpoint_from_before_there_were_hooks_is_gone_on_from(tmp_path: Path) -> None:
    job = blobs(tmp_path)
    first = Run(assemble(job, for_run=True))
    state = {name: value for name, value in first.state_dict().items() if name != "hooks"}
    Run(assemble(job, for_run=True), None, (Counter(),)).load_state_dict(state)


def test_a_hook_cannot_remember_what_a_checkpoint_cannot_hold(tmp_path: Path) -> None:
    hook = Counter()
    hook.state["values"] = [{"deep": np.zeros(2)}]
    told = (
        "the hook 'Counter' wants to remember a ndarray; "
        "a checkpoint holds tensors, numbers, texts, and lists and dicts of them"
    )
    with pytest.raises(RunFailed, match=re.escape(told)):
        run(blobs(tmp_path), hooks=[hook])


# --- a hook that fails


BROKEN = """
    from optimctl import Hook

    class Tracker(Hook):
        def __init__(self, event):
            setattr(type(self), event, Tracker._fail)

        def _fail(self, run):
            raise ConnectionError("the server is gone")
"""


@pytest.mark.parametrize(
    ("event", "iterations"), [("before_run", 0), ("after_update", 1), ("after_validation", 7), ("after_run", 21)]
)
def test_a_hook_that_fails_is_told_with_its_name_and_its_own_frame(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], event: str, iterations: int
) -> None:
    site.install("trackers", {"hooks": {"Tracker": "trackers:Tracker"}}, {"trackers": BROKEN})
    write_blobs(tmp_path, f'[hooks.ours]\ntype = "Tracker"\nevent = "{event}"\n')
    assert exit_code(["run", "blobs.toml"]) == 1
    (folder,) = Path("runs/blobs").iterdir()
    assert capsys.readouterr().err.splitlines()[-1] == (
        "optimctl: the hook 'ours' raised ConnectionError: the server is gone (trackers.py:9 in _fail), "
        f"after {iterations} iterations; {folder}/log.txt has the whole traceback"
    )
    assert "trackers.py" in (folder / "log.txt").read_text("utf-8")
    assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "failed"


@pytest.mark.parametrize("method", ["averaged", "state_dict"])
def test_so_is_one_that_fails_when_it_is_asked(tmp_path: Path, method: str) -> None:
    def asked(self: optimctl.Hook, *_: Run) -> Any:
        raise LookupError("not there")

    hook = type("Forgetful", (optimctl.Hook,), {method: asked})()
    told = r"the hook 'Forgetful' raised LookupError: not there \(test_hooks\.py:\d+ in asked\), after 7 iterations; "
    with pytest.raises(RunFailed, match=told):
        run(blobs(tmp_path), hooks=[hook])


def test_the_other_hooks_end_where_one_cannot_begin(tmp_path: Path) -> None:
    ended = []

    class First(optimctl.Hook):
        def after_run(self, run: Run) -> None:
            ended.append(run.failed)

    class Second(optimctl.Hook):
        def before_run(self, run: Run) -> None:
            raise ValueError("no")

    with pytest.raises(RunFailed, match="the hook 'Second' raised ValueError: no"):
        run(blobs(tmp_path), hooks=[First(), Second()])
    assert ended == [True]


# --- checked before the run


def test_two_averages_of_the_weights_are_refused(tmp_path: Path) -> None:
    extra = '[hooks.EMA]\n[hooks.slow]\ntype = "EMA"\ndecay = 0.99999\n'
    with pytest.raises(JobError) as caught:
        assemble(blobs(tmp_path, extra=extra))
    (problem,) = caught.value.problems
    assert problem.key == ("hooks", "slow")
    assert problem.message == "[hooks.EMA] averages the weights already, and one average is evaluated; take one out"
