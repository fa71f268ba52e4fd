"""What an optimizer cannot train is told by name, with what to do, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from optimctl.errors import JobError
from optimctl.optim import OptimWrapper, build_optim_wrapper, build_optimizer


class Words(nn.Module):
    """An embedding with sparse gradients, and a linear layer behind it."""

    def __init__(self, sparse: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4, sparse=sparse)
        self.head = nn.Linear(4, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.words(tokens))
        return logits


def deep() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))


MATRICES = (
    "optimizer.type: Muon trains matrices only, and these are none: '0.weight', '0.bias', '1.weight' and 2 more; "
    "give them another optimizer, with the constructor Routes"
)
DENSE = (
    "optimizer.type: SparseAdam trains embeddings made with sparse = true only, and these are none: 'head.weight' and "
    "'head.bias'; give them another optimizer, with the constructor Routes"
)
SPARSE = (
    "optimizer.type: {} cannot step on sparse gradients: 'words.weight'; use SparseAdam, SGD or Adagrad for them (give "
    "them another optimizer, with the constructor Routes), or make the embeddings dense"
)
DECAYED = (
    "optimizer.type: {} cannot decay weights whose gradients are sparse: 'words.weight'; give them decay_mult = 0 in "
    "paramwise_cfg.custom_keys"
)
SEVERAL = "paramwise_cfg: LBFGS has one group of parameters, and these rules make 2; take them out"
SGD = {"type": "SGD", "lr": 0.1}


@pytest.mark.parametrize(
    ("model", "optimizer", "paramwise", "message"),
    [
        (deep(), {"type": "Muon"}, {}, MATRICES),
        (Words(), {"type": "SparseAdam"}, {}, DENSE),
        *((Words(), {"type": name}, {}, SPARSE.format(name)) for name in ("Adam", "AdamW", "Adafactor", "RMSprop")),
        (Words(), {**SGD, "weight_decay": 0.1}, {}, DECAYED.format("SGD")),
        (Words(), {"type": "Adagrad", "weight_decay": 0.1}, {}, DECAYED.format("Adagrad")),
        (Words(), SGD, {"custom_keys": {"words": {"weight_decay": 0.1}}}, DECAYED.format("SGD")),
        (deep(), {"type": "LBFGS"}, {"bias_lr_mult": 0.5}, SEVERAL),
    ],
)
def test_the_message_is_whole(
    model: nn.Module, optimizer: dict[str, Any], paramwise: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError) as caught:
        build_optimizer(model, optimizer, paramwise_cfg=paramwise)
    assert str(caught.value) == message


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # by torch, of its own Adagrad
@pytest.mark.parametrize(
    ("optimizer", "paramwise"),
    [
        (SGD, {}),
        ({**SGD, "momentum": 0.9, "nesterov": True}, {}),
        ({**SGD, "weight_decay": 0.1}, {"custom_keys": {"words": {"decay_mult": 0}}}),
        ({"type": "Adagrad"}, {}),
        ({"type": "AdamW"}, {"custom_keys": {"words": {"freeze": True}}}),
    ],
)
def test_what_is_let_through_can_step(optimizer: dict[str, Any], paramwise: dict[str, Any]) -> None:
    model = Words()
    clip = {"max_norm": 1.0}
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": paramwise, "clip_grad": clip})
    for _ in range(3):
        wrapper.update_params(model(torch.tensor([1, 2, 2])).square().sum())
    assert wrapper.updates == 3


def test_lbfgs_steps_on_sparse_gradients() -> None:
    model = Words()
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "LBFGS"}})
    assert isinstance(wrapper, OptimWrapper)
    first, last = (wrapper.update_by_closure(lambda: model(torch.tensor([1, 2, 2])).square().sum()) for _ in range(2))
    assert first is not None
    assert last is not None
    assert last < 0.1 * first


def test_a_dense_embedding_is_a_matrix_like_any_other() -> None:
    optimizer = build_optimizer(nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 2, bias=False)), {"type": "Muon"})
    assert optimizer.param_groups[0]["param_names"] == ["0.weight", "1.weight"]


def test_what_is_not_trained_is_not_asked_about() -> None:
    model = Words()
    model.head.requires_grad_(False)
    optimizer = build_optimizer(model, {"type": "SparseAdam"})
    assert optimizer.param_groups[0]["param_names"] == ["words.weight"]


@pytest.mark.parametrize(
    "clip", [{"max_norm": 0.5}, {"max_norm": 0.5, "norm_type": "inf"}, {"type": "value", "clip_value": 0.1}]
)
def test_sparse_gradients_are_clipped_as_dense_ones_are(clip: dict[str, Any]) -> None:
    sparse, dense = Words(), Words(sparse=False)
    dense.load_state_dict(sparse.state_dict())
    norms = []
    for model in (sparse, dense):
        wrapper = build_optim_wrapper(model, {"optimizer": SGD, "clip_grad": clip, "accumulative_counts": 2})
        assert isinstance(wrapper, OptimWrapper)
        for tokens in ([1, 2, 2], [2, 3, 1]):
            wrapper.update_params(model(torch.tensor(tokens)).square().sum())
        norms.append(wrapper.grad_norm)
    for ours, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(norms[0], norms[1])
