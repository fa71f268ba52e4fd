"""What ``export toml`` and ``export json`` write: every default, and the same job again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from optimctl.assemble import assemble
from optimctl.errors import JobError
from optimctl.export import Source
from optimctl.export.json import export_json
from optimctl.export.resolved import with_defaults
from optimctl.export.toml import export_toml
from optimctl.job.load import job_from_dict, load_job, parse_job
from optimctl.job.schema import Job
from optimctl.plan.diff import compare
from optimctl.plan.subject import subject_of
from optimctl.plugins import find
from tests.export.generated import ANY, WITH_A_PLAN
from tests.jobs import BLOBS
from tests.plugins_on_disk import Site

ROOT = Path(__file__).parents[2]
JOBS = sorted(
    str(file.relative_to(ROOT))
    for file in (*(ROOT / "examples").rglob("*.toml"), *(ROOT / "plugins").glob("*/examples/*.toml"))
)


def again(job: Job) -> Job:
    """The job that comes out of its export, which exports itself as the same bytes; through TOML, and through JSON."""
    text = export_toml(Source(job))
    loaded = parse_job(text, "elsewhere.toml")
    assert export_toml(Source(loaded)) == text
    as_json = export_json(Source(job))
    assert export_json(Source(job_from_dict(json.loads(as_json)))) == as_json
    assert loaded.plain() == json.loads(as_json)
    return loaded


def effect(job: Job) -> Any:
    return subject_of(assemble(job, without_weights=True))


@pytest.mark.parametrize("name", JOBS)
def test_every_example_is_the_same_job_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    job = load_job(name)
    found = compare(effect(job), effect(again(job)))
    assert found.same, found.as_json()


@settings(max_examples=60)
@given(ANY)
def test_any_job_is_the_same_job_again(data: dict[str, Any]) -> None:
    job = job_from_dict(data)
    try:
        with_defaults(job)
    except JobError as error:
        assert {problem.code for problem in error.problems} == {"wrong-value"}, error  # noqa: PT017
        return
    loaded = again(job)
    assert_within(job.plain(), loaded.plain())


def assert_within(written: Any, exported: Any, key: str = "") -> None:
    """What the job says stands in its export: shorthands as tables, plugins with their distributions."""
    if isinstance(exported, Mapping):
        if isinstance(written, str):
            written = {{"constructor": "type", "load_from": "path", "save_best": "metric"}[key]: written}
        for name, value in written.items():
            assert_within(value, exported[name], name)
    elif isinstance(exported, list):
        assert len(written) == len(exported)
        for one, other in zip(written, exported, strict=True):
            assert_within(one, other, key)
    elif key == "type" and isinstance(exported, str):
        assert exported.rpartition("/")[2] == written.rpartition("/")[2]
    else:
        assert exported == written


@settings(max_examples=60)
@given(WITH_A_PLAN)
def test_any_plan_is_the_same_again(data: dict[str, Any]) -> None:
    job = job_from_dict(data)
    try:
        before = effect(job)
    except JobError:
        return
    found = compare(before, effect(again(job)))
    assert found.same, found.as_json()


OPTIMIZERS = [plugin for plugin in find() if plugin.kind == "optimizers"]
OF_OTHER_MODELS = {"optimctl/Muon", "optimctl/SparseAdam", "optimctl-mmengine/MMEngine"}
"""Those of matrices alone, of sparse embeddings, and one that needs an argument."""


@pytest.mark.parametrize("plugin", OPTIMIZERS, ids=[plugin.qualified for plugin in OPTIMIZERS])
def test_every_optimizer_has_the_same_options_again(plugin: Any) -> None:
    optimizer = {"type": plugin.qualified, **({"num_iterations": 10} if plugin.name == "Ranger21" else {})}
    job = job_from_dict(
        {"model": {"type": "MLP", "in_features": 2, "out_features": 2}, "optim_wrapper": {"optimizer": optimizer}}
    )
    try:
        before = effect(job)
    except JobError as error:
        assert plugin.qualified in OF_OTHER_MODELS, error  # noqa: PT017
        return
    found = compare(before, effect(again(job)))
    assert found.same, found.as_json()


# --- what is written


def document(text: str) -> list[str]:
    return export_toml(Source(parse_job(text))).splitlines()


def test_a_job_of_nothing_has_its_defaults_all_the_same() -> None:
    assert export_toml(Source(parse_job("", "empty.toml"))) == EMPTY


EMPTY = """\
# A job of optimctl with every default written out. Behind a # stands the default of a key that is not given:
# one that is no value of TOML, or one that is left to the machine.

param_scheduler = []
hooks = {}
# model = None
# task = None
# train_dataloader = None
# val_dataloader = None
# test_dataloader = None
# train_cfg = None
# optim_wrapper = None

[job]
name = "empty"
seed = 0
work_dir = "runs/empty"
deterministic = false
compile = false
# device = "auto"
# load_from = None

[log]
interval = 10

[checkpoint]
interval = 1
# keep = None (all)
# save_best = None
"""


def test_what_the_machine_chooses_and_what_toml_cannot_say_are_comments() -> None:
    lines = document(BLOBS)
    start = lines.index("[optim_wrapper.optimizer]")
    assert lines[start : lines.index("", start)] == [
        "[optim_wrapper.optimizer]",
        'type = "optimctl/SGD"',
        "lr = 0.1",
        "momentum = 0.9",
        "dampening = 0",
        "weight_decay = 0",
        "nesterov = false",
        "maximize = false",
        "# foreach = None",
        "# differentiable = false",
        "# fused = None",
    ]
    assert 'device = "cpu"' in lines
    assert "# prefetch_factor = None (2, with workers)" in lines


def test_what_is_given_is_never_a_comment() -> None:
    lines = document(BLOBS + '[optim_wrapper.constructor]\ntype = "DefaultOptimWrapperConstructor"\n')
    lines += document('job.device = "auto"\noptim_wrapper.optimizer = { type = "SGD", fused = false, lr = 0.1 }')
    assert {'device = "auto"', "fused = false"} <= set(lines)
    assert "# fused = None" in lines


def test_a_share_of_epochs_keeps_the_default_that_counts_iterations() -> None:
    """Where epochs are converted to iterations, torch's default of 2000 iterations would become 2000 epochs."""
    table = '[[param_scheduler]]\ntype = "CyclicLR"\nbase_lr = 0.1\nmax_lr = 1.0\n'
    assert "step_size_up = 2000" in document(table)
    assert "cycle_momentum = false" in document(table)  # torch's own default is true, and means a second option
    assert "# step_size_up = 2000" in document(table + "convert_to_iter_based = true\n")


ODD = """
    import enum, functools, math, pathlib
    from pydantic import BaseModel, PositiveInt
    from torch import nn

    class Mode(str, enum.Enum):
        FAST = "fast"

    def helper(): ...

    class Net(nn.Module):
        def __init__(
            self, plain=1, many=(1, 2), nested=((1, 2), 3), array=[1, [2]], table={"a": [1]}, empty=(), infinite=math.inf,
            mode=Mode.FAST, path=pathlib.Path("x"), call=helper, names=frozenset({"b", "a"}), huge=2**70, text="a\\nb",
            none=None, **more,
        ):
            super().__init__()
            assert type(many) is tuple and type(empty) is tuple and type(array) is list, (many, array)
            self.linear = nn.Linear(plain, 1)

    class Checked(BaseModel):
        size: PositiveInt = 1
        other: int = 2

    class Strict(nn.Module):
        Arguments = Checked

        def __init__(self, size=0, other=2):
            super().__init__()
            self.linear = nn.Linear(1, other)
    """


def test_defaults_of_every_sort(site: Site) -> None:
    site.install("odd", {"models": {"Net": "odd:Net"}}, {"odd": ODD})
    job = parse_job('model = { type = "Net", extra = 3 }')
    lines = export_toml(Source(job)).splitlines()
    assert lines[lines.index("[model]") : lines.index("[model.table]") - 1] == [
        "[model]",
        'type = "odd/Net"',
        "plain = 1",
        "many = [1, 2]",
        "array = [1, [2]]",
        "empty = []",
        'text = "a\\nb"',
        "extra = 3",
        "# nested = [[1, 2], 3]",
        "# infinite = inf",
        "# mode = <Mode.FAST: 'fast'>",
        "# path = PosixPath('x')",
        "# call = <function helper>",
        "# names = frozenset({'a', 'b'})",
        "# huge = 1180591620717411303424",
        "# none = None",
    ]
    assemble(again(job))  # its own assertions hold: tuples come as tuples


def test_a_default_that_the_plugins_own_model_refuses_is_a_comment(site: Site) -> None:
    site.install("odd", {"models": {"Strict": "odd:Strict"}}, {"odd": ODD})
    job = parse_job('model = { type = "Strict" }')
    assert {"other = 2", "# size = 0"} <= set(export_toml(Source(job)).splitlines())
    again(job)


OWN_LOADING = """
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Sampled(Dataset):
        def __init__(self, batches=False):
            setattr(self, "batch_sampler" if batches else "sampler", [[0, 1]] if batches else [0, 1])

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return torch.zeros(2), 0

    def ready():
        return DataLoader([(torch.zeros(2), 0)] * 4, batch_size=2)
    """


@pytest.mark.parametrize(
    "dataset", ['{ type = "Sampled" }', '{ type = "Sampled", batches = true }', '{ type = "ready" }']
)
def test_data_with_a_loader_of_its_own_bears_the_defaults_beside_it(site: Site, dataset: str) -> None:
    site.install("own", {"datasets": {"Sampled": "own:Sampled", "ready": "own:ready"}}, {"own": OWN_LOADING})
    job = parse_job(f"train_dataloader.dataset = {dataset}")
    assert "batch_size = 1" in export_toml(Source(job)).splitlines()
    before, after = assemble(job).train_loader, assemble(again(job)).train_loader
    assert before is not None
    assert after is not None
    assert len(list(before)) == len(list(after))


WRAPPER = """
    from optimctl.optim import OptimWrapper

    class Plain(OptimWrapper):
        def __init__(self, optimizer, scale=2.0):
            super().__init__(optimizer)
    """


def test_a_key_that_the_wrapper_does_not_take_is_a_comment(site: Site) -> None:
    site.install("own", {"optim_wrappers": {"Plain": "own:Plain"}}, {"own": WRAPPER})
    job = parse_job(
        'model = { type = "MLP", in_features = 1, out_features = 1 }\n[optim_wrapper]\ntype = "Plain"\noptimizer = { type = "SGD" }'
    )
    lines = export_toml(Source(job)).splitlines()
    assert {"scale = 2.0", "# accumulative_counts = 1"} <= set(lines)
    assemble(again(job))


# --- what cannot be written


def refusal(text: str, export: Any = export_toml) -> list[str]:
    with pytest.raises(JobError) as caught:
        export(Source(parse_job(text)))
    return [str(problem) for problem in caught.value.problems]


def test_a_job_that_its_plugins_refuse_is_told_in_full() -> None:
    assert refusal('model = { type = "MLP", in_feature = 1 }\ntask = { type = "Classification", loss = "L3Loss" }') == [
        "job.toml:1:9: model: MLP (optimctl) needs the argument 'in_features'",
        "job.toml:1:9: model: MLP (optimctl) needs the argument 'out_features'",
        "job.toml:1:25: model.in_feature: MLP (optimctl) has no argument 'in_feature'; did you mean 'in_features'?",
        "job.toml:2:42: task.loss: torch.nn has no loss called 'L3Loss'",
    ]


def test_what_json_cannot_say_is_told_by_its_key(site: Site) -> None:
    site.install("odd", {"models": {"Net": "odd:Net"}}, {"odd": ODD})
    assert refusal('model = { type = "Net", a = [1, inf], b = { c = 2026-01-02 } }', export_json) == [
        "job.toml:1:33: model.a.1: JSON cannot say inf; export it as toml",
        "job.toml:1:49: model.b.c: JSON cannot say 2026-01-02; export it as toml",
    ]
