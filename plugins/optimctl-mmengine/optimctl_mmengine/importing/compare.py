"""An imported job against MMEngine itself: the options of each parameter, the values of each iteration.

In this room: ``compare``. Options are those that MMEngine's constructor gives the model of the configuration, where its package is
installed; else a made-up one, whose names are those of the rules. Values are those that MMEngine's schedulers step to. How many
iterations an epoch has, the data would say: runs by epoch are stepped with epochs of 7 and of 100.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper as build_theirs
from mmengine.registry import MODELS
from torch import nn
from torch.optim import Optimizer

from optimctl import build_optim_wrapper, preview_param_schedulers
from optimctl.errors import OptimctlError, raised_text
from optimctl_mmengine.importing.configuration import Configuration
from optimctl_mmengine.importing.forms import names_in
from optimctl_mmengine.importing.length import is_by_iteration
from optimctl_mmengine.importing.made_up import made_up_model
from optimctl_mmengine.importing.names import last, scope_of
from optimctl_mmengine.importing.optimizers import DEFAULTS, is_plural, one_cycle, torch_optimizer
from optimctl_mmengine.importing.schedules import NAMES, STEPPER, steppers
from optimctl_mmengine.importing.stepping import Loop, Stepped, stepped
from optimctl_mmengine.registries import in_scope, is_there

EPOCH_LENGTHS = (7, 100)
"""Iterations an epoch, where the configuration does not say: one below the usual warm-up, and one above."""
MOST = 2_000_000
"""Iterations of the longest run that is stepped: about ten seconds."""
CLOSE = 1e-9
"""Of the base: values that differ by less are the same."""
NOT_COMPARED = ("params", "param_names", "lr_mult", "decay_mult", "fused", "foreach", "capturable", "differentiable")


def compare(configuration: Configuration, job: Mapping[str, Any]) -> dict[str, str]:
    """Whether options and values are MMEngine's, a sentence each.

    Args:
        configuration: As MMEngine read it.
        job: The resolved job that it became, as plain values.
    """
    return {"options": _options(configuration, job), "values": _values(configuration.settings, job)}


# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One optimizer, with what is said of it there and here."""

    name: str
    wrapper: Mapping[str, Any]
    schedules: Any
    own: Mapping[str, Any]
    tables: Any


def _values(settings: Mapping[str, Any], job: Mapping[str, Any]) -> str:
    hooks = steppers(settings)
    foreign = next((name for name in hooks if name != STEPPER), None)
    if foreign is not None:
        return f"not checked: the schedule is {foreign}'s"
    if len(hooks) > 1:
        return f"not checked: {len(hooks)} hooks step the schedules"
    if not settings.get("param_scheduler"):
        return "no schedule"
    if not isinstance(settings.get("train_cfg"), Mapping) or "train_cfg" not in job or "optim_wrapper" not in job:
        return "not checked: it says nothing of the run's length, or of an optimizer"
    found = {part.name: _values_of(part, settings, job["train_cfg"]) for part in _parts(settings, job)}
    wrong = {name: text for name, text in found.items() if not text.startswith("same")}
    if not wrong:
        return next(iter(found.values()), "no schedule")
    return "; ".join(f"{name}: {text}" if len(found) > 1 else text for name, text in wrong.items())


def _parts(settings: Mapping[str, Any], job: Mapping[str, Any]) -> Iterator[_Part]:
    theirs, ours = settings["optim_wrapper"], job["optim_wrapper"]
    schedules, tables = settings["param_scheduler"], job.get("param_scheduler", [])
    if not is_plural(theirs):
        yield _Part("", theirs, schedules, ours, tables)
        return
    by_name = isinstance(schedules, Mapping) and "type" not in schedules
    for name, own in ours.items():
        mine = tables.get(name, []) if isinstance(tables, Mapping) else tables
        yield _Part(name, theirs[name], schedules.get(name) if by_name else schedules, own, mine)


def _values_of(part: _Part, settings: Mapping[str, Any], train_cfg: Mapping[str, Any]) -> str:
    """One optimizer's values in every iteration."""
    if not part.schedules:
        return "same"
    if any(not isinstance(table, Mapping) for table in _tables(part.schedules)):
        return "not checked: MMEngine takes tables, and what is none was left out"
    unknown = sorted({last(table.get("type")) for table in _tables(part.schedules)} - NAMES)
    if unknown:
        return f"not checked: MMEngine has no {' and no '.join(unknown)}, and it was left out"
    loop = Loop(is_by_iteration(settings), is_stepped=bool(steppers(settings)))
    said = [part.schedules, part.wrapper["optimizer"], part.tables, dict(train_cfg), asdict(loop)]
    return _values_in_words(json.dumps(said, default=str), part.own.get("accumulative_counts", 1))


@functools.lru_cache(maxsize=4096)
def _values_in_words(arguments: str, counts: int) -> str:
    schedules, optimizer, tables, train_cfg, said = json.loads(arguments)
    loop = Loop(**said)
    needs_length = not loop.by_iteration or any("convert_to_iter_based" in one for one in _tables(schedules))
    lengths = EPOCH_LENGTHS if needs_length else (train_cfg.get("epoch_length", EPOCH_LENGTHS[1]),)
    iterations = 0
    longest = max(loop.iterations(train_cfg, length) for length in lengths)
    if longest > MOST:
        return f"not checked: {longest:,} iterations take too long"
    for length in lengths:
        try:
            theirs = stepped(_tables(schedules), optimizer, length, train_cfg, loop)
        except Exception as error:
            return f"not checked: MMEngine cannot step them: {raised_text(error).splitlines()[0]}"
        try:
            text = _apart(theirs, tables, train_cfg, length, counts)
        except OptimctlError as error:
            return f"differ: optimctl cannot: {str(error).splitlines()[0]}"
        if text:
            return text
        iterations = max(iterations, *map(len, theirs.values.values()))
    epochs = f", epochs of {' and '.join(map(str, lengths))}" if needs_length else ""
    return f"same ({iterations:,} iterations{epochs})"


def _tables(schedules: Any) -> list[Mapping[str, Any]]:
    return [schedules] if isinstance(schedules, Mapping) else names_in(schedules)


def _apart(theirs: Stepped, tables: Any, train_cfg: Mapping[str, Any], length: int, counts: int) -> str:
    """Where the values differ first, and by how much; nothing where they do not."""
    ours = preview_param_schedulers(
        tables,
        theirs.bases,
        epoch_length=train_cfg.get("epoch_length", length),
        max_epochs=train_cfg.get("max_epochs"),
        max_iters=train_cfg.get("max_iters"),
        accumulative_counts=counts,
    )
    for option, base in theirs.bases.items():
        expected = np.asarray(theirs.values[option])
        distance = np.abs(ours[option] - expected) / np.maximum(np.abs(expected), abs(base) or 1.0)
        if distance.max() > CLOSE:
            first = int(np.argmax(distance > CLOSE))
            return f"differ: {option} from iteration {first + 1} on, by up to {distance.max():.2g} of it"
    return ""


# --- options ----------------------------------------------------------------------------------------------------------


def _options(configuration: Configuration, job: Mapping[str, Any]) -> str:
    settings = configuration.settings
    wrapper, own = settings.get("optim_wrapper"), job.get("optim_wrapper")
    if not isinstance(wrapper, Mapping) or not own:
        return "no optimizer"
    unknown = _needs_package(wrapper, scope_of(settings))
    if unknown:
        return f"not checked: {unknown}"
    model, what = _model(settings, wrapper)
    try:
        with in_scope(scope_of(settings) if _is_installed(settings) else None):
            theirs = _by_parameter(model, _built_by_them(model, wrapper))
    except Exception as error:
        return f"not checked: MMEngine cannot build it: {raised_text(error).splitlines()[0]}"
    try:
        ours = _by_parameter(model, _built_by_us(model, own))
    except OptimctlError as error:
        return f"differ: optimctl cannot: {str(error).splitlines()[0]}"
    besides = ""
    if one_cycle(settings):
        besides = ", but for the learning rate, which is OneCycleLR's"
        for options in (*theirs.values(), *ours.values()):
            options.pop("lr", None)
    text = _difference(theirs, ours)
    return f"differ: {text}" if text else f"same ({len(ours)} parameters of {what}{besides})"


def _is_installed(settings: Mapping[str, Any]) -> bool:
    scope = scope_of(settings)
    return scope is not None and is_there(scope)


def _needs_package(wrapper: Mapping[str, Any], scope: str | None) -> str:
    """What only the package has, where that is not installed."""
    if scope is not None and is_there(scope):
        return ""
    for table in _wrappers(wrapper).values():
        kind, constructor = table["optimizer"].get("type"), table.get("constructor")
        if constructor is not None and last(constructor) not in DEFAULTS:
            return f"{last(constructor)} is a constructor of {scope or 'a package'}, which is not installed"
        if torch_optimizer(kind) is None:
            return f"{last(kind)} is an optimizer of {scope or 'a package'}, which is not installed"
    return ""


def _model(settings: Mapping[str, Any], wrapper: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """The configuration's own model, or one that is made up; and which it is."""
    if _is_installed(settings) and isinstance(settings.get("model"), Mapping):
        try:
            with in_scope(scope_of(settings)), torch.device("cpu"):
                from mmengine.config import ConfigDict

                cfg = ConfigDict(copy.deepcopy(dict(settings["model"])))
                if settings.get("data_preprocessor") is not None:
                    cfg.setdefault("data_preprocessor", settings["data_preprocessor"])
                return MODELS.build(cfg), f"the model {last(settings['model'].get('type'))}"
        except Exception:
            pass  # the made-up one shows less, but it shows something
    names = list(_wrappers(wrapper)) if is_plural(wrapper) else []
    return made_up_model(wrapper, names), "a made-up model"


def _wrappers(wrapper: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The table of each optimizer by its name; one that is alone has none."""
    if not is_plural(wrapper):
        return {"": wrapper}
    return {
        name: table
        for name, table in wrapper.items()
        if isinstance(table, Mapping) and isinstance(table.get("optimizer"), Mapping)
    }


def _built_by_them(model: nn.Module, wrapper: Mapping[str, Any]) -> dict[str, Optimizer]:
    """The optimizers of MMEngine's own constructors, in full precision: mixed precision needs a GPU there."""
    return {
        name: build_theirs(model.get_submodule(name), _full_precision(table)).optimizer
        for name, table in _wrappers(wrapper).items()
    }


def _full_precision(wrapper: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("optimizer", "paramwise_cfg", "constructor")
    table = {name: copy.deepcopy(value) for name, value in wrapper.items() if name in kept and value is not None}
    if isinstance(table.get("paramwise_cfg"), dict):
        table["paramwise_cfg"].setdefault("bypass_duplicate", True)
    if last(table.get("constructor")) in DEFAULTS:
        table.pop("constructor", None)
    return {"type": "OptimWrapper", **table}


def _built_by_us(model: nn.Module, wrapper: Mapping[str, Any]) -> dict[str, Optimizer]:
    plain = ("type", "dtype", "loss_scale")
    several = "optimizer" not in wrapper
    tables = wrapper.items() if several else [("", wrapper)]
    full = {name: {k: v for k, v in table.items() if k not in plain} for name, table in tables}
    built = build_optim_wrapper(model, full if several else full[""])
    return {name: one.optimizer for name, one in built.items()} if several else {"": built.optimizer}  # type: ignore[union-attr]


def _by_parameter(model: nn.Module, optimizers: Mapping[str, Optimizer]) -> dict[tuple[str, str], dict[str, Any]]:
    """The options of every trainable parameter, by optimizer and name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        (optimizer_name, names[id(parameter)]): {
            option: value
            for option, value in group.items()
            if option in optimizer.defaults and option not in NOT_COMPARED
        }
        for optimizer_name, optimizer in optimizers.items()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    }


def _difference(theirs: Mapping[Any, Mapping[str, Any]], ours: Mapping[Any, Mapping[str, Any]]) -> str:
    """The first parameter that is not the same, and how many there are."""
    wrong = [key for key in theirs if key not in ours or not _alike(theirs[key], ours[key])]
    wrong += [key for key in ours if key not in theirs]
    if not wrong:
        return ""
    _, name = wrong[0]
    first = {o: (v, ours.get(wrong[0], {}).get(o)) for o, v in theirs.get(wrong[0], {}).items()}
    apart = ", ".join(f"{o} is {v} there and {w} here" for o, (v, w) in first.items() if not _equal(v, w))
    return f"{len(wrong)} of {len(theirs)} parameters, as {name}: {apart or 'one of them leaves it out'}"


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_equal(value, other[option]) for option, value in one.items())


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (one, other))
    return math.isclose(one, other, rel_tol=1e-12) if numbers else bool(one == other)


__all__ = ["compare"]
