"""Adam and AdamW of torch, whose fused step keeps one count for a whole group.

torch's fused step (2.13) spends about half of its time around the kernel: 1,200 tensors' step counters are added to one by
one, and their lists are collected and sorted by device and dtype anew. Here a group's counters are views of one tensor,
added to at once, and a group of one device and dtype goes to the kernel as it is. The kernel is torch's, and so the values
are, to the bit; the state has torch's keys, shapes and dtypes. Whatever is not the plain case goes torch's own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from optimctl.optim.takes import is_torchs


def with_one_count(optimizer: Optimizer) -> Optimizer:
    """The same optimizer; where it is torch's own fused Adam or AdamW, it steps as this room says."""
    quick = {optim.Adam: Adam, optim.AdamW: AdamW}.get(type(optimizer))
    if quick is not None and optimizer.defaults["fused"]:
        optimizer.__class__ = quick
    return optimizer


def torchs_class(optimizer: Optimizer) -> type[Optimizer] | None:
    """The class of ``torch.optim`` that an optimizer is of; None for anybody else's, subclasses of torch's included."""
    kind = type(optimizer).__bases__[-1] if isinstance(optimizer, Adam) else type(optimizer)
    return kind if is_torchs(kind) else None


class Adam(optim.Adam):
    """``torch.optim.Adam``, fused: steps on a group at once where torch would only collect what a step needs."""

    def _init_group(self, group: dict[str, Any], *lists: list[Tensor]) -> bool:
        # What torch finds in these lists it steps on: nothing, where the step was taken here. If a later torch no longer
        # calls this method, torch's own step is taken, with the same values.
        if self._is_plain(group) and self._stepped(group):
            return False
        return super()._init_group(group, *lists)  # type: ignore[no-any-return, no-untyped-call]

    def _is_plain(self, group: Mapping[str, Any]) -> bool:
        """Whether nothing about the step is special: neither a loss scale nor rates that are tensors, nor a graph of it."""
        scaled = getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None
        numbers = all(isinstance(number, (int, float)) for number in (group["lr"], *group["betas"]))
        eager = not (group["capturable"] or group["differentiable"] or torch.compiler.is_compiling())
        return bool(group["fused"]) and numbers and eager and not scaled

    def _stepped(self, group: Mapping[str, Any]) -> bool:
        """Whether the step was taken: where every parameter has a gradient, and has been stepped on before."""
        parameters = group["params"]
        grads = [parameter.grad for parameter in parameters]
        states: list[dict[str, Tensor]] = [self.state.get(parameter, {}) for parameter in parameters]
        if any(grad is None or grad.is_sparse for grad in grads) or not all(states):
            return False
        averages = [[state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]]
        averages.append([state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [])
        count, counters = self._count(parameters, states, averages)
        if count is None:
            return False
        count.add_(1)
        step: Any = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        step(
            parameters,
            grads,
            *averages,
            counters,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
        )
        return True

    def _count(
        self, parameters: list[Tensor], states: Sequence[dict[str, Tensor]], averages: Sequence[list[Tensor]]
    ) -> tuple[Tensor | None, list[Tensor]]:
        """A group's counters as one tensor and its views; None where the kernel cannot take the group as a whole.

        The views are the states' own counters. A state that was loaded, or changed by hand, has others: they are put together anew.
        """
        known: dict[int, tuple[Tensor, list[Tensor]]] = self.__dict__.setdefault("_counts", {})
        steps = [state["step"] for state in states]
        count, counters = known.get(id(parameters), (None, []))
        if len(counters) == len(steps) and all(map(is_, counters, steps)):
            return count, counters
        for gone in known.keys() - {id(group["params"]) for group in self.param_groups}:
            del known[gone]
        if not _alike(parameters, averages, steps):
            return None, []
        count = torch.stack(steps)
        counters = list(count.unbind())
        for state, counter in zip(states, counters, strict=True):
            state["step"] = counter
        known[id(parameters)] = count, counters
        return count, counters


class AdamW(Adam, optim.AdamW):
    """``torch.optim.AdamW``, in the same way."""


def _alike(parameters: list[Tensor], averages: Sequence[list[Tensor]], steps: list[Tensor]) -> bool:
    """Whether the kernel can take them at once: plain tensors, of one device and dtype."""
    tensors = [*parameters, *(one for several in averages for one in several)]
    plain = all(type(one) in (Tensor, nn.Parameter) for one in (*tensors, *steps))
    kinds = {(one.device, one.dtype) for one in tensors}
    counters = {(one.device, one.dtype, one.shape) for one in steps}
    return plain and len(kinds) == 1 and counters == {(parameters[0].device, torch.float32, torch.Size())}
