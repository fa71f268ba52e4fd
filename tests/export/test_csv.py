"""``csv``: a column for each option of each group, a line for each iteration, and the values of the run itself."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from optimctl.assemble import assemble
from optimctl.errors import JobError
from optimctl.export import Source
from optimctl.export.csv import export_csv
from optimctl.job.load import load_job, parse_job
from optimctl.job.schema import Job
from optimctl.schedule.trajectory import BLOCK
from optimctl.train.run import run
from tests.jobs import blobs, read_records

ROOT = Path(__file__).parents[2]
GROUPS = '[optim_wrapper.paramwise_cfg.custom_keys]\n"3." = { lr_mult = 0.1 }\n"1.bias" = { momentum = 0.5 }\n'


def table(job: Job) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader("".join(export_csv(Source(job))).splitlines())
    return header, rows


def test_the_values_are_the_runs_own(tmp_path: Path) -> None:
    job = blobs(tmp_path, "log.interval=1", extra=GROUPS)
    header, rows = table(job)
    assert header == ["iteration", "epoch", "default.0.lr", "default.1.lr", "default.2.lr"]
    records = [record for record in read_records(run(job, work_dir=tmp_path / "runs")) if record["split"] == "train"]
    assert [[int(row[0]), int(row[1]), float(row[2])] for row in rows] == [
        [record["iteration"], record["epoch"], record["lr"]] for record in records
    ]
    ratios = {round(float(row[4]) / float(row[2]), 12) for row in rows}
    assert ratios == {0.1}


@pytest.mark.parametrize("name", ["digits", "gan", "layer_decay", "muon", "my_optimizer"])
def test_the_values_are_the_plans_to_the_last_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    job = load_job(f"examples/{name}.toml")
    schedules = assemble(job, without_weights=True).schedules
    assert schedules is not None
    header, rows = table(job)
    columns = [[float(value) for value in column] for column in zip(*rows, strict=True)]
    written = dict(zip(header[2:], columns[2:], strict=True))
    wrappers = {"muon": {0: "routes.0.0", 1: "default.0", 2: "default.1"}}  # several optimizers in one wrapper
    planned = {
        f"{wrappers.get(name, {}).get(group, f'{wrapper}.{group}')}.{option}": values
        for wrapper, option, group, values in schedules.values_at(range(len(rows)))
    }
    assert written == planned


def test_each_optimizer_has_columns_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert table(load_job("examples/gan.toml"))[0][2:] == ["generator.0.lr", "discriminator.0.lr"]
    assert table(load_job("examples/muon.toml"))[0][2:] == ["routes.0.0.lr", "default.0.lr", "default.1.lr"]
    assert table(load_job("examples/my_optimizer.toml"))[0][2:] == ["default.0.a", "default.1.a"]


ALONE = """
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.5
momentum = 0.9
[train_cfg]
max_iters = 4
"""
MOMENTUM = '[[param_scheduler]]\ntype = "LinearMomentum"\nby_epoch = false\nstart_factor = 0.5\n'


def test_without_a_model_or_data_the_options_are_those_of_the_job() -> None:
    assert table(parse_job(ALONE)) == (
        ["iteration", "epoch", "default.0.lr"],
        [["1", "", "0.5"], ["2", "", "0.5"], ["3", "", "0.5"], ["4", "", "0.5"]],
    )
    assert table(parse_job(ALONE + "epoch_length = 3\n" + MOMENTUM)) == (
        ["iteration", "epoch", "default.0.lr", "default.0.momentum"],
        [["1", "1", "0.5", "0.45"], ["2", "1", "0.5", "0.6"], ["3", "1", "0.5", "0.75"], ["4", "2", "0.5", "0.9"]],
    )


def test_a_long_run_is_written_piece_by_piece() -> None:
    pieces = export_csv(Source(parse_job(ALONE + MOMENTUM, overrides=["train_cfg.max_iters=1_000_000_000"])))
    assert next(pieces) == "iteration,epoch,default.0.lr,default.0.momentum\n"
    for number in range(3):
        lines = next(pieces).splitlines()
        assert len(lines) == BLOCK
        assert lines[0].startswith(f"{number * BLOCK + 1},,0.5,0.45")


def test_what_waits_for_a_metric_is_left_out_and_told(tmp_path: Path) -> None:
    job = blobs(tmp_path, extra='[[param_scheduler]]\ntype = "ReduceOnPlateauLR"\n')
    told: list[str] = []
    _, rows = list(export_csv(Source(job, tell=told.append))), table(blobs(tmp_path))[1]
    assert table(job)[1] == rows
    assert told == ["note: ReduceOnPlateauLR waits for a metric of the run, so that the values are those without it"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "job.toml: optim_wrapper: csv needs the table [optim_wrapper], whose options it writes"),
        (
            'optim_wrapper.optimizer.type = "SGD"',
            "job.toml: train_cfg: csv needs the table [train_cfg]: how long is the run?",
        ),
        (
            'optim_wrapper.optimizer.type = "SGD"\ntrain_cfg.max_epochs = 3',
            "job.toml:2:1: train_cfg: the run's length is not known: there is no data to count; add epoch_length",
        ),
    ],
)
def test_what_is_missing(text: str, problem: str) -> None:
    with pytest.raises(JobError) as caught:
        export_csv(Source(parse_job(text)))
    assert str(caught.value) == problem
