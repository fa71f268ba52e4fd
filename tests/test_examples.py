"""Every job in examples/ is well formed, has no warning and runs; and the jobs of the page do what the page says."""

import json
import re
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import importlib_metadata
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import optimctl
from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.optim import OptimWrapper
from optimctl.optim.clip import ClipNorm
from optimctl.plan.plan import Plan, make_plan
from tests.jobs import read_records

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGE = EXAMPLES / "customize_optimizer"
JOBS = sorted(str(file.relative_to(EXAMPLES.parent)) for file in EXAMPLES.rglob("*.toml"))
RUN_WHOLE = [name for name in JOBS if name.startswith("examples/customize_optimizer/")]
"""So short that they run from beginning to end; of others, but for the two that have a test of their own, the beginning."""
RUN_BY_THEIR_OWN_TEST = ["examples/digits.toml", "examples/my_optimizer.toml"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _beside_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has ``examples/`` in it, and the runs land elsewhere."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(EXAMPLES)


def run(name: str, capsys: Captured) -> tuple[Path, dict[str, Any]]:
    """Run a job whole, without a warning; its folder and its summary."""
    assert exit_code(["run", name, "--strict"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text("utf-8"))
    return folder, summary


# --- every job


@pytest.mark.parametrize("name", JOBS)
def test_each_is_well_formed_and_its_plan_has_no_warning(name: str, capsys: Captured) -> None:
    assert exit_code(["validate", name]) == 0
    assert f"{name}: well formed" in capsys.readouterr().err
    assert exit_code(["inspect", name, "--strict"]) == 0


@pytest.mark.parametrize("name", RUN_WHOLE)
def test_each_of_the_page_runs_whole(name: str, capsys: Captured) -> None:
    folder, summary = run(name, capsys)
    assert folder.parent == Path("runs") / Path(name).stem
    plan = plan_of(Path(name).stem)
    assert summary["status"] == "completed"
    assert summary["iterations"] == plan.schedule.iterations
    assert summary["updates"] == plan.optimizers[0].updates
    assert np.isfinite(summary["metrics"]["loss"])


@pytest.mark.parametrize("name", [name for name in JOBS if name not in RUN_WHOLE + RUN_BY_THEIR_OWN_TEST])
def test_each_of_the_others_begins_to_run(name: str, capsys: Captured) -> None:
    assert exit_code(["run", name, "--stop-after", "3it"]) == 0
    assert re.match(r"iterations run +3 ", capsys.readouterr().out)
    assert not Path("runs").exists()


def test_the_digits_are_read(capsys: Captured) -> None:
    folder, summary = run("examples/digits.toml", capsys)
    assert {key: summary[key] for key in ("status", "iterations", "epochs", "updates")} == {
        "status": "completed",
        "iterations": 16 * 23,
        "epochs": 16,
        "updates": 16 * 23 // 2,
    }
    assert summary["metrics"]["accuracy"] >= 0.98
    assert summary["best"]["value"] >= summary["metrics"]["accuracy"]
    assert (folder / summary["best"]["checkpoint"]).exists()


def test_a_package_brings_optimizer_constructor_and_scheduler(capsys: Captured) -> None:
    folder, summary = run("examples/my_optimizer.toml", capsys)
    assert {key: summary[key] for key in ("status", "iterations", "epochs", "updates")} == {
        "status": "completed",
        "iterations": 10 * 32,
        "epochs": 10,
        "updates": 10 * 32,
    }
    assert summary["metrics"]["accuracy"] >= 0.9
    steps = {record["epoch"]: record["a"] for record in read_records(folder) if record["split"] == "train"}
    assert [steps[epoch] for epoch in (1, 3, 5, 7, 9)] == pytest.approx([0.01 / 2**half for half in range(5)])


# --- without the package


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    """optimctl-example is not installed, as far as metadata can tell."""
    installed = list(importlib_metadata.distributions())
    others = [one for one in installed if one.name != "optimctl-example"]
    monkeypatch.setattr(importlib_metadata, "distributions", lambda: iter(others))


@pytest.mark.parametrize("command", [["validate"], ["inspect"], ["run"], ["run", "--dry-run"]])
@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_its_jobs_say_what_is_missing_and_what_is_there(
    command: list[str], capsys: Captured
) -> None:
    assert exit_code([*command, "examples/my_optimizer.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not Path("runs").exists()
    lines = err.splitlines()
    told = [line for line in lines if line.startswith("examples/")]
    missing = [
        ("optim_wrapper.constructor", "constructor", "MyOptimWrapperConstructor"),
        ("optim_wrapper.optimizer.type", "optimizer", "MyOptimizer"),
        ("param_scheduler.0.type", "scheduler", "MyScheduler"),
    ]
    for line, (key, noun, name) in zip(told, missing, strict=True):
        row, column = place_of(EXAMPLES / "my_optimizer.toml", f'"{name}"')
        place = f"examples/my_optimizer.toml:{row}:{column}: {key}"
        assert line.startswith(f"{place}: no {noun} is called '{name}'; ")
        assert re.search(r"; (there is|did you mean) '\w+'", line)
    assert "    install the package that brings it, or, for code of your own, add to" in err
    assert lines[-1] == "3 problems"


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_all_other_jobs_are_as_well_formed_as_before(capsys: Captured) -> None:
    theirs = [name for name in JOBS if 'type = "My' not in (EXAMPLES.parent / name).read_text("utf-8")]
    assert len(theirs) == len(JOBS) - 3
    assert exit_code(["validate", *theirs]) == 0


def place_of(file: Path, text: str) -> tuple[int, int]:
    """Line and column, counted from 1, of the first line that has ``text``."""
    lines = file.read_text("utf-8").splitlines()
    return next((number, line.index(text) + 1) for number, line in enumerate(lines, 1) if text in line)


# --- the page, in its order


@cache
def plan_of(stem: str, *overrides: str) -> Plan:
    """The plan of one of the page's jobs."""
    return make_plan(assemble(optimctl.load_job(PAGE / f"{stem}.toml", overrides)))


def options_of(plan: Plan, *wanted: str) -> dict[str, tuple[Any, ...]]:
    """For each parameter the options that are asked for."""
    return {parameter.name: tuple(parameter.options[name] for name in wanted) for parameter in plan.parameters}


def curves_of(stem: str) -> dict[str, NDArray[Any]]:
    """What the schedules make of the options, iteration by iteration from 0; the plan shows the same values."""
    plan = plan_of(stem)
    assert plan.job is not None
    assert plan.job.train_cfg is not None
    (group,) = plan.optimizers[0].groups
    curves = optimctl.preview_param_schedulers(
        plan.job.param_scheduler,
        {name: group.options[name] for name in ("lr", "momentum")},
        epoch_length=plan.schedule.epoch_length,
        max_epochs=plan.job.train_cfg.max_epochs,
        max_iters=plan.job.train_cfg.max_iters,
    )
    for curve in plan.schedule.curves:
        assert curve.values == pytest.approx(curves[curve.option][list(plan.schedule.at)].tolist())
    return curves


def is_norm(name: str) -> bool:
    return ".norm" in name


@pytest.mark.parametrize(
    "stem", ["base", "01_sgd", "02_adam", "08_bypass_duplicate", "10_clip_grad", "18_my_optimizer"]
)
def test_without_a_rule_one_group_has_all_parameters(stem: str) -> None:
    (optimizer,) = plan_of(stem).optimizers
    assert [group.tensors for group in optimizer.groups] == [20]


def test_sgd() -> None:
    plan = plan_of("01_sgd")
    assert plan.optimizers[0].type == "SGD"
    assert set(options_of(plan, "lr", "weight_decay").values()) == {(0.0003, 0.0001)}


def test_adam_has_the_options_of_the_page_and_none_of_the_base() -> None:
    plan = plan_of("02_adam")
    assert plan.optimizers[0].type == "Adam"
    wanted = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
    assert set(options_of(plan, *wanted).values()) == {tuple(wanted.values())}
    assert plan.job is not None
    assert {dropped.key for dropped in plan.job.dropped} == {("optim_wrapper", "optimizer")}


def test_norm_decay_mult_takes_the_decay_of_norm_layers() -> None:
    options = options_of(plan_of("03_norm_decay_mult"), "lr", "weight_decay")
    assert sum(is_norm(name) for name in options) == 12
    assert options == {name: (0.8, 0.0 if is_norm(name) else 1e-4) for name in options}


@pytest.mark.parametrize(("stem", "lr", "decay"), [("04_lr_mult", 0.005, 1e-4), ("05_decay_mult", 0.01, 1e-3)])
def test_multipliers_of_all_parameters(stem: str, lr: float, decay: float) -> None:
    for options in options_of(plan_of(stem), "lr", "weight_decay").values():
        assert options == pytest.approx((lr, decay))


def test_bias_lr_mult_leaves_norm_layers_alone() -> None:
    options = options_of(plan_of("06_bias_lr_mult"), "lr", "weight_decay")
    assert options == {name: (0.02 if name == "head.bias" else 0.01, 1e-4) for name in options}


def test_bias_decay_mult_goes_for_norm_layers_too_where_norm_decay_mult_says_nothing() -> None:
    options = options_of(plan_of("07_bias_decay_mult"), "lr", "weight_decay")
    assert options == {name: (0.01, 0.0 if name.endswith("bias") else 1e-4) for name in options}
    with_norm = plan_of("07_bias_decay_mult", "optim_wrapper.paramwise_cfg.norm_decay_mult=1.0")
    assert [name for name, (decay,) in options_of(with_norm, "weight_decay").items() if not decay] == ["head.bias"]


@pytest.mark.parametrize("rule", ["dwconv_decay_mult", "dcn_offset_lr_mult"])
def test_a_rule_for_layers_that_the_model_has_not_is_a_warning(rule: str) -> None:
    (finding,) = plan_of("base", f"optim_wrapper.paramwise_cfg.{rule}=0.1").warnings()
    assert (finding.code, finding.key[-1]) == ("rule-matches-nothing", rule)


def test_custom_keys_the_longest_wins() -> None:
    plan = plan_of("09_custom_keys")
    options = options_of(plan, "lr", "weight_decay")
    wanted = {"backbone.layer0.": (0.0, 0.0), "backbone.stem.": (0.01, 1e-4), "backbone.layer1.": (0.01, 1e-4)}
    for part, values in {**wanted, "head.": (0.001, 1e-4)}.items():
        inside = {name: value for name, value in options.items() if name.startswith(part)}
        assert inside
        assert all(value == pytest.approx(values) for value in inside.values())
    reason = next(one for one in plan.parameters if one.name == "backbone.layer0.0.conv1.weight").reasons["lr"]
    keys = ("paramwise_cfg", "custom_keys")
    assert reason.key == (*keys, "backbone.layer0", "lr_mult")
    assert (*keys, "backbone", "lr_mult") in reason.lost


def test_clip_grad_is_in_the_wrapper_and_its_norm_in_the_records(capsys: Captured) -> None:
    assert wrapper_of("10_clip_grad").clip == ClipNorm(max_norm=35.0, norm_type=2.0)
    folder, _ = run("examples/customize_optimizer/10_clip_grad.toml", capsys)
    norms = [record["grad_norm"] for record in read_records(folder) if record["split"] == "train"]
    assert len(norms) == 10
    assert min(norms) > 0


def test_four_small_batches_make_the_step_of_a_large_one() -> None:
    assert [wrapper_of(stem).accumulative_counts for stem in ("11_accumulative_counts", "12_large_batch")] == [4, 1]
    small, large = (optimctl.load_job(PAGE / f"{stem}.toml") for stem in ("11_accumulative_counts", "12_large_batch"))
    assert [job.train_dataloader and job.train_dataloader.batch_size for job in (small, large)] == [64, 256]
    after = [weights_after(job) for job in (small, large)]
    untrained = assemble(small).model
    assert untrained is not None
    for (name, ours), theirs in zip(after[0].items(), after[1].values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert not torch.equal(ours, untrained.state_dict()[name])


def weights_after(job: Any) -> dict[str, torch.Tensor]:
    """The weights that a run of the job ends with."""
    (file,) = (optimctl.run(job) / "checkpoints").iterdir()
    weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["model"]
    return weights


def wrapper_of(stem: str) -> OptimWrapper:
    wrapper = assemble(optimctl.load_job(PAGE / f"{stem}.toml")).wrapper
    assert isinstance(wrapper, OptimWrapper)
    return wrapper


def test_multi_step() -> None:
    lr = curves_of("13_multi_step")["lr"].reshape(200, 1)
    assert lr[:100] == pytest.approx(0.01)
    assert lr[100:150] == pytest.approx(0.001)
    assert lr[150:] == pytest.approx(0.0001)


def test_cosine_annealing() -> None:
    lr = curves_of("14_cosine_annealing")["lr"].reshape(12, 23)
    assert lr == pytest.approx(np.repeat(cosine(12), 23).reshape(12, 23))
    without = optimctl.load_job(PAGE / "14_cosine_annealing.toml", unset=["param_scheduler.T_max"])
    values = optimctl.preview_param_schedulers(without.param_scheduler, {"lr": 0.01}, epoch_length=23, max_epochs=12)
    assert values["lr"].reshape(12, 23) == pytest.approx(lr)


def test_warmup_then_multi_step() -> None:
    lr = curves_of("15_warmup_multi_step")["lr"]
    assert lr[:50] == pytest.approx(0.01 * np.linspace(0.001, 1, 50))
    assert lr[50 : 8 * 23] == pytest.approx(0.01)
    assert lr[8 * 23 : 11 * 23] == pytest.approx(0.001)
    assert lr[11 * 23 :] == pytest.approx(0.0001)


def test_warmup_by_epoch_converted_to_iterations_then_cosine() -> None:
    lr = curves_of("16_warmup_converted")["lr"]
    assert lr[:230] == pytest.approx(0.01 * np.linspace(0.001, 1, 230))
    assert lr[230:] == pytest.approx(np.repeat(cosine(5), 23))


def test_momentum_beside_the_learning_rate() -> None:
    curves = curves_of("17_momentum")
    assert curves["momentum"] == pytest.approx(0.9 * np.linspace(0.001, 1, 1000))
    assert curves["lr"][:50] == pytest.approx(0.01 * np.linspace(0.001, 1, 50))
    assert curves["lr"][50:] == pytest.approx(0.01)


def cosine(epochs: int) -> NDArray[Any]:
    """Half a cosine from 0.01 towards 0, epoch by epoch."""
    lr: NDArray[Any] = 0.01 * (1 + np.cos(np.pi * np.arange(epochs) / epochs)) / 2
    return lr


def test_my_optimizer() -> None:
    plan = plan_of("18_my_optimizer")
    assert (plan.optimizers[0].type, plan.optimizers[0].distribution) == ("MyOptimizer", "optimctl-example")
    assert set(options_of(plan, "a", "b", "c").values()) == {(0.01, 0.9, 0.1)}


def test_my_constructor_has_the_last_word_on_decay_and_leaves_the_rest_to_the_rules() -> None:
    plan = plan_of("19_my_constructor")
    options = options_of(plan, "lr", "weight_decay")
    vectors = [parameter.name for parameter in plan.parameters if len(parameter.shape) == 1]
    assert options == {
        name: (pytest.approx(0.001 if name.startswith("head") else 0.01), 0.0 if name in vectors else 1e-4)
        for name in options
    }
    reason = next(one for one in plan.parameters if one.name == "head.bias").reasons["weight_decay"]
    assert reason.text == "MyOptimWrapperConstructor: vectors are not decayed"


# --- its README


def console(page: Path) -> list[tuple[str, list[str]]]:
    """Each command of a page's console blocks, with the lines that come back."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    commands = [command for block in blocks for command in re.split(r"^\$ ", block, flags=re.MULTILINE) if command]
    return [(first, rest) for first, *rest in (command.splitlines() for command in commands)]


def pattern(line: str) -> str:
    """What a line of the page stands for: columns may be wider apart, ``...`` is anything."""
    parts = (r"\s+".join(re.escape(word) for word in part.split()) for part in line.split("..."))
    return r"\s*" + r".*".join(rf"{part}\s*" for part in parts)


@pytest.mark.parametrize(
    ("command", "lines"), [each for each in console(PAGE / "README.md") if not each[0].startswith("optimctl run")]
)
def test_the_commands_of_the_readme_answer_as_it_says(command: str, lines: list[str], capsys: Captured) -> None:
    program, *arguments = shlex.split(command)
    assert program == "optimctl"
    exit_code(arguments)
    came = iter("".join(capsys.readouterr()).splitlines())
    for line in lines:
        assert line in ("", "...") or any(re.fullmatch(pattern(line), each) for each in came), line


def test_the_readme_leads_through_all_jobs_in_their_order() -> None:
    page = (PAGE / "README.md").read_text("utf-8")
    places = [page.index(f"]({file.name})") for file in sorted(PAGE.glob("[0-9]*.toml"))]
    assert len(places) == 19
    assert all(before < after for before, after in pairwise(places))
