"""A fused step with one count for a group: torch's own values to the bit, whatever happens to gradients and state."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer

import optimctl
from optimctl.optim import fused

SIZES = (3, 1, 4, 2)


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, 3, generator=generator)) for size in SIZES]


def groups(of: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": of[:3]}, {"params": of[3:], "weight_decay": 0.0}]


def pair(kind: Callable[..., Optimizer], **options: Any) -> list[tuple[list[nn.Parameter], Optimizer]]:
    """Ours and torch's, each over parameters of its own."""
    made = []
    for change in (fused.with_one_count, lambda optimizer: optimizer):
        own = parameters()
        made.append((own, change(kind(groups(own), lr=0.1, weight_decay=0.1, fused=True, **options))))
    return made


def give_gradients(of: list[nn.Parameter], step: int, without: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    for index, parameter in enumerate(of):
        generator = torch.Generator().manual_seed(100 * step + index)
        parameter.grad = None if index in without else torch.randn(parameter.shape, generator=generator)


def same(ours: tuple[list[nn.Parameter], Optimizer], torchs: tuple[list[nn.Parameter], Optimizer]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(ours[0], torchs[0], strict=True))
    one, other = ours[1].state_dict(), torchs[1].state_dict()
    assert one["state"].keys() == other["state"].keys()
    for index, state in other["state"].items():
        assert state.keys() == one["state"][index].keys()
        for name, value in state.items():
            found = one["state"][index][name]
            assert torch.equal(found, value)
            assert (found.dtype, found.shape) == (value.dtype, value.shape)


def reload(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    file = io.BytesIO()
    torch.save(made[1].state_dict(), file)
    file.seek(0)
    made[1].load_state_dict(torch.load(file, weights_only=True))


def forget(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    made[1].state.clear()


def regroup(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    last = made[1].param_groups[0]["params"].pop()
    made[1].param_groups[1]["params"].append(last)
    made[1].param_groups.reverse()


def count_by_hand(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    for state in made[1].state.values():
        state["step"] = state["step"] + 5


def count_in_place(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    for state in made[1].state.values():
        state["step"] += 2


def schedule(made: tuple[list[nn.Parameter], Optimizer]) -> None:
    for group in made[1].param_groups:
        group["lr"], group["betas"] = group["lr"] * 0.5, (0.8, 0.99)


EVENTS: dict[str, Callable[[tuple[list[nn.Parameter], Optimizer]], None]] = {
    one.__name__: one for one in (reload, forget, regroup, count_by_hand, count_in_place, schedule)
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([torch.optim.Adam, torch.optim.AdamW]),
    st.fixed_dictionaries({"amsgrad": st.booleans(), "maximize": st.booleans()}),
    st.lists(st.one_of(st.just("step"), st.sets(st.integers(0, 3)), st.sampled_from(sorted(EVENTS))), max_size=12),
)
def test_a_step_has_torchs_values_to_the_bit(
    kind: type[Optimizer], options: dict[str, bool], happenings: list[str | set[int]]
) -> None:
    ours, torchs = pair(kind, **options)
    for number, what in enumerate(["step", "step", *happenings, "step"]):
        for made in (ours, torchs):
            if isinstance(what, str) and what != "step":
                EVENTS[what](made)
            else:
                give_gradients(made[0], number, what if isinstance(what, set) else set())
                made[1].step()
    same(ours, torchs)


def test_the_counters_of_a_group_are_added_to_at_once() -> None:
    own, optimizer = pair(torch.optim.AdamW)[0]
    for step in range(3):
        give_gradients(own, step)
        optimizer.step()
    first, second = (
        {optimizer.state[p]["step"].untyped_storage().data_ptr() for p in group["params"]}
        for group in optimizer.param_groups
    )
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize("overflow", [False, True])
def test_a_loss_scale_goes_torchs_way(overflow: bool) -> None:
    ours, torchs = pair(torch.optim.AdamW)
    for made in (ours, torchs):
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for step in range(4):
            give_gradients(made[0], step)
            scaler.scale(torch.zeros(()))
            if overflow and step == 2 and made[0][0].grad is not None:
                made[0][0].grad.fill_(float("inf"))
            scaler.step(made[1])
            scaler.update()
    same(ours, torchs)


@pytest.mark.parametrize(
    ("options", "dtypes"),
    [
        ({"lr": torch.tensor(0.1)}, [torch.float32] * 2),
        ({"lr": 0.1, "capturable": True}, [torch.float32] * 2),
        ({"lr": 0.1}, [torch.float32, torch.float64]),
    ],
)
def test_what_is_not_plain_goes_torchs_way(options: dict[str, Any], dtypes: list[torch.dtype]) -> None:
    made = []
    for change in (fused.with_one_count, lambda optimizer: optimizer):
        own = [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in dtypes]
        made.append((own, change(torch.optim.AdamW(own, **options, fused=True))))
    for own, optimizer in made:
        for step in range(3):
            for parameter in own:
                parameter.grad = torch.full_like(parameter, step + 1.0)
            optimizer.step()
    same(*made)


def test_a_copy_counts_for_itself() -> None:
    own, optimizer = pair(torch.optim.AdamW)[0]
    for step in range(2):
        give_gradients(own, step)
        optimizer.step()
    twin = copy.deepcopy(optimizer)
    give_gradients(own, 3)
    optimizer.step()
    assert [state["step"].item() for state in twin.state.values()] == [2.0] * 4
    for group in twin.param_groups:
        give_gradients(group["params"], 4)
    twin.step()
    assert [state["step"].item() for state in twin.state.values()] == [3.0] * 4
    assert [state["step"].item() for state in optimizer.state.values()] == [3.0] * 4


def test_hooks_run_once_and_a_scheduler_of_torch_sees_the_step(recwarn: pytest.WarningsRecorder) -> None:
    own, optimizer = pair(torch.optim.AdamW)[0]
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for step in range(2):
        give_gradients(own, step)
        optimizer.step()
        scheduler.step()
    assert calls == ["before", "after"] * 2
    assert not recwarn.list


def test_only_torchs_own_classes_change() -> None:
    class Mine(torch.optim.AdamW):
        pass

    assert type(fused.with_one_count(Mine(parameters(), fused=True))) is Mine
    assert type(fused.with_one_count(torch.optim.AdamW(parameters()))) is torch.optim.AdamW
    built = optimctl.build_optimizer(nn.Linear(2, 2), {"type": "AdamW"})
    assert isinstance(built, torch.optim.AdamW)
    assert type(built) is fused.AdamW
    assert type(optimctl.build_optimizer(nn.Linear(2, 2), {"type": "AdamW", "fused": False})) is torch.optim.AdamW
