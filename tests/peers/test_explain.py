"""``explain`` on the optimizers of transformers' Trainer, Lightning and MMEngine, each with its own habits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from mmengine.optim import ConstantLR, CosineAnnealingLR, build_optim_wrapper
from torch import nn
from transformers import Trainer, TrainingArguments

import optimctl
from optimctl.plan.explain import Explanation
from tests.peers import training

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:pytorch_lightning", "ignore::FutureWarning:pytorch_lightning"
)


def lr_of(explanation: Explanation, group: int = 0) -> list[float]:
    return next(
        list(one.values) for one in explanation.plan.schedule.curves if (one.option, one.group) == ("lr", group)
    )


def test_a_trainer_has_two_groups_and_a_length(tmp_path: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(tmp_path), warmup_steps=5, weight_decay=0.1, learning_rate=0.01, use_cpu=True, report_to=[]
    )
    trainer = Trainer(training.make_model(), arguments, train_dataset=training.Points())
    trainer.create_optimizer_and_scheduler(num_training_steps=40)
    assert trainer.model is not None
    explanation = optimctl.explain(trainer.model, trainer.optimizer, trainer.lr_scheduler)
    (optimizer,) = explanation.plan.optimizers
    assert [group.options["weight_decay"] for group in optimizer.groups] == [0.1, 0.0]
    assert explanation.plan.schedule.iterations == 40
    assert [lr_of(explanation)[step] for step in (0, 5, 40 - 1)] == [0.0, 0.01, 0.01 / 35]


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A training that looks at its own optimizer, as a user would from inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12),
                "interval": "step",
            },
        }

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.layer(batch[0]).square().mean()
        return loss

    def on_train_start(self) -> None:
        self.seen = optimctl.explain(self, self.optimizers(), self.lr_schedulers())
        self.configured = optimctl.explain(self, self.optimizers(), self.trainer.lr_scheduler_configs[0].scheduler)


def test_lightnings_wrappers_are_looked_through(tmp_path: Path) -> None:
    module = Module()
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 2)), batch_size=2))
    assert [one.type for one in module.seen.plan.optimizers] == ["Adam"]
    assert module.seen.plan.schedule.iterations == 12
    assert lr_of(module.seen) == lr_of(module.configured)


def test_mmengines_group_of_every_tensor_and_its_schedulers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    wrapper = build_optim_wrapper(
        model,
        {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.01},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
        },
    )
    warm_up = ConstantLR(wrapper, factor=0.5, by_epoch=False, begin=0, end=4)
    decay = CosineAnnealingLR(wrapper, T_max=3, by_epoch=True, begin=0, end=3)
    explanation = optimctl.explain(model, wrapper, [warm_up, decay], iterations=12, epoch_length=4)
    assert "groups-could-merge" in [one.code for one in explanation.findings]
    assert lr_of(explanation) == pytest.approx([0.05] * 3 + [0.1] + [0.075] * 4 + [0.025] * 4)
