"""In Lightning's ``Trainer``: each update has the preview's values, with accumulation, and after a resume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
from torch import Tensor
from torch.utils.data import DataLoader

from tests.peers import training
from tests.peers.training import Classifier, Values

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:pytorch_lightning", "ignore::FutureWarning:pytorch_lightning"
)


class Module(lightning.LightningModule):  # type: ignore[misc]
    """The model as Lightning wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.values: Values = []
        self.model = training.make_model()

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        loss: Tensor = self.model(**batch)["loss"]
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = training.make_optimizer(self.model, self.values)
        scheduler = training.make_scheduler(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    folder: Path
    trainer: lightning.Trainer
    model: Classifier
    values: Values


def train(folder: Path, checkpoint: Path | None = None) -> Trained:
    """Train to the end, from the start or from a checkpoint; one is written after every fourth update."""
    module = Module()
    saving = lightning.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=4, save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=training.EPOCHS,
        accumulate_grad_batches=training.ACCUMULATION,
        accelerator="cpu",
        callbacks=[saving],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(training.Points(), training.BATCH_SIZE), ckpt_path=checkpoint)
    return Trained(folder, trainer, module.model, module.values)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("straight"))


def test_each_update_has_the_previews_values(straight: Trained) -> None:
    assert straight.trainer.global_step == training.UPDATES
    training.assert_previewed(straight.values)


def test_resumed_is_straight(straight: Trained, tmp_path: Path) -> None:
    saved = 3 * training.UPDATES_PER_EPOCH
    resumed = train(tmp_path, straight.folder / f"step={saved}.ckpt")
    training.assert_previewed(resumed.values, start=saved)
    training.assert_same_weights(resumed.model, straight.model)


def test_resumed_within_an_epoch_it_goes_on_with_the_previews_values(straight: Trained, tmp_path: Path) -> None:
    # Only the values: Lightning takes the data of that epoch from its start.
    resumed = train(tmp_path, straight.folder / "step=20.ckpt")
    training.assert_previewed(resumed.values, start=20)
