"""``optim_wrapper``: the optimizer and its rules, as MMEngine's default constructor reads them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import optim

from optimctl.errors import Key
from optimctl_mmengine.exporting.page import Page
from optimctl_mmengine.importing.optimizers import RULES
from optimctl_mmengine.registries import with_scope
from optimctl_mmengine.values import from_toml

DEFAULT = "DefaultOptimWrapperConstructor"
OURS = "optimctl_mmengine.OptimctlConstructor"
SAME = tuple(rule for rule in RULES if rule != "custom_keys")
"""Rules that mean the same in MMEngine."""
FOLDED: Mapping[str, str] = {"lr_mult": "lr", "decay_mult": "weight_decay"}
"""Rules that MMEngine ignores, and the option that they multiply of every parameter."""


def write_optim_wrapper(job: Mapping[str, Any], page: Page) -> None:
    """Write ``optim_wrapper``."""
    table, key = job.get("optim_wrapper"), ("optim_wrapper",)
    if table is None:
        return
    if "optimizer" in table:
        page.settings["optim_wrapper"] = _wrapper(table, page, key)
        return
    if table.get("constructor") is not None and name_of(table["constructor"]) != DEFAULT:
        page.refuse((*key, "constructor"), "MMEngine has no such constructor of several optimizers")
    tables = {name: _wrapper(own, page, (*key, name)) for name, own in table.items() if name != "constructor"}
    page.say(
        "optim_wrapper",
        "MMEngine's own constructor builds one optimizer; this one builds one for each of these sub-modules.",
    )
    page.settings["optim_wrapper"] = {"constructor": OURS, **tables}


def name_of(table: Any) -> str:
    """What a table, or a bare string, names; optimctl's own without its distribution."""
    name = table if isinstance(table, str) else table.get("type", "")
    return str(name).removeprefix("optimctl/").removeprefix("optimctl-mmengine/")


def _wrapper(table: Mapping[str, Any], page: Page, key: Key) -> dict[str, Any]:
    kind = name_of(table.get("type", "OptimWrapper"))
    written: dict[str, Any] = {"type": kind}
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        page.refuse((*key, "type"), f"MMEngine has no wrapper called '{kind}'")
    optimizer = _optimizer(table["optimizer"], page, (*key, "optimizer"))
    rules = dict(table.get("paramwise_cfg") or {})
    constructor = table.get("constructor", DEFAULT)
    if name_of(constructor) == "MMEngine":
        written["constructor"] = with_scope(constructor.get("name", DEFAULT), constructor.get("scope"))
        rules = from_toml(rules)
    elif name_of(constructor) == DEFAULT:
        rules = _rules(rules, optimizer, table["optimizer"], page, (*key, "paramwise_cfg"))
    else:
        page.refuse((*key, "constructor"), f"MMEngine has no constructor called '{name_of(constructor)}'")
    written["optimizer"] = optimizer
    if rules:
        written["paramwise_cfg"] = rules
    for option in ("accumulative_counts", "clip_grad", "dtype", "loss_scale"):
        if option in table:
            written[option] = table[option]
    if isinstance(written.get("loss_scale"), int):
        written["loss_scale"] = float(written["loss_scale"])  # MMEngine takes a float for a number
    return written


def _optimizer(table: Mapping[str, Any], page: Page, key: Key) -> dict[str, Any]:
    """The optimizer: torch's, or one of MMEngine's registry."""
    kind = name_of(table)
    options = {name: value for name, value in table.items() if name != "type"}
    if kind == "MMEngine":
        scope, name = options.pop("scope", None), options.pop("name", "")
        options.pop("imports", None)
        return {"type": with_scope(name, scope), **from_toml(options)}
    found = torch_class(kind)
    if found is None:
        page.refuse((*key, "type"), f"MMEngine has no optimizer called '{kind}'")
        return {"type": kind, **options}
    defaults = inspect.signature(found).parameters
    tuples = {name for name, one in defaults.items() if isinstance(one.default, tuple)}
    own = {name: tuple(value) if name in tuples else value for name, value in options.items()}
    return {"type": "TorchAdafactor" if kind == "Adafactor" else kind, **own}


def torch_class(kind: str) -> type[optim.Optimizer] | None:
    """The optimizer of torch that a name means."""
    found = getattr(optim, kind, None)
    return (
        found
        if inspect.isclass(found) and issubclass(found, optim.Optimizer) and found is not optim.Optimizer
        else None
    )


def default_of(table: Mapping[str, Any], option: str) -> Any:
    """What an optimizer of torch takes for an option that the job does not give."""
    found = torch_class(name_of(table))
    one = inspect.signature(found).parameters.get(option) if found else None
    return None if one is None or one.default is one.empty else one.default


# --- rules ------------------------------------------------------------------------------------------------------------


def _rules(
    rules: Mapping[str, Any], optimizer: dict[str, Any], table: Mapping[str, Any], page: Page, key: Key
) -> dict[str, Any]:
    """``paramwise_cfg``; what MMEngine multiplies must be written out in the optimizer, and what it ignores is worked in there."""
    if not rules:
        return {}
    for option in ("lr", "weight_decay"):
        value = optimizer.get(option, default_of(table, option))
        if value is not None:
            optimizer[option] = value
    for word, option in FOLDED.items():
        if rules.get(word) is not None and optimizer.get(option) is not None:
            before = optimizer[option]
            optimizer[option] = before * rules[word]
            page.say(
                "optim_wrapper", f"{option} is {before} times {word} = {rules[word]}: MMEngine does not read {word}."
            )
    written = {word: rules[word] for word in SAME if word in rules}
    for word in ("norm_types", "no_weight_decay"):
        if rules.get(word):
            page.refuse((*key, word), f"MMEngine has no '{word}'; custom_keys can name such parameters")
    if "norm_decay_mult" in written:
        page.say(
            "optim_wrapper", "To MMEngine, norm layers are batch, instance, group and layer norm; RMSNorm is none."
        )
    keys = rules.get("custom_keys", {})
    found = {name: _custom_key(name, words, page, (*key, "custom_keys", name)) for name, words in keys.items()}
    return {**written, **({"custom_keys": found} if found else {})}


def _custom_key(name: str, words: Mapping[str, Any], page: Page, key: Key) -> dict[str, Any]:
    if name.startswith(("glob:", "re:")):
        page.refuse(key, "MMEngine knows parts of names, and no patterns")
    if words.get("freeze"):
        page.refuse((*key, "freeze"), "MMEngine freezes nothing by rule; set requires_grad in the model")
    return {word: value for word, value in words.items() if word != "freeze"}


__all__ = ["DEFAULT", "OURS", "default_of", "name_of", "torch_class", "write_optim_wrapper"]
