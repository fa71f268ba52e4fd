"""``optimctl plugins new``: a package that installs, runs and passes its tests as it is written."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from optimctl.cli.plugins.new import TEMPLATE, WHAT

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> None:
    monkeypatch.chdir(tmp_path)


def files_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


TOLD = """\
sharp-sgd/README.md: what there is, and how to try it
sharp-sgd/examples/job.toml: a job that uses all three
sharp-sgd/pyproject.toml: the names by which a job finds the plugins
sharp-sgd/sharp_sgd/constructor.py: a constructor, to edit
sharp-sgd/sharp_sgd/optimizer.py: an optimizer, to edit
sharp-sgd/sharp_sgd/schedule.py: a schedule, to edit
sharp-sgd/tests/test_sharp_sgd.py: what they promise to a job
next:
    python -m pip install -e sharp-sgd
    optimctl run sharp-sgd/examples/job.toml
    python -m pytest sharp-sgd
"""


def test_what_is_written_and_what_comes_next(capsys: Captured) -> None:
    assert exit_code(["plugins", "new", "sharp-sgd"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    first, *told = err.splitlines(keepends=True)
    assert sorted([first, *told]) == sorted(TOLD.splitlines(keepends=True))
    assert err.partition("next:")[2] == TOLD.partition("next:")[2]
    written = files_in(Path("sharp-sgd"))
    assert len(written) == len(WHAT) + 2  # __init__.py and py.typed
    assert all((TEMPLATE / name).is_file() for name in WHAT)
    for text in written.values():
        assert not any(name in text for name in ("my_plugin", "my-plugin", "MyPlugin"))


def test_names_are_those_of_the_package(capsys: Captured) -> None:
    assert exit_code(["plugins", "new", "My.Sharp_SGD-2", "--directory", "deep/er"]) == 0
    project = files_in(Path("deep/er/My.Sharp_SGD-2"))["pyproject.toml"]
    assert 'name = "My.Sharp_SGD-2"' in project
    assert 'MySharpSGD2Optimizer = "my_sharp_sgd_2.optimizer:MySharpSGD2Optimizer"' in project
    assert 'packages = ["my_sharp_sgd_2"]' in project


def test_the_longest_names_leave_lines_that_the_packages_own_linter_takes() -> None:
    assert exit_code(["plugins", "new", "quite-a-long-name-of-a-package"]) == 0
    for name, text in files_in(Path("quite-a-long-name-of-a-package")).items():
        if name.endswith(".py"):
            assert max(map(len, text.splitlines()), default=0) <= 120


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a b", "'a b' is no name for a package: write letters and digits, with '-', '_' or '.' only between them"),
        ("../a", "'../a' is no name for a package: "),
        ("-a", "'-a' is no name for a package: "),
        ("a\x1b[2J\n", "'a\\x1b[2J\\n' is no name for a package: "),
        ("3d", "'3d' is no name for a package of plugins: its module would be '3d', and no module begins with a digit"),
        (
            "random",
            "its module would be 'random', which is one of Python's own words or modules; take another, as 'my-random'",
        ),
        ("lambda", "its module would be 'lambda', which is one of Python's own words or modules"),
        ("Optim-CTL", ""),
        ("optimctl", "it is optimctl's own name"),
        ("project", "in a job, 'project/Name' is a plugin of one's own project"),
        ("tests", "the package has a folder of that name for its tests"),
        ("Torch", "'Torch' is installed already, and pip would replace it; take another name, as 'my-Torch'"),
        ("_pytest", "'_pytest' is no name for a package"),
        ("tomli_w", "'tomli_w' is installed already"),
    ],
)
def test_a_name_that_would_not_do_is_refused_with_the_reason(name: str, message: str, capsys: Captured) -> None:
    code = exit_code(["plugins", "new", "--", name])
    err = capsys.readouterr().err
    assert code == (2 if message else 0)
    assert message in err
    assert not message or list(Path().iterdir()) == []


def test_a_module_that_is_there_already_is_not_hidden(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "old_nets.py").touch()
    sys.path.insert(0, str(tmp_path / "path"))
    assert exit_code(["plugins", "new", "old-nets"]) == 2
    assert f"a module 'old_nets' is there already ({tmp_path / 'path' / 'old_nets.py'})" in capsys.readouterr().err


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_nothing_is_written_over(make: str, capsys: Captured) -> None:
    getattr(Path("sharp-sgd"), make)()
    assert exit_code(["plugins", "new", "sharp-sgd"]) == 2
    assert capsys.readouterr().err == (
        "optimctl: sharp-sgd is already there; give the package another name, or --directory another folder\n"
    )
    assert [str(path) for path in Path().rglob("*")] == ["sharp-sgd"]


def test_what_cannot_be_written_leaves_nothing_behind(capsys: Captured) -> None:
    Path("file").touch()
    assert exit_code(["plugins", "new", "sharp-sgd", "--directory", "file/below"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [str(path) for path in Path().rglob("*")] == ["file"]


class Environment:
    """A virtual environment that has what this one has, so that nothing needs to be fetched."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        own = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        lines = [f"import site; site.addsitedir({shared!r})\n" for shared in site.getsitepackages()]
        (own / "shared.pth").write_text("".join(lines), "utf-8")

    def run(self, *arguments: str) -> str:
        """What Python prints; the test fails with all of it where Python does."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPTIMCTL", "PYTHON", "PYTEST"))
        }
        command: Sequence[str] = [str(self.python), *arguments]
        done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def test_it_is_installed_and_runs_and_its_tests_pass(tmp_path: Path) -> None:
    assert exit_code(["plugins", "new", "sharp-sgd"]) == 0
    there = Environment(tmp_path / "venv")
    there.run("-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", "-e", "sharp-sgd")
    listed = json.loads(there.run("-m", "optimctl", "plugins", "list", "--json"))
    assert [(row["kind"], row["name"]) for row in listed if row["distribution"] == "sharp-sgd"] == [
        ("optimizers", "SharpSgdOptimizer"),
        ("constructors", "SharpSgdConstructor"),
        ("schedulers", "SharpSgdLR"),
    ]
    run = Path(there.run("-m", "optimctl", "run", "sharp-sgd/examples/job.toml").strip())
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    assert summary["status"] == "completed"
    assert summary["metrics"]["accuracy"] > 0.9
    assert " passed" in there.run("-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "sharp-sgd")
