"""Checks of constructor arguments that the models share."""

from __future__ import annotations


def require_positive(**arguments: int) -> None:
    """Raise a ValueError that names the first argument that is not a whole number of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
