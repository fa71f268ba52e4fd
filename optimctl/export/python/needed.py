"""What an assembly for a run has, though its type says that it may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from optimctl.optim.multi import by_name

if TYPE_CHECKING:
    from optimctl.assemble import Assembly
    from optimctl.optim.wrapper import OptimWrapper

T = TypeVar("T")
LACKS = "a script was made from an assembly that lacks a part; assemble the job with for_run=True"


def needed(part: T | None) -> T:
    """A part that ``assemble(for_run=True)`` has made sure of."""
    if part is None:
        raise TypeError(LACKS)
    return part


def wrappers_of(assembly: Assembly) -> dict[str, OptimWrapper]:
    """The wrappers of a run by name; a single one is called ``default``."""
    if assembly.wrapper is None:
        raise TypeError(LACKS)
    return by_name(assembly.wrapper)


__all__ = ["needed", "wrappers_of"]
