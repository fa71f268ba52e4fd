"""Plugins: what a job may name, who brings it, and how it is loaded.

In this room: the kinds, ``Plugin`` (found: metadata only, nothing imported) and ``LoadedPlugin`` (its one object
imported), ``Plugins`` (all that was found, with its conflicts) and ``call`` (run a plugin with a job's arguments). Finding
and loading are two steps, so that a plugin that cannot be imported breaks no command that does not use it.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError, Key, PluginError, Problem, UsageError, listing, nearest, raised_text

if TYPE_CHECKING:
    import inspect


OWN = "optimctl"
"""The distribution whose names nobody can take over."""
PROJECT = "project"
"""What stands before the slash for a plugin of the user's own project."""
PLUGINS = f"tool.{OWN}.plugins"
"""The table of a ``pyproject.toml`` that names them, kind by kind."""
OBJECT = re.compile(r"(?P<module>\w+(\.\w+)*)\s*:\s*(?P<attribute>\w+(\.\w+)*)\s*(\[.*\])?")
"""Where an object is; what stands in brackets (an extra) is of the past, and says nothing."""


@dataclass(frozen=True)
class Kind:
    """One sort of plugin: the entry-point group is ``optimctl.<name>``."""

    name: str
    one: str
    """One of them, in a sentence, with its article."""
    contract: str
    """What the object behind the entry point must be."""

    @property
    def noun(self) -> str:
        """``one`` without its article."""
        return self.one.partition(" ")[2]


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("optimizers", "an optimizer", "a torch.optim.Optimizer class, or a callable that returns one"),
        Kind("optim_wrappers", "an optim wrapper", "a class called with (optimizer, **options)"),
        Kind("constructors", "a constructor", "a class called with (optim_wrapper_cfg, paramwise_cfg=None)"),
        Kind("schedulers", "a scheduler", "a Schedule class with maps(t, reference), or a torch LRScheduler class"),
        Kind("models", "a model", "a callable that returns a torch.nn.Module"),
        Kind("datasets", "a dataset", "a callable that returns a dataset or a DataLoader"),
        Kind("tasks", "a task", "a class with loss(model, batch) and evaluate(model, batch), or train_step"),
        Kind("hooks", "a hook", "a class with methods such as after_epoch(run)"),
        Kind("exporters", "an exporter", "a callable that writes a job or a run in another format"),
        Kind("importers", "an importer", "a callable that reads a job from another format"),
    )
}


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


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose object was imported."""

    plugin: Plugin
    object: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.plugin.name} ({self.plugin.distribution})"

    @functools.cached_property
    def signature(self) -> inspect.Signature | None:
        """How it is called; None where Python cannot tell (some classes written in C)."""
        import inspect

        try:
            return inspect.signature(self.object)
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Project:
    """The user's own folder, and the plugins that its ``pyproject.toml`` names."""

    directory: Path
    plugins: tuple[Plugin, ...]

    def put_on_path(self) -> None:
        """Make the project's modules importable: its ``src/`` and itself, before everything else."""
        own = [str(folder) for folder in (self.directory / "src", self.directory) if folder.is_dir()]
        sys.path[:] = own + [entry for entry in sys.path if entry not in own]


@dataclass(frozen=True)
class Plugins:
    """All plugins that were found, by kind and name."""

    claims: Mapping[str, Mapping[str, tuple[Plugin, ...]]]
    project: Project | None = None

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
        distribution, _, bare = name.rpartition("/")
        claims = self.claims.get(kind, {}).get(bare, ())
        if distribution:
            return next((claim for claim in claims if claim.distribution == _canonical(distribution)), None)
        own = [claim for claim in claims if claim.distribution == OWN]
        return (own or list(claims))[0] if own or len(claims) == 1 else None

    def get(self, kind: str, name: str) -> Plugin:
        """The plugin that a job's ``type`` means.

        Raises:
            PluginError: The name is unknown, or two distributions claim it.
        """
        plugin = self.answering(kind, name)
        if plugin is not None:
            return plugin
        claims = self.claims.get(kind, {}).get(name, ())
        if claims:
            choices = " or ".join(f"'{claim.qualified}'" for claim in claims)
            raise PluginError(
                f"several distributions bring {KINDS[kind].one} called '{name}'; write {choices}", "ambiguous-plugin"
            )
        raise PluginError(self._unknown(kind, name), "unknown-plugin")

    def conflicts(self) -> list[tuple[Plugin, ...]]:
        """The names of one kind that more than one distribution claims."""
        return [claims for by_name in self.claims.values() for claims in by_name.values() if len(claims) > 1]

    def _unknown(self, kind: str, name: str) -> str:
        """What is missing and what is there instead; unless it is a mere typing error, the lines to add follow."""
        distribution, _, bare = name.rpartition("/")
        names, claims = self.names(kind), self.claims.get(kind, {}).get(bare, ())
        text = f"no {KINDS[kind].noun} is called '{name}'"
        if not claims and distribution in ("", OWN) and _stale_install(kind, bare):
            folder = Path(__file__).parent.parent
            return f"{text} in optimctl's metadata, which is older than its code; reinstall it: pip install -e {folder}"
        if claims:
            return f"{text}; did you mean '{claims[0].qualified}'?"
        typing_error = nearest(bare, [other for other in names if abs(len(other) - len(bare)) <= 2])
        if typing_error:
            return text + typing_error
        near = nearest(bare, names)
        elsewhere = [other.one for other in KINDS.values() if self.claims.get(other.name, {}).get(bare)]
        if near:
            text += near
        elif elsewhere:
            text += f", but {elsewhere[0]} is"
        elif names:
            text += f"; there is {listing(names)} (`optimctl plugins list {kind}`)"
        else:
            text += "; none is installed"
        return f"{text}\n{self._way_out(kind, bare)}"

    def _way_out(self, kind: str, name: str) -> str:
        where = self.project.directory / "pyproject.toml" if self.project else "the pyproject.toml of your project"
        stem = name if name.isidentifier() else "Name"
        return (
            f"    install the package that brings it, or, for code of your own, add to {where}:\n"
            f"        [{PLUGINS}.{kind}]\n"
            f'        {stem} = "module:{stem}"'
        )


def find(project: Project | None = None) -> Plugins:
    """Every plugin on ``sys.path`` and in ``project``: reads metadata, imports nothing."""
    import importlib_metadata

    found: dict[tuple[str, str, str], Plugin] = {}
    seen: set[str] = set()
    for distribution in importlib_metadata.distributions():
        for plugin in _brought_by(distribution, seen):
            found.setdefault(kind_key(plugin), plugin)
    for plugin in project.plugins if project else ():
        found[kind_key(plugin)] = plugin
    claims: dict[str, dict[str, tuple[Plugin, ...]]] = {}
    for plugin in sorted(found.values()):
        by_name = claims.setdefault(plugin.kind, {})
        by_name[plugin.name] = (*by_name.get(plugin.name, ()), plugin)
    return Plugins(claims, project)


def _brought_by(distribution: Any, seen: set[str]) -> list[Plugin]:
    """The plugins of one distribution; none of one that the path has a second time, or whose metadata cannot be read."""
    try:
        entries = [entry for entry in distribution.entry_points if entry.group.startswith(f"{OWN}.")]
        name, version = (distribution.name, distribution.version) if entries else ("", "")
    except Exception:  # what an uninstall left behind, or somebody else's broken file, stops nobody
        return []
    if not name or _canonical(name) in seen:
        return []
    seen.add(_canonical(name))
    kinds = [(entry.group.removeprefix(f"{OWN}."), entry) for entry in entries]
    return [Plugin(kind, e.name, _canonical(name), version or "", e.value) for kind, e in kinds if kind in KINDS]


def _canonical(distribution: str) -> str:
    """The one spelling of a distribution's name: to pip, ``My_Plugins`` and ``my-plugins`` are the same."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def kind_key(plugin: Plugin) -> tuple[str, str, str]:
    """What makes two entries one: a distribution can bring a name of a kind once."""
    return plugin.kind, plugin.distribution, plugin.name


def find_project(directory: Path, named: str | None = None) -> Project | None:
    """The nearest folder at or above ``directory`` with a table ``[tool.optimctl]``; ``named`` is taken as it is.

    Raises:
        UsageError: ``named`` has no such table, or a ``pyproject.toml`` on the way cannot be read.
    """
    if named is not None:
        project = _read_project(Path(named).resolve())
        if project is None:
            raise UsageError(f"{named} is no optimctl project: it has no pyproject.toml with a table [tool.optimctl]")
        return project
    for folder in (directory, *directory.parents):
        project = _read_project(folder)
        if project is not None:
            return project
    return None


def _read_project(folder: Path) -> Project | None:
    import tomli

    file = folder / "pyproject.toml"
    try:
        document = tomli.loads(file.read_text("utf-8"))
    except OSError:
        return None
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    if OWN not in _table(file, "tool", document.get("tool", {})):
        return None
    settings = _table(file, f"tool.{OWN}", document["tool"][OWN])
    for key in settings.keys() - {"plugins"}:
        hint = nearest(key, ["plugins"]) or "; there is only 'plugins'"
        raise UsageError(f"{file}: tool.{OWN}.{key}: unknown key{hint}")
    return Project(folder, tuple(_project_plugins(file, settings.get("plugins", {}))))


def _project_plugins(file: Path, tables: Any) -> Iterator[Plugin]:
    for kind, entries in _table(file, PLUGINS, tables).items():
        if kind not in KINDS:
            hint = nearest(kind, KINDS) or f"; there is {listing(KINDS, len(KINDS))}"
            raise UsageError(f"{file}: {PLUGINS}.{kind}: no kind is called '{kind}'{hint}")
        for name, value in _table(file, f"{PLUGINS}.{kind}", entries).items():
            if not isinstance(value, str) or not OBJECT.fullmatch(value):
                wanted = f'write {name} = "module:{name}"'
                raise UsageError(f"{file}: {PLUGINS}.{kind}.{name}: {value!r} is no module:object; {wanted}")
            yield Plugin(kind, name, PROJECT, "", value)


def _table(file: Path, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{file}: {key}: must be a table, not {value!r}")
    return value


@functools.cache
def installed() -> Plugins:
    """What this process can use, found once: the installed distributions and the project of the working directory.

    ``OPTIMCTL_PROJECT`` names another project; the command line's ``--project`` sets it, so that child processes see the
    same.
    """
    return find(find_project(Path.cwd(), os.environ.get("OPTIMCTL_PROJECT")))


def load(plugin: Plugin, project: Project | None = None) -> LoadedPlugin:
    """Import the plugin's one object.

    Raises:
        PluginError: The module cannot be imported, has no such attribute, or the object is not callable.
    """
    if plugin.distribution == PROJECT and project is not None:
        project.put_on_path()
    whose = "your project" if plugin.distribution == PROJECT else plugin.distribution
    what = f"the {KINDS[plugin.kind].noun} '{plugin.name}' of {whose} ({plugin.object})"
    place = OBJECT.fullmatch(plugin.object)
    if place is None:
        raise PluginError(f"{what} cannot be loaded: an entry point must be module:object", "broken-plugin")
    try:
        found: Any = importlib.import_module(place["module"])
        for attribute in place["attribute"].split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{what} cannot be loaded: {_cause(plugin, error)}", "broken-plugin") from error
    if not callable(found):
        contract = KINDS[plugin.kind].contract
        raise PluginError(f"{what} is of type {type(found).__name__}; it must be {contract}", "wrong-kind")
    return LoadedPlugin(plugin, found)


def _cause(plugin: Plugin, error: BaseException) -> str:
    """Why an import failed: the plugin's own frame where its code raised, none where it never came to run."""
    module = plugin.object.partition(":")[0].strip()
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        remedy = "check the name" if plugin.distribution == PROJECT else f"reinstall {plugin.distribution}"
        return f"there is no module '{error.name}'; {remedy}"
    if isinstance(error, AttributeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
        return f"{error}{nearest(str(error.name), dir(error.obj))}"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error}"
    return raised_text(error)


def resolve(kind: str, name: str, key: Key) -> LoadedPlugin:
    """The loaded plugin that the table at ``key`` names with ``type``.

    Raises:
        JobError: It is unknown, ambiguous or broken; the problem stands at ``key.type``.
    """
    try:
        return load(installed().get(kind, name), installed().project)
    except PluginError as error:
        raise error.at((*key, "type")) from error


def call(
    loaded: LoadedPlugin, key: Key, arguments: Mapping[str, Any], *given: Any, seen_from: Key | None = None
) -> Any:
    """Call a plugin with what optimctl gives (``given``) and what the table at ``key`` says (``arguments``).

    Args:
        seen_from: The table that the plugin's own ``JobError`` speaks about, where that is another than its own.

    Raises:
        JobError: An argument is unknown or missing, or the plugin raised.
    """
    problems = argument_problems(loaded, key, arguments, len(given))
    if problems:
        raise JobError(problems)
    with plugin_code(loaded, key, seen_from):
        return loaded.object(*given, **arguments)


@contextmanager
def plugin_code(loaded: LoadedPlugin, key: Key, seen_from: Key | None = None) -> Iterator[None]:
    """Code of a plugin runs inside: what it raises becomes a problem at ``key``, with its own innermost frame.

    A ``JobError`` that it raises speaks about its own table; the keys are completed.
    """
    try:
        yield
    except JobError as error:
        raise error.below(*(key if seen_from is None else seen_from)) from error
    except (Exception, SystemExit) as error:
        raise JobError.single(key, f"{loaded} raised {raised_text(error)}", "plugin-raised") from error


def argument_problems(
    loaded: LoadedPlugin, key: Key, arguments: Mapping[str, Any], given: int = 0, also: Iterable[str] = ()
) -> list[Problem]:
    """What is wrong with a table's arguments, held against the plugin's signature: unknown names, and missing ones.

    Args:
        given: How many leading parameters optimctl itself supplies; a table that sets one of them is told so.
        also: Further names that the table may use, for the hint at the nearest one.
    """
    signature = loaded.signature
    if signature is None:
        return []
    parameters = list(signature.parameters.values())
    supplied, rest = [p.name for p in parameters[:given]], parameters[given:]
    named = {p.name: p for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in rest)
    problems = []
    for name in arguments:
        if name in supplied:
            problems.append(
                Problem((*key, name), f"optimctl itself gives {loaded} its '{name}'; take it out", "given-argument")
            )
        elif name not in named and not takes_any:
            known = [*named, *also]
            hint = nearest(name, known) or (f"; it takes {listing(known, 12)}" if known else "; it takes no arguments")
            problems.append(Problem((*key, name), f"{loaded} has no argument '{name}'{hint}", "unknown-argument"))
    missing = [name for name, p in named.items() if p.default is p.empty and name not in arguments]
    problems += [Problem(key, f"{loaded} needs the argument '{name}'", "missing-argument") for name in missing]
    return problems


def _stale_install(kind: str, name: str) -> bool:
    """Whether this is a checkout whose ``pyproject.toml`` declares the name that its installed metadata lacks."""
    import tomli

    file = Path(__file__).parent.parent / "pyproject.toml"
    try:
        project = tomli.loads(file.read_text("utf-8"))["project"]
    except (OSError, KeyError, tomli.TOMLDecodeError):
        return False
    return project.get("name") == OWN and name in project.get("entry-points", {}).get(f"optimctl.{kind}", {})
