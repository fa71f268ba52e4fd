"""Write the entry points of this package into its ``pyproject.toml``: every optimizer of the library that can be one.

    python entry_points.py            after the library was renewed, or README.md leaves out another one
    python entry_points.py --check    exit code 1 where pyproject.toml is not what this would write

An optimizer is brought where its class takes parameter groups first, and README.md, under "Not brought", does not say why not.
Where ``optimctl_pytorch_optimizer.optimizers`` has a class of the name, it is that one.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytorch_optimizer
from optimctl_pytorch_optimizer import optimizers
from torch.optim import Optimizer

HERE = Path(__file__).parent
TABLE = '[project.entry-points."optimctl.optimizers"]\n'


def library() -> dict[str, type[Optimizer]]:
    """The library's own optimizers by name; torch's, which it passes on, are optimctl's already."""
    named = {name: item for name, item in vars(pytorch_optimizer).items() if isinstance(item, type)}
    own = {name: item for name, item in named.items() if item.__module__.startswith("pytorch_optimizer.")}
    return {name: item for name, item in sorted(own.items()) if issubclass(item, Optimizer)}


def takes_groups(kind: type[Optimizer]) -> bool:
    """Whether parameter groups are its first argument."""
    return next(iter(inspect.signature(kind).parameters)) == "params"


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table below a heading of README.md, row by row, its own heading left out."""
    text = (HERE / "README.md").read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def brought() -> dict[str, str]:
    """Name to ``module:object``, sorted."""
    left_out = {name for row in rows("Not brought") for name in names(row[0])}
    taken = [name for name, kind in library().items() if takes_groups(kind) and name not in left_out]
    homes = {name: optimizers if name in vars(optimizers) else pytorch_optimizer for name in taken}
    return {name: f"{home.__name__}:{name}" for name, home in homes.items()}


def written(text: str, entries: Mapping[str, str]) -> str:
    """``pyproject.toml`` with these entry points."""
    head, _, rest = text.partition(TABLE)
    _, _, tail = rest.partition("\n[")
    lines = "".join(f'{name} = "{place}"\n' for name, place in entries.items())
    return f"{head}{TABLE}{lines}\n[{tail}"


def main(*arguments: str) -> int:
    """Write, or check; the exit code."""
    file = HERE / "pyproject.toml"
    text = file.read_text("utf-8")
    current = written(text, brought())
    if "--check" in arguments:
        return int(text != current)
    file.write_text(current, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
