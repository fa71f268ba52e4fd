"""``optimctl plugins list``: who brings what, out of metadata."""

from __future__ import annotations

import json
from functools import cache

import pytest

from optimctl import __version__
from optimctl.cli.main import exit_code
from optimctl.errors import listing
from optimctl.plugins import KINDS, Plugins, find
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def _nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed beside optimctl is left out without a word, so that outputs can be compared whole."""
    others = {plugin.distribution for plugin in find()} - {"optimctl"}
    monkeypatch.setenv("OPTIMCTL_DISABLE_PLUGINS", ",".join(sorted(others)))
    monkeypatch.setattr("optimctl.cli.plugins.list.left_out", lambda found: ())


LISTED = """\
kind    name            distribution  version  object
models  \\x1b[2JPainted  one           1.0      net:Net
models  MLP             optimctl      {version}    optimctl.parts:MLP  {own}
models  MLP             taker         2.0      mlp:MLP             2 distributions claim the name; write taker/MLP
models  Net             one           1.0      net:Net             2 distributions claim the name; write one/Net
models  Net             taker         2.0      net:Net             2 distributions claim the name; write taker/Net
models  名前            one           1.0      net:Net
"""
OWN = "also claimed by another distribution; the bare name means this one"


@pytest.mark.usefixtures("_nothing_else")
def test_a_line_a_claim_and_conflicts_are_marked(site: Site, capsys: Captured) -> None:
    site.install("one", {"models": {"Net": "net:Net", "\x1b[2JPainted": "net:Net", "名前": "net:Net"}})
    site.install("taker", {"models": {"Net": "net:Net", "MLP": "mlp:MLP"}}, version="2.0")
    assert exit_code(["plugins", "list", "models"]) == 0
    assert capsys.readouterr().out == LISTED.format(version=__version__, own=OWN)


def test_the_order_is_that_of_kinds_names_and_distributions(site: Site, capsys: Captured) -> None:
    for name in ("b", "a"):
        site.install(name, {"tasks": {"Net": "net:Net"}, "models": {"Net": "net:Net", "Alp": "net:Net"}})
    assert exit_code(["plugins", "list", "--json"]) == 0
    listed = [(row["kind"], row["name"], row["distribution"]) for row in json.loads(capsys.readouterr().out)]
    own = [row for row in listed if row[2] in ("a", "b")]
    assert own == [
        *(("models", name, distribution) for name in ("Alp", "Net") for distribution in ("a", "b")),
        *(("tasks", "Net", distribution) for distribution in ("a", "b")),
    ]


def test_what_is_wrong_elsewhere_is_a_line_beside_the_list(site: Site, capsys: Captured) -> None:
    site.install("typo", {"model": {"Net": "net:Net"}})
    assert exit_code(["plugins", "list", "hooks"]) == 0
    out, err = capsys.readouterr()
    assert "typo" not in out
    assert err == "Something is wrong with the metadata of 'typo': see `optimctl plugins check`.\n"


def test_three_hundred_distributions_are_listed_and_none_is_imported(site: Site) -> None:
    for number in range(300):
        kinds = ("optimizers", "constructors", "schedulers", "models", "datasets")
        site.install(f"fake-{number}", {kind: {f"Part{number}": f"fake_{number}:Part"} for kind in kinds})
    site.write_modules({f"fake_{number}": "raise SystemExit('imported')" for number in range(300)})
    listed = json.loads(
        site.python("""
        import sys
        from optimctl.cli.main import exit_code
        assert exit_code(["plugins", "list", "--json"]) == 0
        assert not [name for name in sys.modules if name.startswith(("fake_", "torch"))]
    """)
    )
    assert len([row for row in listed if row["distribution"].startswith("fake-")]) == 1500


def test_what_is_left_out_is_told(site: Site, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("one", {"models": {"Net": "net:Net"}})
    monkeypatch.setenv("OPTIMCTL_DISABLE_PLUGINS", "one optimctl")
    assert exit_code(["plugins", "list", "hooks"]) == 0
    assert capsys.readouterr().err == (
        "OPTIMCTL_DISABLE_PLUGINS leaves out 'one'.\n"
        "OPTIMCTL_DISABLE_PLUGINS names 'optimctl', whose own plugins cannot be left out.\n"
    )


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("model", "; did you mean 'models'?"),
        ("optimiser", "; did you mean 'optimizers'?"),
        ("x", f"; there is {listing(KINDS, 20)}"),
    ],
)
def test_a_kind_that_does_not_exist(kind: str, hint: str, capsys: Captured) -> None:
    assert exit_code(["plugins", "list", kind]) == 2
    assert capsys.readouterr() == ("", f"optimctl: no kind is called '{kind}'{hint}\n")


def test_an_empty_list_has_its_heading(capsys: Captured, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    monkeypatch.setattr("optimctl.plugins.installed", cache(lambda: Plugins({})))
    assert exit_code(["plugins", "list", "hooks"]) == 0
    assert capsys.readouterr().out == "kind  name  distribution  version  object\n"
