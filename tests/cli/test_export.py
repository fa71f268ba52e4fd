"""``optimctl export`` as its user sees it: what is printed, written, told and refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from optimctl.cli.main import exit_code
from optimctl.job.load import load_job
from tests.jobs import BLOBS, write_blobs
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]

EXPORTERS = '''
    import pathlib, time
    from optimctl.errors import UsageError
    from optimctl.export import exporter

    def name(source, shout=False, times: int = 1):
        """The name of a job.

        And nothing else.

        Args:
            shout: In capital letters.
            times: How often.
        """
        print("at work")
        source.tell("note: a short one")
        return (source.job.name.upper() if shout else source.job.name) * times + "\\n"

    def pieces(source):
        """Numbers."""
        for number in range(3):
            print("at work")
            yield f"{number}\\n"

    def breaks_late(source):
        yield "1\\n"
        raise KeyError("two")

    def refuses(source):
        raise UsageError("not this one")

    def nothing(source): ...
    def number(source): return 1
    def numbers(source): return [1, 2]
    def gap(source): return ["one", None, "two"]
    def table(source): return {"text": "one"}
    def half(source): return "a\\ud800b"
    def data(source): return b"\\x00"

    @exporter(needs="either")
    def either(source):
        return f"{source.run} {source.checkpoint and source.checkpoint.name}\\n"

    @exporter(needs="everything")
    def greedy(source): ...

    def late(source):
        yield "ours"
        pathlib.Path("x").write_text("theirs")

    def slow(source):
        yield "half"
        print("at work", flush=True)
        time.sleep(60)
    '''
NAMES = re.findall(r"def (\w+)", EXPORTERS)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_blobs(tmp_path)


@pytest.fixture
def formats(site: Site) -> None:
    site.install("formats", {"exporters": {name: f"formats:{name}" for name in NAMES}}, {"formats": EXPORTERS})


@pytest.fixture
def run(capsys: Captured) -> Path:
    assert exit_code(["run", "blobs.toml", "--set", "train_cfg.max_epochs=1"]) == 0
    return Path(capsys.readouterr().out.strip())


def refusal(capsys: Captured, *arguments: str) -> str:
    assert exit_code(["export", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "site")


# --- where it goes


def test_text_is_printed_or_written_and_is_the_same(capsys: Captured) -> None:
    assert exit_code(["export", "toml", "blobs.toml"]) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    assert exit_code(["export", "toml", "blobs.toml", "-o", "whole.toml"]) == 0
    assert capsys.readouterr() == ("", f"whole.toml: toml of blobs.toml, {len(printed):,} bytes\n")
    assert Path("whole.toml").read_bytes() == printed.encode()
    assert exit_code(["export", "toml", "whole.toml"]) == 0
    assert capsys.readouterr().out == printed
    assert files() == ["blobs.toml", "whole.toml"]


def test_set_and_unset_change_what_is_exported(capsys: Captured) -> None:
    options = ["--set", "job.seed=7", "--unset", "optim_wrapper.clip_grad"]
    assert exit_code(["export", "json", "blobs.toml", *options]) == 0
    job = json.loads(capsys.readouterr().out)
    assert job["job"]["seed"] == 7
    assert "clip_grad" not in job["optim_wrapper"]


def test_nothing_is_overwritten_unless_it_is_asked_for(capsys: Captured) -> None:
    Path("old.toml").write_text("old", "utf-8")
    assert refusal(capsys, "toml", "blobs.toml", "-o", "old.toml") == (
        "optimctl: 'old.toml' is already there; --force replaces it\n"
    )
    assert Path("old.toml").read_text("utf-8") == "old"
    assert exit_code(["export", "toml", "blobs.toml", "-o", "old.toml", "--force"]) == 0
    assert load_job("old.toml").name == "blobs"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (".", "'.' is a folder; name a file in it"),
        ("", "'' is no name of a file"),
        ("new/", "'new/' is a folder; name a file in it"),
        ("no/where.toml", "'no/where.toml' cannot be written: there is no folder no"),
        ("/dev/null", "'/dev/null' is there, and no regular file; name another one"),
        ("x" * 300, f"'{'x' * 300}' cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_written(file: str, message: str, capsys: Captured) -> None:
    assert refusal(capsys, "toml", "blobs.toml", "-o", file, "--force") == f"optimctl: {message}\n"
    assert files() == ["blobs.toml"]


def test_a_folder_without_permission(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.link", refuse)  # nor does the file system have links
    monkeypatch.setattr("os.replace", refuse)
    assert refusal(capsys, "csv", "blobs.toml", "-o", "new.csv") == (
        "optimctl: 'new.csv' cannot be written: Permission denied\n"
    )
    assert files() == ["blobs.toml"]


def test_a_hyphen_is_stdout(capsys: Captured) -> None:
    assert exit_code(["export", "json", "blobs.toml", "-o", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["job"]["name"] == "blobs"
    assert files() == ["blobs.toml"]


def test_force_keeps_the_mode_and_writes_behind_a_link(capsys: Captured) -> None:
    Path("private").write_text("old", "utf-8")
    Path("private").chmod(0o600)
    Path("link").symlink_to("private")
    Path("dangling").symlink_to("fresh")
    Path("astray").symlink_to("no/where")
    command = ["export", "toml", "blobs.toml", "-o"]
    assert refusal(capsys, *command[1:], "dangling") == ("optimctl: 'dangling' is already there; --force replaces it\n")
    folder = Path("no").absolute()
    assert refusal(capsys, *command[1:], "astray", "--force") == (
        f"optimctl: 'astray' cannot be written: there is no folder {folder}\n"
    )
    assert [exit_code([*command, name, "--force"]) for name in ("link", "dangling")] == [0, 0]
    assert load_job("private").name == load_job("fresh").name == "blobs"
    assert all(Path(name).is_symlink() for name in ("link", "dangling"))
    Path("beside").touch()
    modes = [Path(name).stat().st_mode & 0o777 for name in ("private", "fresh", "beside")]
    assert modes[0] == 0o600
    assert modes[1] == modes[2]


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_in_the_meantime_stays(
    has_links: bool, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr("os.link", refuse)
    assert refusal(capsys, "late", "blobs.toml", "-o", "x") == "optimctl: 'x' is already there; --force replaces it\n"
    assert Path("x").read_text("utf-8") == "theirs"
    assert files() == ["blobs.toml", "x"]
    assert exit_code(["export", "late", "blobs.toml", "-o", "x", "--force"]) == 0
    assert Path("x").read_text("utf-8") == "ours"


def test_a_file_of_ones_own_beside_it_is_left_alone(capsys: Captured) -> None:
    for name in (".x.part", "x.part", ".part"):
        Path(name).write_text("mine", "utf-8")
    assert exit_code(["export", "toml", "blobs.toml", "-o", "x"]) == 0
    assert files() == [".part", ".x.part", "blobs.toml", "x", "x.part"]
    assert {Path(name).read_text("utf-8") for name in (".x.part", "x.part", ".part")} == {"mine"}


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_a_file(number: signal.Signals, site: Site) -> None:
    command = [sys.executable, "-m", "optimctl", "export", "slow", "blobs.toml", "-o", "x"]
    environment = {**os.environ, "PYTHONPATH": str(site.folder)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, a shell has it ignored below
    try:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    assert process.stderr.readline() == "at work\n"
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 128 + number
    assert files() == ["blobs.toml"]


def test_a_closed_stdout_is_told() -> None:
    command = f"{sys.executable} -m optimctl export toml blobs.toml >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "optimctl: stdout cannot be written: it is closed\n")


# --- of a run


def test_a_run_is_exported_by_its_folder(run: Path, capsys: Captured) -> None:
    assert exit_code(["export", "toml", str(run)]) == 0
    of_run = capsys.readouterr().out
    assert exit_code(["export", "toml", "blobs.toml", "--set", "train_cfg.max_epochs=1"]) == 0
    assert capsys.readouterr().out == of_run
    assert exit_code(["export", "safetensors", str(run), "-o", "blobs.safetensors"]) == 0
    file = run / "checkpoints" / "iteration-00000007.pt"
    size = Path("blobs.safetensors").stat().st_size
    assert capsys.readouterr() == ("", f"blobs.safetensors: safetensors of {file}, {size:,} bytes\n")
    state = torch.load(file, weights_only=True)["model"]
    assert all(torch.equal(value, state[name]) for name, value in load_file("blobs.safetensors").items())


def test_averaged_weights_are_told(capsys: Captured) -> None:
    Path("blobs.toml").write_text(BLOBS + "[hooks.EMA]\n", "utf-8")
    assert exit_code(["run", "blobs.toml", "--set", "train_cfg.max_epochs=1"]) == 0
    run = capsys.readouterr().out.strip()
    assert exit_code(["export", "pt2", run, "-o", "blobs.pt2"]) == 0
    size = Path("blobs.pt2").stat().st_size
    file = f"{run}/checkpoints/iteration-00000007.pt"
    assert capsys.readouterr() == ("", f"blobs.pt2: pt2 of {file}, averaged weights, {size:,} bytes\n")


def test_a_job_with_a_checkpoint_beside_it(run: Path, capsys: Captured) -> None:
    file = str(run / "checkpoints" / "iteration-00000007.pt")
    assert exit_code(["export", "safetensors", "blobs.toml", "--checkpoint", file, "-o", "a.safetensors"]) == 0
    assert exit_code(["export", "safetensors", str(run), "--checkpoint", "last", "-o", "b.safetensors"]) == 0
    one, other = load_file("a.safetensors"), load_file("b.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in other)
    capsys.readouterr()


def test_what_is_no_run_or_has_no_weights(run: Path, capsys: Captured) -> None:
    to = ("-o", "x.safetensors")
    assert refusal(capsys, "safetensors", "blobs.toml", *to) == (
        "optimctl: safetensors exports the weights of a run, and blobs.toml is none; give the folder of one, or, beside the job, "
        "a file with --checkpoint PATH\n"
    )
    assert refusal(capsys, "safetensors", "runs", *to) == (
        f"optimctl: runs is a folder, and not that of a run; the newest run in it is {run}\n"
    )
    Path("empty").mkdir()
    assert refusal(capsys, "toml", "empty") == (
        "optimctl: empty is a folder, and not that of a run; a job is a file, and a run is a folder that `optimctl run` made\n"
    )
    assert refusal(capsys, "safetensors", str(run), "--checkpoint", "best", *to) == (
        f"optimctl: {run} has no best checkpoint, as its job has no checkpoint.save_best; --checkpoint last takes the newest one\n"
    )
    assert refusal(capsys, "safetensors", "blobs.toml", "--checkpoint", "gone.pt", *to) == (
        "optimctl: there is no checkpoint 'gone.pt'\n"
    )
    file = run / "checkpoints" / "iteration-00000007.pt"
    assert refusal(capsys, "safetensors", str(file), *to) == (
        f"optimctl: {file} is a checkpoint; name its run, and behind it the checkpoint: "
        f"optimctl export safetensors {run} --checkpoint iteration-00000007.pt\n"
    )
    assert refusal(capsys, "toml", str(run), "--checkpoint", "last") == (
        "optimctl: toml exports a job, which has no weights; leave --checkpoint out\n"
    )
    assert refusal(capsys, "toml", str(run), "--set", "job.seed=1") == (
        f"optimctl: --set and --unset change a job, and {run} is a run; its job is {run}/job.toml\n"
    )
    assert refusal(capsys, "toml", "gone.toml") == "gone.toml: there is no such file\n"
    assert files() == ["blobs.toml", "empty", "runs"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not a checkpoint", "cannot be read as a checkpoint: it is damaged, or something else (UnpicklingError)\n"),
        (b"", "cannot be read as a checkpoint: it is damaged, or something else (EOFError"),
        ("half", "cannot be read as a checkpoint: it is damaged, or something else ("),
        ([1], "is not a checkpoint of this version of optimctl\n"),
        ({"format": 1}, "cannot be read as a checkpoint: it is damaged, or something else (it holds no weights)\n"),
        (
            {"format": 1, "model": [1]},
            "cannot be read as a checkpoint: it is damaged, or something else (it holds no weights)\n",
        ),
    ],
)
def test_a_damaged_checkpoint(content: Any, reason: str, run: Path, capsys: Captured) -> None:
    file = run / "checkpoints" / "iteration-00000007.pt"
    if isinstance(content, (bytes, str)):
        file.write_bytes(file.read_bytes()[:9000] if isinstance(content, str) else content)
    else:
        torch.save(content, file)
    told = refusal(capsys, "safetensors", str(run), "-o", "x.safetensors")
    assert told.startswith(f"optimctl: {file} {reason}")
    assert told.count("\n") == 1


def test_where_all_checkpoints_were_deleted(run: Path, capsys: Captured) -> None:
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    best = {"metric": "loss", "value": 1.0, "iteration": 3, "checkpoint": "checkpoints/iteration-00000003.pt"}
    (run / "summary.json").write_text(json.dumps({**summary, "best": best}), "utf-8")
    to = ("-o", "x.safetensors")
    assert refusal(capsys, "safetensors", str(run), *to) == (
        f"optimctl: the best checkpoint of {run} is gone, iteration-00000003.pt; --checkpoint last takes the newest one\n"
    )
    (run / "checkpoints" / "iteration-00000007.pt").unlink()
    assert refusal(capsys, "safetensors", str(run), *to) == (
        f"optimctl: {run} has no checkpoint: it ended before the first one, or they were deleted\n"
    )


def test_a_binary_format_is_not_for_a_screen(run: Path, capsys: Captured) -> None:
    for name in ("safetensors", "pt2"):
        assert refusal(capsys, name, str(run)) == (
            f"optimctl: {name} is no text that could be printed; name a file, as in: optimctl export {name} {run} -o FILE\n"
        )


# --- formats of others


def test_an_unknown_format_is_answered_with_the_nearest(capsys: Captured) -> None:
    assert refusal(capsys, "tmol", "blobs.toml") == "optimctl: no exporter is called 'tmol'; did you mean 'toml'?\n"
    assert refusal(capsys, "onnx", "blobs.toml").startswith(
        "optimctl: no exporter is called 'onnx'; there is 'csv', 'json', "
    )


@pytest.mark.usefixtures("formats")
def test_options_are_the_arguments_of_the_exporter(capsys: Captured) -> None:
    assert exit_code(["export", "name", "blobs.toml", "--option", "shout=true", "--option", "times=2"]) == 0
    assert capsys.readouterr() == ("BLOBSBLOBS\n", "at work\nnote: a short one\n")
    assert refusal(capsys, "name", "blobs.toml", "--option", "shoot=true", "--option", "times=two") == (
        "--option shoot=true: shoot: name (formats) has no argument 'shoot'; did you mean 'shout'?\n"
        "--option times=two: times: must be a whole number, not the string 'two'\n"
        "2 problems\n"
    )
    assert refusal(capsys, "name", "blobs.toml", "--option", "shout") == "optimctl: --option shout: write NAME=VALUE\n"


@pytest.mark.usefixtures("formats")
def test_pieces_are_printed_as_they_come(capsys: Captured) -> None:
    assert exit_code(["export", "pieces", "blobs.toml"]) == 0
    assert capsys.readouterr() == ("0\n1\n2\n", "at work\nat work\nat work\n")


@pytest.mark.usefixtures("formats")
def test_either_takes_a_job_or_a_run(run: Path, capsys: Captured) -> None:
    for arguments, answer in (
        (["blobs.toml"], "None None"),
        ([str(run)], f"{run} iteration-00000007.pt"),
    ):
        assert exit_code(["export", "either", *arguments]) == 0
        assert capsys.readouterr().out == f"{answer}\n"
    (run / "checkpoints" / "iteration-00000007.pt").unlink()
    assert exit_code(["export", "either", str(run)]) == 0
    assert capsys.readouterr().out == f"{run} None\n"


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("refuses", "not this one"),
        ("nothing", "nothing (formats) returned nothing; an exporter returns text, bytes, or pieces of text"),
        ("number", "number (formats) returned an int; an exporter returns text, bytes, or pieces of text"),
        ("table", "table (formats) returned a dict; an exporter returns text, bytes, or pieces of text"),
        ("gap", "gap (formats) returned pieces of NoneType; an exporter returns text, bytes, or pieces of text"),
        (
            "half",
            "half (formats) returned '\\ud800', which is no text; an exporter returns text, bytes, or pieces of text",
        ),
        ("numbers", "numbers (formats) returned pieces of int; an exporter returns text, bytes, or pieces of text"),
        ("breaks_late", "breaks_late (formats) raised KeyError: 'two' (formats.py:27 in breaks_late)"),
        ("greedy", "greedy (formats) says that it needs 'everything'; it must be 'job', 'run' or 'either'"),
    ],
)
def test_what_an_exporter_does_wrong_is_its_own(name: str, message: str, capsys: Captured) -> None:
    assert refusal(capsys, name, "blobs.toml", "-o", "x") == f"optimctl: {message}\n"
    assert files() == ["blobs.toml"]


@pytest.mark.usefixtures("formats")
def test_bytes_that_nobody_announced_are_not_printed_either(capsys: Captured) -> None:
    assert refusal(capsys, "data", "blobs.toml") == (
        "optimctl: data is no text that could be printed; name a file, as in: optimctl export data blobs.toml -o FILE\n"
    )
    assert exit_code(["export", "data", "blobs.toml", "-o", "x"]) == 0
    assert Path("x").read_bytes() == b"\0"


# --- help


@pytest.mark.usefixtures("formats")
def test_help_tells_the_formats_and_what_each_is(capsys: Captured) -> None:
    assert exit_code(["export", "--help"]) == 0
    page = capsys.readouterr().out
    listed = page[page.index("Formats:") :].splitlines()
    names = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert names == sorted(names)
    assert {*NAMES, "csv", "json", "pt2", "python", "safetensors", "toml"} <= set(names)
    assert any(line.split() == ["name", "of", "formats"] for line in listed)
    assert exit_code(["export", "name", "--help"]) == 0
    assert capsys.readouterr().out.endswith(NAME_HELP)


NAME_HELP = """
name (formats):
  The name of a job.

  And nothing else.

  --option shout=…  In capital letters.  [default: false]
  --option times=…  How often.  [default: 1]
"""
