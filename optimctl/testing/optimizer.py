"""``check_optimizer``: what a run expects of an optimizer.

Every check trains a small model through ``OptimWrapper``, the optimizer built by the job's own rules, so that a plugin is checked
the way it will be used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optimctl.assemble import assemble
from optimctl.job.load import job_from_dict
from optimctl.optim import OptimWrapper
from optimctl.plan.plan import make_plan
from optimctl.testing.subject import Check, named, run_checks
from optimctl.testing.training import SmallNet, Training, Trial, WithIdle, apart, seed_chance

MOST_UPDATES = 320
"""How long an optimizer is given to lower a loss."""
LOWER = 0.995
"""What of the first loss may be left then."""
SAME = 1e-3
"""Two ways that should lead to the same end, where rounding may differ: how far apart they may be (see ``apart``)."""
ALIKE = 0.05
"""The same, where the gradients themselves are sums in another order: a sign that turns is no mistake."""
DECAY = 0.1


def check_optimizer(optimizer: Any, *, model: Callable[[], nn.Module] | None = None, **arguments: Any) -> None:
    """Whether an optimizer does in a run what a job asks of it.

    It is built for a small model; lowers a loss; goes on from a checkpoint as if nothing had happened; keeps to the options of
    each group, also where a schedule moves them; passes over parameters without a gradient and survives gradients of zero; and
    copes with accumulation, clipping, closures, second derivatives and ``train()``/``eval()``, where it asks for them; and
    can be planned. It takes a second or less.

    Args:
        optimizer: The class or callable behind the entry point, or the plugin's name.
        model: Makes a model from inputs of shape (N, 8) to scores of shape (N, 3), where the one that is used by default, which
            has tensors of one, two and three dimensions, will not do: ``lambda: nn.Linear(8, 3, bias=False)`` for matrices only.
        arguments: As a job's table has them. Give a learning rate with which a small model learns in some hundred steps.

    Raises:
        CheckFailed: With all that was found.
        PluginError: No plugin has that name.
        UsageError: It is no optimizer at all.
    """
    with named("optimizers", optimizer) as name, torch.random.fork_rng(devices=[]):
        run_checks(name, Trial(name, arguments, model or SmallNet), CHECKS, first=("builds", "steps"))


def _builds(trial: Trial) -> Iterator[str]:
    """It is made of parameter groups and a job's arguments."""
    trial.start()
    yield from ()


def _steps(trial: Trial) -> Iterator[str]:
    """An update can be taken at all, the way the class says."""
    training = trial.start()
    try:
        evaluated = training.iteration(training.whole)
    except Exception:
        way = next((way for way, flag in _WAYS.items() if _steps_with(trial, flag)), None)
        if way is None:
            raise
        yield way
        return
    if training.wrapper.requires_closure and evaluated is None:
        yield (
            "it says requires_closure and never calls the closure that step(closure) gets, so that no gradient is ever computed; "
            "call it, or take requires_closure away"
        )


_WAYS = {
    (
        "step() works only with a closure, which a run passes to an optimizer that asks for it; "
        "write requires_closure = True in the class"
    ): "requires_closure",
    (
        "step() works only on gradients that have a graph of their own, which a run makes for an optimizer that asks for it; "
        "write requires_create_graph = True in the class"
    ): "requires_create_graph",
}
"""What to say where an optimizer steps only as if its class had an attribute."""


def _steps_with(trial: Trial, flag: str) -> bool:
    plain = trial.start()
    setattr(plain.wrapper.optimizer, flag, True)
    training = Training(plain.model, OptimWrapper(plain.wrapper.optimizer))
    try:
        return training.iteration(training.whole) is not None
    except Exception:
        return False


def _lowers_a_loss(trial: Trial) -> Iterator[str]:
    """Training goes downhill."""
    training = trial.start()
    first, done, more = float(training.loss(training.whole).detach()), 0, 20
    while done < MOST_UPDATES:
        training.update(more)
        done, more = done + more, done + more
        loss = training.final_loss()
        if not math.isfinite(loss):
            yield f"the loss is {loss} after {done} updates; a smaller learning rate may help, else the step is not safe (0 / 0?)"
            return
        if loss < LOWER * first:
            return
    yield (
        f"after {done} updates the loss is {loss:.4g}, and it was {first:.4g} before; look at the sign of the step, "
        "or pass a learning rate with which a small model learns, as check_optimizer(..., lr=0.1)"
    )


def _resumes(trial: Trial) -> Iterator[str]:
    """A checkpoint, taken before the first update or after some, is all that a resumed run needs."""
    for updates in (0, 5):
        straight = trial.start()
        straight.update(updates)
        checkpoint = straight.save()
        start = straight.values()
        resumed = trial.start(seed=1)
        try:
            resumed.load(checkpoint)
        except Exception as error:
            yield f"its state does not load after {updates} updates: {_cause(error)}; keep tensors, numbers, strings and lists of them"
            return
        ends = [_updated(training, trial.standing + 5) for training in (straight, resumed)]
        if apart(ends[1], ends[0], start) > SAME:
            yield (
                f"a run that is resumed after {updates} updates goes another way than one that went on; what a step remembers "
                "belongs in self.state (tensor by tensor) or in the groups, and nowhere else: state_dict() knows no more"
            )
            return


def _cause(error: Exception) -> str:
    """An error in a line; of a checkpoint that holds more than plain values, what it holds."""
    foreign = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    first = str(error).strip().partition("\n")[0]
    return f"it holds a {foreign[1]}" if foreign else f"{type(error).__name__}: {first}".rstrip(": ")


def _updated(training: Training, updates: int) -> Tensor:
    """Where a training ends after some updates; chance is the same for all."""
    seed_chance(11)
    training.update(updates)
    return training.values()


def _lr_of_zero(trial: Trial) -> Iterator[str]:
    """A group whose learning rate is 0 stays where it is, and the others move."""
    if not _has_number(trial, "lr"):
        return
    name = _largest(trial)
    training = trial.start(rules={name: {"lr": 0.0}})
    before, all_before = training.values(name), training.values()
    training.update(trial.standing + 5)
    if not torch.equal(training.values(name), before):
        yield (
            "a group with lr = 0 moves; that is what lr_mult = 0 and the start of a warm-up mean, so multiply the whole step by "
            'group["lr"], the decay too'
        )
    elif len(all_before) > len(before) and torch.equal(training.values(), all_before):
        yield 'where one group has lr = 0, all stand still; read the options of each group, group["lr"], and not those of the first'


def _follows_lr(trial: Trial) -> Iterator[str]:
    """A schedule's next value counts from the next step on."""
    if not _has_number(trial, "lr"):
        return
    steady, scheduled = trial.start(), trial.start()
    for training in (steady, scheduled):
        _updated(training, trial.standing + 4)
    for group in scheduled.wrapper.param_groups:
        group["lr"] = 0.1 * group["lr"]
    if torch.equal(_updated(steady, 4), _updated(scheduled, 4)):
        yield (
            'a learning rate that is changed between two steps changes nothing, so that no schedule works; read group["lr"] in '
            "each step, and keep no copy of it"
        )


def _decays_by_group(trial: Trial) -> Iterator[str]:
    """Weight decay is an option of each group, where it is one at all."""
    if not _has_number(trial, "weight_decay"):
        return
    free = {name: {"weight_decay": 0.0} for name, _ in trial.make_model().named_parameters()}
    name, updates = _largest(trial), trial.standing + 6
    ends = [_updated(trial.start(rules={**free, name: {"weight_decay": decay}}), updates) for decay in (0.0, DECAY)]
    if torch.equal(*ends):
        yield (
            f"a group with weight_decay = {DECAY} goes the same way as without, so that rules such as norm_decay_mult mean nothing; "
            'read group["weight_decay"] in each step, or keep it out of the defaults'
        )


def _passes_over_unused(trial: Trial) -> Iterator[str]:
    """A parameter that took no part in the loss has no gradient, and stays as it is."""
    training = trial.start(change=lambda model: WithIdle(model, used=False))
    before = training.values("idle")
    try:
        training.update(3)
        training.final_loss()
    except Exception as error:
        yield f"a parameter whose grad is None, since it took no part in the loss, stops it: {_cause(error)}; pass over it"
        return
    if not torch.equal(training.values("idle"), before):
        yield "a parameter whose grad is None, since it took no part in the loss, is moved; pass over it"


def _survives_zero(trial: Trial) -> Iterator[str]:
    """Gradients of exactly 0, as behind a dead ReLU, are no step and no 0 / 0."""
    training = trial.start(change=lambda model: WithIdle(model, used=True))
    training.update(3)
    if not training.values("idle").isfinite().all():
        yield "a parameter whose gradients are all 0 becomes nan; guard the division by a norm or a mean square with a small number"


def _accumulates(trial: Trial) -> Iterator[str]:
    """Two small batches make the update of one twice as large, and nothing happens between them."""
    whole, halves = trial.start(), trial.start(accumulative_counts=2)
    start = halves.values()
    halves.switch(training=True)
    first, second = halves.halves
    seed_chance(3)
    halves.iteration(first)
    if not torch.equal(halves.values(), start):
        yield (
            "the parameters move before the accumulation window is over; all that moves them belongs in step(), not in a hook of "
            "the backward pass"
        )
        return
    halves.iteration(second)
    seed_chance(3)
    whole.update()
    updates = trial.standing + 2
    difference = apart(_updated(halves, updates), _updated(whole, updates), start)
    if difference > ALIKE and difference > ALIKE + _rounding(trial, updates + 1):
        yield (
            "two batches of an accumulation window do not give the update of one batch of both; use what stands in parameter.grad "
            "when step() is called, and count steps, not backward passes"
        )


def _rounding(trial: Trial, updates: int) -> float:
    """How far rounding alone leads apart: a preconditioner that is all but singular makes much of it."""
    straight, shuffled = trial.start(), trial.start()
    start = straight.values()
    shuffled.shuffle()
    return 3 * apart(_updated(shuffled, updates), _updated(straight, updates), start)


def _clips(trial: Trial) -> Iterator[str]:
    """What is clipped is what the step sees."""
    norm = _gradient_norm(trial.start())
    clipped = trial.start(clip_grad={"max_norm": 0.1 * norm})
    start, updates = clipped.values(), trial.standing + 4
    end = _updated(clipped, updates)
    if not end.isfinite().all() or torch.equal(end, start):
        yield "with clip_grad the parameters stand still or become nan; the step must work on gradients of any size"
        return
    if clipped.wrapper.requires_closure or getattr(clipped.wrapper.optimizer, "requires_create_graph", False):
        return  # the value of the loss, and the curvature, are not clipped with the gradients
    scaled = trial.start()
    scaled.weighed = lambda training, loss: loss * _coefficient(training, loss, 0.1 * norm)
    difference = apart(_updated(scaled, updates), end, start)
    if difference > ALIKE and difference > ALIKE + _rounding(trial, updates):
        yield (
            "clip_grad does not do what gradients that were smaller from the start do; use what stands in parameter.grad when "
            "step() is called, and no gradient that was noted before"
        )


def _gradient_norm(training: Training) -> float:
    loss = training.loss(training.whole)
    return float(_norm(torch.autograd.grad(loss, list(training.model.parameters()))))


def _coefficient(training: Training, loss: Tensor, most: float) -> float:
    """What ``clip_grad_norm_`` would multiply the gradients by."""
    norm = _norm(torch.autograd.grad(loss, list(training.model.parameters()), retain_graph=True))
    return min(1.0, most / (float(norm) + 1e-6))


def _norm(gradients: tuple[Tensor, ...]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    return norm


def _switches(trial: Trial) -> Iterator[str]:
    """``eval()`` and ``train()`` lead there and back, however often each is called."""
    training = trial.start()
    has = [name for name in ("train", "eval") if callable(getattr(training.wrapper.optimizer, name, None))]
    if not has:
        return
    if len(has) == 1:
        yield f"it has {has[0]}() alone; a run calls train() before it trains and eval() before it validates or saves: have both"
        return
    try:
        training.switch(training=False)
    except Exception as error:
        yield f"eval() before the first update fails: {_cause(error)}; a run that is stopped early saves, and calls it before that"
        return
    training.update(trial.standing + 5)
    start = trial.start().values()
    weights: dict[str, list[Tensor]] = {}
    for name in ("train", "train", "eval", "eval", "train"):
        training.switch(training=name == "train")
        weights.setdefault(name, []).append(training.values())
    for name, seen in weights.items():
        if any(apart(other, seen[0], start) > SAME for other in seen):
            yield (
                f"{name}() does not always lead to the same weights; a run may call it twice in a row, so note in the groups whether "
                "it is training, and do nothing where nothing changes"
            )


def _is_planned(trial: Trial) -> Iterator[str]:
    """``inspect`` can show it: every parameter in a group, every option a plain value."""
    job = job_from_dict({"optim_wrapper": trial.table(), "train_cfg": {"max_iters": 10, "epoch_length": 5}})
    model = trial.make_model()
    plan = make_plan(assemble(job, model=model))
    missing = {name for name, p in model.named_parameters() if p.requires_grad} - {met.name for met in plan.parameters}
    if missing:
        yield f"the plan does not show {', '.join(sorted(missing))}; keep every parameter that it is given in self.param_groups"
    for group in plan.as_json()["optimizers"][0]["groups"]:
        for option, value in group["options"].items():
            if not _is_plain(value):
                yield (
                    f"the option '{option}' is {value!r}, which a plan can neither show nor compare; keep what is no number, "
                    "string or list of them out of the defaults"
                )
        break  # the groups differ in values, not in options


def _is_plain(value: Any) -> bool:
    if isinstance(value, (torch.dtype, torch.device)):
        return True
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def _has_number(trial: Trial, option: str) -> bool:
    value = trial.defaults.get(option)
    return (isinstance(value, (int, float)) and not isinstance(value, bool)) or isinstance(value, Tensor)


def _largest(trial: Trial) -> str:
    """The parameter with the most numbers, which every rule about dimensions takes for a weight."""
    return max(trial.make_model().named_parameters(), key=lambda named: named[1].numel())[0]


CHECKS: Mapping[str, Check[Trial]] = {
    "builds": _builds,
    "steps": _steps,
    "lowers-a-loss": _lowers_a_loss,
    "resumes": _resumes,
    "lr-of-zero": _lr_of_zero,
    "follows-lr": _follows_lr,
    "decays-by-group": _decays_by_group,
    "passes-over-unused": _passes_over_unused,
    "survives-zero": _survives_zero,
    "accumulates": _accumulates,
    "clips": _clips,
    "switches": _switches,
    "is-planned": _is_planned,
}
