"""Jobs of every sort, and the parts that they name: what exported scripts are tried on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import torch

from optimctl.export.python import export_python
from optimctl.export.source import Source
from optimctl.job.load import load_job
from optimctl.plugins import resolve
from tests.plugins_on_disk import write_project

ROOT = Path(__file__).parents[3]


def script_of(name: str, *overrides: str) -> str:
    return export_python(Source(load_job(ROOT / name, overrides)))


def function(script: str, name: str) -> str:
    """A function of a script, whole."""
    _, start, rest = script.partition(f"\ndef {name}(")
    assert start, name
    return f"def {name}(" + rest.partition("\n\n\n")[0] + "\n"


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


def make_project(folder: Path) -> Path:
    """A project with all these parts, and a job."""
    tables = "\n".join(
        f"[tool.optimctl.plugins.{kind}]\n" + "\n".join(f'{name} = "{place}"' for name, place in names.items())
        for kind, names in NAMES.items()
    )
    modules = {"parts": PARTS, "needs_us": NEEDS_US, "other": OTHER, "main": MAIN}
    write_project(folder, f"[tool.optimctl]\n{tables}", modules)
    (folder / "job.toml").write_text(dedent(JOB), "utf-8")
    return folder


def write_weights() -> None:
    """Two files that a job may start from."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    state = resolve("models", "Net", ()).object().state_dict()
    torch.save(
        {"state_dict": {f"backbone.{name}": value for name, value in state.items()} | {"x": torch.ones(2)}}, "start.pt"
    )
    save_file({**state, "head.weight": torch.ones(5, 16)}, "other.safetensors")
