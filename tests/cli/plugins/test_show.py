"""``optimctl plugins show``: what a plugin takes, and a table to paste."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tomli

from optimctl import __version__
from optimctl.cli.main import exit_code
from optimctl.plugins import Plugin, find
from tests.plugins_on_disk import Site, write_project

Captured = pytest.CaptureFixture[str]

OWN = [plugin for plugin in find() if plugin.distribution == "optimctl"]

SOURCE = '''
"""Nets."""

def Net(width: int, depth: int = 2, *, act: str = "relu", sizes: tuple[float, ...] = (1.0, 0.5), norm=None, **more):
    """A net of one's own.

    Of two paragraphs.

    Args:
        width: How wide it is,
            in channels.
        norm: Which norm.
    """
'''

SHOWN = """\
Net, a model of nets 1.0
nets:Net, {place}:4

Net(width, depth=2, *, act='relu', sizes=(1.0, 0.5), norm=None, **more)

A net of one's own.

[model]
type = "Net"
width = "<a whole number>"  # needed
#     How wide it is, in channels.
# depth = 2
# act = "relu"
# sizes = [1.0, 0.5]
# norm: a value; not given unless it stands here
#     Which norm.
# It takes further keys.
"""


def shown(capsys: Captured, *arguments: str) -> str:
    assert exit_code(["plugins", "show", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: Captured, *arguments: str) -> str:
    assert exit_code(["plugins", "show", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_arguments_docstring_place_and_table(site: Site, capsys: Captured) -> None:
    site.install("nets", {"models": {"Net": "nets:Net"}}, {"nets": SOURCE})
    assert shown(capsys, "Net") == SHOWN.format(place=site.folder / "nets.py")
    assert shown(capsys, "nets/Net") == SHOWN.format(place=site.folder / "nets.py").replace('"Net"', '"nets/Net"')


def test_as_json_it_is_whole(site: Site, capsys: Captured) -> None:
    site.install("nets", {"models": {"Net": "nets:Net"}}, {"nets": SOURCE})
    known = json.loads(shown(capsys, "Net", "--json"))
    assert list(known) == [
        *("kind", "name", "distribution", "version", "object", "file", "line", "signature", "doc", "arguments"),
        *("takes_any", "toml"),
    ]
    assert known["doc"].startswith("A net of one's own.\n\nOf two paragraphs.\n\nArgs:\n    width:")
    assert known["signature"].startswith("(width: int, depth: int = 2, *, act: str = 'relu', ")
    assert known["arguments"][0] == {
        "name": "width",
        "required": True,
        "default": None,
        "type": {"type": "integer"},
        "description": "How wide it is, in channels.",
    }
    assert known["arguments"][3]["default"] == [1.0, 0.5]
    assert known["toml"] == SHOWN.partition("one's own.\n\n")[2].rstrip("\n")


def test_a_scheduler_is_shown_under_the_name_that_was_asked_for(capsys: Captured) -> None:
    lines = shown(capsys, "LinearMomentum").splitlines()
    assert lines[0] == f"LinearMomentum: LinearLR, a scheduler of optimctl {__version__}"
    start = lines.index("[[param_scheduler]]")
    assert lines[start : start + 6] == [
        "[[param_scheduler]]",
        'type = "LinearMomentum"',
        "# start_factor = 0.3333333333333333",
        "#     What the value is multiplied by at the first step, 0 or more.",
        "# end_factor = 1.0",
        "#     What it is multiplied by at the last step, and from then on; 0 or more.",
    ]
    assert "# begin" in lines


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        ("hooks", '[hooks."My.Part"]'),
        ("datasets", '[train_dataloader.dataset]\ntype = "My.Part"'),
        ("constructors", '[optim_wrapper.constructor]\ntype = "My.Part"'),
        ("exporters", "optimctl export My.Part job.toml"),
        ("importers", "optimctl import My.Part FILE"),
    ],
)
def test_each_kind_has_its_own_table(site: Site, capsys: Captured, kind: str, heading: str) -> None:
    site.install("parts", {kind: {"My.Part": "parts:part"}}, {"parts": "def part(*given): ...\n"})
    assert shown(capsys, "My.Part").splitlines()[-len(heading.splitlines()) :] == heading.splitlines()


@pytest.mark.parametrize("plugin", OWN, ids=[f"{plugin.kind}-{plugin.name}" for plugin in OWN])
def test_what_is_to_paste_is_toml_and_so_are_its_comments(plugin: Plugin, capsys: Captured) -> None:
    known = json.loads(shown(capsys, plugin.name, "--kind", plugin.kind, "--json"))
    if plugin.kind in ("exporters", "importers"):
        assert known["toml"].startswith(("optimctl export", "optimctl import"))
        return
    assert tomli.loads(known["toml"])
    written = re.sub(r"(?m)^# (?=\S+ = )", "", known["toml"])
    table = tomli.loads(written)
    while plugin.kind != "hooks" and "type" not in table:
        inner = next(iter(table.values()))
        table = inner[0] if isinstance(inner, list) else inner
    table = table["hooks"][plugin.name] if plugin.kind == "hooks" else table
    for argument in known["arguments"]:
        if argument["default"] is not None:
            assert table[argument["name"]] == argument["default"]


def test_a_plugin_of_the_project_is_ones_own(
    tmp_path: Path, fresh_plugins: None, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIMCTL_PROJECT", "")  # so that what the command sets is undone after the test
    monkeypatch.delenv("OPTIMCTL_PROJECT")
    table = '[tool.optimctl.plugins.models]\nNet = "nets:Net"\n'
    folder = write_project(tmp_path / "mine", table, {"nets": f"print('loud')\n{SOURCE}"})
    assert shown(capsys, "Net", "--project", str(folder)).startswith("Net, a model of your project\nnets:Net, ")


def test_one_name_of_two_kinds_needs_the_kind(site: Site, capsys: Captured) -> None:
    modules = {"nets": SOURCE, "hook": "class Net:\n    def after_epoch(self, run): ...\n"}
    site.install("nets", {"models": {"Net": "nets:Net"}, "hooks": {"Net": "hook:Net"}}, modules)
    assert refused(capsys, "Net") == (
        "optimctl: 'Net' is the name of several plugins: 'model' and 'hook'; say which with --kind models or --kind hooks\n"
    )
    assert shown(capsys, "Net", "--kind", "hooks").endswith("\n[hooks.Net]\n")


def test_a_name_that_two_distributions_claim_needs_the_distribution(site: Site, capsys: Captured) -> None:
    for name in ("one", "two"):
        site.install(name, {"models": {"Net": "nets:Net"}}, {"nets": SOURCE})
    assert "several distributions bring a model called 'Net'; write 'one/Net' or 'two/Net'" in refused(capsys, "Net")
    assert 'type = "two/Net"' in shown(capsys, "two/Net")


def test_optimctls_own_name_is_written_so_that_it_cannot_be_mistaken(site: Site, capsys: Captured) -> None:
    site.install("taker", {"models": {"MLP": "nets:Net"}}, {"nets": SOURCE})
    assert 'type = "optimctl/MLP"' in shown(capsys, "MLP")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SDG"], "no plugin is called 'SDG'; did you mean 'SGD'?"),
        (["Qqqqqqqq"], "no plugin is called 'Qqqqqqqq'; `optimctl plugins list` shows all"),
        (["a\x1b[2J\nb"], "no plugin is called 'a\\x1b[2J\\nb'; "),
        (["SGD", "--kind", "models"], "no model is called 'SGD'; an optimizer is called that, not a model"),
        (["elsewhere/SGD"], "no optimizer is called 'elsewhere/SGD'; did you mean 'optimctl/SGD'?"),
    ],
)
def test_a_name_that_nobody_has(capsys: Captured, arguments: list[str], message: str) -> None:
    assert refused(capsys, *arguments).startswith(f"optimctl: {message}")


def test_one_that_cannot_be_loaded_says_why(site: Site, capsys: Captured) -> None:
    site.install("nets", {"models": {"Net": "nets:Net"}}, {"nets": "import no_such_library"})
    assert "the model 'Net' of nets (nets:Net) cannot be loaded: ModuleNotFoundError: " in refused(capsys, "Net")


def test_one_that_is_left_out_says_so(site: Site, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIMCTL_DISABLE_PLUGINS", "nets")
    site.install("nets", {"models": {"Net": "nets:Net"}}, {"nets": SOURCE})
    assert refused(capsys, "Net") == (
        "optimctl: the model 'Net' of 'nets' is left out by the variable OPTIMCTL_DISABLE_PLUGINS\n"
    )
