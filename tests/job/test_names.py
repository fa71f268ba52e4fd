"""Which plugin a ``type`` means: a scheduler answers under several names, and never in place of somebody else's."""

from __future__ import annotations

import pytest

from optimctl.job.names import answering, meant, suffix_of
from optimctl.plugins import Plugin, Plugins


def brought(*qualified: str) -> Plugins:
    """Schedulers, each as ``distribution/Name``."""
    claims: dict[str, tuple[Plugin, ...]] = {}
    for each in qualified:
        distribution, name = each.split("/")
        plugin = Plugin("schedulers", name, distribution, "1.0", "nowhere:Schedule")
        claims[name] = (*claims.get(name, ()), plugin)
    return Plugins({"schedulers": claims})


@pytest.mark.parametrize(
    ("type_", "found", "answer"),
    [
        ("WaveMomentum", ["one/WaveLR"], "one/WaveLR"),
        ("WaveLR", ["one/WaveMomentum", "one/Wave"], "one/WaveMomentum"),
        ("WaveLR", ["one/Wave"], "one/Wave"),
        ("Wave", ["one/WaveLR"], None),
        ("one/WaveMomentum", ["one/WaveLR", "two/WaveMomentum"], "one/WaveLR"),
        ("WaveMomentum", ["one/WaveLR", "two/WaveMomentum"], "two/WaveMomentum"),
        ("/WaveLR", ["one/WaveLR"], None),
    ],
)
def test_what_answers_to_a_scheduler(type_: str, found: list[str], answer: str | None) -> None:
    plugin = answering(brought(*found), "schedulers", type_)
    assert (plugin and plugin.qualified) == answer


def test_a_contested_name_is_not_answered_by_a_twin() -> None:
    plugins = brought("one/WaveLR", "two/WaveLR", "one/WaveMomentum")
    assert meant(plugins, "schedulers", "WaveLR") == "WaveLR"
    assert answering(plugins, "schedulers", "WaveLR") is None


def test_other_kinds_have_no_twins() -> None:
    assert answering(brought("one/WaveLR"), "optimizers", "WaveMomentum") is None


@pytest.mark.parametrize(
    ("name", "suffix"), [("StepLR", "LR"), ("StepParamScheduler", "ParamScheduler"), ("LR", ""), ("Step", "")]
)
def test_the_end_of_a_name_says_what_it_moves(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix
