"""What an importer returns: a job out of another format, as values and comments, in as many files as it had there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optimctl.job.write import Document


@dataclass(frozen=True)
class Imported:
    """One file of a job that was read from another format."""

    file: Path
    """What it was read from: the job's file gets this name, and the same place among the others."""
    document: Document
    """Its values, without ``extends``, and what is to be said about them: what could not be carried over, what was without effect."""
    extends: tuple[Path, ...] = ()
    """The files that it builds on, as they are called in the other format; each is an ``Imported`` of its own."""
    told: Mapping[str, str] = field(default_factory=dict)
    """What the closing table says of it, by column; nothing of a file that others only build on."""


__all__ = ["Imported"]
