"""``toml``: the job, with every default written out."""

from __future__ import annotations

from optimctl.export.source import Source


def export_toml(source: Source) -> str:
    """The resolved job as TOML, every plugin as distribution/Name, with every default written out.

    Loaded again, it is the same job in effect, and its own export to the byte. A default that is no value of TOML, or that is left to
    the machine, stands as a comment.
    """
    from optimctl.export.resolved import with_defaults

    return with_defaults(source.job).text()
