"""A generative adversarial network for digits, and the task that trains its two halves with an optimizer each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimctl_vision.arguments import require_positive

if TYPE_CHECKING:  # a script that `optimctl export python` has written runs without optimctl
    from optimctl.optim import OptimWrapperDict


class DigitsGAN(nn.Module):
    """A generator of images of 8x8 pixels, and a discriminator that tells them from real ones.

    Goodfellow et al., "Generative Adversarial Networks", 2014 (https://arxiv.org/abs/1406.2661): two perceptrons, the parts
    `generator` and `discriminator`.

    Args:
        latent: numbers of a draw of noise.
        width: hidden channels of both perceptrons.
        depth: hidden layers of both perceptrons.

    Shape:
        noise (N, latent) -> images (N, 1, 8, 8) in [0, 1].

    Raises:
        ValueError: an argument is not a whole number of at least 1.
    """

    def __init__(self, latent: int = 16, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        require_positive(latent=latent, width=width, depth=depth)
        self.latent = latent
        self.generator = nn.Sequential(*_perceptron(latent, width, depth, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
        self.discriminator = nn.Sequential(nn.Flatten(), *_perceptron(64, width, depth, 1), nn.Flatten(0))

    def forward(self, noise: Tensor) -> Tensor:
        """Return images of shape (N, 1, 8, 8) for noise of shape (N, latent)."""
        images: Tensor = self.generator(noise)
        return images


def _perceptron(inputs: int, width: int, depth: int, outputs: int) -> Iterator[nn.Module]:
    for channels in [inputs, *[width] * (depth - 1)]:
        yield nn.Linear(channels, width)
        yield nn.LeakyReLU(0.2)
    yield nn.Linear(width, outputs)


class GAN:
    """Train a generator and a discriminator against each other, each by the optimizer of its name.

    The losses are the discriminator's cross entropy and the generator's "non-saturating" one (Goodfellow et al., 2014,
    section 3), and the discriminator pays for the slope that it has at real images, which makes the game settle (R1:
    Mescheder et al., "Which Training Methods for GANs do actually Converge?", 2018, https://arxiv.org/abs/1801.04406).

    A batch is (images, ...); the model has the sub-modules `generator` and `discriminator`, and says in `latent` how many
    numbers a draw of noise has.

    Args:
        r1: the price of a slope; 0 leaves it out.
    """

    metric_rules: Mapping[str, str] = {"energy_distance": "min"}

    def __init__(self, r1: float = 1.0) -> None:
        if not r1 >= 0:
            raise ValueError(f"r1 must be a number from 0 up, not {r1!r}")
        self.r1 = r1

    def train_step(self, model: Any, batch: Any, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Update the discriminator, then the generator.

        Returns:
            `loss_d` and `loss_g`, scalars.
        """
        real = batch[0]
        discriminator, generator = optim_wrapper["discriminator"], optim_wrapper["generator"]
        noise = torch.randn(len(real), model.latent, device=real.device)
        with discriminator.optim_context(model):
            loss_d = self.discriminator_loss(model.discriminator, real, model.generator(noise).detach())
        discriminator.update_params(loss_d)
        with generator.optim_context(model), _fixed(model.discriminator):
            loss_g = functional.softplus(-model.discriminator(model.generator(noise))).mean()
        generator.update_params(loss_g)
        return {"loss_d": loss_d, "loss_g": loss_g}

    def discriminator_loss(self, discriminator: nn.Module, real: Tensor, generated: Tensor) -> Tensor:
        """The cross entropy of telling real from generated images, and the price of its slope; a scalar."""
        real = real.detach().requires_grad_(self.r1 > 0)
        logits = discriminator(real)
        loss = functional.softplus(-logits).mean() + functional.softplus(discriminator(generated)).mean()
        if self.r1 == 0:
            return loss
        (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return loss + self.r1 / 2 * slope.square().flatten(1).sum(1).mean()

    def evaluate(self, model: Any, batch: Any) -> dict[str, tuple[Tensor, int]]:
        """How far generated images are from real ones: their energy distance, 0 if and only if both are distributed alike.

        The noise is the same each time, and no random number of the run is used up.
        """
        real = batch[0]
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(len(real), model.latent, generator=generator).to(real.device)
        distance = energy_distance(model(noise).flatten(1), real.flatten(1))
        return {"energy_distance": (distance * len(real), len(real))}


def energy_distance(first: Tensor, second: Tensor) -> Tensor:
    """The energy distance of two samples, 2 E|x - y| - E|x - x'| - E|y - y'|, estimated without bias; a scalar.

    Székely and Rizzo, "Energy statistics: A class of statistics based on distances", 2013
    (https://doi.org/10.1016/j.jspi.2013.03.018). Without bias, it can fall a little below 0 by chance.

    Args:
        first: (N, D), N of 2 or more.
        second: (M, D), M of 2 or more.
    """

    def within(sample: Tensor) -> Tensor:
        return torch.cdist(sample, sample).sum() / (len(sample) * (len(sample) - 1))

    return 2 * torch.cdist(first, second).mean() - within(first) - within(second)


@contextmanager
def _fixed(module: nn.Module) -> Iterator[None]:
    """Parameters gather no gradients inside: those of one half's loss are none of the other half's business."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
