"""A residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from optimctl_vision.arguments import require_positive


class ResNet(nn.Module):
    """Classify small images with basic residual blocks.

    He et al., "Deep Residual Learning for Image Recognition", 2015 (https://arxiv.org/abs/1512.03385), in the form that
    its section 4.2 gives to small images: a 3x3 stem without pooling, then stages that each halve height and width, but
    for the first.

    The parts are `backbone.stem`, `backbone.layer0`, `backbone.layer1`, ... (one for each width) and `head`.

    Args:
        in_channels: channels of an image.
        num_classes: number of classes.
        widths: channels of each stage, the first of them also those of the stem.
        blocks: residual blocks in each stage.

    Shape:
        images (N, in_channels, H, W) -> logits (N, num_classes). Any H and W.

    Raises:
        ValueError: an argument is not a whole number of at least 1, or `widths` is empty.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 10, widths: Sequence[int] = (32, 64), blocks: int = 1
    ) -> None:
        super().__init__()
        _check(in_channels, num_classes, widths, blocks)
        self.backbone = _backbone(in_channels, widths, blocks)
        self.head = nn.Linear(widths[-1], num_classes)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (N, num_classes) for images of shape (N, in_channels, H, W)."""
        features: Tensor = self.backbone(images)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each with batch normalization, added to the input: (N, in, H, W) -> (N, out, H', W').

    The stride divides height and width, rounded up. Where input and output differ in shape, the input goes through a
    1x1 convolution (option B of the paper).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1: nn.Module = _conv3x3(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of shape (N, out_channels, H / stride, W / stride), rounded up."""
        residual = functional.relu(self.norm1(self.conv1(features)))
        residual = self.norm2(self.conv2(residual))
        return functional.relu(residual + self.shortcut(features))


def _check(in_channels: int, num_classes: int, widths: Sequence[int], blocks: int) -> None:
    require_positive(in_channels=in_channels, num_classes=num_classes, blocks=blocks)
    if not isinstance(widths, Sequence) or isinstance(widths, str) or not widths:
        raise ValueError(f"widths must list the channels of at least one stage, such as [32, 64], not {widths!r}")
    require_positive(**{f"widths[{stage}]": width for stage, width in enumerate(widths)})


def _backbone(in_channels: int, widths: Sequence[int], blocks: int) -> nn.Sequential:
    backbone = nn.Sequential()
    backbone.add_module("stem", _stem(in_channels, widths[0]))
    for stage, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
        backbone.add_module(f"layer{stage}", _stage(before, width, blocks, stride=1 if stage == 0 else 2))
    return backbone


def _stem(in_channels: int, out_channels: int) -> nn.Sequential:
    stem = nn.Sequential()
    stem.add_module("conv", _conv3x3(in_channels, out_channels))
    stem.add_module("norm", nn.BatchNorm2d(out_channels))
    stem.add_module("relu", nn.ReLU())
    return stem


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, stride=1) for _ in range(blocks - 1)))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    shortcut = nn.Sequential()
    shortcut.add_module("conv", nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False))
    shortcut.add_module("norm", nn.BatchNorm2d(out_channels))
    return shortcut


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    # Without a bias: the batch normalization that follows would take it away again.
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def _initialize(module: nn.Module) -> None:
    # He et al., 2015 (https://arxiv.org/abs/1502.01852), as in torchvision's ResNet.
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
