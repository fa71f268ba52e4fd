"""Every benchmark, as the table that the README quotes: ``python benchmarks/all.py``. Above 1 is faster than the peer."""

from __future__ import annotations

import groups
import loop
import runner
import schedules
import step
import validate

import plugins


def main() -> None:
    """Measure all and print."""
    for measure in (
        step.measure,
        groups.measure,
        schedules.measure,
        loop.measure,
        runner.measure,
        plugins.measure,
        validate.measure,
    ):
        for line, value in measure().items():
            print(f"| {line} | {value:.3g} |", flush=True)


if __name__ == "__main__":
    main()
