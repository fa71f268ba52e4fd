"""Several optimizers over one model: which parameters each of them trains.

In this room: ``Share``, what one of them gets, and ``shares_of``, which writes the function of the script that gives each its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from optimctl.export.python.apart import Named, choosing, tell_apart
from optimctl.export.python.layout import define
from optimctl.export.python.planned import Planned, word_of
from optimctl.optim.multi import DEFAULT_NAME
from optimctl.optim.walk import walk


@dataclass(frozen=True)
class Share:
    """What one of several optimizers trains."""

    own: str
    """The script's name for it: a dict of parameters by their names."""
    line: str
    """What takes it out of all shares."""
    function: str
    """The function that gives each optimizer its share."""


def shares_of(planned: Sequence[Planned], hints: Sequence[str]) -> dict[str, Share]:
    """The shares of optimizers of one model, by their names."""
    if len(planned) == 1:
        return {}
    names = [one.name for one in planned]
    scope = "" if planned[0].wrapper_name == DEFAULT_NAME else word_of(planned[0].wrapper_name)
    function = "_".join(part for part in ("split", scope, "parameters") if part)
    text = "\n".join([_head(function, names), *(f"    {line}" for line in _body(planned, hints))])
    return {
        name: Share(name, f"{', '.join(other if other == name else '_' for other in names)} = {function}(model)", text)
        for name in names
    }


def _head(function: str, names: Sequence[str]) -> str:
    *most, last = names
    head = define(function, {"model": "nn.Module"}, "tuple[dict[str, nn.Parameter], ...]")
    return f'{head}\n    """What {", ".join(most)} and {last} train, by the names of the parameters."""'


def _body(planned: Sequence[Planned], hints: Sequence[str]) -> Iterator[str]:
    """Each parameter to the one dict that it belongs to."""
    walked = list(walk(planned[0].module))
    trained = [Named(one.name, one.parameter) for one in walked if one.parameter.requires_grad]
    owners = {name: one.name for one in planned for name in one.names}
    yield from (f"{one.name}: dict[str, nn.Parameter] = {{}}" for one in planned)
    yield "for name, parameter in model.named_parameters():"
    if len(trained) < len(walked):
        yield from ["    if not parameter.requires_grad:", "        continue"]
    branches = tell_apart(owners, trained, planned[-1].name, hints)
    lines: dict[Hashable, str] = {one.name: f"{one.name}[name] = parameter" for one in planned}
    yield from (f"    {line}" for line in choosing(branches, lines, 8))
    yield f"return {', '.join(one.name for one in planned)}"


__all__ = ["Share", "shares_of"]
