"""What was found, out of metadata, and who answers to a name; nothing was imported for it.

In this room: ``Plugin`` (one claim to a name), ``Flaw`` (what is wrong with a distribution's metadata) and ``Plugins`` (all of them,
with what there is to say to whoever asks for a name that cannot be had).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optimctl.errors import PluginError, listing, nearest, visible
from optimctl.plugins.kinds import KINDS, OWN

if TYPE_CHECKING:
    from optimctl.plugins.project import Project

PROJECT = "project"
"""What stands before the slash for a plugin of the user's own project."""
PLUGINS = f"tool.{OWN}.plugins"
"""The table of a ``pyproject.toml`` that names them, kind by kind."""
DISABLE = "OPTIMCTL_DISABLE_PLUGINS"
"""The variable that leaves distributions out, by name or glob, with commas or spaces between."""
OBJECT = re.compile(r"(?P<module>\w+(\.\w+)*)\s*:\s*(?P<attribute>\w+(\.\w+)*)\s*(\[.*\])?")
"""Where an object is; what stands in brackets (an extra) is of the past, and says nothing."""
_CHECKOUT = Path(__file__).parents[2]
"""The folder that optimctl is in: a checkout, or one that has nothing to do with it."""


@dataclass(frozen=True, order=True)
class Plugin:
    """One claim to a name, as metadata has it; nothing was imported for it."""

    kind: str
    name: str
    distribution: str
    version: str
    object: str
    """Where it is: ``module:attribute``."""

    @property
    def qualified(self) -> str:
        """``distribution/Name``, which no other distribution can claim."""
        return f"{self.distribution}/{self.name}"

    @property
    def in_words(self) -> str:
        """It in a sentence: ``the model 'Net' of vision (net:Net)``."""
        whose = "your project" if self.distribution == PROJECT else self.distribution
        return visible(f"the {KINDS[self.kind].noun} '{self.name}' of {whose} ({self.object})")


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a distribution's metadata, so that a plugin of it may be missing."""

    distribution: str
    """Its name, or its folder where that cannot be read."""
    message: str
    stops_others: bool = False
    """Whether whoever reads the entry points of all distributions fails at it, as torch and pydantic do at import."""


@dataclass(frozen=True)
class Plugins:
    """All plugins that were found, by kind and name."""

    claims: Mapping[str, Mapping[str, tuple[Plugin, ...]]]
    project: Project | None = None
    disabled: tuple[Plugin, ...] = ()
    """What ``OPTIMCTL_DISABLE_PLUGINS`` leaves out; in no claim."""
    flaws: tuple[Flaw, ...] = ()

    def __iter__(self) -> Iterator[Plugin]:
        """Every claim, sorted by kind, name and distribution."""
        for kind in KINDS:
            for name in sorted(self.claims.get(kind, {})):
                yield from sorted(self.claims[kind][name])

    def names(self, kind: str) -> list[str]:
        """The names of a kind, sorted."""
        return sorted(self.claims.get(kind, {}))

    def answering(self, kind: str, name: str) -> Plugin | None:
        """The plugin that a bare or qualified name means; None where there is none, or several and no built-in."""
        claims = self.claiming(kind, name)
        own = [claim for claim in claims if claim.distribution == OWN]
        return (own or claims)[0] if own or len(claims) == 1 else None

    def claiming(self, kind: str, name: str) -> list[Plugin]:
        """The plugins that a bare or qualified name can mean."""
        distribution, bare = _apart(name)
        claims = self.claims.get(kind, {}).get(bare, ())
        return [claim for claim in claims if distribution in ("", claim.distribution)]

    def get(self, kind: str, name: str) -> Plugin:
        """The plugin that a job's ``type`` means.

        Raises:
            PluginError: The name is unknown or disabled, or two distributions claim it.
        """
        plugin = self.answering(kind, name)
        if plugin is None:
            raise self._not_to_be_had(kind, name)
        return plugin

    def conflicts(self) -> list[tuple[Plugin, ...]]:
        """The names of one kind that more than one distribution claims."""
        return [claims for by_name in self.claims.values() for claims in by_name.values() if len(claims) > 1]

    def _not_to_be_had(self, kind: str, name: str) -> PluginError:
        """Why there is no answer to a name: several competing ones, one that is left out, or none."""
        distribution, bare = _apart(name)
        claims = self.claiming(kind, name)
        if claims:
            choices = " or ".join(f"'{visible(claim.qualified)}'" for claim in claims)
            what = f"several distributions bring {KINDS[kind].one} called '{visible(name)}'"
            return PluginError(f"{what}; write {choices}", "ambiguous-plugin")
        owners = [plugin.distribution for plugin in self.disabled if (plugin.kind, plugin.name) == (kind, bare)]
        if owners and distribution in ("", *owners):
            what = f"the {KINDS[kind].noun} '{visible(name)}' of {listing(owners)}"
            return PluginError(f"{what} is left out by the variable {DISABLE}", "disabled-plugin")
        return PluginError(self._unknown(kind, name), "unknown-plugin")

    def _unknown(self, kind: str, name: str) -> str:
        """What is missing and what is there instead; unless it is a mere typing error, the lines to add follow."""
        distribution, bare = _apart(name)
        names, claims = self.names(kind), self.claims.get(kind, {}).get(bare, ())
        text = f"no {KINDS[kind].noun} is called '{visible(name)}'"
        if not claims and distribution in ("", OWN) and _stale_install(kind, bare):
            older = "in optimctl's metadata, which is older than its code"
            return f"{text} {older}; reinstall it: pip install -e {_CHECKOUT}"
        if claims:
            return f"{text}; did you mean '{visible(claims[0].qualified)}'?"
        there_is = f"; there is {listing(names)} (`optimctl plugins list {kind}`)" if names else "; none is installed"
        typing_error = nearest(bare, [other for other in names if abs(len(other) - len(bare)) <= 2])
        if typing_error:
            return "\n".join([text + typing_error, *self._unreadable()])
        text += self._elsewhere(kind, bare) or nearest(bare, names) or self._almost_elsewhere(kind, bare) or there_is
        return "\n".join([text, self._way_out(kind, bare), *self._unreadable()])

    def _elsewhere(self, kind: str, name: str) -> str:
        """That the name is one of another kind, if it is."""
        others = (other for other in KINDS.values() if self.claims.get(other.name, {}).get(name))
        return next((f"; {other.one} is called that, not {KINDS[kind].one}" for other in others), "")

    def _almost_elsewhere(self, kind: str, name: str) -> str:
        """The name of another kind that is meant, if it is a typing error away."""
        for other in KINDS.values():
            near = nearest(name, [known for known in self.names(other.name) if abs(len(known) - len(name)) <= 2])
            if near and other.name != kind:
                return near.replace("?", f", {other.one}?")
        return ""

    def _unreadable(self) -> list[str]:
        """The distributions that may bring the missing name, were their metadata sound."""
        whose = listing(visible(flaw.distribution) for flaw in self.flaws)
        return [f"    something is wrong with the metadata of {whose}: `optimctl plugins check`"] if whose else []

    def _way_out(self, kind: str, name: str) -> str:
        where = self.project.directory / "pyproject.toml" if self.project else "the pyproject.toml of your project"
        stem = name if name.isidentifier() else "Name"
        return (
            f"    install the package that brings it, or, for code of your own, add to {where}:\n"
            f"        [{PLUGINS}.{kind}]\n"
            f'        {stem} = "module:{stem}"'
        )


def _apart(name: str) -> tuple[str, str]:
    """The distribution, canonical, that a name is qualified with ("" if it is bare), and the name itself."""
    distribution, _, bare = name.rpartition("/")
    return (canonical(distribution), bare) if distribution else ("", name)


def canonical(distribution: str) -> str:
    """The one spelling of a distribution's name: to pip, ``My_Plugins`` and ``my-plugins`` are the same."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _stale_install(kind: str, name: str) -> bool:
    """Whether this is a checkout whose ``pyproject.toml`` declares the name that its installed metadata lacks."""
    import tomli

    try:
        project = tomli.loads((_CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, KeyError, tomli.TOMLDecodeError):
        return False
    return project.get("name") == OWN and name in project.get("entry-points", {}).get(f"optimctl.{kind}", {})


__all__ = ["DISABLE", "OBJECT", "PLUGINS", "PROJECT", "Flaw", "Plugin", "Plugins", "canonical"]
