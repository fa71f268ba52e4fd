"""The reference page of the job format, made from its tables: ``python -m optimctl.job.manual > docs/job.md``.

What a key is, counts and defaults to comes from the models of ``schema.py``, what its table is from their docstrings, and what keys
must have in common from those of their rules. Written here is what no single table says, and an example for each.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimctl.errors import Key
from optimctl.job.json_schema import HERE, forms_of, table_schemas
from optimctl.job.merge import EXCLUSIVE
from optimctl.job.plugin_schema import Schema
from optimctl.job.schema import TABLES, Inheritance
from optimctl.job.table import PluginTable, Table
from optimctl.plugins import KINDS
from optimctl.sentences import WORDS, one_of

BEGINNING = """\
<!-- Made by `python -m optimctl.job.manual > docs/job.md`; do not edit it here. -->
# The job file

A job says what is trained, on what, how and for how long. It is data: it names plugins and their arguments, and nothing in it is
executed. This page is made from the tables that a job is checked against.

```toml
[job]
name = "digits"

[model]
type = "MLP"                           # the other keys are the plugin's own arguments
in_features = 16
out_features = 4

[task]
type = "Classification"

[train_dataloader]
batch_size = 64
shuffle = true
dataset = { type = "Synthetic", split = "train" }

[val_dataloader]
batch_size = 256
dataset = { type = "Synthetic", split = "test" }

[train_cfg]
max_epochs = 12

[optim_wrapper]
accumulative_counts = 4                # four batches make an update
clip_grad = { max_norm = 35 }

[optim_wrapper.optimizer]
type = "SGD"
lr = 0.01
momentum = 0.9
weight_decay = 1e-4

[optim_wrapper.paramwise_cfg]
norm_decay_mult = 0.0

[[param_scheduler]]
type = "LinearLR"                      # a warm-up over the first 50 iterations
start_factor = 0.001
by_epoch = false
end = 50

[[param_scheduler]]
type = "MultiStepLR"
by_epoch = true
milestones = [8, 11]
gamma = 0.1

[checkpoint]
save_best = "accuracy"
```

## What holds everywhere

- **Sections may be absent.** A command says which it needs: `optimctl run` needs a model, a task, data and a length; `optimctl
  inspect` shows a job of `optim_wrapper`, `param_scheduler` and `train_cfg` (with `epoch_length`) without a model or data.
- **Every key is known.** One that is not is an error with its place, the nearest name and the way out. A plugin's table takes the
  plugin's arguments beside the keys below, and no others.
- **Values are strict.** `"1"` is no number, `true` no float, `1e4` no whole number; a whole number is fine for a float, an array for a
  tuple. Numbers are finite, but where the page says otherwise.
- **A plugin is named by `type`.** A bare name is enough; where two packages bring one, `distribution/Name` says whose is meant.
  `optimctl plugins list` shows what is installed. A table among a plugin's arguments stays a table, and a relative path in them
  is relative to the working directory.
- **An epoch** is `train_cfg.epoch_length` iterations, or as many as the data has batches, also where the run's length is given in
  iterations. **An iteration** is a batch. **An update** is a step of the optimizer: `accumulative_counts` iterations.
- **The command line has the last word.** `--set KEY=VALUE` and `--unset KEY` change a job without its file being touched. A value is
  TOML, and a string where it is none; a key with dots in a part is quoted, an element of an array counted from 0: `--set
  param_scheduler.0.end=100`.
- **In an editor:** `optimctl schema -o optimctl.schema.json` writes all this for Taplo (in Visual Studio Code: Even Better TOML), with the
  arguments of what is installed. A job beside it begins with the line `#:schema ./optimctl.schema.json`.
"""

TOLD: Mapping[Key, str] = {
    (): """\
Of two files, tables merge and arrays replace. Where this file names another `type` for the model, the task, a dataset, the optimizer,
the constructor or a hook, the other's table goes whole; of two keys that exclude each other, this file's stays. What went is
shown. A file that builds on another may leave out what the other has.

```toml
extends = ["base.toml", "schedule.toml"]
unset = ["train_cfg.max_epochs", "optim_wrapper.paramwise_cfg.custom_keys.\\"backbone.stem\\""]
[train_cfg]
max_iters = 10_000
```""",
    ("job",): """\
```toml
[job]
name = "digits"
seed = 1
device = "cuda:1"
```""",
    ("job", "load_from"): """\
```toml
job.load_from = { path = "resnet18.safetensors", prefix = "backbone." }
```""",
    ("model",): """\
```toml
[model]
type = "MLP"
in_features = 16
out_features = 4
hidden = [64, 64]
```""",
    ("task",): """\
```toml
[task]
type = "Classification"
loss = { type = "CrossEntropyLoss", label_smoothing = 0.1 }
```""",
    ("train_dataloader",): """\
```toml
[train_dataloader]
batch_size = 64
shuffle = true
num_workers = 4
persistent_workers = true
dataset = { type = "Synthetic", split = "train" }
```""",
    ("train_cfg",): """\
```toml
[train_cfg]
max_epochs = 12
val_interval = 2
```""",
    ("optim_wrapper",): """\
```toml
[optim_wrapper]
type = "AmpOptimWrapper"
dtype = "bfloat16"                     # an option of AmpOptimWrapper
accumulative_counts = 4
optimizer = { type = "AdamW", lr = 3e-4 }
```

**Several optimizers**, each with a part of the model, stand side by side under the paths of their sub-modules. There are several where
`optim_wrapper` has no `optimizer` and every key but `constructor` is a table with one; the task's `train_step` says which of them
steps when.

```toml
[optim_wrapper.generator]
accumulative_counts = 2
optimizer = { type = "Adam", lr = 1e-3 }
[optim_wrapper.discriminator]
optimizer = { type = "Adam", lr = 2e-3 }
```

Several optimizers over one model, by rule, are what the constructor [`Routes`](#optim_wrapper-constructor) makes.""",
    ("optim_wrapper", "clip_grad"): """\
```toml
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { max_norm = 35, norm_type = 2 }    # or { type = "value", clip_value = 0.5 }
```""",
    ("optim_wrapper", "constructor", "routes"): """\
```toml
[optim_wrapper]
optimizer = { type = "AdamW", lr = 2e-3 }         # for all that no route takes
[optim_wrapper.constructor]
type = "Routes"
[[optim_wrapper.constructor.routes]]
match = { names = ["blocks."], dimensions = [2] }
optimizer = { type = "Muon", lr = 0.02 }
```""",
    ("optim_wrapper", "optimizer"): """\
```toml
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.01
momentum = 0.9
weight_decay = 1e-4
```""",
    ("optim_wrapper", "paramwise_cfg"): """\
`lr_mult` and `decay_mult` multiply the result of whichever rule won, but never a value that a custom key gives as a number.
`optimctl inspect` shows the groups that come of it, and with each value the line that set it.

```toml
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.01, weight_decay = 1e-4 }
[optim_wrapper.paramwise_cfg]
norm_decay_mult = 0.0
bias_lr_mult = 2.0
```""",
    ("optim_wrapper", "paramwise_cfg", "custom_keys", "*"): """\
```toml
[optim_wrapper]
optimizer = { type = "SGD", lr = 0.01, momentum = 0.9 }
[optim_wrapper.paramwise_cfg.custom_keys]
"backbone.stem" = { freeze = true }
"backbone.layer0" = { lr_mult = 0.1, decay_mult = 0 }
"glob:head.*.bias" = { weight_decay = 0.0 }      # an option of the optimizer, whatever the rules say
head = { lr_mult = 10 }
```""",
    ("param_scheduler",): """\
Schedules work on each other's results, in the order of the job. One may stand as a table; several are an array of tables, and for
several optimizers either one array for all, or arrays by the optimizers' names: `[[param_scheduler.generator]]`.

```toml
[[param_scheduler]]
type = "LinearLR"
start_factor = 0.01
by_epoch = false
end = "5%"
[[param_scheduler]]
type = "CosineAnnealingLR"
by_epoch = false
begin = "5%"
[[param_scheduler]]
type = "LinearParamScheduler"
param_name = "betas[1]"
start_factor = 0.9
end = 3
```""",
    ("log",): """\
```toml
log.interval = 50
```""",
    ("checkpoint",): """\
```toml
[checkpoint]
interval = 2
keep = 3
save_best = "accuracy"
```""",
    ("checkpoint", "save_best"): """\
```toml
checkpoint.save_best = { metric = "energy_distance", rule = "min" }
```""",
    ("hooks", "*"): """\
```toml
[hooks.EMA]                            # the plugin EMA
decay = 0.999
[hooks.slow]                           # another one, under a name of its own
type = "EMA"
decay = 0.9999
```""",
}
"""What a table's docstring does not say, with an example; by the table's first path."""


def manual() -> str:
    """The page, as Markdown."""
    sections = [_section(paths, models) for paths, models in _chapters()]
    return "\n".join([BEGINNING, "## The tables\n", _contents(), *sections])


@functools.cache
def _chapters() -> list[tuple[list[Key], tuple[type[Table], ...]]]:
    """The tables with all their paths, in the order of the manual; a table that stands in several places is told at the outermost."""
    paths: dict[tuple[type[Table], ...], list[Key]] = {}
    for path, models in TABLES.items():
        paths.setdefault(models, []).append(path)
    chapters = [(sorted(several, key=len), models) for models, several in paths.items()]
    order = list(TABLES)
    return sorted(chapters, key=lambda chapter: order.index(chapter[0][0]))


def _contents() -> str:
    lines = [f"{'  ' * _depth(paths[0])}- {_links(paths)}" for paths, _ in _chapters() if paths[0]]
    return "\n".join(["- [the top of the file](#top)", *lines, ""])


def _depth(path: Key) -> int:
    """In how many tables of the format a table stands."""
    return sum(path[:length] in TABLES for length in range(1, len(path)))


def _links(paths: Sequence[Key]) -> str:
    """The table, and those of the same kind beside it."""
    beside = [path for path in paths if len(path) == len(paths[0])]
    return ", ".join(f"[`{_header(path)}`](#{_anchor(paths[0])})" for path in beside)


def _section(paths: Sequence[Key], models: Sequence[type[Table]]) -> str:
    path, told = paths[0], TOLD.get(paths[0], "")
    title = ", ".join(f"`{_header(path)}`" for path in paths) if path else "The top of the file"
    parts = [f'<a id="{_anchor(path)}"></a>', f"{'###' + '#' * _depth(path)} {title}"]
    for model in models:
        parts += [*_paragraphs(model, path), _keys(model, path), *_rules(model, path)]
        if model is Inheritance:
            parts.append(told)
    return "\n\n".join([*parts, *([told] if told and path else [])]).replace("</a>\n\n", "</a>\n") + "\n"


def _header(path: Key) -> str:
    """The header of a table in a job: of an array of tables where its form is one."""
    text = ".".join("<name>" if part == "*" else str(part) for part in path)
    return f"[[{text}]]" if path[-1] in ("param_scheduler", "routes") else f"[{text}]"


def _anchor(path: Key) -> str:
    return "-".join(str(part).replace("*", "name") for part in path) or "top"


# --- one table --------------------------------------------------------------------------------------------------------


def _paragraphs(model: type[Table], path: Key) -> Iterator[str]:
    """What a table is, which plugins it can name, and what may stand in its place."""
    text = re.sub(r"^`[^`]+`(, `[^`]+`)*: ", "", inspect.cleandoc(model.__doc__ or ""))
    yield text[0].upper() + text[1:]
    free = model.model_config["extra"] == "allow"
    if issubclass(model, PluginTable) and free:
        kind = KINDS[model.kind]
        yield f"`type` names {kind.one}; `optimctl plugins list {kind.name}` shows what is installed."
    if model.shorthand and (free or not issubclass(model, PluginTable)):
        yield f'Short form: `{path[-1]} = "..."` is `{path[-1]} = {{ {model.shorthand} = "..." }}`.'


def _keys(model: type[Table], path: Key) -> str:
    """The table of keys."""
    schema = table_schemas()[model.__name__]
    required = schema.get("required", ())
    rows = [_row((*path, name), key, name in required) for name, key in schema["properties"].items()]
    return "\n".join(["| key | type | unit | default | what it does |", "|---|---|---|---|---|", *rows])


def _row(path: Key, key: Schema, required: bool) -> str:
    text, _, told = str(key["description"]).partition(" Default: ")
    default = told.removesuffix(".") or _toml(key.get("default"))
    cells = (
        _linked(path),
        one_of(_words(key)),
        key.get("unit", ""),
        "**required**" if required else default,
        text,
    )
    return f"| {' | '.join(cells)} |"


def _linked(path: Key) -> str:
    """A key, with a link where it is a table that has its own section."""
    beyond = (*path, "*")
    target = next((paths[0] for paths, _ in _chapters() if path in paths or beyond in paths), None)
    return f"[`{path[-1]}`](#{_anchor(target)})" if target else f"`{path[-1]}`"


def _toml(default: Any) -> str:
    """A default as a job has it; nothing for a table, whose keys have their own."""
    if isinstance(default, dict):
        default = default["type"] if list(default) == ["type"] else None
    return "" if default is None else f"`{json.dumps(default)}`"


def _words(node: Schema) -> list[str]:
    """What a value can be, in words."""
    return list(dict.fromkeys(word for form in forms_of(node) for word in _form_words(form)))


def _form_words(form: Schema) -> list[str]:
    if "$ref" in form:
        short = {HERE + model.__name__ for models in TABLES.values() for model in models if model.shorthand}
        return ["string", "table"] if form["$ref"] in short else ["table"]
    if "enum" in form or "const" in form:
        return [f"`{json.dumps(value)}`" for value in form.get("enum", [form.get("const")])]
    if form["type"] == "array":
        return [f"array of {_several(form['items'])}"]
    if form["type"] == "object":
        inner = form.get("additionalProperties")
        return [f"{_several(inner)} by name" if isinstance(inner, dict) else "table"]
    if "pattern" in form:
        return ['share such as `"5%"`']
    return [WORDS[form["type"]].removeprefix("a ") + _bounds(form)]


def _several(node: Schema) -> str:
    return one_of([_plural(word) for word in _words(node)])


def _plural(word: str) -> str:
    noun, *rest = re.split(r"(?= of | \()", word, maxsplit=1)
    return "".join([f"{noun}s", *rest])


def _bounds(form: Schema) -> str:
    if "maximum" in form:
        return f" ({form['minimum']} to {form['maximum']})"
    if "minimum" in form:
        return f" ({form['minimum']} or more)"
    return f" (more than {form['exclusiveMinimum']})" if "exclusiveMinimum" in form else ""


def _rules(model: type[Table], path: Key) -> Iterator[str]:
    """What keys must have in common."""
    pairs = EXCLUSIVE.get(str(path[-1]), ()) if path else ()
    known = [pair for pair in pairs if issubclass(model, PluginTable) or model.model_fields.keys() >= set(pair)]
    lines = [f"`{one}` and `{other}` exclude each other." for one, other in known]
    lines += [
        " ".join(inspect.cleandoc(rule.__doc__).split()).replace("``", "`") for rule in model.rules if rule.__doc__
    ]
    if lines:
        yield "Across keys:"
        yield "\n".join(f"- {line}" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(manual())
