"""The names of schedulers: one curve answers under several suffixes."""

from __future__ import annotations

SUFFIXES = ("LR", "Momentum", "WeightDecay", "ParamScheduler")
"""What a scheduler's name ends in: which option of the optimizer it moves."""


def scheduler_names(type_: str) -> list[str]:
    """The plugins, by name, that may answer to a scheduler's `type`: itself, then its stem with each other suffix and with none."""
    suffix = next((suffix for suffix in SUFFIXES if type_.endswith(suffix) and type_ != suffix), None)
    if suffix is None:
        return [type_]
    stem = type_.removesuffix(suffix)
    return [type_, *(stem + other for other in (*SUFFIXES, "") if other != suffix)]
