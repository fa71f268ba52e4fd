"""What plugins are checked with: what is sound passes, and what is broken in one way fails that check."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from optimctl.errors import PluginError, UsageError
from optimctl.optim import DefaultOptimWrapperConstructor, OptimWrapper, Options
from optimctl.plugins import installed
from optimctl.testing import CheckFailed, check_constructor, check_optimizer, check_schedule
from tests.test_imports import distributions, imported

# --- optimizers that are sound


class Plain(Optimizer):
    """Momentum with decoupled decay; what is broken below is this one, with one thing else."""

    def __init__(self, params: Any, lr: float = 0.1, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.move(group, parameter, parameter.grad)

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(group["lr"] * self.direction(parameter, gradient))

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[parameter]
        state["direction"] = 0.5 * state.get("direction", 0.0) + gradient
        return state["direction"]  # type: ignore[no-any-return]


class Uphill(Plain):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return -super().direction(parameter, gradient)


class Averaged(Plain):
    """Validates with the mean of where it was, as schedule-free optimizers do."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group["training"] = True

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        super().move(group, parameter, gradient)
        state = self.state[parameter]
        state["mean"] = state.get("mean", parameter).lerp(parameter, 0.1)

    def train(self) -> None:
        self.switch(training=True)

    def eval(self) -> None:
        self.switch(training=False)

    @torch.no_grad()
    def switch(self, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] is not training:
                group["training"] = training
                self.swap(group)

    def swap(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            mean = self.state.get(parameter, {}).get("mean")
            if mean is not None:
                here = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(here)


def make_plain(params: Any, strength: float = 1.0) -> Optimizer:
    """A callable that returns an optimizer."""
    return Plain(params, lr=0.1 * strength)


class WithClosure(Plain):
    requires_closure = True

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()
        super().step()


class WithGraph(Plain):
    requires_create_graph = True

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        ones = [torch.ones_like(gradient) for gradient in gradients]
        self.curvature = dict(zip(parameters, torch.autograd.grad(gradients, parameters, ones), strict=True))
        super().step()

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return super().direction(parameter, gradient / (1 + self.curvature[parameter].abs()))


@pytest.mark.parametrize("optimizer", [Plain, Averaged, make_plain, WithClosure, WithGraph])
def test_a_sound_optimizer_passes(optimizer: Callable[..., Optimizer]) -> None:
    check_optimizer(optimizer)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
        ("AdamW", {}),
        ("optimctl/RAdam", {}),
        ("MyOptimizer", {}),
    ],
)
def test_an_installed_optimizer_is_checked_by_its_name(name: str, arguments: dict[str, Any]) -> None:
    check_optimizer(name, **arguments)


def test_an_optimizer_of_matrices_brings_its_model() -> None:
    check_optimizer("optimctl/Muon", lr=0.02, model=lambda: nn.Linear(8, 3, bias=False))
    with pytest.raises(CheckFailed, match=r"builds: .*Muon trains matrices only"):
        check_optimizer("optimctl/Muon")


def test_what_an_optimizer_cannot_do_is_told_check_by_check() -> None:
    with pytest.raises(CheckFailed) as told:
        check_optimizer("Rprop")
    assert told.value.codes == {"lr-of-zero", "follows-lr"}


# --- optimizers that are broken


def no_optimizer(params: Any) -> object:
    return object()


class NoGroups(Plain):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__([parameter for parameter in params if parameter.requires_grad], lr)


class Raises(Plain):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise RuntimeError("no kernel")


class HidesItsClosure(WithClosure):
    requires_closure = False


class HidesItsGraph(WithGraph):
    requires_create_graph = False


class CallsNoClosure(Plain):
    requires_closure = True


class BreaksLater(Plain):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[parameter]
        state["updates"] = state.get("updates", 0) + 1
        return super().direction(parameter, gradient) / float(state["updates"] < 18)


class Forgets(Plain):
    """Its memory is no part of its state."""

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        memory = self.__dict__.setdefault("memory", {})
        memory[parameter] = 0.5 * memory.get(parameter, 0.0) + gradient
        return memory[parameter]  # type: ignore[no-any-return]


class Projection:
    """An object in the state."""


class HoldsObjects(Plain):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        self.state[parameter]["projection"] = Projection()
        return super().direction(parameter, gradient)


class LrOfTheFirst(Plain):
    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        super().move({**group, "lr": self.param_groups[0]["lr"]}, parameter, gradient)


class AllStand(Plain):
    """One group with a learning rate of 0 stops all."""

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        super().move({**group, "lr": min(each["lr"] for each in self.param_groups)}, parameter, gradient)


class KeepsItsLr(Plain):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.first = [group["lr"] for group in self.param_groups]

    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        index = next(index for index, each in enumerate(self.param_groups) if each is group)
        super().move({**group, "lr": self.first[index]}, parameter, gradient)


class NeverDecays(Plain):
    def move(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        super().move({**group, "weight_decay": 0.0}, parameter, gradient)


class StumblesOverNone(Plain):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                self.move(group, parameter, parameter.grad)


class ShrinksTheUnused(Plain):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                self.move(group, parameter, gradient + 0.01 * group["lr"] * parameter)


class DividesByNothing(Plain):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return super().direction(parameter, 0.1 * gradient / gradient.norm())


class MovesInBackward(Plain):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.register_post_accumulate_grad_hook(lambda moved, group=group: self.at_once(group, moved))

    @torch.no_grad()
    def at_once(self, group: dict[str, Any], parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.sub_(group["lr"] * parameter.grad)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Everything is done."""


class TakesTheLast(Plain):
    """Notes what the last backward pass brought, and steps on that."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.noted: dict[Tensor, Tensor] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.register_hook(lambda gradient, of=parameter: self.note(of, gradient))

    def note(self, parameter: Tensor, gradient: Tensor) -> None:
        self.noted[parameter] = gradient.clone()

    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        return super().direction(parameter, self.noted.get(parameter, gradient))


class NotesBeforeClipping(TakesTheLast):
    def note(self, parameter: Tensor, gradient: Tensor) -> None:
        self.noted[parameter] = self.noted.get(parameter, torch.zeros(())) + gradient

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.noted.clear()


class CannotStandSmallGradients(Plain):
    def direction(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        total = sum(p.grad.abs().sum() for group in self.param_groups for p in group["params"] if p.grad is not None)
        return super().direction(parameter, gradient * (total > 10.0))


class EvalTwice(Averaged):
    def eval(self) -> None:
        for group in self.param_groups:
            group["training"] = False
            self.swap(group)

    @torch.no_grad()
    def swap(self, group: dict[str, Any]) -> None:
        super().swap(group)


class OnlyEval(Plain):
    def eval(self) -> None:
        """There is no way back."""


class EvalTooEarly(Averaged):
    def eval(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["mean"]
        super().eval()


class HoldsAFunction(Plain):
    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        for group in self.param_groups:
            group["schedule"] = print


@pytest.mark.parametrize(
    ("optimizer", "codes", "sentence"),
    [
        (no_optimizer, {"builds"}, "returned a object; an optimizer plugin returns a torch.optim.Optimizer"),
        (NoGroups, {"builds"}, "'dict' object has no attribute 'requires_grad'"),
        (Raises, {"steps"}, "it raised RuntimeError: no kernel (test_testing.py:"),
        (HidesItsClosure, {"steps"}, "write requires_closure = True in the class"),
        (HidesItsGraph, {"steps"}, "write requires_create_graph = True in the class"),
        (CallsNoClosure, {"steps"}, "it says requires_closure and never calls the closure"),
        (Uphill, {"lowers-a-loss"}, "look at the sign of the step"),
        (BreaksLater, {"lowers-a-loss"}, "the loss is nan after 20 updates; a smaller learning rate may help"),
        (Forgets, {"resumes"}, "what a step remembers belongs in self.state"),
        (HoldsObjects, {"resumes"}, "it holds a tests.test_testing.Projection; keep tensors, numbers"),
        (LrOfTheFirst, {"lr-of-zero"}, "a group with lr = 0 moves"),
        (AllStand, {"lr-of-zero"}, "where one group has lr = 0, all stand still"),
        (KeepsItsLr, {"follows-lr"}, 'read group["lr"] in each step, and keep no copy of it'),
        (NeverDecays, {"decays-by-group"}, 'read group["weight_decay"] in each step'),
        (StumblesOverNone, {"passes-over-unused"}, "since it took no part in the loss, stops it: TypeError"),
        (ShrinksTheUnused, {"passes-over-unused"}, "since it took no part in the loss, is moved; pass over it"),
        (DividesByNothing, {"survives-zero"}, "a parameter whose gradients are all 0 becomes nan"),
        (MovesInBackward, {"decays-by-group", "accumulates", "clips"}, "before the accumulation window is over"),
        (TakesTheLast, {"accumulates", "clips"}, "do not give the update of one batch of both"),
        (NotesBeforeClipping, {"clips"}, "no gradient that was noted before"),
        (CannotStandSmallGradients, {"clips"}, "stand still or become nan"),
        (EvalTwice, {"switches"}, "eval() does not always lead to the same weights"),
        (OnlyEval, {"switches"}, "it has eval() alone"),
        (EvalTooEarly, {"resumes", "passes-over-unused", "switches"}, "eval() before the first update fails: KeyError"),
        (HoldsAFunction, {"resumes", "is-planned"}, "the option 'schedule' is <built-in function print>"),
    ],
)
def test_a_broken_optimizer_fails_where_it_is_broken(optimizer: Any, codes: set[str], sentence: str) -> None:
    with pytest.raises(CheckFailed) as told:
        check_optimizer(optimizer)
    assert told.value.codes == codes
    assert sentence in str(told.value)


def test_everything_is_told_at_once_and_as_an_assertion() -> None:
    with pytest.raises(AssertionError) as told:
        check_optimizer(LrOfTheFirst)
    assert str(told.value) == (
        "LrOfTheFirst fails:\n"
        "  lr-of-zero: a group with lr = 0 moves; that is what lr_mult = 0 and the start of a warm-up mean, so multiply the whole "
        'step by group["lr"], the decay too'
    )


def test_arguments_are_those_of_a_job() -> None:
    with pytest.raises(CheckFailed, match=r"builds: .*Plain .* has no argument 'lrr'; did you mean 'lr'"):
        check_optimizer(Plain, lrr=0.1)


def test_what_is_no_plugin_is_said_before_anything_is_checked() -> None:
    with pytest.raises(PluginError, match="no optimizer is called 'Plian'"):
        check_optimizer("Plian")
    with pytest.raises(UsageError, match=r"must be a torch.optim.Optimizer class, .* not 3"):
        check_optimizer(3)


def test_a_check_leaves_nothing_behind() -> None:
    torch.manual_seed(5)
    expected, before = torch.rand(3), dict(installed().claims["optimizers"])
    torch.manual_seed(5)
    check_optimizer(Plain)
    assert torch.equal(torch.rand(3), expected)
    assert dict(installed().claims["optimizers"]) == before


def test_importing_the_checks_is_light() -> None:
    assert "torch" not in distributions(imported("-c", "import optimctl.testing"))


# --- schedules

Array = np.ndarray[Any, np.dtype[Any]]
Maps = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Halving:
    every: int = 20
    steps: ClassVar[Any] = ("every",)

    def maps(self, t: Array, reference: float) -> Maps:
        return np.where((t % self.every == 0) & (t > 0), 0.5, 1.0), 0.0, 0.0


@dataclass(frozen=True)
class ToTheEnd:
    """A line to nothing at the end of its range."""

    length: int = 0

    def maps(self, t: Array, reference: float) -> Maps:
        return np.where(t == 0, 1.0, (self.length - t) / (self.length - t + 1)), 0.0, 0.0


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        (Halving, {"every": 30}),
        (ToTheEnd, {"begin": 10, "end": "50%"}),
        (torch.optim.lr_scheduler.StepLR, {"step_size": 30}),
        ("LinearLR", {"start_factor": 0.0, "end": 50}),
        ("ConstantLR", {"factor": 0.0, "end": 50}),
        ("CosineAnnealingLR", {"T_max": 33, "eta_min": 0.01}),
        ("CosineRestartLR", {"periods": [50, 150], "restart_weights": [1, 0.5]}),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
        ("OneCycleLR", {"eta_max": 1.0}),
        ("QuadraticWarmupLR", {"end": 20}),
        ("WarmupStableDecayLR", {"warmup": 20, "decay": 50}),
        ("LinearMomentum", {}),
        ("MyScheduler", {"half_life": 20}),
    ],
)
def test_a_sound_schedule_passes(schedule: Any, arguments: dict[str, Any]) -> None:
    check_schedule(schedule, **arguments)


class NoMaps:
    pass


class TwoOfThree(Halving):
    def maps(self, t: Array, reference: float) -> Any:
        return super().maps(t, reference)[:2]


class OneTooFew(Halving):
    def maps(self, t: Array, reference: float) -> Maps:
        return super().maps(t, reference)[0][1:], 0.0, 0.0


class TakesBackNothing(Halving):
    def maps(self, t: Array, reference: float) -> Maps:
        with np.errstate(divide="ignore"):
            return np.where(t == 7, np.divide(1.0, 0.0 * t), 1.0), 0.0, 0.0


class NeedsAReference(Halving):
    def maps(self, t: Array, reference: float) -> Maps:
        with np.errstate(divide="ignore", invalid="ignore"):
            return 0.0, 0.0, np.divide(0.1 + 0.0 * t, reference)


class Remembers(Halving):
    """Counts how often it was asked, as a scheduler with a state would."""

    def maps(self, t: Array, reference: float) -> Maps:
        asked = self.__dict__["asked"] = self.__dict__.get("asked", 0) + 1
        return np.full(t.shape, 1.0 / asked), 0.0, 0.0


class ChangesTheSteps(Halving):
    def maps(self, t: Array, reference: float) -> Maps:
        maps = super().maps(t, reference)
        t += 0 if len(t) == 1 else 1
        return maps


class CountsPlaces(Halving):
    """Takes the place in the array for the step."""

    def maps(self, t: Array, reference: float) -> Maps:
        return super().maps(np.arange(len(t)), reference)


class DrawsLots(Halving):
    """Another curve each time it is made."""

    def maps(self, t: Array, reference: float) -> Maps:
        factor = self.__dict__.setdefault("factor", random.uniform(0.9, 0.99))
        return np.full(t.shape, factor), 0.0, 0.0


class GrowsWithoutEnd(Halving):
    def maps(self, t: Array, reference: float) -> Maps:
        return np.full(t.shape, 1e4), 0.0, 0.0


class MisspellsItsSteps(Halving):
    steps = ("evry",)


class NamesNoTuple(Halving):
    steps = "every"


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    ("schedule", "codes", "sentence"),
    [
        (NoMaps, {"builds"}, "it must be a Schedule class with maps(t, reference)"),
        (TwoOfThree, {"maps"}, "it must return three: (a, b, c)"),
        (OneTooFew, {"maps"}, "a has the shape (199,) for steps of shape (200,)"),
        (TakesBackNothing, {"maps"}, "a is inf at step 7 with a reference of 0.1; a factor of 0"),
        (NeedsAReference, {"maps"}, "c is inf at step 0 with a reference of 0.0"),
        (Remembers, {"is-pure", "previews-as-it-steps", "resumes"}, "asked a second time, or later steps first"),
        (ChangesTheSteps, {"is-pure"}, "changes the steps that it is asked for; work on a copy"),
        (CountsPlaces, {"is-pure", "each-alone", "previews-as-it-steps"}, "never from its place in the array"),
        (DrawsLots, {"each-alone", "previews-as-it-steps", "resumes"}, "after 1 iterations writes other values"),
        (GrowsWithoutEnd, {"previews-as-it-steps"}, "the maps grow without end"),
        (MisspellsItsSteps, {"names-its-steps"}, "steps names 'evry', and no argument is called that"),
        (NamesNoTuple, {"names-its-steps"}, "steps is 'every'; it must be a tuple"),
    ],
)
def test_a_broken_schedule_fails_where_it_is_broken(schedule: Any, codes: set[str], sentence: str) -> None:
    with pytest.raises(CheckFailed) as told:
        check_schedule(schedule)
    assert told.value.codes == codes
    assert sentence in str(told.value)


def test_a_schedule_that_waits_for_a_metric_has_no_maps_to_check() -> None:
    with pytest.raises(CheckFailed, match="builds: by: a schedule that waits for a metric counts epochs"):
        check_schedule("ReduceOnPlateauLR")


# --- constructors


class SlowVectors(DefaultOptimWrapperConstructor):
    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        options = super().options(name, parameter, module, parents)
        return options.scale("lr", 0.5, "vectors learn slowly") if parameter.ndim == 1 else options


class OnlyConvolutions(SlowVectors):
    """Knows two kinds of layers, and says so."""

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        if isinstance(module, nn.LayerNorm):
            raise ValueError(f"there is no rule for '{name}'")
        return super().options(name, parameter, module, parents)


@pytest.mark.parametrize(
    ("constructor", "arguments"),
    [
        (SlowVectors, {}),
        (OnlyConvolutions, {}),
        ("DefaultOptimWrapperConstructor", {"paramwise_cfg": {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0}}),
        ("LayerDecayOptimWrapperConstructor", {"paramwise_cfg": {"decay_rate": 0.9}}),
        ("Routes", {"routes": [{"match": {"dimensions": [2]}, "optimizer": {"type": "SGD", "lr": 0.1}}]}),
        ("MyOptimWrapperConstructor", {"optimizer": {"type": "MyOptimizer", "c": 0.1}}),
        ("TSMOptimWrapperConstructor", {}),
    ],
)
def test_a_sound_constructor_passes(constructor: Any, arguments: dict[str, Any]) -> None:
    check_constructor(constructor, **arguments)


def test_a_model_of_ones_own_is_tried_too() -> None:
    tried = []

    class Own(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            tried.append(self)

    check_constructor(SlowVectors, models=[Own])
    assert tried


class NoWrapper(SlowVectors):
    def __call__(self, model: nn.Module) -> Any:
        return model


class Breaks(SlowVectors):
    def options(self, *met: Any) -> Options:
        raise TypeError("no rule at all")


class RefusesAll(SlowVectors):
    def options(self, *met: Any) -> Options:
        raise ValueError("this is not the model that I know")


class LosesVectors(SlowVectors):
    def build(self, model: nn.Module, groups: list[dict[str, Any]]) -> Optimizer:
        return super().build(model, groups[:1])


class FromScratch:
    """Builds the wrapper itself."""

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        self.lr = optim_wrapper_cfg["optimizer"]["lr"]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        return OptimWrapper(SGD(self.groups([p for p in model.parameters() if p.requires_grad]), lr=self.lr))

    def groups(self, parameters: list[nn.Parameter]) -> Any:
        return parameters


class ForgetsOne(FromScratch):
    def groups(self, parameters: list[nn.Parameter]) -> Any:
        return parameters[1:]


class TakesTheFrozen(FromScratch):
    def __call__(self, model: nn.Module) -> OptimWrapper:
        return OptimWrapper(SGD(model.parameters(), lr=self.lr))


class Thaws(SlowVectors):
    def __call__(self, model: nn.Module) -> OptimWrapper:
        return super().__call__(model.requires_grad_())


class SaysNothing(FromScratch):
    def groups(self, parameters: list[nn.Parameter]) -> Any:
        return [{"params": parameters[:1], "lr": 0.5 * self.lr}, {"params": parameters[1:]}]


class EmptyReason(SlowVectors):
    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        return DefaultOptimWrapperConstructor.options(self, name, parameter, module, parents).scale("lr", 0.5, " ")


class SaysOneDoesAnother(SlowVectors):
    def __call__(self, model: nn.Module) -> OptimWrapper:
        wrapper = super().__call__(model)
        wrapper.param_groups[0]["lr"] = 0.123
        return wrapper


class Dices(SlowVectors):
    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        self.factor = random.random()

    def options(self, *met: Any) -> Options:
        return super().options(*met).scale("lr", self.factor, "luck")


class Initializes(SlowVectors):
    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)


@pytest.mark.parametrize(
    ("constructor", "codes", "sentence"),
    [
        (NoWrapper, {"builds"}, "a constructor returns an optim wrapper"),
        (Breaks, {"builds"}, "raised TypeError: no rule at all"),
        (
            RefusesAll,
            {"builds"},
            "it takes none of the models (constructor: RefusesAll (project) raised ValueError: this is not",
        ),
        (LosesVectors, {"covers-each-once"}, "one that is in no group is never trained"),
        (ForgetsOne, {"covers-each-once"}, "SmallNet: 'stem.weight' must each be in exactly one group"),
        (TakesTheFrozen, {"leaves-frozen-out"}, "PartlyFrozen: 'stem.weight', 'stem.bias' and 'norm.bias' is frozen"),
        (Thaws, {"leaves-frozen-out"}, "PartlyFrozen: it thaws 'stem.weight', 'stem.bias' and 'norm.bias'"),
        (SaysNothing, {"gives-reasons"}, "nothing says why 'stem.weight' has its own 'lr'"),
        (EmptyReason, {"gives-reasons"}, "'stem.weight' has its own 'lr' without a reason"),
        (SaysOneDoesAnother, {"gives-reasons"}, "is said to have lr = 0.01, and its group has 0.123"),
        (Dices, {"is-pure"}, "the same model gets other options the second time"),
        (Initializes, {"is-pure"}, "it changes the values of 'stem.weight', 'stem.bias', 'body.weight' and 4 more"),
    ],
)
def test_a_broken_constructor_fails_where_it_is_broken(constructor: Any, codes: set[str], sentence: str) -> None:
    with pytest.raises(CheckFailed) as told:
        check_constructor(constructor)
    assert told.value.codes == codes
    assert sentence in str(told.value)
