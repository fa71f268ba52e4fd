"""What a difference between two jobs is: records of values, and the JSON that ``diff --json`` prints of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from optimctl.errors import Key, Place, key_text

if TYPE_CHECKING:
    from optimctl.job.schema import Job
    from optimctl.plan.diff.apart import Distance, Gap


@dataclass(frozen=True)
class Origin:
    """The line of a job that a value comes from; empty where no line says it."""

    key: Key = ()
    place: Place | None = None
    text: str | None = None
    """A sentence, where no line alone decided."""

    def as_json(self) -> dict[str, Any]:
        """``file`` and ``line`` are null for defaults and for ``--set``."""
        line = self.place.line if self.place else None
        file = self.place.source if self.place and line is not None else None
        return {"key": key_text(self.key) if self.key else None, "file": file, "line": line, "text": self.text}


class Origins(NamedTuple):
    """The lines on both sides."""

    before: Origin = Origin()
    after: Origin = Origin()

    def as_json(self) -> dict[str, Any]:
        """Both."""
        return {"before": self.before.as_json(), "after": self.after.as_json()}


NOT_GIVEN = Origins()


@dataclass(frozen=True)
class Tensors:
    """Parameters that share a change; none where the jobs were compared without a model."""

    names: tuple[str, ...] = ()
    parameters: int = 0
    """Numbers in all of them together."""

    def as_json(self) -> dict[str, Any]:
        """Counts and names."""
        return {"tensors": len(self.names), "parameters": self.parameters, "names": list(self.names)}


@dataclass(frozen=True)
class SettingChange:
    """Something about the run, its data, its model or an optimizer as a whole."""

    section: str
    """``run``, ``data``, ``model`` or ``optimizer``."""
    setting: str
    before: Any
    after: Any
    origins: Origins = NOT_GIVEN
    optimizers: tuple[str | None, str | None] | None = None
    """The names of the optimizers that it is about."""

    def as_json(self) -> dict[str, Any]:
        """As ``Diff.as_json`` says."""
        return {**vars(self), "origins": self.origins.as_json()}


@dataclass(frozen=True)
class ParameterChange:
    """Parameters that are there on one side only, are trained on one only, or have another shape or type."""

    what: str
    """``state``, ``shape`` or ``dtype``."""
    before: Any
    after: Any
    origins: Origins = NOT_GIVEN
    """Of a state: the lines that freeze them."""
    tensors: Tensors = Tensors()

    def as_json(self) -> dict[str, Any]:
        """As ``Diff.as_json`` says."""
        sides = {"what": self.what, "before": self.before, "after": self.after}
        return {**sides, "origins": self.origins.as_json(), **self.tensors.as_json()}


@dataclass(frozen=True)
class OptionChange:
    """An option that parameters start with, and the lines that decided; None where a side does not have it."""

    option: str
    before: Any
    after: Any
    origins: Origins
    optimizers: tuple[str, str]
    tensors: Tensors = Tensors()

    def as_json(self) -> dict[str, Any]:
        """As ``Diff.as_json`` says."""
        sides = {"option": self.option, "before": self.before, "after": self.after}
        origins = self.origins.as_json()
        return {**sides, "origins": origins, "optimizers": self.optimizers, **self.tensors.as_json()}


@dataclass(frozen=True)
class ScheduleChange:
    """An option whose values over the run differ."""

    option: str
    distance: Distance
    tables: tuple[tuple[Origin, ...], tuple[Origin, ...]]
    """The schedules that move it on one side, and not in the same way on the other."""
    optimizers: tuple[str, str]
    tensors: Tensors = Tensors()

    def as_json(self) -> dict[str, Any]:
        """As ``Diff.as_json`` says."""
        before, after = ([origin.as_json() for origin in side] for side in self.tables)
        return {
            "option": self.option,
            "iterations": self.distance.iterations,
            "first": self.distance.first,
            "largest": _gap_json(self.distance.largest),
            "largest_relative": _gap_json(self.distance.largest_relative),
            "tables": {"before": before, "after": after},
            "optimizers": self.optimizers,
            **self.tensors.as_json(),
        }


@dataclass(frozen=True)
class NotCompared:
    """What differs in text, or may differ in effect, and cannot be held against each other."""

    what: str
    why: str


@dataclass(frozen=True)
class Diff:
    """All that two jobs do differently; what cannot be compared counts as a difference."""

    before: Job
    after: Job
    settings: tuple[SettingChange, ...]
    parameters: tuple[ParameterChange, ...]
    options: tuple[OptionChange, ...]
    schedules: tuple[ScheduleChange, ...]
    not_compared: tuple[NotCompared, ...]
    tensors: int | None
    """How many tensors both jobs train; None where they were compared without a model."""
    iterations: int | None
    """How many iterations of the schedules were compared; None where a run's length is not known."""

    @property
    def same(self) -> bool:
        """Whether both jobs do the same."""
        return not (self.settings or self.parameters or self.options or self.schedules or self.not_compared)

    def as_json(self) -> dict[str, Any]:
        """The differences as ``diff --json`` prints them; ``before`` is the first job, iterations count from 0.

        ::

            {"same": false,
             "before": {"job": "a.toml", "overrides": []}, "after": {"job": "a.toml", "overrides": ["--set ..."]},
             "settings": [{"section": "run|data|model|optimizer", "setting": "iterations", "before": 21, "after": 28,
               "origins": ORIGINS, "optimizers": [name before, name after] or null}],
             "parameters": [{"what": "state|shape|dtype", "before": "trained", "after": "frozen", "origins": ORIGINS, TENSORS}],
             "options": [{"option": "weight_decay", "before": 0.1, "after": 0.0, "origins": ORIGINS,
               "optimizers": [name before, name after], TENSORS}],
             "schedules": [{"option": "lr", "iterations": 20, "first": 1, "largest": GAP, "largest_relative": GAP,
               "tables": {"before": [ORIGIN, ...], "after": [ORIGIN, ...]}, "optimizers": [...], TENSORS}],
             "not_compared": [{"what": "...", "why": "..."}],
             "compared": {"tensors": 4 or null, "iterations": 21 or null}}

            TENSORS  "tensors": 2, "parameters": 19, "names": [...]; nothing where the jobs were compared without a model
            ORIGINS  {"before": ORIGIN, "after": ORIGIN}
            ORIGIN   {"key", "file", "line", "text"}: null where no line says it; ``text`` where no line alone decided
            GAP      {"iteration", "before", "after", "absolute", "relative"}; ``relative`` to the larger of the two

        A state is ``trained``, ``frozen``, ``in no optimizer``, or null where the model has no such parameter; a value is null where
        a side has none, a number that is not finite too. ``iterations`` of a schedule says in how many the values differ, ``first``
        which is the first of them; its ``tables`` are those that the other side does not have.
        """
        return {
            "same": self.same,
            "before": _job_json(self.before),
            "after": _job_json(self.after),
            "settings": [change.as_json() for change in self.settings],
            "parameters": [change.as_json() for change in self.parameters],
            "options": [change.as_json() for change in self.options],
            "schedules": [change.as_json() for change in self.schedules],
            "not_compared": [asdict(each) for each in self.not_compared],
            "compared": {"tensors": self.tensors, "iterations": self.iterations},
        }


def _job_json(job: Job) -> dict[str, Any]:
    return {"job": None if job.file is None else str(job.file), "overrides": list(job.overrides)}


def _gap_json(gap: Gap) -> dict[str, Any]:
    return {**vars(gap), "absolute": gap.absolute, "relative": gap.relative}
