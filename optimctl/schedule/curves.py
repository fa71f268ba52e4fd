"""The schedules: what each does to a hyper-parameter at its own step.

In this room: ``Schedule``, the protocol, and every built-in schedule, written once; learning rate, momentum, weight
decay and any other option are the same schedule with another name to write to. The arguments and defaults are those of
MMEngine's schedulers of the same names; ``InverseSqrt``, ``WarmupStableDecay`` and ``QuadraticWarmup`` go beyond them.

A schedule is an affine map. At its own step ``t`` (0 where it begins) it updates a value by

    value <- a * value + b + c * base

where ``base`` is what the group started from, and ``(a, b, c)`` depend on ``t`` and on ``reference``, the job's value
before multipliers. Lists of schedules then compose, and a whole run is a scan over small arrays (``trajectory.py``).

A factor of zero at the start of a schedule must not forget what came before it, so it counts as ``ZERO``; the value
shows as exactly 0 while it lasts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from optimctl.errors import JobError, Problem
from optimctl.schedule.checks import each, flag, is_number, number, one_of, whole, wrong

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.floating[Any]]
    Steps = npt.NDArray[np.int64]
    Values = Floats | float
    Maps = tuple[Values, Values, Values]

ZERO = 2.0**-332
"""What a factor counts as that is zero when a schedule begins: the next step divides by it again, and nothing is rounded."""
NO_FACTOR = 1e-30
"""A factor below this counts as zero."""


@runtime_checkable
class Schedule(Protocol):
    """What a plugin of the kind ``schedulers`` makes.

    The class may name arguments that count steps in ``steps`` (``convert_to_iter_based`` scales them, and they may be
    shares of the run), may take ``length`` (``end - begin`` in the schedule's own unit, supplied by optimctl) and may
    have ``problems()``, which yields what is wrong with the arguments.
    """

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(a, b, c)`` at the schedule's own steps ``t``: ``value <- a * value + b + c * base``.

        Args:
            t: Increasing steps from 0 up, shape (n,).
            reference: The job's value of the option, before multipliers.

        Returns:
            Three arrays of shape (n,), or numbers that hold for all steps. A factor ``a`` that is ``ZERO`` hides the
            value until a factor of about ``1 / ZERO`` shows it again.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """A constant factor that is taken back at the last step.

    At ``t = 0`` the value is multiplied by ``factor``, at ``t = length - 1`` divided by it. A range of one step has only
    the first, and keeps the factor for ever, as in MMEngine.

    Args:
        factor: What the value is multiplied by, 0 or more.
    """

    factor: float = 1.0 / 3
    _: KW_ONLY
    length: int | None = None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from number("factor", self.factor, least=0)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(factor, 0, 0)`` at first, ``(1 / factor, 0, 0)`` at last, ``(1, 0, 0)`` between."""
        import numpy as np

        factor = ZERO if self.factor < NO_FACTOR else self.factor
        a = np.ones(t.shape)
        a[t == 0] = factor
        if self.length is not None and self.length > 1:
            a[t == self.length - 1] = 1.0 / factor
        return a, 0.0, 0.0


@dataclass(frozen=True)
class CosineAnnealing:
    r"""Half a cosine from the value down to a floor (SGDR without restarts, https://arxiv.org/abs/1608.03983).

    ``value(t) = floor + (start - floor) * (1 + cos(pi * t / T_max)) / 2`` where nothing else moves the value. The
    floor is ``eta_min``, or ``eta_min_ratio * base``. ``T_max`` is ``end - begin`` by default, so that the floor is
    reached just after the last step; a shorter one lets the value rise again, as in MMEngine. With ``r`` the ratio of
    the cosine terms at ``t`` and ``t - 1`` the map is ``(r, (1 - r) * floor)``; where the term at ``t - 1`` is zero,
    ``value + k * (base - floor)`` with ``k = sin(pi / 2 T_max)^2``.

    Args:
        T_max: Steps of the half cosine; default: ``end - begin``.
        eta_min: The floor, in the unit of the option; default: 0.
        eta_min_ratio: The floor as a share of the base, in place of ``eta_min``.
    """

    T_max: float | None = None
    eta_min: float | None = None
    _: KW_ONLY
    eta_min_ratio: float | None = None
    length: int | None = None
    steps: ClassVar[tuple[str, ...]] = ("T_max",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from _length_problems(self.T_max if self.T_max is not None else self.length, "T_max")
        if self.T_max is not None:
            yield from number("T_max", self.T_max, above=0)
        yield from _floor_problems(self.eta_min, self.eta_min_ratio)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(r, (1 - r) * eta_min, 0)``, with the last two exchanged for ``eta_min_ratio``."""
        import numpy as np

        period = float(self.T_max if self.T_max is not None else self.length or 1)
        height, before = _at_and_before(lambda step: _half_wave(step, period), t)
        first = t == 0
        turning = (before == 0) & ~first
        ratio = np.where(first, 1.0, height / np.where(turning | first, 1.0, before))
        ratio[turning] = 1.0
        rise = np.where(turning, _half_wave(np.array([period + 1]), period), 0.0) if turning.any() else 0.0
        return _towards_floor(ratio, rise, self.eta_min, self.eta_min_ratio)


@dataclass(frozen=True)
class CosineRestart:
    """Cosine annealing in several periods; each starts again at a share of the base (https://arxiv.org/abs/1608.03983).

    Period ``k`` takes ``periods[k]`` steps from ``restart_weights[k] * base`` down to the floor (``eta_min``, or
    ``eta_min_ratio * base``). After the last period the value stays.

    Args:
        periods: Steps of each period, 1 or more.
        restart_weights: The share of the base that each period starts from; as many as ``periods``.
        eta_min: The floor, in the unit of the option; default: 0.
        eta_min_ratio: The floor as a share of the base, in place of ``eta_min``.
    """

    periods: Sequence[int]
    restart_weights: Sequence[float] = (1,)
    eta_min: float | None = None
    eta_min_ratio: float | None = None
    steps: ClassVar[tuple[str, ...]] = ("periods",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        periods = list(each("periods", self.periods, lambda name, value: whole(name, value, least=1)))
        weights = list(
            each("restart_weights", self.restart_weights, lambda name, value: number(name, value, least=0), 0)
        )
        yield from (*periods, *weights)
        if not periods and not weights and len(self.periods) != len(self.restart_weights):
            counts = f"{len(self.restart_weights)} for {len(self.periods)} periods"
            yield wrong("restart_weights", f"must be as many as 'periods', not {counts}")
        yield from _floor_problems(self.eta_min, self.eta_min_ratio)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(0, 0, weight)`` where a period starts, then as cosine annealing."""
        import numpy as np

        ends = np.cumsum(self.periods)
        which = np.searchsorted(ends, t, side="right")
        running = which < len(ends)
        which = np.minimum(which, len(ends) - 1)
        period = np.asarray(self.periods, dtype=np.float64)[which]
        step = t - (ends[which] - np.asarray(self.periods)[which])
        starts = running & (step == 0)
        falls = running & ~starts
        ratio = np.ones(t.shape)
        ratio[falls] = _half_wave(step[falls], period[falls]) / _half_wave(step[falls] - 1, period[falls])
        _, b, c = _towards_floor(ratio, 0.0, self.eta_min, self.eta_min_ratio)
        weights = np.asarray(self.restart_weights, dtype=np.float64)[which]
        return np.where(starts, 0.0, ratio), b, np.where(starts, weights, c)


@dataclass(frozen=True)
class Exponential:
    """The value is multiplied by ``gamma`` at every step but the first: ``value(t) = start * gamma^t``.

    Args:
        gamma: The factor of a step, 0 or more.
    """

    gamma: float

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from number("gamma", self.gamma, least=0)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(gamma, 0, 0)`` after the first step."""
        import numpy as np

        return np.where(t == 0, 1.0, self.gamma), 0.0, 0.0


@dataclass(frozen=True)
class InverseSqrt:
    """Decay with the square root of time: ``value(t) = start * sqrt(timescale / (timescale + t))``.

    The schedule of transformers (https://arxiv.org/abs/1706.03762) after its warm-up: put a ``LinearLR`` of
    ``timescale`` steps before it, and let it begin where that ends. With ``timescale`` equal to the steps of the
    warm-up it is the inverse square root schedule of Hugging Face's ``transformers``.

    Args:
        timescale: Steps, 1 or more; after three times as many the value is halved.
    """

    timescale: int
    steps: ClassVar[tuple[str, ...]] = ("timescale",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from whole("timescale", self.timescale, least=1)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(factor(t) / factor(t - 1), 0, 0)``."""
        return _ratios(lambda step: (self.timescale / (self.timescale + step)) ** 0.5, t), 0.0, 0.0


@dataclass(frozen=True)
class Linear:
    """A straight line of factors, from ``start_factor`` at ``t = 0`` to ``end_factor`` at ``t = length - 1``.

    A range of one step has only its start, and stays at ``start_factor`` for ever, as in MMEngine.

    Args:
        start_factor: What the value is multiplied by at the first step, 0 or more.
        end_factor: What it is multiplied by at the last step, and from then on; 0 or more.
    """

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    _: KW_ONLY
    length: int | None = None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from number("start_factor", self.start_factor, least=0)
        yield from number("end_factor", self.end_factor, least=0)
        yield from _length_problems(self.length)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(factor(t) / factor(t - 1), 0, 0)``."""
        last = (self.length or 1) - 1
        climb = (self.end_factor - self.start_factor) / last if last else 0.0
        return _ratios(lambda step: self.start_factor + climb * step, t), 0.0, 0.0


@dataclass(frozen=True)
class MultiStep:
    """The value is multiplied by ``gamma`` at each milestone; one that is named twice counts twice, in any order.

    Args:
        milestones: Steps, counted from ``begin``.
        gamma: The factor at each milestone, 0 or more.
    """

    milestones: Sequence[int]
    gamma: float = 0.1
    steps: ClassVar[tuple[str, ...]] = ("milestones",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from each("milestones", self.milestones, whole, least_many=0)
        yield from number("gamma", self.gamma, least=0)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(gamma, 0, 0)`` at a milestone."""
        import numpy as np

        a = np.ones(t.shape)
        for milestone, times in Counter(self.milestones).items():
            a[t == milestone] = self.gamma**times
        return a, 0.0, 0.0


@dataclass(frozen=True)
class OneCycle:
    """Up to ``eta_max`` and down again (https://arxiv.org/abs/1708.07120), over ``total_steps``.

    From ``eta_max / div_factor`` up in ``pct_start`` of the steps, then down to that divided by ``final_div_factor``;
    with ``three_phase`` first back to the start as fast as it rose. The values are absolute: a group whose base is a
    share of the job's value gets that share of them. After ``total_steps`` the value stays.

    Args:
        eta_max: The peak, in the unit of the option; more than 0.
        total_steps: Steps of the whole; default: ``end - begin``.
        pct_start: The share of the steps in which the value rises, from 0 to 1.
        anneal_strategy: The shape of each phase: ``"cos"`` or ``"linear"``.
        div_factor: The start is ``eta_max / div_factor``.
        final_div_factor: The end is the start divided by it.
        three_phase: Whether there is a phase more: back to the start as fast as the value rose, and only then to the end.
    """

    eta_max: float
    total_steps: int | None = None
    pct_start: float = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False
    _: KW_ONLY
    length: int | None = None
    steps: ClassVar[tuple[str, ...]] = ("total_steps",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from number("eta_max", self.eta_max, above=0)
        yield from _length_problems(self.total_steps if self.total_steps is not None else self.length, "total_steps")
        if self.total_steps is not None:
            yield from whole("total_steps", self.total_steps, least=1)
        yield from number("pct_start", self.pct_start, least=0, most=1)
        yield from one_of("anneal_strategy", self.anneal_strategy, ("cos", "linear"))
        yield from number("div_factor", self.div_factor, above=0)
        yield from number("final_div_factor", self.final_div_factor, above=0)
        yield from flag("three_phase", self.three_phase)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(0, 0, eta(t) / reference)``, so that groups keep their ratio."""
        eta = self._eta(t)
        return (0.0, 0.0, eta / reference) if reference else (0.0, eta, 0.0)

    def _eta(self, t: Steps) -> Floats:
        import numpy as np

        total = self.total_steps or self.length or 1
        bottom = self.eta_max / self.div_factor
        turns, peaks = [0.0, self.pct_start * total - 1], [bottom, self.eta_max]
        if self.three_phase:
            turns, peaks = [*turns, 2 * self.pct_start * total - 2], [*peaks, bottom]
        corners, etas = np.asarray([*turns, total - 1.0]), np.asarray([*peaks, bottom / self.final_div_factor])
        step = np.minimum(t, total - 1.0)
        behind = step[:, None] > corners[1:-1]
        phase = np.where(behind.all(axis=1), len(corners) - 2, np.argmin(behind, axis=1))
        width = corners[phase + 1] - corners[phase]
        done = np.where(width == 0, 1.0, (step - corners[phase]) / np.where(width == 0, 1.0, width))
        if self.anneal_strategy == "cos":
            done = (1 - np.cos(np.pi * done)) / 2
        eta: Floats = etas[phase] + (etas[phase + 1] - etas[phase]) * done
        return eta


@dataclass(frozen=True)
class Poly:
    """Polynomial decay to ``eta_min`` at the last step.

    ``value(t) = eta_min + (start - eta_min) * (1 - t / (length - 1))^power`` where nothing else moves the value.

    Args:
        eta_min: The value at the last step, in the unit of the option.
        power: The exponent, 0 or more; 1 is a straight line.
    """

    eta_min: float = 0
    power: float = 1.0
    _: KW_ONLY
    length: int | None = None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from number("eta_min", self.eta_min, least=0)
        yield from number("power", self.power, least=0)
        yield from _length_problems(self.length)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(q, (1 - q) * eta_min, 0)`` with ``q = (left / (left + 1))^power``, ``left`` the steps that remain."""
        import numpy as np

        left = np.maximum((self.length or 1) - 1.0 - t, 0.0)
        ratio = np.where(t == 0, 1.0, (left / (left + 1)) ** self.power)
        return _towards_floor(ratio, 0.0, self.eta_min, None)


@dataclass(frozen=True)
class QuadraticWarmup:
    """Warm-up with the square of time, ``value(t) = base * ((t + 1) / length)^2``: MMDetection's, for YOLOX.

    It starts over from the base and adds, so that it composes with others as MMDetection's does.
    """

    _: KW_ONLY
    length: int | None = None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from _length_problems(self.length)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(0, 0, 1 / length^2)`` at first, then ``(1, 0, (2 t + 1) / length^2)``."""
        import numpy as np

        return np.where(t == 0, 0.0, 1.0), 0.0, (2.0 * t + 1) / float(self.length or 1) ** 2


@dataclass(frozen=True)
class Step:
    """The value is multiplied by ``gamma`` every ``step_size`` steps.

    Args:
        step_size: Steps from one change to the next, 1 or more.
        gamma: The factor of a change, 0 or more.
    """

    step_size: int
    gamma: float = 0.1
    steps: ClassVar[tuple[str, ...]] = ("step_size",)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        yield from whole("step_size", self.step_size, least=1)
        yield from number("gamma", self.gamma, least=0)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(gamma, 0, 0)`` at multiples of ``step_size``."""
        import numpy as np

        return np.where((t % self.step_size == 0) & (t > 0), self.gamma, 1.0), 0.0, 0.0


@dataclass(frozen=True)
class WarmupStableDecay:
    """Warm up, stay, decay (https://arxiv.org/abs/2404.06395): a trapezoid over the whole range.

    The factor rises from ``start_factor`` in a straight line over ``warmup`` steps, is 1, and falls in the last
    ``decay`` steps towards ``end_factor``, which would be reached one step after the last. The factors are those of
    Hugging Face's ``get_wsd_schedule`` with the same phases.

    Args:
        warmup: Steps of the rise, 0 or more.
        decay: Steps of the fall, 0 or more; at most what ``warmup`` leaves.
        decay_type: The shape of the fall: ``"linear"``, ``"cosine"`` or ``"sqrt"``, which is ``1 - sqrt(progress)``.
        start_factor: What the value is multiplied by at the first step, 0 or more.
        end_factor: What it would be multiplied by one step after the last, 0 or more.
    """

    warmup: int
    decay: int
    decay_type: Literal["linear", "cosine", "sqrt"] = "cosine"
    start_factor: float = 0.0
    end_factor: float = 0.0
    _: KW_ONLY
    length: int | None = None
    steps: ClassVar[tuple[str, ...]] = ("warmup", "decay")

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        counts = [*whole("warmup", self.warmup), *whole("decay", self.decay)]
        yield from counts
        yield from one_of("decay_type", self.decay_type, ("linear", "cosine", "sqrt"))
        yield from number("start_factor", self.start_factor, least=0)
        yield from number("end_factor", self.end_factor, least=0)
        yield from _length_problems(self.length)
        if not counts and self.length is not None and self.warmup + self.decay > self.length:
            together = (
                f"together with warmup = {self.warmup} it is longer than the {self.length} steps from begin to end"
            )
            yield wrong("decay", together)

    def maps(self, t: Steps, reference: float) -> Maps:
        """``(factor(t) / factor(t - 1), 0, 0)``."""
        return _ratios(self._factor, t), 0.0, 0.0

    def _factor(self, t: Steps) -> Floats:
        import numpy as np

        rise = np.clip(t / max(self.warmup, 1), 0, 1) if self.warmup else np.ones(t.shape)
        done = np.clip((t - ((self.length or 1) - self.decay)) / max(self.decay, 1), 0, 1)
        shapes: dict[str, Callable[[Floats], Floats]] = {
            "linear": lambda p: 1 - p,
            "cosine": lambda p: (1 + np.cos(np.pi * p)) / 2,
            "sqrt": lambda p: 1 - np.sqrt(p),
        }
        fall = self.end_factor + (1 - self.end_factor) * shapes[self.decay_type](done)
        return np.where(t < self.warmup, self.start_factor + (1 - self.start_factor) * rise, fall)


@dataclass
class PlateauMemory:
    """What ``ReduceOnPlateau`` remembers: the best metric so far, bad epochs in a row, epochs left to cool down."""

    best: float | None = None
    bad: int = 0
    cooldown: int = 0


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply the value by ``factor`` when a metric has stopped getting better.

    It has no ``maps``: what it does depends on a metric that nobody knows before the run, so it multiplies on top of
    the other schedules. After more than ``patience`` epochs in a row that are no better than the best by ``threshold``,
    the value becomes ``max(value * factor, min_value)`` if that is a change of more than ``eps``; then bad epochs do not
    count for ``cooldown`` epochs.

    Args:
        monitor: The metric of the validation that it waits for.
        rule: Which way is better: ``"less"`` or ``"greater"``.
        factor: What the value is multiplied by, from 0 to below 1.
        patience: Epochs in a row without a better metric that are put up with.
        threshold: By how much a metric must be better than the best one so far.
        threshold_rule: Whether ``threshold`` is a share of the best one, ``"rel"``, or a difference from it, ``"abs"``.
        cooldown: Epochs after a change in which nothing is counted.
        min_value: The least that the value becomes, in the unit of the option.
        eps: A change that is not larger than this is left out.
    """

    monitor: str = "loss"
    rule: Literal["less", "greater"] = "less"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_rule: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_value: float = 0.0
    eps: float = 1e-8

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the arguments."""
        if not isinstance(self.monitor, str):
            yield wrong("monitor", f"must be the name of a metric, not {self.monitor!r}")
        yield from one_of("rule", self.rule, ("less", "greater"))
        yield from number("factor", self.factor, least=0)
        if is_number(self.factor) and self.factor >= 1:
            yield wrong("factor", f"must be less than 1, not {self.factor!r}")
        yield from whole("patience", self.patience)
        yield from number("threshold", self.threshold, least=0)
        yield from one_of("threshold_rule", self.threshold_rule, ("rel", "abs"))
        yield from whole("cooldown", self.cooldown)
        yield from number("min_value", self.min_value, least=0)
        yield from number("eps", self.eps, least=0)

    def observe(self, memory: PlateauMemory, metric: float) -> bool:
        """Count one more epoch in ``memory``; true where the value is to be reduced now."""
        if self._better(metric, memory.best):
            memory.best, memory.bad = metric, 0
        else:
            memory.bad += 1
        if memory.cooldown > 0:
            memory.cooldown, memory.bad = memory.cooldown - 1, 0
        if memory.bad <= self.patience:
            return False
        memory.cooldown, memory.bad = self.cooldown, 0
        return True

    def reduced(self, value: float) -> float:
        """What ``value`` becomes when it is reduced."""
        lower = max(value * self.factor, self.min_value)
        return lower if value - lower > self.eps else value

    def _better(self, metric: float, best: float | None) -> bool:
        if best is None:
            return metric == metric  # anything but nan
        sign = -1.0 if self.rule == "less" else 1.0
        if self.threshold_rule == "abs":
            return sign * (metric - best) > self.threshold
        return sign * (metric - best * (1 + sign * self.threshold)) > 0


def ReduceLROnPlateau(  # noqa: N802 (torch's name)
    mode: Literal["min", "max"] = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
    monitor: str = "loss",
) -> ReduceOnPlateau:
    """``ReduceOnPlateau`` with the arguments of ``torch.optim.lr_scheduler.ReduceLROnPlateau``, and ``monitor``.

    Args:
        mode: Which way is better: ``"min"`` or ``"max"``.
        factor: What the learning rate is multiplied by, from 0 to below 1.
        patience: Epochs in a row without a better metric that are put up with.
        threshold: By how much a metric must be better than the best one so far.
        threshold_mode: Whether ``threshold`` is a share of the best one, ``"rel"``, or a difference from it, ``"abs"``.
        cooldown: Epochs after a change in which nothing is counted.
        min_lr: The least that the learning rate becomes.
        eps: A change that is not larger than this is left out.
        monitor: The metric of the validation that it waits for.
    """
    rules: dict[str, Literal["less", "greater"]] = {"min": "less", "max": "greater"}
    if mode not in rules:
        raise JobError(list(one_of("mode", mode, tuple(rules))))
    schedule = ReduceOnPlateau(monitor, rules[mode], factor, patience, threshold, threshold_mode, cooldown, min_lr, eps)
    torch_names = {"threshold_rule": "threshold_mode", "min_value": "min_lr"}
    found = [Problem((torch_names.get(str(p.key[0]), p.key[0]),), p.message, p.code) for p in schedule.problems()]
    if found:
        raise JobError(found)
    return schedule


def _length_problems(length: Any, instead: str | None = None) -> Iterator[Problem]:
    if length is None:
        also = f", or '{instead}'" if instead else ""
        yield Problem(("end",), f"is needed{also}: the length of the run is not known", "missing-end")


def _floor_problems(eta_min: Any, eta_min_ratio: Any) -> Iterator[Problem]:
    if eta_min is not None:
        yield from number("eta_min", eta_min, least=0)
    if eta_min_ratio is not None:
        yield from number("eta_min_ratio", eta_min_ratio, least=0)
    if eta_min is not None and eta_min_ratio is not None:
        yield wrong("eta_min_ratio", "cannot stand together with 'eta_min': give one of them")


def _towards_floor(ratio: Floats, rise: Values, eta_min: float | None, eta_min_ratio: float | None) -> Maps:
    """The map ``floor + ratio * (value - floor) + rise * (base - floor)``."""
    pull = 1.0 - ratio - rise
    if eta_min_ratio is not None:
        return ratio, 0.0, rise + pull * eta_min_ratio
    return ratio, pull * eta_min if eta_min else 0.0, rise


def _half_wave(t: Any, period: Any) -> Floats:
    """``(1 + cos(pi * t / period)) / 2``, with full relative precision where it is near zero."""
    import numpy as np

    distance = (np.asarray(t, dtype=np.float64) - period) % (2 * period)
    distance = np.minimum(distance, 2 * period - distance)
    wave: Floats = np.sin(np.pi / 2 * distance / period) ** 2
    return wave


def _ratios(factor: Callable[[Steps], Floats], t: Steps) -> Floats:
    """``factor(t) / factor(t - 1)``, and ``factor(0)`` at first; zero factors as the head of this file has it."""
    import numpy as np

    first = t == 0
    now, before = _at_and_before(factor, t)
    now = np.where(now < NO_FACTOR, np.where(first, ZERO, 0.0), now)
    before = np.where(first, 1.0, np.where(before < NO_FACTOR, ZERO, before))
    return now / before


def _at_and_before(function: Callable[[Steps], Floats], t: Steps) -> tuple[Floats, Floats]:
    """``function(t)``, and ``function(t - 1)`` where ``t > 0``; neighbouring steps are computed once."""
    import numpy as np

    if t.size > 1 and int(t[-1]) - int(t[0]) == t.size - 1:
        both = function(np.concatenate([np.maximum(t[:1] - 1, 0), t]))
        return both[1:], both[:-1]
    return function(t), function(np.maximum(t - 1, 0))
