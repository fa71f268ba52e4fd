"""Tasks: losses by name, metrics as sums, and what a batch may be."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from optimctl.errors import JobError, RunFailed
from optimctl.optim.loss import total_loss
from optimctl.train.task import Classification, ModelLoss, Supervised


class Fixed(nn.Module):
    """Returns what it was made with, whatever it is called with."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.output


LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0]])
LABELS = torch.tensor([0, 0, 1])


def test_classification_gives_the_mean_loss_and_the_sums() -> None:
    task = Classification()
    loss = task.loss(Fixed(LOGITS), [torch.zeros(3, 2), LABELS])
    torch.testing.assert_close(loss, nn.functional.cross_entropy(LOGITS, LABELS))
    sums = task.evaluate(Fixed(LOGITS), [torch.zeros(3, 2), LABELS])
    assert {name: count for name, (_, count) in sums.items()} == {"loss": 3, "accuracy": 3}
    assert float(sums["accuracy"][0]) == 2
    torch.testing.assert_close(sums["loss"][0], 3 * loss)


def test_a_loss_takes_its_arguments_and_arrays_become_tensors() -> None:
    weight = [1.0, 2.0, 4.0]
    task = Classification(loss={"type": "CrossEntropyLoss", "weight": weight, "label_smoothing": 0.1})
    wanted = nn.functional.cross_entropy(LOGITS, LABELS, weight=torch.tensor(weight), label_smoothing=0.1)
    torch.testing.assert_close(task.loss(Fixed(LOGITS), (torch.zeros(3, 2), LABELS)), wanted)


def test_regression_with_several_metrics() -> None:
    task = Supervised(metrics=["mean_absolute_error", "mean_squared_error"])
    output, target = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [0.0]])
    sums = task.evaluate(Fixed(output), (torch.zeros(2, 1), target))
    assert {name: (float(total), count) for name, (total, count) in sums.items()} == {
        "loss": (10.0, 2),
        "mean_absolute_error": (4.0, 2),
        "mean_squared_error": (10.0, 2),
    }
    assert task.metric_rules == {"loss": "min", "mean_absolute_error": "min", "mean_squared_error": "min"}


@pytest.mark.parametrize("batch", [{"a": torch.ones(4, 2)}, (torch.ones(4, 2),), torch.ones(4, 2)])
def test_a_model_may_return_its_loss_in_any_common_form(batch: Any) -> None:
    loss = torch.tensor(2.0)
    task = ModelLoss()
    for output in (loss, SimpleNamespace(loss=loss), {"loss": loss, "seen": torch.tensor(9.0)}):
        assert total_loss(task.loss(Fixed(output), batch)) == loss
    assert task.evaluate(Fixed(loss), batch) == {"loss": (8.0, 4)}


def test_named_losses_are_added_up_and_others_are_not() -> None:
    parts = {"loss_cls": torch.tensor(1.0), "loss_box": torch.tensor(2.0), "accuracy": torch.tensor(50.0)}
    assert total_loss(parts) == 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: total_loss({"cls": torch.ones(())}),
            "a task's loss is a tensor, or a dict with tensors named like \"loss\"; this is a dict with 'cls'",
        ),
        (
            lambda: ModelLoss().loss(Fixed("text"), torch.ones(1)),
            "ModelLoss wants a model that returns its loss; this one returned a str",
        ),
        (
            lambda: Classification().loss(Fixed(LOGITS), {"image": 1, "label": 2}),
            (
                "Supervised and Classification want batches (input, target); this one is a dict with 'image' and 'label'. "
                "A dict or a model that returns its loss goes with the task ModelLoss"
            ),
        ),
    ],
)
def test_what_does_not_fit_fails_with_a_sentence(call: Any, message: str) -> None:
    with pytest.raises(RunFailed) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"loss": "CrossEntropy"},
            "loss: torch.nn has no loss called 'CrossEntropy'; did you mean 'CrossEntropyLoss'?",
        ),
        (
            {"loss": {"type": "MSELoss", "wait": 1}},
            "loss.wait: torch.nn.MSELoss has no argument 'wait'; it takes 'reduction'",
        ),
        (
            {"loss": {"type": "MSELoss", "reduction": "none"}},
            "loss.reduction: a loss is one number; take this out",
        ),
        ({"metrics": ["accurcy"]}, "metrics.0: no metric is called 'accurcy'; did you mean 'accuracy'?"),
    ],
)
def test_wrong_arguments_name_their_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        Supervised(**arguments)
    assert str(caught.value) == message
