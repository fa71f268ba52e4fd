"""A finding, and the catalogue of all there are: the reference manual that ``docs/findings.md`` is made from.

``note``: true but usual. ``warning``: probably not meant. ``error``: it would stop the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optimctl.errors import Key


@dataclass(frozen=True)
class Finding:
    """One finding, about one line of the job; ``()`` where no line is to blame."""

    level: str
    code: str
    key: Key
    message: str


@dataclass(frozen=True)
class Kind:
    """What a code stands for."""

    level: str
    means: str
    what_to_do: str


KINDS: Mapping[str, Kind] = {
    "rule-matches-nothing": Kind(
        "warning",
        "A rule of `paramwise_cfg` applies to no parameter: a custom key is misspelt, or the model has no such layers.",
        "Correct the name (the nearest one is told), or take the rule out.",
    ),
    "rule-hidden": Kind(
        "warning",
        "A rule applies to parameters, and decides nothing for any of them: everywhere a longer custom key replaces it, or another rule by "
        "type, and not all of those say the same.",
        "Take it out, or say in the key that wins what should hold.",
    ),
    "key-silences-rules": Kind(
        "warning",
        "A custom key replaces the rules by type, also for what it says nothing about (as in MMEngine): norm layers or biases below it are "
        "decayed although a rule by type takes their weight decay away.",
        "Write `decay_mult` (or `lr_mult`) into the key, or narrow the key.",
    ),
    "rule-on-frozen": Kind(
        "warning",
        "Every parameter that a custom key matches is frozen by the model, so that the key has no effect.",
        "Take the key out, or have the model leave these parameters trainable.",
    ),
    "lr-zero": Kind(
        "note",
        "Parameters have the learning rate 0: their gradients are computed and thrown away.",
        "`freeze = true` saves the time and the memory.",
    ),
    "shared-parameter": Kind(
        "note",
        "One parameter has several names in the model. It is trained once, with the rules of its first name.",
        "Nothing, unless a custom key was meant to match another of its names.",
    ),
    "not-in-model": Kind(
        "note",
        "An optimizer has parameters that the model has not: it was made of another model, or before a part of this one was replaced.",
        "Make the optimizer when the model is complete; nothing, where it trains a second model too.",
    ),
    "not-trained": Kind(
        "warning",
        "Parameters ask for gradients, and no optimizer has them.",
        "Freeze them, or give them an optimizer.",
    ),
    "decay-on-small": Kind(
        "note",
        "Norm layers, biases or embeddings are decayed towards 0.",
        "`norm_decay_mult = 0`, `bias_decay_mult = 0`, or a custom key with `decay_mult = 0` leave them alone.",
    ),
    "coupled-decay": Kind(
        "note",
        "The optimizer adds weight decay to the gradient before it is normalized, which weakens it where gradients are large "
        "(Loshchilov and Hutter, 2019).",
        "`AdamW` decays apart from the gradient; for NAdam and RAdam there is `decoupled_weight_decay = true`.",
    ),
    "float16-without-scaler": Kind(
        "warning",
        "Parameters are in float16, and nothing scales their gradients: small ones become 0.",
        "Keep the model in float32 and use `AmpOptimWrapper`.",
    ),
    "groups-could-merge": Kind(
        "note",
        "The optimizer has many groups of equal options. A step works through them one after another, which takes several times as long as "
        "one group for each set of options.",
        "Merge them: `optimctl.build_optimizer` does, and `OptimctlConstructor` of optimctl-mmengine inside MMEngine.",
    ),
    "could-be-fused": Kind(
        "note",
        "The optimizer steps tensor by tensor, or list by list, where torch has one kernel for the whole step.",
        "`fused=True`; `optimctl.build_optimizer` chooses it where it can be.",
    ),
    "batch-norm-accumulates": Kind(
        "note",
        "Batch norm sees each batch alone: under accumulation its statistics are those of the small batches, not of the large one.",
        "Nothing, or norm layers that do not depend on the batch.",
    ),
    "short-last-window": Kind(
        "note",
        "The run's last accumulation window has fewer batches than the others. Its gradients are divided by its real length.",
        "Nothing, or a length of the run that the windows divide.",
    ),
    "schedule-never-steps": Kind(
        "warning",
        "The whole run is one step of what the schedule counts, or `step_size` is longer than its range: nothing ever changes.",
        'Count iterations (`by = "iteration"`, or `convert_to_iter_based = true`), or take a shorter `step_size`.',
    ),
    "schedule-after-run": Kind(
        "warning",
        "The schedule begins when the run is over.",
        "Correct `begin`, or the length of the run.",
    ),
    "schedule-cut-off": Kind(
        "warning",
        "The schedule needs more steps than the run, or its range, has: the value never arrives where the schedule leads.",
        "Leave `end`, `T_max` and `total_steps` out (they follow the run's length), or give them as shares of the run.",
    ),
    "schedule-ends-early": Kind(
        "note",
        "The last schedule of an option ends before the run; the value stays where it is.",
        "Nothing, or `end` left out.",
    ),
    "schedule-gap": Kind(
        "note",
        "Between two schedules of an option there is a range in which none acts; the value stays where the first one left it.",
        "Nothing, or a `begin` that follows the `end` before it.",
    ),
    "schedule-overlap": Kind(
        "note",
        "Two schedules of an option act in the same range: they multiply.",
        "Nothing where one is a warm-up over a schedule of steps; else let one begin where the other ends.",
    ),
    "warm-up-too-long": Kind(
        "warning",
        "A warm-up is longer than the run: the full value is never reached.",
        'A shorter `end`, such as `"5%"`.',
    ),
    "warm-up-meets-milestone": Kind(
        "warning",
        "A milestone falls into the warm-up: the value drops before it has risen.",
        "A shorter warm-up, or a later milestone.",
    ),
    "milestone-after-end": Kind(
        "warning",
        "A milestone lies behind the end of the run or of the schedule: the value never drops there.",
        'Correct the milestone; where the run was shortened, give milestones as shares (`"60%"`).',
    ),
    "cosine-rises": Kind(
        "warning",
        "`T_max` is shorter than the range of the schedule: after it the cosine rises again.",
        "Leave `T_max` out, or use `CosineRestartLR`.",
    ),
    "floor-above-value": Kind(
        "warning",
        "A group starts below the schedule's `eta_min`, so that its value rises towards it. Where all groups do, this is told of learning "
        "rates alone, and not of the way up of a cycle.",
        "`eta_min_ratio` gives the floor as a share of each group's own value.",
    ),
    "one-step-ramp": Kind(
        "warning",
        "A ramp whose range has one step has only its start, and stays there to the end of the run (as in MMEngine).",
        "A longer range; for epochs `convert_to_iter_based = true` makes a ramp of one.",
    ),
    "counts-iterations": Kind(
        "note",
        "Under accumulation a schedule by iteration counts batches, not steps of the optimizer. Told where the schedule ends before the "
        "run.",
        'Nothing, or `by = "update"`.',
    ),
    "waits-for-device": Kind(
        "note",
        "Under float16 an update may be skipped, so that a schedule by update waits for the device once an update.",
        'Nothing, or `by = "iteration"`, bfloat16.',
    ),
    "metric-not-known": Kind(
        "note",
        "Something waits for a metric, and the task does not say which metrics it gives; the first validation will tell.",
        "Give the task `metric_rules`.",
    ),
    "name-claimed-twice": Kind(
        "warning",
        "A name in the job is claimed by a second distribution too; optimctl's own answers.",
        "Write `distribution/Name`.",
    ),
    "needs-values": Kind(
        "note",
        "The model could not be built without values, so that inspecting it takes the time and the memory of building it.",
        "Nothing, or a constructor of the model that does not look at values.",
    ),
    "scheduler-of-another": Kind(
        "warning",
        "A scheduler moves an optimizer that is not among those explained: the options of these stay as they are.",
        "Make the scheduler of the optimizer that is stepped.",
    ),
    "scheduler-raises": Kind(
        "error",
        "A scheduler raises an exception before the training has come to its end.",
        "Give it the length of the training, in its own steps.",
    ),
    "schedule-not-shown": Kind(
        "note",
        "How long the training is cannot be seen from its schedulers, or a scheduler waits for a metric or cannot be copied, so that its "
        "values are not shown.",
        "Say it: `optimctl.explain(model, optimizer, scheduler, iterations=10_000)`.",
    ),
}
"""Every finding by its code."""


def counted(number: int, what: str) -> str:
    """``1 iteration``, ``2,000 iterations``; of several words the first takes the plural."""
    first, _, rest = what.partition(" ")
    return f"{number:,} {what}" if number == 1 else f"{number:,} {first}s {rest}".rstrip()


def finding(code: str, key: Key, message: str) -> Finding:
    """A finding of the catalogue's level."""
    return Finding(KINDS[code].level, code, key, message)
