"""The plan: groups, options with their reasons, the schedule and the findings, read off the very parts that a run uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import is_lazy

from optimctl.errors import Key, key_text
from optimctl.optim.options import DEFAULT, Options, Reason
from optimctl.plan.findings import Finding, findings_of
from optimctl.plan.memory import Memory, memory_of, numbers_in, state_bytes
from optimctl.plan.subject import Part, Subject, subject_of, told, told_options

if TYPE_CHECKING:
    import torch

    from optimctl.assemble import Assembly
    from optimctl.job.schema import Job
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.weights import LoadedWeights

MOST_POINTS = 256
"""How many iterations of the schedule a plan shows."""
OWN = Reason(text="the group's own value")
"""What can be said of an optimizer that was made elsewhere."""


@dataclass(frozen=True)
class Group:
    """Parameters that are trained with the same options."""

    options: Mapping[str, Any]
    """At the start of the run, before any schedule."""
    tensors: int
    parameters: int
    """Numbers in all tensors together."""
    names: tuple[str, ...]


@dataclass(frozen=True)
class PlannedOptimizer:
    """One optimizer of the plan."""

    name: str
    type: str
    distribution: str | None
    implementation: str
    """``fused``, ``foreach`` or ``for-loop``: how a step is computed."""
    state_bytes: int | None
    """What the optimizer will remember; None where its class does not say."""
    updates: int | None
    groups: tuple[Group, ...]
    how: tuple[str, ...]
    """What else there is to a step: accumulation, clipping, precision; for the page."""


@dataclass(frozen=True)
class PlannedParameter:
    """One trainable parameter."""

    name: str
    shape: tuple[int, ...]
    optimizer: str
    group: int
    options: Mapping[str, Any]
    reasons: Mapping[str, Reason]


@dataclass(frozen=True)
class Curve:
    """One option of one group at the plan's iterations."""

    optimizer: str
    group: int
    option: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class PlannedSchedule:
    """The run's length and its scheduled options."""

    epoch_length: int | None
    iterations: int | None
    epochs: int | None
    updates: int | None
    at: tuple[int, ...]
    """At most ``MOST_POINTS`` iterations, counted from 0."""
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class PlannedModel:
    """The model's size."""

    type: str | None
    tensors: int
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Plan:
    """What a job would do, or what an optimizer that was made anywhere does."""

    name: str
    job: Job | None
    device: torch.device
    model: PlannedModel | None
    weights: LoadedWeights | None
    optimizers: tuple[PlannedOptimizer, ...]
    parameters: tuple[PlannedParameter, ...]
    frozen: tuple[str, ...]
    schedule: PlannedSchedule
    findings: tuple[Finding, ...]
    memory: Memory | None
    frozen_by: Mapping[str, Reason]
    """The line that froze a parameter, seen from ``optim_wrapper``; those that the model itself has frozen are not in it."""
    counts: str = "iteration"
    """What the schedule's iterations are called."""

    def warnings(self) -> list[Finding]:
        """The findings that ``--strict`` does not let pass."""
        return [finding for finding in self.findings if finding.level != "note"]

    def as_json(self) -> dict[str, Any]:
        """The plan as ``inspect --json`` prints it."""
        return {
            "job": None if self.job is None else self.job.plain(),
            "model": vars(self.model) if self.model else None,
            "optimizers": [_optimizer_json(optimizer) for optimizer in self.optimizers],
            "parameters": list(self._parameters_json()),
            "frozen": list(self.frozen),
            "schedule": {
                **{name: value for name, value in vars(self.schedule).items() if name != "curves"},
                "values": [vars(curve) for curve in self.schedule.curves],
            },
            "findings": [
                {"level": f.level, "code": f.code, **_place_json(self.job, f.key), "message": f.message}
                for f in self.findings
            ],
        }

    def _parameters_json(self) -> Iterator[dict[str, Any]]:
        told: dict[tuple[int, int], list[dict[str, Any]]] = {}  # many parameters share an explanation
        for parameter in self.parameters:
            same = (id(parameter.reasons), id(parameter.options))
            if same not in told:
                told[same] = [self._reason_json(parameter, *each) for each in parameter.reasons.items()]
            yield {**vars(parameter), "reasons": told[same]}

    def _reason_json(self, parameter: PlannedParameter, option: str, reason: Reason) -> dict[str, Any]:
        return {
            "option": option,
            "value": parameter.options.get(option),
            **_place_json(self.job, None if reason.key is None else ("optim_wrapper", *reason.key)),
            "lost": [key_text(("optim_wrapper", *key)) for key in reason.lost],
            **({"text": reason.text} if reason.text else {}),
        }


def make_plan(assembly: Assembly) -> Plan:
    """The plan of an assembled job; parts that the job lacks are left out."""
    return plan_of(subject_of(assembly))


def plan_of(subject: Subject) -> Plan:
    """The plan of a model, its optimizers and their schedules."""
    names = {id(met.parameter): met.name for met in subject.walked}
    optimizers = tuple(_planned_optimizer(part, subject, names) for part in subject.parts)
    parameters, frozen = _planned_parameters(subject)
    states = [optimizer.state_bytes for optimizer in optimizers]
    return Plan(
        name=subject.name,
        job=subject.job,
        device=subject.device,
        model=None if subject.model is None else _planned_model(subject),
        weights=subject.weights,
        optimizers=optimizers,
        parameters=parameters,
        frozen=frozen,
        schedule=_planned_schedule(subject),
        findings=tuple(findings_of(subject)),
        memory=None
        if subject.model is None
        else memory_of([met.parameter for met in subject.walked], subject.model.buffers(), states),
        frozen_by=_frozen_by(subject),
        counts=subject.counts,
    )


def _planned_model(subject: Subject) -> PlannedModel:
    sizes = [(numbers_in(met.parameter), met.parameter.requires_grad) for met in subject.walked]
    trainable = sum(size for size, trains in sizes if trains)
    return PlannedModel(subject.model_type, len(sizes), sum(size for size, _ in sizes), trainable)


def _planned_optimizer(part: Part, subject: Subject, names: Mapping[int, str]) -> PlannedOptimizer:
    iterations = subject.length.iterations
    optimizer = part.optimizer
    groups = tuple(
        Group(
            options=told_options(group),
            tensors=len(group["params"]),
            parameters=sum(numbers_in(parameter) for parameter in group["params"]),
            names=tuple(names[id(parameter)] for parameter in group["params"] if id(parameter) in names),
        )
        for group in optimizer.param_groups
    )
    return PlannedOptimizer(
        name=part.name,
        type=part.plugin.name if part.plugin else type(optimizer).__name__,
        distribution=part.plugin.distribution if part.plugin else None,
        implementation=implementation(optimizer, subject.device),
        state_bytes=state_bytes(optimizer),
        updates=-(-iterations // part.accumulative_counts) if iterations and subject.counts == "iteration" else None,
        groups=groups,
        how=() if part.wrapper is None else tuple(_how(part.wrapper)),
    )


def _how(wrapper: OptimWrapper) -> Iterator[str]:
    """What a step is beside the optimizer's own, where it is not the plainest."""
    if wrapper.accumulative_counts > 1:
        yield f"one every {wrapper.accumulative_counts} iterations"
    clip = getattr(wrapper, "clip", None)
    if clip is not None:
        yield str(clip)
    dtype = getattr(wrapper, "dtype", None)
    if dtype is not None:
        yield f"forward in {str(dtype).removeprefix('torch.')}"


def _shape(parameter: torch.Tensor) -> tuple[int, ...]:
    return () if is_lazy(parameter) else tuple(parameter.shape)


def implementation(optimizer: torch.optim.Optimizer, device: torch.device) -> str:
    """How a step is computed: what was chosen, else what torch chooses for parameters on this device."""
    chosen = next((name for name in ("fused", "foreach") if optimizer.defaults.get(name)), None)
    if chosen or "foreach" not in optimizer.defaults or optimizer.defaults["foreach"] is False:
        return chosen or "for-loop"
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return (
        "foreach" if all((device if one.is_meta else one.device).type == "cuda" for one in parameters) else "for-loop"
    )


def _planned_parameters(subject: Subject) -> tuple[tuple[PlannedParameter, ...], tuple[str, ...]]:
    if not subject.parts:
        return (), ()
    owners: dict[int, tuple[Part, int, Mapping[str, Any]]] = {}
    for part in subject.parts:
        for index, group in enumerate(part.optimizer.param_groups):
            options = told_options(group)
            owners.update({id(parameter): (part, index, options) for parameter in group["params"]})
    chosen = {name: one for part in subject.parts for name, one in part.chosen.items()}
    told: dict[tuple[int, int], dict[str, Reason]] = {}
    planned, frozen = [], []
    for met in subject.walked:
        owner = owners.get(id(met.parameter))
        if owner is None:
            if not met.parameter.requires_grad:
                frozen.append(met.name)
            continue
        part, index, own = owner
        why = chosen.get(met.name)
        reasons = told.get((id(why), id(own)))
        if reasons is None:  # one explanation for all parameters that it fits
            reasons = told[id(why), id(own)] = _reasons(why, own, part)
        planned.append(PlannedParameter(met.name, _shape(met.parameter), part.name, index, own, reasons))
    return tuple(planned), tuple(frozen)


def _frozen_by(subject: Subject) -> dict[str, Reason]:
    return {
        name: options.reasons["freeze"].below(*part.prefix)
        for part in subject.parts
        for name, options in part.chosen.items()
        if options.frozen and "freeze" in options.reasons
    }


def _reasons(chosen: Options | None, options: Mapping[str, Any], part: Part) -> dict[str, Reason]:
    """Why each option has its value; the lines are seen from ``optim_wrapper``."""
    if chosen is None:
        defaults = part.optimizer.defaults
        return {option: DEFAULT if told(defaults.get(option)) == value else OWN for option, value in options.items()}
    return {option: chosen.reasons.get(option, DEFAULT).below(*part.prefix) for option in options}


def _planned_schedule(subject: Subject) -> PlannedSchedule:
    length, schedules = subject.length, subject.schedules
    at = _points(length.iterations) if schedules is not None and length.iterations else ()
    curves = []
    for name, option, index, values in schedules.values_at(at) if schedules is not None and at else ():
        part = next((p for p in reversed(subject.parts) if p.wrapper_name == name and p.first_group <= index), None)
        owner, first = (part.name, part.first_group) if part else (name, 0)
        curves.append(Curve(owner, index - first, option, tuple(values)))
    return PlannedSchedule(length.epoch_length, length.iterations, length.epochs, length.updates, at, tuple(curves))


def _points(iterations: int) -> tuple[int, ...]:
    """At most ``MOST_POINTS`` iterations, evenly spread, the first and the last among them."""
    if iterations <= MOST_POINTS:
        return tuple(range(iterations))
    return tuple(round(index * (iterations - 1) / (MOST_POINTS - 1)) for index in range(MOST_POINTS))


def _optimizer_json(optimizer: PlannedOptimizer) -> dict[str, Any]:
    fields = {name: value for name, value in vars(optimizer).items() if name != "how"}
    return {**fields, "groups": [vars(group) for group in optimizer.groups]}


def _place_json(job: Job | None, key: Key | None) -> dict[str, Any]:
    if not key or job is None:
        return {"key": None, "file": None, "line": None}
    place = job.place(key)
    in_file = place is not None and place.line is not None
    return {
        "key": key_text(key),
        "file": place.source if place and in_file else None,
        "line": place.line if place and in_file else None,
    }
