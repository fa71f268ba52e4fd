"""``optimctl plugins check``: which plugins are broken, and why."""

from __future__ import annotations

import json
import re

import pytest

from optimctl.cli.main import exit_code
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]

FINE = "from torch.nn import Linear as Net\n"

CHECKED = """\
distribution  version  plugins  ok  seconds
mixed         1.0      3        1   _
sound         2.0      1        1   _

slow: the task 'Net' of mixed (loops:Net) was not loaded within 1 s; it was at loops.py:1 in <module>

broken: the hook 'Net' of mixed (broken:Net) cannot be loaded: OSError: \\x1b[2Jno disk (broken.py:1 in <module>)

broken: typo: its entry points stand in the group 'optimctl.model', and no kind is called 'model'; did you mean 'models'?
"""


@pytest.fixture(autouse=True)
def _mixed(site: Site) -> None:
    modules = {"fine": FINE, "loops": "while True: ...", "broken": "raise OSError('\\x1b[2Jno disk')"}
    kinds = {"models": {"Net": "fine:Net"}, "tasks": {"Net": "loops:Net"}, "hooks": {"Net": "broken:Net"}}
    site.install("mixed", kinds, modules)
    site.install("sound", {"models": {"Sound": "fine:Net"}}, version="2.0")
    site.install("typo", {"model": {"Net": "fine:Net"}})


def test_all_that_is_wrong_is_told_and_the_answer_is_no(capsys: Captured) -> None:
    assert exit_code(["plugins", "check", "Mixed", "sound", "typo", "--timeout", "1"]) == 1
    out, err = capsys.readouterr()
    assert re.sub(r"\d+\.\d\d$", "_", out, flags=re.MULTILINE) == CHECKED
    assert err == "plugins to load: 4; distributions: 2\n"


def test_what_is_sound_is_answered_with_yes(capsys: Captured) -> None:
    assert exit_code(["plugins", "check", "sound"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:4] == ["sound", "2.0", "1", "1"]
    assert err == "plugins to load: 1; distributions: 1\n"


def test_as_json_there_is_a_line_a_plugin_and_one_a_flaw(capsys: Captured) -> None:
    assert exit_code(["plugins", "check", "sound", "typo", "--json"]) == 1
    sound, typo = json.loads(capsys.readouterr().out)
    assert {**sound, "seconds": None} == {
        "kind": "models",
        "name": "Sound",
        "distribution": "sound",
        "version": "2.0",
        "object": "fine:Net",
        "status": "ok",
        "seconds": None,
        "message": None,
        "traceback": None,
    }
    assert sorted(typo) == sorted(sound)
    assert (typo["distribution"], typo["status"], typo["name"]) == ("typo", "broken", None)


def test_with_traceback_there_is_the_whole_of_it(site: Site, capsys: Captured) -> None:
    site.install("raises", {"models": {"Other": "raises:Net"}}, {"raises": "import json\njson.loads('{')"})
    assert exit_code(["plugins", "check", "raises"]) == 1
    assert "Traceback" not in capsys.readouterr().out
    assert exit_code(["plugins", "check", "raises", "--traceback"]) == 1
    out = capsys.readouterr().out
    assert "Traceback (most recent call last):" in out
    assert f'File "{site.folder / "raises.py"}", line 2, in <module>' in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["soud"], "no plugins are brought by a distribution called 'soud'; did you mean 'sound'?"),
        (["so\x1b[2Jud"], "no plugins are brought by a distribution called 'so\\x1b[2Jud'"),
        (["mixed"], "the plugins of 'mixed' are left out by the variable OPTIMCTL_DISABLE_PLUGINS"),
    ],
)
def test_what_is_not_there_cannot_be_checked(
    arguments: list[str], message: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIMCTL_DISABLE_PLUGINS", "mixed")
    assert exit_code(["plugins", "check", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"optimctl: {message}")


def test_a_time_limit_is_more_than_nothing(capsys: Captured) -> None:
    assert exit_code(["plugins", "check", "--timeout", "0"]) == 2
    assert "0.0 is not in the range x>0" in capsys.readouterr().err
