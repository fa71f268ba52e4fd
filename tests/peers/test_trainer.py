"""In ``transformers.Trainer``: each update has the preview's values, accumulated, resumed, and as the Trainer logs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers import Trainer, TrainingArguments

from tests.peers import training
from tests.peers.training import Classifier, Values

SAVED = 19
"""The update after which the training is saved: in the middle of the third epoch."""


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    folder: Path
    trainer: Trainer
    model: Classifier
    values: Values


def train(folder: Path, checkpoint: Path | None = None) -> Trained:
    """Train to the end, from the start or from a checkpoint."""
    values: Values = []
    model = training.make_model()
    optimizer = training.make_optimizer(model, values)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=training.EPOCHS,
        per_device_train_batch_size=training.BATCH_SIZE,
        gradient_accumulation_steps=training.ACCUMULATION,
        save_steps=SAVED,
        logging_steps=1,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=training.Points(),
        optimizers=(optimizer, training.make_scheduler(optimizer, training.UPDATES)),
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return Trained(folder, trainer, model, values)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("straight"))


def test_each_update_has_the_previews_values(straight: Trained) -> None:
    assert straight.trainer.state.global_step == training.UPDATES
    training.assert_previewed(straight.values)


def test_the_trainer_logs_the_rates_of_its_updates(straight: Trained) -> None:
    logged = [record["learning_rate"] for record in straight.trainer.state.log_history if "learning_rate" in record]
    assert logged == [rates[0] for rates in straight.values]


def test_resumed_is_straight(straight: Trained, tmp_path: Path) -> None:
    resumed = train(tmp_path, straight.folder / f"checkpoint-{SAVED}")
    training.assert_previewed(resumed.values, start=SAVED)
    training.assert_same_weights(resumed.model, straight.model)
