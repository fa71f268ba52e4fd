"""Plugins are loaded in processes of their own: what one of them does there, nobody else notices."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from optimctl.check import Report, check
from optimctl.plugins import Plugin, find, find_project
from tests.plugins_on_disk import Site, write_project

FINE = "from torch.nn import Linear as Net\n"
RAISING = {
    "fine": (FINE, "ok", ""),
    "prints": (f"print('hello ' * 100_000)\n{FINE}", "ok", ""),
    "asks": ("input('who are you? ')", "broken", "EOFError: EOF when reading a line (asks.py:1 in <module>)"),
    "imports": (
        "import no_such_library",
        "broken",
        "ModuleNotFoundError: No module named 'no_such_library' (imports.py:1 in <module>)",
    ),
    "misspelt": ("def f(:", "broken", "SyntaxError: invalid syntax (misspelt.py, line 1)"),
    "exits": ("import sys\nsys.exit('no licence')", "broken", "SystemExit: no licence (exits.py:2 in <module>)"),
    "interrupts": ("raise KeyboardInterrupt", "broken", "KeyboardInterrupt"),
    "lacks": ("def Nat(): ...", "broken", "module 'lacks' has no attribute 'Net'; did you mean 'Nat'?"),
    "starts": (f"import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n{FINE}", "ok", ""),
    "forks": (f"import os\nos.fork()\n{FINE}", "ok", ""),
}
"""The module's name: its source, the status that is reported, and the cause."""
ENDING = {
    "leaves": ("import os\nos._exit(7)", "its import ended the process with exit code 7, without an error"),
    "kills": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL ended the process that loaded it"),
    "crashes": (
        "import ctypes\ndef read():\n    ctypes.string_at(0)\nread()",
        "SIGSEGV ended the process that loaded it; it was at crashes.py:3 in read",
    ),
}
"""The same for those that end the process; all of them are broken."""


def checked(seconds: float = 30.0) -> dict[str, Report]:
    """The reports of the models that the test has installed, by their modules."""
    return {report.plugin.object.partition(":")[0]: report for report in check(nets(), seconds=seconds)}


def nets() -> list[Plugin]:
    return [plugin for plugin in find() if plugin.name.startswith("Net")]


def install(site: Site, distribution: str, sources: dict[str, str]) -> None:
    site.install(distribution, {"models": {f"Net-{module}": f"{module}:Net" for module in sources}}, sources)


def test_each_is_told_with_its_distribution_and_harms_no_other(site: Site) -> None:
    install(site, "mixed", {module: source for module, (source, _, _) in RAISING.items()})
    reports = checked()
    assert {module: report.status for module, report in reports.items()} == {m: row[1] for m, row in RAISING.items()}
    for module, (_, _, cause) in RAISING.items():
        told = f"the model 'Net-{module}' of mixed ({module}:Net) cannot be loaded: {cause}" if cause else ""
        assert reports[module].message == told
    assert "\nModuleNotFoundError: No module named 'no_such_library'\n" in reports["imports"].traceback


def test_what_ends_the_process_is_told_too(site: Site) -> None:
    for module, (source, _) in ENDING.items():
        install(site, module, {module: source})
    for module, report in checked().items():
        told = f"the model 'Net-{module}' of {module} ({module}:Net) cannot be loaded: {ENDING[module][1]}"
        assert (report.status, report.message) == ("broken", told)


def test_what_takes_too_long_is_told_with_where_it_was(site: Site) -> None:
    install(site, "loops", {"loops": "def spin():\n    while True: ...\nspin()"})
    install(site, "waits", {"waits": "import threading\nthreading.Event().wait()"})
    reports = checked(seconds=0.5)
    assert {report.status for report in reports.values()} == {"slow"}
    assert reports["loops"].message == (
        "the model 'Net-loops' of loops (loops:Net) was not loaded within 0.5 s; it was at loops.py:2 in spin"
    )
    assert reports["waits"].message.endswith("; it was at waits.py:2 in <module>")


def test_what_one_plugin_ends_is_begun_again_for_the_others(site: Site) -> None:
    kinds = {"hooks": {"Net": "bad:Net"}, "models": {"Net": "good:Net"}, "tasks": {"Net": "bad:Net"}}
    site.install("mixed", kinds, {"bad": "import os\nos._exit(1)", "good": FINE})
    reports = check(nets())
    assert [(report.plugin.kind, report.status) for report in reports] == [
        ("models", "ok"),
        ("tasks", "broken"),
        ("hooks", "broken"),
    ]
    assert reports[0].seconds is not None
    assert reports[1].seconds is None


def test_what_an_import_has_started_ends_with_it(site: Site, tmp_path: Path) -> None:
    held = tmp_path / "held"
    fork = f"""
    import fcntl, os, time
    if os.fork() == 0:
        file = open({str(held)!r}, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(600)
    while not os.path.exists({str(held)!r}):
        time.sleep(0.01)
    """
    install(site, "stays", {"stays": f"{fork}\n    {FINE}"})
    assert checked()["stays"].status == "ok"
    with held.open("w") as file:
        deadline = time.monotonic() + 30
        while True:  # a process that is ended holds no lock, though it may be a moment until it is gone
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_what_is_of_another_kind_is_told_with_what_it_must_be(site: Site) -> None:
    source = """
    Number = 3

    def takes_nothing(): ...

    class Half:
        def __init__(self, cfg): ...
        def __call__(self, model): ...
    """
    kinds = {
        "optimizers": {"NetA": "parts:takes_nothing"},
        "constructors": {"NetB": "parts:Half"},
        "models": {"NetC": "parts:Number"},
        "tasks": {"NetD": "parts:Half"},
    }
    site.install("mixed-up", kinds, {"parts": source})
    assert [(report.status, report.message.partition(")")[2].partition("; ")[0]) for report in check(nets())] == [
        ("wrong-kind", " does not take the leading argument that it gets"),
        ("wrong-kind", " does not take the 2 leading arguments that it gets"),
        ("wrong-kind", " is of type int"),
        ("wrong-kind", " is the class Half"),
    ]


def test_the_projects_plugins_are_checked_where_they_are(tmp_path: Path, fresh_plugins: None) -> None:
    table = '[tool.optimctl.plugins.models]\nNet = "train:Net"\n"Ne\\nt" = "train:Net"\n'
    project = find_project(write_project(tmp_path / "mine", table, {"src/train": f"import parts\n{FINE}", "parts": ""}))
    own = [plugin for plugin in find(project) if plugin.distribution == "project"]
    broken, fine = check(own, project)
    assert fine.status == "ok"
    assert broken.message == (
        "the model 'Ne\\nt' of your project (train:Net) cannot be loaded: its name cannot be written in a job"
    )


def test_nothing_to_check_is_nothing_to_report() -> None:
    assert check([]) == []
