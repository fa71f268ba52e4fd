"""Findings: what is true of a plan and worth knowing. Each has a stable code and a level.

``note``: true but usual. ``warning``: probably not meant. ``error``: it would stop the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optimctl.errors import Key, listing, nearest

if TYPE_CHECKING:
    from optimctl.optim.options import Options


@dataclass(frozen=True)
class Finding:
    """One finding, about one line of the job."""

    level: str
    code: str
    key: Key
    message: str


def unmatched_rules(keys: Iterable[Key], options: Mapping[str, Options]) -> Iterator[Finding]:
    """Rules of ``paramwise_cfg`` that apply to no parameter, with the nearest name where a custom key is misspelt."""
    matched = {key for chosen in {id(o): o for o in options.values()}.values() for key in chosen.matched}
    for key in keys:
        if key in matched:
            continue
        if key[1] != "custom_keys":
            yield Finding("warning", "rule-matches-nothing", key, "the model has no parameter of this type")
            continue
        pattern = str(key[-1])
        paths = sorted({path for name in options for path in _paths(name)})
        hint = (
            nearest(pattern, paths)
            or f"; its parts are {listing(dict.fromkeys(name.split('.')[0] for name in options))}"
        )
        yield Finding("warning", "rule-matches-nothing", key, f"no parameter's name contains '{pattern}'{hint}")


def _paths(name: str) -> Iterator[str]:
    parts = name.split(".")
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            yield ".".join(parts[start:end])
