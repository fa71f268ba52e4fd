"""A step: accumulation, clipping, and state that follows the names of parameters."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimctl.errors import JobError
from optimctl.optim import OptimWrapper
from tests.jobs import one_wrapper


def regression(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def train(
    model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], counts: int, told: bool = True
) -> OptimWrapper:
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), accumulative_counts=counts)
    if told:
        wrapper.initialize_count_status(model, 0, len(batches))
    for inputs, targets in batches:
        wrapper.update_params(nn.functional.mse_loss(model(inputs), targets))
    return wrapper


@settings(max_examples=30, deadline=None)
@given(counts=st.integers(1, 5), batches=st.integers(1, 12))
def test_small_batches_equal_a_large_one(counts: int, batches: int) -> None:
    torch.manual_seed(1)
    data = [(torch.randn(2, 3).double(), torch.randn(2, 1).double()) for _ in range(batches)]
    windows = [data[start : start + counts] for start in range(0, batches, counts)]
    merged = [(torch.cat([x for x, _ in window]), torch.cat([y for _, y in window])) for window in windows]
    small, large = regression(), regression()
    wrapper = train(small, data, counts)
    train(large, merged, 1)
    assert wrapper.updates == len(windows)
    for ours, theirs in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_without_a_known_end_the_short_window_waits() -> None:
    model = regression()
    data = [(torch.randn(2, 3).double(), torch.randn(2, 1).double())] * 3
    assert train(model, data, counts=2, told=False).updates == 1


def test_the_norm_is_that_before_clipping_and_stays_a_tensor() -> None:
    model = nn.Linear(2, 1, bias=False)
    wrapper = one_wrapper(model, {"optimizer": {"type": "SGD", "lr": 1.0}, "clip_grad": {"max_norm": 1.0}})
    before = model.weight.detach().clone()
    wrapper.update_params((model(torch.tensor([[30.0, 40.0]]))).sum())
    assert isinstance(wrapper.grad_norm, torch.Tensor)
    assert wrapper.grad_norm.item() == pytest.approx(50.0)
    assert (before - model.weight).norm().item() == pytest.approx(1.0, rel=1e-5)


def test_clipping_by_value_cuts_each_element() -> None:
    model = nn.Linear(2, 1, bias=False)
    cfg = {"optimizer": {"type": "SGD", "lr": 1.0}, "clip_grad": {"type": "value", "clip_value": 0.5}}
    wrapper = one_wrapper(model, cfg)
    before = model.weight.detach().clone()
    wrapper.update_params((model(torch.tensor([[30.0, -0.25]]))).sum())
    torch.testing.assert_close(before - model.weight.detach(), torch.tensor([[0.5, -0.25]]))
    assert wrapper.grad_norm is None


def test_the_tables_of_the_caller_stay_as_they_are() -> None:
    cfg = {
        "optimizer": {"type": "SGD", "lr": 1.0},
        "clip_grad": {"type": "norm", "max_norm": 1.0},
        "accumulative_counts": 2,
    }
    kept = copy.deepcopy(cfg)
    one_wrapper(nn.Linear(2, 1), cfg)
    assert cfg == kept


def test_state_follows_the_names_into_other_groups() -> None:
    model = regression()
    cfg = {"optimizer": {"type": "AdamW", "lr": 0.01}}
    merged = one_wrapper(model, cfg)
    merged.update_params(model(torch.randn(5, 3).double()).sum())
    saved = merged.state_dict()
    split = one_wrapper(
        model, {**cfg, "paramwise_cfg": {"bias_decay_mult": 0.0, "custom_keys": {"2": {"lr_mult": 0.5}}}}
    )
    assert len(split.param_groups) == 3
    split.load_state_dict(saved)
    for name, parameter in model.named_parameters():
        assert set(split.optimizer.state[parameter]) == set(saved["state"][name])
        torch.testing.assert_close(split.optimizer.state[parameter]["exp_avg"], saved["state"][name]["exp_avg"])
    assert [group["lr"] for group in split.param_groups] == [0.01, 0.01, 0.005]
    assert split.updates == 1


class Counting(torch.optim.SGD):
    """Keeps a state under a string, as MADGRAD does, and a further key in its state dict, as optimizers over others do."""

    inner = 0

    def step(self, closure: Any = None) -> Any:
        self.inner += 1
        shared: dict[Any, Any] = self.state
        shared["all"]["steps"] = torch.tensor(self.inner)
        return super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "inner": {"steps": self.inner}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "inner"})
        self.inner = state_dict["inner"]["steps"]


def test_what_an_optimizer_keeps_beside_its_parameters_is_kept() -> None:
    model = nn.Linear(2, 1)
    wrapper, resumed = (OptimWrapper(Counting(model.parameters(), lr=0.1, momentum=0.9)) for _ in range(2))
    wrapper.update_params(model(torch.ones(1, 2)).sum())
    resumed.load_state_dict(wrapper.state_dict())
    assert isinstance(resumed.optimizer, Counting)
    assert resumed.optimizer.state["all"]["steps"] == resumed.optimizer.inner == 1  # type: ignore[index]
    assert resumed.optimizer.state[model.weight]["momentum_buffer"].shape == (1, 2)


class Unguarded(torch.optim.SGD):
    """Evaluates its closure with gradients turned off, as optimizers do that only want to know the loss."""

    requires_closure = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = closure()
        super().step()
        return loss


def test_a_closure_has_gradients_whatever_the_optimizer_turned_off() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    OptimWrapper(Unguarded(model.parameters(), lr=0.1)).update_by_closure(lambda: model(torch.ones(1, 2)).sum())
    assert not torch.equal(model.weight, before)


def test_gradients_are_synchronized_only_where_a_window_ends() -> None:
    class Spy(nn.Linear):
        skipped = 0

        def no_sync(self) -> "Spy":
            return self

        def __enter__(self) -> None:
            self.skipped += 1

        def __exit__(self, *_: object) -> None: ...

    model = Spy(2, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 5)
    synchronized = []
    for _ in range(5):
        before = model.skipped
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 2)).sum()
        synchronized.append(model.skipped == before)
        wrapper.update_params(loss)
    assert synchronized == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulative_counts": 0}, "accumulative_counts: must be a whole number from 1 up, not 0"),
        (
            {"clip_grad": {"max_norn": 1.0}},
            "clip_grad: needs `max_norm`\nclip_grad.max_norn: unknown key; did you mean 'max_norm'?",
        ),
        ({"clip_grad": {}}, "clip_grad: needs `max_norm`"),
        ({"clip_grad": {"type": "value", "clip_value": -1}}, "clip_grad.clip_value: must be more than 0, not -1"),
        (
            {"clip_grad": {"type": "norms"}},
            "clip_grad.type: must be 'norm' or 'value', not the string 'norms'\nclip_grad: needs `max_norm`",
        ),
    ],
)
def test_wrong_options_name_their_key(options: dict[str, object], message: str) -> None:
    with pytest.raises(JobError) as caught:
        OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1), **options)  # type: ignore[arg-type]
    assert str(caught.value) == message
