"""Findings about how a step is taken: weight decay, precision, accumulation, metrics, names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from optimctl import plugins
from optimctl.errors import Key, listing
from optimctl.job.named import plugin_tables
from optimctl.optim.fused import torchs_class
from optimctl.optim.rules import NORMS
from optimctl.optim.takes import maybe_sparse
from optimctl.plan.findings.finding import Finding, counted, finding
from optimctl.plan.subject import told_options

if TYPE_CHECKING:
    from optimctl.job.schema import Job
    from optimctl.optim.options import Walked
    from optimctl.plan.subject import Part, Subject

COUPLED = (torch.optim.Adam, torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam)
"""Optimizers of torch that normalize the gradient, decay included."""
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def about_training(subject: Subject) -> Iterator[Finding]:
    """All findings about the steps of the optimizers."""
    if subject.needs_values is not None:
        message = f"it cannot be built without values, and was built whole: {subject.needs_values}"
        yield finding("needs-values", ("model",), message)
    for part in subject.parts:
        yield from _decay(subject, part)
        yield from _precision(subject, part)
        yield from _accumulation(subject, part)
        yield from _slow_step(part, subject)
    if subject.job is not None:
        yield from _metrics(subject, subject.job)
        yield from _names(subject.job)


def _key(part: Part, *rest: str) -> Key:
    return ("optim_wrapper", *part.prefix, *rest)


def _decay(subject: Subject, part: Part) -> Iterator[Finding]:
    decayed = {
        id(parameter)
        for group in part.optimizer.param_groups
        if group.get("weight_decay")
        for parameter in group["params"]
    }
    kinds = Counter(kind for met in subject.walked if id(met.parameter) in decayed for kind in _small(met))
    if kinds:
        told = ", ".join(f"{count} {one if count == 1 else several}" for (one, several), count in kinds.items())
        yield finding("decay-on-small", _key(part, "optimizer", "weight_decay"), f"weight decay also reaches {told}")
    coupled = any(
        group.get("weight_decay") and not group.get("decoupled_weight_decay") for group in part.optimizer.param_groups
    )
    kind = torchs_class(part.optimizer)
    if coupled and kind in COUPLED:
        message = (
            f"{kind.__name__} adds weight decay to the gradient and then normalizes both; AdamW decays apart from it"
        )
        yield finding("coupled-decay", _key(part, "optimizer", "weight_decay"), message)


def _small(met: Walked) -> Iterator[tuple[str, str]]:
    """What a parameter is, one and several, where many people leave it undecayed."""
    if isinstance(met.module, NORMS):
        yield "tensor of a norm layer", "tensors of norm layers"
    elif met.name.endswith("bias"):  # in_proj_bias, too, which rules by type do not count as one
        yield "bias", "biases"
    elif isinstance(met.module, EMBEDDINGS):
        yield "embedding", "embeddings"


def _precision(subject: Subject, part: Part) -> Iterator[Finding]:
    scaler = getattr(part.wrapper, "scaler", None)
    scaled = scaler is not None and scaler.is_enabled()
    half = [p for group in part.optimizer.param_groups for p in group["params"] if p.dtype is torch.float16]
    if half and not scaled:
        are = f"{counted(len(half), 'tensor')} {'is' if len(half) == 1 else 'are'}"
        message = f"{are} in float16, and nothing scales their gradients; AmpOptimWrapper does"
        yield finding("float16-without-scaler", _key(part), message)
    waiting = (key for name, key, placed in subject.placed if name == part.wrapper_name and placed.unit == "update")
    for key in waiting if scaled else ():
        message = "under float16 an update may be skipped, so the run waits for the device once an update to know"
        yield finding("waits-for-device", key, message)


def _slow_step(part: Part, subject: Subject) -> Iterator[Finding]:
    """How an optimizer that was made elsewhere could step faster."""
    groups, defaults = part.optimizer.param_groups, part.optimizer.defaults
    different = {repr(sorted(told_options(group).items(), key=str)) for group in groups}
    if len(groups) > 2 * len(different) and part.plugin is None:
        message = (
            f"{len(groups)} groups have only {len(different)} different sets of options, and are stepped one by one"
        )
        yield finding("groups-could-merge", (), message)
    kind = torchs_class(part.optimizer)
    chosen = any(defaults.get(name) is not None for name in ("fused", "foreach")) or defaults.get("differentiable")
    plain = all(p.is_floating_point() for group in groups for p in group["params"]) and not maybe_sparse(subject.walked)
    if part.plugin is None and kind is not None and "fused" in defaults and not chosen and plain:
        yield finding("could-be-fused", (), f"torch has a fused {kind.__name__}, which is asked for with fused=True")


def _accumulation(subject: Subject, part: Part) -> Iterator[Finding]:
    counts, iterations = part.accumulative_counts, subject.length.iterations
    if counts == 1:
        return
    key = _key(part, "accumulative_counts")
    if iterations and iterations % counts:
        rest = iterations % counts
        yield finding("short-last-window", key, f"the last of {iterations:,} iterations make a window of {rest}")
    norms = sum(isinstance(module, _BatchNorm) for module in subject.model.modules()) if subject.model else 0
    if norms:
        layers, see = counted(norms, "layer of batch norm"), "sees" if norms == 1 else "see"
        message = f"the model has {layers}, which {see} each batch alone, not {counts} together"
        yield finding("batch-norm-accumulates", key, message)


def _metrics(subject: Subject, job: Job) -> Iterator[Finding]:
    """Metrics that something waits for, where the task does not say what it gives."""
    if subject.task is None or getattr(subject.task, "metric_rules", None):
        return
    waiting: list[tuple[Key, str]] = [
        ((*key, "monitor"), str(monitor))
        for _, key, placed in subject.placed
        if (monitor := getattr(placed.schedule, "monitor", None)) is not None
    ]
    if job.checkpoint.save_best is not None:
        waiting.append((("checkpoint", "save_best"), job.checkpoint.save_best.metric))
    for key, metric in waiting:
        message = f"whether the task gives '{metric}' is seen at the first validation; it has no `metric_rules`"
        yield finding("metric-not-known", key, message)


def _names(job: Job) -> Iterator[Finding]:
    """Bare names of optimctl's own that somebody else claims too."""
    claims: Mapping[tuple[str, str], tuple[Any, ...]] = {
        (each[0].kind, each[0].name): each for each in plugins.installed().conflicts()
    }
    for key, table in plugin_tables(job):
        others = [plugin for plugin in claims.get((table.kind, table.type), ()) if plugin.distribution != plugins.OWN]
        if others:
            message = f"'{table.type}' is optimctl's here; {listing(plugin.qualified for plugin in others)} claims the name too"
            yield finding("name-claimed-twice", (*key, "type"), message)
