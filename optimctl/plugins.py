"""Plugins: what a job may name, who brings it, and how it is loaded.

In this room: the kinds, ``Plugin`` (found: metadata only, nothing imported) and ``LoadedPlugin`` (its one object
imported) and ``Plugins`` (all that was found, with its conflicts, its flaws and what is disabled). Finding and loading are two
steps, so that a plugin that cannot be imported breaks no command that does not use it.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimctl.errors import JobError, Key, PluginError, UsageError, listing, nearest, raised_text, visible

if TYPE_CHECKING:
    import inspect


OWN = "optimctl"
"""The distribution whose names nobody can take over."""
PROJECT = "project"
"""What stands before the slash for a plugin of the user's own project."""
PLUGINS = f"tool.{OWN}.plugins"
"""The table of a ``pyproject.toml`` that names them, kind by kind."""
DISABLE = "OPTIMCTL_DISABLE_PLUGINS"
"""The variable that leaves distributions out, by name or glob, with commas or spaces between."""
OBJECT = re.compile(r"(?P<module>\w+(\.\w+)*)\s*:\s*(?P<attribute>\w+(\.\w+)*)\s*(\[.*\])?")
"""Where an object is; what stands in brackets (an extra) is of the past, and says nothing."""
_READS_NO_METADATA = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "PYDANTIC_DISABLE_PLUGINS": "1"}
_NAME = re.compile(r"[^/\s](?:[^/]*[^/\s])?")
_FIELD = re.compile(r"^(Name|Version):[ \t]*(.*\S)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Kind:
    """One sort of plugin: the entry-point group is ``optimctl.<name>``."""

    name: str
    one: str
    """One of them, in a sentence, with its article."""
    contract: str
    """What the object behind the entry point must be."""
    given: int = 0
    """How many leading arguments optimctl itself gives it; the others are the job's."""
    supplied: tuple[str, ...] = ()
    """Further arguments that optimctl gives, or keeps from a job, where the plugin has them."""
    base: str = ""
    """The class of torch, as ``module:name``, that a class of this kind derives from; unless it has one of ``methods``."""
    methods: str = ""
    """An expression for the names of methods, one of which a class of this kind has."""

    @property
    def noun(self) -> str:
        """``one`` without its article."""
        return self.one.partition(" ")[2]


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "optimizers",
            "an optimizer",
            "a torch.optim.Optimizer class, or a callable that returns one",
            given=1,
            base="torch.optim:Optimizer",
        ),
        Kind(
            "optim_wrappers",
            "an optim wrapper",
            "a class called with (optimizer, **options)",
            given=1,
            methods="update_params",
        ),
        Kind(
            "constructors",
            "a constructor",
            "a class called with (optim_wrapper_cfg, paramwise_cfg=None), and then with the model",
            given=2,
            methods="__call__",
        ),
        Kind(
            "schedulers",
            "a scheduler",
            "a Schedule class with maps(t, reference), or a torch LRScheduler class",
            supplied=("length", "last_epoch"),
            base="torch.optim.lr_scheduler:LRScheduler",
            methods="maps|observe",
        ),
        Kind("models", "a model", "a callable that returns a torch.nn.Module", base="torch.nn:Module"),
        Kind(
            "datasets",
            "a dataset",
            "a callable that returns a dataset or a DataLoader",
            methods="__getitem__|__iter__",
        ),
        Kind(
            "tasks",
            "a task",
            "a class with loss(model, batch) and evaluate(model, batch), or train_step",
            methods="loss|train_step",
        ),
        Kind("hooks", "a hook", "a class with methods such as after_epoch(run)", methods="(before|after)_.+"),
        Kind("exporters", "an exporter", "a callable that returns a job or a run in another format", given=1),
        Kind("importers", "an importer", "a callable that reads a job from a file of another format", given=1),
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
        distribution, bare = _split(name)
        claims = self.claims.get(kind, {}).get(bare, ())
        if distribution:
            return next((claim for claim in claims if claim.distribution == distribution), None)
        own = [claim for claim in claims if claim.distribution == OWN]
        return (own or list(claims))[0] if own or len(claims) == 1 else None

    def get(self, kind: str, name: str) -> Plugin:
        """The plugin that a job's ``type`` means.

        Raises:
            PluginError: The name is unknown or disabled, or two distributions claim it.
        """
        plugin = self.answering(kind, name)
        if plugin is not None:
            return plugin
        one, shown = KINDS[kind].one, visible(name)
        claims = self.claims.get(kind, {}).get(name, ())
        if claims:
            choices = " or ".join(f"'{visible(claim.qualified)}'" for claim in claims)
            raise PluginError(
                f"several distributions bring {one} called '{shown}'; write {choices}", "ambiguous-plugin"
            )
        distribution, bare = _split(name)
        owners = [plugin.distribution for plugin in self.disabled if (plugin.kind, plugin.name) == (kind, bare)]
        if owners and distribution in ("", *owners):
            what = f"the {KINDS[kind].noun} '{shown}' of {listing(owners)}"
            raise PluginError(f"{what} is left out by the variable {DISABLE}", "disabled-plugin")
        raise PluginError(self._unknown(kind, name), "unknown-plugin")

    def conflicts(self) -> list[tuple[Plugin, ...]]:
        """The names of one kind that more than one distribution claims."""
        return [claims for by_name in self.claims.values() for claims in by_name.values() if len(claims) > 1]

    def _unknown(self, kind: str, name: str) -> str:
        """What is missing and what is there instead; unless it is a mere typing error, the lines to add follow."""
        distribution, bare = _split(name)
        names, claims = self.names(kind), self.claims.get(kind, {}).get(bare, ())
        text = f"no {KINDS[kind].noun} is called '{visible(name)}'"
        if not claims and distribution in ("", OWN) and _stale_install(kind, bare):
            folder = Path(__file__).parent.parent
            return f"{text} in optimctl's metadata, which is older than its code; reinstall it: pip install -e {folder}"
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
        whose = [visible(flaw.distribution) for flaw in self.flaws]
        return (
            [f"    something is wrong with the metadata of {listing(whose)}: `optimctl plugins check`"] if whose else []
        )

    def _way_out(self, kind: str, name: str) -> str:
        where = self.project.directory / "pyproject.toml" if self.project else "the pyproject.toml of your project"
        stem = name if name.isidentifier() else "Name"
        return (
            f"    install the package that brings it, or, for code of your own, add to {where}:\n"
            f"        [{PLUGINS}.{kind}]\n"
            f'        {stem} = "module:{stem}"'
        )


def find(project: Project | None = None, disabled: str = "") -> Plugins:
    """Every plugin on ``sys.path`` and in ``project``: reads metadata, imports nothing.

    Where somebody's entry points cannot be read, torch and pydantic are told, through the environment, to do without theirs: they
    read everybody's when they are imported, and would fail at it. Hence this comes before them.

    Args:
        disabled: The distributions to leave out, as in ``OPTIMCTL_DISABLE_PLUGINS``; optimctl's own plugins stay.
    """
    found, flaws = _read_metadata()
    found.update({kind_key(plugin): plugin for plugin in (project.plugins if project else ())})
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
                found.setdefault(kind_key(one), one)
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
            hint = nearest(kind, KINDS) or f"; there is {listing(KINDS, len(KINDS))}"
            yield Flaw(
                name, f"its entry points stand in the group '{OWN}.{kind}', and no kind is called '{kind}'{hint}"
            )


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


def _split(name: str) -> tuple[str, str]:
    """The distribution, canonical, that a name is qualified with ("" if it is bare), and the name itself."""
    distribution, _, bare = name.rpartition("/")
    return canonical(distribution), bare


def canonical(distribution: str) -> str:
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
    same. ``OPTIMCTL_DISABLE_PLUGINS`` leaves distributions out.
    """
    return find(find_project(Path.cwd(), os.environ.get("OPTIMCTL_PROJECT")), os.environ.get(DISABLE, ""))


def load(plugin: Plugin, project: Project | None = None) -> LoadedPlugin:
    """Import the plugin's one object.

    Raises:
        PluginError: The module cannot be imported, has no such attribute, or the object is not callable.
    """
    if plugin.distribution == PROJECT and project is not None:
        project.put_on_path()
    what, place = plugin.in_words, OBJECT.fullmatch(plugin.object)
    if not _NAME.fullmatch(plugin.name) or not plugin.name.isprintable():
        raise PluginError(f"{what} cannot be loaded: its name cannot be written in a job", "broken-plugin")
    if place is None:
        raise PluginError(f"{what} cannot be loaded: an entry point must be module:object", "broken-plugin")
    try:
        found: Any = importlib.import_module(place["module"])
        for attribute in place["attribute"].split("."):
            found = getattr(found, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what test frameworks raise past every handler
        raise PluginError(f"{what} cannot be loaded: {_cause(plugin, error)}", "broken-plugin") from error
    wrong = _misfit(KINDS[plugin.kind], found)
    if wrong:
        raise PluginError(f"{what} is {wrong}; it must be {KINDS[plugin.kind].contract}", "wrong-kind")
    return LoadedPlugin(plugin, found)


def _misfit(kind: Kind, found: Any) -> str:
    """What an object is that cannot be a plugin of a kind; nothing where it can, or nobody knows before it is called."""
    base = _imported(kind.base)
    if not callable(found):
        return f"of type {type(found).__name__}"
    if not isinstance(found, type):
        return f"{kind.one} that is made already" if base and isinstance(found, base) else ""
    made_by: Any = found.__new__
    if made_by is not object.__new__:  # what it makes may be of another class
        return ""
    derived = base is not None and issubclass(found, base)
    equipped = kind.methods and any(re.fullmatch(kind.methods, name) for name in dir(found))
    anything = not kind.base and not kind.methods
    return "" if derived or equipped or anything else f"the class {found.__name__}"


def _imported(place: str) -> type | None:
    """A class of torch, where it was imported: what derives from it has done so."""
    module, _, name = place.partition(":")
    return getattr(sys.modules.get(module), name, None)


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


def _stale_install(kind: str, name: str) -> bool:
    """Whether this is a checkout whose ``pyproject.toml`` declares the name that its installed metadata lacks."""
    import tomli

    file = Path(__file__).parent.parent / "pyproject.toml"
    try:
        project = tomli.loads(file.read_text("utf-8"))["project"]
    except (OSError, KeyError, tomli.TOMLDecodeError):
        return False
    return project.get("name") == OWN and name in project.get("entry-points", {}).get(f"optimctl.{kind}", {})
