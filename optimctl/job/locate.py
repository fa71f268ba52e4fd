"""Where the keys of a TOML text stand: key path -> line and column, counted in characters from 1.

The parser is tree-sitter's, which counts columns in bytes and knows TOML 1.0. This module is imported only when there is a
problem to show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from optimctl.errors import Key

DEEPEST = 64
"""Levels of nesting that are indexed; a reader refuses more."""


@dataclass(frozen=True)
class Spot:
    """A point of a text, with the whole line that it stands in."""

    line: int
    column: int
    excerpt: str


class Index:
    """The places of all keys of one text."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._keys: dict[Key, Node] = {}
        self._values: dict[Key, Node] = {}
        self._lengths: dict[Key, int] = {}
        self._written: dict[Key, Node] = {}
        self._repeated: tuple[Key, Node, Node] | None = None
        tree = Parser(Language(tree_sitter_toml.language())).parse(text.encode())
        if not tree.root_node.has_error:  # else a table's header may be lost, and a key be taken for another table's
            self._add_document(tree.root_node)

    def find(self, key: Key, at_key: bool = False) -> Spot | None:
        """Where the value at ``key`` begins, or its key; of the nearest ancestor where the text lacks it."""
        for length in range(len(key), 0, -1):
            node = (self._keys if at_key else self._values).get(key[:length])
            if node is not None:
                return self._spot(node)
        return None

    @property
    def repeated(self) -> tuple[Key, Spot, Spot] | None:
        """The first key, or table, that is written twice, which TOML forbids: where it stands first, and where again."""
        if self._repeated is None:
            return None
        key, first, second = self._repeated
        return key, self._spot(first), self._spot(second)

    def _note(self, key: Key, node: Node) -> None:
        """Remember that ``key`` was given a value here."""
        first = self._written.setdefault(key, node)
        if first is not node and self._repeated is None:
            self._repeated = (key, first, node)

    def _spot(self, node: Node) -> Spot:
        row, column = node.start_point
        line = self._lines[row]
        return Spot(row + 1, len(line.encode()[:column].decode()) + 1, line.rstrip("\r"))

    def _add_document(self, root: Node) -> None:
        for node in root.named_children:
            if node.type == "pair":
                self._add_pair((), node)
            elif node.type in ("table", "table_array_element"):
                self._add_table(node)

    def _add_table(self, node: Node) -> None:
        header, *rest = [child for child in node.named_children if child.type != "comment"]
        parts = list(_parts(header))
        table: Key = ()
        for part in parts[:-1]:
            table = self._last((*table, _name(part)))
            self._keys.setdefault(table, part)
            self._values.setdefault(table, part)
        table = (*table, _name(parts[-1]))
        if node.type == "table_array_element":
            self._lengths[table] = self._lengths.get(table, 0) + 1
            self._keys.setdefault(table, parts[-1])
            self._values.setdefault(table, parts[-1])
            table = self._last(table)
        self._note(table, parts[-1])
        self._keys[table] = self._values[table] = parts[-1]
        for pair in rest:
            self._add_pair(table, pair)

    def _last(self, key: Key) -> Key:
        """The last element, where ``key`` is an array of tables."""
        return (*key, self._lengths[key] - 1) if key in self._lengths else key

    def _add_pair(self, table: Key, node: Node) -> None:
        header, value = [child for child in node.named_children if child.type != "comment"][:2]
        key = table
        for part in _parts(header):
            key = (*key, _name(part))
            self._keys.setdefault(key, part)
            self._values.setdefault(key, part)
        self._note(key, part)
        self._keys[key] = part
        self._add_value(key, value)

    def _add_value(self, key: Key, node: Node) -> None:
        self._values[key] = node
        if len(key) > DEEPEST:
            return
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self._add_pair(key, child)
        elif node.type == "array":
            items = [child for child in node.named_children if child.type != "comment"]
            for index, child in enumerate(items):
                self._keys[(*key, index)] = child
                self._add_value((*key, index), child)


def _parts(node: Node) -> Iterator[Node]:
    """The bare and quoted keys of a dotted one."""
    if node.type == "dotted_key":
        for child in node.named_children:
            yield from _parts(child)
    elif node.type != "comment":
        yield node


def _name(node: Node) -> str:
    text = (node.text or b"").decode()
    if node.type == "bare_key":
        return text
    import tomli

    return str(tomli.loads(f"name = {text}")["name"])
