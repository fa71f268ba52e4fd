"""Every finding has a job that raises it, and a near one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimctl.assemble import assemble
from optimctl.errors import key_text
from optimctl.job.load import load_job, parse_job
from optimctl.plan.findings.finding import KINDS
from optimctl.plan.findings.manual import manual
from optimctl.plan.plan import Plan, make_plan
from tests.plugins_on_disk import Site, write_project


class Net(nn.Module):
    """An embedding, two blocks with norm layers, a head whose weight is the embedding's."""

    def __init__(self, *, frozen: str = "", tied: bool = False, norm: type[nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), norm(4)) for _ in range(2))
        self.head = nn.Linear(4, 10)
        if tied:
            self.head.weight = self.embed.weight
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not (frozen and name.startswith(frozen)))


class Odd(nn.Module):
    """A norm layer of somebody's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


@dataclass(frozen=True)
class Case:
    """A job that raises a finding at ``key`` with ``message``, and what to change in it so that it does not."""

    code: str
    key: str
    message: str
    text: str
    near: tuple[str, str]
    model: Callable[[], nn.Module] = Net
    near_model: Callable[[], nn.Module] | None = None


def optimizer(type_: str = "SGD", more: str = "lr = 0.1") -> str:
    return f'[optim_wrapper]\noptimizer = {{ type = "{type_}", {more} }}\n'


def rules(text: str, decay: float = 0.1) -> str:
    return optimizer(more=f"lr = 0.1, weight_decay = {decay}") + f"[optim_wrapper.paramwise_cfg]\n{text}\n"


def schedules(*tables: str, run: str = "max_epochs = 10\nepoch_length = 8", wrapper: str = "") -> str:
    listed = "".join(f"[[param_scheduler]]\n{table}\n" for table in tables)
    return f'[train_cfg]\n{run}\n[optim_wrapper]\n{wrapper}\noptimizer = {{ type = "SGD", lr = 0.1 }}\n{listed}'


WARM = 'type = "LinearLR"\nstart_factor = 0.1\nby_epoch = false\nend = 16'
AMP = '[optim_wrapper]\ntype = "AmpOptimWrapper"\ndtype = "float16"\noptimizer = { type = "SGD", lr = 0.1 }\n'
LENGTH = "[train_cfg]\nmax_epochs = 10\nepoch_length = 8\n"
UPDATES = '[[param_scheduler]]\ntype = "LinearLR"\nby = "update"\nend = 16\n'
PLATEAU = '[[param_scheduler]]\ntype = "ReduceOnPlateauLR"\nmonitor = "loss"\n'
VAL = '[val_dataloader]\ndataset = { type = "Synthetic", samples = 8, features = 4, classes = 2 }\n'

CASES = [
    Case(
        "rule-matches-nothing",
        "optim_wrapper.paramwise_cfg.custom_keys.hed",
        "no parameter's name contains 'hed'; did you mean 'head'?",
        rules("custom_keys = { hed = { lr_mult = 2 } }", 0),
        ("hed", "head"),
    ),
    Case(
        "rule-matches-nothing",
        "optim_wrapper.paramwise_cfg.norm_types",
        "the model has no module of a class 'Od'",
        rules('norm_types = ["Od"]\nnorm_decay_mult = 0'),
        ('"Od"', '"Odd"'),
        lambda: Net(norm=Odd),
    ),
    Case(
        "rule-matches-nothing",
        "optim_wrapper.paramwise_cfg.dwconv_decay_mult",
        "the model has no parameter of this type",
        rules("dwconv_decay_mult = 0"),
        ("dwconv", "bias"),
    ),
    Case(
        "rule-hidden",
        "optim_wrapper.paramwise_cfg.custom_keys.head",
        "it decides nothing: 'head.' decides for all 2 that it matches",
        rules('custom_keys = { head = { lr_mult = 2 }, "head." = { lr_mult = 3 } }', 0),
        ('"head."', '"head.bias"'),
    ),
    Case(
        "rule-hidden",
        "optim_wrapper.paramwise_cfg.flat_decay_mult",
        "it decides nothing: 'bias_decay_mult' and 'norm_decay_mult' decides for all 7 that it matches",
        rules("flat_decay_mult = 0.5\nnorm_decay_mult = 0\nbias_decay_mult = 0"),
        ("bias_decay_mult = 0", ""),
    ),
    Case(
        "key-silences-rules",
        "optim_wrapper.paramwise_cfg.custom_keys.blocks",
        "it says nothing of `decay_mult`, and still switches off `norm_decay_mult` for 4 tensors; give it a `decay_mult`",
        rules("norm_decay_mult = 0\ncustom_keys = { blocks = { lr_mult = 0.1 } }"),
        ("lr_mult = 0.1", "lr_mult = 0.1, decay_mult = 1"),
    ),
    Case(
        "rule-on-frozen",
        "optim_wrapper.paramwise_cfg.custom_keys.embed",
        "the model has frozen all that it matches: 'embed.weight'",
        rules("custom_keys = { embed = { lr_mult = 0.1 } }", 0),
        ("embed =", "'e' ="),
        lambda: Net(frozen="embed"),
    ),
    Case(
        "lr-zero",
        "optim_wrapper.paramwise_cfg.custom_keys.blocks",
        "lr is 0 for 8 tensors: gradients are computed for nothing; `freeze = true` saves them",
        rules("custom_keys = { blocks = { lr_mult = 0 } }", 0),
        ("lr_mult = 0", "freeze = true"),
    ),
    Case(
        "shared-parameter",
        "model",
        "'head.weight' is 'embed.weight'; it is trained once, by the rules of that name",
        optimizer(),
        ("", ""),
        lambda: Net(tied=True),
        Net,
    ),
    Case(
        "decay-on-small",
        "optim_wrapper.optimizer.weight_decay",
        "weight decay also reaches 1 embedding, 3 biases, 4 tensors of norm layers",
        rules(""),
        (
            "[optim_wrapper.paramwise_cfg]",
            "paramwise_cfg = { norm_decay_mult = 0, bias_decay_mult = 0, custom_keys.embed = { decay_mult = 0 } }",
        ),
    ),
    Case(
        "coupled-decay",
        "optim_wrapper.optimizer.weight_decay",
        "Adam adds weight decay to the gradient and then normalizes both; AdamW decays apart from it",
        optimizer("Adam", "lr = 0.1, weight_decay = 0.1"),
        ('"Adam"', '"AdamW"'),
    ),
    Case(
        "float16-without-scaler",
        "optim_wrapper",
        "11 tensors are in float16, and nothing scales their gradients; AmpOptimWrapper does",
        optimizer(),
        ("", ""),
        lambda: Net().half(),
        Net,
    ),
    Case(
        "waits-for-device",
        "param_scheduler.0",
        "under float16 an update may be skipped, so the run waits for the device once an update to know",
        LENGTH + AMP + UPDATES,
        ("float16", "bfloat16"),
    ),
    Case(
        "batch-norm-accumulates",
        "optim_wrapper.accumulative_counts",
        "the model has 2 layers of batch norm, which see each batch alone, not 4 together",
        schedules(wrapper="accumulative_counts = 4"),
        ("", ""),
        lambda: Net(norm=nn.BatchNorm1d),
        Net,
    ),
    Case(
        "short-last-window",
        "optim_wrapper.accumulative_counts",
        "the last of 80 iterations make a window of 2",
        schedules(wrapper="accumulative_counts = 3"),
        ("accumulative_counts = 3", "accumulative_counts = 4"),
    ),
    Case(
        "schedule-never-steps",
        "param_scheduler.0",
        "the run has 8 iterations, which is one epoch, so that nothing ever changes",
        schedules('type = "MultiStepLR"\nmilestones = []', run="max_iters = 8\nepoch_length = 8").replace("[]", "[0]"),
        ("max_iters = 8", "max_iters = 80"),
    ),
    Case(
        "schedule-after-run",
        "param_scheduler.0",
        "it begins at epoch 12, and the run ends at epoch 10",
        schedules('type = "CosineAnnealingLR"\nbegin = 12\nend = 20'),
        ("begin = 12\nend = 20", "begin = 2\nend = 10"),
    ),
    Case(
        "schedule-cut-off",
        "param_scheduler.0",
        "it ends at epoch 20, and the run at epoch 10: it is cut off on its way",
        schedules('type = "CosineAnnealingLR"\nend = 20'),
        ("end = 20", "end = 10"),
    ),
    Case(
        "schedule-ends-early",
        "param_scheduler.0",
        "it ends at epoch 5, the run at epoch 10; the value stays as it is",
        schedules('type = "CosineAnnealingLR"\nend = 5'),
        ("end = 5", ""),
    ),
    Case(
        "schedule-gap",
        "param_scheduler.1",
        "nothing moves `lr` from iteration 16 to epoch 4; it stays as it is",
        schedules(WARM, 'type = "CosineAnnealingLR"\nbegin = 4'),
        ("begin = 4", "begin = 2"),
    ),
    Case(
        "schedule-overlap",
        "param_scheduler.1",
        "LinearLR and CosineAnnealingLR both act from iteration 0 to 16: they multiply",
        schedules(WARM, 'type = "CosineAnnealingLR"'),
        ('"CosineAnnealingLR"', '"CosineAnnealingLR"\nbegin = 2'),
    ),
    Case(
        "warm-up-too-long",
        "param_scheduler.0",
        "the warm-up ends at iteration 500, and the run at iteration 80: the full value is never reached",
        schedules(WARM.replace("16", "500")),
        ("end = 500", "end = 50"),
    ),
    Case(
        "warm-up-meets-milestone",
        "param_scheduler.1.milestones",
        "milestone 1 falls into the warm-up of 16 iterations",
        schedules(WARM, 'type = "MultiStepLR"\nmilestones = [1, 5]'),
        ("[1, 5]", "[2, 5]"),
    ),
    Case(
        "milestone-after-end",
        "param_scheduler.0.milestones",
        "10, 12 lie at or behind epoch 10, where it ends: the value does not drop there",
        schedules('type = "MultiStepLR"\nmilestones = [8, 10, 12]'),
        ("[8, 10, 12]", "[8, 9]"),
    ),
    Case(
        "cosine-rises",
        "param_scheduler.0.T_max",
        "T_max is 4, and its range has 10 epochs: from there on the cosine rises again",
        schedules('type = "CosineAnnealingLR"\nT_max = 4'),
        ("T_max = 4", "T_max = 10"),
    ),
    Case(
        "floor-above-value",
        "param_scheduler.0.eta_min",
        "1 of 2 groups start below 0.02 (the lowest at 0.01), and rise to it",
        schedules(
            'type = "CosineAnnealingLR"\neta_min = 0.02', wrapper="paramwise_cfg = { custom_keys = { head = { lr_mult = 0.1 } } }"
        ),
        ("eta_min = 0.02", "eta_min = 0.002"),
    ),
    Case(
        "one-step-ramp",
        "param_scheduler.0",
        "a range of one step has only its start: the value stays there for ever, as in MMEngine; "
        "convert_to_iter_based = true makes a ramp of it",
        schedules('type = "LinearLR"\nend = 1'),
        ("end = 1", "end = 1\nconvert_to_iter_based = true"),
    ),
    Case(
        "counts-iterations",
        "param_scheduler.0",
        "its 16 iterations are 4 updates, as 4 batches make one",
        schedules(WARM, wrapper="accumulative_counts = 4"),
        ("by_epoch = false", 'by = "update"'),
    ),
    Case(
        "metric-not-known",
        "param_scheduler.0.monitor",
        "whether the task gives 'loss' is seen at the first validation; it has no `metric_rules`",
        LENGTH + VAL + optimizer() + PLATEAU,
        ("", ""),
    ),
]  # fmt: skip


def plan_of(text: str, model: nn.Module, task: Any = None) -> Plan:
    assembly = assemble(parse_job(text), without_weights=True, model=model)
    assembly.task = task
    return make_plan(assembly)


class Task:
    """A task that does not say what it gives."""


class Telling(Task):
    """A task that does."""

    metric_rules = {"loss": "min"}  # noqa: RUF012


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.key}")
def test_a_finding_and_its_near_miss(case: Case) -> None:
    plan = plan_of(case.text, case.model(), Task())
    found = {(one.code, key_text(one.key)): one for one in plan.findings}
    assert (case.code, case.key) in found, [(one.code, one.message) for one in plan.findings]
    assert found[case.code, case.key].message == case.message
    assert found[case.code, case.key].level == KINDS[case.code].level
    old, new = case.near
    assert not old or old in case.text
    near = plan_of(case.text.replace(old, new, 1) if old else case.text, (case.near_model or case.model)(), Telling())
    assert (case.code, case.key) not in {(one.code, key_text(one.key)) for one in near.findings}


ELSEWHERE = {
    "not-trained",
    "name-claimed-twice",
    "needs-values",
    "schedule-not-shown",
    "groups-could-merge",
    "could-be-fused",
}
"""Findings that no job text alone raises: tested below, and in test_explain.py."""


def test_every_finding_of_the_catalogue_has_its_case() -> None:
    assert {case.code for case in CASES} | ELSEWHERE == set(KINDS)


@pytest.mark.parametrize(("own", "codes"), [("optimctl/SGD", []), ("SGD", ["name-claimed-twice"])])
def test_a_name_that_two_distributions_claim(site: Site, own: str, codes: list[str]) -> None:
    site.install("other", {"optimizers": {"SGD": "nowhere:SGD"}})
    plan = plan_of(optimizer(own), Net())
    assert [(one.code, key_text(one.key)) for one in plan.findings] == [
        (code, "optim_wrapper.optimizer.type") for code in codes
    ]


SNEAKY = """
from torch import nn, ones
class Net(nn.Linear):
    def __init__(self, looks: bool):
        super().__init__(2, 2)
        if looks:
            assert self.weight.sum().item() < 100
"""


@pytest.mark.parametrize(("looks", "codes"), [("false", []), ("true", ["needs-values"])])
def test_a_model_that_looks_at_its_values_is_built_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None, looks: str, codes: list[str]
) -> None:
    write_project(tmp_path, '[tool.optimctl.plugins.models]\nNet = "sneaky:Net"\n', {"sneaky": SNEAKY})
    (tmp_path / "job.toml").write_text(f'[model]\ntype = "Net"\nlooks = {looks}\n' + optimizer(), "utf-8")
    monkeypatch.chdir(tmp_path)
    assembly = assemble(load_job("job.toml"), without_weights=True)
    assert assembly.model is not None
    assert next(assembly.model.parameters()).is_meta is (looks == "false")
    plan = make_plan(assembly)
    assert [one.code for one in plan.findings] == codes
    if codes:
        assert plan.findings[0].message.startswith(
            "it cannot be built without values, and was built whole: RuntimeError"
        )
        assert plan.findings[0].message.endswith("(sneaky.py:7 in __init__)")


def test_parameters_that_no_optimizer_has() -> None:
    assembly = assemble(parse_job(optimizer()), model=Net())
    assert assembly.model is not None
    assembly.model.extra = nn.Linear(2, 2)
    (found,) = make_plan(assembly).findings
    message = (
        "'extra.weight' and 'extra.bias' ask for gradients, and no optimizer has them; freeze them, or give them one"
    )
    assert (found.code, found.message) == ("not-trained", message)


def test_warnings_come_before_notes() -> None:
    plan = plan_of(rules("custom_keys = { hed = { lr_mult = 2 } }"), Net())
    assert [one.level for one in plan.findings] == ["warning", "note"]


def test_the_page_about_findings_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "findings.md"
    assert page.read_text("utf-8") == manual(), "python -m optimctl.plan.findings.manual > docs/findings.md"
