"""``optimctl schema``: the job format for an editor."""

from __future__ import annotations

import click

from optimctl.cli import output
from optimctl.cli.files import check_target, replace_file
from optimctl.cli.options import common_options


@click.command()
@click.option("-o", "file", metavar="FILE", help="Write it to a file, in place of what is there.  [default: print it]")
@common_options
def schema(file: str | None) -> None:
    """Print the format of a job as a JSON schema, with the names and arguments of the installed plugins.

    With it, an editor that has Taplo (in Visual Studio Code: Even Better TOML) completes and checks a job whose first line
    is `#:schema ./FILE`.
    """
    target = check_target(file, force=True)

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
    replace_file(target, [text.encode()], force=True)
    path, name = output.visible(str(target)), output.visible(target.name)
    output.say(f"{path}: {len(found.loaded)} plugins; a job beside it begins with `#:schema ./{name}`")
