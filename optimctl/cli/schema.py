"""``optimctl schema``: the job format for an editor."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from optimctl.cli import output
from optimctl.cli.options import common_options
from optimctl.errors import UsageError


@click.command()
@click.option("-o", "file", metavar="FILE", help="Write it to a file, in place of what is there.  [default: print it]")
@common_options
def schema(file: str | None) -> None:
    """Print the format of a job as a JSON schema, with the names and arguments of the installed plugins.

    With it, an editor that has Taplo (in Visual Studio Code: Even Better TOML) completes and checks a job whose first line
    is `#:schema ./FILE`.
    """
    target = _target(file) if file is not None else None

    from optimctl.plugins import installed

    plugins = installed()  # before pydantic comes: see `find`

    from optimctl.job.json_schema import load_for_schema, schema_of, schema_text

    with output.plugins_at_work():
        found = load_for_schema(plugins)
        text = schema_text(schema_of(found))
    for error in found.broken:
        output.say(f"warning: {output.visible_lines(error.message)}; its arguments are not in the schema")
    if target is None:
        output.data(text.rstrip("\n"))
        return
    _write(target, text)
    name = output.visible(target.name)
    output.say(
        f"{output.visible(str(target))}: {len(found.loaded)} plugins; a job beside it begins with `#:schema ./{name}`"
    )


def _target(file: str) -> Path:
    """Where to write, told before the plugins are waited for."""
    path = Path(file)
    if not path.name or path.is_dir():
        raise UsageError(f"'{file}' is a folder; name a file, as with `-o {path / 'optimctl.schema.json'}`")
    return path


def _write(file: Path, text: str) -> None:
    """Write the whole of it or nothing: an editor that reads at the same moment sees the old one or the new."""
    beside = file.with_name(f".{file.name}.part")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise UsageError(f"'{file}' cannot be written: {error.strerror}") from error
