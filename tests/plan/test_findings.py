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
        "it decides nothing: 'bias_decay_mult' and 'norm_decay_mult' decide for all 7 that it matches",
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
        "the run has 8 iterations, one epoch: nothing ever changes",
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
        "schedule-cut-off",
        "param_scheduler.0.T_max",
        "it takes 100 epochs, its range has 10: it is cut off on its way",
        schedules('type = "CosineAnnealingLR"\nT_max = 100'),
        ("T_max = 100", "T_max = 10"),
    ),
    Case(
        "schedule-cut-off",
        "param_scheduler.0.total_steps",
        "it takes 500 iterations, its range has 80: it is cut off on its way",
        schedules('type = "OneCycleLR"\neta_max = 0.1\ntotal_steps = 500\nby_epoch = false'),
        ("total_steps = 500", "total_steps = 80"),
    ),
    Case(
        "schedule-cut-off",
        "param_scheduler.0.periods",
        "it takes 12 epochs, its range has 10: it is cut off on its way",
        schedules('type = "CosineRestartLR"\nperiods = [6, 6]\nrestart_weights = [1, 1]'),
        ("[6, 6]", "[6, 4]"),
    ),
    Case(
        "schedule-never-steps",
        "param_scheduler.0.step_size",
        "step_size is 30, and its range has 10 epochs: the value never drops",
        schedules('type = "StepLR"\nstep_size = 30'),
        ("30", "3"),
    ),
    Case(
        "schedule-never-steps",
        "param_scheduler.0",
        "the run has 3 iterations, less than one epoch: nothing ever changes",
        schedules('type = "MultiStepLR"\nmilestones = [1]', run="max_iters = 3\nepoch_length = 8"),
        ("max_iters = 3", "max_iters = 9"),
    ),
    Case(
        "floor-above-value",
        "param_scheduler.0.eta_min",
        "1 of 1 group starts below 0.2 (the lowest at 0.1), and rises to it",
        schedules('type = "CosineAnnealingLR"\neta_min = 0.2\nend = 5'),
        ("end = 5", 'end = 5\n[[param_scheduler]]\ntype = "CosineAnnealingLR"\neta_min = 0.001\nbegin = 5'),
    ),
    Case(
        "floor-above-value",
        "param_scheduler.0.eta_min",
        "2 of 2 groups start below 0.4 (the lowest at 0.01), and rise to it",
        LENGTH + rules("custom_keys = { head = { lr_mult = 0.1 } }") + '[[param_scheduler]]\ntype = "CosineAnnealingLR"\neta_min = 0.4',
        ("CosineAnnealingLR", "CosineAnnealingWeightDecay"),
    ),
    Case(
        "one-step-ramp",
        "param_scheduler.0",
        "a range of one step has only its start: the value stays there for ever, as in MMEngine",
        schedules('type = "ConstantLR"\nfactor = 0.1\nby_epoch = false\nbegin = 78\nend = 79'),
        ("begin = 78\nend = 79", "begin = 79\nend = 80"),
    ),
    Case(
        "one-step-ramp",
        "param_scheduler.0",
        "a range of one step has only its start: the value stays there for ever, as in MMEngine; "
        "convert_to_iter_based = true makes a ramp of it",
        schedules('type = "ConstantLR"\nfactor = 0.1\nend = 1'),
        ("factor = 0.1", "factor = 1"),
    ),
    Case(
        "milestone-after-end",
        "param_scheduler.0.milestones",
        "11 lies at or behind epoch 9.50, where it ends: the value does not drop there",
        schedules('type = "MultiStepLR"\nmilestones = [8, 11]', run="max_iters = 76\nepoch_length = 8"),
        ("[8, 11]", "[8, 9]"),
    ),
    Case(
        "counts-iterations",
        "param_scheduler.0",
        "its 79 iterations are 20 updates, as 4 batches make one",
        schedules('type = "CosineAnnealingLR"\nby_epoch = false\nend = 79', wrapper="accumulative_counts = 4"),
        ("end = 79", "end = 80"),
    ),
    Case(
        "rule-hidden",
        "optim_wrapper.paramwise_cfg.flat_decay_mult",
        "it decides nothing: 'bias_decay_mult' and 'norm_decay_mult' decide for all 7 that it matches",
        rules("flat_decay_mult = 0.5\nnorm_decay_mult = 0\nbias_decay_mult = 0"),
        ("flat_decay_mult = 0.5", "flat_decay_mult = 0"),
    ),
    Case(
        "rule-hidden",
        "optim_wrapper.paramwise_cfg.norm_decay_mult",
        "it decides nothing: 'blocks' decides for all 4 that it matches",
        rules("norm_decay_mult = 0\ncustom_keys = { blocks = { decay_mult = 0.5 } }"),
        ("decay_mult = 0.5", "decay_mult = 0"),
    ),
    Case(
        "key-silences-rules",
        "optim_wrapper.paramwise_cfg.custom_keys.blocks",
        "it says nothing of `decay_mult`, and still switches off `norm_decay_mult` for 4 tensors; give it a `decay_mult`",
        rules("norm_decay_mult = 0\ncustom_keys = { blocks = { lr_mult = 0.1 } }"),
        ("norm_decay_mult = 0", "norm_decay_mult = 1"),
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
        "1 of 2 groups starts below 0.02 (the lowest at 0.01), and rises to it",
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


class Detector(nn.Module):
    """The parts of a detector that published rules speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.backbone[0].requires_grad_(False)
        self.encoder = nn.TransformerEncoderLayer(4, 2)
        self.query_embedding = nn.Embedding(3, 4)
        self.bbox_head = nn.Linear(4, 4)


class Swin(nn.Module):
    """The parts of a Swin transformer that published rules speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, 4, 4))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3, 2))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 4)


def published(run: str, optimizer: str, paramwise: str, *schedules: str) -> str:
    """A job in the shape of a published configuration."""
    tables = "".join(f"[[param_scheduler]]\n{one}\n" for one in schedules)
    rules = f"[optim_wrapper.paramwise_cfg]\n{paramwise}\n" if paramwise else ""
    return f"[train_cfg]\n{run}\n[optim_wrapper]\noptimizer = {{ {optimizer} }}\n{rules}{tables}"


SGD = 'type = "SGD", lr = 0.02, momentum = 0.9, weight_decay = 1e-4'
ADAMW = 'type = "AdamW", lr = 1e-4, weight_decay = 0.05'
SWIN = "{ decay_mult = 0.0 }"
BY_ITERATION = 'type = "LinearLR"\nstart_factor = 1e-3\nby_epoch = false\nend = '
CONVERTED = "by_epoch = true\nconvert_to_iter_based = true\n"

PUBLISHED: dict[str, tuple[type[nn.Module], str]] = {
    "Faster R-CNN, 1x": (
        Detector,
        published(
            "max_epochs = 12\nepoch_length = 7330", SGD, "",
            BY_ITERATION + "500", 'type = "MultiStepLR"\nbegin = 0\nend = 12\nby_epoch = true\nmilestones = [8, 11]',
        ),
    ),
    "RTMDet": (
        Detector,
        published(
            "max_epochs = 300\nepoch_length = 460", ADAMW, "norm_decay_mult = 0\nbias_decay_mult = 0\nbypass_duplicate = true",
            BY_ITERATION + "1000",
            'type = "CosineAnnealingLR"\neta_min = 5e-6\nbegin = 150\nend = 300\nT_max = 150\n' + CONVERTED,
        ),
    ),
    "YOLOX": (
        Detector,
        published(
            "max_epochs = 300\nepoch_length = 460", SGD, "norm_decay_mult = 0.0\nbias_decay_mult = 0.0",
            'type = "QuadraticWarmupLR"\nbegin = 0\nend = 5\n' + CONVERTED,
            'type = "CosineAnnealingLR"\neta_min = 5e-4\nbegin = 5\nend = 285\nT_max = 285\n' + CONVERTED,
            'type = "ConstantLR"\nby_epoch = true\nfactor = 1\nbegin = 285\nend = 300',
        ),
    ),
    "DETR": (
        Detector,
        published(
            "max_epochs = 150\nepoch_length = 100", ADAMW, "custom_keys.backbone = { lr_mult = 0.1, decay_mult = 1.0 }",
            'type = "MultiStepLR"\nend = 150\nmilestones = [100]',
        ),
    ),
    "Swin, classification": (
        Swin,
        published(
            "max_epochs = 300\nepoch_length = 1252", ADAMW,
            "norm_decay_mult = 0.0\nbias_decay_mult = 0.0\nflat_decay_mult = 0.0\n"
            f'custom_keys.".absolute_pos_embed" = {SWIN}\ncustom_keys.".relative_position_bias_table" = {SWIN}',
            'type = "LinearLR"\nstart_factor = 1e-3\nend = 20\n' + CONVERTED,
            'type = "CosineAnnealingLR"\neta_min = 1e-5\nbegin = 20',
        ),
    ),
    "Swin, segmentation": (
        Swin,
        published(
            "max_iters = 160000", ADAMW,
            f"custom_keys.absolute_pos_embed = {SWIN}\ncustom_keys.relative_position_bias_table = {SWIN}\ncustom_keys.norm = {SWIN}",
            BY_ITERATION + "1500", 'type = "PolyLR"\npower = 1.0\nbegin = 1500\nend = 160000\nby_epoch = false',
        ),
    ),
    "SlowOnly, with a warm-up of epochs": (
        Detector,
        published(
            "max_epochs = 256\nepoch_length = 10", SGD, "",
            'type = "LinearLR"\nstart_factor = 0.1\nbegin = 0\nend = 34\n' + CONVERTED,
            'type = "CosineAnnealingLR"\nT_max = 222\nbegin = 34\nend = 256\n' + CONVERTED,
        ),
    ),
    "PointPillars, one cycle of two cosines": (
        Detector,
        published(
            "max_epochs = 20\nepoch_length = 10", 'type = "AdamW", lr = 0.0018, betas = [0.95, 0.99]', "",
            'type = "CosineAnnealingLR"\nT_max = 8\neta_min = 0.018\nend = 8\n' + CONVERTED,
            'type = "CosineAnnealingLR"\nT_max = 12\neta_min = 1.8e-7\nbegin = 8\nend = 20\n' + CONVERTED,
            'type = "CosineAnnealingMomentum"\nT_max = 8\neta_min = 0.8947\nend = 8\n' + CONVERTED,
            'type = "CosineAnnealingMomentum"\nT_max = 12\neta_min = 1\nbegin = 8\nend = 20\n' + CONVERTED,
        ),
    ),
    "DINO, with a weight decay that grows": (
        Swin,
        published(
            "max_epochs = 100\nepoch_length = 10", ADAMW, "norm_decay_mult = 0\nbias_decay_mult = 0",
            BY_ITERATION + "100", 'type = "CosineAnnealingLR"\nby_epoch = false\nbegin = 100\neta_min = 1e-6',
            'type = "CosineAnnealingWeightDecay"\nby_epoch = false\neta_min = 0.4',
        ),
    ),
    "EDVR, with restarts": (
        Detector,
        published(
            "max_iters = 600000", 'type = "Adam", lr = 4e-4', "",
            'type = "CosineRestartLR"\nby_epoch = false\neta_min = 1e-7\nperiods = [50000, 100000, 150000, 150000, 150000]\n'
            "restart_weights = [1, 1, 1, 1, 1]",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_and_works_is_not_warned_of(name: str) -> None:
    model, text = PUBLISHED[name]
    assert plan_of(text, model()).warnings() == []


class Gan(nn.Module):
    """Two networks, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(2, 2), nn.Linear(2, 2)


GAN = """
[train_cfg]
max_iters = 80
[optim_wrapper.generator]
optimizer = { type = "SGD", lr = 0.1 }
[optim_wrapper.critic]
accumulative_counts = 4
optimizer = { type = "SGD", lr = 1e-4 }
"""


def test_each_of_several_optimizers_counts_its_own_updates() -> None:
    cosine = 'type = "CosineAnnealingLR"\nby = "update"\n'
    own = f"[[param_scheduler.generator]]\n{cosine}T_max = 80\n[[param_scheduler.critic]]\n{cosine}T_max = 20\n"
    assert plan_of(GAN + own, Gan()).findings == ()
    (found,) = plan_of(GAN + own.replace("T_max = 20", "T_max = 40"), Gan()).findings
    assert (found.code, key_text(found.key)) == ("schedule-cut-off", "param_scheduler.critic.0.T_max")


def test_a_schedule_that_several_optimizers_share_is_looked_at_for_each() -> None:
    shared = '[[param_scheduler]]\ntype = "CosineAnnealingLR"\nby_epoch = false\neta_min = 1e-3\nend = 40\n'
    found = {one.code: one.message for one in plan_of(GAN + shared, Gan()).findings}
    assert found == {
        "floor-above-value": "1 of 1 group starts below 0.001 (the lowest at 0.0001), and rises to it",
        "counts-iterations": "its 40 iterations are 10 updates, as 4 batches make one",
        "schedule-ends-early": "it ends at iteration 40, the run at iteration 80; the value stays as it is",
    }


def test_accumulation_is_known_without_a_model() -> None:
    text = schedules(WARM, wrapper="accumulative_counts = 4")
    assert [one.code for one in make_plan(assemble(parse_job(text), without_weights=True)).findings] == [
        "counts-iterations"
    ]


ELSEWHERE = {
    "not-trained",
    "not-in-model",
    "name-claimed-twice",
    "needs-values",
    "schedule-not-shown",
    "scheduler-of-another",
    "scheduler-raises",
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


def test_names_inside_data_parallel_are_no_second_names() -> None:
    assert "shared-parameter" not in [one.code for one in plan_of(optimizer(), nn.DataParallel(Net())).findings]


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
