"""Finding plugins: the entry points of all installed distributions, read as text; nothing is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from optimctl.plugins.found import Flaw, Plugin, Plugins, canonical
from optimctl.plugins.kinds import KINDS, OWN, no_such_kind

if TYPE_CHECKING:
    from optimctl.plugins.project import Project

_READS_NO_METADATA = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYDANTIC_DISABLE_PLUGINS": "1"}
_FIELD = re.compile(r"^(Name|Version):[ \t]*(.*\S)", re.IGNORECASE | re.MULTILINE)


def find(project: Project | None = None, disabled: str = "") -> Plugins:
    """Every plugin on ``sys.path`` and in ``project``: reads metadata, imports nothing.

    Where somebody's entry points cannot be read, torch and pydantic are told, through the environment, to do without theirs: they
    read everybody's when they are imported, and would fail at it. Hence this comes before them.

    Args:
        disabled: The distributions to leave out, as in ``OPTIMCTL_DISABLE_PLUGINS``; optimctl's own plugins stay.
    """
    found, flaws = _read_metadata()
    found.update({_identity(plugin): plugin for plugin in (project.plugins if project else ())})
    if any(flaw.stops_others for flaw in flaws):
        for name, value in _READS_NO_METADATA.items():
            os.environ.setdefault(name, value)
    patterns = disabling(disabled)
    left_out: list[Plugin] = []
    claims: dict[str, dict[str, tuple[Plugin, ...]]] = {}
    for plugin in sorted(found.values(), key=attrgetter("distribution")):
        if is_disabled(plugin.distribution, patterns):
            left_out.append(plugin)
        else:
            by_name = claims.setdefault(plugin.kind, {})
            by_name[plugin.name] = (*by_name.get(plugin.name, ()), plugin)
    return Plugins(claims, project, tuple(left_out), flaws)


def _read_metadata() -> tuple[dict[tuple[str, str, str], Plugin], tuple[Flaw, ...]]:
    """What the installed distributions bring, the first copy of each, and what is wrong with them."""
    import importlib_metadata

    found: dict[tuple[str, str, str], Plugin] = {}
    flaws: set[Flaw] = set()
    for distribution in importlib_metadata.distributions():
        for one in _brought_by(distribution):
            if isinstance(one, Flaw):
                flaws.add(one)
            else:
                found.setdefault(_identity(one), one)
    return found, tuple(sorted(flaws, key=attrgetter("distribution", "message")))


def disabling(text: str) -> list[str]:
    """The patterns in what ``OPTIMCTL_DISABLE_PLUGINS`` says."""
    return [canonical(pattern) for pattern in re.split(r"[\s,]+", text) if pattern]


def is_disabled(distribution: str, patterns: Sequence[str]) -> bool:
    """Whether one of ``patterns`` leaves a distribution out, by its canonical name; optimctl itself cannot be left out."""
    return distribution != OWN and any(fnmatchcase(distribution, pattern) for pattern in patterns)


def _brought_by(distribution: Any) -> Iterator[Plugin | Flaw]:
    """The plugins of one distribution; none of an older copy that stands further down the path. What is broken stops nobody."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
        entries = list(_entries(text)) if f"{OWN}." in text else []
    except Exception as error:
        yield Flaw(_name_or_folder(distribution), _unreadable("entry_points.txt", error), stops_others=True)
        return
    try:
        name, version = _name_and_version(distribution) if entries else ("", "")
    except Exception as error:  # what an uninstall left behind
        yield Flaw(_folder(distribution), _unreadable("METADATA", error))
        return
    for kind, entry, place in entries if name and not _is_hidden(name, text) else ():
        if kind in KINDS:
            yield Plugin(kind, entry, name, version, place)
        else:
            yield Flaw(name, f"its entry points stand in the group '{OWN}.{kind}', and {no_such_kind(kind)}")


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Kind, name and object of optimctl's entry points in an ``entry_points.txt``; a third of the time that the library takes.

    Raises:
        ValueError: A line is neither a group nor an entry; what reads the whole file fails at it.
    """
    group = ""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals or not group:
                raise ValueError(f"line {number} is no entry `name = module:object` of a group")
            if group.startswith(f"{OWN}."):
                yield group.removeprefix(f"{OWN}."), name.strip(), value.strip()


def _unreadable(file: str, error: Exception) -> str:
    return f"its {file} cannot be read ({type(error).__name__}: {error}); reinstall it, or take it away"


def _name_and_version(distribution: Any) -> tuple[str, str]:
    """Of METADATA only the head is read: parsing the README below it takes longer than all the rest.

    Raises:
        Exception: There is no METADATA, or no name in it.
    """
    text = distribution.read_text("METADATA")
    if text is None:  # an egg, or nothing at all
        return canonical(distribution.metadata["Name"]), distribution.metadata["Version"] or ""
    fields = {key.lower(): value for key, value in _FIELD.findall(text.partition("\n\n")[0])}
    return canonical(fields["name"]), fields.get("version", "")


def _name_or_folder(distribution: Any) -> str:
    try:
        return _name_and_version(distribution)[0]
    except Exception:
        return _folder(distribution)


def _is_hidden(name: str, entry_points: str) -> bool:
    """Whether Python would take the distribution from elsewhere: the path has another one of that name first."""
    import importlib_metadata

    try:
        first = importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:  # its folder has another name than its metadata
        return False
    return first.read_text("entry_points.txt") != entry_points


def _folder(distribution: Any) -> str:
    """Where the metadata lies, as far as it can be told."""
    return str(getattr(distribution, "_path", None) or distribution.locate_file(""))


def _identity(plugin: Plugin) -> tuple[str, str, str]:
    """What makes two entries one: a distribution can bring a name of a kind once."""
    return plugin.kind, plugin.distribution, plugin.name


__all__ = ["disabling", "find", "is_disabled"]
