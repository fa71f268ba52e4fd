"""Peers side by side in one process: interleaved, medians, ratios only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def medians(contestants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, float]:
    """Seconds a call of each contestant, the median over ``rounds`` in which they take turns."""
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(-warm_up, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:  # who goes first changes: the caches are the predecessor's
            start = time.perf_counter()
            contestants[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
