"""Finding plugins reads metadata only; loading imports one object; a message says what is missing and what to do."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimctl import plugins
from optimctl.errors import JobError, PluginError, UsageError, visible
from optimctl.optim import build_optim_wrapper
from optimctl.plugins import KINDS, Plugin, Plugins, find, find_project, load
from tests.jobs import blobs
from tests.plugins_on_disk import Site, run_python, write_project

OWN = [plugin for plugin in find() if plugin.distribution == "optimctl"]
NET = {"models": {"Net": "net:Net"}}
NET_MODULE = {"net": "def Net(width: int, depth: int = 2): ...\n"}


def told(kind: str, name: str, found: Plugins | None = None) -> str:
    """The message about a name that cannot be used."""
    with pytest.raises(PluginError) as caught:
        (found or find()).get(kind, name)
    return str(caught.value)


def first_line(kind: str, name: str, found: Plugins | None = None) -> str:
    return told(kind, name, found).splitlines()[0]


def clashes(found: Plugins) -> list[list[str]]:
    """The names that are claimed twice, but for those that optimctl-pytorch-optimizer, which is installed, shares with torch."""
    every = [[claim.qualified for claim in claims] for claims in found.conflicts()]
    return [names for names in every if not any(name.startswith("optimctl-pytorch-optimizer/") for name in names)]


# --- what ships with optimctl


def test_what_ships_comes_in_through_the_same_door() -> None:
    assert {(plugin.kind, plugin.name) for plugin in OWN} >= {
        ("optim_wrappers", "OptimWrapper"),
        ("constructors", "DefaultOptimWrapperConstructor"),
        ("schedulers", "CosineAnnealingLR"),
        ("models", "MLP"),
        ("datasets", "Synthetic"),
        ("tasks", "Classification"),
        ("tasks", "ModelLoss"),
        ("tasks", "Supervised"),
    }


def test_every_optimizer_of_the_installed_torch_is_listed() -> None:
    of_torch = {
        name
        for name, item in vars(torch.optim).items()
        if inspect.isclass(item) and issubclass(item, torch.optim.Optimizer) and item is not torch.optim.Optimizer
    }
    listed = {p.name: p.object for p in find() if p.kind == "optimizers" and p.object.startswith("torch")}
    assert listed == {name: f"torch.optim:{name}" for name in of_torch}


@pytest.mark.parametrize("plugin", OWN, ids=[f"{plugin.kind}-{plugin.name}" for plugin in OWN])
def test_what_ships_can_be_loaded(plugin: Plugin) -> None:
    assert callable(load(plugin).object)


def test_a_name_of_optimctl_that_its_metadata_lacks_asks_for_a_new_install() -> None:
    message = told("optimizers", "SGD", Plugins({}))
    assert message.startswith("no optimizer is called 'SGD' in optimctl's metadata, which is older than its code")
    assert "pip install -e" in message
    assert "reinstall" not in told("optimizers", "Net", Plugins({}))


# --- finding


def test_finding_imports_nothing(site: Site) -> None:
    site.install("raises-at-import", NET, {"net": "raise RuntimeError('imported')"})
    assert find().get("models", "Net") == Plugin("models", "Net", "raises-at-import", "1.0", "net:Net")
    seen = site.python("""
        import sys
        from optimctl.plugins import find
        print(find().get("models", "Net").qualified, "net" in sys.modules, "torch" in sys.modules)
    """)
    assert seen.split() == ["raises-at-import/Net", "False", "False"]


def test_kinds_that_optimctl_does_not_know_are_no_plugins(site: Site) -> None:
    site.install("other-tool", {"gadgets": {"Net": "net:Net"}})
    assert "Net" not in [plugin.name for plugin in find()]


def test_one_distribution_twice_on_the_path_is_one(site: Site, tmp_path: Path) -> None:
    site.install("twice", NET, version="2.0")
    second = Site(tmp_path / "second")
    second.install("twice", NET)
    sys.path.append(str(second.folder))
    assert find().get("models", "Net").version == "2.0"
    assert not clashes(find())


def test_one_distribution_spelt_in_two_ways_is_one(site: Site) -> None:
    site.install("My_Plugins", NET)
    for name in ("Net", "my-plugins/Net", "My_Plugins/Net", "my.plugins/Net"):
        assert find().get("models", name).qualified == "my-plugins/Net"


def test_what_an_uninstall_left_behind_is_no_plugin(site: Site) -> None:
    (site.install("half-gone", NET) / "METADATA").unlink()
    site.install("whole", {"models": {"Other": "net:Net"}})
    assert find().answering("models", "Net") is None
    assert find().get("models", "Other").distribution == "whole"


def test_of_two_copies_the_one_answers_that_python_imports(site: Site, tmp_path: Path) -> None:
    older = Site(tmp_path / "older")
    older.install("moved", {"models": {"Gone": "net:Net"}, "tasks": {"Kept": "net:Kept"}}, version="1.0")
    older.install("emptied", NET)
    site.install("moved", {"tasks": {"Kept": "net:Kept"}}, version="2.0")
    site.install("emptied", {}, version="2.0")
    sys.path.append(str(older.folder))
    assert find().names("models") == [name for name in find().names("models") if name not in ("Gone", "Net")]
    assert find().get("tasks", "Kept").version == "2.0"


def test_an_editable_install_is_one_with_the_folder_it_was_made_from(site: Site, tmp_path: Path) -> None:
    site.install("my-nets", NET)
    egg = tmp_path / "checkout" / "my_nets.egg-info"
    egg.mkdir(parents=True)
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: my-nets\nVersion: 1.0\n", "utf-8")
    (egg / "entry_points.txt").write_text("[optimctl.models]\nNet = net:Net\n", "utf-8")
    sys.path.insert(0, str(egg.parent))
    assert [plugin.qualified for plugin in find() if plugin.name == "Net"] == ["my-nets/Net"]
    assert find().get("models", "Net").version == "1.0"


def test_a_process_looks_once(fresh_plugins: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looks: list[None] = []

    def counted(*given: Any) -> Plugins:
        looks.append(None)
        return find(*given)

    monkeypatch.setattr("optimctl.plugins.loading.find", counted)
    job = blobs(tmp_path)
    build_optim_wrapper(nn.Linear(2, 2), job.plain()["optim_wrapper"])
    assert len(looks) == 1


# --- metadata that is not as it should be


def test_metadata_that_cannot_be_read_costs_nobody_else_anything(site: Site) -> None:
    (site.install("no-metadata", NET) / "METADATA").unlink()
    (site.install("no-name", NET) / "METADATA").write_text("Metadata-Version: 2.1\n", "utf-8")
    (site.install("garbled", NET) / "entry_points.txt").write_bytes(b"[optimctl.models]\nNet\xff = net:Net\n")
    (site.install("halved", NET) / "entry_points.txt").write_text("[optimctl.models]\nNet\n", "utf-8")
    site.install("typo", {"model": {"Net": "net:Net"}})
    site.install("sound", {"models": {"Other": "net:Other"}})
    found = find()
    assert found.get("models", "Other").distribution == "sound"
    told_of = {Path(flaw.distribution).name: flaw.message for flaw in found.flaws}
    assert sorted(told_of) == ["garbled", "halved", "no_metadata-1.0.dist-info", "no_name-1.0.dist-info", "typo"]
    assert told_of["garbled"].startswith("its entry_points.txt cannot be read (UnicodeDecodeError: ")
    assert told_of["halved"].startswith("its entry_points.txt cannot be read (")
    assert told_of["no_metadata-1.0.dist-info"].startswith("its METADATA cannot be read (")
    assert told_of["typo"] == (
        "its entry points stand in the group 'optimctl.model', and no kind is called 'model'; did you mean 'models'?"
    )


def test_a_missing_name_may_be_that_of_a_distribution_whose_metadata_is_flawed(site: Site) -> None:
    (site.install("halved", NET) / "entry_points.txt").write_text("[optimctl.models]\nNet\n", "utf-8")
    assert told("models", "halved/Net").splitlines()[-1] == (
        "    something is wrong with the metadata of 'halved': `optimctl plugins check`"
    )


@pytest.mark.parametrize("name", ["\x1b[31mNet", "Net\x07", "sla/sh"])
def test_a_name_that_no_job_can_write_is_no_plugin_to_load(site: Site, name: str) -> None:
    site.install("painted", {"models": {name: "net:Net"}, "tasks": {"Task": "net:Task"}})
    (plugin,) = (plugin for plugin in find() if plugin.distribution == "painted" and plugin.kind == "models")
    with pytest.raises(PluginError) as caught:
        load(plugin)
    assert str(caught.value) == (
        f"the model '{visible(name)}' of painted (net:Net) cannot be loaded: its name cannot be written in a job"
    )
    assert find().get("tasks", "Task").distribution == "painted"


# --- what is left out


def test_distributions_can_be_left_out(site: Site, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my-nets", "your-nets", "others"):
        site.install(name, {"models": {name: "net:Net"}}, {"net": "raise OSError"})
    monkeypatch.setenv("OPTIMCTL_DISABLE_PLUGINS", "My_Nets,  your* nobody")
    found = plugins.installed()
    assert {"my-nets", "your-nets", "others"} & set(found.names("models")) == {"others"}
    for name in ("my-nets", "my-nets/my-nets", "My.Nets/my-nets"):
        assert told("models", name, found) == (
            f"the model '{name}' of 'my-nets' is left out by the variable OPTIMCTL_DISABLE_PLUGINS"
        )
    assert first_line("models", "other/my-nets", found).startswith("no model is called 'other/my-nets'")
    assert "net" not in sys.modules


def test_what_is_left_out_claims_nothing(site: Site) -> None:
    site.install("one", NET)
    site.install("two", NET)
    assert find(None, "one").get("models", "Net").distribution == "two"
    assert not clashes(find(None, "one"))


def test_optimctls_own_plugins_cannot_be_left_out(tmp_path: Path) -> None:
    project = find_project(write_project(tmp_path, TABLE))
    found = find(project, "optimctl *")
    assert [plugin for plugin in found if plugin.distribution != "optimctl"] == []
    assert found.get("optimizers", "SGD").distribution == "optimctl"
    assert "project/Net" in [plugin.qualified for plugin in found.disabled]


# --- two claims to a name


def test_two_distributions_with_one_name_are_an_error_that_shows_both(site: Site) -> None:
    site.install("one", NET)
    site.install("two", NET)
    found = find()
    assert (
        told("models", "Net", found) == "several distributions bring a model called 'Net'; write 'one/Net' or 'two/Net'"
    )
    assert found.get("models", "two/Net").distribution == "two"
    assert clashes(found) == [["one/Net", "two/Net"]]


def test_the_same_name_for_two_kinds_is_no_conflict(site: Site) -> None:
    site.install("both", {"models": {"Net": "net:Net"}, "hooks": {"Net": "net:Net"}})
    assert not clashes(find())
    assert find().get("hooks", "Net").kind == "hooks"


def test_a_name_of_optimctl_cannot_be_taken_over(site: Site) -> None:
    site.install("a-taker", {"optimizers": {"SGD": "net:Net"}})
    found = find()
    assert found.get("optimizers", "SGD").distribution == "optimctl"
    assert found.get("optimizers", "a-taker/SGD").distribution == "a-taker"
    assert clashes(found) == [["a-taker/SGD", "optimctl/SGD"]]


# --- unknown names


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("optimizers", "SDG", "no optimizer is called 'SDG'; did you mean 'SGD'?"),
        ("optimizers", "adamw", "no optimizer is called 'adamw'; did you mean 'AdamW'?"),
        ("optimizers", "optimctl/SDG", "no optimizer is called 'optimctl/SDG'; did you mean 'SGD'?"),
        ("optimizers", "elsewhere/SGD", "no optimizer is called 'elsewhere/SGD'; did you mean 'optimctl/SGD'?"),
        (
            "optim_wrappers",
            "SGD",
            "no optim wrapper is called 'SGD'; an optimizer is called that, not an optim wrapper",
        ),
        (
            "optimizers",
            "optimctl/LinearLR",
            "no optimizer is called 'optimctl/LinearLR'; a scheduler is called that, not an optimizer",
        ),
        (
            "optimizers",
            "ConsineAnnealingLR",
            "no optimizer is called 'ConsineAnnealingLR'; did you mean 'CosineAnnealingLR', a scheduler?",
        ),
        ("optimizers", "SGD\n", "no optimizer is called 'SGD\\n'; did you mean 'SGD'?"),
    ],
)
def test_an_unknown_name_is_answered_with_what_is_there(kind: str, name: str, message: str) -> None:
    assert first_line(kind, name) == message


def test_a_typing_error_needs_no_more_than_a_hint() -> None:
    assert told("optimizers", "SDG") == "no optimizer is called 'SDG'; did you mean 'SGD'?"


def test_a_name_that_is_only_alike_may_be_ones_own() -> None:
    resnet = Plugin("models", "ResNet", "vision", "1.0", "a:b")
    message = told("models", "Net", Plugins({"models": {"ResNet": (resnet,)}}))
    assert message.startswith("no model is called 'Net'; did you mean 'ResNet'?\n")
    assert message.endswith('Net = "module:Net"')


def test_few_names_are_listed_and_many_are_counted() -> None:
    def some(count: int) -> Plugins:
        names = [f"Part{number}" for number in range(count)]
        return Plugins({"models": {name: (Plugin("models", name, "parts", "1.0", "a:b"),) for name in names}})

    assert first_line("models", "Xyz", some(0)) == "no model is called 'Xyz'; none is installed"
    assert first_line("models", "Xyz", some(2)) == (
        "no model is called 'Xyz'; there is 'Part0' and 'Part1' (`optimctl plugins list models`)"
    )
    assert first_line("models", "Xyz", some(11)).endswith(" and 3 more (`optimctl plugins list models`)")


def test_an_unknown_name_is_answered_with_the_lines_to_add(tmp_path: Path) -> None:
    _, *lines = told("models", "elsewhere/MyNet").splitlines()
    assert lines == [
        "    install the package that brings it, or, for code of your own, add to the pyproject.toml of your project:",
        "        [tool.optimctl.plugins.models]",
        '        MyNet = "module:MyNet"',
    ]
    folder = write_project(tmp_path, "[tool.optimctl]")
    assert f"add to {folder / 'pyproject.toml'}:" in told("models", "MyNet", find(find_project(folder)))


def test_the_lines_to_add_are_a_project(tmp_path: Path) -> None:
    folder = write_project(tmp_path, "\n".join(told("models", "MyNet").splitlines()[2:]))
    project = find_project(folder)
    assert project is not None
    assert [plugin.qualified for plugin in project.plugins] == ["project/MyNet"]


# --- loading


@pytest.mark.parametrize(
    ("place", "source", "cause"),
    [
        (
            "net:Net",
            "import no_such_library",
            "ModuleNotFoundError: No module named 'no_such_library' (net.py:1 in <module>)",
        ),
        ("net:Net", "from json import nothing", "ImportError: cannot import name 'nothing' from 'json'"),
        ("net:Net", "def f(:\n    pass", "SyntaxError: invalid syntax (net.py, line 1)"),
        ("net:Net", "import sys\nsys.exit('no licence')", "SystemExit: no licence (net.py:2 in <module>)"),
        ("net:Net", "raise RuntimeError('no GPU')", "RuntimeError: no GPU (net.py:1 in <module>)"),
        ("net:Net", "class Nat: ...", "module 'net' has no attribute 'Net'; did you mean 'Nat'?"),
        ("net:Net.small", "class Net: ...", "type object 'Net' has no attribute 'small'"),
        ("net:Net", "import json\njson.nothing", "module 'json' has no attribute 'nothing' (net.py:2 in <module>)"),
        ("gone:Net", "", "there is no module 'gone'; reinstall broken"),
        ("net.py:Net", "class Net: ...", "there is no module 'net.py'; reinstall broken"),
        ("net", "", "an entry point must be module:object"),
        ("a net:Net", "", "an entry point must be module:object"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_names_its_distribution(site: Site, place: str, source: str, cause: str) -> None:
    site.install("broken", {"models": {"Net": place}}, {"net": source})
    site.install("sound", {"models": {"Other": "sound_net:Other"}}, {"sound_net": "def Other(): ..."})
    found = find()
    with pytest.raises(PluginError) as caught:
        load(found.get("models", "Net"))
    assert str(caught.value).startswith(f"the model 'Net' of broken ({place}) cannot be loaded: ")
    assert cause in str(caught.value)
    assert "_bootstrap" not in str(caught.value)
    assert caught.value.code == "broken-plugin"
    assert load(found.get("models", "Other")).object.__name__ == "Other"


def test_what_cannot_be_called_is_told_what_its_kind_asks_for(site: Site) -> None:
    site.install("not-callable", NET, {"net": "Net = 3"})
    with pytest.raises(PluginError) as caught:
        load(find().get("models", "Net"))
    assert str(caught.value) == (
        "the model 'Net' of not-callable (net:Net) is of type int; it must be a callable that returns a torch.nn.Module"
    )
    assert caught.value.code == "wrong-kind"


@pytest.mark.parametrize(
    ("kind", "source", "what"),
    [
        ("optimizers", "class Part: ...", "is the class Part"),
        ("optimizers", "from torch.nn import Linear as Part", "is the class Linear"),
        ("optim_wrappers", "class Part: ...", "is the class Part"),
        ("constructors", "class Part: ...", "is the class Part"),
        ("schedulers", "class Part: ...", "is the class Part"),
        ("schedulers", "from torch.optim import SGD as Part", "is the class SGD"),
        ("schedulers", "from torch.optim.lr_scheduler import StepLR as Part", None),
        ("models", "from torch.optim import SGD as Part", "is the class SGD"),
        ("models", "from torch.nn import Linear\nPart = Linear(2, 2)", "is a model that is made already"),
        ("models", "from torch.nn import Linear as Part", None),
        ("models", "def Part(): ...", None),
        ("models", "class Part:\n    def __new__(cls): ...", None),
        ("datasets", "class Part: ...", "is the class Part"),
        ("datasets", "class Part:\n    def __iter__(self): ...", None),
        ("tasks", "class Part:\n    def evaluate(self): ...", "is the class Part"),
        ("tasks", "class Part:\n    def train_step(self): ...", None),
        ("hooks", "class Part:\n    def after(self): ...", "is the class Part"),
        ("hooks", "class Part:\n    def after_epoch(self): ...", None),
        ("exporters", "class Part: ...", None),
        ("exporters", "Part = 'json'", "is of type str"),
    ],
)
def test_a_class_of_another_kind_is_told_before_it_is_called(
    site: Site, kind: str, source: str, what: str | None
) -> None:
    site.install("mixed", {kind: {"Part": "part:Part"}}, {"part": source})
    plugin = find().get(kind, "Part")
    if what is None:
        assert callable(load(plugin).object)
        return
    with pytest.raises(PluginError) as caught:
        load(plugin)
    noun, contract = KINDS[kind].noun, KINDS[kind].contract
    assert str(caught.value) == f"the {noun} 'Part' of mixed (part:Part) {what}; it must be {contract}"
    assert caught.value.code == "wrong-kind"


def test_what_goes_past_every_handler_is_a_broken_plugin_too(site: Site) -> None:
    site.install("skips", NET, {"net": "class Skipped(BaseException): ...\nraise Skipped('no GPU here')"})
    with pytest.raises(PluginError, match=r"cannot be loaded: Skipped: no GPU here \(net.py:2 in <module>\)"):
        load(find().get("models", "Net"))


def test_an_interrupt_is_no_broken_plugin(site: Site) -> None:
    site.install("slow", NET, {"net": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        load(find().get("models", "Net"))


def test_loading_imports_that_object_and_no_other(site: Site) -> None:
    site.install(
        "two-parts", {"models": {"Net": "net:Net", "Other": "other:Other"}}, {**NET_MODULE, "other": "raise OSError"}
    )
    assert load(find().get("models", "Net")).object.__module__ == "net"
    assert "other" not in sys.modules


def test_an_object_may_be_an_attribute_of_one_and_name_an_extra(site: Site) -> None:
    site.install("factory", {"models": {"Net": "net:Nets.small [gpu]"}}, {"net": "class Nets:\n    small = str.lower"})
    assert load(find().get("models", "Net")).object is str.lower


def test_a_problem_stands_at_the_type_that_names_the_plugin(site: Site) -> None:
    site.install("broken", NET, {"net": "import no_such_library"})
    for name, code in (("Net", "broken-plugin"), ("Nettle", "unknown-plugin")):
        with pytest.raises(JobError) as caught:
            plugins.resolve("models", name, ("model",))
        (problem,) = caught.value.problems
        assert (problem.key, problem.code) == (("model", "type"), code)


# --- the user's own project

TABLE = """
    [tool.optimctl.plugins.models]
    Net = "train:Net"
"""


def test_the_nearest_folder_with_the_table_is_the_project(tmp_path: Path) -> None:
    outer = write_project(tmp_path / "outer", TABLE)
    write_project(outer / "inner", "[tool.ruff]")
    deep = outer / "inner" / "deep"
    deep.mkdir()
    project = find_project(deep)
    assert project is not None
    assert project.directory == outer
    assert find(project).get("models", "Net").qualified == "project/Net"
    assert find(project).get("models", "project/Net") == project.plugins[0]


def test_a_folder_can_be_named_as_the_project(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "named", TABLE)
    project = find_project(tmp_path, str(folder))
    assert project is not None
    assert project.directory == folder
    for other in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            UsageError, match=r"is no optimctl project: it has no pyproject.toml with a table \[tool.optimctl\]"
        ):
            find_project(tmp_path, str(other))


def test_without_a_table_there_is_no_project(tmp_path: Path) -> None:
    write_project(tmp_path, "[tool.ruff]")
    assert find_project(tmp_path) is None


@pytest.mark.parametrize("home", ["", "src/"])
def test_a_projects_code_is_loaded_from_its_folder_and_its_src(
    tmp_path: Path, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    folder = write_project(tmp_path / "mine", TABLE, {f"{home}train": "import parts\ndef Net(): ...", "parts": ""})
    monkeypatch.chdir(folder)
    assert "train" not in sys.modules
    loaded = plugins.resolve("models", "Net", ("model",))
    assert loaded.object.__module__ == "train"
    assert str(loaded) == "Net (project)"


def test_a_projects_code_goes_before_what_is_installed(site: Site, tmp_path: Path) -> None:
    site.install("other", {}, {"train": "raise RuntimeError('the wrong one')"})
    folder = write_project(tmp_path / "mine", TABLE, {"train": "def Net(): ...", "src/parts": ""})
    sys.path.append(str(folder))  # an editable install has put it last
    project = find_project(folder)
    assert project is not None
    load(project.plugins[0], project)
    assert sys.path[:2] == [str(folder / "src"), str(folder)]
    project.put_on_path()
    assert sys.path.count(str(folder)) == 1


def test_a_data_loaders_processes_see_the_project_too(tmp_path: Path) -> None:
    folder = write_project(
        tmp_path,
        TABLE,
        {"train": "def Net(): ...", "src/data": "def double(number: int) -> int:\n    return 2 * number\n"},
    )
    code = """
import multiprocessing
from optimctl import plugins

if __name__ == "__main__":
    plugins.resolve("models", "Net", ("model",))
    import data
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(data.double, [21]))
"""
    (tmp_path / "main.py").write_text(code, "utf-8")
    assert run_python("main.py", cwd=folder) == "[42]\n"


def test_a_name_of_the_project_and_of_a_distribution_is_a_conflict(site: Site, tmp_path: Path) -> None:
    site.install("other", NET)
    project = find_project(write_project(tmp_path / "mine", TABLE))
    assert told("models", "Net", find(project)).endswith("write 'other/Net' or 'project/Net'")


def test_a_broken_part_of_the_project_is_told_as_ones_own(tmp_path: Path, fresh_plugins: None) -> None:
    project = find_project(write_project(tmp_path, TABLE))
    assert project is not None
    with pytest.raises(PluginError) as caught:
        load(project.plugins[0], project)
    assert str(caught.value) == (
        "the model 'Net' of your project (train:Net) cannot be loaded: there is no module 'train'; check the name"
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("tool = 3", "tool: must be a table, not 3"),
        ("[tool]\noptimctl = 'yes'", "tool.optimctl: must be a table, not 'yes'"),
        ("[tool.optimctl]\nplugins = 3", "tool.optimctl.plugins: must be a table, not 3"),
        ("[tool.optimctl.plugin]", "tool.optimctl.plugin: unknown key; did you mean 'plugins'?"),
        ("[tool.optimctl]\nwork_dir = 'x'", "tool.optimctl.work_dir: unknown key; there is only 'plugins'"),
        ("[tool.optimctl.plugins]\nmodels = ['a']", "tool.optimctl.plugins.models: must be a table, not ['a']"),
        (
            "[tool.optimctl.plugins.model]",
            "tool.optimctl.plugins.model: no kind is called 'model'; did you mean 'models'?",
        ),
        ("[tool.optimctl.plugins.xyz]", "no kind is called 'xyz'; there is 'optimizers', 'optim_wrappers'"),
        (
            "[tool.optimctl.plugins.models]\nNet = 'train.Net'",
            "tool.optimctl.plugins.models.Net: 'train.Net' is no module:object; write Net = \"module:Net\"",
        ),
        (
            "[tool.optimctl.plugins.models]\nNet = 3",
            'tool.optimctl.plugins.models.Net: 3 is no module:object; write Net = "module:Net"',
        ),
        ("[tool.optimctl", "Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_malformed_table_is_told_with_its_file_and_key(tmp_path: Path, document: str, message: str) -> None:
    write_project(tmp_path, document)
    with pytest.raises(UsageError) as caught:
        find_project(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'pyproject.toml'}: ")
    assert message in str(caught.value)


def test_the_environment_names_a_project(tmp_path: Path, fresh_plugins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_project(tmp_path / "mine", TABLE)
    monkeypatch.setenv("OPTIMCTL_PROJECT", str(folder))
    assert plugins.installed().get("models", "Net").qualified == "project/Net"


# --- the kinds


def test_every_kind_reads_well_in_a_sentence() -> None:
    for kind in KINDS.values():
        article, _, noun = kind.one.partition(" ")
        assert kind.noun == noun
        assert article == ("an" if noun[0] in "aeio" else "a")
        assert first_line(kind.name, "Xyzzyx").startswith(f"no {noun} is called 'Xyzzyx'")


def test_an_answer_is_the_same_in_every_process(site: Site) -> None:
    for name in ("b", "a", "c"):
        site.install(name, NET)
    code = "import json; from optimctl.plugins import find; print(json.dumps([p.qualified for p in find()]))"
    lists = [json.loads(site.python(code, "-X", "dev")) for _ in range(2)]
    assert lists[0] == lists[1] == [plugin.qualified for plugin in find()]
