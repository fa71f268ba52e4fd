"""``optimctl plugins``: what a job can name, who brings it, whether it works, and a package to begin with; a file a command."""

from __future__ import annotations

import click

from optimctl.cli.plugins.check import check
from optimctl.cli.plugins.list import list_plugins
from optimctl.cli.plugins.new import new
from optimctl.cli.plugins.show import show


@click.group(commands=[list_plugins, show, check, new])
def plugins() -> None:
    """Show, check and write the plugins that a job can name."""


__all__ = ["plugins"]
