"""What a user of optimctl-vision sees: models of the promised shapes and names, and digits that never change."""

from __future__ import annotations

import importlib.metadata
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from optimctl_vision.digits import Digits
from optimctl_vision.resnet import ResNet
from optimctl_vision.vit import VisionTransformer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

README = Path(__file__).parents[1] / "README.md"
MODELS = pytest.mark.parametrize("model_class", [ResNet, VisionTransformer])


def parts(model: nn.Module, depth: int) -> list[str]:
    """The names of the model's parameters, cut after `depth` dots, each once."""
    return list(dict.fromkeys(".".join(name.split(".")[:depth]) for name, _ in model.named_parameters()))


def weights(model_class: type[nn.Module], seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(model_class().state_dict())


class TestModels:
    @MODELS
    def test_a_batch_of_digits_becomes_a_row_of_logits_each(self, model_class: type[nn.Module]) -> None:
        assert model_class()(torch.rand(3, 1, 8, 8)).shape == (3, 10)

    @MODELS
    def test_every_parameter_gets_a_gradient(self, model_class: type[nn.Module]) -> None:
        model = model_class()
        model(torch.rand(3, 1, 8, 8)).square().sum().backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []

    @MODELS
    def test_the_meta_device_builds_the_same_model_without_memory(self, model_class: type[nn.Module]) -> None:
        with torch.device("meta"):
            model = model_class()
        assert all(parameter.is_meta for parameter in model.parameters())
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in model_class().state_dict().items()
        }

    @MODELS
    def test_a_seed_makes_the_same_weights_again(self, model_class: type[nn.Module]) -> None:
        first, second = (weights(model_class, seed=3) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)

    @MODELS
    def test_it_learns_a_batch_by_heart(self, model_class: type[nn.Module]) -> None:
        torch.manual_seed(0)
        model = model_class()
        images, labels = next(iter(DataLoader(Digits(), batch_size=32)))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert loss < 0.5

    @MODELS
    @pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
    def test_a_number_of_classes_that_is_no_count_is_refused(self, model_class: type[nn.Module], value: Any) -> None:
        with pytest.raises(ValueError, match="num_classes must be a whole number of at least 1, not "):
            model_class(num_classes=value)


class TestResNet:
    def test_custom_keys_find_the_parts_by_name(self) -> None:
        model = ResNet(widths=[4, 8, 16], blocks=2)
        stages = ["backbone.layer0", "backbone.layer1", "backbone.layer2"]
        assert parts(model, 2) == ["backbone.stem", *stages, "head.weight", "head.bias"]
        assert parts(model.get_submodule("backbone.layer1"), 1) == ["0", "1"]

    @pytest.mark.parametrize("size", [(32, 32), (7, 5), (2, 2)])
    def test_it_takes_images_of_any_size_and_channels(self, size: tuple[int, int]) -> None:
        model = ResNet(in_channels=3, num_classes=4, widths=(4, 8, 16))
        assert model(torch.rand(2, 3, *size)).shape == (2, 4)

    def test_each_stage_but_the_first_halves_height_and_width(self) -> None:
        assert ResNet(widths=[4, 8, 16]).backbone(torch.rand(2, 1, 8, 8)).shape == (2, 16, 2, 2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"in_channels": 0}, "in_channels must be a whole number of at least 1, not 0"),
            ({"blocks": 0}, "blocks must be a whole number of at least 1, not 0"),
            ({"widths": []}, r"widths must list the channels of at least one stage, such as \[32, 64\], not \[\]"),
            ({"widths": 32}, "widths must list the channels of at least one stage, .*, not 32"),
            ({"widths": [32, 0]}, r"widths\[1\] must be a whole number of at least 1, not 0"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ResNet(**arguments)


class TestVisionTransformer:
    def test_layer_decay_finds_the_numbered_blocks(self) -> None:
        names = parts(VisionTransformer(depth=2), 1)
        assert names == ["cls_token", "pos_embed", "patch_embed", "blocks", "norm", "head"]
        assert parts(VisionTransformer(depth=2).blocks, 1) == ["0", "1"]

    def test_what_should_not_decay_are_names_of_its_parameters(self) -> None:
        model = VisionTransformer()
        assert model.no_weight_decay() == {"pos_embed", "cls_token"}
        assert model.no_weight_decay() <= dict(model.named_parameters()).keys()

    def test_its_arguments_shape_it(self) -> None:
        model = VisionTransformer(image_size=32, patch_size=8, in_channels=3, num_classes=4, width=24, heads=3)
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 4)
        assert model.pos_embed.shape == (1, 17, 24)

    def test_dropout_is_for_training_only(self) -> None:
        model, images = VisionTransformer(dropout=0.5), torch.rand(2, 1, 8, 8)
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
            ({"patch_size": 3}, "patch_size must divide image_size, but 8 is no multiple of 3"),
            ({"heads": 5}, "heads must divide width, but 64 is no multiple of 5"),
            ({"mlp_ratio": 0}, "mlp_ratio must leave at least 1 hidden channel of 64, not 0 times as many"),
            ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, not 1.0"),
        ],
    )
    def test_a_bad_argument_is_named(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            VisionTransformer(**arguments)

    def test_an_image_of_another_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="images are 8x10, but the model was built with image_size=8"):
            VisionTransformer()(torch.rand(2, 1, 8, 10))


class TestDigits:
    def test_the_splits_are_disjoint_and_together_all_of_the_digits(self) -> None:
        train, test = Digits("train"), Digits("test")
        assert (len(train), len(test)) == (1437, 360)
        pixels, labels = load_digits(return_X_y=True)
        ours = torch.cat([train.images, test.images]).flatten(1) * 16
        rows = torch.cat([ours, torch.cat([train.labels, test.labels]).unsqueeze(1)], dim=1)
        original = torch.cat([torch.tensor(pixels), torch.tensor(labels).unsqueeze(1)], dim=1)
        assert sorted(rows.tolist()) == sorted(original.tolist())

    def test_the_split_is_the_same_on_every_machine(self) -> None:
        assert Digits("test").labels[:10].tolist() == [2, 8, 2, 6, 6, 7, 1, 9, 8, 5]
        assert Digits().labels[:10].tolist() == Digits("train").labels[:10].tolist() == [6, 5, 3, 4, 4, 4, 8, 8, 7, 0]

    def test_an_item_is_an_image_and_its_label(self) -> None:
        digits = Digits("test")
        image, label = digits[0]
        assert (image.shape, image.dtype, label) == ((1, 8, 8), torch.float32, 2)
        assert (digits.images.min().item(), digits.images.max().item()) == (0, 1)

    def test_a_data_loader_batches_it(self) -> None:
        images, labels = next(iter(DataLoader(Digits(), batch_size=5)))
        assert (images.shape, labels.dtype) == ((5, 1, 8, 8), torch.int64)
        assert torch.equal(images, Digits().images[:5])

    def test_it_reaches_worker_processes_whole(self) -> None:
        digits = pickle.loads(pickle.dumps(Digits("test")))
        assert torch.equal(digits.images, Digits("test").images)

    def test_an_unknown_split_is_answered_with_what_there_is(self) -> None:
        with pytest.raises(ValueError, match="Digits has no split 'val'; it has 'train' and 'test'"):
            Digits("val")


class TestPackage:
    def test_optimctl_finds_its_plugins(self) -> None:
        entries = importlib.metadata.distribution("optimctl-vision").entry_points
        found = {(entry.group.removeprefix("optimctl."), entry.load().__name__) for entry in entries}
        assert found == {(entry.group.removeprefix("optimctl."), entry.name) for entry in entries}
        models = ("DigitsGAN", "ResNet", "TSM", "VideoSwin", "VideoTransformer", "VisionTransformer")
        constructors = ("LearningRateDecayOptimizer", "SwinOptimWrapper", "TSMOptimWrapper")
        assert found == {
            *(("models", name) for name in models),
            *(("datasets", name) for name in ("Digits", "MovingDigits")),
            *(("constructors", f"{name}Constructor") for name in constructors),
            ("tasks", "GAN"),
        }

    def test_the_readmes_job_builds(self) -> None:
        tomllib = pytest.importorskip("tomllib")
        job = tomllib.loads(README.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0])
        assert job["model"].pop("type") == "ResNet"
        assert ResNet(**job["model"])(torch.rand(2, 1, 8, 8)).shape == (2, 10)
        for loader in ("train_dataloader", "val_dataloader"):
            assert job[loader]["dataset"].pop("type") == "Digits"
            Digits(**job[loader]["dataset"])
