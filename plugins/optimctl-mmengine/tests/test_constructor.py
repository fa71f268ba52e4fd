"""One changed line, and MMEngine's Runner trains with merged, fused groups: the same losses, schedules, checkpoints and averages."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

OURS = "optimctl_mmengine.OptimctlConstructor"


class Watch(Hook):
    """Notes the losses and the learning rates of every iteration."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rates: list[list[float]] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(float(sum(value for name, value in outputs.items() if "loss" in name)))
        groups = runner.optim_wrapper.param_groups
        several = groups.values() if isinstance(groups, dict) else [groups]
        self.rates.append(sorted({group["lr"] for one in several for group in one}))


def train(config: Config, folder: Path, **changes: Any) -> tuple[Runner, Watch]:
    """A whole run of MMEngine's."""
    config = copy.deepcopy(config)
    config.merge_from_dict(changes)
    config.work_dir, config.log_level, watch = str(folder), "ERROR", Watch()
    runner = Runner.from_cfg(config)
    runner.register_hook(watch, "VERY_LOW")
    runner.train()
    return runner, watch


@pytest.fixture
def net(configs: Path) -> Config:
    return Config.fromfile(configs / "tiny" / "net.py")


def weights(runner: Runner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}


def test_the_same_training_in_fewer_groups(net: Config, tmp_path: Path) -> None:
    theirs, seen = train(net, tmp_path / "theirs")
    ours, also_seen = train(net, tmp_path / "ours", optim_wrapper={"constructor": OURS})
    assert [len(each.optim_wrapper.optimizer.param_groups) for each in (theirs, ours)] == [8, 3]
    assert ours.optim_wrapper.optimizer.defaults["fused"]
    assert also_seen.losses == pytest.approx(seen.losses, rel=1e-5)
    assert also_seen.rates == seen.rates
    for name, tensor in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], tensor, rtol=1e-4, atol=1e-6)
    assert (
        ours.message_hub.get_scalar("val/accuracy/top1").current()
        == theirs.message_hub.get_scalar("val/accuracy/top1").current()
    )


def test_averages_are_the_same(net: Config, tmp_path: Path) -> None:
    runs = [
        train(net, tmp_path / name, **change)[0]
        for name, change in (("a", {}), ("b", {"optim_wrapper.constructor": OURS}))
    ]
    theirs, ours = (
        next(h for h in run.hooks if type(h).__name__ == "EMAHook").ema_model.module.state_dict() for run in runs
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_from_its_checkpoint(net: Config, tmp_path: Path) -> None:
    net.optim_wrapper.constructor = OURS
    whole, seen = train(net, tmp_path / "whole")
    resumed, rest = train(net, tmp_path / "rest", resume=True, load_from=str(tmp_path / "whole" / "epoch_2.pth"))
    assert rest.losses == pytest.approx(seen.losses[12:], rel=1e-6)
    assert rest.rates == seen.rates[12:]
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], tensor, rtol=1e-6, atol=1e-7)


def test_a_run_that_began_without_it_goes_on_with_it(net: Config, tmp_path: Path) -> None:
    _, seen = train(net, tmp_path / "theirs")
    checkpoint = str(tmp_path / "theirs" / "epoch_2.pth")
    changes = {"optim_wrapper": {"constructor": OURS}}
    resumed, rest = train(net, tmp_path / "ours", resume=True, load_from=checkpoint, **changes)
    assert rest.losses == pytest.approx(seen.losses[12:], rel=1e-5)
    assert rest.rates == seen.rates[12:]
    assert all(group["fused"] for group in resumed.optim_wrapper.optimizer.param_groups)


def test_several_optimizers(configs: Path, tmp_path: Path) -> None:
    config = Config.fromfile(configs / "tiny" / "gan.py")
    runner, seen = train(config, tmp_path)
    wrappers = runner.optim_wrapper
    assert list(wrappers.keys()) == ["generator", "discriminator"]
    assert [len(wrapper.optimizer.param_groups) for wrapper in wrappers.values()] == [2, 2]
    groups = wrappers["generator"].optimizer.param_groups
    assert [(group["lr"], group["param_names"]) for group in groups] == [(0.01, ["weight"]), (0.02, ["bias"])]
    assert seen.losses[-1] != seen.losses[0]
    assert wrappers["discriminator"].optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.5 * 0.25)


class Odd(nn.Module):
    """A layer that is used twice, a frozen one, and one that nothing is said of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)


@pytest.mark.parametrize(
    "rules", [None, {"norm_decay_mult": 0.0}, {"custom_keys": {"first": {"lr_mult": 0.5, "momentum": 0.5}}}]
)
def test_every_parameter_once_and_frozen_ones_never(rules: dict[str, Any] | None) -> None:
    model = Odd()
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    cfg = {"type": "OptimWrapper", "optimizer": optimizer, "paramwise_cfg": rules, "constructor": OURS}
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    trained = [parameter for group in groups for parameter in group["params"]]
    assert sorted(map(id, trained)) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    if rules:
        theirs = {
            **cfg,
            "paramwise_cfg": {**rules, "bypass_duplicate": True},
            "constructor": "DefaultOptimWrapperConstructor",
        }
        before = build_optim_wrapper(model, theirs).optimizer.param_groups
        assert options(groups) == options(before)
        assert len(groups) < len(before)


def options(groups: list[dict[str, Any]]) -> dict[int, tuple[float, ...]]:
    return {id(p): (g["lr"], g["weight_decay"], g["momentum"]) for g in groups for p in g["params"]}


def test_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine's wrapper asks for a GPU; its scaler steps the merged optimizer as any other."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper

    monkeypatch.setattr(amp_optimizer_wrapper, "is_cuda_available", lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, "GradScaler", lambda: torch.amp.GradScaler("cpu", init_scale=64.0))
    optimizer = {"type": "Adam", "lr": 0.1}
    ends = []
    for constructor in ("DefaultOptimWrapperConstructor", OURS):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))
        rules = {"norm_decay_mult": 1.0, "bias_lr_mult": 2.0}
        cfg = {
            "type": "AmpOptimWrapper",
            "optimizer": {**optimizer, "weight_decay": 0.1},
            "clip_grad": {"max_norm": 1.0},
        }
        wrapper = build_optim_wrapper(model, {**cfg, "paramwise_cfg": rules, "constructor": constructor})
        for _ in range(5):
            wrapper.update_params(model(torch.ones(2, 4)).square().sum())
        ends.append([parameter.detach() for parameter in model.parameters()])
        state = wrapper.state_dict()
        assert state["loss_scaler"]["scale"] == 64.0
        wrapper.load_state_dict(state)
    torch.testing.assert_close(ends[0], ends[1])


def test_an_optimizer_of_somebody_else() -> None:
    from mmengine.registry import OPTIMIZERS

    class Mine(torch.optim.SGD):
        def __init__(self, model_params: Any, lr: float) -> None:
            super().__init__(model_params, lr)

    OPTIMIZERS.register_module(name="Mine", module=Mine, force=True)
    cfg = {"optimizer": {"type": "Mine", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2.0}, "constructor": OURS}
    wrapper = build_optim_wrapper(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), cfg)
    assert [(group["lr"], len(group["params"])) for group in wrapper.optimizer.param_groups] == [(0.1, 2), (0.2, 2)]
