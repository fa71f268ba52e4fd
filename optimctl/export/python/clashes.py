"""Names that do not go together: those that a script has for itself, and those that plugins and optimizers bring into it.

In this room: ``clashes``, which reads a script that is written, so that no list of its names is kept by hand.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping


def clashes(script: str, imported: Collection[str], optimizers: Mapping[str, str]) -> set[str]:
    """The names that a script has another use for.

    Args:
        script: All but its import statements.
        imported: What these bind for the sake of a plugin: its own name, or the first part of its module's.
        optimizers: The variables of optimizers, each of which ``train`` assigns once and ``save`` is given, with the functions that
            make them.
    """
    tree = ast.parse(script)
    found = set(_bound(ast.walk(tree))).intersection(imported)
    defined = Counter(_bound(tree.body))
    constants = {name for node in tree.body if isinstance(node, ast.Assign) for name in _bound(ast.walk(node))}
    train, save = (_bound_in(tree, name) for name in ("train", "save"))
    for name, maker in optimizers.items():
        is_taken = name in imported or name in defined or name in constants
        if is_taken or train[name] > 1 or save[name] > 1 or defined[maker] > 1:
            found.add(name)
    return found


def _bound_in(tree: ast.Module, name: str) -> Counter[str]:
    """How often a function binds each name."""
    nodes = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return Counter(bound for node in nodes for bound in _bound(ast.walk(node)))


def _bound(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names to which nodes themselves give a value."""
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name


__all__ = ["clashes"]
