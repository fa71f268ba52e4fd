"""Whether plugins can be loaded: each distribution's in a process of its own, where they harm neither each other nor who asks.

In this room: ``Report``, ``check`` (starts the processes, and judges one that ends) and ``answer``, which runs in such a process. It is a
room beside ``plugins`` because that one starts no process, and below the command line because ``--json`` wants the reports whole.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optimctl.errors import PluginError, UsageError, frame_text, is_library
from optimctl.plugins import KINDS, LoadedPlugin, Plugin, Project, load

OK, BROKEN, SLOW, WRONG_KIND = "ok", "broken", "slow", "wrong-kind"
SECONDS = 30.0
"""How long a plugin may take to load, unless told otherwise; torch's own import is not counted."""
START = 120.0
"""How long a process may take besides: to start, and to import torch."""
AT_ONCE = min(4, os.cpu_count() or 1)

# The path is that of the process that asks: `-c` alone would put the working directory first.
_CHILD = "import sys; sys.path[:] = {path!r}; from optimctl.check import answer; answer(sys.argv[1])"
_FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)')


@dataclass(frozen=True)
class Report:
    """What became of one plugin."""

    plugin: Plugin
    status: str
    """``ok``, ``broken``, ``slow`` or ``wrong-kind``."""
    message: str = ""
    """What is wrong, as a sentence."""
    traceback: str = ""
    seconds: float | None = None
    """How long it took to load, where it came to an end."""


def check(plugins: Iterable[Plugin], project: Project | None = None, seconds: float = SECONDS) -> list[Report]:
    """Load each plugin in a process of its distribution's; a process that a plugin brings to an end is followed by another one.

    Args:
        plugins: The plugins to load; the reports come in their order.
        project: Whose plugins may be among them.
        seconds: How long one plugin may take to load.
    """
    plugins = list(plugins)
    by_distribution: dict[str, list[Plugin]] = {}
    for plugin in plugins:
        by_distribution.setdefault(plugin.distribution, []).append(plugin)
    reports = asyncio.run(_check_all(list(by_distribution.values()), project, seconds))
    return [reports[plugin] for plugin in plugins]


async def _check_all(
    groups: Sequence[Sequence[Plugin]], project: Project | None, seconds: float
) -> dict[Plugin, Report]:
    turns = asyncio.Semaphore(AT_ONCE)
    found = await asyncio.gather(*(_check_group(group, project, seconds, turns) for group in groups))
    return {report.plugin: report for reports in found for report in reports}


async def _check_group(
    group: Sequence[Plugin], project: Project | None, seconds: float, turns: asyncio.Semaphore
) -> list[Report]:
    reports: list[Report] = []
    while len(reports) < len(group):
        rest = group[len(reports) :]
        async with turns:
            process = await _load_in_process(rest, project, seconds)
        reports += process.reports
        if not process.reports:  # the first one ended it; one further down could blame those that came before it
            reports.append(process.verdict(rest[0], seconds))
    return reports


@dataclass(frozen=True)
class _Process:
    """A process that has ended."""

    reports: list[Report]
    exit_code: int | None
    """None where it was ended from here."""
    dump: str
    """What Python's fault handler wrote: where it was when a signal or the end of its time came."""

    def verdict(self, plugin: Plugin, seconds: float) -> Report:
        """What to say of the plugin that was being loaded when the process ended."""
        what = plugin.in_words
        if self.exit_code is None or "Timeout (" in self.dump:
            return Report(plugin, SLOW, f"{what} was not loaded within {seconds:g} s{self._where()}")
        if self.exit_code < 0:
            with suppress(ValueError):
                ended = f"{signal.Signals(-self.exit_code).name} ended the process that loaded it{self._where()}"
                return Report(plugin, BROKEN, f"{what} cannot be loaded: {ended}")
        ended = f"its import ended the process with exit code {self.exit_code}, without an error"
        return Report(plugin, BROKEN, f"{what} cannot be loaded: {ended}")

    def _where(self) -> str:
        """The plugin's innermost frame; the dump has all threads, and of each the innermost frame first."""
        threads = [_FRAME.findall(thread) for thread in self.dump.split("hread 0x")]
        frames = next((frames for frames in threads if "answer" in [name for _, _, name in frames]), [])
        theirs = [frame for frame in frames if not is_library(frame[0])]
        return f"; it was at {frame_text(*theirs[0])}" if theirs else ""


async def _load_in_process(plugins: Sequence[Plugin], project: Project | None, seconds: float) -> _Process:
    """Load plugins one after another in one new process, until all are loaded or one of them ends it."""
    with tempfile.TemporaryDirectory(prefix="optimctl-") as name:
        folder = Path(name)
        request = {
            "plugins": [asdict(plugin) for plugin in plugins],
            "project": str(project.directory) if project else None,
            "seconds": seconds,
        }
        (folder / "request.json").write_text(json.dumps(request), "utf-8")
        exit_code = await _run(name, START + seconds * len(plugins))
        if exit_code is not None and not (folder / "answers.jsonl").exists():
            raise UsageError(
                f"a new Python process fails with exit code {exit_code}: {sys.executable} -c 'import torch'"
            )
        answers = _lines(folder / "answers.jsonl")
        dump = (folder / "dump.txt").read_text("utf-8", "replace") if (folder / "dump.txt").exists() else ""
    reports = [Report(plugin, **one) for plugin, one in zip(plugins, answers, strict=False)]
    return _Process(reports, exit_code, dump)


async def _run(folder: str, limit: float) -> int | None:
    """The exit code of a process that answers the request in ``folder``; None where it had to be ended.

    What it prints is nobody's data, and it gets no terminal to ask questions at. It leads a process group of its own, so that what it
    may have started ends with it.
    """
    code = _CHILD.format(path=sys.path)
    quiet = subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, folder, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return await asyncio.wait_for(process.wait(), limit)
    except asyncio.TimeoutError:
        return None
    finally:
        _end(process)
        await process.wait()


def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()


def _lines(file: Path) -> list[Mapping[str, Any]]:
    """The answers that were written whole."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]


# --- in the process that loads ----------------------------------------------------------------------------------------


def answer(folder: str) -> None:
    """Load the plugins of a request, one after another; each answer is written before the next one is loaded."""
    request = json.loads(Path(folder, "request.json").read_text("utf-8"))
    project = Project(Path(request["project"]), ()) if request["project"] else None
    own = os.getpid()
    # In a job torch is there before any plugin is: its time is nobody's, and where it fails, whoever needs it tells.
    with suppress(Exception):
        import torch  # noqa: F401
    with Path(folder, "dump.txt").open("w") as dump, Path(folder, "answers.jsonl").open("w", encoding="utf-8") as file:
        faulthandler.enable(dump)
        for fields in request["plugins"]:
            faulthandler.dump_traceback_later(request["seconds"], exit=True, file=dump)
            found = _load(Plugin(**fields), project)
            faulthandler.cancel_dump_traceback_later()
            if os.getpid() != own:  # the plugin's import has forked, and this is the fork
                os._exit(0)
            file.write(json.dumps(found) + "\n")
            file.flush()
        faulthandler.disable()
    os._exit(0)  # what a plugin has started or registered is not waited for


def _load(plugin: Plugin, project: Project | None) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        wrong = _wrong_call(load(plugin, project))
    except PluginError as error:
        status = WRONG_KIND if error.code == "wrong-kind" else BROKEN
        whole = "".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ""
        found = {"status": status, "message": error.message, "traceback": whole}
    except KeyboardInterrupt:
        found = {"status": BROKEN, "message": f"{plugin.in_words} cannot be loaded: KeyboardInterrupt"}
    else:
        found = {"status": WRONG_KIND, "message": wrong} if wrong else {"status": OK}
    return {**found, "seconds": round(time.perf_counter() - start, 3)}


def _wrong_call(loaded: LoadedPlugin) -> str:
    """Why optimctl could not call the plugin with what it gives; nothing where it could."""
    kind = KINDS[loaded.plugin.kind]
    if loaded.signature is None:
        return ""
    try:
        loaded.signature.bind_partial(*[None] * kind.given)
    except TypeError:
        leading = "the leading argument" if kind.given == 1 else f"the {kind.given} leading arguments"
        return f"{loaded.plugin.in_words} does not take {leading} that it gets; it must be {kind.contract}"
    return ""


__all__ = ["BROKEN", "OK", "SECONDS", "SLOW", "WRONG_KIND", "Report", "answer", "check"]
