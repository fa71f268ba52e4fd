"""Every class of torch.optim trains in a job, and resumes; what an optimizer may ask of the loop, it gets."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from optimctl import Hook
from optimctl.assemble import assemble
from optimctl.errors import RunFailed
from optimctl.job.schema import Job
from optimctl.optim import OptimWrapper, build_optimizer
from optimctl.plan.plan import make_plan
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.loop import Run
from optimctl.train.run import run
from tests.jobs import blobs, read_records
from tests.plugins_on_disk import write_project

CLASSES: dict[str, dict[str, Any]] = {
    "ASGD": {"lr": 0.3},
    "Adadelta": {"lr": 5.0},
    "Adafactor": {"lr": 0.3},
    "Adagrad": {"lr": 0.3},
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1},
    "Adamax": {"lr": 0.1},
    "LBFGS": {"lr": 1.0, "max_iter": 6, "line_search_fn": "strong_wolfe"},
    "Muon": {"lr": 0.1},
    "NAdam": {"lr": 0.1},
    "RAdam": {"lr": 0.3},
    "RMSprop": {"lr": 0.05, "momentum": 0.5, "centered": True},
    "Rprop": {"lr": 0.02},
    "SGD": {"lr": 0.2, "momentum": 0.9},
    "SparseAdam": {"lr": 0.1},
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Bag(nn.Module):
    """Which of the inputs are positive, as a bag of words; all its gradients are sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(16, 3, sparse=True, mode="sum")

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.words((inputs > 0).long() + 2 * torch.arange(8))
        return logits


def model_for(name: str) -> nn.Module | None:
    """A model that the class can take; None for the job's own."""
    torch.manual_seed(0)
    if name == "SparseAdam":
        return Bag()
    if name == "Muon":
        return nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 3, bias=False))
    return None


def job_for(folder: Path, name: str, *overrides: str, **options: Any) -> Job:
    settings = {"type": name, **(options or CLASSES[name])}
    optimizer = [f"optim_wrapper.optimizer.{key}={json.dumps(value)}" for key, value in settings.items()]
    unclipped = (
        ["optim_wrapper.clip_grad.max_norm=inf"] if name == "LBFGS" else []
    )  # a line search needs true gradients
    return blobs(folder, *optimizer, *unclipped, *overrides)


def stop_at(iteration: int) -> Callable[[Run], None]:
    def stop(run: Run) -> None:
        run.stop_signal = 15 if run.iteration == iteration else run.stop_signal

    return stop


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint gives back: tensors and plain values, loaded without executing anything."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def assert_resumed_equals_straight(job: Job, iteration: int, make_model: Callable[[], nn.Module | None]) -> None:
    straight, first, second = (Run(assemble(job, for_run=True, model=make_model())) for _ in range(3))
    straight.train()
    first.hooks.methods["after_iteration"].append(stop_at(iteration))
    first.train()
    assert first.iteration == iteration
    second.load_state_dict(through_a_file(first.state_dict()))
    second.train()
    for (name, ours), theirs in zip(second.model.named_parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)
    assert second.wrapper.updates == straight.wrapper.updates


# --- every class of torch


def test_no_class_of_the_installed_torch_is_left_out() -> None:
    found = {name for name, item in vars(torch.optim).items() if isinstance(item, type) and issubclass(item, Optimizer)}
    assert set(CLASSES) == found - {"Optimizer"}


@pytest.mark.parametrize("name", CLASSES)
def test_it_trains_in_a_job(name: str, tmp_path: Path) -> None:
    model = model_for(name)
    folder = run(job_for(tmp_path, name), model=model)
    records = read_records(folder)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (summary["status"], summary["updates"]) == ("completed", 11)
    assert records[-1]["split"] == "val"
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    state = load_checkpoint(folder / "checkpoints/iteration-00000021.pt")
    trained = [key for key in state["model"] if name != "LBFGS" or key == "1.weight"]  # LBFGS: one state for all
    assert list(state["optimizers"]["default"]["state"]) == trained


@pytest.mark.parametrize("name", CLASSES)
def test_resumed_inside_a_window_it_equals_the_straight_run(name: str, tmp_path: Path) -> None:
    job = job_for(tmp_path, name, *(["optim_wrapper.accumulative_counts=1"] if name == "LBFGS" else []))
    assert_resumed_equals_straight(job, 9, lambda: model_for(name))


@pytest.mark.parametrize("name", CLASSES)
def test_the_plan_tells_how_it_steps_and_what_it_will_remember(name: str, tmp_path: Path) -> None:
    job = job_for(tmp_path, name)
    (planned,) = make_plan(assemble(job, model=model_for(name))).optimizers
    has_fused = name in ("Adagrad", "Adam", "AdamW", "SGD")
    assert planned.implementation == ("fused" if has_fused else "for-loop")
    ready = Run(assemble(job, for_run=True, model=model_for(name)))
    ready.train()
    assert planned.state_bytes in (None, bytes_of_state(ready.wrapper.optimizer))
    assert (planned.state_bytes is None) == (name in ("LBFGS", "Adafactor"))


def bytes_of_state(optimizer: Optimizer) -> int:
    """What is as large as its parameter; step counts and the like are not."""
    return sum(
        value.numel() * value.element_size()
        for parameter, state in optimizer.state.items()
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    )


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("LBFGS", "Muon", "SparseAdam")])
def test_a_parameter_may_have_its_first_gradient_later(name: str) -> None:
    """Torch's own fused SGD fails here."""
    ours, plain = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)]), nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    plain.load_state_dict(ours.state_dict())
    for model, how in ((ours, {}), (plain, {"foreach": False})):
        optimizer = build_optimizer(model, {"type": name, **CLASSES[name], **how})
        for used in (1, 2, 1, 2):
            optimizer.zero_grad()
            sum(part(torch.ones(1, 3)).square().sum() for part in model[:used]).backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


# --- LBFGS: a closure


def regression() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def some_batches(number: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(4, 3).double(), torch.randn(4, 1).double()) for _ in range(number)]


def fit(batches: list[tuple[Tensor, Tensor]], counts: int) -> tuple[nn.Module, OptimWrapper]:
    """A model that LBFGS has trained on the batches, each once, and its wrapper."""
    model = regression()
    wrapper = OptimWrapper(torch.optim.LBFGS(model.parameters(), max_iter=8), counts)
    wrapper.initialize_count_status(model, 0, len(batches))
    for batch in batches:
        wrapper.update_by_closure(partial(loss_of, model, batch))
    return model, wrapper


@pytest.mark.parametrize("counts", [2, 3])
def test_small_batches_equal_a_large_one_under_a_closure(counts: int) -> None:
    data = some_batches(7)
    windows = [data[start : start + counts] for start in range(0, len(data), counts)]
    merged = [(torch.cat([x for x, _ in window]), torch.cat([y for _, y in window])) for window in windows]
    (small, wrapper), (large, _) = fit(data, counts), fit(merged, 1)
    assert wrapper.updates == len(windows)
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_a_closure_tells_the_loss_before_the_update_and_leaves_no_gradient() -> None:
    model, data = regression(), some_batches(2)
    wrapper = OptimWrapper(torch.optim.LBFGS(model.parameters()), 2)
    losses = [loss_of(model, batch).item() for batch in data]
    first, second = (wrapper.update_by_closure(partial(loss_of, model, batch)) for batch in data)
    assert first is None
    assert second is not None
    assert second.item() == pytest.approx(sum(losses) / 2)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_lbfgs_lowers_the_loss_in_a_few_iterations(tmp_path: Path) -> None:
    whole = ["train_dataloader.batch_size=112", "train_cfg.max_epochs=6", "log.interval=1", "param_scheduler=[]"]
    records = read_records(run(job_for(tmp_path, "LBFGS", *whole, "optim_wrapper.accumulative_counts=1")))
    losses = [record["loss"] for record in records if record["split"] == "train"]
    assert len(losses) == 6
    assert losses[-1] < 0.02 * losses[0]


def test_a_record_inside_a_window_has_no_loss_to_tell(tmp_path: Path) -> None:
    folder = run(job_for(tmp_path, "LBFGS", "log.interval=1"))
    with_loss = [
        record["iteration"] for record in read_records(folder) if "loss" in record and record["split"] == "train"
    ]
    assert with_loss == [*range(2, 21, 2), 21]


def test_batches_of_an_open_window_are_read_again_on_resuming(tmp_path: Path) -> None:
    assert_resumed_equals_straight(job_for(tmp_path, "LBFGS"), 9, lambda: None)


# --- what an optimizer may ask

PROJECT = """
[tool.optimctl.plugins.optimizers]
Closing = "asking:Closing"
Curving = "asking:Curving"
Averaging = "asking:Averaging"
"""
ASKING = """
import torch
from torch.optim import Optimizer, SGD

class Closing(SGD):
    # Steps twice, evaluating the loss anew each time.
    requires_closure = True

    def step(self, closure=None):
        loss = closure()
        super().step()
        closure()
        super().step()
        return loss

class Curving(SGD):
    # Differentiates the gradients.
    requires_create_graph = True
    graphs = []

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                torch.autograd.grad(p.grad.square().sum(), p, retain_graph=True, allow_unused=True)
                self.graphs.append(p.grad.grad_fn is not None)
        super().step()

class Averaging(Optimizer):
    # Evaluates at an average of where it has been; its count stands in its groups, as in Schedule-Free.
    calls = []

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "count": 0, "training": False})

    @torch.no_grad()
    def switch(self, training):
        self.calls.append("train" if training else "eval")
        for group in self.param_groups:
            if group["training"] != training:
                group["training"] = training
                for p in group["params"]:
                    if "other" in self.state[p]:
                        here = p.clone()
                        p.copy_(self.state[p]["other"])
                        self.state[p]["other"] = here

    def train(self):
        self.switch(True)

    def eval(self):
        self.switch(False)

    @torch.no_grad()
    def step(self, closure=None):
        self.calls.append("step")
        for group in self.param_groups:
            group["count"] += 1
            for p in group["params"]:
                average = self.state[p].setdefault("other", p.clone())
                p.sub_(group["lr"] * p.grad)
                average.lerp_(p, 1 / group["count"])
"""


@pytest.fixture
def asking(tmp_path: Path, fresh_plugins: None) -> Any:
    """The module of a project with three optimizers that ask for something."""
    write_project(tmp_path, PROJECT, {"asking": ASKING})
    sys.path.insert(0, str(tmp_path))
    return importlib.import_module("asking")


def test_an_optimizer_that_asks_for_a_closure_gets_one(tmp_path: Path, asking: Any) -> None:
    folder = run(job_for(tmp_path, "Closing", lr=0.1))
    assert json.loads((folder / "summary.json").read_text("utf-8"))["updates"] == 11
    records = read_records(folder)
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]


@pytest.mark.parametrize("counts", [1, 2])
def test_an_optimizer_that_asks_for_the_graph_gets_it(tmp_path: Path, asking: Any, counts: int) -> None:
    run(job_for(tmp_path, "Curving", f"optim_wrapper.accumulative_counts={counts}", lr=0.1))
    assert len(asking.Curving.graphs) == 4 * (21 if counts == 1 else 11)
    assert all(asking.Curving.graphs)


def test_without_asking_no_graph_is_kept(tmp_path: Path, asking: Any) -> None:
    asking.Curving.requires_create_graph = False
    with pytest.raises(RunFailed, match="RuntimeError: element 0 of tensors does not require grad"):
        run(job_for(tmp_path, "Curving", lr=0.1))


def test_train_and_eval_are_called_around_training_validation_and_checkpoints(tmp_path: Path, asking: Any) -> None:
    events: list[str] = asking.Averaging.calls

    class Spy(Hook):
        def before_validation(self, run: Run) -> None:
            events.append("validation")

        def before_checkpoint(self, run: Run) -> None:
            events.append("checkpoint")

    run(job_for(tmp_path, "Averaging", "train_cfg.max_epochs=1", lr=0.1), hooks=[Spy()])
    assert events == ["train", *["step"] * 4, "validation", "eval", "train", "checkpoint", "eval", "train"]


def test_a_checkpoint_holds_the_weights_of_evaluation(tmp_path: Path, asking: Any) -> None:
    job = job_for(tmp_path, "Averaging", lr=0.1)
    folder = run(job)
    saved = load_checkpoint(folder / "checkpoints/iteration-00000021.pt")
    ready = Run(assemble(job, for_run=True))
    ready.train()
    ready.set_training(False)
    for name, parameter in ready.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), saved["model"][name], rtol=0, atol=0)


def test_what_an_optimizer_keeps_in_its_groups_survives_a_checkpoint(tmp_path: Path, asking: Any) -> None:
    job = job_for(tmp_path, "Averaging", lr=0.1)
    folder = run(job)
    straight = load_checkpoint(folder / "checkpoints/iteration-00000021.pt")
    second = Run(assemble(job, for_run=True))
    second.load_state_dict(load_checkpoint(folder / "checkpoints/iteration-00000014.pt"))
    assert second.wrapper.param_groups[0]["count"] == 7
    second.train()
    second.set_training(False)
    for name, parameter in second.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), straight["model"][name], rtol=1e-6, atol=1e-6)


def test_what_the_job_says_now_wins_over_what_was_saved(tmp_path: Path) -> None:
    first = Run(assemble(job_for(tmp_path, "SGD", lr=0.2, momentum=0.5), for_run=True))
    first.train()
    second = Run(assemble(job_for(tmp_path, "SGD", lr=0.4, momentum=0.8, weight_decay=0.1), for_run=True))
    second.load_state_dict(through_a_file(first.state_dict()))
    (group,) = second.wrapper.param_groups
    assert (group["initial_lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.8, 0.1)
