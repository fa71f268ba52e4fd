"""The folder of a run: made once, never written over, readable by a person and by a program."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import secrets
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from optimctl.errors import RunFailed, UsageError

SECONDS_BETWEEN = 0.5
"""How long a record may wait for its way to the disk: a fast loop pays for two writes a second, not for every record."""


@dataclass
class RunFolder:
    """``<work_dir>/<YYYYMMDD-HHMMSS>-<4 hex digits>/`` and the files in it."""

    path: Path
    _files: dict[str, IO[str]] = field(default_factory=dict)
    _records: list[Mapping[str, Any]] = field(default_factory=list)
    _flushed: float = 0.0

    @classmethod
    def create(cls, work_dir: Path, now: datetime.datetime) -> RunFolder:
        """A new folder under ``work_dir``.

        Raises:
            UsageError: The folder cannot be made there.
        """
        try:
            while True:
                path = work_dir / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    if not work_dir.is_dir():
                        raise
                    continue
                (path / "checkpoints").mkdir()
                return cls(path)
        except OSError as error:
            raise UsageError(f"the run's folder cannot be made in {work_dir}: {error.strerror}") from error

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Write ``job.toml``: the resolved job."""
        import tomli_w

        self._replace("job.toml", tomli_w.dumps(job))

    def write_environment(self, distributions: Iterable[tuple[str, str]], overrides: Sequence[str]) -> None:
        """Write ``environment.json``: versions, the command's overrides, the git commit."""
        self._replace("environment.json", _json(environment(distributions, overrides)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; it exists whole or not at all."""
        self._replace("summary.json", _json(summary))

    def record(self, record: Mapping[str, Any]) -> None:
        """Add a record to ``metrics.jsonl``, and as a line for a person to ``log.txt``."""
        self._records.append(record)
        if time.monotonic() - self._flushed > SECONDS_BETWEEN:
            self.flush()

    def log(self, text: str) -> None:
        """Add lines to ``log.txt``, after the records so far."""
        self.flush()
        self._append("log.txt", [text])
        self.flush()

    def flush(self) -> None:
        """Bring what was recorded to the disk."""
        self._flushed = time.monotonic()
        records, self._records = self._records, []
        if records:
            self._append("metrics.jsonl", [_line(record) for record in records])
            self._append("log.txt", [record_text(record) for record in records])
        for name, file in self._files.items():
            with self._writing(name):
                file.flush()

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunFailed(f"{self.path / name} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close what is open; the folder can still be read."""
        self.flush()
        while self._files:
            self._files.popitem()[1].close()

    def _append(self, name: str, lines: Sequence[str]) -> None:
        with self._writing(name):
            file = self._files.get(name)
            if file is None:
                file = (self.path / name).open("a", encoding="utf-8", errors="backslashreplace")
                self._files[name] = file
            file.writelines(f"{line}\n" for line in lines)

    def _replace(self, name: str, text: str) -> None:
        beside = self.path / f".{name}.part"
        with self._writing(name):
            beside.write_text(text, "utf-8")
            os.replace(beside, self.path / name)  # noqa: PTH105


def environment(distributions: Iterable[tuple[str, str]], overrides: Sequence[str]) -> dict[str, Any]:
    """What a run ran with: versions of Python, torch, optimctl and the plugins' distributions, overrides, git commit."""
    import torch

    import optimctl

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "optimctl": optimctl.__version__,
        "distributions": dict(sorted(distributions)),
        "overrides": list(overrides),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def record_text(record: Mapping[str, Any]) -> str:
    """A record as a line for a person."""
    head = f"epoch {record['epoch']}  iteration {record['iteration']}  {record['split']}"
    rest = [f"{name} {value:.4g}" for name, value in record.items() if isinstance(value, float)]
    return "  ".join([head, *rest])


def _line(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON; a number that is not finite, which JSON does not have, becomes null."""
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(finite(record), allow_nan=False)


def finite(value: Any) -> Any:
    """A value as JSON can have it: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"
