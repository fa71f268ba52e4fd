"""A job that is being put together: its values, and what is to be said beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from optimctl.errors import Key
from optimctl.export import Document
from optimctl_mmengine.importing.forms import Form
from optimctl_mmengine.values import Unsayable, shown, to_toml


@dataclass
class Draft:
    """Values by their keys, comments by theirs, and what was left out."""

    data: dict[str, Any] = field(default_factory=dict)
    comments: dict[Key, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def put(self, key: Key, value: Any) -> None:
        """Write a value of TOML; tables on the way are made."""
        table = self.data
        for part in key[:-1]:
            table = table.setdefault(str(part), {})
        table[str(key[-1])] = value

    def known(self, table: Mapping[str, Any], name: str, form: Form, key: Key) -> Any:
        """A setting in the form that it has in MMEngine; None where it is absent, and where another form had to be left out.

        Args:
            table: Where it stands.
            name: What it is called there.
            form: What it must be.
            key: Where a job would have it, or what is said of it.
        """
        value = table.get(name)
        if value is None or form.fits(value):
            return value
        self.leave_out(key, f"{name} = {shown(value)}", f"MMEngine knows it, and there it is {form.called}")
        return None

    def put_plain(self, key: Key, value: Any, called: str) -> bool:
        """Write a value of Python, where TOML or a literal can say it; whether it could."""
        try:
            self.put(key, to_toml(value))
        except Unsayable as error:
            self.leave_out(key, called, f"{error}, and a job is data")
            return False
        return True

    def say(self, key: Key, text: str) -> None:
        """A comment at a key."""
        texts = self.comments.setdefault(key, [])
        if text not in texts:
            texts.append(text)

    def leave_out(self, key: Key, what: str, why: str) -> None:
        """Something of the configuration that is not carried over."""
        self.left_out.append(what)
        self.say(key, f"left out: {what}: {why}")

    def without_effect(self, key: Key, what: str, why: str) -> None:
        """Something of the configuration that did nothing there."""
        self.say(key, f"without effect in MMEngine: {what}: {why}")

    def document(self) -> Document:
        """The file that comes of it, its tables in the order of the format."""
        return Document(ordered(self.data), {key: "\n".join(texts) for key, texts in self.comments.items()})

    def leave_rest(self, key: Key, table: Mapping[str, Any], taken: Iterable[str], of: str, why: str) -> None:
        """All keys of a table that were not taken, in one comment."""
        known = set(taken)
        rest = {name: value for name, value in table.items() if name not in known and value is not None}
        if rest:
            self.leave_out(
                key, f"of {of}: {', '.join(f'{name} = {shown(value, 60)}' for name, value in rest.items())}", why
            )


TABLES = (
    "unset",
    "job",
    "model",
    "task",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "log",
    "checkpoint",
    "hooks",
)
"""The order in which a job is usually written."""


def ordered(data: Mapping[str, Any]) -> dict[str, Any]:
    """A job's tables in their usual order."""
    return {name: data[name] for name in TABLES if name in data}


__all__ = ["Draft", "ordered"]
