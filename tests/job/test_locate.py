"""Every key of a generated document is found where it was written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from optimctl.errors import Key
from optimctl.job.locate import Index, Spot

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\"'\\"), max_size=6)
names = (
    st.text(st.sampled_from("ab-_1"), min_size=1, max_size=3)
    | st.sampled_from(["backbone.layer0", "é", "日本", ""])
    | text
)
scalars = st.integers(-(2**63), 2**63 - 1) | st.booleans() | text | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
tables = st.dictionaries(names, values, max_size=5)


@dataclasses.dataclass
class Writer:
    """Writes a document in a style that ``draw`` chooses, and keeps where each key and value began."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    newline: str
    text: str = ""
    keys: dict[Key, tuple[int, int]] = dataclasses.field(default_factory=dict)
    values: dict[Key, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def here(self) -> tuple[int, int]:
        return self.text.count("\n") + 1, len(self.text) - (self.text.rfind("\n") + 1) + 1

    def write(self, text: str) -> None:
        self.text += text

    def maybe(self, *choices: str) -> None:
        self.write(self.draw(st.sampled_from(["", *choices])))

    def end_line(self) -> None:
        self.maybe(" ", " # a = 1 }", "\t# é日本")
        self.write(self.newline)
        self.maybe(self.newline, "# [x]" + self.newline)

    def name(self, name: str) -> str:
        styles = ['"' + escaped(name) + '"']
        styles += [f"'{name}'"] if "'" not in name and "\n" not in name else []
        styles += [name] if name and BARE.issuperset(name) else []
        return str(self.draw(st.sampled_from(styles)))

    def table(self, key: Key, table: dict[str, Any]) -> None:
        """All pairs of a table, then its sub-tables under headers of their own."""
        later = []
        for name, value in table.items():
            is_array = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
            if (is_array or isinstance(value, dict)) and self.draw(st.booleans()):
                later.append((name, value))
            else:
                self.maybe("  ", "\t")
                self.pair(key, key, name, value)
        for name, value in later:
            self.maybe(" ")
            if isinstance(value, dict):
                self.header((*key, name), "[", "]")
                self.table((*key, name), value)
            else:
                for index, item in enumerate(value):
                    self.header((*key, name, index), "[[", "]]")
                    self.table((*key, name, index), item)

    def header(self, key: Key, opening: str, closing: str) -> None:
        self.write(opening)
        parts = [(length, part) for length, part in enumerate(key, 1) if isinstance(part, str)]
        for position, (length, part) in enumerate(parts):
            self.maybe(" ")
            here = self.here()
            for known in (key[:length], key[: length + 1]) if position == len(parts) - 1 else (key[:length],):
                self.keys.setdefault(known, here)
                self.values.setdefault(known, here)
            self.write(self.name(part))
            self.write(" . " if position < len(parts) - 1 and self.draw(st.booleans()) else "")
            self.text = self.text if position == len(parts) - 1 or self.text.endswith(" . ") else self.text + "."
        self.write(closing)
        self.end_line()

    def pair(self, table: Key, written: Key, name: str, value: Any, inline: bool = False, prefix: str = "") -> None:
        """``name = value``; a table perhaps as several dotted pairs."""
        key = (*table, name)
        if isinstance(value, dict) and value and not inline and self.draw(st.booleans()):
            quoted = self.name(name)
            for inner, item in value.items():
                start = self.here()
                self.keys.setdefault(key, (start[0], start[1] + len(prefix)))
                self.values.setdefault(key, (start[0], start[1] + len(prefix)))
                self.pair(key, written, inner, item, prefix=prefix + quoted + ".")
            return
        self.write(prefix)
        self.keys[key] = self.here()
        self.write(self.name(name))
        self.write(self.draw(st.sampled_from(["=", " = "])))
        self.value(key, value)
        if not inline:
            self.end_line()

    def value(self, key: Key, value: Any) -> None:
        self.values[key] = self.here()
        if isinstance(value, dict):
            self.write("{")
            for position, (name, item) in enumerate(value.items()):
                self.write(", " if position else " ")
                self.pair(key, key, name, item, inline=True)
            self.write(" }")
        elif isinstance(value, list):
            self.write("[")
            for index, item in enumerate(value):
                self.write("," if index else "")
                self.maybe(" ", self.newline, " # ]" + self.newline + "  ")
                self.keys[(*key, index)] = self.here()
                self.value((*key, index), item)
            self.maybe(self.newline, "," if value else "")
            self.write("]")
        else:
            self.write(self.scalar(value))

    def scalar(self, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            return repr(value)
        styles = ['"' + escaped(value) + '"', '"""' + self.newline + escaped(value) + '"""']
        styles += [f"'{value}'"] if "'" not in value and "\n" not in value else []
        styles += [f"'''{self.newline}{value}'''"] if "'" not in value and "\n" not in value else []
        return str(self.draw(st.sampled_from(styles)))


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def place(spot: Spot | None) -> tuple[int, int] | None:
    return (spot.line, spot.column) if spot else None


@given(tables, st.sampled_from(["\n", "\r\n"]), st.data())
def test_each_key_is_found_where_it_was_written(table: dict[str, Any], newline: str, data: st.DataObject) -> None:
    writer = Writer(data.draw, newline)
    writer.table((), table)
    assert tomli.loads(writer.text) == table, writer.text
    index = Index(writer.text)
    assert {key: place(index.find(key, at_key=True)) for key in writer.keys} == writer.keys
    assert {key: place(index.find(key)) for key in writer.values} == writer.values


JOB = '''\
# é
[optim_wrapper]
clip_grad = { max_norm = 35, "norm.type" = 2 }
optimizer.type = "SDG"
[optim_wrapper.paramwise_cfg.custom_keys]
"backbone.layer0" = { lr_mult = 0 }
"é" = { lr_mult = 1 }; 日本.x = 1
[[param_scheduler]]
milestones = [
    8,  # é
    "x",
]
[[param_scheduler]]
type = "LinearLR"
[param_scheduler.more]
a = [[1, { b = 2 }]]
'''.replace("; 日本.x = 1", "\n'日 本'.\"x\" = 1")  # fmt: skip


@pytest.mark.parametrize(
    ("key", "at_key", "line", "column"),
    [
        (("optim_wrapper",), False, 2, 2),
        (("optim_wrapper", "clip_grad"), False, 3, 13),
        (("optim_wrapper", "clip_grad", "norm.type"), True, 3, 30),
        (("optim_wrapper", "clip_grad", "norm.type"), False, 3, 44),
        (("optim_wrapper", "clip_grad", "absent", "more"), False, 3, 13),
        (("optim_wrapper", "optimizer"), False, 4, 1),
        (("optim_wrapper", "optimizer", "type"), True, 4, 11),
        (("optim_wrapper", "optimizer", "type"), False, 4, 18),
        (("optim_wrapper", "paramwise_cfg"), False, 5, 16),
        (("optim_wrapper", "paramwise_cfg", "custom_keys"), False, 5, 30),
        (("optim_wrapper", "paramwise_cfg", "custom_keys", "backbone.layer0", "lr_mult"), False, 6, 33),
        (("optim_wrapper", "paramwise_cfg", "custom_keys", "é", "lr_mult"), False, 7, 19),
        (("optim_wrapper", "paramwise_cfg", "custom_keys", "日 本", "x"), True, 8, 7),
        (("param_scheduler",), False, 9, 3),
        (("param_scheduler", 0), False, 9, 3),
        (("param_scheduler", 0, "milestones", 1), False, 12, 5),
        (("param_scheduler", 1), False, 14, 3),
        (("param_scheduler", 1, "type"), False, 15, 8),
        (("param_scheduler", 1, "more", "a", 0, 1, "b"), False, 17, 16),
        (("param_scheduler", 2, "type"), False, 9, 3),
        (("absent",), False, None, None),
    ],
)
def test_through_every_syntax(key: Key, at_key: bool, line: int | None, column: int | None) -> None:
    expected = (line, column) if line else None
    assert place(Index(JOB).find(key, at_key)) == expected


def test_the_excerpt_is_the_line_without_its_end() -> None:
    assert Index("a = 1\r\nb = [ 2 ]\r\n").find(("b", 0)) == Spot(2, 7, "b = [ 2 ]")


def test_a_table_that_was_opened_by_its_child_stands_at_its_own_header() -> None:
    index = Index("[a.b]\nx = 1\n[a]\ny = 2\n")
    assert place(index.find(("a",))) == (3, 2)
    assert place(index.find(("a", "b", "x"))) == (2, 5)
