"""Finding plugins reads metadata only; loading imports one object; a message says what is missing and what to do."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from optimctl import plugins
from optimctl.errors import JobError, PluginError, Problem, UsageError
from optimctl.plugins import KINDS, LoadedPlugin, Plugin, Plugins, argument_problems, call, find, find_project, load
from tests.plugins_on_disk import Site, run_python, write_project

OWN = [plugin for plugin in find() if plugin.distribution == "optimctl"]
NET = {"models": {"Net": "net:Net"}}
NET_MODULE = {"net": "class Net:\n    def __init__(self, width: int, depth: int = 2) -> None: ...\n"}


def told(kind: str, name: str, found: Plugins | None = None) -> str:
    """The message about a name that cannot be used."""
    with pytest.raises(PluginError) as caught:
        (found or find()).get(kind, name)
    return str(caught.value)


def first_line(kind: str, name: str, found: Plugins | None = None) -> str:
    return told(kind, name, found).splitlines()[0]


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
    assert not find().conflicts()


def test_one_distribution_spelt_in_two_ways_is_one(site: Site) -> None:
    site.install("My_Plugins", NET)
    for name in ("Net", "my-plugins/Net", "My_Plugins/Net", "my.plugins/Net"):
        assert find().get("models", name).qualified == "my-plugins/Net"


def test_what_an_uninstall_left_behind_is_no_plugin(site: Site) -> None:
    (site.install("half-gone", NET) / "METADATA").unlink()
    site.install("whole", {"models": {"Other": "net:Net"}})
    assert find().answering("models", "Net") is None
    assert find().get("models", "Other").distribution == "whole"


# --- two claims to a name


def test_two_distributions_with_one_name_are_an_error_that_shows_both(site: Site) -> None:
    site.install("one", NET)
    site.install("two", NET)
    found = find()
    assert (
        told("models", "Net", found) == "several distributions bring a model called 'Net'; write 'one/Net' or 'two/Net'"
    )
    assert found.get("models", "two/Net").distribution == "two"
    assert [[claim.qualified for claim in claims] for claims in found.conflicts()] == [["one/Net", "two/Net"]]


def test_the_same_name_for_two_kinds_is_no_conflict(site: Site) -> None:
    site.install("both", {"models": {"Net": "net:Net"}, "hooks": {"Net": "net:Net"}})
    assert not find().conflicts()
    assert find().get("hooks", "Net").kind == "hooks"


def test_a_name_of_optimctl_cannot_be_taken_over(site: Site) -> None:
    site.install("a-taker", {"optimizers": {"SGD": "net:Net"}})
    found = find()
    assert found.get("optimizers", "SGD").distribution == "optimctl"
    assert found.get("optimizers", "a-taker/SGD").distribution == "a-taker"
    assert [[claim.qualified for claim in claims] for claims in found.conflicts()] == [["a-taker/SGD", "optimctl/SGD"]]


# --- unknown names


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("optimizers", "SDG", "no optimizer is called 'SDG'; did you mean 'SGD'?"),
        ("optimizers", "adamw", "no optimizer is called 'adamw'; did you mean 'AdamW'?"),
        ("optimizers", "optimctl/SDG", "no optimizer is called 'optimctl/SDG'; did you mean 'SGD'?"),
        ("optimizers", "elsewhere/SGD", "no optimizer is called 'elsewhere/SGD'; did you mean 'optimctl/SGD'?"),
        ("optim_wrappers", "SGD", "no optim wrapper is called 'SGD', but an optimizer is"),
        ("tasks", "optimctl/LinearLR", "no task is called 'optimctl/LinearLR', but a scheduler is"),
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
    site.install("sound", {"models": {"Other": "sound_net:Other"}}, {"sound_net": "class Other: ..."})
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
    site.install("factory", {"models": {"Net": "net:Nets.small [gpu]"}}, {"net": "class Nets:\n    small = dict"})
    assert load(find().get("models", "Net")).object is dict


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
    folder = write_project(tmp_path / "mine", TABLE, {f"{home}train": "import parts\nclass Net: ...", "parts": ""})
    monkeypatch.chdir(folder)
    assert "train" not in sys.modules
    loaded = plugins.resolve("models", "Net", ("model",))
    assert loaded.object.__module__ == "train"
    assert str(loaded) == "Net (project)"


def test_a_projects_code_goes_before_what_is_installed(site: Site, tmp_path: Path) -> None:
    site.install("other", {}, {"train": "raise RuntimeError('the wrong one')"})
    folder = write_project(tmp_path / "mine", TABLE, {"train": "class Net: ...", "src/parts": ""})
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
        {"train": "class Net: ...", "src/data": "def double(number: int) -> int:\n    return 2 * number\n"},
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


# --- arguments


def loaded(item: Callable[..., Any]) -> LoadedPlugin:
    return LoadedPlugin(Plugin("models", "Net", "parts", "1.0", "parts:Net"), item)


def net(params: object, width: int, depth: int = 2, *, bias: bool = True) -> tuple[object, int, int, bool]:
    return params, width, depth, bias


def test_arguments_are_held_against_the_signature() -> None:
    problems = argument_problems(loaded(net), ("model",), {"params": [], "widht": 3, "xyz": 0}, given=1)
    assert problems == [
        Problem(("model", "params"), "optimctl itself gives Net (parts) its 'params'; take it out", "given-argument"),
        Problem(("model", "widht"), "Net (parts) has no argument 'widht'; did you mean 'width'?", "unknown-argument"),
        Problem(
            ("model", "xyz"),
            "Net (parts) has no argument 'xyz'; it takes 'width', 'depth' and 'bias'",
            "unknown-argument",
        ),
        Problem(("model",), "Net (parts) needs the argument 'width'", "missing-argument"),
    ]


def test_arguments_that_fit_are_no_problem() -> None:
    assert not argument_problems(loaded(net), ("model",), {"width": 3, "bias": False}, given=1)
    assert not argument_problems(loaded(lambda **anything: None), ("model",), {"width": 3})
    assert not argument_problems(loaded(type), ("model",), {"width": 3})  # no signature to hold them against


def test_what_takes_nothing_says_so() -> None:
    (problem,) = argument_problems(loaded(lambda: None), ("model",), {"width": 3})
    assert problem.message == "Net (parts) has no argument 'width'; it takes no arguments"


def test_further_names_are_hints_too() -> None:
    (problem,) = argument_problems(loaded(lambda: None), ("x",), {"begni": 3}, also=["begin"])
    assert problem.message.endswith("; did you mean 'begin'?")


def test_a_call_passes_what_is_given_and_what_the_table_says() -> None:
    assert call(loaded(net), ("model",), {"width": 3}, "groups") == ("groups", 3, 2, True)
    with pytest.raises(JobError) as caught:
        call(loaded(net), ("model",), {}, "groups")
    assert [problem.code for problem in caught.value.problems] == ["missing-argument"]


def test_what_a_plugin_raises_is_told_with_its_own_frame(site: Site) -> None:
    site.install("picky", NET, {"net": "def Net(width: int) -> None:\n    raise ValueError(f'too narrow: {width}')\n"})
    with pytest.raises(JobError) as caught:
        call(load(find().get("models", "Net")), ("model",), {"width": 1})
    assert caught.value.problems == (
        Problem(("model",), "Net (picky) raised ValueError: too narrow: 1 (net.py:2 in Net)", "plugin-raised"),
    )


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
