"""Models, data, optimizers and constructors of a package of OpenMMLab's kind, in jobs that run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from optimctl_mmengine.importing import import_mmengine
from optimctl_mmengine.parts import build_dataset, build_model
from optimctl_mmengine.tasks import build_task, samples_in

import optimctl
from optimctl.cli.main import exit_code
from optimctl.errors import JobError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def imported(configs: Path, name: str, folder: Path) -> Path:
    """The job file of a configuration."""
    assert exit_code(["import", "mmengine", str(configs / "tiny" / name), "-o", str(folder)]) == 0
    return next(file for file in folder.rglob("*.toml") if file.stem == Path(name).stem)


def run(job: Any, folder: Path) -> Path:
    """The folder of the run that comes of a job."""
    optimctl.run(optimctl.load_job(job), work_dir=folder / "runs")
    (made,) = (folder / "runs").iterdir()
    return made


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def mmengines(configs: Path, name: str, folder: Path) -> Runner:
    """The same run by MMEngine."""
    config = copy.deepcopy(Config.fromfile(configs / "tiny" / name))
    config.work_dir, config.log_level = str(folder), "ERROR"
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_an_imported_job_trains_as_mmengine_does(configs: Path, tmp_path: Path) -> None:
    job = imported(configs, "net.py", tmp_path / "jobs")
    best = {"metric": "accuracy/top1", "rule": "max"}
    assert optimctl.load_job(job).plain()["checkpoint"] == {"interval": 2, "save_best": best}
    folder = run(job, tmp_path)
    runner = mmengines(configs, "net.py", tmp_path / "theirs")
    weights = torch.load(next(folder.glob("checkpoints/*24.pt")), weights_only=True)["model"]
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
    theirs = runner.message_hub.get_scalar("train/loss_cls").current()
    train = [record for record in records(folder) if record["split"] == "train"]
    assert train[-1]["loss_cls"] == pytest.approx(theirs, rel=1e-4)
    assert set(train[-1]) >= {"loss", "loss_cls", "loss_penalty", "hits", "lr"}
    assert train[-1]["loss"] == pytest.approx(train[-1]["loss_cls"] + train[-1]["loss_penalty"], rel=1e-6)


def test_a_metric_that_is_a_mean_is_mmengines(configs: Path, tmp_path: Path) -> None:
    folder = run(imported(configs, "net.py", tmp_path / "jobs"), tmp_path)
    runner = mmengines(configs, "net.py", tmp_path / "theirs")
    ours = [record["accuracy/top1"] for record in records(folder) if record["split"] == "val"]
    theirs = runner.message_hub.get_scalar("val/accuracy/top1")._log_history
    assert ours == pytest.approx(
        [float(value) for value in theirs], abs=0.05
    )  # averages: once an update here, every iteration there


def test_the_check_takes_the_model_itself(configs: Path) -> None:
    told = import_mmengine(configs / "tiny" / "net.py")[-1].told
    assert told["options"] == "same (8 parameters of the model TinyNet)"
    told = import_mmengine(configs / "tiny" / "own_classes.py")[-1].told
    assert told["options"] == "same (8 parameters of the model TinyNet)"


def test_classes_of_the_package_that_say_how_to_train(configs: Path, tmp_path: Path) -> None:
    folder = run(imported(configs, "own_classes.py", tmp_path / "jobs"), tmp_path)
    assert [record["split"] for record in records(folder)].count("val") == 2
    assert set(records(folder)[-1]) >= {
        "loss",
        "loss_cls",
        "loss_penalty",
    }  # without a metric, an evaluation gives the losses
    assert exit_code(["inspect", str(tmp_path / "jobs" / "own_classes.toml")]) == 0


def test_a_gan_drives_its_optimizers_itself(configs: Path, tmp_path: Path) -> None:
    job = imported(configs, "gan.py", tmp_path / "jobs")
    assert optimctl.load_job(job).plain()["task"]["own_step"] is True
    folder = run(job, tmp_path)
    runner = mmengines(configs, "gan.py", tmp_path / "theirs")
    weights = torch.load(next(folder.glob("checkpoints/*18.pt")), weights_only=True)["model"]
    for name, tensor in runner.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
    assert set(records(folder)[-1]) >= {"loss", "loss_disc", "loss_gen", "generator.lr", "discriminator.lr"}


def test_a_dry_run_tells_the_plan(configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = imported(configs, "net.py", tmp_path / "jobs")
    capsys.readouterr()
    assert exit_code(["inspect", str(job), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["schedule"]["epoch_length"] == 6
    assert len(plan["optimizers"][0]["groups"]) == 3


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    job = "[train_cfg]\nmax_epochs = 1\n[task]\ntype = 'MMEngine'\n[optim_wrapper]\noptimizer = { type = 'SGD' }\n"
    data = "[train_dataloader]\ndataset = { type = 'Synthetic' }\n"
    file.write_text(f'[model]\ntype = "MMEngine"\nscope = "mmnowhere"\ncfg = {{ type = "Net" }}\n{job}{data}')
    with pytest.raises(JobError, match=r"job.toml:3:9: model.scope: the package 'mmnowhere' is not installed"):
        optimctl.run(optimctl.load_job(file))
    with pytest.raises(JobError, match=r"the module .mmnowhere\.models. cannot be imported"):
        build_model({"type": "Net"}, imports=["mmnowhere.models"])
    with pytest.raises(JobError, match="name the class"):
        build_dataset({})


def test_samplers_and_collate_functions_come_from_the_registries() -> None:
    batches = {"type": "FullBatches"}
    dataset = build_dataset(
        {"type": "Clouds", "samples": 10},
        "tinymm",
        sampler={"type": "DefaultSampler", "shuffle": True},
        batch_sampler=batches,
        batch_size=4,
        collate_fn={"type": "default_collate"},
    )
    first, again, other = [], [], []
    for found, epoch in ((first, 0), (again, 0), (other, 1)):
        dataset.batch_sampler.set_epoch(epoch)
        found += list(dataset.batch_sampler)
    assert [len(batch) for batch in first] == [4, 4]
    assert first == again != other
    batch = dataset.collate_fn([dataset[0], dataset[1]])
    assert batch["inputs"].shape == (2, 4)


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        ({"inputs": [torch.ones(2), torch.ones(2)], "data_samples": [1, 2]}, 2),
        ({"inputs": {"img": torch.ones(3, 2)}}, 3),
        ([torch.ones(4, 2), torch.ones(4)], 4),
        (torch.ones(5, 1), 5),
        ({"scale": torch.tensor(1.0), "x": torch.ones(6)}, 6),
        ({}, 1),
    ],
)
def test_samples_of_a_batch(batch: Any, samples: int) -> None:
    assert samples_in(batch) == samples


def test_a_task_without_metrics_gives_the_losses() -> None:
    model = build_model(
        {"type": "TinyNet", "backbone": {"type": "Backbone", "width": 4, "stages": {"python": "(1,)"}}}, "tinymm"
    )
    batch = {"inputs": [torch.ones(4), torch.zeros(4)], "data_samples": torch.tensor([0, 1])}
    task = build_task(scope="tinymm")
    sums = task.evaluate(model, batch)
    assert set(sums) == {"loss", "loss_cls", "hits"}
    assert all(count == 2 for _, count in sums.values())
    assert float(sums["loss"][0]) == pytest.approx(2 * float(task.loss(model, batch)["loss_cls"].detach()))


# --- constructors -----------------------------------------------------------------------------------------------------


OWN = {"head": "of its own"}
"""Rules, without which MMEngine asks no constructor for groups."""


def groups_of(
    constructor: str, optimizer: dict[str, Any], rules: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The options of each parameter of a small network, as a job has them by a constructor of the package's."""
    backbone = {"type": "Backbone", "width": 4, "stages": {"python": "(1,)"}}
    table = {
        "optimizer": optimizer,
        "constructor": {"type": "MMEngine", "name": constructor, "scope": "tinymm"},
        **({} if rules is None else {"paramwise_cfg": rules}),
    }
    built = optimctl.build_optim_wrapper(build_model({"type": "TinyNet", "backbone": backbone}, "tinymm"), table)
    return {name: group for group in built.optimizer.param_groups for name in group["param_names"]}  # type: ignore[union-attr]


def test_an_optimizer_keeps_its_own_defaults_under_a_constructor() -> None:
    found = groups_of("BatchSizeConstructor", {"type": "AdamW", "lr": 0.02})
    assert {group["weight_decay"] for group in found.values()} == {0.01}
    assert {group["lr"] for group in found.values()} == {0.02}
    assert len({id(group) for group in found.values()}) == 1


def test_every_option_of_a_group_is_taken_over() -> None:
    found = groups_of("BatchSizeConstructor", {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True}, OWN)
    assert {name: group["momentum"] for name, group in found.items()} == {
        name: 0.5 if name.startswith("head") else 0.9 for name in found
    }
    assert all(group["nesterov"] for group in found.values())
    found = groups_of("BatchSizeConstructor", {"type": "AdamW", "betas": [0.8, 0.9]}, OWN)
    assert found["head.weight"]["betas"] == (0.5, 0.6)
    assert found["backbone.norm.bias"]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    "optimizer",
    [{"type": "SGD", "momentum": 0.9}, {"type": "MMEngine", "name": "PlainSGD", "scope": "tinymm", "momentum": 0.9}],
)
def test_an_argument_that_the_constructor_takes_does_not_reach_the_optimizer(optimizer: dict[str, Any]) -> None:
    found = groups_of("BatchSizeConstructor", {**optimizer, "lr": 0.1, "batch_size_per_gpu": 16}, OWN)
    assert found["head.bias"]["momentum"] == 0.5
    assert found["backbone.norm.bias"]["momentum"] == 0.9
    assert "batch_size_per_gpu" not in found["head.bias"]


def test_an_argument_that_nobody_takes_is_told() -> None:
    with pytest.raises(JobError, match=r"unexpected keyword argument 'batch_size_per_gpu'"):
        groups_of("FastHeadConstructor", {"type": "SGD", "lr": 0.1, "weight_decay": 0.1, "batch_size_per_gpu": 16})
    with pytest.raises(JobError, match=r"optimizer.momentum: must be a number"):
        groups_of("BatchSizeConstructor", {"type": "SGD", "momentum": "0.9", "batch_size_per_gpu": 16})


def test_a_constructor_of_several_optimizers_is_told() -> None:
    with pytest.raises(
        JobError, match=r"constructor.name: TwoOptimizers builds several optimizers; name the sub-modules"
    ):
        groups_of("TwoOptimizers", {"type": "SGD", "lr": 0.1})


@pytest.mark.parametrize(
    ("optimizer", "rules"),
    [
        ({"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}, {"norm_decay_mult": 0.0}),
        ({"type": "AdamW", "lr": 0.1}, None),
        ({"type": "Adafactor", "lr": 0.1, "weight_decay": 0.2}, {"bias_lr_mult": 2.0}),
        (
            {"type": "MMEngine", "name": "PlainSGD", "scope": "tinymm", "lr": 0.1},
            {"custom_keys": {"head": {"lr": 0.2}}},
        ),
    ],
)
def test_options_are_those_of_the_constructor_itself(optimizer: dict[str, Any], rules: dict[str, Any] | None) -> None:
    ours = groups_of("DefaultOptimWrapperConstructor", optimizer, rules)
    backbone = {"type": "Backbone", "width": 4, "stages": {"python": "(1,)"}}
    model = build_model({"type": "TinyNet", "backbone": backbone}, "tinymm")
    kind = {"MMEngine": "tinymm.PlainSGD", "Adafactor": "TorchAdafactor"}.get(optimizer["type"], optimizer["type"])
    options = {name: value for name, value in optimizer.items() if name not in ("type", "name", "scope")}
    cfg = {"type": "OptimWrapper", "optimizer": {"type": kind, **options}, "paramwise_cfg": rules}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in build_optim_wrapper(model, cfg).optimizer.param_groups:
        for parameter in group["params"]:
            own = ours[names[id(parameter)]]
            assert {o: own[o] for o in group if o in own and o not in ("params", "foreach", "fused")} == {
                o: v for o, v in group.items() if o in own and o not in ("params", "foreach", "fused")
            }
