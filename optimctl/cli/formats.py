"""What ``export`` and ``import`` share: a plugin that the command line names, its help, and its own options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from optimctl.cli import output
from optimctl.cli.options import Command
from optimctl.errors import JobError, OptimctlError, Place, PluginError, Problem, UsageError, is_ours, raised_text

if TYPE_CHECKING:
    from optimctl.plugins import LoadedPlugin
    from optimctl.signatures import Argument

_WORDS = "optimctl.words"


class FormatCommand(click.Command):
    """A command whose first argument names a plugin; its ``--help`` tells which there are, or, behind a name, what that one does."""

    kind: str

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the words: ``--help`` is answered before click reads which of them is what."""
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What stands below the options."""
        from optimctl.plugins import installed

        words = ctx.meta.get(_WORDS, ())
        name = next((word for word in words if installed().answering(self.kind, word)), None)
        if name is None:
            with formatter.section("Formats"):
                formatter.write_dl(list(_formats(self.kind)))
            return
        loaded = load_format(self.kind, name)
        with formatter.section(str(loaded)):
            for paragraph in _paragraphs(loaded):
                formatter.write_text(paragraph)
                formatter.write_paragraph()
            options = list(_options(loaded))
            if options:
                formatter.write_dl(options)


class ExportCommand(FormatCommand):
    """``export``."""

    kind = "exporters"


class ImportCommand(FormatCommand):
    """``import``."""

    kind = "importers"


def format_argument(kind: str) -> Callable[[Command], Command]:
    """FORMAT."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from optimctl.plugins import installed

        return [CompletionItem(name) for name in installed().names(kind) if name.startswith(incomplete)]

    return click.argument("format_name", metavar="FORMAT", shell_complete=complete)


format_option = click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    help="An option of the format's own, as its --help tells them; may be repeated.",
)


def load_format(kind: str, name: str) -> LoadedPlugin:
    """The plugin that the command line names.

    Raises:
        PluginError: There is none, or it cannot be loaded.
    """
    from optimctl.plugins import installed, load

    found = installed()
    plugin = found.get(kind, name)
    with output.plugins_at_work():
        return load(plugin, found.project)


def read_options(loaded: LoadedPlugin, texts: Sequence[str]) -> dict[str, Any]:
    """The values of ``--option``, held against what the plugin takes.

    Raises:
        JobError: All that is wrong with them.
    """
    from optimctl.job.options import option_value
    from optimctl.signatures import argument_problems, with_tuples

    given: dict[str, tuple[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"--option {text}: write NAME=VALUE")
        given[name] = text, option_value(value.strip())
    values = {name: value for name, (_, value) in given.items()}
    problems = argument_problems(loaded, (), values)
    if problems:
        raise JobError([_placed(problem, given) for problem in problems])
    return with_tuples(loaded, values)


def _placed(problem: Problem, given: dict[str, tuple[str, Any]]) -> Problem:
    name = str(problem.key[0]) if problem.key else ""
    if name in given:
        return replace(problem, place=Place(f"--option {given[name][0]}"))
    return replace(problem, message=f"{problem.message}; give it with --option NAME=VALUE")


@contextmanager
def their_code(loaded: LoadedPlugin) -> Iterator[None]:
    """The plugin's code runs inside: what it prints goes to stderr, and what it raises is told with its own line.

    Raises:
        PluginError: It raised what is no error of optimctl's.
    """
    try:
        with output.plugins_at_work():
            yield
    except OptimctlError:
        raise
    except (Exception, SystemExit) as error:
        if is_ours(error):
            raise
        raise PluginError(f"{loaded} raised {raised_text(error)}", "plugin-raised") from error


def _formats(kind: str) -> Iterator[tuple[str, str]]:
    """Each format and what it is; others' plugins are not loaded for that."""
    from optimctl.plugins import OWN, installed

    found = installed()
    for name in found.names(kind):
        claims = found.claims[kind][name]
        own = next((claim for claim in claims if claim.distribution == OWN), None)
        yield name, _summary(kind, name) if own else f"of {' and '.join(claim.distribution for claim in claims)}"


def _summary(kind: str, name: str) -> str:
    try:
        first = next(_paragraphs(load_format(kind, name)), "")
    except PluginError:
        return "cannot be loaded: `optimctl plugins check` tells why"
    return first.partition(". ")[0].removesuffix(".")


def _paragraphs(loaded: LoadedPlugin) -> Iterator[str]:
    """What the docstring says, up to its first section."""
    import inspect

    for paragraph in inspect.cleandoc(loaded.object.__doc__ or "").split("\n\n"):
        if paragraph.partition("\n")[0].rstrip() in ("Args:", "Returns:", "Raises:", "Yields:", "Parameters"):
            return
        yield " ".join(paragraph.split())


def _options(loaded: LoadedPlugin) -> Iterator[tuple[str, str]]:
    from optimctl.signatures import arguments

    for one in arguments(loaded) or ():
        usual = "  [needed]" if one.required else _default(one)
        yield f"--option {one.name}=…", f"{one.description}{usual}".strip()


def _default(one: Argument) -> str:
    from optimctl.job.plugin_schema import is_toml
    from optimctl.job.write import toml_value

    return f"  [default: {toml_value(one.default)}]" if is_toml(one.default) and one.default != "" else ""


__all__ = [
    "ExportCommand",
    "FormatCommand",
    "ImportCommand",
    "format_argument",
    "format_option",
    "load_format",
    "read_options",
    "their_code",
]
