"""``optimctl plugins show``: what a plugin is, what it takes, and the table of a job that names it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from optimctl.cli import output
from optimctl.cli.completion import kind_names, plugin_names
from optimctl.cli.options import common_options
from optimctl.cli.plugins.list import known_kind
from optimctl.plugins import KINDS, PROJECT

if TYPE_CHECKING:
    from optimctl.plugins import LoadedPlugin, Plugin, Plugins
    from optimctl.signatures import Argument

HEADINGS: Mapping[str, str] = {
    "optimizers": "[optim_wrapper.optimizer]",
    "optim_wrappers": "[optim_wrapper]",
    "constructors": "[optim_wrapper.constructor]",
    "schedulers": "[[param_scheduler]]",
    "models": "[model]",
    "datasets": "[train_dataloader.dataset]",
    "tasks": "[task]",
    "hooks": "[hooks.{}]",
}
"""The table of a job that names a plugin of a kind; the others are named on the command line."""
COMMANDS: Mapping[str, str] = {"exporters": "optimctl export {} job.toml", "importers": "optimctl import {} FILE"}
WIDTH = 100
INDENT = "#     "


@click.command()
@click.argument("name", shell_complete=plugin_names)
@click.option(
    "--kind",
    metavar="KIND",
    is_eager=True,
    callback=known_kind,
    shell_complete=kind_names,
    help="Which one, where plugins of several kinds have the name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is known as JSON.")
@common_options
def show(name: str, kind: str | None, as_json: bool) -> None:
    """Show the plugin NAME, or distribution/NAME: its arguments, what it says of itself, and a table to paste into a job."""
    from optimctl.plugins import installed, load

    found = installed()
    plugin = _the_one(found, name, kind)
    with output.plugins_at_work():
        loaded = load(plugin, found.project)
        table = "\n".join(_to_paste(loaded, _written(found, plugin, name)))
        described = _described(loaded)
    if as_json:
        output.as_json({**described, "toml": table})
    else:
        for line in _page(loaded, name, described):
            output.data(output.visible_lines(line))
        output.data(output.visible_lines(table))


# --- which one --------------------------------------------------------------------------------------------------------


def _the_one(found: Plugins, name: str, kind: str | None) -> Plugin:
    """The plugin that is meant.

    Raises:
        PluginError: There is none, or distributions compete for the name.
        UsageError: Plugins of several kinds have it.
    """
    from optimctl.errors import PluginError, UsageError, listing, nearest, visible
    from optimctl.job.names import answering

    kinds = [kind] if kind else list(KINDS)
    answers = [plugin for each in kinds if (plugin := answering(found, each, name))]
    if len(answers) == 1:
        return answers[0]
    if answers:
        options = " or ".join(f"--kind {plugin.kind}" for plugin in answers)
        who = listing((KINDS[plugin.kind].noun for plugin in answers), len(KINDS))
        raise UsageError(f"'{visible(name)}' is the name of several plugins: {who}; say which with {options}")
    claimed = {(plugin.kind, plugin.name) for plugin in (*found, *found.disabled)}
    for each in kinds:
        if kind or (each, name.rpartition("/")[2]) in claimed:
            found.get(each, name)  # tells why it cannot be had
    hint = nearest(name, {plugin.name for plugin in found}) or "; `optimctl plugins list` shows all"
    raise PluginError(f"no plugin is called '{visible(name)}'{hint}", "unknown-plugin")


def _written(found: Plugins, plugin: Plugin, name: str) -> str:
    """How a job writes the name that was asked for."""
    contested = any(plugin in claims for claims in found.conflicts())
    return plugin.qualified if contested and "/" not in name else name


# --- what there is to say ---------------------------------------------------------------------------------------------


def _described(loaded: LoadedPlugin) -> dict[str, Any]:
    from optimctl.job.plugin_schema import is_toml, plain_default
    from optimctl.signatures import EMPTY, arguments, takes_any

    plugin = loaded.plugin
    file, line = _place(loaded.object)
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "object": plugin.object,
        "file": file,
        "line": line,
        "signature": str(loaded.signature) if loaded.signature else None,
        "doc": _doc(loaded.object),
        "arguments": [
            {
                "name": one.name,
                "required": one.required,
                "default": plain_default(one.default) if one.default is not EMPTY and is_toml(one.default) else None,
                "type": one.json_type,
                "description": one.description,
            }
            for one in arguments(loaded) or ()
        ],
        "takes_any": takes_any(loaded),
    }


def _place(item: Any) -> tuple[str | None, int | None]:
    """The file and the line where an object is defined; none for what is written in C."""
    import inspect
    from functools import partial

    while isinstance(item, partial):
        item = item.func
    item = inspect.unwrap(item)
    try:
        return inspect.getsourcefile(item), inspect.getsourcelines(item)[1]
    except (TypeError, OSError):
        return None, None


def _doc(item: Any) -> str:
    """The docstring of an object's own: not one that a class inherits, nor the one that ``dataclass`` makes."""
    import inspect

    text = vars(item).get("__doc__") if isinstance(item, type) else getattr(item, "__doc__", None)
    made = f"{getattr(item, '__name__', '')}("
    return inspect.cleandoc(text) if isinstance(text, str) and not text.startswith(made) else ""


def _plain(text: str) -> str:
    """A docstring's text for a screen, where one backtick does."""
    return text.replace("``", "`")


def _page(loaded: LoadedPlugin, name: str, described: Mapping[str, Any]) -> Iterator[str]:
    """What is said above the table."""
    plugin, kind = loaded.plugin, KINDS[loaded.plugin.kind]
    alias = f"{name}: " if name.rpartition("/")[2] != plugin.name else ""
    owner = "your project" if plugin.distribution == PROJECT else f"{plugin.distribution} {plugin.version}".rstrip()
    yield f"{alias}{plugin.name}, {kind.one} of {owner}"
    place = f", {described['file']}:{described['line']}" if described["file"] else ""
    yield f"{plugin.object}{place}"
    if loaded.signature:
        plain = [one.replace(annotation=one.empty) for one in loaded.signature.parameters.values()]
        call = loaded.signature.replace(parameters=plain, return_annotation=loaded.signature.empty)
        yield from ("", *textwrap.wrap(f"{plugin.name}{call}", WIDTH, subsequent_indent="    "))
    paragraph = _plain(described["doc"].split("\n\n")[0])
    if paragraph:
        yield from ("", *paragraph.splitlines())
    yield ""


# --- a table to paste -------------------------------------------------------------------------------------------------


def _to_paste(loaded: LoadedPlugin, name: str) -> Iterator[str]:
    """The table of a job that names the plugin: what it needs, to be filled in; what it may take, as comments."""
    from optimctl.signatures import arguments, takes_any

    kind = loaded.plugin.kind
    if kind in COMMANDS:
        yield COMMANDS[kind].format(name)
        return
    yield from _heading(kind, name)
    known = sorted(arguments(loaded) or (), key=lambda one: not one.required)
    for one in known:
        yield from _entry(one)
    if takes_any(loaded):
        yield "# It takes further keys."
    if kind == "schedulers":
        yield from _common_keys({one.name for one in known})


def _heading(kind: str, name: str) -> Iterator[str]:
    """The table's header, and its ``type`` where the header does not say it."""
    from optimctl.job.write import toml_key, toml_value

    if kind == "hooks":
        own = name.rpartition("/")[2]
        yield HEADINGS[kind].format(toml_key(own))
        if name == own:
            return
    else:
        yield HEADINGS[kind]
    yield f"type = {toml_value(name)}"


def _entry(one: Argument) -> Iterator[str]:
    from optimctl.job.plugin_schema import is_toml
    from optimctl.job.write import toml_key, toml_value

    key, wanted = toml_key(one.name), _wanted(one)
    if one.required:
        yield f"{key} = {toml_value(f'<{wanted}>')}  # needed"
    elif is_toml(one.default):
        yield f"# {key} = {toml_value(one.default)}"
    else:
        yield f"# {key}: {wanted}; not given unless it stands here"
    text = textwrap.shorten(_plain(one.description), 2 * WIDTH, placeholder=" ...")
    yield from textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def _common_keys(own: set[str]) -> Iterator[str]:
    """What every table of a scheduler may say besides."""
    from optimctl.job.schema import ScheduleTable

    for name, field in ScheduleTable.model_fields.items():
        if name != "type" and name not in own:
            yield f"# {name}"
            yield from textwrap.wrap(field.description or "", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def _wanted(one: Argument) -> str:
    """The values that an argument takes, in words."""
    from optimctl.sentences import WORDS, one_of
    from optimctl.signatures import shown_choice

    options = one.json_type.get("anyOf", [one.json_type])
    words = [shown_choice(choice) for option in options for choice in option.get("enum", ())]
    words += [WORDS[option["type"]] for option in options if "type" in option]
    return one_of(words) if words else "a value"
