"""The averaged weights: what they are, who uses them, and that a resumed run has the same."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import optimctl
from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError
from optimctl.job.length import Length
from optimctl.optim import AmpOptimWrapper
from optimctl.train.hooks.ema import EMA
from optimctl.train.loop import Run
from optimctl.train.run import try_out
from tests.jobs import blobs, read_records, write_blobs
from tests.plugins_on_disk import Site
from tests.train.hooks.runs import checkpoint, interrupted_and_resumed, straight

ON = "[hooks.EMA]\ndecay = 0.9\n"
State = dict[str, Tensor]


class Weights(optimctl.Hook):
    """Notes the weights after each update."""

    def __init__(self) -> None:
        self.seen: list[State] = []

    def after_update(self, run: Run) -> None:
        self.seen.append({name: p.detach().clone() for name, p in run.model.named_parameters()})


def same(ours: State, theirs: State) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def by_hand(weights: list[State], decay: Callable[[int], float] = lambda n: 0.9) -> State:
    """The average, in double precision; ``decay`` of the n-th update that counts, from 0."""
    average = {name: value.double() for name, value in weights[0].items()}
    for n, each in enumerate(weights[1:], 1):
        average = {name: decay(n) * old + (1 - decay(n)) * each[name].double() for name, old in average.items()}
    return average


def close(ours: State, theirs: State) -> None:
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name].double(), value, rtol=1e-5, atol=1e-6)


# --- what the average is


def test_it_is_torchs_average_to_the_bit(tmp_path: Path) -> None:
    class Torchs(optimctl.Hook):
        def before_run(self, run: Run) -> None:
            self.model = AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]

        def after_update(self, run: Run) -> None:
            self.model.update_parameters(run.model)

    torchs = Torchs()
    done = straight(blobs(tmp_path, extra=ON), hooks=(torchs,))
    assert same(checkpoint(done)["averaged"], torchs.model.module.state_dict())
    assert not same(checkpoint(done)["averaged"], checkpoint(done)["model"])


@pytest.mark.parametrize(
    ("options", "counted", "decay"),
    [
        ("", slice(0, None), lambda n: 0.9),
        ("begin = 4", slice(4, None), lambda n: 0.9),
        ("interval = 3", slice(0, None, 3), lambda n: 0.9),
        ("begin = 1\ninterval = 2", slice(1, None, 2), lambda n: 0.9),
        ("warmup = true", slice(0, None), lambda n: min(0.9, (1 + n) / (10 + n))),
    ],
)
def test_it_is_the_one_made_by_hand(
    tmp_path: Path, options: str, counted: slice, decay: Callable[[int], float]
) -> None:
    weights = Weights()
    done = straight(blobs(tmp_path, extra=f"{ON}{options}\n"), hooks=(weights,))
    assert len(weights.seen) == 11  # two iterations an update, and a short window at the end
    close(checkpoint(done)["averaged"], by_hand(weights.seen[counted], decay))


def test_before_it_begins_there_is_none_and_the_weights_themselves_are_evaluated(tmp_path: Path) -> None:
    plain = straight(blobs(tmp_path))
    late = straight(blobs(tmp_path, extra=f"{ON}begin = 10\n"))
    assert "averaged" not in checkpoint(late, 14)
    assert same(checkpoint(late)["averaged"], checkpoint(late)["model"])  # the last update began it
    assert late.metrics == plain.metrics


def test_training_is_what_it_is_without(tmp_path: Path) -> None:
    plain, averaged = straight(blobs(tmp_path)), straight(blobs(tmp_path, extra=ON))
    assert same(checkpoint(averaged)["model"], checkpoint(plain)["model"])
    assert averaged.metrics != plain.metrics


class Odd(nn.Module):
    """Frozen, shared and 16-bit parameters, and buffers of all sorts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.one = nn.Linear(8, 8, bias=False)
        self.other = nn.Linear(8, 8, bias=False)
        self.other.weight = self.one.weight
        self.short = nn.Linear(8, 3).to(torch.bfloat16)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.other(self.one(self.norm(self.frozen(inputs))).relu())
        output: Tensor = self.short(hidden.to(torch.bfloat16)).float()
        return output


def test_frozen_shared_and_short_parameters_and_buffers(tmp_path: Path) -> None:
    done = straight(blobs(tmp_path, extra=ON), model=Odd())
    state = checkpoint(done)
    trained, averaged, kept = state["model"], state["averaged"], state["hooks"]["EMA"]["averages"]
    assert list(averaged) == list(trained)
    moved = {name for name in trained if not torch.equal(trained[name], averaged[name])}
    assert moved == {"norm.weight", "norm.bias", "one.weight", "other.weight", "short.weight", "short.bias"}
    assert set(kept) == moved - {"other.weight"}
    assert torch.equal(averaged["one.weight"], averaged["other.weight"])
    assert averaged["short.weight"].dtype == torch.bfloat16
    assert kept["short.weight"].dtype == torch.float32


def test_averages_of_16_bits_do_not_stand_still(tmp_path: Path) -> None:
    weights = Weights()
    done = straight(blobs(tmp_path, "hooks.EMA.decay=0.999", extra=ON), model=Odd(), hooks=(weights,))
    kept = checkpoint(done)["hooks"]["EMA"]["averages"]["short.weight"]
    close({"": kept}, {"": by_hand(weights.seen, lambda n: 0.999)["short.weight"]})
    assert not torch.equal(kept, weights.seen[0]["short.weight"].float())


def test_buffers_of_floating_point_are_averaged_where_that_is_asked_for(tmp_path: Path) -> None:
    state = checkpoint(straight(blobs(tmp_path, extra=f"{ON}update_buffers = true\n"), model=Odd()))
    assert torch.equal(state["averaged"]["norm.num_batches_tracked"], torch.tensor(21))
    assert not torch.equal(state["averaged"]["norm.running_mean"], state["model"]["norm.running_mean"])


def test_a_parameter_that_is_unfrozen_joins(tmp_path: Path) -> None:
    class Unfreeze(optimctl.Hook):
        def before_epoch(self, run: Run) -> None:
            if run.epoch == 1 and run.iteration == 7:
                new = dict(run.model.get_submodule("1").requires_grad_(True).named_parameters(prefix="1"))
                run.wrapper.optimizer.add_param_group(
                    {"params": list(new.values()), "lr": 0.1, "param_names": list(new)}
                )

    assembly = assemble(blobs(tmp_path, 'optim_wrapper.paramwise_cfg.custom_keys."1."={freeze=true}', extra=ON))
    going = Run(assembly, None, (Unfreeze(), weights := Weights()))
    going.train()
    average = going.hooks.by_name["EMA"].averaged(going)
    assert list(average) == ["3.weight", "3.bias", "1.weight", "1.bias"]
    close(average, {name: value for name, value in by_hand(weights.seen[3:]).items() if name.startswith("1.")})


# --- who uses it


def test_the_validation_is_of_the_average_and_the_weights_come_back(tmp_path: Path) -> None:
    class Spy(optimctl.Hook):
        def __init__(self) -> None:
            self.before: list[State] = []
            self.after: list[State] = []

        def before_validation(self, run: Run) -> None:
            self.before.append({name: p.detach().clone() for name, p in run.model.named_parameters()})

        def after_validation(self, run: Run) -> None:
            self.after.append({name: p.detach().clone() for name, p in run.model.named_parameters()})

    spy = Spy()
    job = blobs(tmp_path, extra=ON)
    done = straight(job, hooks=(spy,))
    assert all(same(before, after) for before, after in zip(spy.before, spy.after, strict=True))
    validations = [record for record in read_records(folder_of(done)) if record["split"] == "val"]
    for record, trained in zip(validations, spy.before, strict=True):
        state = checkpoint(done, record["iteration"])
        assert same(state["model"], trained)
        assert metrics_of(job, state["averaged"]) == {name: record[name] for name in ("loss", "accuracy")}
        assert metrics_of(job, state["model"])["loss"] != record["loss"]


def folder_of(done: Run) -> Path:
    assert done.folder is not None
    return done.folder.path


def metrics_of(job: Any, weights: State) -> dict[str, float]:
    """What a plain model with these weights scores."""
    fresh = Run(assemble(job, for_run=True))
    fresh.model.load_state_dict(weights)
    return fresh.validate()


def test_the_weights_come_back_where_the_validation_raises(tmp_path: Path) -> None:
    weights = Weights()
    going = Run(assemble(blobs(tmp_path, extra=ON), for_run=True), None, (weights,))

    def evaluate(model: nn.Module, batch: Any) -> Any:
        assert not same(dict(model.named_parameters()), weights.seen[-1])
        assert not model.training
        raise KeyError("no such thing")

    going.task.evaluate = evaluate
    with pytest.raises(KeyError):
        going.train()
    assert same(dict(going.model.named_parameters()), weights.seen[-1])
    assert going.model.training


def test_best_is_the_checkpoint_whose_average_is_best(tmp_path: Path) -> None:
    job = blobs(tmp_path, "checkpoint.save_best=loss", extra=ON)
    done = straight(job)
    assert done.best is not None
    losses = {at: metrics_of(job, checkpoint(done, at)["averaged"])["loss"] for at in (7, 14, 21)}
    assert (done.best["iteration"], done.best["value"]) == min(losses.items(), key=lambda each: each[1])


def test_load_from_takes_the_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = straight(blobs(tmp_path, extra=ON))
    file = sorted((folder_of(done) / "checkpoints").iterdir())[-1]
    model = assemble(blobs(tmp_path, f"job.load_from={file}")).model
    assert model is not None
    assert same(model.state_dict(), checkpoint(done)["averaged"])
    assert exit_code(["run", "blobs.toml", "--set", f"job.load_from={file}"]) == 0
    assert f"4 averaged tensors loaded from {file}" in capsys.readouterr().err.splitlines()


def test_an_average_is_in_the_file_once(tmp_path: Path) -> None:
    state = checkpoint(straight(blobs(tmp_path, extra=ON)))
    kept = state["hooks"]["EMA"]["averages"]
    assert {name: value.data_ptr() for name, value in kept.items()} == {
        name: value.data_ptr() for name, value in state["averaged"].items()
    }


def test_a_trial_has_its_average_and_leaves_nothing(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra=ON)
    before = sorted(tmp_path.rglob("*"))
    try_out(assemble(job, for_run=True), Length(5, "iterations"))
    assert sorted(tmp_path.rglob("*")) == before


TURNS = """
    from torch import nn

    class Turns:
        metric_rules = {"loss": "min"}
        turn = False

        def train_step(self, model, batch, optim_wrapper):
            self.turn = not self.turn
            loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
            optim_wrapper["1" if self.turn else "3"].update_params(loss)

        def evaluate(self, model, batch):
            return {"loss": (nn.functional.cross_entropy(model(batch[0]), batch[1]), 1)}
"""


def test_of_several_optimizers_each_update_counts(site: Site, tmp_path: Path) -> None:
    site.install("turns", {"tasks": {"Turns": "turns:Turns"}}, {"turns": TURNS})
    one = '{ optimizer = { type = "SGD", lr = 0.1 } }'
    overrides = (f'optim_wrapper."1"={one}', f'optim_wrapper."3"={one}', 'task.type="Turns"')
    without = ("optimizer", "accumulative_counts", "clip_grad")
    file = write_blobs(tmp_path, ON)
    job = optimctl.load_job(file, overrides, [*(f"optim_wrapper.{key}" for key in without), "param_scheduler"])
    weights = Weights()
    done = straight(job, hooks=(weights,))
    assert len(weights.seen) == 21
    close(checkpoint(done)["averaged"], by_hand(weights.seen))


# --- mixed precision, compiled models


def test_an_update_that_float16_skips_is_none(tmp_path: Path) -> None:
    overrides = ('optim_wrapper.type="AmpOptimWrapper"', 'optim_wrapper.dtype="float16"')
    scale = "optim_wrapper.loss_scale={init_scale=4194304.0}"
    weights = Weights()
    done = straight(blobs(tmp_path, *overrides, scale, extra=ON), hooks=(weights,))
    wrapper = done.wrapper
    assert isinstance(wrapper, AmpOptimWrapper)
    assert 0 < wrapper.skipped < wrapper.updates
    close(checkpoint(done)["averaged"], by_hand(weights.seen[wrapper.skipped :]))
    assert checkpoint(done)["hooks"]["EMA"]["updates"] == wrapper.updates


def test_a_compiled_model_is_evaluated_with_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = straight(blobs(tmp_path, extra=ON))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = straight(blobs(tmp_path, "job.compile=true", extra=ON))
    assert same(checkpoint(compiled)["averaged"], checkpoint(plain)["averaged"])
    assert compiled.metrics == plain.metrics


# --- resuming


@pytest.mark.parametrize("at", [1, 2, 7, 9, 10, 20])
@pytest.mark.parametrize("options", ["", "begin = 4", "interval = 3\nwarmup = true"])
def test_a_resumed_run_equals_the_straight_one(tmp_path: Path, at: int, options: str) -> None:
    job = blobs(tmp_path, extra=f"{ON}{options}\n")
    ours, theirs = interrupted_and_resumed(job, at), straight(job)
    for key in ("averaged", "model"):
        assert same(checkpoint(ours)[key], checkpoint(theirs)[key])
    assert ours.metrics == theirs.metrics


def test_a_run_that_is_resumed_with_an_average_for_the_first_time_starts_it_there(tmp_path: Path) -> None:
    first = straight(blobs(tmp_path))
    job = blobs(tmp_path, extra=f"{ON}begin = 7\n")
    going = Run(assemble(job, for_run=True), None, (weights := Weights(),))
    going.load_state_dict(checkpoint(first, 7))
    going.train()
    close(
        going.hooks.by_name["EMA"].averaged(going), by_hand(weights.seen[4:])
    )  # updates 4 to 11 are the resumed run's


def test_what_is_loaded_stays_as_it_is(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra=ON)
    state = checkpoint(straight(job), 7)
    before = {name: value.clone() for name, value in state["averaged"].items()}
    going = Run(assemble(job, for_run=True))
    going.load_state_dict(state)
    going.train()
    assert same(state["averaged"], before)


# --- bad arguments


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("decay = 1.0", "decay: must be below 1, or the average never moves, not 1.0"),
        ("decay = -0.1", "decay: must be at least 0, not -0.1"),
        ("begin = -1", "begin: must be at least 0, not -1"),
        ("interval = 0", "interval: must be at least 1, not 0"),
        ("momentum = 0.1", "momentum: EMA (optimctl) has no argument 'momentum'; "),
    ],
)
def test_an_argument_out_of_range_is_told_with_its_key(tmp_path: Path, argument: str, message: str) -> None:
    file = write_blobs(tmp_path, f"[hooks.EMA]\n{argument}\n")
    with pytest.raises(JobError) as caught:
        assemble(optimctl.load_job(file))
    line = len(file.read_text("utf-8").splitlines())
    assert re.match(rf"\S+blobs.toml:{line}:\d+: hooks\.EMA\.{re.escape(message)}", str(caught.value))


@pytest.mark.parametrize("argument", ["decay", "begin", "interval", "warmup", "update_buffers"])
def test_an_argument_of_another_type_is_told(argument: str) -> None:
    with pytest.raises(JobError, match=f"{argument}: must be"):
        EMA(**{argument: "1"})  # type: ignore[arg-type]


# --- the example


def test_the_average_of_the_example_is_better_than_its_last_weights(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[3] / "examples" / "ema.toml"
    assert exit_code(["run", str(example), "--strict"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["status"] == "completed"
    state = torch.load(folder / summary["best"]["checkpoint"], weights_only=True)
    job = optimctl.load_job(example)
    averaged, trained = (metrics_of(job, state[key]) for key in ("averaged", "model"))
    assert averaged["accuracy"] == summary["best"]["value"]
    assert averaged["loss"] < trained["loss"]
    assert sorted(file.name for file in folder.glob("*.csv")) == ["metrics.csv"]
