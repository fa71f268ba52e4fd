"""Jobs with mistakes in them, each with all that is said about it; the plugins are those of ``conftest.py``."""

# ruff: noqa: E501
from __future__ import annotations

from typing import NamedTuple


class BadJob(NamedTuple):
    text: str
    problems: str
    """What is said, without the lines that an unknown plugin's message goes on with."""


BAD_JOBS = {
    "a section misspelt": BadJob(
        """\
[optim_wraper]
[train_confg]
max_epochs = 1
""",
        """\
job.toml:1:2: optim_wraper: unknown key; did you mean 'optim_wrapper'?
job.toml:2:2: train_confg: unknown key; did you mean 'train_cfg'?
""",
    ),
    "a section at the top that belongs in another": BadJob(
        """\
[optimizer]
type = "SGD"
[paramwise_cfg]
lr_mult = 1
""",
        """\
job.toml:1:2: optimizer: `optimizer` belongs in `optim_wrapper`
job.toml:3:2: paramwise_cfg: `paramwise_cfg` belongs in `optim_wrapper`
""",
    ),
    "keys at the top that belong in a section": BadJob(
        """\
seed = 1
batch_size = 8
max_epochs = 3
interval = 5
""",
        """\
job.toml:1:1: seed: `seed` belongs in `job`
job.toml:2:1: batch_size: `batch_size` belongs in `train_dataloader`, `val_dataloader` or `test_dataloader`
job.toml:3:1: max_epochs: `max_epochs` belongs in `train_cfg`
job.toml:4:1: interval: `interval` belongs in `log` or `checkpoint`
""",
    ),
    "words of Hugging Face": BadJob(
        """\
[train_cfg]
num_train_epochs = 3
max_steps = 100
[job]
output_dir = "x"
fp16 = true
""",
        """\
job.toml:1:2: train_cfg: needs `max_epochs` or `max_iters`
job.toml:2:1: train_cfg.num_train_epochs: unknown key; here it is `train_cfg.max_epochs`
job.toml:3:1: train_cfg.max_steps: unknown key; here it is `train_cfg.max_iters`, which counts batches, not steps of the optimizer
job.toml:5:1: job.output_dir: unknown key; here it is `job.work_dir`
job.toml:6:1: job.fp16: unknown key; mixed precision is `optim_wrapper.type = "AmpOptimWrapper"`, with `dtype` and `loss_scale` beside it
""",
    ),
    "words of Lightning": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
gradient_clip_val = 1.0
accumulate_grad_batches = 2
[trainer]
max_epochs = 1
""",
        """\
job.toml:3:1: optim_wrapper.gradient_clip_val: unknown key; here it is `optim_wrapper.clip_grad.max_norm`
job.toml:4:1: optim_wrapper.accumulate_grad_batches: unknown key; here it is `optim_wrapper.accumulative_counts`
job.toml:5:2: trainer: unknown key; here it is `train_cfg`
""",
    ),
    "words of MMEngine": BadJob(
        """\
_base_ = "x.py"
[val_cfg]
[val_evaluator]
type = "Accuracy"
[default_hooks]
[checkpoint]
max_keep_ckpts = 3
""",
        """\
job.toml:1:1: _base_: unknown key; here it is `extends`
job.toml:2:2: val_cfg: unknown key; validation is `train_cfg.val_interval`; its metrics are the task's
job.toml:3:2: val_evaluator: unknown key; metrics are arguments of the `task`
job.toml:5:2: default_hooks: unknown key; here it is `hooks`
job.toml:7:1: checkpoint.max_keep_ckpts: unknown key; here it is `checkpoint.keep`
""",
    ),
    "words of torch": BadJob(
        """\
[train_dataloader]
collate_fn = "pad"
sampler = "x"
worker_init_fn = "y"
generator = 1
dataset = { type = "Synthetic" }
""",
        """\
job.toml:2:1: train_dataloader.collate_fn: unknown key; no value of TOML can say it; the dataset brings its own
job.toml:3:1: train_dataloader.sampler: unknown key; no value of TOML can say it; the dataset brings its own
job.toml:4:1: train_dataloader.worker_init_fn: unknown key; no value of TOML can say it; workers are seeded from `job.seed`
job.toml:5:1: train_dataloader.generator: unknown key; `job.seed` seeds the order of the data
""",
    ),
    "words that are reserved": BadJob(
        """\
global_batch_size = 8
[distributed]
[train_cfg]
max_iters = 1
on_nonfinite = "skip"
""",
        """\
job.toml:1:1: global_batch_size: is reserved for a later version
job.toml:2:2: distributed: is reserved for a later version
job.toml:5:1: train_cfg.on_nonfinite: is reserved for a later version
""",
    ),
    "a key after the header of the table inside": BadJob(
        """\
[optim_wrapper]
[optim_wrapper.optimizer]
type = "SGD"
accumulative_counts = 4
clip_grad = { max_norm = 1 }
""",
        """\
job.toml:4:1: optim_wrapper.optimizer.accumulative_counts: `accumulative_counts` belongs one level up, in `optim_wrapper`
job.toml:5:1: optim_wrapper.optimizer.clip_grad: `clip_grad` belongs one level up, in `optim_wrapper`
""",
    ),
    "keys of the optimizer in its wrapper": BadJob(
        """\
[optim_wrapper]
type = "OptimWrapper"
lr = 0.1
weight_decay = 0
[optim_wrapper.optimizer]
type = "SGD"
""",
        """\
job.toml:3:1: optim_wrapper.lr: unknown key; here it is `optim_wrapper.optimizer.lr`
job.toml:4:1: optim_wrapper.weight_decay: unknown key; here it is `optim_wrapper.optimizer.weight_decay`
""",
    ),
    "options of another wrapper": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
dtype = "bfloat16"
loss_scale = "dynamic"
""",
        """\
job.toml:3:1: optim_wrapper.dtype: unknown key; mixed precision is `optim_wrapper.type = "AmpOptimWrapper"`, with `dtype` and `loss_scale` beside it
job.toml:4:1: optim_wrapper.loss_scale: unknown key; mixed precision is `optim_wrapper.type = "AmpOptimWrapper"`, with `dtype` and `loss_scale` beside it
""",
    ),
    "a rule in custom_keys": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
[optim_wrapper.paramwise_cfg.custom_keys]
norm_decay_mult = 0
"head" = 0.1
""",
        """\
job.toml:4:1: optim_wrapper.paramwise_cfg.custom_keys.norm_decay_mult: `norm_decay_mult` belongs one level up, in `optim_wrapper.paramwise_cfg`
job.toml:5:10: optim_wrapper.paramwise_cfg.custom_keys.head: must be a table, not 0.1; write { lr_mult = 0.1 }
""",
    ),
    "a key with dots without quotes": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
[optim_wrapper.paramwise_cfg.custom_keys]
backbone.layer0 = { lr_mult = 0 }
""",
        """\
job.toml:4:1: optim_wrapper.paramwise_cfg.custom_keys.backbone: `layer0` is a table here, and no option is; a name with dots is written in quotes
""",
    ),
    "multipliers of the wrong type": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
paramwise_cfg = { lr_mult = "0.1", decay_mult = true, bias_lr_mult = -1, norm_decay_mult = nan, flat_decay_mult = inf }
""",
        """\
job.toml:3:29: optim_wrapper.paramwise_cfg.lr_mult: must be a number, not the string '0.1'; write 0.1, without quotes
job.toml:3:49: optim_wrapper.paramwise_cfg.decay_mult: must be a number, not true
job.toml:3:70: optim_wrapper.paramwise_cfg.bias_lr_mult: must be at least 0, not -1
job.toml:3:92: optim_wrapper.paramwise_cfg.norm_decay_mult: must be a finite number, not nan
job.toml:3:115: optim_wrapper.paramwise_cfg.flat_decay_mult: must be a finite number, not inf
""",
    ),
    "a rule misspelt": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
[optim_wrapper.paramwise_cfg]
norm_decay_mul = 0.0
norm_types = "MyNorm"
bypass_duplicate = 1
""",
        """\
job.toml:4:1: optim_wrapper.paramwise_cfg.norm_decay_mul: unknown key; did you mean 'norm_decay_mult'?
job.toml:5:14: optim_wrapper.paramwise_cfg.norm_types: must be an array, not the string 'MyNorm'
job.toml:6:20: optim_wrapper.paramwise_cfg.bypass_duplicate: must be true or false, not 1
""",
    ),
    "numbers in quotes": BadJob(
        """\
[job]
seed = "1"
[train_cfg]
max_epochs = "12"
val_interval = "often"
""",
        """\
job.toml:2:8: job.seed: must be a whole number, not the string '1'; write 1, without quotes
job.toml:4:14: train_cfg.max_epochs: must be a whole number, not the string '12'; write 12, without quotes
job.toml:5:16: train_cfg.val_interval: must be a whole number, not the string 'often'
""",
    ),
    "floats for whole numbers": BadJob(
        """\
[train_cfg]
max_iters = 1e4
epoch_length = 10.0
[log]
interval = 1_0.5
""",
        """\
job.toml:2:13: train_cfg.max_iters: must be a whole number, not 10000.0; write 10000
job.toml:3:16: train_cfg.epoch_length: must be a whole number, not 10.0; write 10
job.toml:5:12: log.interval: must be a whole number, not 10.5
""",
    ),
    "truths": BadJob(
        """\
[job]
deterministic = "true"
compile = 1
[train_dataloader]
shuffle = "yes"
dataset = { type = "Synthetic" }
""",
        """\
job.toml:2:17: job.deterministic: must be true or false, not the string 'true'; write true, without quotes
job.toml:3:11: job.compile: must be true or false, not 1
job.toml:5:11: train_dataloader.shuffle: must be true or false, not the string 'yes'
""",
    ),
    "numbers out of range": BadJob(
        """\
[job]
seed = -1
[train_cfg]
max_epochs = 0
[train_dataloader]
batch_size = 0
num_workers = -1
timeout = -0.5
dataset = { type = "Synthetic" }
""",
        """\
job.toml:2:8: job.seed: must be at least 0, not -1
job.toml:4:14: train_cfg.max_epochs: must be at least 1, not 0
job.toml:6:14: train_dataloader.batch_size: must be at least 1, not 0
job.toml:7:15: train_dataloader.num_workers: must be at least 0, not -1
job.toml:8:11: train_dataloader.timeout: must be at least 0, not -0.5
""",
    ),
    "a seed that is too large": BadJob(
        """\
[job]
seed = 4294967296
""",
        """\
job.toml:2:8: job.seed: must be at most 4294967295, not 4294967296
""",
    ),
    "a number of more than 64 bits": BadJob(
        """\
[job]
seed = 9223372036854775808
[model]
type = "MLP"
x = [1, { y = -9223372036854775809 }]
""",
        """\
job.toml:2:8: job.seed: a whole number has at most 64 bits
job.toml:5:15: model.x.1.y: a whole number has at most 64 bits
""",
    ),
    "nan and inf": BadJob(
        """\
[train_cfg]
max_epochs = inf
val_interval = nan
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { max_norm = nan, norm_type = -inf }
""",
        """\
job.toml:2:14: train_cfg.max_epochs: must be a whole number, not inf
job.toml:3:16: train_cfg.val_interval: must be a whole number, not nan
job.toml:6:26: optim_wrapper.clip_grad.max_norm: must be more than 0, not nan
job.toml:6:43: optim_wrapper.clip_grad.norm_type: must be a number above 0, or "inf", not -inf
""",
    ),
    "dates for numbers": BadJob(
        """\
[job]
seed = 1979-05-27
[train_dataloader]
timeout = 07:32:00
batch_size = 1979-05-27T07:32:00Z
dataset = { type = "Synthetic" }
""",
        """\
job.toml:2:8: job.seed: must be a whole number, not the date 1979-05-27
job.toml:4:11: train_dataloader.timeout: must be a number, not the time 07:32:00
job.toml:5:14: train_dataloader.batch_size: must be a whole number, not the date 1979-05-27 07:32:00+00:00
""",
    ),
    "tables for values and values for tables": BadJob(
        """\
model = "MLP"
task = []
log = 10
hooks = ["EMA"]
[job]
name = { first = "x" }
seed = [1]
""",
        """\
job.toml:1:9: model: must be a table, not the string 'MLP'; write { type = "MLP" }
job.toml:2:8: task: must be a table, not an array
job.toml:3:7: log: must be a table, not 10
job.toml:4:9: hooks: must be a table, not an array
job.toml:6:8: job.name: must be a string, not a table
job.toml:7:8: job.seed: must be a whole number, not an array
""",
    ),
    "empty strings": BadJob(
        """\
[job]
name = ""
work_dir = ""
load_from = ""
[model]
type = ""
""",
        """\
job.toml:2:8: job.name: must not be empty
job.toml:3:12: job.work_dir: must not be empty
job.toml:4:13: job.load_from: must not be empty
job.toml:6:8: model.type: must not be empty
""",
    ),
    "a path that paints the screen": BadJob(
        """\
[job]
work_dir = "runs/a\\u001b[31m"
""",
        """\
job.toml:2:12: job.work_dir: must be fit for a folder's path, not the string 'runs/a\\x1b[31m'
""",
    ),
    "a device": BadJob(
        """\
[job]
device = "gpu 0"
""",
        """\
job.toml:2:10: job.device: must be 'auto', or a device of torch such as 'cpu', 'cuda' or 'cuda:1', not the string 'gpu 0'
""",
    ),
    "load_from": BadJob(
        """\
[job.load_from]
prefix = 1
strct = true
""",
        """\
job.toml:1:6: job.load_from: needs `path`
job.toml:2:10: job.load_from.prefix: must be a string, not 1
job.toml:3:1: job.load_from.strct: unknown key; did you mean 'strict'?
""",
    ),
    "load_from is a number": BadJob(
        """\
job.load_from = 5
""",
        """\
job.toml:1:17: job.load_from: must be a string or a table, not 5
""",
    ),
    "plugins without a type": BadJob(
        """\
[model]
hidden = 5
[task]
[train_dataloader]
dataset = { root = "x" }
[val_dataloader]
""",
        """\
job.toml:1:2: model: needs `type`
job.toml:3:2: task: needs `type`
job.toml:5:11: train_dataloader.dataset: needs `type`
job.toml:6:2: val_dataloader: needs `dataset`
""",
    ),
    "plugins that do not exist": BadJob(
        """\
[model]
type = "MPL"
[task]
type = "classification"
[test_dataloader]
dataset = { type = "Imagenet" }
[hooks.EMMA]
[hooks.mine]
type = "EAM"
""",
        """\
job.toml:2:8: model.type: no model is called 'MPL'; did you mean 'MLP'?
job.toml:4:8: task.type: no task is called 'classification'; did you mean 'Classification'?
job.toml:6:20: test_dataloader.dataset.type: no dataset is called 'Imagenet'; there is 'Synthetic' (`optimctl plugins list datasets`)
job.toml:7:8: hooks.EMMA: no hook is called 'EMMA'; did you mean 'EMA'?
job.toml:9:8: hooks.mine.type: no hook is called 'EAM'; did you mean 'EMA'?
""",
    ),
    "a plugin that two bring": BadJob(
        """\
[model]
type = "Twice"
""",
        """\
job.toml:2:8: model.type: several distributions bring a model called 'Twice'; write 'one/Twice' or 'two/Twice'
""",
    ),
    "a plugin of a distribution that has none": BadJob(
        """\
[model]
type = "two/MLP"
""",
        """\
job.toml:2:8: model.type: no model is called 'two/MLP'; did you mean 'optimctl/MLP'?
""",
    ),
    "optimizer and wrapper do not exist": BadJob(
        """\
[optim_wrapper]
type = "AmpOptimWraper"
constructor = "LayerDecai"
optimizer.type = "Adamw"
""",
        """\
job.toml:2:8: optim_wrapper.type: no optim wrapper is called 'AmpOptimWraper'; did you mean 'AmpOptimWrapper'?
job.toml:3:15: optim_wrapper.constructor: no constructor is called 'LayerDecai'; did you mean 'LayerDecay'?
job.toml:4:18: optim_wrapper.optimizer.type: no optimizer is called 'Adamw'; did you mean 'AdamW'?
""",
    ),
    "a constructor in a table does not exist": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
constructor = { decay_rate = 0.9, type = "LayerDecai" }
""",
        """\
job.toml:3:42: optim_wrapper.constructor.type: no constructor is called 'LayerDecai'; did you mean 'LayerDecay'?
""",
    ),
    "a constructor without a type": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
[optim_wrapper.constructor]
decay_rate = 0.9
""",
        """\
job.toml:3:16: optim_wrapper.constructor: needs `type`
""",
    ),
    "a constructor is a number": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
constructor = 1
""",
        """\
job.toml:3:15: optim_wrapper.constructor: must be a string or a table, not 1
""",
    ),
    "no optimizer": BadJob(
        """\
[optim_wrapper]
accumulative_counts = 4
""",
        """\
job.toml:1:2: optim_wrapper: needs `optimizer`
""",
    ),
    "an optimizer's bare name": BadJob(
        """\
[optim_wrapper]
optimizer = "SGD"
""",
        """\
job.toml:2:13: optim_wrapper.optimizer: must be a table, not the string 'SGD'; write { type = "SGD" }
""",
    ),
    "clipping by a number": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = 1.0
""",
        """\
job.toml:3:13: optim_wrapper.clip_grad: must be a table, not 1.0; write { max_norm = 1.0 }
""",
    ),
    "clipping without a bound": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { norm_type = "infinity" }
""",
        """\
job.toml:3:13: optim_wrapper.clip_grad: needs `max_norm`
job.toml:3:27: optim_wrapper.clip_grad.norm_type: must be a number above 0, or "inf", not the string 'infinity'
""",
    ),
    "clipping in both ways": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { max_norm = 1, clip_value = 0.5 }
""",
        """\
job.toml:3:29: optim_wrapper.clip_grad.clip_value: does not go with the other keys of its table
""",
    ),
    "clipping by value without saying so": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { clip_value = 0.5 }
""",
        """\
job.toml:3:13: optim_wrapper.clip_grad: needs `type`
""",
    ),
    "clipping by something else": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { type = "values", max_nrm = 1 }
""",
        """\
job.toml:3:13: optim_wrapper.clip_grad: needs `max_norm`
job.toml:3:22: optim_wrapper.clip_grad.type: must be 'norm' or 'value', not the string 'values'
job.toml:3:32: optim_wrapper.clip_grad.max_nrm: unknown key; did you mean 'max_norm'?
""",
    ),
    "worker options without workers": BadJob(
        """\
[train_dataloader]
prefetch_factor = 2
persistent_workers = true
timeout = 5
multiprocessing_context = "forkserve"
dataset = { type = "Synthetic" }
""",
        """\
job.toml:2:19: train_dataloader.prefetch_factor: `prefetch_factor` needs worker processes; set `num_workers` to 1 or more
job.toml:3:22: train_dataloader.persistent_workers: `persistent_workers` needs worker processes; set `num_workers` to 1 or more
job.toml:4:11: train_dataloader.timeout: `timeout` needs worker processes; set `num_workers` to 1 or more
job.toml:5:27: train_dataloader.multiprocessing_context: must be 'fork', 'spawn' or 'forkserver', not the string 'forkserve'; did you mean 'forkserver'?
job.toml:5:27: train_dataloader.multiprocessing_context: `multiprocessing_context` needs worker processes; set `num_workers` to 1 or more
""",
    ),
    "both lengths": BadJob(
        """\
[train_cfg]
max_epochs = 1
max_iters = 10
""",
        """\
job.toml:3:1: train_cfg.max_iters: `max_epochs` and `max_iters` exclude each other; keep one
""",
    ),
    "no length": BadJob(
        """\
[train_cfg]
epoch_length = 10
val_interval = 0
""",
        """\
job.toml:1:2: train_cfg: needs `max_epochs` or `max_iters`
job.toml:3:16: train_cfg.val_interval: must be at least 1, not 0
""",
    ),
    "schedules": BadJob(
        """\
[[param_scheduler]]
type = "LinearLR"
begin = -1
end = "5"
[[param_scheduler]]
type = "LinearLR"
begin = "10%"
end = "5%"
[[param_scheduler]]
type = "MultiStepLR"
begin = 1.5
end = "105%"
[[param_scheduler]]
end = 5
begin = 5
""",
        """\
job.toml:3:9: param_scheduler.0.begin: must be at least 0, not -1
job.toml:4:7: param_scheduler.0.end: must be a whole number, or a share of the run such as "5%", not the string '5'
job.toml:8:7: param_scheduler.1.end: must be after `begin`, which is 10%; not 5%
job.toml:11:9: param_scheduler.2.begin: must be a whole number, or a share of the run such as "5%", not 1.5
job.toml:12:7: param_scheduler.2.end: must be a share between "0%" and "100%", not the string '105%'
job.toml:13:3: param_scheduler.3: needs `type`
job.toml:14:7: param_scheduler.3.end: must be after `begin`, which is 5; not 5
""",
    ),
    "a schedule's unit": BadJob(
        """\
[[param_scheduler]]
type = "LinearLR"
by = "iter"
[[param_scheduler]]
type = "LinearLR"
by = "epoch"
by_epoch = true
[[param_scheduler]]
type = "LinearLR"
by = "update"
convert_to_iter_based = true
""",
        """\
job.toml:3:6: param_scheduler.0.by: must be 'epoch', 'iteration' or 'update', not the string 'iter'; did you mean 'iteration'?
job.toml:7:1: param_scheduler.1.by_epoch: `by` and `by_epoch` exclude each other; keep one
job.toml:11:25: param_scheduler.2.convert_to_iter_based: converts epochs to iterations, and this schedule is not by epoch
""",
    ),
    "a schedule that does not exist": BadJob(
        """\
[param_scheduler]
type = "LinaerMomentum"
param_name = ""
""",
        """\
job.toml:2:8: param_scheduler.type: no scheduler is called 'LinaerMomentum'; there is 'LinearLR' and 'MultiStepLR' (`optimctl plugins list schedulers`)
job.toml:3:14: param_scheduler.param_name: must not be empty
""",
    ),
    "schedules of another shape": BadJob(
        """\
param_scheduler = "LinearLR"
""",
        """\
job.toml:1:19: param_scheduler: must be a table, or an array of tables, not the string 'LinearLR'; write { type = "LinearLR" }
""",
    ),
    "schedules that are no tables": BadJob(
        """\
param_scheduler = ["LinearLR", 5]
""",
        """\
job.toml:1:20: param_scheduler.0: must be a table, not the string 'LinearLR'; write { type = "LinearLR" }
job.toml:1:32: param_scheduler.1: must be a table, not 5
""",
    ),
    "several optimizers, one of them broken": BadJob(
        """\
[optim_wrapper.generator]
optimizer = { type = "SGD" }
[optim_wrapper.critic]
optimzer = { type = "SGD" }
""",
        """\
job.toml:3:16: optim_wrapper.critic: needs `optimizer`
job.toml:4:1: optim_wrapper.critic.optimzer: unknown key; did you mean 'optimizer'?
""",
    ),
    "several optimizers, and a key for all": BadJob(
        """\
[optim_wrapper]
accumulative_counts = 2
[optim_wrapper.generator]
optimizer = { type = "SDG" }
accumulative_cuonts = 2
[optim_wrapper.generator.paramwise_cfg]
lr_mul = 2
""",
        """\
job.toml:2:1: optim_wrapper.accumulative_counts: `accumulative_counts` belongs in the table of each optimizer; there are several here
job.toml:4:22: optim_wrapper.generator.optimizer.type: no optimizer is called 'SDG'; did you mean 'SGD'?
job.toml:5:1: optim_wrapper.generator.accumulative_cuonts: unknown key; did you mean 'accumulative_counts'?
job.toml:7:1: optim_wrapper.generator.paramwise_cfg.lr_mul: unknown key; did you mean 'lr_mult'?
""",
    ),
    "schedules of an optimizer that is not there": BadJob(
        """\
[optim_wrapper.generator]
optimizer = { type = "SGD" }
[[param_scheduler.generatr]]
type = "LinearLR"
""",
        """\
job.toml:3:19: param_scheduler.generatr: no optimizer is called 'generatr'; `optim_wrapper` has `generator`
""",
    ),
    "schedules by name for one optimizer": BadJob(
        """\
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
[[param_scheduler.generator]]
type = "LinearLR"
""",
        """\
job.toml:3:19: param_scheduler.generator: no optimizer is called 'generator'; `optim_wrapper` has one optimizer, which has no name
""",
    ),
    "schedules by name that are no arrays": BadJob(
        """\
[param_scheduler.generator]
type = "LinearLR"
""",
        """\
job.toml:1:18: param_scheduler.generator: must be an array, not a table; write [[param_scheduler.generator]] as its header
""",
    ),
    "saving the best": BadJob(
        """\
[checkpoint]
save_best = { metric = "loss", rule = "less" }
keep = "all"
by_epoch = true
[log]
intervall = 1
""",
        """\
job.toml:2:39: checkpoint.save_best.rule: must be 'max' or 'min', not the string 'less'
job.toml:3:8: checkpoint.keep: must be a whole number, not the string 'all'
job.toml:4:1: checkpoint.by_epoch: unknown key; `checkpoint` takes 'interval', 'keep' and 'save_best'
job.toml:6:1: log.intervall: unknown key; did you mean 'interval'?
""",
    ),
    "the best by nothing": BadJob(
        """\
[checkpoint]
save_best = true
""",
        """\
job.toml:2:13: checkpoint.save_best: must be a string or a table, not true
""",
    ),
    "a hook that is no table": BadJob(
        """\
[hooks]
EMA = 0.999
"é" = {}
""",
        """\
job.toml:2:7: hooks.EMA: must be a table, not 0.999
job.toml:3:7: hooks."é": no hook is called 'é'; there is 'EMA' (`optimctl plugins list hooks`)
""",
    ),
    "keys with other letters": BadJob(
        """\
[hooks."日本"]
type = "EMA"
["jöb"]
"ä b" = 1
""",
        """\
job.toml:3:2: "jöb": unknown key; did you mean 'job'?
""",
    ),
    "many problems in one line": BadJob(
        """\
train_cfg = { max_epochs = 0, val_intervall = 1, epoch_length = "x" }
""",
        """\
job.toml:1:28: train_cfg.max_epochs: must be at least 1, not 0
job.toml:1:31: train_cfg.val_intervall: unknown key; did you mean 'val_interval'?
job.toml:1:65: train_cfg.epoch_length: must be a whole number, not the string 'x'
""",
    ),
    "a syntax error hides the rest": BadJob(
        """\
[optim_wraper]
[log
interval = 1
""",
        """\
job.toml:2:5: not TOML: the header of a table is closed with ]
""",
    ),
    "one key twice": BadJob(
        """\
[log]
interval = 1
[job]
seed = 1
[log]
interval = 2
""",
        """\
job.toml:5:2: not TOML: 'log' was given a value on line 1 already
""",
    ),
}
