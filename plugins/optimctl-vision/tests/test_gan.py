"""A GAN whose halves are trained apart, and a distance that tells whether it drew anything like a digit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from optimctl_vision.digits import Digits
from optimctl_vision.gan import GAN, DigitsGAN, energy_distance
from torch import nn
from torch.utils.data import DataLoader

from optimctl.optim import OptimWrapperDict, build_optim_wrapper


def wrappers(model: nn.Module, **options: Any) -> OptimWrapperDict:
    """An optimizer for each half."""
    table = {"optimizer": {"type": "Adam", "lr": 1e-3, "betas": [0.0, 0.99]}, **options}
    made = build_optim_wrapper(model, {"generator": table, "discriminator": table})
    assert isinstance(made, OptimWrapperDict)
    return made


def copies(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(module: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(now, old) for now, old in zip(module.parameters(), before, strict=True))


class TestModel:
    def test_noise_becomes_images_and_images_one_logit_each(self) -> None:
        model = DigitsGAN(latent=4, width=8)
        images = model(torch.randn(3, 4))
        assert images.shape == (3, 1, 8, 8)
        assert 0 < images.min() < images.max() < 1
        assert model.discriminator(images).shape == (3,)

    @pytest.mark.parametrize("argument", ["latent", "width", "depth"])
    def test_a_bad_argument_is_named(self, argument: str) -> None:
        with pytest.raises(ValueError, match=f"{argument} must be a whole number of at least 1, not 0"):
            DigitsGAN(**{argument: 0})


class TestTask:
    def test_a_step_updates_both_halves_once(self) -> None:
        torch.manual_seed(0)
        model = DigitsGAN(width=16)
        wrapper = wrappers(model)
        before = copies(model.generator), copies(model.discriminator)
        losses = GAN().train_step(model, (torch.rand(8, 1, 8, 8), torch.zeros(8)), wrapper)
        assert losses.keys() == {"loss_d", "loss_g"}
        assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
        assert moved(model.generator, before[0])
        assert moved(model.discriminator, before[1])
        assert [wrapper[name].updates for name in wrapper] == [1, 1]

    def test_the_generators_loss_leaves_no_gradient_in_the_discriminator(self) -> None:
        model = DigitsGAN(width=16)
        model.discriminator[1].bias.requires_grad_(False)
        GAN().train_step(model, (torch.rand(8, 1, 8, 8),), wrappers(model, accumulative_counts=1))
        assert all(parameter.grad is None for parameter in model.discriminator.parameters())
        assert [parameter.requires_grad for parameter in model.discriminator.parameters()].count(False) == 1

    @pytest.mark.parametrize("r1", [0.0, 1.0])
    def test_the_slope_has_its_price(self, r1: float) -> None:
        linear = nn.Linear(64, 1, bias=False)
        nn.init.constant_(linear.weight, 0.5)
        steep = nn.Sequential(nn.Flatten(), linear, nn.Flatten(0))
        real, drawn = torch.zeros(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)
        loss = GAN(r1).discriminator_loss(steep, real, drawn)
        assert loss.item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item() + r1 / 2 * 64 * 0.5**2, rel=1e-5)
        assert not real.requires_grad

    def test_it_learns_to_draw(self) -> None:
        torch.manual_seed(0)
        digits, test = Digits("train").images, (Digits("test").images,)
        model, task = DigitsGAN(width=64), GAN()
        wrapper = wrappers(model)

        def distance() -> float:
            with torch.no_grad():
                total, count = task.evaluate(model, test)["energy_distance"]
            return float(total) / count

        before = distance()
        for batch in DataLoader(digits.repeat(6, 1, 1, 1), 64, shuffle=True):  # type: ignore[arg-type]
            task.train_step(model, (batch,), wrapper)
        assert distance() < 0.2 * before

    def test_its_measure_is_the_same_again_and_uses_up_no_random_number(self) -> None:
        torch.manual_seed(0)
        model, batch = DigitsGAN(width=16), (torch.rand(8, 1, 8, 8),)
        state = torch.get_rng_state()
        first, second = (GAN().evaluate(model, batch)["energy_distance"] for _ in range(2))
        assert first == second
        assert torch.equal(torch.get_rng_state(), state)
        assert GAN.metric_rules == {"energy_distance": "min"}

    def test_a_price_below_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="r1 must be a number from 0 up, not -1"):
            GAN(-1)


class TestEnergyDistance:
    def test_it_is_the_definition(self) -> None:
        first, second = torch.randn(5, 3), torch.randn(4, 3) + 1
        across = sum((x - y).norm() for x in first for y in second) / 20
        inside = [
            sum((x - y).norm() for x in sample for y in sample) / (len(sample) * (len(sample) - 1))
            for sample in (first, second)
        ]
        assert energy_distance(first, second).item() == pytest.approx(float(2 * across - sum(inside)), abs=1e-5)

    def test_digits_are_like_digits_and_unlike_noise(self) -> None:
        train, test = Digits("train").images.flatten(1), Digits("test").images.flatten(1)
        assert abs(energy_distance(train, test).item()) < 0.02
        assert energy_distance(torch.rand(test.shape), test).item() > 1
