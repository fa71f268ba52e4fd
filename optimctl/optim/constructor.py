"""From options to a ready wrapper: parameters with equal options share a group, groups make an optimizer.

In this room: ``DefaultOptimWrapperConstructor``, the template that a plugin's constructor overrides in one pure method,
``build_optim_wrapper`` and ``build_optimizer``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from optimctl import plugins, signatures
from optimctl.errors import JobError, Key, Problem, listing, nearest
from optimctl.job.hints import with_hint
from optimctl.job.schema import ConstructorTable, OptimWrappers, OptimWrapperTable, read_optim_wrapper, read_paramwise
from optimctl.optim.fused import with_one_count
from optimctl.optim.multi import OptimWrapperDict
from optimctl.optim.options import Options, Walked
from optimctl.optim.planned import device_of
from optimctl.optim.rules import NOT_OPTIONS, OPTIMIZER, PARAMWISE, Rules
from optimctl.optim.takes import check_takes, is_torchs, maybe_sparse
from optimctl.optim.walk import undecayed, unwrapped, walk
from optimctl.optim.wrapper import OptimWrapper

if TYPE_CHECKING:
    from optimctl.plugins import LoadedPlugin

IMPLEMENTATIONS = ("fused", "foreach", "differentiable", "capturable")
"""Arguments with which a job picks how a step is computed; one of them and the choice is no longer ours."""
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")
"""Where torch has fused optimizers; a model on the meta device alone may come to be on any of them."""


class DefaultOptimWrapperConstructor:
    """Builds an optim wrapper for a model: options of each parameter, merged groups, optimizer, wrapper.

    Args:
        optim_wrapper_cfg: The job's table ``optim_wrapper``: ``optimizer``, and the wrapper's own ``type`` (default
            ``OptimWrapper``) and options. ``paramwise_cfg`` and ``constructor`` may still be in it.
        paramwise_cfg: The rules. A subclass may take keys of its own out of the table in its ``__init__``.

    A subclass overrides ``options``, a pure function of one parameter, and calls ``super().options(...)`` for what the
    job's rules say.

    Raises:
        JobError: Keys are seen from ``optim_wrapper``.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        table = {key: value for key, value in optim_wrapper_cfg.items() if key not in ("constructor", PARAMWISE)}
        optimizer = dict(table.pop(OPTIMIZER, {}))
        if not isinstance(optimizer.get("type"), str):
            raise JobError.single((OPTIMIZER, "type"), 'name the optimizer, as in type = "AdamW"', "missing-key")
        self.wrapper_type: str = table.pop("type", "OptimWrapper")
        self.wrapper_options: dict[str, Any] = {key: value for key, value in table.items() if value is not None}
        self.optimizer = plugins.resolve("optimizers", optimizer.pop("type"), (OPTIMIZER,))
        self.arguments = checked_arguments(self.optimizer, optimizer)
        self.paramwise_cfg = paramwise_cfg or {}
        self.rules: Rules
        self.sparse: Sequence[Walked] = ()
        """The parameters whose gradients may be sparse, known once the model was walked."""

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapper for ``model``; each of its trainable parameters is in exactly one group."""
        model = unwrapped(model)
        optimizer, options = self.optimize(model)
        if optimizer is None:
            message = "no parameter is left to train: all are frozen" if options else "the model has no parameters"
            raise JobError.single((OPTIMIZER,), message, "nothing-to-train")
        check_coverage(model, optimizer)
        wrapper = self.wrap(optimizer, options, self.rules.all_keys())
        wrapper.parts = (("", optimizer, self.optimizer.plugin),)
        return wrapper

    def optimize(
        self, model: nn.Module, only: Container[str] | None = None
    ) -> tuple[Optimizer | None, dict[str, Options]]:
        """The optimizer over the model's trainable parameters, or over those named in ``only``, and the options of each.

        None where no parameter is left to train.
        """
        self.prepare(model)
        walked = [met for met in walk(model) if only is None or met.name in only]
        self.sparse = maybe_sparse(walked)
        options: dict[str, Options] = {}
        groups = _Groups(self.rules.base)
        for met in walked:
            wanted = options[met.name] = self.options(met.name, met.parameter, met.module, met.parents)
            if wanted.frozen:
                met.parameter.requires_grad_(False)
            elif met.parameter.requires_grad:
                groups.add(met.name, met.parameter, wanted)
        tables = groups.tables()
        if not tables:
            return None, options
        check_takes(self.optimizer.object, self.sparse, tables, self.arguments)
        optimizer = self.build(model, tables)
        _check_known(self.rules, options, self.arguments, optimizer)
        return optimizer, options

    def prepare(self, model: nn.Module) -> None:
        """Read what depends on the whole model, before the walk; a subclass that needs more calls this first."""
        defaults = _defaults(self.optimizer)
        base = {option: defaults[option] for option in ("lr", "weight_decay") if option in defaults} | self.arguments
        cfg = read_paramwise(self.paramwise_cfg, (PARAMWISE,))
        self.rules = Rules(
            cfg, base, frozenset(self.arguments), undecayed(model) if cfg.no_weight_decay else frozenset()
        )

    def options(self, name: str, parameter: nn.Parameter, module: nn.Module, parents: tuple[nn.Module, ...]) -> Options:
        """The options of one parameter. Pure: it changes nothing, and equal arguments give equal options.

        Args:
            name: The parameter's full name, as in ``model.named_parameters()``.
            parameter: The parameter itself, for its shape and type.
            module: The module that holds it.
            parents: The module's ancestors, the model first.
        """
        return self.rules.options(name, parameter, module, parents)

    def build(self, model: nn.Module, groups: list[dict[str, Any]]) -> Optimizer:
        """The optimizer over ``groups``, fused where the class, the device, the dtypes and the gradients allow it."""
        names = [group.pop("param_names") for group in groups]
        optimizer = _fused(self.optimizer, self.arguments, self.sparse, groups)
        if optimizer is None:
            optimizer = signatures.call(self.optimizer, (OPTIMIZER,), self.arguments, groups)
        if not isinstance(optimizer, Optimizer):
            what = f"{self.optimizer} returned a {type(optimizer).__name__}; an optimizer plugin returns a torch.optim.Optimizer"
            raise JobError.single((OPTIMIZER, "type"), what, "wrong-kind")
        _name_groups(optimizer, groups, names)
        return with_one_count(optimizer)

    def wrap(self, optimizer: Optimizer, options: Mapping[str, Options], rule_keys: Sequence[Key]) -> OptimWrapper:
        """The optimizer in the job's wrapper, which remembers the options for those who ask why."""
        loaded = plugins.resolve("optim_wrappers", self.wrapper_type, ())
        wrapper: OptimWrapper = signatures.call(loaded, (), self.wrapper_options, optimizer)
        wrapper.options = options
        wrapper.rule_keys = tuple(rule_keys)
        return wrapper


class _Groups:
    """Parameters by equal options, in the order of first appearance."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._tables: dict[Any, dict[str, Any]] = {}
        self._by_object: dict[int, tuple[Options, dict[str, Any]]] = {}

    def add(self, name: str, parameter: nn.Parameter, options: Options) -> None:
        known = self._by_object.get(id(options))
        if known is None:
            known = self._by_object[id(options)] = (options, self._table(options))  # kept, so that the id stays its own
        known[1]["params"].append(parameter)
        known[1]["param_names"].append(name)

    def tables(self) -> list[dict[str, Any]]:
        return list(self._tables.values())

    def _table(self, options: Options) -> dict[str, Any]:
        own = {option: value for option, value in options.items() if not _same(value, self._arguments.get(option))}
        identity = tuple(sorted((option, _hashable(value)) for option, value in own.items()))
        return self._tables.setdefault(identity, {"params": [], "param_names": [], **own})


def _same(value: Any, other: Any) -> bool:
    # 0.0 times a default of 0 is no other value
    alike = type(value) is type(other) or {type(value), type(other)} == {int, float}
    return value is other or (alike and not hasattr(value, "shape") and bool(value == other))


def _hashable(value: Any) -> Any:
    """A value as a part of a group's identity: arrays by their items, tensors and other objects as themselves."""
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(item) for item in value)
    return value if isinstance(value, (int, float, str, bool, type(None))) else id(value)


def checked_arguments(optimizer: LoadedPlugin, table: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's arguments: held against its signature, ``lr`` and ``weight_decay`` checked, arrays made tuples.

    Raises:
        JobError: Keys are seen from ``optim_wrapper``.
    """
    taken = next(iter(optimizer.signature.parameters), None) if optimizer.signature else None
    if taken in table and "param" not in str(taken):
        message = f"the first argument of {optimizer}, '{taken}', would get the parameters; its class must take `params` first"
        raise JobError.single((OPTIMIZER, str(taken)), message, "given-argument")
    problems = [
        problem
        for option in ("lr", "weight_decay")
        if option in table
        for problem in _number_problems((OPTIMIZER, option), table[option])
    ]
    told = {problem.key for problem in problems}
    found = signatures.argument_problems(optimizer, (OPTIMIZER,), table)
    problems += [with_hint("optimizers", one) for one in found if one.key not in told]
    if problems:
        raise JobError(problems)
    defaults = _defaults(optimizer)
    return {
        key: tuple(v) if isinstance(v, list) and isinstance(defaults.get(key), tuple) else v for key, v in table.items()
    }


def _number_problems(key: Key, value: Any) -> list[Problem]:
    if isinstance(value, (list, tuple)):
        message = "must be one number, not a list; to give groups their own, use paramwise_cfg.custom_keys"
        return [Problem(key, message, "wrong-type")]
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or hasattr(value, "item")):
        return [Problem(key, f"must be a number, not {value!r}", "wrong-type")]
    if not hasattr(value, "item") and not 0 <= value < float("inf"):
        return [Problem(key, f"must be a number from 0 up, not {value}", "out-of-range")]
    return []


def _defaults(optimizer: LoadedPlugin) -> dict[str, Any]:
    """The arguments of an optimizer that have a default, with it; the first one takes the parameters."""
    parameters = list(optimizer.signature.parameters.values())[1:] if optimizer.signature else []
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _fused(
    optimizer: LoadedPlugin, arguments: Mapping[str, Any], sparse: Sequence[Walked], groups: list[dict[str, Any]]
) -> Optimizer | None:
    """The optimizer with ``fused=True``, or None where the job chose otherwise, or it cannot be."""
    chosen = any(arguments.get(name) is not None for name in IMPLEMENTATIONS)
    if chosen or not _can_be_fused(optimizer, arguments, sparse, groups):
        return None
    try:
        fused: Optimizer = optimizer.object([dict(group) for group in groups], **arguments, fused=True)
    except (RuntimeError, ValueError, TypeError):  # arguments that are wrong anyway: the plain call tells
        return None
    if isinstance(fused, SGD):
        fused.register_step_pre_hook(_start_momentum)
    return fused


def _start_momentum(optimizer: Optimizer, *_: Any) -> None:
    """Let fused SGD's momentum start at 0, before a step.

    torch (2.13) leaves it uninitialized where its first step is skipped for an overflow, and fails where a parameter has its
    first gradient later than the others.
    """
    if len(optimizer.state) == sum(len(group["params"]) for group in optimizer.param_groups):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if parameter.grad is not None and parameter not in optimizer.state:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)


def _can_be_fused(
    optimizer: LoadedPlugin, arguments: Mapping[str, Any], sparse: Sequence[Walked], groups: list[dict[str, Any]]
) -> bool:
    """Whether torch has one kernel for a whole step of this class, on these devices, dtypes and kinds of gradient."""
    if not is_torchs(optimizer.object) or optimizer.signature is None or "fused" not in optimizer.signature.parameters:
        return False
    parameters = [parameter for group in groups for parameter in group["params"]]
    fit = all(p.is_floating_point() and device_of(p).type in FUSED_DEVICES for p in parameters)
    if optimizer.object is SGD and any({**arguments, **group}.get("dampening") for group in groups):
        return False  # its first step is not dampened, which `_start_momentum` cannot say
    return fit and {id(met.parameter) for met in sparse}.isdisjoint(map(id, parameters))


def _name_groups(optimizer: Optimizer, groups: list[dict[str, Any]], names: list[list[str]]) -> None:
    """Write the parameters' names into the optimizer's groups, also where it rearranged them."""
    by_id = {
        id(p): name
        for group, known in zip(groups, names, strict=True)
        for p, name in zip(group["params"], known, strict=True)
    }
    for group in optimizer.param_groups:
        group["param_names"] = [by_id.get(id(parameter), "") for parameter in group["params"]]


def check_coverage(model: nn.Module, optimizer: Optimizer) -> None:
    """Every trainable parameter in exactly one group: the last check, whatever a constructor's subclass did."""
    counts: dict[int, int] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    wrong = [met.name for met in walk(model) if met.parameter.requires_grad and counts.get(id(met.parameter), 0) != 1]
    if wrong:
        message = f"{listing(wrong)} must each be in exactly one parameter group; {type(optimizer).__name__} has them in none or several"
        raise JobError.single((OPTIMIZER,), message, "parameters-not-covered")


def _check_known(
    rules: Rules, options: Mapping[str, Options], arguments: Mapping[str, Any], optimizer: Optimizer
) -> None:
    """Nothing sets an option that the optimizer keeps for no group: it would be without effect."""
    kind, known = type(optimizer).__name__, [name for name in optimizer.defaults if name not in IMPLEMENTATIONS]
    problems = []
    for key, option in rules.option_keys():
        if option in ("lr", "weight_decay"):
            problems += _number_problems(key, rules.option_at(key))
        if option not in optimizer.defaults:
            hint = nearest(option, (*known, *NOT_OPTIONS)) or f"; it has {listing(known, 12)}"
            problems.append(Problem(key, f"{kind} has no option '{option}' for a group{hint}", "unknown-option"))
    chosen = {
        option
        for one in {id(one): one for one in options.values()}.values()
        for option, value in one.items()
        if not _same(value, rules.base.get(option))
    }
    for option in sorted(
        chosen - set(optimizer.defaults) - set(arguments) - {option for _, option in rules.option_keys()}
    ):
        message = f"it sets the option '{option}', which {kind} does not have{nearest(option, known)}"
        problems.append(Problem(("constructor",), message, "unknown-option"))
    if problems:
        raise JobError(problems)


def build_optim_wrapper(
    model: nn.Module, cfg: OptimWrapperTable | OptimWrappers | Mapping[str, Any]
) -> OptimWrapper | OptimWrapperDict:
    """The wrapper that a table ``optim_wrapper`` asks for, by the constructor that it names; or several, by name.

    Args:
        model: The model; under ``DistributedDataParallel`` or ``torch.compile`` the inner one's names count.
        cfg: ``job.optim_wrapper``, or a plain dict of the same shape.

    Raises:
        JobError: Keys are seen from ``optim_wrapper``.
    """
    read = read_optim_wrapper(cfg) if isinstance(cfg, Mapping) else cfg
    if isinstance(read, OptimWrapperTable):
        wrapper: OptimWrapper = _construct(model, read.model_dump(exclude_unset=True), read.constructor)
        return wrapper
    if read.constructor is not None:
        several: OptimWrapperDict = _construct(model, read.model_dump(exclude_unset=True), read.constructor)
        return several
    return _build_several(unwrapped(model), read)


def _construct(model: nn.Module, table: dict[str, Any], named: ConstructorTable) -> Any:
    """What the constructor that a job names makes of the model."""
    loaded = plugins.resolve("constructors", named.type, ("constructor",))
    constructor = signatures.call(loaded, ("constructor",), named.arguments, table, table.get(PARAMWISE), seen_from=())
    with plugins.plugin_code(loaded, ("constructor",), seen_from=()):
        made = constructor(model)
    if not isinstance(made, OptimWrapperDict) and not (hasattr(made, "optimizer") and hasattr(made, "update_params")):
        message = f"{loaded} returned a {type(made).__name__}; a constructor returns an optim wrapper"
        raise JobError.single(("constructor",), message, "wrong-kind")
    return made


def _build_several(model: nn.Module, tables: OptimWrappers) -> OptimWrapperDict:
    """A wrapper for each sub-module that the job names, each by its own constructor."""
    wrappers: dict[str, OptimWrapper] = {}
    problems: list[Problem] = []
    for path, table in tables.wrappers.items():
        try:
            wrappers[path] = build_optim_wrapper(_submodule(model, path), table)  # type: ignore[assignment]
        except JobError as error:
            problems += error.below(path).problems
    if problems:
        raise JobError(problems)
    _check_apart(wrappers)
    return OptimWrapperDict(**wrappers)


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        names = [name for name, _ in model.named_modules() if name]
        hint = nearest(path, names) or f"; it has {listing(name for name, _ in model.named_children())}"
        raise JobError.single((), f"the model has no sub-module '{path}'{hint}", "unknown-module") from error


def _check_apart(wrappers: Mapping[str, OptimWrapper]) -> None:
    """No parameter is trained by two optimizers."""
    owner: dict[int, str] = {}
    for name, wrapper in wrappers.items():
        for group in wrapper.param_groups:
            for parameter in group["params"]:
                other = owner.setdefault(id(parameter), name)
                if other != name:
                    message = f"'{other}' and '{name}' train the same parameter; give each a sub-module of its own"
                    raise JobError.single((name,), message, "parameters-not-covered")


def build_optimizer(
    model: nn.Module, optimizer: Mapping[str, Any], *, paramwise_cfg: Mapping[str, Any] | None = None
) -> Optimizer:
    """A plain torch optimizer with the options that the rules give each parameter, in merged groups.

    Args:
        model: The model to train.
        optimizer: ``type`` and the optimizer's arguments, as in a job.
        paramwise_cfg: The rules, as in a job.

    Raises:
        JobError: Keys are seen from ``optim_wrapper``.
    """
    return DefaultOptimWrapperConstructor({OPTIMIZER: optimizer}, paramwise_cfg)(model).optimizer
