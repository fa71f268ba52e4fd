"""A first job: what is written, that it runs as it is, and that nothing stays behind where it cannot be written."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from optimctl.cli.init import FIRST, LOCAL
from optimctl.cli.main import exit_code
from tests.jobs import read_records
from tests.plugins_on_disk import Site, write_project

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> Iterator[None]:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    sys.modules.pop("parts", None)  # of the template; what another test calls so is another module


def tree(folder: Path = Path()) -> dict[str, bytes | None]:
    """All that lies in a folder, and what is in it; None for a folder."""
    return {str(path): None if path.is_dir() else path.read_bytes() for path in sorted(folder.rglob("*"))}


# --- what is written

FIRST_TOLD = """\
job.toml: a job that runs as it is
optimctl.schema.json: what an editor completes and checks it with
next:
    optimctl inspect job.toml
    optimctl run job.toml
"""


def test_a_job_and_its_schema(capsys: Captured) -> None:
    assert exit_code(["init"]) == 0
    assert capsys.readouterr() == ("", FIRST_TOLD)
    assert sorted(tree()) == ["job.toml", "optimctl.schema.json"]
    assert Path("job.toml").read_bytes() == (FIRST / "job.toml").read_bytes()


LOCAL_TOLD = """\
job.toml: a job that runs as it is
parts.py: its model, dataset and task, to edit
pyproject.toml: the names by which a job finds them
optimctl.schema.json: what an editor completes and checks it with
next:
    optimctl inspect job.toml
    optimctl run job.toml
"""


def test_a_job_with_parts_to_edit_and_the_project_that_names_them(capsys: Captured) -> None:
    assert exit_code(["init", "--local"]) == 0
    assert capsys.readouterr() == ("", LOCAL_TOLD)
    written = tree()
    assert sorted(written) == ["job.toml", "optimctl.schema.json", "parts.py", "pyproject.toml"]
    for name in ("job.toml", "parts.py", "pyproject.toml"):
        assert written[name] == (LOCAL / name).read_bytes()


ELSEWHERE_TOLD = """\
new folder/below/my job.toml: a job that runs as it is
new folder/below/parts.py: its model, dataset and task, to edit
new folder/below/pyproject.toml: the names by which a job finds them
new folder/below/optimctl.schema.json: what an editor completes and checks it with
next:
    cd 'new folder/below'
    optimctl inspect 'my job.toml'
    optimctl run 'my job.toml'
"""


def test_in_another_folder_which_is_made(capsys: Captured) -> None:
    assert exit_code(["init", "-o", "first/job.toml"]) == 0
    assert capsys.readouterr().err == FIRST_TOLD.replace("job.toml", "first/job.toml").replace("opt", "first/opt", 1)
    assert exit_code(["init", "--local", "-o", "new folder/below/my job.toml"]) == 0
    assert capsys.readouterr().err == ELSEWHERE_TOLD


@pytest.mark.parametrize(("form", "type_"), [([], "MLP"), (["--local"], "Net")])
def test_the_schema_line_leads_to_a_schema_that_accepts_the_job_and_knows_its_plugins(
    form: list[str], type_: str, capsys: Captured
) -> None:
    assert exit_code(["init", *form, "-o", "below/job.toml"]) == 0
    text = Path("below/job.toml").read_text("utf-8")
    directive, path = text.splitlines()[0].split()
    assert directive == "#:schema"
    schema = json.loads(Path("below", path).read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    job = tomli.loads(text)
    assert job["model"]["type"] == type_
    assert [error.message for error in validator.iter_errors(job)] == []
    assert not validator.is_valid({**job, "model": {**job["model"], "widht": 3}})
    assert not validator.is_valid({**job, "model": {"type": "Nett"}})


# --- that it runs


def typed(commands: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """What comes of lines that a person types into a shell."""
    program = 'optimctl() { "$PYTHON" -m optimctl "$@"; }'
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPTIMCTL", "PYTHON"))}
    return subprocess.run(
        ["sh", "-ec", "\n".join((program, *commands))],
        cwd=folder,
        env={**environment, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "inside", "accuracy"),
    [
        ("optimctl init -o 'a folder/job.toml'", ".", 0.98),
        ("optimctl init --local -o 'a folder/my job.toml'", "a folder", 0.95),
    ],
)
def test_what_it_says_to_type_next_trains_a_model(command: str, inside: str, accuracy: float, tmp_path: Path) -> None:
    init = typed([command], tmp_path)
    assert (init.returncode, init.stdout) == (0, "")
    _, _, following = init.stderr.partition("next:\n")
    done = typed([line.strip() for line in following.splitlines()], tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / inside / done.stdout.splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["status"] == "completed"
    assert summary["metrics"]["accuracy"] >= accuracy
    losses = [record["loss"] for record in read_records(folder) if record["split"] == "train"]
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("form", [FIRST, LOCAL])
def test_it_is_well_formed_and_its_plan_has_no_warning(form: Path, capsys: Captured) -> None:
    shutil.copytree(form, ".", dirs_exist_ok=True)
    assert exit_code(["validate", "job.toml"]) == 0
    assert exit_code(["inspect", "job.toml", "--strict"]) == 0


ALTERNATIVE = re.compile(r"^# (?=\w+ = )", re.MULTILINE)
ALTERNATIVES = [
    (form, match.start()) for form in (FIRST, LOCAL) for match in ALTERNATIVE.finditer((form / "job.toml").read_text())
]


@pytest.mark.parametrize(("form", "place"), ALTERNATIVES)
def test_what_is_commented_out_can_be_taken_as_it_is(form: Path, place: int, capsys: Captured) -> None:
    shutil.copytree(form, ".", dirs_exist_ok=True)
    text = Path("job.toml").read_text("utf-8")
    taken = text[:place] + text[place + 2 :]
    plain, changed = tomli.loads(re.sub(r'\ntype = "AmpOptimWrapper"', "", text)), tomli.loads(taken)
    assert plain != changed
    Path("job.toml").write_text(taken, "utf-8")
    assert exit_code(["run", "job.toml", "--dry-run", "--strict"]) == 0


def test_there_are_alternatives() -> None:
    assert len(ALTERNATIVES) == 18


# --- a project that is there already


@pytest.mark.parametrize(
    "before",
    [
        "",
        "[project]\nname = 'mine'  # kept\n",
        "[project]\nname = 'mine'",
        "[project]\r\nname = 'mine'\r\n[tool.ruff]\r\nline-length = 100\r\n",
        '[tool.optimctl.plugins.hooks]\nMine = "mine:Mine"\n',
        "[tool.optimctl]\n",
        "# Grüße\n[[tool.x]]\na = 1\n[[tool.x]]\na = 2\n",
    ],
)
def test_a_pyproject_is_kept_byte_for_byte_and_gone_on_with(before: str, capsys: Captured) -> None:
    Path("pyproject.toml").write_bytes(before.encode())
    assert exit_code(["init", "--local"]) == 0
    assert capsys.readouterr().err == LOCAL_TOLD
    after = Path("pyproject.toml").read_bytes()
    assert after.startswith(before.encode())
    ends = after.count(b"\r\n"), after.count(b"\n")
    assert ends[0] == (ends[1] if "\r\n" in before else 0)
    old, new = tomli.loads(before), tomli.loads(after.decode())
    plugins = new["tool"]["optimctl"]["plugins"]
    ours = tomli.loads((LOCAL / "pyproject.toml").read_text("utf-8"))["tool"]["optimctl"]["plugins"]
    assert plugins == {**old.get("tool", {}).get("optimctl", {}).get("plugins", {}), **ours}
    assert exit_code(["validate", "job.toml"]) == 0


OWN_TABLES = """\
optimctl: pyproject.toml has its own tables for these lines; write them there, then give the same command again:
    [tool.optimctl.plugins.datasets]
    Spirals = "parts:Spirals"
    [tool.optimctl.plugins.tasks]
    PointClassification = "parts:PointClassification"
"""


def test_a_table_that_is_there_is_for_a_person_to_add_to(capsys: Captured) -> None:
    models = '[tool.optimctl.plugins.models]\nOther = "other:Other"\nNet = "parts:Net"\n'
    write_project(Path(), models)
    before = tree()
    assert exit_code(["init", "--local"]) == 2
    assert capsys.readouterr() == ("", OWN_TABLES)
    assert tree() == before
    lines = [line.strip() for line in OWN_TABLES.splitlines()[1:]]
    write_project(Path(), models + "\n".join(lines))
    before = tree()
    assert exit_code(["init", "--local"]) == 0
    assert "pyproject.toml" not in capsys.readouterr().err
    assert Path("pyproject.toml").read_bytes() == before["pyproject.toml"]
    assert exit_code(["validate", "job.toml"]) == 0


IN_ITS_OWN = "begin in a folder of its own, as with `optimctl init --local -o new/job.toml`"


@pytest.mark.parametrize(
    ("pyproject", "message"),
    [
        (
            '[tool.optimctl.plugins.models]\nNet = "train:Net"\n',
            f"pyproject.toml: tool.optimctl.plugins.models.Net is 'train:Net' already; {IN_ITS_OWN}",
        ),
        ("[tool\n", "{here}/pyproject.toml: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        (
            "[tool.optimctl]\nplugin = 1\n",
            "{here}/pyproject.toml: tool.optimctl.plugin: unknown key; did you mean 'plugins'?",
        ),
    ],
)
def test_a_pyproject_that_cannot_be_gone_on_with(pyproject: str, message: str, capsys: Captured) -> None:
    write_project(Path(), pyproject)
    before = tree()
    assert exit_code(["init", "--local"]) == 2
    assert capsys.readouterr() == ("", f"optimctl: {message}\n".replace("{here}", str(Path.cwd())))
    assert tree() == before


def test_a_folder_where_pyproject_should_be(capsys: Captured) -> None:
    Path("pyproject.toml").mkdir()
    assert exit_code(["init", "--local"]) == 2
    assert capsys.readouterr() == ("", "optimctl: pyproject.toml cannot be read: Is a directory\n")
    assert list(tree()) == ["pyproject.toml"]


@pytest.mark.parametrize("name", ["parts.py", "parts/__init__.py", "src/parts.py", "src/parts/__init__.py"])
def test_another_module_called_parts(name: str, capsys: Captured) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("mine = 1\n", "utf-8")
    before = tree()
    assert exit_code(["init", "--local"]) == 2
    assert capsys.readouterr() == ("", f"optimctl: {name} is already there; {IN_ITS_OWN}\n")
    assert tree() == before
    assert exit_code(["init", "--local", "-o", "new/job.toml"]) == 0


def test_within_another_project_it_says_whose_names_are_hidden(capsys: Captured) -> None:
    write_project(Path(), '[tool.optimctl.plugins.models]\nNet = "train:Net"\n')
    before = Path("pyproject.toml").read_bytes()
    assert exit_code(["init", "--local", "-o", "new/job.toml"]) == 0
    hidden = f"from here in place of those of {Path.cwd() / 'pyproject.toml'}"
    told = f"new/pyproject.toml: the names by which a job finds them, {hidden}"
    assert capsys.readouterr().err.splitlines()[2] == told
    assert Path("pyproject.toml").read_bytes() == before


def test_a_project_that_is_named_must_be_the_jobs_own(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(Path("other"), "[tool.optimctl]\n")
    monkeypatch.setenv("OPTIMCTL_PROJECT", "")  # so that what the command sets is undone after the test
    monkeypatch.delenv("OPTIMCTL_PROJECT")
    before = tree()
    assert exit_code(["init", "--local", "--project", "other"]) == 2
    told = "--local makes a project of the job's own folder, but --project or OPTIMCTL_PROJECT names another, other"
    assert capsys.readouterr() == ("", f"optimctl: {told}\n")
    assert tree() == before
    assert exit_code(["init", "--local", "--project", "other", "-o", "other/job.toml"]) == 0


def test_a_name_that_a_package_has_too_is_written_so_that_it_means_the_projects(site: Site, capsys: Captured) -> None:
    site.install("theirs", {"models": {"Net": "theirs:Net"}}, {"theirs": "Net = dict\n"})
    assert exit_code(["init", "--local"]) == 0
    job: dict[str, Any] = tomli.loads(Path("job.toml").read_text("utf-8"))
    assert (job["model"]["type"], job["task"]["type"]) == ("project/Net", "PointClassification")
    assert exit_code(["inspect", "job.toml", "--strict"]) == 0


# --- what it refuses


@pytest.mark.parametrize("form", [[], ["--local"]])
@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("there.toml", "there.toml is already there; give the new job another name, as with `-o second.toml`"),
        ("dangling.toml", "dangling.toml is already there; give the new job another name, as with `-o second.toml`"),
        ("folder", "folder is a folder; name the job in it, as with `-o folder/job.toml`"),
        ("nowhere/", "nowhere/ is a folder; name the job in it, as with `-o nowhere/job.toml`"),
        ("job.yaml", "job.yaml: the name of a job's file ends in .toml, as with `-o job.toml`"),
        ("-", "-: the name of a job's file ends in .toml, as with `-o job.toml`"),
        (".toml", ".toml: the name of a job's file ends in .toml, as with `-o job.toml`"),
        ("pyproject.toml", "pyproject.toml is the file of a project; give the job another name, as with `-o job.toml`"),
        ("there.toml/job.toml", "there.toml/job.toml cannot be written: there.toml is no folder"),
        ("folder/" + "x" * 300 + ".toml", "folder/" + "x" * 300 + ".toml cannot be written: File name too long"),
    ],
)
def test_a_name_that_no_job_can_have(form: list[str], job: str, message: str, capsys: Captured) -> None:
    Path("there.toml").write_text("mine = 1\n", "utf-8")
    Path("dangling.toml").symlink_to("gone.toml")
    Path("folder").mkdir()
    before = tree_of_links()
    assert exit_code(["init", *form, "-o", job]) == 2
    assert capsys.readouterr() == ("", f"optimctl: {message}\n")
    assert tree_of_links() == before


def tree_of_links() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


# --- where it cannot be written


@pytest.mark.parametrize("form", [[], ["--local"]])
def test_a_folder_that_is_read_only(form: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not mode.startswith("r"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return writable(path, mode, *more, **options)

    writable = Path.open
    monkeypatch.setattr(Path, "open", refused)  # a folder's mode does not stop root, who may be running this
    assert exit_code(["init", *form]) == 2
    assert capsys.readouterr() == ("", "optimctl: job.toml cannot be written: Permission denied\n")
    assert exit_code(["init", *form, "-o", "new/below/job.toml"]) == 2
    assert capsys.readouterr() == ("", "optimctl: new/below/job.toml cannot be written: Permission denied\n")
    assert tree() == {}


def test_what_was_written_is_taken_back_where_the_rest_cannot_be(capsys: Captured) -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'mine'\n", "utf-8")
    Path("optimctl.schema.json").mkdir()
    before = tree()
    assert exit_code(["init", "--local"]) == 2
    assert capsys.readouterr() == ("", "optimctl: optimctl.schema.json cannot be written: Is a directory\n")
    assert tree() == before


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """No file may be larger than 10 KB or so: all but the schema are smaller. Nor is byte code written, half of it."""
    folder = write_project(tmp_path / "full", "[project]\nname = 'mine'\n")
    before = tree(folder)
    done = typed(["ulimit -f 20", "export PYTHONDONTWRITEBYTECODE=1", "optimctl init --local"], folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "optimctl: optimctl.schema.json cannot be written: File too large\n"
    assert tree(folder) == before
