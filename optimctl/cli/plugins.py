"""``optimctl plugins``: what is installed, and who brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.options import common_options
from optimctl.plugins import KINDS, OWN

if TYPE_CHECKING:
    from optimctl.plugins import Plugin


@click.group()
def plugins() -> None:
    """Show the plugins that a job can name."""


@plugins.command("list")
@click.argument("kind", type=click.Choice(list(KINDS)), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@common_options
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plugins, of one KIND or of all; nothing is imported for it."""
    from optimctl.plugins import installed

    found = installed()
    shown = [plugin for plugin in found if kind in (None, plugin.kind)]
    clashes = {claim for claims in found.conflicts() for claim in claims}
    if as_json:
        output.as_json([_as_json(plugin, plugin in clashes) for plugin in shown])
        return
    rows = [
        (
            plugin.kind,
            plugin.name,
            plugin.distribution,
            plugin.version,
            plugin.object,
            _conflict(plugin) if plugin in clashes else "",
        )
        for plugin in shown
    ]
    output.table(("kind", "name", "distribution", "version", "object", ""), rows)
    if kind in (None, "schedulers"):
        output.say("A scheduler called …LR is there as …Momentum, …WeightDecay and …ParamScheduler too.")


def _conflict(plugin: Plugin) -> str:
    if plugin.distribution == OWN:
        return "also claimed by another distribution; the bare name means this one"
    return f"name claimed twice; write {plugin.qualified}"


def _as_json(plugin: Plugin, conflict: bool) -> dict[str, object]:
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "object": plugin.object,
        "conflict": conflict,
    }
