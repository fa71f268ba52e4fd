"""A scheduler as a plugin: a frozen dataclass that says how a value moves, as a formula."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class MyScheduler:
    """Exponential decay that is told by its half-life: after ``half_life`` steps, half of the value is left.

    At step t the value is ``base * 0.5 ** (t / half_life)``, where no other schedule moves it. What moves is the
    learning rate; a job names another option with ``param_name``, as in ``param_name = "a"``. ``begin``, ``end`` and
    ``by_epoch`` are known for every scheduler, and need no code here.

    Args:
        half_life: Steps until half is left, more than 0; epochs or iterations, as ``by_epoch`` says.

    Raises:
        ValueError: ``half_life`` is not more than 0.
    """

    half_life: float

    steps: ClassVar[tuple[str, ...]] = ("half_life",)
    """The arguments that count steps: `convert_to_iter_based` multiplies them by the iterations of an epoch."""

    def __post_init__(self) -> None:
        if not self.half_life > 0:
            raise ValueError(f"half_life must be more than 0 steps, not {self.half_life}")

    def maps(self, t: Array, reference: float) -> tuple[Array, Array, Array]:
        """For each step in ``t``, the numbers (a, b, c) of ``value <- a * value + b + c * base``.

        Args:
            t: Steps since this schedule began, integers; at 0 it has not moved anything yet.
            reference: The value that the job gives the option, before multipliers; not needed for a ratio.

        Returns:
            Three arrays of the shape of ``t``. Exponential decay is the same factor at each step, so b and c are 0.
        """
        nothing = np.zeros(t.shape)
        return np.where(t > 0, 0.5 ** (1 / self.half_life), 1.0), nothing, nothing
