"""Small models and a small training, as a run would do it: what checks are made of.

In this room: the models, ``Trial`` (an optimizer with its arguments) and ``Training`` (one model that it trains).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from optimctl.optim import OptimWrapper, build_optim_wrapper

FEATURES, CLASSES, SAMPLES = 8, 3, 48
Batch = tuple[Tensor, Tensor]
MOST_STANDING = 20
"""The updates after which an optimizer has begun to move, or never does."""


class SmallNet(nn.Module):
    """8 numbers to 3, through tensors of one, two and three dimensions: a convolution, a matrix, a norm layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 4, 3, padding=1)
        self.body = nn.Linear(4 * FEATURES, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores of shape (N, 3), of inputs of shape (N, 8)."""
        hidden = torch.tanh(self.stem(inputs.unsqueeze(1))).flatten(1)
        scores: Tensor = self.head(torch.tanh(self.norm(self.body(hidden))))
        return scores


class WithIdle(nn.Module):
    """A model with a parameter of its own, ``idle``, that changes nothing: with gradients of zero, or with none at all."""

    def __init__(self, model: nn.Module, used: bool) -> None:
        super().__init__()
        self.model = model
        self.idle = nn.Parameter(torch.linspace(-1.0, 1.0, 12).reshape(4, 3))
        self.used = used

    def forward(self, inputs: Tensor) -> Tensor:
        """The model's scores."""
        scores: Tensor = self.model(inputs)
        return scores + 0.0 * self.idle.sum() if self.used else scores


def data() -> Batch:
    """Inputs of shape (48, 8) around three centres, and which centre each belongs to."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.arange(SAMPLES) % CLASSES
    centres = torch.randn(CLASSES, FEATURES, generator=generator)
    return centres[labels] + 0.5 * torch.randn(SAMPLES, FEATURES, generator=generator), labels


@dataclass
class Training:
    """A model, and its optimizer in a wrapper."""

    model: nn.Module
    wrapper: OptimWrapper
    weighed: Callable[[Training, Tensor], Tensor] = lambda _, loss: loss
    """What becomes of each loss before it is used."""

    @cached_property
    def whole(self) -> Batch:
        """All samples."""
        return data()

    def shuffle(self) -> None:
        """The same samples in another order: the same gradients, but for the rounding of their sums."""
        self.__dict__["whole"] = tuple(part.flip(0) for part in data())

    @property
    def halves(self) -> tuple[Batch, Batch]:
        """All samples, in two batches."""
        (first, second), (first_labels, second_labels) = (part.chunk(2) for part in self.whole)
        return (first, first_labels), (second, second_labels)

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over a batch."""
        inputs, labels = batch
        return self.weighed(self, nn.functional.cross_entropy(self.model(inputs), labels))

    def update(self, updates: int = 1) -> None:
        """So many updates over all samples, each in as many iterations as the wrapper accumulates."""
        self.switch(training=True)
        counts = self.wrapper.accumulative_counts
        for _ in range(updates):
            for inputs, labels in zip(*(part.chunk(counts) for part in self.whole), strict=True):
                self.iteration((inputs, labels))

    def iteration(self, batch: Batch) -> Tensor | None:
        """One iteration, as a run's loop does it; the loss, or None where it was not evaluated."""
        if self.wrapper.requires_closure:
            return self.wrapper.update_by_closure(lambda: self.loss(batch))
        with self.wrapper.optim_context(self.model):
            loss = self.loss(batch)
        self.wrapper.update_params(loss)
        return loss.detach()

    def switch(self, *, training: bool) -> None:
        """Switch the model, and an optimizer that asks for it, between training and evaluation, as a run does."""
        self.model.train(training)
        switch = getattr(self.wrapper.optimizer, "train" if training else "eval", None)
        if callable(switch):
            switch()

    def final_loss(self) -> float:
        """The loss over all samples, as a validation sees it."""
        self.switch(training=False)
        with torch.no_grad():
            loss = float(self.loss(self.whole))
        self.switch(training=True)
        return loss

    def values(self, names: str = "") -> Tensor:
        """The parameters whose names begin with ``names``, as one vector."""
        chosen = [p.detach().flatten() for name, p in self.model.named_parameters() if name.startswith(names)]
        return torch.cat(chosen).clone()

    def save(self) -> bytes:
        """A checkpoint, as a run writes it."""
        self.switch(training=False)
        buffer = io.BytesIO()
        torch.save({"model": self.model.state_dict(), "optimizer": self.wrapper.state_dict()}, buffer)
        self.switch(training=True)
        return buffer.getvalue()

    def load(self, checkpoint: bytes) -> None:
        """Go on from a checkpoint, as a resumed run does."""
        state = torch.load(io.BytesIO(checkpoint), weights_only=True)
        self.model.load_state_dict(state["model"])
        self.wrapper.load_state_dict(state["optimizer"])
        self.switch(training=True)


@dataclass(frozen=True)
class Trial:
    """An optimizer with its arguments, ready to train a fresh model as often as it takes."""

    name: str
    arguments: Mapping[str, Any]
    make_model: Callable[[], nn.Module]

    def start(
        self,
        seed: int = 0,
        *,
        change: Callable[[nn.Module], nn.Module] = lambda model: model,
        rules: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> Training:
        """A model drawn with ``seed``, and the optimizer over it.

        Args:
            change: What becomes of the model.
            rules: Options by the names of parameters.
            options: The wrapper's own.
        """
        seed_chance(seed)
        model = change(self.make_model())
        return Training(model, cast("OptimWrapper", build_optim_wrapper(model, self.table(rules, **options))))

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The optimizer's options, before any rule."""
        return self.start().wrapper.defaults

    @cached_property
    def standing(self) -> int:
        """The updates that pass before it moves anything: some collect gradients first."""
        training = self.start()
        start = training.values()
        for updates in range(MOST_STANDING):
            training.update()
            if not torch.equal(training.values(), start):
                return updates
        return MOST_STANDING

    def table(self, rules: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
        """``optim_wrapper`` of a job."""
        custom_keys = {f"glob:{name}": dict(rule) for name, rule in (rules or {}).items()}
        optimizer = {"type": self.name, **self.arguments}
        return {"optimizer": optimizer, "paramwise_cfg": {"custom_keys": custom_keys}, **options}


def seed_chance(seed: int) -> None:
    """``torch.manual_seed`` for the CPU alone, where all of this happens; the other one looks for every device, each time."""
    torch.default_generator.manual_seed(seed)


def apart(one: Tensor, other: Tensor, start: Tensor) -> float:
    """How far two ends are from each other, as a share of the way from ``start`` to the second one."""
    way = torch.linalg.vector_norm(other - start)
    distance = torch.linalg.vector_norm(one - other)
    return float(distance / way) if way > 0 else float(distance)
