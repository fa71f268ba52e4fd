"""Mixed precision on the CPU: autocast, scaled gradients, skipped updates, and state that goes on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError
from optimctl.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from optimctl.plan.plan import make_plan
from optimctl.train.loop import Run
from optimctl.train.run import run
from tests.jobs import blobs, read_records, write_blobs

AMP = 'optim_wrapper.type="AmpOptimWrapper"'
FLOAT16 = 'optim_wrapper.dtype="float16"'
HUGE = 2.0**60
"""A scale at which every gradient overflows float16; 36 halvings later, none does."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def wrap(model: nn.Module, optimizer: str | dict[str, Any] = "SGD", **options: Any) -> AmpOptimWrapper:
    table = {"type": optimizer, "lr": 0.1} if isinstance(optimizer, str) else optimizer
    table = {"type": "AmpOptimWrapper", "optimizer": table, **options}
    wrapper = build_optim_wrapper(model, table)
    assert isinstance(wrapper, AmpOptimWrapper)
    return wrapper


def step(model: nn.Module, wrapper: OptimWrapper, inputs: Tensor) -> Tensor:
    """One iteration; returns the model's output."""
    with wrapper.optim_context(model):
        output: Tensor = model(inputs)
        loss = output.float().square().mean()
    wrapper.update_params(loss)
    return output


def inputs(number: int = 4) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(5, 8) for _ in range(number)]


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


# --- the forward pass and the gradients


@pytest.mark.parametrize(
    ("dtype", "expected"), [(None, torch.bfloat16), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_the_forward_pass_runs_in_the_short_type_and_the_weights_stay(dtype: str | None, expected: torch.dtype) -> None:
    model = small()
    wrapper = wrap(model, **({"dtype": dtype} if dtype else {}))
    assert step(model, wrapper, inputs()[0]).dtype == expected
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(inputs()[0]).dtype == torch.float32
    assert wrapper.updates == 1
    assert wrapper.scaler.is_enabled() == (dtype == "float16")


@pytest.mark.parametrize("clip", [None, {"max_norm": 0.05}, {"type": "value", "clip_value": 0.01}])
@pytest.mark.parametrize("scale", ["dynamic", 128, {"init_scale": 2.0**10}])
def test_accumulated_float16_equals_float32_within_its_precision(scale: Any, clip: dict[str, Any] | None) -> None:
    short, full = small(), small()
    options: dict[str, Any] = {"accumulative_counts": 2, **({"clip_grad": clip} if clip else {})}
    amp = wrap(short, dtype="float16", loss_scale=scale, **options)
    plain = build_optim_wrapper(full, {"optimizer": {"type": "SGD", "lr": 0.1}, **options})
    assert isinstance(plain, OptimWrapper)
    for batch in inputs(6):
        step(short, amp, batch)
        step(full, plain, batch)
    assert amp.skipped == 0
    assert not same(weights(full), weights(small()))
    for ours, theirs in zip(short.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4)
    if amp.grad_norm is not None:
        assert plain.grad_norm is not None
        torch.testing.assert_close(amp.grad_norm, plain.grad_norm, rtol=1e-2, atol=1e-4)


def test_a_loss_that_float16_cannot_hold_is_scaled_before_it_is_lost() -> None:
    model = nn.Linear(8, 1, bias=False)
    wrapper = wrap(model, dtype="float16")
    before = weights(model)
    with wrapper.optim_context(model):
        loss = 1e-9 * model(torch.ones(1, 8)).sum()
    wrapper.update_params(loss)
    torch.testing.assert_close(before[0] - model.weight.detach(), torch.full((1, 8), 1e-10), rtol=1, atol=1e-9)
    assert loss.dtype == torch.float16


def test_a_closure_is_evaluated_in_the_short_type() -> None:
    model = small()
    seen: set[torch.dtype] = set()

    def compute_loss() -> Tensor:
        output: Tensor = model(inputs()[0])
        seen.add(output.dtype)
        return output.float().square().mean()

    wrapper = wrap(model, "LBFGS")
    before = compute_loss().item()
    seen.clear()
    wrapper.update_by_closure(compute_loss)
    assert seen == {torch.bfloat16}
    assert compute_loss().item() < 0.5 * before
    with pytest.raises(
        JobError, match='dtype: LBFGS evaluates the loss itself, which float16 does not allow; use "bfloat16"'
    ):
        wrap(model, "LBFGS", dtype="float16")


# --- skipped updates


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("clip", [None, {"max_norm": 1.0}, {"type": "value", "clip_value": 1.0}])
def test_an_overflow_is_skipped_and_counted(optimizer: str, clip: dict[str, Any] | None) -> None:
    model = small()
    options = {"clip_grad": clip} if clip else {}
    wrapper = wrap(
        model, optimizer, dtype="float16", loss_scale={"init_scale": HUGE, "backoff_factor": 0.25}, **options
    )
    before = weights(model)
    for batch in inputs(3):
        step(model, wrapper, batch)
    assert same(weights(model), before)
    assert (wrapper.updates, wrapper.skipped, wrapper.inner_count) == (0, 3, 3)
    assert wrapper.scaler.get_scale() == HUGE / 64
    for batch in inputs(30):
        step(model, wrapper, batch)
    assert not same(weights(model), before)
    assert wrapper.skipped < 33
    assert wrapper.updates + wrapper.skipped == 33
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@pytest.mark.parametrize("nesterov", [False, True])
def test_after_a_skipped_update_fused_sgd_steps_as_plain_sgd(nesterov: bool) -> None:
    """Torch's own leaves the momentum uninitialized where the very first update is skipped."""
    fused, plain = small(), small()
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": nesterov}
    options: dict[str, Any] = {"dtype": "float16", "loss_scale": {"init_scale": 2.0**40, "backoff_factor": 2.0**-16}}
    for model, how in ((fused, {}), (plain, {"foreach": False})):
        wrapper = wrap(model, **options, optimizer={**optimizer, **how})
        assert bool(wrapper.defaults["fused"]) == (model is fused)
        for batch in inputs(8):
            step(model, wrapper, batch)
        assert wrapper.skipped == 2
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_fixed_scale_stays_where_it_is() -> None:
    model = small()
    wrapper = wrap(model, dtype="float16", loss_scale=HUGE)
    for batch in inputs(3):
        step(model, wrapper, batch)
    assert wrapper.scaler.get_scale() == HUGE
    assert (wrapper.updates, wrapper.skipped) == (0, 3)


def test_an_update_without_any_gradient_does_nothing() -> None:
    model = small()
    wrapper = wrap(model, dtype="float16")
    other = nn.Linear(2, 1)
    wrapper.update_params(other(torch.ones(1, 2)).sum())
    assert same(weights(model), weights(small()))
    step(model, wrapper, inputs()[0])
    assert not same(weights(model), weights(small()))


def test_the_record_of_a_run_shows_skipped_updates(tmp_path: Path) -> None:
    job = blobs(tmp_path, AMP, FLOAT16, f"optim_wrapper.loss_scale={{init_scale={2.0**40}, backoff_factor=1e-4}}")
    folder = run(job)
    records = [record for record in read_records(folder) if record["split"] == "train"]
    assert [record["skipped_updates"] for record in records] == [1, 2, *[2] * 9]
    assert json.loads((folder / "summary.json").read_text("utf-8"))["updates"] == 11 - 2
    assert "skipped_updates" not in read_records(run(blobs(tmp_path, AMP, FLOAT16)))[0]


def test_a_schedule_by_updates_waits_on_a_skipped_one(tmp_path: Path) -> None:
    schedule = 'param_scheduler=[{type="StepLR", step_size=1, gamma=0.5, by="update"}]'
    scale = f"optim_wrapper.loss_scale={{init_scale={2.0**40}, backoff_factor=1e-4}}"
    lrs = [
        [record["lr"] for record in read_records(run(blobs(tmp_path, schedule, *extra))) if record["split"] == "train"]
        for extra in ([], [AMP, FLOAT16], [AMP, FLOAT16, scale])
    ]
    assert lrs[0][:4] == lrs[1][:4] == [0.1, 0.05, 0.025, 0.0125]
    assert lrs[2][:5] == [0.1, 0.1, 0.1, 0.05, 0.025]


# --- state


def test_state_goes_on_bit_by_bit() -> None:
    straight, first, second = small(), small(), small()
    options: dict[str, Any] = {"dtype": "float16", "loss_scale": {"init_scale": 2.0**24, "growth_interval": 2}}
    wrappers = [wrap(model, "AdamW", accumulative_counts=2, **options) for model in (straight, first, second)]
    batches = inputs(30)
    for batch in batches:
        step(straight, wrappers[0], batch)
    for batch in batches[:13]:
        step(first, wrappers[1], batch)
    assert wrappers[1].skipped > 0
    second.load_state_dict(first.state_dict())
    wrappers[2].load_state_dict(copy.deepcopy(wrappers[1].state_dict()))
    for batch in batches[13:]:
        step(second, wrappers[2], batch)
    assert same(weights(second), weights(straight))
    for what in ("updates", "skipped", "inner_count"):
        assert getattr(wrappers[2], what) == getattr(wrappers[0], what)
    assert wrappers[2].scaler.state_dict() == wrappers[0].scaler.state_dict()


def test_the_scale_goes_on_but_how_it_moves_is_the_jobs() -> None:
    saved = wrap(small(), dtype="float16", loss_scale={"init_scale": 1024.0, "growth_factor": 3.0}).state_dict()
    resumed = wrap(small(), dtype="float16", loss_scale={"growth_factor": 4.0})
    resumed.load_state_dict(saved)
    assert (resumed.scaler.get_scale(), resumed.scaler.get_growth_factor()) == (1024.0, 4.0)
    fixed = wrap(small(), dtype="float16", loss_scale=8)
    fixed.load_state_dict(saved)
    assert fixed.scaler.get_scale() == 8


@pytest.mark.parametrize("now", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("before", ["float32", "bfloat16", "float16"])
def test_state_goes_from_one_precision_to_another(before: str, now: str) -> None:
    def made(dtype: str) -> OptimWrapper:
        if dtype == "float32":
            return OptimWrapper(torch.optim.AdamW(small().parameters()))
        return wrap(small(), "AdamW", dtype=dtype)

    saved, resumed = made(before), made(now)
    saved._steps = 5
    resumed.load_state_dict(saved.state_dict())
    assert resumed.updates == 5


def test_a_run_that_was_interrupted_goes_on_equal(tmp_path: Path) -> None:
    job = blobs(tmp_path, AMP, FLOAT16, f"optim_wrapper.loss_scale={{init_scale={2.0**30}}}")
    straight, first, second = (Run(assemble(job, for_run=True)) for _ in range(3))
    straight.train()
    first.hooks.methods["after_iteration"].append(
        lambda run: setattr(run, "stop_signal", 15 if run.iteration == 9 else None)
    )
    first.train()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.train()
    assert same(weights(second.model), weights(straight.model))
    assert second.wrapper.updates == straight.wrapper.updates < 11


# --- in a job


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_job_trains_in_mixed_precision(tmp_path: Path, dtype: str) -> None:
    folder = run(blobs(tmp_path, AMP, f'optim_wrapper.dtype="{dtype}"'))
    records = read_records(folder)
    assert records[-1]["loss"] < 0.7 * records[0]["loss"]
    assert json.loads((folder / "summary.json").read_text("utf-8"))["updates"] == 11


def test_the_plan_is_that_of_full_precision_and_tells_the_type(tmp_path: Path) -> None:
    plain, amp = (make_plan(assemble(blobs(tmp_path, *extra))) for extra in ([], [AMP, FLOAT16]))
    assert (plain.parameters, plain.schedule, plain.optimizers[0].groups) == (
        amp.parameters,
        amp.schedule,
        amp.optimizers[0].groups,
    )
    assert amp.optimizers[0].how == (*plain.optimizers[0].how, "forward in float16")
    assert amp.findings == plain.findings


def test_the_plan_says_that_a_schedule_by_updates_waits_for_the_device(tmp_path: Path) -> None:
    schedule = 'param_scheduler=[{type="StepLR", step_size=1, by="update"}]'
    half = make_plan(assemble(blobs(tmp_path, AMP, FLOAT16, schedule))).findings
    assert [(one.level, one.code) for one in half if one.code != "short-last-window"] == [("note", "waits-for-device")]
    assert make_plan(assemble(blobs(tmp_path, AMP, schedule))).findings == half[1:]


MISTAKES = """\
amp.toml:23:9: optim_wrapper.dtype: must be 'float16' or 'bfloat16', not the string 'flaot16'; did you mean 'float16'?
    dtype = "flaot16"
            ^
"""


def test_a_wrong_type_is_told_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_blobs(tmp_path).read_text("utf-8")
    wrong = text.replace("[optim_wrapper]\n", '[optim_wrapper]\ntype = "AmpOptimWrapper"\ndtype = "flaot16"\n')
    Path("amp.toml").write_text(wrong, "utf-8")
    assert exit_code(["inspect", "amp.toml"]) == 2
    assert capsys.readouterr() == ("", MISTAKES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, "dtype: must be 'float16' or 'bfloat16', not the string 'float32'; did you mean 'float16'?"),
        ({"dtype": 16}, "dtype: must be 'float16' or 'bfloat16', not 16"),
        ({"dtype": ["float16"]}, "dtype: must be 'float16' or 'bfloat16', not an array"),
        ({"loss_scale": "dynamc"}, "loss_scale: must be 'dynamic', a number or a table, not the string 'dynamc'; did you mean 'dynamic'?"),
        ({"loss_scale": 0}, 'loss_scale: must be "dynamic", a number above 0 or a table, not 0'),
        ({"loss_scale": -2.0}, 'loss_scale: must be "dynamic", a number above 0 or a table, not -2.0'),
        ({"loss_scale": float("nan")}, 'loss_scale: must be "dynamic", a number above 0 or a table, not nan'),
        ({"loss_scale": float("inf")}, 'loss_scale: must be "dynamic", a number above 0 or a table, not inf'),
        ({"loss_scale": True}, "loss_scale: must be 'dynamic', a number or a table, not true"),
        ({"loss_scale": {"init_scal": 2}}, "loss_scale.init_scal: GradScaler has no argument 'init_scal'; did you mean 'init_scale'?"),
        ({"loss_scale": {"init_scale": 0}}, "loss_scale.init_scale: must be a number above 0, not 0"),
        ({"loss_scale": {"growth_factor": 1}}, "loss_scale.growth_factor: must be a number above 1, not 1"),
        ({"loss_scale": {"backoff_factor": 1.5}}, "loss_scale.backoff_factor: must be a number between 0 and 1, not 1.5"),
        ({"loss_scale": {"growth_interval": 0.5}}, "loss_scale.growth_interval: must be a whole number from 1 up, not 0.5"),
        ({"loss_scale": {"enabled": 1}}, "loss_scale.enabled: must be true or false, not 1"),
        ({"dtyp": "float16"}, "dtyp: AmpOptimWrapper (optimctl) has no argument 'dtyp'; did you mean 'dtype'?"),
        ({"scale": 2}, "scale: AmpOptimWrapper (optimctl) has no argument 'scale'; did you mean 'loss_scale'?"),
    ],
)  # fmt: skip
def test_wrong_options_name_their_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        wrap(small(), **options)
    assert str(caught.value) == message


def test_all_wrong_options_of_the_scale_are_told_at_once() -> None:
    with pytest.raises(JobError) as caught:
        wrap(small(), loss_scale={"init_scale": -1, "growth_factor": 0, "grow": 1})
    assert [problem.key for problem in caught.value.problems] == [
        ("loss_scale", option) for option in ("init_scale", "growth_factor", "grow")
    ]
