"""What one parameter is trained with, and why.

In this room: ``Reason`` and ``Options``, the values that a constructor's pure function returns, and ``Walked``, what it is
asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from optimctl.errors import Key

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Reason:
    """Why an option has its value."""

    key: Key | None = None
    """The line of the job that decided, seen from ``optim_wrapper``; None for a default or for a constructor's own code."""
    lost: tuple[Key, ...] = ()
    """The lines that spoke for the option as well, and did not decide."""
    text: str | None = None
    """A sentence, where no line of the job decided, or for what the line alone does not tell."""

    def below(self, *prefix: str | int) -> Reason:
        """The same reason, its lines seen from a table further out."""
        key = None if self.key is None else (*prefix, *self.key)
        return replace(self, key=key, lost=tuple((*prefix, *each) for each in self.lost))


DEFAULT = Reason(text="the optimizer's default")


@dataclass(frozen=True, eq=False)
class Options(Mapping[str, Any]):
    """The options of one parameter (``lr``, ``weight_decay``, …): a mapping that is changed by making another.

    Args:
        settings: Option to value. Only what the job or a rule sets; the optimizer's defaults stand for the rest.
        reasons: Option to the reason of its value.
        frozen: The parameter is not to be trained at all.
        matched: Every rule of the job that applies to the parameter, decisive or not.
    """

    settings: Mapping[str, Any]
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    frozen: bool = False
    matched: tuple[Key, ...] = ()

    def __getitem__(self, option: str) -> Any:
        return self.settings[option]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)

    def set(self, option: str, value: Any, reason: str | Reason) -> Options:
        """These options with ``option`` at ``value``; the reason is a sentence, or the line of the job that says so."""
        return self._with(option, value, reason)

    def scale(self, option: str, factor: float, reason: str | Reason) -> Options:
        """These options with ``option`` multiplied by ``factor``; where it is not set, they are returned as they are."""
        return self._with(option, self[option] * factor, reason) if option in self else self

    def freeze(self, reason: str | Reason) -> Options:
        """These options for a parameter that is not to be trained."""
        return replace(self, frozen=True, reasons={**self.reasons, "freeze": self._reason("freeze", reason)})

    def spoken_for(self, option: str) -> tuple[Key, ...]:
        """The lines of the job that speak for an option so far, the decisive one first: all lose to what comes next."""
        before = self.reasons.get(option, Reason())
        return before.lost if before.key is None else (before.key, *before.lost)

    def below(self, *prefix: str | int) -> Options:
        """These options, the lines that they speak of seen from a table further out."""
        reasons = {option: reason.below(*prefix) for option, reason in self.reasons.items()}
        return replace(self, reasons=reasons, matched=tuple((*prefix, *key) for key in self.matched))

    def _with(self, option: str, value: Any, reason: str | Reason) -> Options:
        reasons = {**self.reasons, option: self._reason(option, reason)}
        return replace(self, settings={**self.settings, option: value}, reasons=reasons)

    def _reason(self, option: str, reason: str | Reason) -> Reason:
        if isinstance(reason, Reason):
            return reason
        return Reason(None, self.spoken_for(option), reason)


@dataclass(frozen=True)
class Walked:
    """A parameter as it was met in the model: what ``options(name, parameter, module, parents)`` is called with."""

    name: str
    parameter: nn.Parameter
    module: nn.Module
    parents: tuple[nn.Module, ...]
    """The module's ancestors, the model first, its direct parent last."""
