"""The plan: groups, options with their reasons, the schedule and the findings, read off the very parts that a run uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch.nn.parameter import is_lazy

from optimctl.errors import Key, key_text
from optimctl.optim.constructor import IMPLEMENTATIONS
from optimctl.optim.fused import torchs_class
from optimctl.optim.multi import DEFAULT_NAME, by_name
from optimctl.optim.options import DEFAULT, Options, Reason
from optimctl.optim.walk import unwrapped, walk
from optimctl.plan.findings import Finding, one_step_ramps, unmatched_rules, untrained, waits_for_the_device
from optimctl.schedule.scheduler import Slot

if TYPE_CHECKING:
    import torch
    from torch import nn

    from optimctl.assemble import Assembly
    from optimctl.job.schema import Job
    from optimctl.optim.multi import OptimWrapperDict
    from optimctl.optim.wrapper import OptimWrapper
    from optimctl.plugins import Plugin
    from optimctl.weights import LoadedWeights

MOST_POINTS = 256
"""How many iterations of the schedule a plan shows."""
_NOT_OPTIONS = {"params", "param_names", *IMPLEMENTATIONS}


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
    """What a job would do."""

    job: Job
    device: torch.device
    model: PlannedModel | None
    weights: LoadedWeights | None
    optimizers: tuple[PlannedOptimizer, ...]
    parameters: tuple[PlannedParameter, ...]
    frozen: tuple[str, ...]
    schedule: PlannedSchedule
    findings: tuple[Finding, ...]

    def warnings(self) -> list[Finding]:
        """The findings that ``--strict`` does not let pass."""
        return [finding for finding in self.findings if finding.level != "note"]

    def as_json(self) -> dict[str, Any]:
        """The plan as ``inspect --json`` prints it."""
        return {
            "job": self.job.plain(),
            "model": vars(self.model) if self.model else None,
            "optimizers": [_optimizer_json(optimizer) for optimizer in self.optimizers],
            "parameters": [self._parameter_json(parameter) for parameter in self.parameters],
            "frozen": list(self.frozen),
            "schedule": {
                **{name: value for name, value in vars(self.schedule).items() if name != "curves"},
                "values": [vars(curve) for curve in self.schedule.curves],
            },
            "findings": [
                {**_place_json(self.job, f.key), "level": f.level, "code": f.code, "message": f.message}
                for f in self.findings
            ],
        }

    def _parameter_json(self, parameter: PlannedParameter) -> dict[str, Any]:
        reasons = [
            {
                "option": option,
                "value": parameter.options.get(option),
                **_place_json(self.job, None if reason.key is None else ("optim_wrapper", *reason.key)),
                "lost": [key_text(("optim_wrapper", *key)) for key in reason.lost],
                **({"text": reason.text} if reason.text else {}),
            }
            for option, reason in parameter.reasons.items()
        ]
        return {**vars(parameter), "options": _plain(parameter.options), "reasons": reasons}


def make_plan(assembly: Assembly) -> Plan:
    """The plan of an assembled job; parts that the job lacks are left out."""
    job, model = assembly.job, assembly.model
    parts = [] if assembly.wrapper is None else list(_parts(assembly.wrapper))
    names = {} if model is None else {id(met.parameter): met.name for met in walk(unwrapped(model))}
    parameters, frozen = _planned_parameters(model, parts)
    return Plan(
        job=job,
        device=assembly.device,
        model=None if model is None else _planned_model(job, model),
        weights=assembly.weights,
        optimizers=tuple(_planned_optimizer(part, assembly.length.iterations, names) for part in parts),
        parameters=parameters,
        frozen=frozen,
        schedule=_planned_schedule(assembly, parts),
        findings=tuple(dict.fromkeys(_findings(assembly))),
    )


@dataclass(frozen=True)
class _Part:
    """One optimizer of the job, and where it stands in it."""

    name: str
    wrapper_name: str
    wrapper: OptimWrapper
    optimizer: torch.optim.Optimizer
    plugin: Plugin | None
    first_group: int
    """Its first group's index in the wrapper."""

    @property
    def prefix(self) -> Key:
        """Where the wrapper's table stands, seen from ``optim_wrapper``; also the sub-module whose parameters it trains."""
        return () if self.wrapper_name == DEFAULT_NAME else (self.wrapper_name,)

    def full_name(self, name: str) -> str:
        """A parameter's name in the whole model."""
        return ".".join([*map(str, self.prefix), name])


def _parts(wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[_Part]:
    for wrapper_name, one in by_name(wrapper).items():
        first = 0
        for route, optimizer, plugin in getattr(one, "parts", (("", one.optimizer, None),)):
            name = wrapper_name if not route else route if wrapper_name == DEFAULT_NAME else f"{wrapper_name}.{route}"
            yield _Part(name, wrapper_name, one, optimizer, plugin, first)
            first += len(optimizer.param_groups)


def _findings(assembly: Assembly) -> Iterator[Finding]:
    """What is worth knowing, some of it perhaps once for each optimizer."""
    wrapper = assembly.wrapper
    for name, one in by_name(wrapper).items() if wrapper is not None else ():
        prefix: Key = () if name == DEFAULT_NAME else (name,)
        for finding in unmatched_rules(getattr(one, "rule_keys", ()), getattr(one, "options", {})):
            yield replace(finding, key=("optim_wrapper", *prefix, *finding.key))
    by_names = isinstance(assembly.job.param_scheduler, Mapping)
    yield from waits_for_the_device(wrapper, assembly.schedules, by_names=by_names)
    yield from one_step_ramps(assembly.schedules, assembly.length)
    yield from untrained(_untrained_names(assembly.model, [] if wrapper is None else list(_parts(wrapper))))


def _planned_model(job: Job, model: nn.Module) -> PlannedModel:
    sizes = [(numbers_in(met.parameter), met.parameter.requires_grad) for met in walk(unwrapped(model))]
    trainable = sum(size for size, trains in sizes if trains)
    kind = job.model.type if job.model else type(model).__name__
    return PlannedModel(kind, len(sizes), sum(size for size, _ in sizes), trainable)


def _planned_optimizer(part: _Part, iterations: int | None, names: Mapping[int, str]) -> PlannedOptimizer:
    optimizer = part.optimizer
    groups = tuple(
        Group(
            options=start_options(group),
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
        implementation=implementation(optimizer),
        state_bytes=state_bytes(optimizer),
        updates=None if iterations is None else -(-iterations // part.wrapper.accumulative_counts),
        groups=groups,
        how=tuple(_how(part.wrapper)),
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


def numbers_in(parameter: torch.Tensor) -> int:
    """How many numbers a parameter has; 0 where a lazy module has not made it yet."""
    return 0 if is_lazy(parameter) else parameter.numel()


def _shape(parameter: torch.Tensor) -> tuple[int, ...]:
    return () if is_lazy(parameter) else tuple(parameter.shape)


def start_options(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's options at the start of the run: what a schedule has moved since is put back."""
    options = {key: value for key, value in group.items() if key not in _NOT_OPTIONS and not key.startswith("initial_")}
    for key, value in group.items():
        slot = Slot.parse(key.removeprefix("initial_"))
        if key.startswith("initial_") and slot.is_in(options):
            slot.write(options, value)
    return options


def implementation(optimizer: torch.optim.Optimizer) -> str:
    """How a step is computed: what was chosen, else what torch chooses for these parameters."""
    chosen = next((name for name in ("fused", "foreach") if optimizer.defaults.get(name)), None)
    if chosen or "foreach" not in optimizer.defaults or optimizer.defaults["foreach"] is False:
        return chosen or "for-loop"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return "foreach" if all(parameter.is_cuda for parameter in parameters) else "for-loop"


_STATE_TENSORS = {
    "ASGD": 1,
    "Adadelta": 2,
    "Adagrad": 1,
    "Adam": 2,
    "AdamW": 2,
    "Adamax": 2,
    "Muon": 1,
    "NAdam": 2,
    "RAdam": 2,
    "Rprop": 2,
    "SparseAdam": 2,
}
"""Tensors as large as the parameter that torch's optimizers keep for each."""


def state_bytes(optimizer: torch.optim.Optimizer) -> int | None:
    """The memory of the optimizer's state once it has stepped, in bytes; None for classes other than torch's."""
    kind = torchs_class(optimizer)
    if kind is None:
        return None
    total = 0
    for group in optimizer.param_groups:
        count = _state_tensors(kind.__name__, group)
        if count is None:
            return None
        total += count * sum(numbers_in(parameter) * parameter.element_size() for parameter in group["params"])
    return total


def _state_tensors(kind: str, group: Mapping[str, Any]) -> int | None:
    if kind == "SGD":
        return 1 if group["momentum"] else 0
    if kind == "RMSprop":
        return 1 + bool(group["momentum"]) + bool(group["centered"])
    known = _STATE_TENSORS.get(kind)
    return known if known is None else known + bool(group.get("amsgrad"))


def _planned_parameters(
    model: nn.Module | None, parts: Sequence[_Part]
) -> tuple[tuple[PlannedParameter, ...], tuple[str, ...]]:
    if model is None or not parts:
        return (), ()
    owners: dict[int, tuple[_Part, int, Mapping[str, Any]]] = {}
    for part in parts:
        for index, group in enumerate(part.optimizer.param_groups):
            owners.update({id(parameter): (part, index, start_options(group)) for parameter in group["params"]})
    chosen = {part.full_name(name): one for part in parts for name, one in getattr(part.wrapper, "options", {}).items()}
    planned, frozen = [], []
    for met in walk(unwrapped(model)):
        owner = owners.get(id(met.parameter))
        if owner is None:
            if not met.parameter.requires_grad:
                frozen.append(met.name)
            continue
        part, index, options = owner
        reasons = _reasons(chosen.get(met.name), options, part.prefix)
        planned.append(PlannedParameter(met.name, _shape(met.parameter), part.name, index, options, reasons))
    return tuple(planned), tuple(frozen)


def _untrained_names(model: nn.Module | None, parts: Sequence[_Part]) -> list[str]:
    """Parameters that ask for gradients and that no optimizer has."""
    if model is None or not parts:
        return []
    owned = {id(p) for part in parts for group in part.optimizer.param_groups for p in group["params"]}
    return [
        met.name for met in walk(unwrapped(model)) if met.parameter.requires_grad and id(met.parameter) not in owned
    ]


def _reasons(chosen: Options | None, options: Mapping[str, Any], prefix: Key) -> dict[str, Reason]:
    """Why each option has its value; the lines are seen from ``optim_wrapper``."""
    known = {} if chosen is None else chosen.reasons
    return {option: known.get(option, DEFAULT).below(*prefix) for option in options}


def _planned_schedule(assembly: Assembly, parts: Sequence[_Part]) -> PlannedSchedule:
    length, schedules = assembly.length, assembly.schedules
    at = _points(length.iterations) if schedules is not None and length.iterations else ()
    curves = []
    for name, option, index, values in schedules.values_at(at) if schedules is not None and at else ():
        part = next((p for p in reversed(parts) if p.wrapper_name == name and p.first_group <= index), None)
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
    return {**fields, "groups": [_group_json(group) for group in optimizer.groups]}


def _group_json(group: Group) -> dict[str, Any]:
    return {**vars(group), "options": _plain(group.options)}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON has them: a tensor becomes its number."""
    return {option: value.item() if hasattr(value, "item") else value for option, value in options.items()}


def _place_json(job: Job, key: Key | None) -> dict[str, Any]:
    if key is None:
        return {"key": None, "file": None, "line": None}
    place = job.place(key)
    in_file = place is not None and place.line is not None
    return {
        "key": key_text(key),
        "file": place.source if place and in_file else None,
        "line": place.line if place and in_file else None,
    }
