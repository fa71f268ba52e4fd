"""``optimctl plugins check``: can they be loaded, and are they what their kind asks for?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from optimctl.cli import output
from optimctl.cli.completion import distribution_names
from optimctl.cli.options import common_options, wants_traceback
from optimctl.cli.plugins.list import left_out

if TYPE_CHECKING:
    from optimctl.check import Report
    from optimctl.plugins import Flaw, Plugins


@click.command()
@click.argument("distributions", metavar="[DISTRIBUTION]...", nargs=-1, shell_complete=distribution_names)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a plugin may take to load.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@common_options
@click.pass_context
def check(context: click.Context, distributions: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Load the plugins of each DISTRIBUTION, or of all, in processes of their own, and tell which of them are broken."""
    from optimctl.check import OK
    from optimctl.check import check as check_plugins
    from optimctl.plugins import installed

    found = installed()
    chosen = _chosen(found, distributions)
    flaws = [flaw for flaw in found.flaws if not distributions or flaw.distribution in chosen]
    plugins = [plugin for plugin in found if plugin.distribution in chosen]
    output.say(f"plugins to load: {len(plugins)}; distributions: {len({plugin.distribution for plugin in plugins})}")
    reports = check_plugins(plugins, found.project, seconds)
    if as_json:
        output.as_json([*(_as_json(report) for report in reports), *(_flaw_as_json(flaw) for flaw in flaws)])
    else:
        output.table(("distribution", "version", "plugins", "ok", "seconds"), _summary(reports))
        for line in _problems(reports, flaws, wants_traceback(context)):
            output.data(line)
        for note in left_out(found):
            output.say(note)
    if flaws or any(report.status != OK for report in reports):
        raise click.exceptions.Exit(1)


def _chosen(found: Plugins, names: Sequence[str]) -> list[str]:
    """The distributions to check, by their canonical names.

    Raises:
        UsageError: One is unknown, or left out.
    """
    from optimctl.errors import UsageError, listing, nearest, visible
    from optimctl.plugins import DISABLE, canonical

    owners = sorted({plugin.distribution for plugin in found})
    known = [*owners, *(flaw.distribution for flaw in found.flaws)]
    for name in names:
        if canonical(name) in {plugin.distribution for plugin in found.disabled}:
            raise UsageError(f"the plugins of '{visible(name)}' are left out by the variable {DISABLE}")
        if canonical(name) not in known:
            hint = nearest(name, owners) or f"; there is {listing(owners, 20)}"
            raise UsageError(f"no plugins are brought by a distribution called '{visible(name)}'{hint}")
    return [canonical(name) for name in names] or known


def _summary(reports: Sequence[Report]) -> Iterator[tuple[str, ...]]:
    """A line a distribution."""
    by_distribution: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        by_distribution.setdefault((report.plugin.distribution, report.plugin.version), []).append(report)
    for owner, own in sorted(by_distribution.items()):
        fine = sum(report.status == "ok" for report in own)
        yield *owner, str(len(own)), str(fine), f"{sum(report.seconds or 0.0 for report in own):.2f}"


def _problems(reports: Sequence[Report], flaws: Sequence[Flaw], with_traceback: bool) -> Iterator[str]:
    """A paragraph a plugin that is not as it should be, and a distribution."""
    from optimctl.errors import visible

    for report in reports:
        if report.status != "ok":
            yield output.visible_lines(f"\n{report.status.replace('-', ' ')}: {report.message}")
            if with_traceback and report.traceback:
                yield output.visible_lines(report.traceback)
    for flaw in flaws:
        yield f"\nbroken: {visible(flaw.distribution)}: {output.visible_lines(flaw.message)}"


def _as_json(report: Report) -> dict[str, object]:
    plugin = report.plugin
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "object": plugin.object,
        "status": report.status,
        "seconds": report.seconds,
        "message": report.message or None,
        "traceback": report.traceback or None,
    }


def _flaw_as_json(flaw: Flaw) -> dict[str, object]:
    """A distribution whose metadata is flawed: a line without a plugin."""
    nothing = dict.fromkeys(("kind", "name", "version", "object", "seconds", "traceback"))
    return {**nothing, "distribution": flaw.distribution, "status": "broken", "message": flaw.message}
