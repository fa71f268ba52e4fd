"""A job or a run in another format, and a job out of one: one file per format, each behind an entry point.

An exporter (kind ``exporters``) is a callable that gets a ``Source`` and returns text, bytes, or an iterator of pieces of text. It
may have two attributes, which the decorator ``exporter`` writes: ``needs``, which is ``"job"`` where it is absent, ``"run"`` for one
that cannot do without weights, and ``"either"`` for one that uses them where there are some; and ``binary``, where it returns bytes,
so that nobody waits for what a terminal cannot show.

An importer (kind ``importers``) is a callable that gets a file and returns an ``Imported``, or several. Further arguments of either
are options that a person gives with ``--option``; the docstring is what its ``--help`` tells.
"""

from optimctl.export.imported import Imported
from optimctl.export.source import Source, Weights, exporter
from optimctl.job.write import Document

__all__ = ["Document", "Imported", "Source", "Weights", "exporter"]
