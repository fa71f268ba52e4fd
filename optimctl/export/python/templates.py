"""The pieces that a script is put together from.

They stand in ``pieces/``: templates, each a function, a class or a few lines that are Python but for what depends on the job. In this
room: ``piece``, which fills one in.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2


def piece(name: str, /, **context: Any) -> str:
    """A piece, with what it is told."""
    return _templates().get_template(f"{name}.jinja").render(context).strip("\n")


@functools.cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "pieces")
    return jinja2.Environment(
        loader=loader,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )


__all__ = ["piece"]
