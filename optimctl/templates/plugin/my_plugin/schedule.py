"""The schedule: a frozen dataclass that says how a value moves, as a formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class MyPluginSchedule:
    """Decays with the inverse of time: after ``half_life`` steps half of the value is left, after 3 of them a quarter.

    At step t the value is ``base / (1 + t / half_life)``, where no other schedule moves it. ``begin``, ``end``,
    ``by_epoch`` and ``param_name`` are known for every schedule, and need no code here.

    Args:
        half_life: Steps until half is left, more than 0; epochs or iterations, as ``by_epoch`` says.

    Raises:
        ValueError: ``half_life`` is not more than 0.
    """

    half_life: float

    steps: ClassVar[tuple[str, ...]] = ("half_life",)
    """The arguments that count steps: `convert_to_iter_based` multiplies them by the iterations of an epoch."""

    def __post_init__(self) -> None:
        """Refuse what would divide by zero, or grow."""
        if not self.half_life > 0:
            raise ValueError(f"half_life must be more than 0 steps, not {self.half_life}")

    def maps(self, t: Array, reference: float) -> tuple[Array, Array, Array]:
        """For each step in ``t``, the numbers (a, b, c) of ``value <- a * value + b + c * base``.

        Args:
            t: Steps since this schedule began, integers; at 0 it has not moved anything yet.
            reference: The value that the job gives the option, before multipliers; not needed for a ratio.

        Returns:
            Three arrays of the shape of ``t``. A ratio of two steps needs neither b nor c.
        """
        nothing = np.zeros(t.shape)
        ratio = (self.half_life + t - 1) / (self.half_life + t)
        return np.where(t > 0, ratio, 1.0), nothing, nothing
