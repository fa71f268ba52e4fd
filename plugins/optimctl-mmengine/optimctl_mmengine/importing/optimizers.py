"""``optim_wrapper``: the optimizer, its rules, and how a step is taken."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import optim

from optimctl.errors import Key, nearest
from optimctl_mmengine.importing.draft import Draft
from optimctl_mmengine.importing.forms import TABLE, TEXT, names_in
from optimctl_mmengine.importing.names import last, names_parts, scope_of
from optimctl_mmengine.values import listed, shown

DEFAULTS = ("DefaultOptimWrapperConstructor", "OptimctlConstructor")
"""Constructors whose groups optimctl makes anyway."""
OF_SEVERAL = (*DEFAULTS, "MultiOptimWrapperConstructor", "GenOptimWrapperConstructor")
"""Constructors of several optimizers by the names of their sub-modules, which the format says by itself."""
WORDS = ("type", "accumulative_counts", "clip_grad", "optimizer", "constructor", "paramwise_cfg")
OF_MIXED = ("dtype", "loss_scale")
"""What is dealt with in ``optim_wrapper``, and that of mixed precision."""
RULES = (
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "flat_decay_mult",
    "dwconv_decay_mult",
    "dcn_offset_lr_mult",
    "bypass_duplicate",
    "custom_keys",
)
"""What MMEngine's default constructor reads in ``paramwise_cfg``."""
IGNORED = ("lr_mult", "decay_mult")
"""What MMEngine's documentation has in ``paramwise_cfg``, and its constructor does not read."""
LR_RULES = ("bias_lr_mult", "dcn_offset_lr_mult")
PATTERNS = ("glob:", "re:")
"""What makes a custom key a pattern here; in MMEngine it is a part of a name like any other, and no name has such a part."""


def convert_optim_wrapper(settings: Mapping[str, Any], draft: Draft) -> None:
    """Carry ``optim_wrapper`` over."""
    key = ("optim_wrapper",)
    wrapper = draft.known(settings, "optim_wrapper", TABLE, key)
    if wrapper is None:
        return
    scope = scope_of(settings)
    if not is_plural(wrapper):
        _convert_one(wrapper, draft, key, scope, one_cycle(settings))
        return
    constructor = draft.known(wrapper, "constructor", TEXT, key)
    if constructor is not None and last(constructor) not in OF_SEVERAL:
        why = "it builds optimizers in a way of its own; here each sub-module that is named has one"
        draft.leave_out(key, f"constructor = {shown(constructor)}", why)
    for name, table in wrapper.items():
        if isinstance(table, Mapping) and "optimizer" in table:
            _convert_one(table, draft, (*key, name), scope, one_cycle(settings))
        elif name != "constructor" and table is not None:
            draft.leave_out(key, f"{name} = {shown(table)}", "it is no table with an optimizer")


def is_plural(wrapper: Any) -> bool:
    """Whether ``optim_wrapper`` has several optimizers by name."""
    if not isinstance(wrapper, Mapping):
        return False
    tables = [value for value in wrapper.values() if isinstance(value, Mapping)]
    return "optimizer" not in wrapper and any("optimizer" in table for table in tables)


def one_cycle(settings: Mapping[str, Any]) -> bool:
    """Whether a ``OneCycleLR`` gives every group the same values, whatever its multiplier."""
    schedules = settings.get("param_scheduler")
    tables = [schedules] if isinstance(schedules, Mapping) else names_in(schedules)
    return any(isinstance(table, Mapping) and last(table.get("type")) == "OneCycleLR" for table in tables)


def _convert_one(wrapper: Mapping[str, Any], draft: Draft, key: Key, scope: str | None, one_cycle: bool) -> None:
    mixed = _convert_type(wrapper, draft, key)
    counts = wrapper.get("accumulative_counts")
    if counts not in (None, 1):
        draft.put_plain((*key, "accumulative_counts"), counts, "accumulative_counts")
    clip = draft.known(wrapper, "clip_grad", TABLE, (*key, "clip_grad"))
    if clip is not None:
        draft.put_plain((*key, "clip_grad"), listed(clip), "clip_grad")
    optimizer = draft.known(wrapper, "optimizer", TABLE, key)
    if optimizer is not None and draft.known(optimizer, "type", TEXT, key):
        _convert_optimizer(optimizer, draft, (*key, "optimizer"), scope)
    elif optimizer is not None:
        draft.leave_out(key, f"optimizer = {shown(dict(optimizer))}", "it names no class")
    _convert_rules(wrapper, optimizer or {}, draft, key, scope, one_cycle)
    taken = (*WORDS, *(OF_MIXED if mixed else ()), "_scope_", "_delete_")
    draft.leave_rest(key, wrapper, taken, "optim_wrapper", "the wrapper has no such argument")


def _convert_type(wrapper: Mapping[str, Any], draft: Draft, key: Key) -> bool:
    """The wrapper's class, and what belongs to mixed precision; whether its words are dealt with."""
    kind = draft.known(wrapper, "type", TEXT, key)
    name = "OptimWrapper" if kind is None else last(kind)
    dtype = wrapper.get("dtype")
    if name != "AmpOptimWrapper":
        if name != "OptimWrapper":
            draft.leave_out(key, f"type = {shown(kind)}", "there is OptimWrapper and AmpOptimWrapper here")
        return False
    if dtype in ("float32", "float64"):
        draft.leave_out(key, f"AmpOptimWrapper with dtype = {shown(dtype)}", "that is no mixed precision")
        return True
    draft.put((*key, "type"), name)
    for option in OF_MIXED:
        if wrapper.get(option) is not None:
            draft.put_plain((*key, option), wrapper[option], option)
    return True


def _convert_optimizer(optimizer: Mapping[str, Any], draft: Draft, key: Key, scope: str | None) -> None:
    """An optimizer of torch by its name; another one through MMEngine's registry."""
    name = last(optimizer.get("type"))
    if torch_optimizer(optimizer.get("type")):
        draft.put((*key, "type"), name.removeprefix("Torch"))
    else:
        draft.put((*key, "type"), "MMEngine")
        draft.put((*key, "name"), name)
        own = names_parts(optimizer.get("type"))[0] or scope
        if own:
            draft.put((*key, "scope"), own)
    for option, value in optimizer.items():
        if option not in ("type", "_scope_", "_delete_") and value is not None:
            draft.put_plain((*key, option), alike(listed(value)), option)


def alike(value: Any) -> Any:
    """An array of numbers as numbers of one type: torch refuses betas of a whole number and a fraction."""
    mixed = isinstance(value, list) and {type(item) for item in value} == {int, float}
    return [float(item) for item in value] if mixed else value


def torch_optimizer(kind: Any) -> type[optim.Optimizer] | None:
    """The class of torch that MMEngine's registry has under a name; ``Adafactor`` there is transformers'."""
    name = last(kind)
    if name == "Adafactor" and kind == name:
        return None
    found = getattr(optim, name.removeprefix("Torch"), None) if name else None
    return (
        found
        if inspect.isclass(found) and issubclass(found, optim.Optimizer) and found is not optim.Optimizer
        else None
    )


# --- rules ------------------------------------------------------------------------------------------------------------


def _convert_rules(
    wrapper: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    draft: Draft,
    key: Key,
    scope: str | None,
    one_cycle: bool,
) -> None:
    constructor = draft.known(wrapper, "constructor", TEXT, (*key, "constructor"))
    at = (*key, "paramwise_cfg")
    if constructor is not None and last(constructor) not in DEFAULTS:
        own, name = names_parts(constructor)
        table = {"type": "MMEngine", "name": name, **({"scope": own or scope} if own or scope else {})}
        draft.put((*key, "constructor"), table)
        if rules := draft.known(wrapper, "paramwise_cfg", TABLE, at):
            draft.put_plain(at, dict(rules), "paramwise_cfg")
        return
    rules = draft.known(wrapper, "paramwise_cfg", TABLE, at) or {}
    _say_ignored(rules, draft, at)
    for rule in RULES[:-1]:
        if rules.get(rule) is not None and not _is_idle(rule, rules[rule], optimizer, one_cycle, draft, at):
            draft.put_plain((*at, rule), rules[rule], rule)
    for name, words in (draft.known(rules, "custom_keys", TABLE, (*at, "custom_keys")) or {}).items():
        _convert_custom_key(str(name), words, optimizer, one_cycle, draft, (*at, "custom_keys"))


def _say_ignored(rules: Mapping[str, Any], draft: Draft, key: Key) -> None:
    """The words of ``paramwise_cfg`` that MMEngine does not read."""
    for word, value in rules.items():
        if word in IGNORED:
            why = "its documentation has it and its constructor does not read it; here it would multiply every parameter's"
            draft.without_effect((*key, word), f"{word} = {shown(value)}", why)
        elif word not in RULES and word != "_delete_":
            hint = nearest(word, (*RULES, "_delete_"))
            draft.without_effect((*key, word), f"{word} = {shown(value)}", f"its constructor knows no such word{hint}")


def _is_idle(rule: str, value: Any, optimizer: Mapping[str, Any], one_cycle: bool, draft: Draft, key: Key) -> bool:
    """Whether a rule does nothing there, though it would here."""
    if rule in LR_RULES and one_cycle:
        draft.without_effect((*key, rule), f"{rule} = {shown(value)}", "OneCycleLR gives every group the same values")
        return True
    if rule == "flat_decay_mult" and optimizer.get("weight_decay") is None:
        draft.without_effect(
            (*key, rule), f"{rule} = {shown(value)}", "the optimizer's weight_decay is not written out"
        )
        return True
    return False


def _convert_custom_key(
    name: str, words: Any, optimizer: Mapping[str, Any], one_cycle: bool, draft: Draft, key: Key
) -> None:
    """One of ``custom_keys``; it silences the rules by type also where it says nothing."""
    if not isinstance(words, Mapping):
        draft.leave_out(key, f"{name!r} = {shown(words)}", "it is no table")
        return
    if name.startswith(PATTERNS):
        draft.without_effect(key, f"{name!r} = {shown(dict(words))}", "a key is a part of a name there, and no pattern")
        return
    kind = torch_optimizer(optimizer.get("type"))
    known = set(inspect.signature(kind).parameters) if kind else None
    draft.put((*key, name), {})
    for word, value in words.items():
        if word in ("lr_mult", "lr") and one_cycle:
            draft.without_effect(
                (*key, name), f"{word} = {shown(value)}", "OneCycleLR gives every group the same values"
            )
        elif word in ("lr_mult", "decay_mult") or known is None or word in known:
            draft.put_plain((*key, name, word), listed(value), word)
        else:
            why = f"it is no option of {last(optimizer.get('type'))}{nearest(word, (*(known or ()), 'lr_mult', 'decay_mult'))}"
            draft.without_effect((*key, name), f"{word} = {shown(value)}", why)


__all__ = ["PATTERNS", "alike", "convert_optim_wrapper", "is_plural", "one_cycle", "torch_optimizer"]
