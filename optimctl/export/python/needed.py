"""What an assembly for a run has, though its type says that it may be missing."""

from __future__ import annotations

from typing import Any


def needed(part: Any) -> Any:
    """A part that ``assemble(for_run=True)`` has made sure of."""
    if part is None:
        raise TypeError("a script was made from an assembly that lacks a part; assemble the job with for_run=True")
    return part


__all__ = ["needed"]
