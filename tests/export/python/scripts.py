"""Exported scripts beside the runs that they come from: both are run, and what differs is told."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import optimctl
from optimctl.export.python import export_python
from optimctl.export.source import Source
from optimctl.job.schema import Job

BESIDE = """
import contextlib, io, json, runpy, sys, traceback, warnings


class NoOptimctl:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "optimctl":
            raise ImportError(f"{name} is not to be imported here")


sys.meta_path.insert(0, NoOptimctl())
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message="Using a non-tuple sequence")  # of the library pytorch_optimizer
told = {}
for name, (folder, *arguments) in json.loads(sys.stdin.read()).items():
    sys.argv = [f"{folder}/script.py", "--work-dir", f"{folder}/made", *arguments]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(sys.argv[0], run_name="__main__")
        told[name] = printed.getvalue()
    except BaseException:
        told[name] = traceback.format_exc()
print(json.dumps(told))
"""
"""Runs scripts one after the other in a Python that has no optimctl: to start one for each takes longer than all the rest."""

RUFF = (sys.executable, "-m", "ruff")
ROOT = Path(__file__).parents[3]
OURS = ("--config", str(ROOT / "pyproject.toml"), "--config", "lint.extend-ignore=['T20']")  # a script prints


def differences(
    jobs: Mapping[str, Job],
    folder: Path,
    exported: Mapping[str, Job] | None = None,
    arguments: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Run each job, and the script that comes of it; what differs, by the name of the job: nothing where all is the same.

    Args:
        jobs: What is run.
        folder: Where all is written.
        exported: The jobs that scripts are made of, where they are others.
        arguments: Of the command lines of scripts.
    """
    runs = {}
    for number, (name, job) in enumerate(jobs.items()):
        place = folder / str(number)
        place.mkdir(parents=True)
        (place / "script.py").write_text(export_python(Source((exported or jobs)[name])), "utf-8")
        runs[name] = optimctl.run(job, work_dir=place / "run")
    places = {name: folder / str(number) for number, name in enumerate(jobs)}
    told = _run_scripts({name: [str(place), *(arguments or {}).get(name, ())] for name, place in places.items()})
    found = {name: _difference(runs[name], place, told[name]) for name, place in places.items()}
    return {name: difference for name, difference in found.items() if difference}


def _run_scripts(commands: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What scripts print, each in a folder and with further arguments."""
    done = subprocess.run(
        [sys.executable, "-c", BESIDE],
        input=json.dumps(commands),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return told


def _difference(run: Path, place: Path, printed: str) -> str:
    if "Traceback" in printed:
        return printed
    lines = [re.fullmatch(r"(train|val), iteration (\d+): (.+)", line) for line in printed.splitlines()]
    told = [(found[1], int(found[2]), dict(_numbers(found[3]))) for found in lines if found]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    wanted = [record for record in records if "loss" in record or record["split"] == "val"]
    rates = {name for record in records for name in record if name.rpartition(".")[2] == "lr"}
    constant = {
        name for name in rates if len({record.get(name) for record in records if record["split"] == "train"}) == 1
    }
    if len(told) != len(wanted):
        return f"{len(told)} records in place of {len(wanted)}"
    for (split, iteration, values), record in zip(told, wanted, strict=True):
        if (split, iteration) != (record["split"], record["iteration"]) or not values:
            return f"{split} {iteration} in place of {record}"
        if any(record[name] != (value if math.isfinite(value) else None) for name, value in values.items()):
            return f"{values} in place of {record}"
        missing = _told_of(record) - values.keys() - constant
        if missing:
            return f"{missing} not in {values}"
    if (run / "metrics.csv").exists() and not _rows(place / "made" / "metrics.csv") <= _rows(run / "metrics.csv"):
        return "another table"
    best = json.loads((run / "summary.json").read_text("utf-8"))["best"]
    other = _other_weights(run / best["checkpoint"], place / "made" / "best.pt") if best else ""
    last = sorted((run / "checkpoints").glob("iteration-*.pt"))[-1]
    return other or _other_weights(last, place / "made" / last.name)


def _told_of(record: Mapping[str, Any]) -> set[str]:
    """What a script has to print of a record; how large the gradients were is the run's to tell."""
    ours = ("iteration", "epoch", "split", "grad_norm", "skipped_updates")
    return {name for name in record if name.rpartition(".")[2] not in ours}


def _rows(table: Path) -> set[tuple[str, ...]]:
    """What all rows say of losses and metrics, by the number of the row."""
    rows = csv.DictReader(table.read_text("utf-8").splitlines())
    return {(str(number), name, value) for number, row in enumerate(rows) for name, value in row.items() if value}


def _numbers(text: str) -> Iterator[tuple[str, float]]:
    for part in text.split(", "):
        name, _, value = part.rpartition(" ")
        yield name, float(value)


def _other_weights(checkpoint: Path, made: Path) -> str:
    wanted: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    found: dict[str, Any] = torch.load(made, weights_only=True)
    for key in ("model", "averaged"):
        if wanted.get(key, {}).keys() != found.get(key, {}).keys():
            return f"other names in '{key}'"
        other = [name for name, value in wanted.get(key, {}).items() if not torch.equal(value, found[key][name])]
        if other:
            return f"other weights in '{key}': {other}"
    return ""


def ruff_finds(folder: Path) -> str:
    """What ruff finds in the scripts below a folder, linted and formatted, by its own rules and by the repository's."""
    told = ""
    for command in (
        ("check", "--isolated"),
        ("format", "--check", "--isolated"),
        ("check", *OURS),
        ("format", "--check", *OURS),
    ):
        files = [str(file) for file in sorted(folder.glob("*/script.py"))]
        done = subprocess.run([*RUFF, *command, "--no-cache", *files], capture_output=True, text=True, check=False)
        told += done.stdout + done.stderr if done.returncode else ""
    return told
