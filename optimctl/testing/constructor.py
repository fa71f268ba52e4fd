"""``check_constructor``: what a plan and a run expect of an optim wrapper constructor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optimctl.errors import JobError, listing
from optimctl.optim import OptimWrapper, build_optim_wrapper
from optimctl.optim.multi import by_name
from optimctl.optim.options import Options, Reason
from optimctl.testing.subject import Check, named, run_checks
from optimctl.testing.training import SmallNet

OPTIMIZER = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.05}


class ConvNet(nn.Sequential):
    """Convolutions with batch norm, one of them depth-wise, and a head."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, groups=4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


class Block(nn.Module):
    """A block of a transformer, as far as its parameters go."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))


class Tied(nn.Module):
    """Numbered blocks between an embedding and a head that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 11)
        self.head.weight = self.embedding.weight


class PartlyFrozen(SmallNet):
    """A model of which somebody froze a part before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem.requires_grad_(False)
        self.norm.bias.requires_grad_(False)


MODELS: tuple[Callable[[], nn.Module], ...] = (SmallNet, ConvNet, Tied, PartlyFrozen)


def check_constructor(constructor: Any, *, models: Sequence[Callable[[], nn.Module]] = (), **arguments: Any) -> None:
    """Whether a constructor gives every trainable parameter its options once, and says why.

    It is tried on small models: a plain one, one with batch norm and a depth-wise convolution, one with numbered blocks and tied
    weights, one that is partly frozen, and yours. A model may be refused with a ``ValueError`` or a ``JobError``, but not all.

    Args:
        constructor: The class behind the entry point, or the plugin's name.
        models: Further models, as functions that make one.
        arguments: Its own, as a job's table ``constructor`` has them; ``paramwise_cfg`` and ``optimizer`` are the tables of these names.

    Raises:
        CheckFailed: With all that was found.
        PluginError: No plugin has that name.
        UsageError: It is no constructor at all.
    """
    with named("constructors", constructor) as name, torch.random.fork_rng(devices=[]):
        run_checks(name, Trial(name, arguments, (*MODELS, *models)), CHECKS, first=("builds", "covers-each-once"))


@dataclass(frozen=True)
class Built:
    """A model, and what the constructor made of it."""

    name: str
    """What the model is called in a sentence."""
    model: nn.Module
    before: nn.Module
    """The model as it was."""
    wrappers: Mapping[str, OptimWrapper]


@dataclass(frozen=True)
class Trial:
    """A constructor with its arguments."""

    name: str
    arguments: Mapping[str, Any]
    models: Sequence[Callable[[], nn.Module]]

    def table(self) -> dict[str, Any]:
        """``optim_wrapper`` of a job."""
        own = {key: value for key, value in self.arguments.items() if key not in ("paramwise_cfg", "optimizer")}
        table: dict[str, Any] = {"optimizer": OPTIMIZER, "constructor": {"type": self.name, **own}}
        return deepcopy({**table, **{key: self.arguments[key] for key in self.arguments.keys() - own.keys()}})

    def build(self, make_model: Callable[[], nn.Module]) -> Built:
        """What it makes of one model.

        Raises:
            JobError: It refuses the model, or breaks.
        """
        torch.manual_seed(0)
        model = make_model()
        before = deepcopy(model)
        name = getattr(make_model, "__name__", type(model).__name__)
        return Built(name, model, before, by_name(build_optim_wrapper(model, self.table())))

    def built(self) -> Iterator[Built]:
        """What it makes of each model that it takes."""
        for make_model in self.models:
            try:
                yield self.build(make_model)
            except JobError as error:
                if not _is_refusal(error):
                    raise


def _is_refusal(error: JobError) -> bool:
    """Whether a model was refused, with a ``JobError`` or a ``ValueError``, rather than the constructor broken."""
    codes = {problem.code for problem in error.problems}
    return not codes & {NOT_COVERED, "wrong-kind"} and (
        codes != {"plugin-raised"} or isinstance(error.__cause__, ValueError)
    )


NOT_COVERED = "parameters-not-covered"


def _builds(trial: Trial) -> Iterator[str]:
    """It takes at least one of the models, and returns an optim wrapper."""
    refusals: list[JobError] = []
    for make_model in trial.models:
        try:
            trial.build(make_model)
        except JobError as error:
            if _is_refusal(error):
                refusals.append(error)
            elif {problem.code for problem in error.problems} != {NOT_COVERED}:
                raise
    if len(refusals) == len(trial.models):
        yield (
            f"it takes none of the models ({refusals[0]}); pass arguments that it needs, as paramwise_cfg={{...}}, or models that it "
            "is made for: check_constructor(..., models=[Net])"
        )


def _covers_each_once(trial: Trial) -> Iterator[str]:
    """Each trainable parameter is in exactly one group, a shared one too."""
    try:
        wrong = next((wrong for built in trial.built() if (wrong := _not_once(built))), "")
    except JobError as error:
        wrong = error.problems[0].message
    if wrong:
        yield f"{wrong}; one that is in no group is never trained, one that is in two is stepped twice"


def _not_once(built: Built) -> str:
    counts = _counts(built)
    names = [name for name, p in built.model.named_parameters() if p.requires_grad and counts.get(id(p), 0) != 1]
    return f"{built.name}: {listing(names, 3)} must each be in exactly one group" if names else ""


def _leaves_frozen_out(trial: Trial) -> Iterator[str]:
    """What was frozen before stays so, and is in no group."""
    for built in trial.built():
        counts = _counts(built)
        after = dict(built.model.named_parameters())
        frozen = [name for name, parameter in built.before.named_parameters() if not parameter.requires_grad]
        woken = [name for name in frozen if after[name].requires_grad]
        if woken:
            yield f"{built.name}: it thaws {listing(woken, 3)}, which somebody had frozen; leave requires_grad alone"
            return
        held = [name for name, p in after.items() if not p.requires_grad and id(p) in counts]
        if held:
            yield f"{built.name}: {listing(held, 3)} is frozen and in a group all the same, which costs memory; leave it out"
            return


def _gives_reasons(trial: Trial) -> Iterator[str]:
    """Each option that is not the optimizer's own has a reason, and is the one in the group."""
    for built in trial.built():
        message = next(
            (message for wrapper in built.wrappers.values() for message in _unexplained(built, wrapper)), None
        )
        if message is not None:
            yield f"{built.name}: {message}"
            return


def _unexplained(built: Built, wrapper: OptimWrapper) -> Iterator[str]:
    """What a plan could not say of a wrapper's groups, or would say wrongly."""
    names = {id(parameter): name for name, parameter in built.model.named_parameters()}
    chosen = getattr(wrapper, "options", {})
    for index, group in enumerate(wrapper.param_groups):
        own = [
            option
            for option, value in wrapper.defaults_of(index).items()
            if not _equal(group.get(option, value), value)
        ]
        for parameter in group["params"]:
            for option in own:
                yield from _untold(names[id(parameter)], option, group[option], chosen.get(names[id(parameter)]))


def _untold(name: str, option: str, value: Any, options: Options | None) -> Iterator[str]:
    if options is None or option not in options:
        yield (
            f"nothing says why '{name}' has its own '{option}', so that no plan can; derive from DefaultOptimWrapperConstructor, "
            "override options(name, parameter, module, parents), and change what super() says with set or scale"
        )
    elif not _equal(options[option], value):
        yield f"'{name}' is said to have {option} = {options[option]!r}, and its group has {value!r}; leave the groups to the walk"
    elif not _is_told(options.reasons.get(option)):
        yield f"'{name}' has its own '{option}' without a reason; give options.set and options.scale a sentence that says why"


def _is_told(reason: Reason | None) -> bool:
    return reason is not None and (reason.key is not None or bool((reason.text or "").strip()))


def _is_pure(trial: Trial) -> Iterator[str]:
    """The same model gets the same options again, and its weights are left alone."""
    for one, other in zip(trial.built(), trial.built(), strict=True):
        if _told_groups(one) != _told_groups(other):
            yield (
                f"{one.name}: the same model gets other options the second time; options() must follow from its arguments alone, or "
                "what a plan shows is not what a run does"
            )
            return
        before, after = one.before.state_dict(), one.model.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        if changed:
            yield f"{one.name}: it changes the values of {listing(changed, 3)}; a constructor only says how they are trained"
            return


def _told_groups(built: Built) -> list[tuple[str, list[tuple[list[str], str]]]]:
    """The groups of each wrapper, as values that can be compared."""
    names = {id(parameter): name for name, parameter in built.model.named_parameters()}
    return [
        (name, [([names[id(p)] for p in group["params"]], _told_options(group)) for group in wrapper.param_groups])
        for name, wrapper in built.wrappers.items()
    ]


def _told_options(group: Mapping[str, Any]) -> str:
    return repr(sorted((key, value) for key, value in group.items() if key not in ("params", "param_names")))


def _counts(built: Built) -> dict[int, int]:
    """In how many groups each parameter is."""
    counts: dict[int, int] = {}
    for wrapper in built.wrappers.values():
        for group in wrapper.param_groups:
            for parameter in group["params"]:
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return bool(torch.equal(torch.as_tensor(one), torch.as_tensor(other)))
    return bool(one == other)


CHECKS: Mapping[str, Check[Trial]] = {
    "builds": _builds,
    "covers-each-once": _covers_each_once,
    "leaves-frozen-out": _leaves_frozen_out,
    "gives-reasons": _gives_reasons,
    "is-pure": _is_pure,
}
