"""``optimctl plugins new``: a package of plugins to begin with."""

from __future__ import annotations

import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from optimctl.cli import output
from optimctl.cli.completion import folders
from optimctl.cli.files import NewFile, write_all
from optimctl.cli.options import common_options
from optimctl.errors import UsageError, visible
from optimctl.plugins import OWN, PROJECT, canonical

TEMPLATE = Path(__file__).parents[2] / "templates" / "plugin"
"""What is written, as a package that works as it is; its three names become those of the new one."""
NAMES = ("my-plugin", "my_plugin", "MyPlugin")
"""The distribution, its module, and what the names of its classes begin with."""
WHAT: Mapping[str, str] = {
    "pyproject.toml": "the names by which a job finds the plugins",
    "README.md": "what there is, and how to try it",
    "my_plugin/optimizer.py": "an optimizer, to edit",
    "my_plugin/constructor.py": "a constructor, to edit",
    "my_plugin/schedule.py": "a schedule, to edit",
    "examples/job.toml": "a job that uses all three",
    "tests/test_my_plugin.py": "what they promise to a job",
}
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_LEFT_BY_TOOLS = re.compile(r"(^|/)(\.|__pycache__)")
_TAKEN: Mapping[str, str] = {
    OWN: "it is optimctl's own name",
    PROJECT: "in a job, 'project/Name' is a plugin of one's own project",
    "tests": "the package has a folder of that name for its tests",
    "examples": "the package has a folder of that name for its jobs",
}


@click.command()
@click.argument("name")
@click.option(
    "--directory", metavar="DIR", default=".", show_default=True, help="Where its folder goes.", shell_complete=folders
)
@common_options
def new(name: str, directory: str) -> None:
    """Write the package NAME: an optimizer, a constructor and a schedule to edit, a job that uses them, and their tests."""
    module = _module(name)
    folder = Path(directory) / name
    if os.path.lexists(folder):
        raise UsageError(f"{folder} is already there; give the package another name, or --directory another folder")
    _check_free(name, module)
    files = list(_files(folder, dict(zip(NAMES, (name, module, _prefix(name)), strict=True))))
    write_all(files)
    for file in files:
        if file.what:
            output.say(f"{visible(str(file.path))}: {file.what}")
    output.say("next:")
    for command in _next_commands(folder):
        output.say(f"    {visible(command)}")


def _module(name: str) -> str:
    """The module of a distribution.

    Raises:
        UsageError: There cannot be a distribution, or a module, of that name.
    """
    if not _DISTRIBUTION.fullmatch(name):
        advice = "write letters and digits, with '-', '_' or '.' only between them"
        raise UsageError(f"'{visible(name)}' is no name for a package: {advice}, as in 'my-plugin'")
    module = canonical(name).replace("-", "_")
    reason = _TAKEN.get(module)
    if module[0].isdigit():
        reason = f"its module would be '{module}', and no module begins with a digit"
    elif keyword.iskeyword(module) or module in sys.stdlib_module_names:
        reason = f"its module would be '{module}', which is one of Python's own words or modules"
    if reason:
        raise UsageError(f"'{name}' is no name for a package of plugins: {reason}; take another, as 'my-{name}'")
    return module


def _check_free(name: str, module: str) -> None:
    """Nothing that is installed would be hidden, or replaced by pip.

    Raises:
        UsageError: Something would.
    """
    import importlib.util

    import importlib_metadata

    advice = f"take another name, as 'my-{name}'"
    try:
        importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        pass
    else:
        raise UsageError(f"'{name}' is installed already, and pip would replace it; {advice}")
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        raise UsageError(f"a module '{module}' is there already ({spec.origin}); {advice}")


def _prefix(name: str) -> str:
    """What the names of the classes begin with: ``my-plugin`` makes ``MyPlugin``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_.]+", name))


def _files(folder: Path, renamed: Mapping[str, str]) -> Iterator[NewFile]:
    """The template's files, with the new names in them and on them."""
    for path in sorted(TEMPLATE.rglob("*")):
        inside = path.relative_to(TEMPLATE).as_posix()
        if path.is_file() and not _LEFT_BY_TOOLS.search(inside):
            text = _rename(path.read_text("utf-8"), renamed)
            yield NewFile(folder / _rename(inside, renamed), text.encode(), WHAT.get(inside, ""))


def _rename(text: str, renamed: Mapping[str, str]) -> str:
    return re.sub("|".join(renamed), lambda found: renamed[found[0]], text)


def _next_commands(folder: Path) -> Iterator[str]:
    """What to type now, as a shell takes it."""
    yield shlex.join(["python", "-m", "pip", "install", "-e", str(folder)])
    yield shlex.join(["optimctl", "run", str(folder / "examples" / "job.toml")])
    yield shlex.join(["python", "-m", "pytest", str(folder)])
