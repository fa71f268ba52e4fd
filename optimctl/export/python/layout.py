"""Python as a formatter would leave it: values, calls, and statements that are broken where they get too long.

In this room: ``Call``, an expression in brackets, and ``lay``. What does not fit on a line goes one item a line, each with its
comma: ruff leaves that as it is, whatever line length it is told, as long as that is ``WIDTH`` or more.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from keyword import iskeyword
from typing import Any

WIDTH = 88
"""What ruff and Black allow a line by default."""
STEP = 4
UTC = "datetime.timezone(datetime.timedelta(0))"
"""For Python 3.11 ruff asks for ``datetime.UTC``, which Python 3.10 does not have."""


@dataclass(frozen=True)
class Call:
    """A call, or a list, tuple or dict: what stands in brackets can be broken between its items."""

    opening: str
    """All up to the bracket, with it: ``nn.Linear(``, ``[``."""
    items: tuple[tuple[str, Expression], ...]
    """Each with what stands before it: ``lr=``, ``"loss": ``, or nothing."""
    closing: str = ")"

    def __str__(self) -> str:
        comma = "," if self.opening == "(" and len(self.items) == 1 else ""
        return f"{self.opening}{', '.join(f'{before}{item}' for before, item in self.items)}{comma}{self.closing}"


Expression = str | Call


def call(function: str, /, *given: Expression, **keywords: Expression) -> Call:
    """``function(given, name=keyword)``; keywords that are no names of Python come as ``**{"a-b": keyword}``."""
    plain = {name: one for name, one in keywords.items() if name.isidentifier() and not iskeyword(name)}
    other = tuple((f"{text(name)}: ", one) for name, one in keywords.items() if name not in plain)
    items = [*(("", one) for one in given), *((f"{name}=", one) for name, one in plain.items())]
    return Call(f"{function}(", (*items, *([("**", Call("{", other, "}"))] if other else [])))


def listed(items: Iterable[Expression]) -> Call:
    """``[item, item]``."""
    return Call("[", tuple(("", item) for item in items), "]")


def literal(value: Any) -> Expression:
    """A plain value as Python writes it."""
    if isinstance(value, Mapping):
        return Call("{", tuple((f"{text(str(name))}: ", literal(item)) for name, item in value.items()), "}")
    if isinstance(value, (list, tuple)):
        opening, closing = "[]" if isinstance(value, list) else "()"
        return Call(opening, tuple(("", literal(item)) for item in value), closing)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "math.nan" if math.isnan(value) else "math.inf" if value > 0 else "-math.inf"
    if isinstance(value, (date, time)):
        return _called(ast.parse(repr(value), mode="eval").body)
    return repr(value).replace("e+", "e")


def _called(node: ast.expr) -> Expression:
    """The calls of an expression, so that they can be broken."""
    if not isinstance(node, ast.Call):
        return ast.unparse(node).replace("datetime.timezone.utc", UTC)
    keywords = {str(keyword.arg): _called(keyword.value) for keyword in node.keywords}
    return call(ast.unparse(node.func), *map(_called, node.args), **keywords)


def text(value: str) -> str:
    """A string in double quotes, but where single ones take fewer backslashes."""
    quote = '"' if value.count('"') <= value.count("'") else "'"
    pieces = [
        repr(f"{piece}'\"")[1:-4] for piece in value.split(quote)
    ]  # both quotes: repr takes single ones, and escapes those
    return quote + f"\\{quote}".join(piece if quote == "'" else piece.replace("\\'", "'") for piece in pieces) + quote


def lay(
    expression: Expression, column: int = 0, before: str = "", after: str = "", *, margin: int | None = None
) -> str:
    """An expression between what stands before and after it, broken into lines where it would reach beyond ``WIDTH``.

    Args:
        column: Where ``before`` begins.
        margin: Where further lines stand, or a step to the right of it: there too, unless it is said. It is 0 in a block that is
            moved to the right as a whole.
    """
    flat = f"{before}{expression}{after}"
    if isinstance(expression, str) or column + len(flat) <= WIDTH or not expression.items:
        return flat
    margin = column if margin is None else margin
    inside = " " * (margin + STEP)
    lines = [f"{before}{expression.opening}"]
    lines += [inside + lay(item, column + STEP, name, ",", margin=margin + STEP) for name, item in expression.items]
    return "\n".join([*lines, f"{' ' * margin}{expression.closing}{after}"])


def define(name: str, parameters: Mapping[str, str], returns: str) -> str:
    """The first line of a function, or the first ones."""
    signature = Call(f"def {name}(", tuple((f"{parameter}: ", kind) for parameter, kind in parameters.items()))
    return lay(signature, after=f" -> {returns}:")


def words(option: str) -> str:
    """What an option is called in a sentence."""
    return {"lr": "learning rate"}.get(option, option.replace("_", " "))


def indented(block: str, column: int = STEP) -> str:
    """A block further to the right."""
    return re.sub(r"^(?=.)", " " * column, block, flags=re.MULTILINE)


def tidy(script: str) -> str:
    """The blank lines of a formatter: two around what stands at the margin, at most one inside."""
    script = re.sub(r"[ \t]+$", "", script, flags=re.MULTILINE)
    script = re.sub(r"\n{3,}", "\n\n", script)
    script = re.sub(r"\n+(?=(?:@|def |class |if __name__))", "\n\n\n", script)
    script = re.sub(r"(?m)^(@.*)\n+(?=def |class |@)", r"\1\n", script)
    return script.strip("\n") + "\n"


__all__ = [
    "STEP",
    "WIDTH",
    "Call",
    "Expression",
    "call",
    "define",
    "indented",
    "lay",
    "listed",
    "literal",
    "text",
    "tidy",
    "words",
]
