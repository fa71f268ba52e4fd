"""Trackers: what CSV, TensorBoard and Weights & Biases have of a run, read back by their own readers."""

import csv
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import RunFailed
from optimctl.job.length import Length
from optimctl.train.hooks.wandb import WandB
from optimctl.train.loop import Run
from optimctl.train.run import run, try_out
from tests.jobs import blobs, read_records, write_blobs
from tests.train.hooks.runs import interrupted_and_resumed, straight

CSV_ON = "[hooks.CSV]\n"
TENSORBOARD_ON = "[hooks.TensorBoard]\n"
WANDB_ON = '[hooks.WandB]\nmode = "offline"\ntags = ["small", "quick"]\nproject = "tests"\n'
ALL = CSV_ON + TENSORBOARD_ON + WANDB_ON


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """wandb may neither know who we are nor find its way out."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def folder_of(done: Run) -> Path:
    assert done.folder is not None
    return done.folder.path


def values_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What the records hold, as a tracker names it: iteration and value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for record in read_records(folder):
        for name, value in record.items():
            if name not in ("iteration", "epoch", "split"):
                found.setdefault(f"{record['split']}/{name}", []).append((record["iteration"], value))
    return found


# --- CSV


def test_the_table_has_a_line_a_record_and_a_column_a_value(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path, extra=CSV_ON))
    lines = (folder / "metrics.csv").read_text("utf-8").splitlines()
    records = read_records(folder)
    assert lines[0] == "iteration,epoch,split,loss,lr,grad_norm,accuracy"
    assert len(lines) == 1 + len(records) == 15
    assert table(folder) == [{name: str(value) for name, value in record.items()} for record in records]


def table(folder: Path) -> list[dict[str, str]]:
    """The lines of the table, without its empty cells."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("at", [4, 8, 14])
def test_the_table_of_a_resumed_run_is_that_of_the_straight_one(tmp_path: Path, at: int) -> None:
    job = blobs(tmp_path, extra=CSV_ON)
    resumed, whole = (folder_of(done) / "metrics.csv" for done in (interrupted_and_resumed(job, at), straight(job)))
    assert resumed.read_text("utf-8") == whole.read_text("utf-8")


def test_what_came_after_the_checkpoint_and_half_a_line_give_way(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra=CSV_ON)
    done = straight(job)
    file = folder_of(done) / "metrics.csv"
    whole = file.read_text("utf-8")
    file.write_text(whole + "23,4,tra", "utf-8")
    resumed = Run(assemble(job, for_run=True), done.folder)
    resumed.load_state_dict(done.state_dict())
    resumed.iteration = 14
    resumed.train()
    assert done.folder is not None
    done.folder.close()
    assert [row["iteration"] for row in table(folder_of(done))] == [row["iteration"] for row in csv_rows(whole)]


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_the_table_is_whole_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optimctl.train.hooks.csv import CSV

    lengths = []
    write = CSV.write

    def noting(self: CSV, record: Any) -> None:
        write(self, record)
        (file,) = Path("runs/blobs").glob("*/metrics.csv")
        text = file.read_text("utf-8")
        assert text.endswith("\n")
        assert len({line.count(",") for line in text.splitlines()}) == 1
        lengths.append(len(text.splitlines()))

    monkeypatch.setattr(CSV, "write", noting)
    run(blobs(tmp_path, extra=CSV_ON))
    assert lengths == list(range(2, 16))
    assert not list(tmp_path.rglob("*.part"))


def test_a_table_that_cannot_be_written_is_no_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("optimctl.train.hooks.csv._line", refused)
    with pytest.raises(RunFailed, match=r"the hook 'CSV' raised OSError: \[Errno 28\] No space left on device"):
        run(blobs(tmp_path, extra=CSV_ON))


# --- TensorBoard


def test_tensorboard_reads_the_records_and_the_job(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path, extra=TENSORBOARD_ON))
    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    assert scalars(read) == approximately(values_of(folder))
    (text,) = read.Tensors("job/text_summary")
    job = text.tensor_proto.string_val[0].decode()
    assert job == f"```toml\n{(folder / 'job.toml').read_text('utf-8')}```"


def scalars(read: EventAccumulator) -> dict[str, list[tuple[int, float]]]:
    return {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def approximately(values: dict[str, list[tuple[int, float]]]) -> dict[str, Any]:
    """Within single precision."""
    return {tag: [(step, pytest.approx(value, rel=1e-6)) for step, value in pairs] for tag, pairs in values.items()}


def test_what_a_resumed_run_tells_tensorboard_takes_the_place_of_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra=TENSORBOARD_ON)
    done = straight(job)
    before = values_of(folder_of(done))
    going = Run(assemble(job, for_run=True), done.folder)
    going.load_state_dict(done.state_dict())
    going.iteration = 14
    going.train()
    assert done.folder is not None
    done.folder.close()
    read = EventAccumulator(str(folder_of(done) / "tensorboard"))
    read.Reload()
    steps = {tag: [step for step, _ in pairs] for tag, pairs in scalars(read).items()}
    assert steps == {tag: [step for step, _ in pairs] for tag, pairs in before.items()}


# --- Weights & Biases


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of wandb's file: a log of LevelDB's format, in blocks of 32 KiB, after a head of 7 bytes."""
    data = file.read_bytes()
    place, whole = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def wandb_files(folder: Path) -> list[Path]:
    """The files of wandb, written to the end: its process is waited for."""
    wandb.teardown()
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def test_wandb_has_the_records_and_the_job_and_nothing_lies_elsewhere(
    tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run(blobs(tmp_path, extra=WANDB_ON))
    (file,) = wandb_files(folder)
    records = list(wandb_records(file))
    (told,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (told.project, told.display_name, list(told.tags)) == ("tests", folder.name, ["small", "quick"])
    config = {item.key: json.loads(item.value_json) for item in told.config.update}
    job = tomli.loads((folder / "job.toml").read_text("utf-8"))
    assert {name: value for name, value in config.items() if name != "_wandb"} == job
    assert history(records) == values_of(folder)
    assert [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"] == [0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs.toml", "home", "runs"]
    assert not list(home.rglob("*wandb*"))
    capfd.readouterr()


def history(records: list[Any]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in records:
        items = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if "/" in name:
                found.setdefault(name, []).append((items["iteration"], value))
    return found


def test_a_resumed_run_goes_on_under_its_id_and_a_failed_one_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = blobs(tmp_path, extra=WANDB_ON)
    resumed = interrupted_and_resumed(job, 9)
    files = wandb_files(folder_of(resumed))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1  # run-<id>.wandb
    ends = [r.exit.exit_code for file in files for r in wandb_records(file) if r.WhichOneof("record_type") == "exit"]
    assert sorted(ends) == [0, 128 + 15]
    capfd.readouterr()


def test_what_wandb_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def refused(**options: Any) -> Any:
        told.update(options)
        raise wandb.errors.UsageError("api_key not configured (no-tty). call wandb.login(key=[your_api_key])")

    monkeypatch.setattr(wandb, "init", refused)
    with pytest.raises(RunFailed, match=r"the hook 'WandB' raised UsageError: api_key not configured .*, after 0 iter"):
        run(blobs(tmp_path, extra='[hooks.WandB]\nentity = "us"\n'))
    assert {name: told[name] for name in ("project", "entity", "mode", "tags", "id", "resume")} == {
        "project": "blobs",
        "entity": "us",
        "mode": None,
        "tags": None,
        "id": None,
        "resume": None,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('mode = "of"', "hooks.WandB.mode: must be one of 'online', 'offline' and 'disabled', not 'of'"),
        ("tags = [1]", "hooks.WandB.tags.0: must be a text, not 1"),
        ('tags = "one"', "hooks.WandB.tags: must be an array, not 'one'"),
    ],
)
def test_an_argument_that_wandb_does_not_know_is_told(options: str, message: str) -> None:
    from optimctl.errors import JobError

    with pytest.raises(JobError) as caught:
        WandB(**tomli.loads(options))
    assert str(caught.value.below("hooks", "WandB")) == message


# --- all of them


@pytest.mark.parametrize(("hook", "package"), [("TensorBoard", "tensorboard"), ("WandB", "wandb")])
@pytest.mark.parametrize("command", [["inspect"], ["run"], ["run", "--dry-run"]])
def test_a_library_that_is_missing_is_told_with_the_extra_that_brings_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hook: str,
    package: str,
    command: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    write_blobs(tmp_path, f"[hooks.{hook}]\n")
    assert exit_code([*command, "blobs.toml"]) == 2
    out, err = capsys.readouterr()
    told = f"hooks.{hook}: this hook needs the package {package}, which is not installed: pip install 'optimctl[{package}]'"
    assert re.match(rf"blobs\.toml:\d+:\d+: {re.escape(told)}\n", err)
    assert out == ""
    assert not Path("runs").exists()
    assert exit_code([*command, "blobs.toml", "--unset", f"hooks.{hook}"]) == 0


def test_a_folder_that_has_the_name_of_the_library_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optimctl.errors import JobError
    from optimctl.train.hooks.tracker import require

    (tmp_path / "wundb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(JobError, match="needs the package wundb"):
        require("wundb", extra="wundb")


def test_a_trial_leaves_nothing(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra=ALL)
    before = sorted(tmp_path.rglob("*"))
    try_out(assemble(job, for_run=True), Length(4, "iterations"))
    assert sorted(tmp_path.rglob("*")) == before
