"""Every mistake is told, in its place: a corpus, every key of the format misspelt and of a wrong type, and mutations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from optimctl.errors import JobError, Key, key_text
from optimctl.job.load import parse_job
from optimctl.job.schema import TABLES
from tests.job.corpus import BAD_JOBS

GOOD = """\
unset = []
[job]
name = "digits"
seed = 0
device = "auto"
work_dir = "runs/digits"
load_from = { path = "r50.pth", prefix = "backbone.", strict = false }
deterministic = false
compile = false
[model]
type = "MLP"
hidden = [64]
[task]
type = "Classification"
loss = { type = "CrossEntropyLoss", weight = [1.0, 2] }
[train_dataloader]
batch_size = 64
shuffle = true
num_workers = 1
pin_memory = true
drop_last = true
timeout = 30
prefetch_factor = 2
persistent_workers = true
pin_memory_device = "cuda"
in_order = false
multiprocessing_context = "spawn"
dataset = { type = "Synthetic", split = "train" }
[val_dataloader]
dataset = { type = "Synthetic", split = "test" }
[train_cfg]
max_epochs = 12
val_interval = 1
epoch_length = 500
[optim_wrapper]
type = "OptimWrapper"
accumulative_counts = 4
clip_grad = { max_norm = 35, norm_type = 2, error_if_nonfinite = true }
[optim_wrapper.constructor]
type = "DefaultOptimWrapperConstructor"
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.01
[optim_wrapper.paramwise_cfg]
lr_mult = 1
decay_mult = 1
bias_lr_mult = 2
bias_decay_mult = 0
norm_decay_mult = 0.0
flat_decay_mult = 0
dwconv_decay_mult = 0
dcn_offset_lr_mult = 0.1
bypass_duplicate = true
norm_types = ["MyNorm"]
no_weight_decay = true
[optim_wrapper.paramwise_cfg.custom_keys]
"backbone.layer0" = { lr_mult = 0, decay_mult = 0 }
"é" = { freeze = true }
[[param_scheduler]]
type = "LinearLR"
start_factor = 0.001
by_epoch = false
begin = 0
end = 50
[[param_scheduler]]
type = "MultiStepParamScheduler"
param_name = "betas[1]"
by = "epoch"
convert_to_iter_based = true
begin = "5%"
[log]
interval = 10
[checkpoint]
interval = 1
keep = 3
save_best = { metric = "accuracy", rule = "max" }
[hooks.EMA]
decay = 0.9999
[hooks.mine]
type = "EMA"
"""


def said(text: str) -> str:
    """All that is said about a job, less the lines that an unknown plugin's message goes on with."""
    with pytest.raises(JobError) as error:
        parse_job(text)
    return "".join(f"{line}\n" for line in str(error.value).splitlines() if not line.startswith(" "))


@pytest.mark.parametrize("name", BAD_JOBS)
def test_the_corpus(name: str) -> None:
    assert said(BAD_JOBS[name].text) == BAD_JOBS[name].problems


def test_the_good_job_is_good() -> None:
    parse_job(GOOD)


LINES = GOOD.splitlines()


def keys() -> Iterator[tuple[Key, int, int]]:
    """Each ``key = value`` of the good job that the format itself knows, with its line and the column of its value."""
    table = ""
    count: dict[str, int] = {}
    for number, line in enumerate(LINES, 1):
        if line.startswith("["):
            table = line.strip("[]")
            if line.startswith("[["):
                count[table] = count.get(table, -1) + 1
            continue
        name = line.partition(" = ")[0]
        path: Key = (*table.split("."), count[table]) if table in count else tuple(table.split(".")) if table else ()
        known = [
            name
            for model in TABLES.get(tuple(p for p in path if isinstance(p, str)), ())
            for name in model.model_fields
        ]
        if name in known:
            yield (*path, name), number, len(f"{name} = ") + 1


@pytest.mark.parametrize(("key", "line", "column"), [pytest.param(*item, id=key_text(item[0])) for item in keys()])
def test_each_key_misspelt_and_with_a_wrong_type(key: Key, line: int, column: int) -> None:
    name, text = str(key[-1]), LINES[line - 1]
    wrong_type = replaced(line, f"{name} = 1979-05-27")
    said_of_type = [one for one in said(wrong_type).splitlines() if one.startswith(f"job.toml:{line}:{column}: ")]
    assert len(said_of_type) == 1, said(wrong_type)
    assert f": {key_text(key)}: must be " in said_of_type[0]
    assert said_of_type[0].endswith("not the date 1979-05-27")
    if key[0] not in ("model", "task", "hooks", "param_scheduler") and key[:2] not in PLUGINS:
        misspelt = said(replaced(line, text.replace(name, name + "x", 1)))
        assert (
            f"job.toml:{line}:1: {key_text((*key[:-1], name + 'x'))}: unknown key; did you mean '{name}'?\n" in misspelt
        )


PLUGINS = {("optim_wrapper", "optimizer"), ("optim_wrapper", "constructor")}


def replaced(line: int, text: str) -> str:
    return "\n".join([*LINES[: line - 1], text, *LINES[line:]])


def check(text: str, overrides: tuple[str, ...] = ()) -> None:
    """Either a job comes out, or problems with their places."""
    try:
        job = parse_job(text, overrides=overrides)
    except JobError as error:
        for problem in error.problems:
            assert problem.place is not None
            assert problem.place.source == "job.toml" or problem.place.source.startswith("--set ")
            if problem.place.line is not None:
                assert problem.place.excerpt == text.replace("\r\n", "\n").split("\n")[problem.place.line - 1].rstrip(
                    "\r"
                )
                assert 1 <= (problem.place.column or 0) <= len(problem.place.excerpt) + 1
    else:
        assert parse_job(tomli_w.dumps(job.plain())).plain() == job.plain() or "nan" in repr(job.plain())


@given(st.data())
def test_mutated_bytes(data: st.DataObject) -> None:
    content = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    check(content.decode("utf-8", "replace"))


SNIPPETS = [
    *LINES,
    *("[job]", "[[param_scheduler.x]]", "[param_scheduler.x]", "[optim_wrapper.x]", "[model.x]", "[a.b]", "[[hooks]]"),
    *('x.optimizer.type = "SGD"', "clip_value = 1", "max_iters = 5", 'constructor = "LayerDecay"', "by = 'update'"),
]


@given(st.lists(st.sampled_from(SNIPPETS), max_size=12).map("\n".join))
@example("[optim_wrapper.x]\noptimizer = {}\nconstructor = 1")
def test_shuffled_lines(text: str) -> None:
    check(text)


values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("5%"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "x", "optimizer"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.sampled_from([key for key, _, _ in keys()]), st.integers(0, 3), values)
def test_any_value_for_any_key(key: Key, shorter: int, value: Any) -> None:
    shown = str(value) if isinstance(value, dict) else tomli_w.dumps({"v": value})[4:].strip()
    check(GOOD, (f"{key_text(key[: max(1, len(key) - shorter)])}={shown}",))
