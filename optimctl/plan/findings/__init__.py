"""Findings: what is true of a plan and worth knowing, each with a stable code, a level, a place and what to do.

In this room: ``finding.py`` (the catalogue), and one file for each thing that findings are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from optimctl.plan.findings.finding import Finding
from optimctl.plan.findings.rules import about_rules
from optimctl.plan.findings.schedules import about_schedules
from optimctl.plan.findings.training import about_training

if TYPE_CHECKING:
    from optimctl.plan.subject import Subject

__all__ = ["Finding", "findings_of", "in_order"]

_LEVELS = ("error", "warning", "note")


def findings_of(subject: Subject) -> list[Finding]:
    """Every finding once: the grave ones first, then in the order of the job's sections."""
    return in_order(_all(subject))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Each once, the grave ones first, else as they come."""
    return sorted(dict.fromkeys(findings), key=lambda one: _LEVELS.index(one.level))


def _all(subject: Subject) -> Iterator[Finding]:
    yield from about_training(subject)
    yield from about_rules(subject)
    yield from about_schedules(subject)
