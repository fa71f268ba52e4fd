"""Routes: several optimizers over one model, by rule; to schedules, clips and checkpoints they are one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError
from optimctl.job.load import load_job
from optimctl.job.schema import Job
from optimctl.optim import OptimWrapper, build_optim_wrapper
from optimctl.optim.routes import RoutedOptimizer
from optimctl.plan.plan import make_plan
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.loop import Run
from optimctl.train.run import run
from tests.jobs import BLOBS, read_records

HEAD, _, TAIL = BLOBS.replace("hidden = [16]", "hidden = [16, 12]").partition("[optim_wrapper.optimizer]")
ROUTED = (
    HEAD
    + """[optim_wrapper.optimizer]
type = "AdamW"
lr = 0.02
[optim_wrapper.paramwise_cfg]
bias_decay_mult = 0.0
[optim_wrapper.constructor]
type = "Routes"
[[optim_wrapper.constructor.routes]]
match = { types = ["Linear"], names = ["glob:3.*"], dimensions = [2] }
[optim_wrapper.constructor.routes.optimizer]
type = "Muon"
lr = 0.1
momentum = 0.9
[[optim_wrapper.constructor.routes]]
match = { names = ["5."] }
[optim_wrapper.constructor.routes.optimizer]
type = "SGD"
lr = 0.2
momentum = 0.8
[optim_wrapper.constructor.routes.paramwise_cfg]
bias_lr_mult = 0.5
"""
    + "[[param_scheduler]]"
    + TAIL.partition("[[param_scheduler]]")[2]
)
"""BLOBS over three layers: Muon for the hidden matrix, SGD for the last layer, AdamW for the rest."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def routed(*overrides: str, text: str = ROUTED) -> Job:
    Path("routed.toml").write_text(text, "utf-8")
    return load_job("routed.toml", overrides)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def wrap(model: nn.Module, *routes: dict[str, Any], **options: Any) -> OptimWrapper:
    table = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, **options}
    wrapper = build_optim_wrapper(model, {**table, "constructor": {"type": "Routes", "routes": list(routes)}})
    assert isinstance(wrapper, OptimWrapper)
    return wrapper


def route(lr: float, **match: list[Any]) -> dict[str, Any]:
    return {"match": match, "optimizer": {"type": "SGD", "lr": lr, "momentum": 0.9}}


def names_by_lr(wrapper: OptimWrapper) -> dict[float, list[str]]:
    return {group["lr"]: group["param_names"] for group in wrapper.param_groups}


# --- who takes what


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ({"dimensions": [2]}, ["0.weight", "2.weight", "4.weight"]),
        ({"names": ["2."]}, ["2.weight", "2.bias"]),
        ({"names": ["glob:*.bias", "glob:1.*"]}, ["0.bias", "1.weight", "1.bias", "2.bias", "4.bias"]),
        ({"names": ["glob:bias"], "dimensions": [0]}, None),
        ({"types": ["LayerNorm"]}, ["1.weight", "1.bias"]),
        ({"types": ["Linear", "LayerNorm"], "names": ["0", "1"], "dimensions": [1]}, ["0.bias", "1.weight", "1.bias"]),
        ({"types": ["Module"], "names": ["4."]}, ["4.weight", "4.bias"]),
    ],
)
def test_a_route_takes_what_fits_all_its_conditions(match: dict[str, Any], taken: list[str] | None) -> None:
    if taken is None:
        with pytest.raises(JobError, match="no parameter is left that fits"):
            wrap(net(), route(0.3, **match))
        return
    wrapper = wrap(net(), route(0.3, **match))
    rest = [name for name, _ in net().named_parameters() if name not in taken]
    assert names_by_lr(wrapper) == {0.3: taken, 0.1: rest}


def test_the_first_match_wins() -> None:
    wrapper = wrap(net(), route(0.3, names=["2.weight"]), route(0.4, names=["2."]), route(0.5, dimensions=[2]))
    assert names_by_lr(wrapper) == {
        0.3: ["2.weight"],
        0.4: ["2.bias"],
        0.5: ["0.weight", "4.weight"],
        0.1: ["0.bias", "1.weight", "1.bias", "4.bias"],
    }


def test_the_rest_may_be_nothing() -> None:
    wrapper = wrap(net(), route(0.3, dimensions=[1]), route(0.4, dimensions=[2]))
    assert sorted(names_by_lr(wrapper)) == [0.3, 0.4]


def test_each_route_has_rules_of_its_own() -> None:
    matrices = {**route(0.4, dimensions=[2]), "paramwise_cfg": {"custom_keys": {"4": {"lr_mult": 0.5}}}}
    wrapper = wrap(net(), matrices, paramwise_cfg={"norm_decay_mult": 0.0}, optimizer={"type": "AdamW", "lr": 0.1})
    options = {name: (one["lr"], one.get("weight_decay")) for name, one in wrapper.options.items()}
    assert options["0.weight"] == (0.4, 0)
    assert options["4.weight"] == (0.2, 0)
    assert options["4.bias"] == (0.1, 0.01)
    assert options["1.bias"] == (0.1, 0.0)


def test_a_frozen_parameter_is_in_no_part() -> None:
    model = net()
    model[0].requires_grad_(False)  # type: ignore[index]
    frozen = {**route(0.4, names=["4."]), "paramwise_cfg": {"custom_keys": {"4.bias": {"freeze": True}}}}
    wrapper = wrap(model, frozen, route(0.5, names=["0."]))
    assert names_by_lr(wrapper) == {0.4: ["4.weight"], 0.1: ["1.weight", "1.bias", "2.weight", "2.bias"]}
    model.requires_grad_(False)
    with pytest.raises(JobError) as caught:
        wrap(model, route(0.4, names=["4."]))
    assert str(caught.value) == "optimizer: no parameter is left to train: all are frozen"


# --- whatever the constructor, groups partition the parameters


class Leaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(2), nn.Linear(2, 2)


@st.composite
def models(draw: st.DrawFn) -> nn.Module:
    """Numbered blocks in two sub-modules, some of them frozen, with a parameter that both use."""
    model = nn.Module()
    for name in ("a", "b"):
        depth = draw(st.integers(1, 3))
        setattr(model, name, nn.Sequential(*(Leaf() for _ in range(depth))))
    if draw(st.booleans()):
        model.a[0].fc.weight = model.a[-1].fc.weight  # type: ignore[index, union-attr]
    for parameter in model.parameters():
        parameter.requires_grad_(draw(st.integers(0, 4)) > 0)
    return model


RULES = st.fixed_dictionaries(
    {},
    optional={
        "norm_decay_mult": st.sampled_from([0.0, 1.0]),
        "bias_lr_mult": st.sampled_from([0.5, 1.0]),
        "custom_keys": st.dictionaries(st.sampled_from(["a.", "b.0", "fc"]), st.just({"lr_mult": 0.1})),
    },
)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(st.sampled_from(["a.", "b.", "fc", "glob:*.bias"]), min_size=1, max_size=2),
        "types": st.lists(st.sampled_from(["Linear", "LayerNorm"]), min_size=1, max_size=2),
        "dimensions": st.lists(st.integers(1, 2), min_size=1, max_size=2),
    },
).filter(bool)


@settings(max_examples=60)
@given(
    model=models(),
    rules=RULES,
    matches=st.lists(MATCHES, min_size=1, max_size=3),
    which=st.sampled_from(["Default", "LayerDecay", "Routes"]),
)
def test_groups_partition_the_parameters(
    model: nn.Module, rules: dict[str, Any], matches: list[dict[str, Any]], which: str
) -> None:
    table: dict[str, Any] = {"optimizer": {"type": "AdamW", "lr": 0.1}, "paramwise_cfg": rules}
    if which == "LayerDecay":
        table = {
            **table,
            "constructor": "LayerDecayOptimWrapperConstructor",
            "paramwise_cfg": {**rules, "decay_rate": 0.5},
        }
    if which == "Routes":
        routes = [{"match": match, "optimizer": {"type": "SGD"}, "paramwise_cfg": rules} for match in matches]
        table = {**table, "constructor": {"type": "Routes", "routes": routes}}
    try:
        wrapper = build_optim_wrapper(model, table)
    except JobError as error:
        (problem,) = error.problems
        assert problem.code in ("nothing-to-train", "route-matches-nothing")
        return
    assert isinstance(wrapper, OptimWrapper)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = [name for group in wrapper.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(trained)
    own = dict(model.named_parameters())
    assert all(own[n] is p for g in wrapper.param_groups for n, p in zip(g["param_names"], g["params"], strict=True))
    assert set(wrapper.options) == set(own)
    if which != "Routes":  # equal situations give the very same options, which costs nothing
        objects = {id(one): one for one in wrapper.options.values()}.values()
        assert len(objects) == len({str((dict(one), one.reasons, one.matched, one.frozen)) for one in objects})


# --- a step


def data(number: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(2, 3).double(), torch.randn(2, 1).double()) for _ in range(number)]


def train(model: nn.Module, wrapper: OptimWrapper, batches: list[tuple[Tensor, Tensor]]) -> None:
    wrapper.initialize_count_status(model, wrapper.inner_count, wrapper.inner_count + len(batches))
    for inputs, targets in batches:
        wrapper.update_params(nn.functional.mse_loss(model(inputs), targets))


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_equal_routes_step_as_one_optimizer_does() -> None:
    split, whole = net(), net()
    clip = {"max_norm": 0.1}
    train(split, parts := wrap(split, route(0.1, dimensions=[2]), route(0.1, names=["bias"]), clip_grad=clip), data(5))
    plain = build_optim_wrapper(whole, {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, "clip_grad": clip})
    assert isinstance(plain, OptimWrapper)
    train(whole, plain, data(5))
    assert_same(split, whole)
    assert parts.grad_norm is not None
    assert plain.grad_norm is not None
    assert parts.grad_norm.item() == pytest.approx(plain.grad_norm.item())


def test_small_batches_equal_a_large_one() -> None:
    small, large = net(), net()
    batches = data(7)
    windows = [batches[start : start + 3] for start in range(0, 7, 3)]
    merged = [(torch.cat([x for x, _ in window]), torch.cat([y for _, y in window])) for window in windows]
    train(small, counted := wrap(small, route(0.3, dimensions=[2]), accumulative_counts=3), batches)
    train(large, wrap(large, route(0.3, dimensions=[2])), merged)
    assert counted.updates == 3
    assert_same(small, large)


def test_muon_takes_its_own_steps() -> None:
    ours, theirs = net(), net()
    muon = {"match": {"dimensions": [2], "names": ["2."]}, "optimizer": {"type": "Muon", "lr": 0.1}}
    train(ours, wrap(ours, muon), data(4))
    hidden = theirs.get_parameter("2.weight")
    rest = [parameter for parameter in theirs.parameters() if parameter is not hidden]
    optimizers = [torch.optim.Muon([hidden], lr=0.1), torch.optim.SGD(rest, lr=0.1, momentum=0.9)]
    for inputs, targets in data(4):
        nn.functional.mse_loss(theirs(inputs), targets).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert_same(ours, theirs)


def test_float16_skips_all_parts_together() -> None:
    model = net().float()
    options = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": 2.0**60}
    wrapper = wrap(model, {"match": {"dimensions": [2]}, "optimizer": {"type": "Adam"}}, **options)
    before = copy.deepcopy(model)
    with wrapper.optim_context(model):
        loss = model(torch.randn(4, 3)).square().sum()
    wrapper.update_params(loss)
    assert_same(model, before)
    assert wrapper.updates == 0


# --- in a job


def test_a_job_trains_and_its_checkpoint_is_keyed_by_name() -> None:
    folder = run(routed())
    records = read_records(folder)
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]
    assert json.loads((folder / "summary.json").read_text("utf-8"))["updates"] == 11
    state = load_checkpoint(folder / "checkpoints/iteration-00000021.pt")
    states = {name: sorted(one) for name, one in state["optimizers"]["default"]["state"].items()}
    assert sorted(states) == sorted(state["model"])
    assert states["3.weight"] == states["5.bias"] == ["momentum_buffer"]
    assert states["3.bias"] == ["exp_avg", "exp_avg_sq", "step"]


def test_a_run_that_was_interrupted_goes_on_equal() -> None:
    job = routed()
    straight, first, second = (Run(assemble(job, for_run=True)) for _ in range(3))
    straight.train()
    first.hooks.methods["after_iteration"].append(
        lambda run: setattr(run, "stop_signal", 15 if run.iteration == 9 else None)
    )
    first.train()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.train()
    for ours, theirs in zip(second.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    optimizer = second.wrapper.optimizer
    assert isinstance(optimizer, RoutedOptimizer)
    assert all(
        ours is theirs
        for ours, theirs in zip(
            optimizer.param_groups, [group for part in optimizer.parts for group in part.param_groups], strict=True
        )
    )


def test_schedules_move_all_groups_in_their_own_ratio() -> None:
    momentum = '[[param_scheduler]]\ntype = "ConstantMomentum"\nfactor = 0.5\nend = 2\n'
    ready = Run(assemble(routed(text=ROUTED.replace("[log]", momentum + "[log]")), for_run=True))
    starts = [(group["initial_lr"], group.get("momentum", group.get("betas"))) for group in ready.wrapper.param_groups]
    assert starts == [(0.1, 0.45), (0.2, 0.4), (0.1, 0.4), (0.02, (0.45, 0.999)), (0.02, (0.45, 0.999))]
    seen: list[list[float]] = []
    ready.hooks.methods["before_iteration"].append(
        lambda run: seen.append([group["lr"] / group["initial_lr"] for group in run.wrapper.param_groups])
    )
    ready.train()
    assert all(max(ratios) == pytest.approx(min(ratios), rel=1e-12) for ratios in seen)
    assert [round(ratios[0], 6) for ratios in seen[:6]] == [0.1, 0.325, 0.55, 0.775, 1.0, 1.0]
    assert [group.get("momentum", group.get("betas")) for group in ready.wrapper.param_groups] == [
        *(0.9, 0.8, 0.8),
        *((0.9, 0.999), (0.9, 0.999)),
    ]


def test_the_plan_shows_each_part_and_points_to_its_lines() -> None:
    plan = json.loads(json.dumps(make_plan(assemble(routed())).as_json()))
    assert [(one["name"], one["type"], one["implementation"], one["updates"]) for one in plan["optimizers"]] == [
        ("routes.0", "Muon", "for-loop", 11),
        ("routes.1", "SGD", "fused", 11),
        ("default", "AdamW", "fused", 11),
    ]
    assert [[group["names"] for group in one["groups"]] for one in plan["optimizers"]] == [
        [["3.weight"]],
        [["5.weight"], ["5.bias"]],
        [["1.weight"], ["1.bias", "3.bias"]],
    ]
    assert [one["state_bytes"] for one in plan["optimizers"]] == [4 * 16 * 12, 4 * (12 * 3 + 3), 8 * (8 * 16 + 16 + 12)]
    lines = ROUTED.splitlines()
    where = {
        (one["name"], reason["option"]): (one["optimizer"], one["group"], reason["key"], lines[reason["line"] - 1])
        for one in plan["parameters"]
        for reason in one["reasons"]
        if reason["line"]
    }
    routes = "optim_wrapper.constructor.routes"
    assert where["3.weight", "lr"] == ("routes.0", 0, f"{routes}.0.optimizer.lr", "lr = 0.1")
    assert where["3.weight", "momentum"] == ("routes.0", 0, f"{routes}.0.optimizer.momentum", "momentum = 0.9")
    assert where["5.bias", "lr"] == ("routes.1", 1, f"{routes}.1.paramwise_cfg.bias_lr_mult", "bias_lr_mult = 0.5")
    assert where["1.weight", "lr"] == ("default", 0, "optim_wrapper.optimizer.lr", "lr = 0.02")
    key = "optim_wrapper.paramwise_cfg.bias_decay_mult"
    assert where["3.bias", "weight_decay"] == ("default", 1, key, "bias_decay_mult = 0.0")
    curves = {(one["optimizer"], one["group"]): one["values"][6] for one in plan["schedule"]["values"]}
    assert curves == {
        ("routes.0", 0): 0.1,
        ("routes.1", 0): 0.2,
        ("routes.1", 1): 0.1,
        ("default", 0): 0.02,
        ("default", 1): 0.02,
    }


def test_a_rule_of_a_route_that_matches_nothing_is_told_at_its_line() -> None:
    keys = "[optim_wrapper.constructor.routes.paramwise_cfg.custom_keys]\n'5.wait' = { lr_mult = 2.0 }\n"
    plan = make_plan(assemble(routed(text=ROUTED.replace("[[param_scheduler]]", keys + "[[param_scheduler]]", 1))))
    (finding,) = (one for one in plan.findings if one.code == "rule-matches-nothing")
    assert finding.key == ("optim_wrapper", "constructor", "routes", 1, "paramwise_cfg", "custom_keys", "5.wait")
    assert finding.message == "no parameter's name contains '5.wait'; did you mean '5.weight'?"


def test_inspect_shows_a_table_for_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    routed()
    assert exit_code(["inspect", "routed.toml"]) == 0
    out = capsys.readouterr().out
    assert [line.partition(",")[0] for line in out.splitlines() if "before any schedule:" in line] == [
        "routes.0: Muon (optimctl)",
        "routes.1: SGD (optimctl)",
        "default: AdamW (optimctl)",
    ]


# --- mistakes

ONE = {"match": {"dimensions": [2]}, "optimizer": {"type": "SGD", "lr": 0.3}}
AT = "constructor.routes"
MATCH = "'names', 'types' and 'dimensions'"
CLOSURE = "LBFGS evaluates the loss itself, so that it cannot be one of several optimizers"
MATRICES = (
    "Muon trains matrices only, and these are none: '2.bias'; give them another optimizer, with the constructor Routes"
)


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([], "constructor: there is no route; add [[optim_wrapper.constructor.routes]]"),
        ({"match": {}}, f"{AT}: must be an array, not a table; write [[constructor.routes]] as its header"),
        (["Muon"], f"{AT}.0: must be a table, not the string 'Muon'"),
        ([{**ONE, "mach": 1}], f"{AT}.0.mach: unknown key; did you mean 'match'?"),
        ([{"optimizer": ONE["optimizer"]}], f"{AT}.0: needs `match`"),
        ([{**ONE, "match": {}}], f"{AT}.0.match: say what the route takes: a table of 'names', 'types' and 'dimensions'"),
        ([{**ONE, "match": ["weight"]}], f"{AT}.0.match: must be a table, not an array"),
        ([{**ONE, "match": {"name": ["x"]}}], f"{AT}.0.match.name: unknown key; did you mean 'names'?"),
        ([{**ONE, "match": {"shape": [2]}}], f"{AT}.0.match.shape: unknown key; `optim_wrapper.constructor.routes.0.match` takes {MATCH}"),
        ([{**ONE, "match": {"names": "x"}}], f"{AT}.0.match.names: must be an array, not the string 'x'"),
        ([{**ONE, "match": {"names": []}}], f"{AT}.0.match.names: must not be empty"),
        ([{**ONE, "match": {"dimensions": [True]}}], f"{AT}.0.match.dimensions.0: must be a whole number, not true"),
        ([ONE, ONE], f"{AT}.1.match: no parameter is left that fits; a route before takes them, or none does"),
        ([{"match": ONE["match"]}], f"{AT}.0: needs `optimizer`"),
        ([ONE, {**ONE, "optimizer": {"type": "Mun"}}], f"{AT}.1.optimizer.type: no optimizer is called 'Mun'; did you mean 'Muon'?"),
        ([{**ONE, "optimizer": {"type": "SGD", "lr": -1}}], f"{AT}.0.optimizer.lr: must be a number from 0 up, not -1"),
        ([{**ONE, "paramwise_cfg": {"bias_mult": 1}}], f"{AT}.0.paramwise_cfg.bias_mult: unknown key; did you mean 'bias_lr_mult'?"),
        ([{**ONE, "optimizer": {"type": "LBFGS"}}], f"{AT}.0.optimizer.type: {CLOSURE}"),
        (
            [{"match": {"names": ["2."]}, "optimizer": {"type": "Muon"}}],
            f"{AT}.0.optimizer.type: {MATRICES}",
        ),
    ],
)  # fmt: skip
def test_a_malformed_route_is_told_by_its_key(routes: Any, message: str) -> None:
    table = {"optimizer": {"type": "SGD"}, "constructor": {"type": "Routes", "routes": routes}}
    with pytest.raises(JobError) as caught:
        build_optim_wrapper(net(), table)
    assert str(caught.value) == message


def test_a_mistake_in_a_route_of_a_job_has_its_place() -> None:
    with pytest.raises(JobError) as caught:
        routed(text=ROUTED.replace('"Muon"', '"Mun"'))
    line = ROUTED.splitlines().index('type = "Muon"') + 1
    assert str(caught.value) == (
        f"routed.toml:{line}:8: optim_wrapper.constructor.routes.0.optimizer.type: no optimizer is called 'Mun'; did you mean 'Muon'?"
    )


def test_the_other_optimizer_evaluates_no_closure_either() -> None:
    with pytest.raises(JobError, match=r"^optimizer.type: LBFGS evaluates the loss itself"):
        wrap(net(), route(0.1, dimensions=[2]), optimizer={"type": "LBFGS"})


def test_what_a_part_asks_for_is_asked_for_by_the_whole() -> None:
    class Curious(torch.optim.SGD):
        requires_create_graph = True
        calls: list[str] = []  # noqa: RUF012

        def train(self) -> None:
            self.calls.append("train")

        def eval(self) -> None:
            self.calls.append("eval")

    model = net()
    parts = [Curious(list(model.parameters())[:2], lr=0.1), torch.optim.SGD(list(model.parameters())[2:], lr=0.1)]
    wrapper = OptimWrapper(RoutedOptimizer(parts))
    wrapper.backward(model(torch.ones(1, 3).double()).square().sum())
    assert all(parameter.grad is not None and parameter.grad.requires_grad for parameter in model.parameters())
    wrapper.optimizer.train()  # type: ignore[attr-defined]
    wrapper.optimizer.eval()  # type: ignore[attr-defined]
    assert Curious.calls == ["train", "eval"]
    wrapper.zero_grad()
