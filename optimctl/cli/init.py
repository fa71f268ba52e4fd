"""``optimctl init``: a first job that runs as it is; with ``--local``, a model, a dataset and a task to edit beside it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from optimctl.cli import output
from optimctl.cli.files import NewFile, write_all
from optimctl.cli.options import common_options
from optimctl.errors import UsageError, visible
from optimctl.plugins import DISABLE, PLUGINS, Plugin, Plugins, Project, find, find_project, installed

FIRST = Path(__file__).parent.parent / "templates" / "first"
LOCAL = FIRST.with_name("local")
"""What is written, as files that run where they lie; this folder is a project like the one that it becomes."""
SCHEMA = "optimctl.schema.json"
"""The file that the first line of these jobs names."""
ELSEWHERE = "begin in a folder of its own, as with `optimctl init --local -o new/job.toml`"


@click.command()
@click.option("-o", "job", metavar="FILE", default="job.toml", show_default=True, help="The job to write.")
@click.option(
    "--local",
    is_flag=True,
    help="Write a model, a dataset and a task to edit, too: parts.py beside the job, named in pyproject.toml.",
)
@common_options
def init(job: str, local: bool) -> None:
    """Write a first job that runs as it is, and the schema by which an editor completes and checks it."""
    _check_name(job)
    file = Path(job)
    with output.plugins_at_work():
        files = _local_files(file) if local else _first_files(file)
    write_all(files)
    for each in files:
        output.say(f"{visible(str(each.path))}: {each.what}")
    output.say("next:")
    for command in _next_commands(file, local):
        output.say(f"    {visible(command)}")


def _check_name(job: str) -> None:
    """A job goes into a file that ends in ``.toml`` and is not there yet."""
    file = Path(job)
    if os.path.isdir(job) or job.endswith("/"):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise UsageError(f"{job} is a folder; name the job in it, as with `-o {file / 'job.toml'}`")
    if file.suffix != ".toml":
        raise UsageError(f"{job}: the name of a job's file ends in .toml, as with `-o job.toml`")
    if file.name == "pyproject.toml":
        raise UsageError(f"{job} is the file of a project; give the job another name, as with `-o job.toml`")
    if os.path.lexists(file):
        raise UsageError(f"{job} is already there; give the new job another name, as with `-o second.toml`")
    for folder in file.parents:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UsageError(f"{job} cannot be written: {folder} is no folder")


def _next_commands(file: Path, local: bool) -> Iterator[str]:
    """What to type now, as a shell takes it; a local job's plugins are found from its own folder."""
    if local and file.parent.resolve() != Path.cwd():
        yield shlex.join(("cd", str(file.parent)))
        file = Path(file.name)
    for command in ("inspect", "run"):
        yield shlex.join(("optimctl", command, str(file)))


def _first_files(file: Path) -> list[NewFile]:
    job = (FIRST / "job.toml").read_bytes()
    return [NewFile(file, job, "a job that runs as it is"), _schema(file.parent, installed())]


def _local_files(file: Path) -> list[NewFile]:
    folder = file.parent
    _check_module(folder)
    nearest = _nearest_project(folder.resolve())
    project = nearest if nearest and nearest.directory == folder.resolve() else None
    settings = folder / "pyproject.toml"
    tables = _tables(settings, _missing(settings, project))
    names = "the names by which a job finds them"
    hidden = nearest if nearest is not project else None
    if hidden is not None:
        names += f", from here in place of those of {hidden.directory / 'pyproject.toml'}"
    plugins = _with_template(project)
    return [
        NewFile(file, _local_job(plugins), "a job that runs as it is"),
        NewFile(folder / "parts.py", (LOCAL / "parts.py").read_bytes(), "its model, dataset and task, to edit"),
        *([NewFile(settings, tables, names, "ab")] if tables else []),
        _schema(folder, plugins),
    ]


def _schema(folder: Path, plugins: Plugins) -> NewFile:
    from optimctl.job.json_schema import job_schema, schema_text

    content = schema_text(job_schema(plugins)).encode()
    return NewFile(folder / SCHEMA, content, "what an editor completes and checks it with", "wb")


def _check_module(folder: Path) -> None:
    """Nothing in the folder is the module ``parts`` already."""
    for name in ("parts.py", "parts/__init__.py", "src/parts.py", "src/parts/__init__.py"):
        if os.path.lexists(folder / name):
            raise UsageError(f"{folder / name} is already there; {ELSEWHERE}")


def _nearest_project(folder: Path) -> Project | None:
    """The project that a command in the folder finds as things are."""
    named = os.environ.get("OPTIMCTL_PROJECT")
    project = find_project(folder, named)
    if named is not None and project is not None and project.directory != folder:
        raise UsageError(
            f"--local makes a project of the job's own folder, but --project or OPTIMCTL_PROJECT names another, {named}"
        )
    return project


def _template_plugins() -> tuple[Plugin, ...]:
    template = find_project(LOCAL, str(LOCAL))
    return template.plugins if template else ()


def _with_template(project: Project | None) -> Plugins:
    """What the job can name once its parts are written; until then they are loaded from the template's folder."""
    if project is not None:
        project.put_on_path()
    own = project.plugins if project else ()
    return find(Project(LOCAL, (*own, *_template_plugins())), os.environ.get(DISABLE, ""))


def _local_job(plugins: Plugins) -> bytes:
    """The template's job; a name that an installed package claims too is written with ``project/`` before it."""
    text = (LOCAL / "job.toml").read_text("utf-8")
    for plugin in _template_plugins():
        if plugins.answering(plugin.kind, plugin.name) != plugin:
            text = text.replace(f'"{plugin.name}"', f'"{plugin.qualified}"')
    return text.encode()


def _missing(file: Path, project: Project | None) -> list[Plugin]:
    """The template's plugins that ``pyproject.toml`` does not name yet.

    Raises:
        UsageError: It has another object under one of their names.
    """
    there = {(plugin.kind, plugin.name): plugin.object for plugin in (project.plugins if project else ())}
    missing = []
    for plugin in _template_plugins():
        taken = there.get((plugin.kind, plugin.name), plugin.object)
        if taken != plugin.object:
            raise UsageError(f"{file}: {PLUGINS}.{plugin.kind}.{plugin.name} is '{taken}' already; {ELSEWHERE}")
        if (plugin.kind, plugin.name) not in there:
            missing.append(plugin)
    return missing


def _tables(file: Path, missing: Sequence[Plugin]) -> bytes:
    """What is appended to ``pyproject.toml``: the template's tables, where one of their lines is missing.

    Raises:
        UsageError: One of these tables is there already, so that it takes a person to add to it.
    """
    import tomli

    before = _content(file)
    tables = _appended(before, (LOCAL / "pyproject.toml").read_bytes()) if missing else b""
    try:
        tomli.loads((before + tables).decode())
    except tomli.TOMLDecodeError as error:
        lines = [f'    [{PLUGINS}.{plugin.kind}]\n    {plugin.name} = "{plugin.object}"' for plugin in missing]
        told = f"{file} has its own tables for these lines; write them there, then give the same command again:"
        raise UsageError("\n".join([told, *lines])) from error
    return tables


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


def _appended(before: bytes, text: bytes) -> bytes:
    """``text`` as it goes on with ``before``: after an empty line, with the same ends of lines."""
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    return (gap + text).replace(b"\n", b"\r\n" if b"\r\n" in before else b"\n")
