"""A job is data: what its tables of MMEngine's kind name is registered, and of packages that it may import."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from optimctl_mmengine.parts import build_dataset, build_model, build_optimizer
from optimctl_mmengine.permission import VARIABLE, may_import
from optimctl_mmengine.tasks import build_task
from optimctl_mmengine.theirs import MMEngineConstructor
from torch import nn

import optimctl
from optimctl.cli.main import exit_code
from optimctl.errors import JobError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.usefixtures("folder"),
]

NET = {"type": "TinyNet", "backbone": {"type": "Backbone", "width": 4, "stages": {"python": "(1,)"}}}
SGD = {"type": "SGD", "lr": 0.1}


@pytest.fixture
def call(folder: Path) -> dict[str, Any]:
    """A table that would run a command."""
    return {"type": "os.system", "command": "echo > ran.txt"}


def test_a_job_runs_no_function_that_is_not_registered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = folder / "job.toml"
    job.write_text(
        '[model]\ntype = "MMEngine"\ncfg = { type = "os.system", command = "echo > ran.txt" }\n[train_cfg]\nmax_epochs = 1\n'
        '[optim_wrapper]\noptimizer = { type = "SGD" }\n'
    )
    assert exit_code(["inspect", str(job)]) == 2
    assert capsys.readouterr().err.startswith(
        f"{job}:3:16: model.cfg.type: 'os.system' is in no registry of MMEngine's, and a job, which is data, names no other class or "
        "function; register it, with @MODELS.register_module() or its like, in a module that `imports` names"
    )
    assert not (folder / "ran.txt").exists()


PLACES: dict[str, Callable[[Any], Any]] = {
    "cfg.backbone.type": lambda table: build_model({"type": "TinyNet", "backbone": table}, "tinymm"),
    "cfg.layers.1.inner.type": lambda table: build_model({**NET, "layers": [1, {"inner": table}]}, "tinymm"),
    "cfg.data_preprocessor.type": lambda table: build_model(
        {**NET, "data_preprocessor": {"python": repr(table)}}, "tinymm"
    ),
    "cfg.type": lambda table: build_dataset(table, "tinymm"),
    "sampler.type": lambda table: build_dataset({"type": "Clouds"}, "tinymm", sampler=table),
    "batch_sampler.type": lambda table: build_dataset({"type": "Clouds"}, "tinymm", batch_sampler=table),
    "collate_fn.type": lambda table: build_dataset({"type": "Clouds"}, "tinymm", collate_fn=table),
    "metrics.1.type": lambda table: build_task([{"type": "Accuracy"}, table], "tinymm"),
    "name": lambda table: build_optimizer([], table["type"], "tinymm"),
    "constructor.name": lambda table: MMEngineConstructor({"optimizer": SGD}, name=table["type"], scope="tinymm"),
    "paramwise_cfg.inner.type": lambda table: MMEngineConstructor({"optimizer": SGD}, {"inner": table}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "marking.x",
        "marking_package.Net",
        "mmengine.os.system",
        "tinymm.models.torch.nn.Linear",
        "__import__('os').system('echo > ran.txt')",
    ],
)
def test_nothing_that_is_not_registered_is_looked_up_anywhere(
    place: str, name: str, folder: Path, call: dict[str, Any]
) -> None:
    with pytest.raises(JobError) as refused:
        PLACES[place]({**call, "type": name})
    is_alone = place.endswith("name")
    why = r"MMEngine's registry of [a-z ]+s has no '{}'" if is_alone else "'{}' is in no registry of MMEngine's"
    assert re.match(f"{place}: {why.format(re.escape(name))}", str(refused.value))
    assert not (folder / "ran.txt").exists()
    assert "marking" not in sys.modules


@pytest.mark.parametrize("place", PLACES)
def test_a_word_is_not_taken_for_a_module(place: str, folder: Path, call: dict[str, Any]) -> None:
    with suppress(Exception):  # only a class knows whether it is a word of its own
        PLACES[place]({**call, "type": "marking"})
    assert not (folder / "ran.txt").exists()
    assert "marking" not in sys.modules


def test_all_that_is_not_registered_is_told_at_once() -> None:
    table = {"type": "os.system"}
    with pytest.raises(JobError) as refused:
        build_model({**NET, "one": table, "two": [table, {"type": "Backbone", "_scope_": "marking_package"}]}, "tinymm")
    assert [problem.key for problem in refused.value.problems] == [
        ("cfg", "one", "type"),
        ("cfg", "two", 0, "type"),
        ("cfg", "two", 1, "_scope_"),
    ]
    assert VARIABLE in refused.value.problems[2].message


def test_a_literal_is_read_once() -> None:
    hidden = {"python": repr({"python": repr({"type": "os.system", "command": "echo > ran.txt"})})}
    with pytest.raises(KeyError, match='must contain the key "type"'):
        build_model({"type": "TinyNet", "backbone": hidden}, "tinymm")
    assert not Path("ran.txt").exists()


@pytest.mark.parametrize("name", ["TinyNet", "tinymm.TinyNet", "tinymm.models.TinyNet"])
def test_registered_classes_are_found_by_all_their_names(name: str) -> None:
    assert type(build_model({**NET, "type": name}, "tinymm")).__name__ == "TinyNet"


def test_words_of_a_class_of_its_own_pass() -> None:
    model = build_model({**NET, "init_cfg": {"type": "nms", "other": {"type": ""}}}, "tinymm")
    assert model.init_cfg["type"] == "nms"


@pytest.mark.parametrize("scope", ["marking_package", ["tinymm"], 1])
def test_a_scope_in_a_table_is_a_package_that_a_job_may_import(scope: Any, folder: Path) -> None:
    with pytest.raises(JobError, match=r"^cfg._scope_: a job is data, and cannot import '"):
        build_model({**NET, "_scope_": scope}, "tinymm")
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize(
    "name",
    ["mmengine.evaluator.Evaluator", "mmengine.runner.Runner", "mmengine.model.MMFullyShardedDataParallel", "PlainSGD"],
)
@pytest.mark.parametrize("place", ["cfg", "dataset", "metrics.0", "collate_fn", "name", "constructor.name"])
def test_what_another_kind_of_registry_has_is_not_built(place: str, name: str, folder: Path) -> None:
    table, work_dir = {"type": name}, {"type": name, "work_dir": str(folder / "made")}
    calls: dict[str, Callable[[], Any]] = {
        "cfg": lambda: build_model(work_dir, "tinymm"),
        "dataset": lambda: build_dataset(work_dir, "tinymm"),
        "metrics.0": lambda: build_task([table], "tinymm"),
        "collate_fn": lambda: build_dataset({"type": "Clouds"}, "tinymm", collate_fn=table),
        "name": lambda: build_optimizer([], name if "." in name else "FastHeadConstructor", "tinymm"),
        "constructor.name": lambda: MMEngineConstructor({"optimizer": SGD}, name=name, scope="tinymm"),
    }
    with pytest.raises(JobError, match=r"MMEngine's registry of [a-z ]+s has no '"):
        calls[place]()
    assert not (folder / "made").exists()


@pytest.mark.parametrize("table", [{"a": 1}, {"type": ["x"]}, {"type": {"type": "Clouds"}}])
@pytest.mark.parametrize("place", ["cfg", "sampler", "batch_sampler", "collate_fn", "metrics.0"])
def test_a_table_without_a_class_is_told(place: str, table: dict[str, Any]) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "cfg": lambda: build_model(table, "tinymm"),
        "metrics.0": lambda: build_task([table], "tinymm"),
    }
    parts = {place: table}
    with pytest.raises(JobError, match=rf"^{place}.type: name the class, as a configuration of MMEngine does$"):
        calls.get(place, lambda: build_dataset({"type": "Clouds"}, "tinymm", **parts))()


def test_what_writes_a_file_is_no_metric() -> None:
    why = "DumpResults is no metric: it writes a file, which MMEngine's own test tool does"
    with pytest.raises(JobError, match=f"^metrics.1.type: {why}$"):
        build_task([{"type": "Accuracy"}, {"type": "DumpResults", "out_file_path": "x.pkl"}], "tinymm")


def test_a_misspelt_class_is_told_the_nearest() -> None:
    with pytest.raises(
        JobError, match=r"^cfg.type: MMEngine's registry of models has no 'TinyNett'; did you mean 'TinyNet'\?$"
    ):
        build_model({**NET, "type": "TinyNett"}, "tinymm")


# --- optimizers -------------------------------------------------------------------------------------------------------


PLAIN = {"type": "MMEngine", "name": "PlainSGD", "scope": "tinymm", "lr": 0.1}


def groups(optimizer: dict[str, Any]) -> None:
    """Build a wrapper by MMEngine's own constructor."""
    constructor = {"type": "MMEngine", "name": "DefaultOptimWrapperConstructor"}
    optimctl.build_optim_wrapper(nn.Linear(2, 2), {"optimizer": optimizer, "constructor": constructor})


@pytest.mark.parametrize("optimizer", [SGD, PLAIN])
def test_a_scope_among_the_arguments_of_an_optimizer_is_refused(optimizer: dict[str, Any], folder: Path) -> None:
    with pytest.raises(JobError, match=r"optimizer._scope_: a job is data, and cannot import 'marking_package'"):
        groups({**optimizer, "_scope_": "marking_package"})
    with pytest.raises(JobError, match=r"optimizer._scope_: it is no argument; .* name the package with `scope`"):
        groups({**optimizer, "_scope_": "tinymm"})
    with pytest.raises(JobError, match=r"_scope_: a job is data, and cannot import 'marking_package'"):
        optimctl.build_optim_wrapper(nn.Linear(2, 2), {"optimizer": {**PLAIN, "_scope_": "marking_package"}})
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("optimizer", [{"type": "SGD"}, {key: PLAIN[key] for key in ("type", "name", "scope")}])
def test_the_arguments_of_an_optimizer_are_no_literal(optimizer: dict[str, Any], folder: Path) -> None:
    with pytest.raises(JobError, match="unexpected keyword argument 'python'"):
        groups({**optimizer, "python": "{'type': 'marking.go', 'lr': 0.1}"})
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("optimizer", [SGD, PLAIN])
def test_tables_among_the_arguments_of_an_optimizer_name_what_is_registered(optimizer: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=r"optimizer.inner.type: 'marking.go' is in no registry of MMEngine's"):
        groups({**optimizer, "inner": {"python": "{'type': 'marking.go'}"}})
    assert "marking" not in sys.modules


# --- packages ---------------------------------------------------------------------------------------------------------


def test_a_job_imports_no_package_that_nobody_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    why = (
        "a job is data, and cannot import '{0}': no installed package that is built on MMEngine has it; if it is code of your own, "
        f"name it in the environment variable {VARIABLE}, as in {VARIABLE}={{0}}"
    )
    for scope, imports, key, name in (
        ("marking_package", [], "scope", "marking_package"),
        (None, ["marking"], "imports.0", "marking"),
        (None, ["mmengine.model", "os"], "imports.1", "os"),
        ("tinymm", [], "scope", "tinymm"),
    ):
        with pytest.raises(JobError) as refused:
            build_model(NET, scope, imports)
        assert str(refused.value) == f"{key}: {why.format(name)}"
    assert not (folder / "ran.txt").exists()


def test_a_person_names_modules_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mine.models, tinymm")
    assert may_import("mine.models")
    assert may_import("mine.models.nets")
    assert not may_import("mine")
    assert not may_import("mine.models_too")
    (folder / "mine").mkdir()
    (folder / "mine" / "models.py").write_text(
        "from mmengine.registry import MODELS\nfrom torch import nn\n\n@MODELS.register_module()\nclass MyOwnLinear(nn.Linear): ...\n"
    )
    cfg = {"type": "MyOwnLinear", "in_features": 2, "out_features": 3}
    assert build_model(cfg, imports=["mine.models"]).weight.shape == (3, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("metadata", "files", "may"),
    [
        ("Requires-Dist: mmengine<1.0,>=0.7\n", {"top_level.txt": "mmsome\n"}, True),
        ("Requires-Dist: MMCV>=2.0; extra == 'mim'\nProvides-Extra: mim\n", {"top_level.txt": "mmsome\n"}, True),
        ("Requires-Dist: mmengine_lite\n", {"RECORD": "mmsome/__init__.py,,\nmmsome/models.py,,\n"}, True),
        ("Requires-Dist: mmengine-lite\n", {"RECORD": "mmsome.py,,\n../../bin/other.py,,\n"}, True),
        ("Requires-Dist: numpy\n", {"top_level.txt": "mmsome\n"}, False),
        ("Requires-Dist: mmengineering\n", {"top_level.txt": "mmsome\n"}, False),
        ("Requires-Dist: mmengine\n", {"top_level.txt": "other\n"}, False),
    ],
)
def test_packages_that_are_built_on_mmengine(metadata: str, files: dict[str, str], may: bool, folder: Path) -> None:
    info = folder / "some_distribution-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: some-distribution\nVersion: 1.0\n{metadata}")
    for name, text in files.items():
        (info / name).write_text(text)
    (folder / "mmsome").mkdir()
    for name in ("mmsome/__init__.py", "mmsome.py"):
        (folder / name).touch()
    sys.path.insert(0, f"{folder}/.")  # a path that nobody has looked at
    try:
        assert may_import("mmsome") is may
        assert may_import("mmsome.models") is may
    finally:
        del sys.path[0]


def test_mmengine_and_what_is_installed_as_editable() -> None:
    assert may_import("mmengine.model")
    assert may_import("optimctl_mmengine")
    assert not may_import("optimctl.train")  # its tests require MMEngine, it does not
    assert not may_import("torch")


def test_the_whole_job_runs_with_the_variable(configs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = folder / "jobs"
    assert exit_code(["import", "mmengine", str(configs / "tiny" / "own_classes.py"), "-o", str(jobs)]) == 0
    file = next(jobs.rglob("own_classes.toml"))
    optimctl.run(optimctl.load_job(file), work_dir=folder / "runs")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(JobError, match=rf"model.scope: a job is data, .* {VARIABLE}=tinymm"):
        optimctl.run(optimctl.load_job(file), work_dir=folder / "runs")
