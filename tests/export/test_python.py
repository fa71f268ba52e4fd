"""The exported scripts: what they print and end with is what a run records and ends with; ruff finds nothing, and they can be read."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optimctl
from optimctl.cli.main import exit_code
from optimctl.errors import JobError, key_text
from optimctl.export.python import export_python
from optimctl.export.python.imports import Imports
from optimctl.export.python.layout import text
from optimctl.export.python.schedules import Factors, Scheduled, agrees, factors_of, run_function
from optimctl.export.source import Source
from optimctl.job.load import load_job
from optimctl.plugins import resolve
from optimctl.schedule.place import RunLength, read_schedules
from optimctl.schedule.scheduler import Slot
from tests.export.scripts import differences, ruff_finds
from tests.jobs import write_blobs
from tests.plugins_on_disk import Site, write_project

ROOT = Path(__file__).parents[2]
FOLDERS = ("examples/**/*.toml", "plugins/*/examples/**/*.toml")
EXAMPLES = [str(file.relative_to(ROOT)) for pattern in FOLDERS for file in sorted(ROOT.glob(pattern))]
WHOLE = ("examples/customize_optimizer/11_accumulative_counts.toml", "examples/customize_optimizer/12_large_batch.toml")
SHORTER = {
    "examples/customize_optimizer/16_warmup_converted.toml": ["train_cfg.max_epochs=11"],
    "examples/customize_optimizer/17_momentum.toml": ["train_cfg.max_iters=60", "param_scheduler.1.end=60"],
    "examples/ema.toml": ["train_cfg.max_epochs=3"],
    "examples/video_layer_decay.toml": ["train_cfg.max_epochs=1", "train_dataloader.dataset.clips=1"],
    "examples/video_swin.toml": ["train_cfg.max_epochs=2", "train_dataloader.dataset.clips=1"],
}
"""What is set so that an example takes a moment; one epoch for those that are not here."""


def script_of(name: str, *overrides: str) -> str:
    return export_python(Source(load_job(ROOT / name, overrides)))


def function(script: str, name: str) -> str:
    """A function of a script, whole."""
    _, start, rest = script.partition(f"\ndef {name}(")
    assert start, name
    return f"def {name}(" + rest.partition("\n\n\n")[0] + "\n"


# --- the same as the run


def test_each_example_gives_the_losses_and_the_weights_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    overrides = {name: SHORTER.get(name, [] if name in WHOLE else ["train_cfg.max_epochs=1"]) for name in EXAMPLES}
    jobs = {name: load_job(name, settings) for name, settings in overrides.items()}
    assert len(jobs) >= 31
    assert differences(jobs, tmp_path) == {}
    assert ruff_finds(tmp_path) == ""


PARTS = """
    import numpy as np
    import torch
    from collections import namedtuple
    from dataclasses import dataclass
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    Pair = namedtuple("Pair", "x y")


    class Net(nn.Module):
        def __init__(self, dropout=0.1, frozen=False):
            super().__init__()
            self.stem, self.norm, self.head = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3)
            self.drop, self.unused = nn.Dropout(dropout), nn.Linear(2, 2)
            self.stem.weight.requires_grad_(not frozen)

        def forward(self, x):
            return self.head(self.drop(torch.relu(self.norm(self.stem(x)))))


    class Centred(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x):
            if self.training:
                self.mean = self.mean * 0.9 + x.mean(0) * 0.1
            return super().forward(x - self.mean)


    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            block = lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
            self.stem, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
            self.stages = nn.ModuleList(nn.Sequential(block(), block()) for _ in range(2))

        def forward(self, x):
            for part in (self.stem, *self.stages):
                x = torch.relu(part(x))
            return self.head(x)


    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x, y):
            return self.a(x) + self.b(y)


    class Report(nn.Module):
        def __init__(self, names=("report", "loss")):
            super().__init__()
            self.names, self.head = names, nn.Linear(8, 3)
            for name in names:
                self.add_module(name, nn.Linear(8, 8))

        def forward(self, x):
            for name in self.names:
                x = torch.relu(getattr(self, name)(x))
            return self.head(x)


    class PointTaker(Net):
        def __init__(self, **options):
            super().__init__()
            self.options = options


    class Noting(torch.optim.SGD):
        def __init__(self, params, lr=0.1, note=None):
            super().__init__(params, lr)
            for group in self.param_groups:
                group.setdefault("note", note)
            self.defaults["note"] = note


    class OwnLoss(nn.Module):
        def __init__(self, named=False):
            super().__init__()
            self.layer, self.named = nn.Linear(8, 3), named

        def forward(self, x, y):
            loss = functional.cross_entropy(self.layer(x), y)
            return {"loss_a": loss, "loss_b": loss * 0.1, "scale": 2.0} if self.named else loss


    class Points(Dataset):
        def __init__(self, n=96, seed=0, name=""):
            self.x = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
            self.y = self.x[:, :3].argmax(1)

        def __len__(self):
            return len(self.x)

        def __getitem__(self, i):
            return self.x[i], self.y[i]


    class Augmented(Points):
        def __getitem__(self, i):
            return self.x[i] + 0.1 * float(np.random.randn()) + 0.1 * torch.randn(8), self.y[i]

        def set_epoch(self, number):
            self.number = number

        @staticmethod
        def collate_fn(samples):
            return [torch.stack([x for x, _ in samples]), torch.tensor([int(y) for _, y in samples])]


    class Named(Points):
        def __getitem__(self, i):
            return {"x": self.x[i], "y": self.y[i]}


    class Triples(Points):
        def __getitem__(self, i):
            return self.x[i, :4], self.x[i, 4:], self.y[i]


    class Pairs(Points):
        def __getitem__(self, i):
            return Pair(self.x[i], self.y[i])


    class Regression(Points):
        def __getitem__(self, i):
            return self.x[i], self.x[i, :3] * 2


    class Stream(IterableDataset):
        def __iter__(self):
            generator = torch.Generator().manual_seed(0)
            for _ in range(100):
                x = torch.randn(8, generator=generator)
                yield x, int(x[:3].argmax())


    class Short(Stream):
        def __len__(self):
            return 160


    def ready(n=96):
        return DataLoader(Points(n), batch_size=16, shuffle=True)


    class Task:
        metric_rules = {"loss": "min", "right": "max"}

        def __init__(self, weight=1.0):
            self.weight = weight

        def loss(self, model, batch):
            return self.weight * functional.cross_entropy(model(batch[0]), batch[1])

        def evaluate(self, model, batch):
            output = model(batch[0])
            right = (output.argmax(1) == batch[1]).sum()
            loss = functional.cross_entropy(output, batch[1], reduction="sum")
            return {"loss": (loss, len(output)), "right": (right, len(output))}


    class Priced(Task):
        def loss(self, model, batch):
            return {"loss_data": super().loss(model, batch), "loss_size": 0.01 * model.head.weight.square().sum(), "price": 0.01}


    class Rare(Task):
        metric_rules = {**Task.metric_rules, "odd": "max", "even": "min", "none": "min"}

        def __init__(self):
            super().__init__()
            self.calls = 0

        def evaluate(self, model, batch):
            self.calls += 1
            odd = float("inf") if self.calls < 3 else float(self.calls % 5)
            return {**super().evaluate(model, batch), "odd": (odd, 1), "even": (-odd, 1), "none": (0.0, 0)}


    class Steps(Task):
        def train_step(self, model, batch, optim_wrapper):
            with optim_wrapper.optim_context(model):
                loss = self.loss(model, batch)
            optim_wrapper.update_params(loss)
            return loss


    class Silent(Steps):
        def train_step(self, model, batch, optim_wrapper):
            super().train_step(model, batch, optim_wrapper)


    class NowAndThen(Steps):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def train_step(self, model, batch, optim_wrapper):
            loss = super().train_step(model, batch, optim_wrapper)
            self.calls += 1
            return {"loss": loss, "size": 1.0} if self.calls % 5 == 0 else None


    class ByName(Task):
        def train_step(self, model, batch, optim_wrapper):
            loss = self.loss(model, batch)
            optim_wrapper["report"].update_params(loss)
            return {"loss": loss}


    class InTurns(Task):
        def __init__(self, names=("report", "loss")):
            super().__init__()
            self.names = names

        def train_step(self, model, batch, optim_wrapper):
            loss = self.loss(model, batch)
            loss.backward()
            for name in self.names:
                optim_wrapper[name].step()
                optim_wrapper[name].zero_grad()
            return loss


    class Hook:
        def after_iteration(self, run): ...


    @dataclass(frozen=True)
    class Half:
        half_life: float

        def maps(self, t, reference):
            return np.where(t > 0, 0.5 ** (1 / self.half_life), 1.0), 0.0, 0.0


    @dataclass(frozen=True)
    class Lifted:
        length: int
        points: tuple = ()
        steps = ("points",)

        def maps(self, t, reference):
            return np.where(t > 0, 0.9, 1.0), np.where(t > 0, 0.001, 0.0), 0.0
"""
NEEDS_US = """
    from optimctl.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
    from optimctl.train.task import Supervised
    from torch.optim import SGD


    class OurTask(Supervised): ...


    class OurSGD(SGD): ...


    class Odd(DefaultOptimWrapperConstructor):
        def options(self, name, parameter, module, parents):
            chosen = super().options(name, parameter, module, parents)
            return chosen.set("lr", 0.01 * (1 + sum(map(ord, name)) % 5), "by its letters")


    class Sgd:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None, names=()):
            self.names = names

        def __call__(self, model):
            made = {name: self.make(getattr(model, name, model)) for name in self.names}
            return OptimWrapperDict(**made) if made else self.make(model)

        def make(self, part):
            return OptimWrapper(SGD(part.parameters(), lr=0.1))
"""
NAMES = {
    "models": {
        "Net": "parts:Net",
        "Centred": "parts:Centred",
        "Deep": "parts:Deep",
        "Two": "parts:Two",
        "OwnLoss": "parts:OwnLoss",
        "Report": "parts:Report",
        "PointTaker": "parts:PointTaker",
        "train": "other:train",
        "order": "other:order",
        "sum": "other:sum",
        "Head": "main:order",
    },
    "datasets": {
        **{
            name: f"parts:{name}"
            for name in ("Points", "Augmented", "Named", "Triples", "Pairs", "Regression", "Stream", "Short")
        },
        "Ready": "parts:ready",
        "OtherNet": "other:Net",
        "Inner": "other:Box.Inner",
    },
    "tasks": {
        "Mine": "parts:Task",
        "Priced": "parts:Priced",
        "Rare": "parts:Rare",
        "Steps": "parts:Steps",
        "Silent": "parts:Silent",
        "NowAndThen": "parts:NowAndThen",
        "InTurns": "parts:InTurns",
        "ByName": "parts:ByName",
        "OurTask": "needs_us:OurTask",
    },
    "hooks": {"Foreign": "parts:Hook"},
    "optimizers": {"Noting": "parts:Noting", "OurSGD": "needs_us:OurSGD"},
    "schedulers": {"Half": "parts:Half", "Lifted": "parts:Lifted", "values": "main:values"},
    "constructors": {"Odd": "needs_us:Odd", "Sgd": "needs_us:Sgd"},
}
OTHER = """
    from parts import Net as order
    from parts import Net as sum
    from parts import Net as train
    from parts import Points


    class Net(Points): ...


    class Box:
        class Inner(Points): ...
"""
MAIN = "from parts import Half as values\nfrom parts import Net as order\n"
JOB = """
    [job]
    name = "mine"
    device = "cpu"
    seed = 3
    [model]
    type = "Net"
    [task]
    type = "Classification"
    [train_dataloader]
    batch_size = 16
    shuffle = true
    dataset = { type = "Points" }
    [val_dataloader]
    batch_size = 40
    dataset = { type = "Points", n = 50, seed = 1 }
    [train_cfg]
    max_epochs = 2
    [optim_wrapper.optimizer]
    type = "AdamW"
    lr = 0.01
    [log]
    interval = 2
"""
FLOAT16 = ('optim_wrapper.type="AmpOptimWrapper"', 'optim_wrapper.dtype="float16"')
LBFGS = 'optim_wrapper.optimizer={type="LBFGS",lr=0.1,max_iter=3}'
HEAD = '{match={names=["head"]},optimizer={type="SGD",lr=0.1,momentum=0.9}}'
STEM = '{match={names=["stem.weight"]},optimizer={type="RMSprop",lr=0.001}},{match={names=["stem"]},optimizer={type="Adagrad"}}'
NORM = '{match={types=["LayerNorm"]},optimizer={type="Adam",lr=0.001}}'
PLATEAUS = (
    '{type="ReduceOnPlateauWeightDecay",monitor="loss",patience=0,threshold=0.9}',
    '{type="ReduceOnPlateauLR",monitor="accuracy",rule="greater",patience=0,begin="20%",end=3}',
    '{type="CosineAnnealingWeightDecay",eta_min=0.001,by_epoch=false}',
    '{type="CosineAnnealingLR",eta_min=0.001,by_epoch=false}',
)
NESTEROV = [
    f'"stages.{name}"={{nesterov=true}}'
    for name in ("0.0.0.weight", "0.0.1.weight", "0.1.1.bias", "1.0.0.weight", "1.1.0.bias")
]
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "rules and a frozen model": ("model.frozen=true", "optim_wrapper.paramwise_cfg={norm_decay_mult=0,bias_lr_mult=2}"),
    "frozen by a rule": (
        "optim_wrapper.paramwise_cfg={custom_keys={stem={freeze=true},norm={freeze=true},head={lr_mult=0.1}}}",
    ),
    "options of a rule": ('optim_wrapper.paramwise_cfg.custom_keys={"re:.*weight"={lr=0.5,betas=[0.5,0.9]}}',),
    "one group with options of its own": ("optim_wrapper.paramwise_cfg.lr_mult=0.5",),
    "three groups": ("optim_wrapper.paramwise_cfg.custom_keys={stem={lr_mult=0.1},head={weight_decay=0.0}}",),
    "a learning rate of its own": ("optim_wrapper.paramwise_cfg.custom_keys={head={lr=0.05}}",),
    "a learning rate of its own that is also a multiple, or the job's": (
        "optim_wrapper.paramwise_cfg.custom_keys={head={lr=0.005},norm={lr=0.01},stem={lr_mult=0.5}}",
    ),
    "a learning rate of their own for all": (
        'optim_wrapper.paramwise_cfg.custom_keys={"re:.*"={lr=0.005}}',
        'param_scheduler={type="LinearLR"}',
    ),
    "options that are true or false": (
        'optim_wrapper.optimizer={type="SGD",lr=0.1,momentum=0.9}',
        "optim_wrapper.paramwise_cfg={custom_keys={head={nesterov=true},norm={lr_mult=0.1},stem={weight_decay=0.1}}}",
    ),
    "options that are true, but for some": (
        'optim_wrapper.optimizer={type="SGD",lr=0.1,momentum=0.9,nesterov=true}',
        'optim_wrapper.paramwise_cfg.custom_keys={"re:.*(stem|head).*"={nesterov=false},norm={lr_mult=3}}',
    ),
    "options that are true for a list of names": (
        'model={type="Deep"}',
        'optim_wrapper.optimizer={type="SGD",lr=0.1,momentum=0.9}',
        f"optim_wrapper.paramwise_cfg.custom_keys={{{','.join(NESTEROV)},head={{lr_mult=0.3,weight_decay=0.1}}}}",
    ),
    "an option that is no number": ('optim_wrapper.optimizer={type="Noting",lr=1,note=[nan,inf,{a=nan}]}',),
    "arguments that are no names of Python": (
        'model={type="PointTaker","a-b"=1,class="x",function=1979-05-27T07:32:00Z,name=[1979-05-27,07:32:00]}',
    ),
    "a constructor that needs optimctl": ('optim_wrapper.constructor="Odd"',),
    "layers in stages": (
        'model={type="Deep"}',
        'optim_wrapper.constructor="LayerDecayOptimWrapperConstructor"',
        "optim_wrapper.paramwise_cfg={decay_rate=0.7,bias_lr_mult=2,norm_decay_mult=0}",
    ),
    "layers, and one with a learning rate of its own": (
        'model={type="Deep"}',
        'optim_wrapper.constructor="LayerDecayOptimWrapperConstructor"',
        "optim_wrapper.paramwise_cfg={decay_rate=0.7,bias_lr_mult=2,custom_keys={head={lr=0.01}}}",
    ),
    "bfloat16": ('optim_wrapper.type="AmpOptimWrapper"', "optim_wrapper.clip_grad={max_norm=1.0}"),
    "float16, whose first steps are skipped": (*FLOAT16, 'optim_wrapper.optimizer={type="SGD",lr=0.1,momentum=0.9}'),
    "float16 at a fixed scale": (
        *FLOAT16,
        "optim_wrapper.loss_scale=512",
        'optim_wrapper.clip_grad={type="value",clip_value=0.1}',
    ),
    "float16 with averages": (
        *FLOAT16,
        "optim_wrapper.loss_scale={init_scale=1e20,growth_interval=3}",
        "hooks.EMA={decay=0.9}",
        "optim_wrapper.accumulative_counts=2",
    ),
    "the precision of the device": ('optim_wrapper.type="AmpOptimWrapper"', 'job.device="auto"'),
    "a closure": (LBFGS,),
    "a closure over windows": (
        LBFGS,
        "optim_wrapper.accumulative_counts=4",
        "optim_wrapper.clip_grad={max_norm=1.0}",
        "log.interval=1",
    ),
    "averages of a closure's steps": (LBFGS, "hooks.EMA={decay=0.9}"),
    "averages of a closure's steps over windows": (
        LBFGS,
        "hooks.EMA={decay=0.9}",
        "optim_wrapper.accumulative_counts=4",
    ),
    "another closure": ('optim_wrapper.optimizer={type="SAM",lr=0.01}', "optim_wrapper.accumulative_counts=2"),
    "a closure in bfloat16": (LBFGS, 'optim_wrapper.type="AmpOptimWrapper"'),
    "a closure of the model's own losses": (
        LBFGS,
        'model={type="OwnLoss",named=true}',
        'task={type="ModelLoss"}',
        'train_dataloader.dataset={type="Named"}',
        'val_dataloader.dataset={type="Named"}',
    ),
    "the model's own loss": ('model={type="OwnLoss"}', 'task={type="ModelLoss"}'),
    "train and eval of an optimizer": (
        'optim_wrapper.optimizer={type="ScheduleFreeAdamW",lr=0.01}',
        'checkpoint={save_best="loss",interval=2}',
    ),
    "options whose names would be code": (
        'optim_wrapper.optimizer={type="SAM",base_optimizer="AdaBound",lr=0.1,"x\\":print(),\\"y"=1,"two words"=3}',
        'optim_wrapper.paramwise_cfg.custom_keys={weight={"x\\":print(),\\"y"=2,"two words"=4},stem={"two words"=5}}',
        'job.name="100%(prog)d"',
    ),
    "a graph of the gradients": ('optim_wrapper.optimizer={type="SophiaH",lr=0.01}',),
    "clipping, all options": ('optim_wrapper.clip_grad={max_norm=0.5,norm_type="inf",error_if_nonfinite=true}',),
    "averages": (
        "hooks.EMA={decay=0.9,begin=4,interval=3,warmup=true,update_buffers=true}",
        'checkpoint.save_best="accuracy"',
    ),
    "averages of a buffer that is made anew": (
        'model={type="Centred"}',
        "hooks.EMA={decay=0.5,update_buffers=true}",
    ),
    "several early ends": (
        'hooks.EarlyStopping={metric="odd",patience=9}',
        'hooks.One={type="EarlyStopping",metric="loss",patience=1,min_delta=10}',
        'hooks.Other={type="EarlyStopping",metric="loss",patience=7,min_delta=0.001}',
        'task={type="Rare"}',
        "train_cfg.max_epochs=6",
    ),
    "an early end by metrics that are infinite": (
        'hooks.EarlyStopping={metric="odd",patience=2}',
        'hooks.Other={type="EarlyStopping",metric="even",patience=2,min_delta=0.5}',
        'task={type="Rare"}',
        "train_cfg.max_epochs=6",
    ),
    "the best of a metric that is infinite at first": (
        'task={type="Rare"}',
        'checkpoint.save_best="odd"',
        "train_cfg.max_epochs=4",
    ),
    "an early end": (
        'hooks.EarlyStopping={metric="loss",patience=1,min_delta=0.5}',
        "train_cfg.max_epochs=9",
        "checkpoint.interval=4",
        "train_cfg.val_interval=2",
    ),
    "trackers": ("hooks.CSV={}", "hooks.TensorBoard={}", 'param_scheduler={type="ExponentialLR",gamma=0.9}'),
    "a table of losses that nobody has announced": ('task={type="Priced"}', "hooks.CSV={}", "hooks.TensorBoard={}"),
    "a task of a package": ('task={type="Mine",weight=2.0}', "checkpoint.keep=1"),
    "a task with several losses": ('task={type="Priced"}', "optim_wrapper.accumulative_counts=2"),
    "a task that steps": (
        'task={type="Steps"}',
        "optim_wrapper.accumulative_counts=4",
        "optim_wrapper.clip_grad={max_norm=1.0}",
    ),
    "a task that steps and returns nothing": ('task={type="Silent"}', "hooks.EMA={decay=0.9}"),
    "a task that steps and returns its loss now and then": ('task={type="NowAndThen"}',),
    "averages of the steps of a task": (
        'task={type="Steps"}',
        "optim_wrapper.accumulative_counts=4",
        "hooks.EMA={decay=0.9}",
    ),
    "averages before the first step": ("optim_wrapper.accumulative_counts=7", "hooks.EMA={decay=0.9}"),
    "one optimizer by name": (
        'model={type="Report"}',
        'task={type="ByName"}',
        "hooks.EMA={decay=0.9}",
        'optim_wrapper={report={optimizer={type="SGD",lr=0.1},accumulative_counts=4}}',
    ),
    "optimizers that step in turns": (
        'model={type="Report"}',
        'task={type="InTurns"}',
        "hooks.EMA={decay=0.9}",
        'optim_wrapper={report={optimizer={type="SGD",lr=0.1}},loss={optimizer={type="AdamW",lr=0.01}}}',
    ),
    "optimizers of parts whose names are no variables": (
        'model={type="Report",names=["__x","DataLoader","é"]}',
        'task={type="InTurns",names=["__x","DataLoader","é"]}',
        'optim_wrapper={__x={optimizer={type="SGD",lr=0.1}},DataLoader={optimizer={type="SGD",lr=0.1}},"é"={optimizer={type="AdamW"}}}',
    ),
    "schedules of optimizers with long names": (
        'model={type="Report",names=["generator","discriminator"]}',
        'task={type="InTurns",names=["generator","discriminator"]}',
        'optim_wrapper={generator={optimizer={type="SGD",lr=0.1}},discriminator={optimizer={type="AdamW",lr=0.01}}}',
        'param_scheduler={type="ExponentialLR",gamma=0.9,by_epoch=false}',
    ),
    "optimizers of parts with odd names": (
        """model={type="Report",names=['b\\s','q"u and a name that goes on for longer than anybody would write by hand']}""",
        """task={type="InTurns",names=['b\\s','q"u and a name that goes on for longer than anybody would write by hand']}""",
        """optim_wrapper.'b\\s'={optimizer={type="SGD",lr=0.1},paramwise_cfg={bias_lr_mult=2}}""",
        """optim_wrapper.'q"u and a name that goes on for longer than anybody would write by hand'={optimizer={type="AdamW"}}""",
    ),
    "a task that steps, in bfloat16": ('task={type="Steps"}', 'optim_wrapper.type="AmpOptimWrapper"'),
    "data without a length": (
        'train_dataloader.dataset={type="Stream"}',
        "train_dataloader.shuffle=false",
        "train_cfg.epoch_length=5",
    ),
    "data that is shorter than it says": (
        'train_dataloader.dataset={type="Short"}',
        "train_dataloader.shuffle=false",
        "train_cfg.max_epochs=3",
    ),
    "batches that are named tuples": (
        'train_dataloader.dataset={type="Pairs"}',
        'val_dataloader.dataset={type="Pairs"}',
    ),
    "random data that brings its own collate_fn": ('train_dataloader.dataset={type="Augmented"}',),
    "processes that load data": ('train_dataloader.dataset={type="Augmented"}', "train_dataloader.num_workers=2"),
    "validation in another order": ("val_dataloader.shuffle=true", "val_dataloader.drop_last=true"),
    "no validation": ("job.deterministic=true",),
    "several inputs": (
        'model={type="Two"}',
        'train_dataloader.dataset={type="Triples"}',
        'val_dataloader.dataset={type="Triples"}',
    ),
    "several inputs in a closure": (
        LBFGS,
        'model={type="Two"}',
        'train_dataloader.dataset={type="Triples"}',
        'val_dataloader.dataset={type="Triples"}',
    ),
    "metrics of each element": (
        'task={type="Supervised",metrics=["mean_absolute_error","mean_squared_error"]}',
        'train_dataloader.dataset={type="Regression"}',
        'val_dataloader.dataset={type="Regression",n=30}',
    ),
    "a loss with weights": (
        'task.loss={type="CrossEntropyLoss",weight=[1,2,0.5],label_smoothing=0.1}',
        'task.metrics=["accuracy","top5_accuracy"]',
    ),
    "a summed loss": ('task.loss={type="CrossEntropyLoss",reduction="sum"}',),
    "a number of iterations": (
        "train_cfg={max_iters=11,epoch_length=4}",
        'param_scheduler={type="MultiStepLR",milestones=[1,2]}',
        "optim_wrapper.accumulative_counts=3",
    ),
    "schedules of several options": (
        'optim_wrapper.optimizer={type="Adam",lr=0.01}',
        'param_scheduler=[{type="LinearMomentum",by_epoch=false},{type="LinearParamScheduler",param_name="betas[1]",start_factor=0.9}]',
    ),
    "routes": (
        'optim_wrapper.constructor.type="Routes"',
        f"optim_wrapper.constructor.routes=[{HEAD},{NORM}]",
        'param_scheduler=[{type="OneCycleLR",eta_max=0.1,by_epoch=false},{type="LinearMomentum",start_factor=0.5}]',
        "optim_wrapper.clip_grad={max_norm=1.0}",
    ),
    "four routes": (
        'optim_wrapper.constructor.type="Routes"',
        f"optim_wrapper.constructor.routes=[{HEAD},{NORM},{STEM}]",
        "optim_wrapper.clip_grad={max_norm=1.0}",
    ),
    "metrics that reduce": (
        'param_scheduler=[{type="ReduceOnPlateauLR",monitor="loss",patience=0,threshold=0.9},{type="CosineAnnealingLR",eta_min=0.001}]',
        "train_cfg.max_epochs=4",
    ),
    "metrics that reduce, after a pause": (
        'param_scheduler={type="ReduceOnPlateauLR",monitor="accuracy",rule="greater",patience=0,cooldown=1,threshold_rule="abs"}',
        "train_cfg.max_epochs=5",
    ),
    "one cycle of an entry of betas": ('param_scheduler={type="OneCycleMomentum",eta_max=0.95,by_epoch=false}',),
    "metrics that reduce what others move": (
        'optim_wrapper.optimizer={type="SGD",lr=0.01,momentum=0.9,weight_decay=0.01}',
        f"param_scheduler=[{','.join(PLATEAUS)}]",
        "optim_wrapper.paramwise_cfg={norm_decay_mult=0}",
        "train_cfg.max_epochs=4",
    ),
    "milestones as shares": (
        'param_scheduler={type="MultiStepLR",milestones=["60%","85%"],begin="10%",by_epoch=false}',
    ),
    "a table": (
        'param_scheduler=[{type="PolynomialLR",total_iters=5,by_epoch=false},{type="LinearLR"}]',
        "train_cfg={max_epochs=3,epoch_length=5}",
    ),
    "a schedule of a package": ('param_scheduler={type="Half",half_life=2,by_epoch=false,begin=3}',),
    "a schedule of a package that adds": (
        'param_scheduler=[{type="Lifted",points=["10%",3],by_epoch=false},{type="LinearLR"}]',
    ),
    "a schedule of torch": (
        'param_scheduler={type="CyclicLR",base_lr=0.001,max_lr=0.1,step_size_up=3,by_epoch=false}',
    ),
    "a variable's name": ('model={type="order"}',),
    "a name of Python's own": ('model={type="sum"}',),
    "a schedule with a variable's name": ('param_scheduler={type="values",half_life=2,by_epoch=false,begin=3}',),
    "a module's name": ('model={type="Head"}', 'train_dataloader.dataset={type="OtherNet"}'),
    "names that are taken": (
        'model={type="train"}',
        'train_dataloader.dataset={type="OtherNet",name="a \\"name\\" that\'s long enough for a line of its own, and for some more"}',
        'val_dataloader.dataset={type="Inner"}',
        'job.name="a \'b\' \\"c\\""',
    ),
    "a long name": ('job.name="faster_rcnn_r50_fpn_1x_coco_v2"',),
    "long names": (f'job.name="{"many words " * 20}here"', f'job.work_dir="{"runs/of/mine/" * 8}"'),
    "initial weights": ('job.load_from={path="start.pt",prefix="backbone."}',),
    "initial weights, some of another shape": ('job.load_from="other.safetensors"',),
}
"""What is set, by what it shows."""
UNSET = {
    "no validation": ["val_dataloader"],
    "one optimizer by name": ["optim_wrapper.optimizer"],
    "optimizers that step in turns": ["optim_wrapper.optimizer"],
    "optimizers of parts whose names are no variables": ["optim_wrapper.optimizer"],
    "schedules of optimizers with long names": ["optim_wrapper.optimizer"],
    "optimizers of parts with odd names": ["optim_wrapper.optimizer"],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> Path:
    """A project with parts of its own, which is the working directory."""
    tables = "\n".join(
        f"[tool.optimctl.plugins.{kind}]\n" + "\n".join(f'{name} = "{place}"' for name, place in names.items())
        for kind, names in NAMES.items()
    )
    modules = {"parts": PARTS, "needs_us": NEEDS_US, "other": OTHER, "main": MAIN}
    folder = write_project(tmp_path / "project", f"[tool.optimctl]\n{tables}", modules)
    (folder / "job.toml").write_text(dedent(JOB), "utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("project")
def test_whatever_a_job_asks_for_the_script_does_as_the_run_does(tmp_path: Path) -> None:
    write_weights()
    jobs = {name: load_job("job.toml", settings, UNSET.get(name, ())) for name, settings in VARIANTS.items()}
    ready = (
        dedent(JOB)
        .replace("batch_size = 16\nshuffle = true\n", "")
        .replace('{ type = "Points" }', '{ type = "Ready" }')
    )
    Path("ready.toml").write_text(ready, "utf-8")
    jobs["a loader that is ready"] = load_job("ready.toml")
    assert differences(jobs, tmp_path / "made") == {}
    assert ruff_finds(tmp_path / "made") == ""


CHANGED: Mapping[str, tuple[str, ...]] = {
    "a warm-up and milestones": (
        'param_scheduler=[{type="LinearLR",by_epoch=false,end=5},{type="MultiStepLR",milestones=[1,4]}]',
    ),
    "shares of the run": (
        'param_scheduler=[{type="LinearLR",by_epoch=false,end="10%"},{type="PolyLR",begin="10%",by_epoch=false}]',
        "optim_wrapper.accumulative_counts=4",
    ),
    "an end that is the run's": (
        'param_scheduler=[{type="LinearLR",end=2},{type="CosineRestartLR",periods=[1,1],restart_weights=[1,1]}]',
    ),
    "rates of rules": (
        "optim_wrapper.paramwise_cfg={bias_lr_mult=2,custom_keys={head={lr=0.05},norm={lr_mult=0.1}}}",
        'param_scheduler={type="OneCycleLR",eta_max=0.1,by_epoch=false}',
    ),
}
"""Jobs whose scripts are told another length, learning rate and seed."""


@pytest.mark.usefixtures("project")
def test_a_script_with_other_values_is_the_job_with_them(tmp_path: Path) -> None:
    exported, jobs, arguments = {}, {}, {}
    for name, own in CHANGED.items():
        for epochs in (1, 5):
            other = [f"train_cfg.max_epochs={epochs}", "optim_wrapper.optimizer.lr=0.03", "job.seed=9"]
            key = f"{name}, {epochs} epochs"
            exported[key], jobs[key] = load_job("job.toml", own), load_job("job.toml", [*own, *other])
            arguments[key] = ["--epochs", str(epochs), "--lr", "0.03", "--seed", "9"]
    assert differences(jobs, tmp_path / "made", exported, arguments) == {}


@pytest.mark.usefixtures("project")
def test_a_script_refuses_a_length_that_its_schedule_is_not_written_for(tmp_path: Path) -> None:
    job = load_job("job.toml", ['param_scheduler={type="CosineAnnealingLR",T_max=2}'])
    longer = load_job("job.toml", ["train_cfg.max_epochs=3"])
    found = differences({"": longer}, tmp_path / "made", {"": job}, {"": ["--epochs", "3"]})
    assert "SystemExit: 2" in found[""]
    assert 'parser.error("the schedule is written for at most 2 epochs")' in export_python(Source(job))


def write_weights() -> None:
    """Two files that a job may start from."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    state = resolve("models", "Net", ()).object().state_dict()
    torch.save(
        {"state_dict": {f"backbone.{name}": value for name, value in state.items()} | {"x": torch.ones(2)}}, "start.pt"
    )
    save_file({**state, "head.weight": torch.ones(5, 16)}, "other.safetensors")


# --- what stands in the way


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ['task={type="OurTask"}'],
            (
                "task.type: cannot be exported: OurTask comes from needs_us, which needs optimctl (needs_us.py:2); "
                "move it to a module that does not, or import it there under `if TYPE_CHECKING`"
            ),
        ),
        (
            ['optim_wrapper.optimizer={type="OurSGD",lr=0.1}'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: OurSGD comes from needs_us, which needs optimctl (needs_us.py:2); "
                "move it to a module that does not, or import it there under `if TYPE_CHECKING`"
            ),
        ),
        (
            ["hooks.Foreign={}"],
            (
                "hooks.Foreign: cannot be exported: the hook Hook is called with optimctl's run, which a script does not have; "
                "take it out, with --unset hooks.Foreign"
            ),
        ),
        (
            ['optim_wrapper.constructor="Sgd"'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: the constructor makes a SGD of it; "
                'name that one, as in type = "SGD", or let the constructor keep what the job names'
            ),
        ),
        (
            ['optim_wrapper.constructor={type="Sgd",names=["stem","head"]}', 'task={type="Steps"}'],
            (
                "optim_wrapper.constructor: cannot be exported: its constructor makes optimizers that the job does not name; "
                "take it out, with --unset optim_wrapper.constructor, or let Routes make them, which has them in the job"
            ),
        ),
        (
            ['optim_wrapper.constructor={type="Sgd",names=["tail"]}', 'task={type="Steps"}'],
            (
                "optim_wrapper.constructor: cannot be exported: its constructor calls an optimizer 'tail', and the model has no such part; "
                "let it call each by the path of the sub-module that it trains"
            ),
        ),
        (
            [*FLOAT16, 'param_scheduler={type="LinearLR",by="update"}'],
            "param_scheduler.by: cannot be exported: LinearLR counts updates, and float16 may skip some; let it count iterations",
        ),
        (
            [*FLOAT16, "optim_wrapper.loss_scale=512", "hooks.EMA={}"],
            (
                "hooks.EMA: cannot be exported: with a fixed loss_scale, a script does not see which updates float16 has skipped; "
                "let it be dynamic, with --unset optim_wrapper.loss_scale"
            ),
        ),
        (
            [*FLOAT16, 'task={type="Steps"}'],
            (
                "optim_wrapper.dtype: cannot be exported: float16 with several optimizers, or with a task that takes the steps itself; "
                'take bfloat16, with --set optim_wrapper.dtype="bfloat16"'
            ),
        ),
        (
            [LBFGS, 'task={type="Steps"}'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: the task takes the steps itself, and this optimizer evaluates the loss "
                'itself; take another optimizer, as with --set optim_wrapper.optimizer.type="AdamW", or a task without train_step'
            ),
        ),
        (
            [
                'task={type="Steps"}',
                'optim_wrapper.constructor.type="Routes"',
                f"optim_wrapper.constructor.routes=[{HEAD}]",
            ],
            (
                "optim_wrapper.constructor: cannot be exported: the task takes the steps itself, and a script has no wrapper over several "
                "optimizers that it could hand to it; take one optimizer, with --unset optim_wrapper.constructor, or a task without "
                "train_step"
            ),
        ),
        (
            [
                'param_scheduler=[{type="CosineAnnealingWarmRestarts",T_0=2,by_epoch=false},{type="LinearLR"}]',
                "train_cfg.max_epochs=50",
            ],
            (
                "param_scheduler.0.type: cannot be exported: CosineAnnealingWarmRestarts is no schedule of optimctl's own, "
                "and the table of its 300 values would be too long for a script; let it count epochs, or take one of optimctl's own"
            ),
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_cannot_be_exported_is_named(settings: list[str], told: str) -> None:
    with pytest.raises(JobError) as raised:
        export_python(Source(load_job("job.toml", settings)))
    (problem,) = raised.value.problems
    assert f"{key_text(problem.key)}: {problem.message}" == told


@pytest.mark.usefixtures("project")
def test_all_that_stands_in_the_way_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text('extends = "job.toml"\n[task]\ntype = "OurTask"\n[hooks.Foreign]\n', "utf-8")
    assert exit_code(["export", "python", "bad.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    places = [line.partition(" cannot")[0] for line in err.splitlines() if "cannot be exported" in line]
    assert places == ["bad.toml:3:8: task.type:", "bad.toml:4:8: hooks.Foreign:"]


def test_a_job_without_data_is_none_to_run(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('[optim_wrapper.optimizer]\ntype = "SGD"\n', "utf-8")
    with pytest.raises(JobError) as raised:
        export_python(Source(load_job(tmp_path / "job.toml")))
    found = [problem.key for problem in raised.value.problems]
    assert found == [("model",), ("task",), ("train_dataloader",), ("train_cfg",)]


def test_a_wrapper_of_somebody_elses_is_not_known(site: Site, tmp_path: Path) -> None:
    module = "from optimctl.optim import OptimWrapper\n\nclass Wrapper(OptimWrapper): ...\n"
    site.install("wrappers", {"optim_wrappers": {"Wrapper": "wrappers:Wrapper"}}, {"wrappers": module})
    with pytest.raises(
        JobError, match="cannot be exported: Wrapper is a wrapper of its own kind; take one of optimctl"
    ):
        export_python(Source(load_job(write_blobs(tmp_path), ['optim_wrapper.type="Wrapper"'])))


# --- schedules, to the last bit

RUN = RunLength(epoch_length=7, max_epochs=6, accumulative_counts=3)
TABLES: list[dict[str, Any]] = [
    {"type": "ConstantLR", "factor": 0.3, "by_epoch": False, "begin": 2, "end": 6},
    {"type": "ConstantLR", "factor": 0, "end": 2},
    {"type": "CosineAnnealingLR"},
    {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min": 0.01},
    {"type": "CosineAnnealingLR", "by_epoch": False, "eta_min_ratio": 0.1, "begin": "20%"},
    {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 5, "eta_min": 0.01},
    {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": "30%", "eta_min_ratio": 0.2, "begin": 3},
    {"type": "CosineAnnealingLR", "begin": 1, "end": 3, "convert_to_iter_based": True},
    {"type": "CosineAnnealingLR", "T_max": 3, "end": 3},
    {"type": "ConstantLR", "factor": 0.3},
    {"type": "CosineRestartLR", "periods": [5, 9], "restart_weights": [1, 0.5], "by_epoch": False},
    {"type": "CosineRestartLR", "periods": [1, 3], "restart_weights": [0.9, 0.5], "begin": 1, "eta_min": 0.001},
    {"type": "CosineRestartLR", "periods": [2, 4], "restart_weights": [1, 1]},
    {"type": "ExponentialLR", "gamma": 0.9},
    {"type": "ExponentialLR", "gamma": 0.97, "by_epoch": False, "begin": 2, "end": 20},
    {"type": "InverseSqrtLR", "timescale": 4, "by_epoch": False, "begin": 4},
    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 5},
    {"type": "LinearLR", "start_factor": 0, "by_epoch": False, "end": "25%"},
    {"type": "LinearLR", "start_factor": 0, "end": 2},
    {"type": "LinearLR", "start_factor": 0.5, "end_factor": 0, "begin": 1},
    {"type": "LinearLR", "by": "update"},
    {"type": "LinearMomentum", "end": 6},
    {"type": "MultiStepLR", "milestones": [0, 2, 2, 5], "gamma": 0.5},
    {"type": "MultiStepLR", "milestones": [4, 9]},
    {"type": "MultiStepLR", "milestones": ["50%", "80%"], "by_epoch": False},
    {"type": "OneCycleLR", "eta_max": 0.2, "by_epoch": False},
    {
        "type": "OneCycleLR",
        "eta_max": 0.2,
        "three_phase": True,
        "anneal_strategy": "linear",
        "by_epoch": False,
        "begin": 4,
    },
    {"type": "OneCycleLR", "eta_max": 0.2, "total_steps": 4},
    {"type": "PolyLR", "power": 0.9, "by_epoch": False},
    {"type": "PolyLR", "power": 2, "eta_min": 0.001, "by_epoch": False, "begin": 3, "end": 20},
    {"type": "PolyLR", "power": 0.5, "end": "70%"},
    {"type": "PolyLR", "end": 6},
    {"type": "QuadraticWarmupLR", "by_epoch": False, "begin": 3, "end": 9},
    {"type": "StepLR", "step_size": 3, "gamma": 0.5, "by_epoch": False, "begin": 4},
    {
        "type": "WarmupStableDecayLR",
        "warmup": "10%",
        "decay": "30%",
        "by_epoch": False,
        "decay_type": "sqrt",
        "end_factor": 0.05,
    },
    {"type": "WarmupStableDecayLR", "warmup": 0, "decay": 2, "decay_type": "linear"},
]
BASES = (0.1, 0.05, 0.0)


def scheduled(tables: list[dict[str, Any]]) -> Scheduled:
    placed = read_schedules(tables, RUN)
    return Scheduled("schedule_lr", Slot("lr"), placed, tables, 0.1, BASES, RUN, ("param_scheduler",))


def check_exact(one: Scheduled, factors: Factors) -> None:
    """The values of each group are the run's, to the last bit."""
    each = {"epoch": 7, "update": 3}.get(factors.axis, 1)
    pairs = np.asarray(run_function(factors, one)).reshape(-1, 2 if factors.is_affine else 1)
    pairs = np.repeat(pairs, each, axis=0)[:42]
    for base in BASES:
        added = pairs[:, 1] if factors.is_affine and base else 0.0
        np.testing.assert_array_equal(pairs[:, 0] * base + added, one.values().values(base))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: " ".join(map(str, table.values())))
def test_each_schedule_is_written_out_and_has_the_values_of_the_run(table: dict[str, Any]) -> None:
    one = scheduled([table])
    factors = factors_of(one, Imports())
    assert factors is not None
    assert not factors.is_table
    check_exact(one, factors)
    assert factors.fits == {"shorter", "longer"}
    assert agrees(factors, replace(one, reference=0.3, bases=(0.3, 0.6)))


@settings(max_examples=60)
@given(st.lists(st.sampled_from(TABLES), min_size=2, max_size=3))
def test_schedules_that_overlap_have_the_values_of_the_run(tables: list[dict[str, Any]]) -> None:
    one = scheduled(tables)
    factors = factors_of(one, Imports())
    assert factors is not None
    assert not factors.is_table
    check_exact(one, factors)
    assert factors.fits == {"shorter", "longer"}


@pytest.mark.parametrize(
    ("table", "fits"),
    [
        ({"type": "CosineAnnealingLR", "T_max": 6}, {"shorter"}),
        ({"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"shorter", "longer"}),
        ({"type": "OneCycleLR", "eta_max": 0.2, "end": 6}, {"shorter", "longer"}),
    ],
)
def test_a_schedule_knows_for_which_other_runs_it_is_right(table: dict[str, Any], fits: set[str]) -> None:
    factors = factors_of(scheduled([table]), Imports())
    assert factors is not None
    assert factors.fits == fits


def test_a_table_is_right_for_shorter_runs_only() -> None:
    factors = factors_of(
        scheduled([{"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"type": "LinearLR", "end": 3}]), Imports()
    )
    assert factors is not None
    assert factors.is_table
    assert factors.fits == {"shorter"}


def test_a_schedule_reads_as_its_formula() -> None:
    assert function(script_of("examples/digits.toml"), "schedule_lr") == dedent(
        '''\
        def schedule_lr(epochs: int, epoch_length: int, iterations: int) -> list[float]:
            """What a group's own learning rate is multiplied by, iteration by iteration."""

            def warmup(step: int) -> float:
                """A straight line from 0.001 to 1.0 at the last step."""
                start, end = 0.001, 1.0
                return start + (end - start) / 49 * step

            def cosine(step: int) -> float:
                """Half a cosine, from 1 to 0 at step epochs; a squared sine is exact near 0 too."""
                half = math.sin(math.pi / 2 * (epochs - step) / epochs)
                return half * half

            # Step by step, as the run has it: a closed form would differ in the last bit.
            factors = [warmup(0)]
            for iteration in range(1, iterations):
                epoch = iteration // epoch_length
                change = 1.0
                if iteration < 50:
                    change *= warmup(iteration) / warmup(iteration - 1)
                if iteration % epoch_length == 0:
                    change *= cosine(epoch) / cosine(epoch - 1)
                factors.append(factors[-1] * change)
            return factors
        '''
    )


def test_a_short_list_of_torchs_schedules_is_a_table(tmp_path: Path) -> None:
    tables = '[{type="CosineAnnealingWarmRestarts",T_0=4},{type="LinearLR",start_factor=0.5}]'
    script = export_python(Source(load_job(write_blobs(tmp_path), [f"param_scheduler={tables}"])))
    values = optimctl.preview_param_schedulers(
        [{"type": "CosineAnnealingWarmRestarts", "T_0": 4}, {"type": "LinearLR", "start_factor": 0.5}],
        {"lr": 1.0},
        epoch_length=7,
        max_epochs=3,
    )
    listed = function(script, "schedule_lr").partition("return ")[2]
    assert ast.literal_eval(listed) == pytest.approx(values["lr"][::7].tolist())


# --- groups


def test_groups_are_told_apart_as_a_person_would() -> None:
    assert function(script_of("examples/digits.toml"), "make_groups") == dedent(
        '''\
        def make_groups(model: nn.Module) -> list[dict[str, Any]]:
            """Parameter groups: one for each set of options."""
            decay, no_decay = [], []
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    no_decay.append(parameter)
                else:
                    decay.append(parameter)
            return [{"params": decay}, {"params": no_decay, "weight_decay": 0.0}]
        '''
    )


def test_where_there_are_many_groups_each_option_says_its_rule() -> None:
    assert function(script_of("examples/customize_optimizer/19_my_constructor.toml"), "make_groups") == dedent(
        '''\
        def make_groups(model: nn.Module, lr: float) -> list[dict[str, Any]]:
            """Parameter groups: one for each set of options."""
            groups: dict[Any, dict[str, Any]] = {}
            for name, parameter in model.named_parameters():
                options = {
                    "lr": lr * 0.1 if "head" in name else lr,
                    "weight_decay": 0.0 if parameter.ndim < 2 else 0.0001,
                }
                group = groups.setdefault(tuple(options.values()), {"params": [], **options})
                group["params"].append(parameter)
            return list(groups.values())
        '''
    )


def test_each_of_several_optimizers_has_its_share_of_the_model() -> None:
    script = script_of("examples/muon.toml")
    assert function(script, "split_parameters") == dedent(
        '''\
        def split_parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], ...]:
            """What muon and adamw train, by the names of the parameters."""
            muon: dict[str, nn.Parameter] = {}
            adamw: dict[str, nn.Parameter] = {}
            for name, parameter in model.named_parameters():
                if "blocks." in name and parameter.ndim == 2:
                    muon[name] = parameter
                else:
                    adamw[name] = parameter
            return muon, adamw
        '''
    )
    assert function(script, "make_muon") == dedent(
        '''\
        def make_muon(model: nn.Module, lr: float) -> torch.optim.Optimizer:
            """Muon over its share of the parameters."""
            muon, _ = split_parameters(model)
            return torch.optim.Muon(muon.values(), lr=lr, weight_decay=0.05)
        '''
    )
    assert "    adamw = make_adamw(model, args.adamw_lr)\n" in function(script, "train")


@pytest.mark.parametrize(
    ("rules", "rates"),
    [
        ("{head={lr=0.05}}", [0.2, 0.05]),
        ("{head={lr=0.01}}", [0.2, 0.01]),  # the job's own, at first
        ("{head={lr=0.005},stem={lr_mult=0.5}}", [0.1, 0.2, 0.005]),  # what is one group at first
        ("{head={lr_mult=5}}", [0.2, 1.0]),
    ],
)
@pytest.mark.usefixtures("project")
def test_another_learning_rate_leaves_alone_what_a_rule_gives_as_a_number(rules: str, rates: list[float]) -> None:
    script = export_python(Source(load_job("job.toml", [f"optim_wrapper.paramwise_cfg.custom_keys={rules}"])))
    names: dict[str, Any] = {}
    exec(script, names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == rates


@pytest.mark.usefixtures("project")
def test_another_learning_rate_leaves_alone_what_a_constructor_gives_as_a_number() -> None:
    script = export_python(Source(load_job("job.toml", ['optim_wrapper.constructor="Odd"'])))
    names: dict[str, Any] = {}
    exec(script, names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.02, 0.03, 0.04, 0.05}


@pytest.mark.parametrize("note", ["1979-05-27", "1979-05-27T07:32:00Z", "[1979-05-27T07:32:00-02:00,07:32:00]"])
@pytest.mark.usefixtures("project")
def test_an_optimizer_may_have_a_date_among_its_arguments(note: str) -> None:
    job = load_job("job.toml", [f'optim_wrapper.optimizer={{type="Noting",lr=0.1,note={note}}}'])
    names: dict[str, Any] = {}
    exec(export_python(Source(job)), names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert optimizer.defaults["note"] == job.plain()["optim_wrapper"]["optimizer"]["note"]


def test_a_very_large_learning_rate_is_written_as_a_formatter_would(tmp_path: Path) -> None:
    script = export_python(Source(load_job(write_blobs(tmp_path), ["optim_wrapper.optimizer.lr=1e30"])))
    assert 'parser.add_argument("--lr", type=float, default=1e30)' in script


def test_layers_are_counted_as_their_names_do() -> None:
    script = script_of("examples/layer_decay.toml")
    assert function(script, "layer_of") == dedent(
        '''\
        def layer_of(name: str) -> int:
            """The layer of a parameter: 0 is the input's, 5 the output's."""
            if name.startswith("blocks."):
                return int(name.split(".")[1]) + 1
            return 5 if name.startswith(("head.", "norm.")) else 0
        '''
    )
    assert '"lr": lr * 0.9 ** (5 - layer_of(name)),' in function(script, "make_groups")
    assert 'if parameter.ndim < 2 or name in ("cls_token", "pos_embed"):' in function(script, "weight_decay_of")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("examples/video_swin.toml", ['"lr": lr * 0.5 if "backbone" in name else lr,']),
        ("examples/video_tsm.toml", ['if name == "head.weight":', "return 5 * lr"]),
        ("examples/customize_optimizer/04_lr_mult.toml", ["lr=lr * 0.5,"]),
        ("examples/customize_optimizer/09_custom_keys.toml", ['{"params": head, "lr": lr * 0.1},']),
        ("examples/customize_optimizer/01_sgd.toml", ["model.parameters()"]),
        ("plugins/optimctl-pytorch-optimizer/examples/normuon.toml", ['[{"params": list(model.parameters())}],']),
    ],
)
def test_what_the_groups_of_examples_say(name: str, lines: list[str]) -> None:
    script = script_of(name)
    assert [line for line in lines if line not in script] == []


@pytest.mark.usefixtures("project")
def test_the_groups_of_a_constructor_that_needs_optimctl_are_told_by_names() -> None:
    script = export_python(Source(load_job("job.toml", ['optim_wrapper.constructor="Odd"'])))
    assert "needs_us" not in script
    assert '    if name == "stem.bias":\n        return 0.03\n' in function(script, "lr_of")


# --- the script as a whole


def test_the_command_line_has_what_one_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["export", "python", str(ROOT / "examples" / "gan.toml")]) == 0
    script = capsys.readouterr().out
    options = re.findall(r'"--([a-z-]+)"', function(script, "main"))
    assert options == ["seed", "device", "epochs", "generator-lr", "discriminator-lr", "work-dir"]
    head = f'"""Train `gan` with plain PyTorch.\n\nExported by optimctl {optimctl.__version__} from the job gan.toml;'
    assert script.startswith(head)


def test_a_run_gives_the_script_of_its_job(tmp_path: Path) -> None:
    job = load_job(write_blobs(tmp_path))
    run = optimctl.run(job, work_dir=tmp_path / "runs")
    scripts = [export_python(Source(one)).split('"""', 2)[2] for one in (job, load_job(run / "job.toml"))]
    assert scripts[0] == scripts[1]


def test_only_what_a_job_needs_is_imported(tmp_path: Path) -> None:
    script = export_python(Source(load_job(write_blobs(tmp_path))))
    modules = re.findall(r"^(?:import|from) (\S+)", script, re.MULTILINE)
    assert modules == ["argparse", "math", "pathlib", "typing", "torch", "torch", "torch.utils.data"]


@given(st.text(st.sampled_from("a\"'\\\n\té\x00 "), max_size=8))
def test_strings_are_written_as_themselves(value: str) -> None:
    assert eval(text(value)) == value


def test_strings_are_written_as_a_formatter_would(tmp_path: Path) -> None:
    parts = ("", "a", '"', "'", "\\", "\n\t", "é\x00")
    strings = [text("".join(three)) for three in itertools.product(parts, repeat=3)]
    script = tmp_path / "strings" / "script.py"
    script.parent.mkdir()
    lines = [f"string_{number} = {one}" for number, one in enumerate(strings)]
    script.write_text("\n".join(['"""Strings."""', "", *lines, ""]), "utf-8")
    assert ruff_finds(tmp_path) == ""
