"""Schedules that move an optimizer: what is written where, resuming, several optimizers, metrics, skipped updates."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

from optimctl.errors import JobError
from optimctl.schedule import build_param_schedulers, preview_param_schedulers
from optimctl.schedule.scheduler import ParamSchedulers, Slot
from optimctl.schedule.trajectory import BLOCK

TABLES: list[dict[str, Any]] = [
    {"type": "LinearLR", "start_factor": 0, "by_epoch": False, "end": 30},
    {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 20, "eta_min": 1e-4},
    {"type": "MultiStepLR", "milestones": [3, 6], "gamma": 0.5},
    {"type": "StepMomentum", "step_size": 2, "gamma": 0.9},
]
LENGTH: dict[str, Any] = {"epoch_length": 10, "max_epochs": 9}


def sgd(*lrs: float, **options: Any) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, **{"lr": lrs[0], "momentum": 0.9, **options})


def adam(**options: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], **{"lr": 0.1, "betas": (0.9, 0.99), **options})


def go(schedulers: ParamSchedulers, iterations: int) -> None:
    for _ in range(iterations):
        schedulers.after_iteration()


class Wrapper:
    """The interface of a wrapper, as far as schedules need it; it skips the updates in ``skipped``."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, accumulative_counts: int, skipped: tuple[int, ...] = ()
    ) -> None:
        self.optimizer, self.accumulative_counts, self.skipped = optimizer, accumulative_counts, skipped
        self.updates = self.iterations = 0

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    @property
    def defaults(self) -> dict[str, Any]:
        return self.optimizer.defaults

    def step(self) -> None:
        self.iterations += 1
        if self.iterations % self.accumulative_counts == 0:
            self.updates += self.iterations // self.accumulative_counts - 1 not in self.skipped


def test_a_run_has_the_previews_values_in_every_group() -> None:
    expected = preview_param_schedulers(TABLES, {"lr": 0.1, "momentum": 0.9}, **LENGTH)
    optimizer = sgd(0.1, 0.0, 0.01)
    schedulers = build_param_schedulers(optimizer, TABLES, **LENGTH)
    shares = preview_param_schedulers(TABLES, {"lr": 0.01}, **LENGTH)["lr"]
    for iteration in range(90):
        lr, momentum = expected["lr"][iteration], expected["momentum"][iteration]
        assert [group["lr"] for group in optimizer.param_groups] == [lr, 0.0, shares[iteration]]
        assert [group["momentum"] for group in optimizer.param_groups] == [momentum] * 3
        assert schedulers.values() == {"lr": lr, "momentum": momentum}
        assert schedulers.iteration == iteration
        schedulers.after_iteration()


def test_values_are_written_when_it_is_made_and_the_base_is_kept() -> None:
    optimizer = sgd(0.1)
    build_param_schedulers(optimizer, {"type": "ConstantLR", "factor": 0.5}, **LENGTH)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["initial_lr"]) == (0.05, 0.1)
    build_param_schedulers(optimizer, {"type": "ConstantLR", "factor": 0.5}, **LENGTH)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["initial_lr"]) == (0.05, 0.1)


def test_a_run_of_many_blocks_and_unknown_length() -> None:
    table = {"type": "StepLR", "by": "iteration", "step_size": 1000, "gamma": 0.5}
    optimizer = sgd(1.0)
    schedulers = build_param_schedulers(optimizer, table)
    go(schedulers, 2 * BLOCK + 10)
    assert optimizer.param_groups[0]["lr"] == 0.5**8


@pytest.mark.parametrize("done", [0, 1, 29, 30, 31, 60, 89])
def test_resumed_is_straight(done: int) -> None:
    straight, resumed = sgd(0.1, 0.03), sgd(0.1, 0.03)
    first = build_param_schedulers(straight, TABLES, **LENGTH)
    go(first, done)
    second = build_param_schedulers(resumed, TABLES, **LENGTH)
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(done, 95):
        assert [dict(group, params=0) for group in resumed.param_groups] == [
            dict(group, params=0) for group in straight.param_groups
        ]
        go(first, 1)
        go(second, 1)


def test_a_resumed_run_has_the_values_of_the_job_as_it_is_now() -> None:
    old, new = sgd(0.1), sgd(0.5)
    first = build_param_schedulers(old, {"type": "StepLR", "step_size": 1, "gamma": 0.5}, **LENGTH)
    go(first, 25)
    second = build_param_schedulers(new, {"type": "StepLR", "step_size": 1, "gamma": 0.1}, **LENGTH)
    new.load_state_dict(copy.deepcopy(old.state_dict()))
    second.load_state_dict(first.state_dict())
    assert new.param_groups[0]["lr"] == pytest.approx(0.005)
    assert new.param_groups[0]["initial_lr"] == 0.5
    assert first.state_dict() == {"iteration": 25, "optimizers": {"default": {"skipped": [], "plateaus": []}}}


def test_a_tensor_is_filled_in_place() -> None:
    optimizer = adam(lr=torch.tensor(0.1, dtype=torch.float64), capturable=False)
    tensor = optimizer.param_groups[0]["lr"]
    schedulers = build_param_schedulers(optimizer, {"type": "ExponentialLR", "gamma": 0.5}, **LENGTH)
    go(schedulers, 25)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == pytest.approx(0.025)


def test_a_tensor_of_low_precision_leaves_zero() -> None:
    optimizer = adam(lr=torch.tensor(0.1))
    schedulers = build_param_schedulers(optimizer, TABLES[0], **LENGTH)
    assert optimizer.param_groups[0]["lr"] == 0
    go(schedulers, 29)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_momentum_is_the_first_beta_of_adam_and_nothing_else_is_added() -> None:
    optimizer = adam()
    schedulers = build_param_schedulers(optimizer, {"type": "LinearMomentum", "start_factor": 0.5, "end": 3}, **LENGTH)
    assert optimizer.param_groups[0]["betas"] == (0.45, 0.99)
    assert "momentum" not in optimizer.param_groups[0]
    assert schedulers.values() == {"momentum": 0.45}
    go(schedulers, 20)
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.9, 0.99))


def test_any_number_of_a_group_can_be_moved() -> None:
    optimizer = adam(weight_decay=0.1)
    tables = [
        {"type": "ConstantParamScheduler", "param_name": "betas[1]", "factor": 0.5},
        {"type": "ConstantWeightDecay", "factor": 0.5},
        {"type": "ConstantParamScheduler", "param_name": "eps", "factor": 0.5},
    ]
    build_param_schedulers(optimizer, tables, **LENGTH)
    group = optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"], group["eps"]) == ((0.9, 0.495), 0.05, 5e-9)


def test_one_cycle_keeps_the_ratio_of_groups() -> None:
    optimizer = sgd(0.1, 0.01, 0.0)
    schedulers = build_param_schedulers(optimizer, {"type": "OneCycleLR", "eta_max": 0.4, "by_epoch": False}, **LENGTH)
    go(schedulers, 26)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.04, 0.0])


@pytest.mark.parametrize(
    ("optimizer", "table", "key", "text"),
    [
        (sgd(0.1), {"type": "LinearParamScheduler", "param_name": "lrr"}, "param_name", "did you mean 'lr'"),
        (sgd(0.1), {"type": "LinearParamScheduler", "param_name": "betas[0]"}, "param_name", "'momentum'"),
        (sgd(0.1), {"type": "LinearParamScheduler", "param_name": "nesterov"}, "param_name", "no number"),
        (sgd(0.1, momentum=0), {"type": "LinearMomentum"}, "type", "without momentum"),
        (torch.optim.Adagrad([torch.zeros(1)]), {"type": "LinearMomentum"}, "type", "no momentum"),
        (adam(), {"type": "LinearParamScheduler", "param_name": "betas"}, "param_name", "'betas[0]' and 'betas[1]'"),
        (adam(), {"type": "LinearParamScheduler", "param_name": "betas[2]"}, "param_name", "betas[1]"),
    ],
)
def test_an_option_that_cannot_move_is_an_error(optimizer: Any, table: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(JobError) as caught:
        build_param_schedulers(optimizer, [{"type": "LinearLR"}, table], **LENGTH)
    assert [problem.key for problem in caught.value.problems] == [(1, key)]
    assert text in caught.value.problems[0].message


def test_something_else_than_an_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        build_param_schedulers(3, TABLES, **LENGTH)


def test_one_list_for_several_optimizers() -> None:
    both = {"generator": sgd(0.1), "critic": sgd(0.4, momentum=0.5)}
    schedulers = build_param_schedulers(both, TABLES[2:], **LENGTH)
    go(schedulers, 40)
    assert both["generator"].param_groups[0]["lr"] == 0.05
    assert schedulers.values() == pytest.approx(
        {"generator.lr": 0.05, "critic.lr": 0.2, "generator.momentum": 0.729, "critic.momentum": 0.405}
    )


def test_a_list_for_each_optimizer() -> None:
    both = {"generator": sgd(0.1), "critic": sgd(0.4)}
    tables = {"generator": [{"type": "StepLR", "step_size": 1}], "critic": [{"type": "ExponentialLR", "gamma": 0.5}]}
    schedulers = build_param_schedulers(both, tables, **LENGTH)
    go(schedulers, 10)
    assert schedulers.values() == {"generator.lr": pytest.approx(0.01), "critic.lr": 0.2}
    assert [(name, option, group) for name, option, group, _ in schedulers.values_at([0, 5])] == [
        ("generator", "lr", 0),
        ("critic", "lr", 0),
    ]


def test_errors_of_several_optimizers_name_theirs() -> None:
    both = {"generator": sgd(0.1), "critic": sgd(0.4)}
    for tables, key in [
        ({"generator": [{"type": "LinearLR", "end": 0}]}, ("generator", 0, "end")),
        ({"discriminator": [{"type": "LinearLR"}]}, ("discriminator",)),
        ([{"type": "LinearLR", "end": 0}], (0, "end")),
    ]:
        with pytest.raises(JobError) as caught:
            build_param_schedulers(both, tables, **LENGTH)
        assert [problem.key for problem in caught.value.problems] == [key]
    with pytest.raises(JobError, match="several optimizers"):
        build_param_schedulers(sgd(0.1), {"generator": [{"type": "LinearLR"}]}, **LENGTH)


def test_values_at_some_iterations_of_each_group() -> None:
    schedulers = build_param_schedulers(sgd(0.1, 0.01), TABLES[:3], **LENGTH)
    expected = preview_param_schedulers(TABLES[:3], {"lr": 0.01}, **LENGTH)["lr"]
    found = {group: values for _, _, group, values in schedulers.values_at([0, 7, 89])}
    assert found[1] == expected[[0, 7, 89]].tolist()
    assert schedulers.iteration == 0


PLATEAU = {"type": "ReduceOnPlateauLR", "patience": 0, "factor": 0.5, "min_value": 0.01}


def test_a_plateau_multiplies_on_top_and_is_remembered() -> None:
    tables = [PLATEAU, {"type": "MultiStepLR", "milestones": [3], "gamma": 0.1}]
    straight, resumed = sgd(0.8, 0.016), sgd(0.8, 0.016)
    one, other = build_param_schedulers(straight, tables, **LENGTH), build_param_schedulers(resumed, tables, **LENGTH)
    found = []
    for loss in [3.0, 3.5, 2.5, 2.6, 1.0, 1.5]:
        for schedulers in (one, other):
            go(schedulers, 10)
            schedulers.after_epoch({"loss": torch.tensor(loss)})
        found.append([group["lr"] for group in straight.param_groups])
        assert [group["lr"] for group in resumed.param_groups] == found[-1]
        resumed = sgd(0.8, 0.016)
        other = build_param_schedulers(resumed, tables, **LENGTH)
        other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert one.values() == {"lr": found[-1][0]}
    first, second = zip(*found, strict=True)
    assert first == pytest.approx([0.8, 0.4, 0.04, 0.02, 0.02, 0.01])
    assert second == pytest.approx(
        [0.016, 0.01, 0.001, 0.001, 0.001, 0.001]
    )  # 0.01 is the floor of the reduction itself


def test_a_plateau_counts_the_epochs_in_its_range_only() -> None:
    optimizer = sgd(1.0)
    schedulers = build_param_schedulers(optimizer, {**PLATEAU, "begin": 3, "end": 5}, **LENGTH)
    found = []
    for _ in range(8):
        go(schedulers, 10)
        schedulers.after_epoch(None)
        schedulers.after_epoch({"loss": 1.0})
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_a_plateau_without_its_metric_names_those_there_are() -> None:
    schedulers = build_param_schedulers(sgd(0.1), [TABLES[0], {**PLATEAU, "monitor": "acuracy"}], **LENGTH)
    with pytest.raises(JobError, match="did you mean 'accuracy'") as caught:
        schedulers.after_epoch({"loss": 1.0, "accuracy": 0.5})
    assert caught.value.problems[0].key == (1, "monitor")


UPDATES = {"type": "MultiStepLR", "milestones": [1, 3], "gamma": 0.5, "by": "update"}


def test_schedules_that_count_updates_wait_where_one_was_skipped() -> None:
    wrapper = Wrapper(sgd(1.0), 2, skipped=(0, 2))
    schedulers = build_param_schedulers(wrapper, UPDATES, max_iters=12)
    found = []
    for _ in range(12):
        found.append(wrapper.param_groups[0]["lr"])
        wrapper.step()
        schedulers.after_iteration()
    assert found == [1, 1, 1, 1, *[0.5] * 6, 0.25, 0.25]
    assert schedulers.state_dict()["optimizers"]["default"]["skipped"] == [0, 2]
    other = Wrapper(sgd(1.0), 2)
    resumed = build_param_schedulers(other, UPDATES, max_iters=12)
    resumed.load_state_dict({**schedulers.state_dict(), "iteration": 9})
    assert other.param_groups[0]["lr"] == 0.5
    go(resumed, 1)
    assert other.param_groups[0]["lr"] == 0.5
    assert resumed.state_dict()["optimizers"]["default"]["skipped"] == [0, 2, 4]


def test_updates_can_be_told() -> None:
    optimizer = sgd(1.0)
    schedulers = build_param_schedulers(optimizer, UPDATES, max_iters=12, accumulative_counts=1)
    for updates, lr in [(0, 1.0), (1, 0.5), (1, 0.5), (2, 0.5), (3, 0.25)]:
        schedulers.after_iteration(updates)
        assert optimizer.param_groups[0]["lr"] == lr


def test_a_plain_optimizers_windows_are_updates() -> None:
    optimizer = sgd(1.0)
    schedulers = build_param_schedulers(optimizer, UPDATES, max_iters=12, accumulative_counts=3)
    go(schedulers, 9)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_other_schedules_do_not_ask_for_updates() -> None:
    class Watched(Wrapper):
        updates = property(lambda self: pytest.fail("that waits for the device"), lambda self, value: None)

    schedulers = build_param_schedulers(Watched(sgd(1.0), 2), TABLES, **LENGTH)
    go(schedulers, 5)


def test_slots() -> None:
    group: dict[str, Any] = {"lr": 0.1, "betas": [0.9, 0.99]}
    Slot.parse("betas[1]").write(group, 0.5)
    Slot.parse("lr").write(group, 0.2)
    assert group == {"lr": 0.2, "betas": [0.9, 0.5]}
    assert [str(Slot.parse(text)) for text in ("lr", "betas[1]")] == ["lr", "betas[1]"]


def test_going_back_to_an_earlier_state() -> None:
    optimizer = sgd(0.1)
    schedulers = build_param_schedulers(optimizer, TABLES[1:3], epoch_length=1000, max_epochs=9)
    early = schedulers.state_dict()
    go(schedulers, BLOCK + 1)
    schedulers.load_state_dict(early)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_momentum_and_betas_side_by_side() -> None:
    class Both(torch.optim.SGD):
        """Stands in for several optimizers with one list of groups."""

    optimizer = Both([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.8)
    optimizer.param_groups.append({"params": [], "lr": 0.1, "betas": (0.9, 0.99)})
    build_param_schedulers(optimizer, {"type": "ConstantMomentum", "factor": 0.5}, **LENGTH)
    assert [optimizer.param_groups[0]["momentum"], optimizer.param_groups[1]["betas"]] == [0.4, (0.45, 0.99)]
    assert "betas" not in optimizer.param_groups[0]
    assert "momentum" not in optimizer.param_groups[1]
