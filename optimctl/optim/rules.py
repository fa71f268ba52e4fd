"""Paramwise rules: from the table ``paramwise_cfg`` to the options of one parameter.

In this room: ``Rules``, a pure function of a parameter's name, the parameter, its module and the module's parents. The
meaning is MMEngine's ``DefaultOptimWrapperConstructor`` (documentation: "Customize Optimizer"), but where DESIGN.md says
otherwise: ``lr_mult`` and ``decay_mult`` work, RMSNorm is a norm layer, a depth-wise convolution has any number of dimensions.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from optimctl.errors import JobError, Key, Problem
from optimctl.optim.options import Options, Reason

if TYPE_CHECKING:
    from optimctl.job.schema import ParamwiseCfg

PARAMWISE = "paramwise_cfg"
OPTIMIZER = "optimizer"
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
DEFORMABLE = {"DeformConv2d", "ModulatedDeformConv2d"}
MULTIPLIERS = {"lr_mult": "lr", "decay_mult": "weight_decay"}
"""The words of a custom key that multiply, and what they multiply."""
NOT_OPTIONS = {*MULTIPLIERS, "freeze"}


class _Type(NamedTuple):
    """What the class of a module is to the rules."""

    is_norm: bool
    is_convolution: bool
    is_deformable: bool
    listed: tuple[str, ...]
    """The names in ``norm_types`` that mean it."""


class Rules:
    """The rules of one ``paramwise_cfg``, ready to be asked about any parameter.

    Args:
        cfg: The table, as the schema read it.
        base: The job's own options, from which rules depart: the optimizer's arguments, and its defaults for
            ``lr`` and ``weight_decay``.
        given: The names in ``base`` that the job wrote itself.
        no_decay: Names of parameters that the model itself wants undecayed.

    Raises:
        JobError: A multiplier has nothing to multiply (the optimizer has no such option, or no value for it), or a
            regular expression does not compile.
    """

    def __init__(
        self, cfg: ParamwiseCfg, base: Mapping[str, Any], given: frozenset[str], no_decay: frozenset[str] = frozenset()
    ) -> None:
        self.cfg = cfg
        self.base = base
        self.no_decay = no_decay if cfg.no_weight_decay else frozenset()
        self._reasons = {option: Reason((OPTIMIZER, option)) for option in base if option in given}
        self._types: dict[type, _Type] = {}
        self._made: dict[tuple[Any, ...], Options] = {}
        self._check_multipliers()
        ordered = sorted(sorted(cfg.custom_keys), key=lambda key: len(_pattern(key)), reverse=True)
        self._custom = [(key, self._matcher(key)) for key in ordered]

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The options of a parameter; equal situations give the very same object."""
        where = f".{name}" if "." not in name else name  # MMEngine's name of a parameter of the model itself
        custom = tuple(key for key, matches in self._custom if matches(where, name))
        lr_rule, decay_rules = self._by_type(name, parameter, module, parents)
        situation = (custom, lr_rule, decay_rules, self._type(module).listed)
        made = self._made.get(situation)
        if made is None:
            made = self._made[situation] = self._make(*situation)
        return made

    def all_keys(self) -> list[Key]:
        """Every rule of the table, as a key seen from ``optim_wrapper``."""
        mults = [
            key
            for key, value in self.cfg
            if value is not None and key.endswith(("_mult", "no_weight_decay")) and value is not False
        ]
        listed = [(PARAMWISE, "norm_types", name) for name in self.cfg.norm_types]
        return [(PARAMWISE, key) for key in mults] + listed + [_custom_key(key) for key, _ in self._custom]

    def option_keys(self) -> list[tuple[Key, str]]:
        """Each option that a custom key sets by name, with the key that does."""
        tables = self.cfg.custom_keys.items()
        return [((*_custom_key(key), option), option) for key, table in tables for option in table.options]

    def option_at(self, key: Key) -> Any:
        """The value that a custom key gives an option, both as ``option_keys`` tells them."""
        return self.cfg.custom_keys[str(key[-2])].options[str(key[-1])]

    def _by_type(
        self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]
    ) -> tuple[str | None, tuple[str, ...]]:
        """The type rule that moves ``lr``, and those that speak for ``weight_decay``, the decisive one first."""
        cfg = self.cfg
        path, _, leaf = name.rpartition(".")
        is_norm, is_convolution, *_ = self._type(module)
        in_deformable = bool(parents) and self._type(parents[-1]).is_deformable
        is_bias = leaf == "bias"
        lr_rule = None
        if is_bias and not is_norm and not in_deformable and cfg.bias_lr_mult is not None:
            lr_rule = "bias_lr_mult"
        if (
            in_deformable
            and "conv_offset" in path
            and isinstance(module, nn.Conv2d)
            and cfg.dcn_offset_lr_mult is not None
        ):
            lr_rule = "dcn_offset_lr_mult"
        is_depthwise = is_convolution and _is_depthwise(module)
        claims = (
            ("no_weight_decay", name in self.no_decay),
            ("norm_decay_mult", is_norm and cfg.norm_decay_mult is not None),
            ("bias_decay_mult", is_bias and not in_deformable and cfg.bias_decay_mult is not None),
            ("dwconv_decay_mult", is_depthwise and cfg.dwconv_decay_mult is not None),
            ("flat_decay_mult", parameter.ndim == 1 and not in_deformable and cfg.flat_decay_mult is not None),
        )
        return lr_rule, tuple(rule for rule, applies in claims if applies)

    def _type(self, module: nn.Module) -> _Type:
        """What a module is to the rules; decided once a class."""
        kind = type(module)
        found = self._types.get(kind)
        if found is None:
            names = {
                name for base in kind.__mro__ for name in (base.__name__, f"{base.__module__}.{base.__qualname__}")
            }
            listed = tuple(name for name in self.cfg.norm_types if name in names)
            is_norm = issubclass(kind, NORMS) or bool(listed)
            found = _Type(is_norm, issubclass(kind, _ConvNd), not names.isdisjoint(DEFORMABLE), listed)
            self._types[kind] = found
        return found

    def _make(
        self, custom: tuple[str, ...], lr_rule: str | None, decay_rules: tuple[str, ...], norm_types: tuple[str, ...]
    ) -> Options:
        by_type = [(PARAMWISE, rule) for rule in ([lr_rule] if lr_rule else []) + list(decay_rules)]
        every = [(PARAMWISE, rule) for rule in MULTIPLIERS if getattr(self.cfg, rule) is not None]
        listed = [(PARAMWISE, "norm_types", name) for name in norm_types]
        matched = (*(_custom_key(key) for key in custom), *by_type, *every, *listed)
        options = Options(dict(self.base), dict(self._reasons), matched=matched)
        absolute: set[str] = set()
        if custom:
            options = self._by_custom_key(options, custom, lr_rule, decay_rules)
            absolute = set(self.cfg.custom_keys[custom[0]].options)
        else:
            if lr_rule:
                options = self._multiply(options, "lr", getattr(self.cfg, lr_rule), (PARAMWISE, lr_rule))
            if decay_rules:
                first, *others = decay_rules
                factor = 0.0 if first == "no_weight_decay" else getattr(self.cfg, first)
                lost = tuple((PARAMWISE, rule) for rule in others)
                options = self._multiply(options, "weight_decay", factor, (PARAMWISE, first), lost)
        return self._by_everything(options, absolute)

    def _by_custom_key(
        self, options: Options, custom: tuple[str, ...], lr_rule: str | None, decay_rules: tuple[str, ...]
    ) -> Options:
        """The longest custom key decides, and the rules by type are silent, also for what the key does not mention."""
        table, key = self.cfg.custom_keys[custom[0]], _custom_key(custom[0])
        silent = {"lr": (lr_rule,) if lr_rule else (), "weight_decay": decay_rules}
        for word, option in MULTIPLIERS.items():
            factor = getattr(table, word)
            lost = tuple((PARAMWISE, rule) for rule in silent[option]) + self._other_keys(custom, word)
            if factor is not None and option not in table.options:
                options = self._multiply(options, option, factor, (*key, word), lost)
            elif lost and option in options and option not in table.options:
                before = options.reasons.get(option, Reason())
                options = options.set(
                    option, options[option], Reason(before.key, (*before.lost, *lost), f"{custom[0]!r} wins")
                )
        for option, value in table.options.items():
            if isinstance(value, list) and isinstance(self.base.get(option), tuple):
                value = tuple(value)
            lost = self._other_keys(custom, option) + options.spoken_for(option)
            options = options.set(option, value, Reason((*key, option), lost))
        return options.freeze(Reason((*key, "freeze"))) if table.freeze else options

    def _by_everything(self, options: Options, absolute: set[str]) -> Options:
        """``lr_mult`` and ``decay_mult`` of the table itself: on top of the rule that won, but for absolute values."""
        for word, option in MULTIPLIERS.items():
            factor = getattr(self.cfg, word)
            if factor is not None and option not in absolute:
                options = self._multiply(options, option, factor, (PARAMWISE, word))
        return options

    def _multiply(self, options: Options, option: str, factor: float, key: Key, lost: tuple[Key, ...] = ()) -> Options:
        return options.set(option, options[option] * factor, Reason(key, lost + options.spoken_for(option)))

    def _other_keys(self, custom: tuple[str, ...], word: str) -> tuple[Key, ...]:
        """The shorter custom keys that match too and have the same word."""
        tables = self.cfg.custom_keys
        return tuple(
            (*_custom_key(k), word)
            for k in custom[1:]
            if word in tables[k].model_fields_set or word in tables[k].options
        )

    def _check_multipliers(self) -> None:
        problems = []
        for key, option in self._multiplied():
            value = self.base.get(option)
            if not isinstance(value, (int, float)) and not hasattr(value, "item"):
                what = (
                    "has no value in the job and no default"
                    if option in self.base
                    else "is no option of this optimizer"
                )
                message = f"there is nothing to multiply: `{option}` {what}; set optim_wrapper.optimizer.{option}, or take this out"
                problems.append(Problem(key, message, "nothing-to-multiply"))
        if problems:
            raise JobError(problems)

    def _multiplied(self) -> list[tuple[Key, str]]:
        """Each multiplier that the table sets, and the option that it needs."""
        words = [word for word, value in self.cfg if word.endswith("_mult") and value is not None]
        pairs: list[tuple[Key, str]] = [((PARAMWISE, word), "lr" if "lr" in word else "weight_decay") for word in words]
        for key, table in self.cfg.custom_keys.items():
            pairs += [((*_custom_key(key), w), o) for w, o in MULTIPLIERS.items() if getattr(table, w) is not None]
        return pairs

    @staticmethod
    def _matcher(key: str) -> Callable[[str, str], bool]:
        pattern = _pattern(key)
        if key.startswith("glob:"):
            compiled = re.compile(fnmatch.translate(pattern))
            return lambda _, name: compiled.match(name) is not None
        if key.startswith("re:"):
            try:
                expression = re.compile(pattern)
            except re.error as error:
                raise JobError.single(_custom_key(key), f"is no regular expression: {error}", "bad-pattern") from error
            return lambda _, name: expression.fullmatch(name) is not None
        return lambda where, _: pattern in where


def _is_depthwise(module: Any) -> bool:
    """A convolution that keeps its channels apart; with one channel there is nothing to keep apart."""
    return bool(module.groups == module.in_channels > 1)


def _pattern(key: str) -> str:
    return key.removeprefix("glob:") if key.startswith("glob:") else key.removeprefix("re:")


def _custom_key(key: str) -> Key:
    return (PARAMWISE, "custom_keys", key)
