"""Lengths as people write them: ``"5%"`` of a run in a job file, ``500it`` or ``2ep`` on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from optimctl.errors import UsageError

Unit = Literal["iterations", "epochs", "share"]

_SHARE = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_COUNT = re.compile(r"(\d{1,15})(it|ep)", re.ASCII)
_UNITS: dict[str, Unit] = {"it": "iterations", "ep": "epochs"}


@dataclass(frozen=True)
class Length:
    """How much of a run: a count of iterations or epochs, or a share of the whole (from 0 to 1)."""

    value: float
    unit: Unit

    def iterations(self, epoch_length: int, total: int) -> int:
        """This length in iterations, at least one and at most the run's ``total``."""
        scale = {"iterations": 1, "epochs": epoch_length, "share": total}[self.unit]
        return max(1, min(total, round(self.value * scale)))


def parse_share(text: str) -> float | None:
    """The share of a run that ``"5%"`` means, 0.05; None where ``text`` is no share between ``"0%"`` and ``"100%"``."""
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / 100 if match else None
    return share if share is not None and share <= 1 else None


def parse_length(text: str) -> Length:
    """The length that ``"500it"`` (iterations), ``"2ep"`` (epochs) or ``"10%"`` (of the run) means.

    Raises:
        UsageError: ``text`` is none of these.
    """
    share = parse_share(text)
    if share is not None:
        return Length(share, "share")
    match = _COUNT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{text}' is no length; write iterations as 500it, epochs as 2ep, or a share of the run as 10%"
        )
    if int(match[1]) == 0:
        raise UsageError(f"'{text}' is nothing; give a length from 1{match[2]} up")
    return Length(int(match[1]), _UNITS[match[2]])
