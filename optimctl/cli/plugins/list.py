"""``optimctl plugins list``: what is installed, and who brings it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.completion import kind_names
from optimctl.cli.options import common_options
from optimctl.errors import UsageError, listing, visible
from optimctl.plugins import DISABLE, KINDS, OWN, disabling, no_such_kind

if TYPE_CHECKING:
    from optimctl.plugins import Plugin, Plugins


def known_kind(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """A kind that the command line names.

    Raises:
        UsageError: There is none of that name.
    """
    if value is not None and value not in KINDS:
        raise UsageError(no_such_kind(value))
    return value


@click.command("list", epilog=f"Kinds: {', '.join(KINDS)}.")
@click.argument("kind", metavar="[KIND]", required=False, callback=known_kind, shell_complete=kind_names)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@common_options
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plugins, of one KIND or of all; nothing is imported for it."""
    from optimctl.plugins import installed

    found = installed()
    shown = [plugin for plugin in found if kind in (None, plugin.kind)]
    clashes = {claim: len(claims) for claims in found.conflicts() for claim in claims}
    if as_json:
        output.as_json([_as_json(plugin, plugin in clashes) for plugin in shown])
    else:
        rows = [(*_fields(plugin), _conflict(plugin, clashes[plugin]) if plugin in clashes else "") for plugin in shown]
        output.table(("kind", "name", "distribution", "version", "object", ""), rows)
        if kind in (None, "schedulers"):
            output.say("A scheduler called …LR is there as …Momentum, …WeightDecay and …ParamScheduler too.")
    for note in left_out(found):
        output.say(note)
    flawed = sorted({flaw.distribution for flaw in found.flaws})
    if flawed:
        output.say(visible(f"Something is wrong with the metadata of {listing(flawed)}: see `optimctl plugins check`."))


def left_out(found: Plugins) -> Iterator[str]:
    """What the environment hides, as sentences."""
    import os

    hidden = sorted({plugin.distribution for plugin in found.disabled})
    if hidden:
        yield f"{DISABLE} leaves out {listing(hidden)}."
    if OWN in disabling(os.environ.get(DISABLE, "")):
        yield f"{DISABLE} names '{OWN}', whose own plugins cannot be left out."


def _conflict(plugin: Plugin, claims: int) -> str:
    if plugin.distribution == OWN:
        return "also claimed by another distribution; the bare name means this one"
    return f"{claims} distributions claim the name; write {plugin.qualified}"


def _fields(plugin: Plugin) -> tuple[str, ...]:
    return plugin.kind, plugin.name, plugin.distribution, plugin.version, plugin.object


def _as_json(plugin: Plugin, conflict: bool) -> dict[str, object]:
    fields = zip(("kind", "name", "distribution", "version", "object"), _fields(plugin), strict=True)
    return {**dict(fields), "conflict": conflict}
