"""What the names of plugins mean in a job: one schedule answers under several, whose ends say which option it moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimctl.plugins import Plugin, Plugins

OPTIONS: Mapping[str, str | None] = {
    "LR": "lr",
    "Momentum": "momentum",
    "WeightDecay": "weight_decay",
    "ParamScheduler": None,
}
"""What a scheduler's name ends in, and the option of the optimizer that it moves then; None: the one that `param_name` says."""
SUFFIXES = tuple(OPTIONS)
WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {"schedulers": ("verbose", "last_step")}
"""Arguments of MMEngine's classes that say nothing, by kind: accepted, and offered to nobody."""


def suffix_of(name: str) -> str:
    """The end of a scheduler's name that says which option it moves; empty where there is none."""
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix) and name != suffix), "")


def scheduler_names(type_: str) -> list[str]:
    """The plugins, by name, that may answer to a scheduler's `type`: itself, then its stem with each other suffix and with none."""
    suffix = suffix_of(type_)
    if not suffix:
        return [type_]
    stem = type_.removesuffix(suffix)
    return [type_, *(stem + other for other in (*SUFFIXES, "") if other != suffix)]


def plugin_names(kind: str, type_: str) -> list[str]:
    """The plugins of a kind, by name, that may answer to a `type`; the first that somebody brings does."""
    return scheduler_names(type_) if kind == "schedulers" else [type_]


def meant(plugins: Plugins, kind: str, type_: str) -> str:
    """The plugin's own name that a `type` stands for; ``type_`` itself where nobody brings one."""
    return next((name for name in plugin_names(kind, type_) if plugins.claiming(kind, name)), type_)


def answering(plugins: Plugins, kind: str, type_: str) -> Plugin | None:
    """The plugin that a `type` means; None where there is none, or several that compete for the name."""
    return plugins.answering(kind, meant(plugins, kind, type_))


__all__ = [
    "OPTIONS",
    "SUFFIXES",
    "WITHOUT_EFFECT",
    "answering",
    "meant",
    "plugin_names",
    "scheduler_names",
    "suffix_of",
]
