"""A residual network over the frames of a clip, whose channels shift in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimctl_vision.arguments import require_positive
from optimctl_vision.resnet import BasicBlock, ResNet


class TSM(nn.Module):
    """Classify clips with a two-dimensional residual network, each block of which sees the frames before and after.

    Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", 2018 (https://arxiv.org/abs/1811.08383):
    in front of the first convolution of each residual branch, some of the channels move one frame ahead, others one
    frame back, which takes no multiplication. The logits of a clip are the mean of those of its frames.

    The parts are those of `ResNet`: `backbone.stem`, `backbone.layer0`, `backbone.layer1`, ... and `head`.

    Args:
        frames: frames of a clip.
        in_channels: channels of a frame.
        num_classes: number of classes.
        widths: channels of each stage, the first of them also those of the stem.
        blocks: residual blocks in each stage.
        shift_div: of so many channels one moves ahead and one moves back; 2 or more.

    Shape:
        clips (N, in_channels, frames, H, W) -> logits (N, num_classes). Any H and W.

    Raises:
        ValueError: an argument is out of its range; in `forward`, a clip has another number of frames.
    """

    def __init__(
        self,
        frames: int = 8,
        in_channels: int = 1,
        num_classes: int = 6,
        widths: Sequence[int] = (16, 32),
        blocks: int = 1,
        shift_div: int = 8,
    ) -> None:
        super().__init__()
        require_positive(frames=frames, shift_div=shift_div)
        if shift_div < 2:
            raise ValueError(f"shift_div must be at least 2, not {shift_div!r}: a channel cannot move both ways")
        self.frames = frames
        network = ResNet(in_channels, num_classes, widths, blocks)
        self.backbone, self.head = network.backbone, network.head
        for block in [module for module in self.backbone.modules() if isinstance(module, BasicBlock)]:
            shift = TemporalShift(frames, shift_div)
            block.conv1 = nn.Sequential(OrderedDict(shift=shift, conv=block.conv1))

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits of shape (N, num_classes) for clips of shape (N, in_channels, frames, H, W)."""
        if clips.shape[2] != self.frames:
            raise ValueError(f"clips have {clips.shape[2]} frames, but the model was built with frames={self.frames}")
        features = self.backbone(clips.transpose(1, 2).flatten(0, 1))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits.view(-1, self.frames, logits.shape[1]).mean(dim=1)


class TemporalShift(nn.Module):
    """Move channels in time: (N * frames, C, H, W) -> the same shape, the frames of a clip next to each other.

    The first C // shift_div channels of a frame become those of the frame after it, the next as many those of the frame
    before it, and all others stay. Where there is no such frame, the channels are 0.
    """

    def __init__(self, frames: int, shift_div: int) -> None:
        super().__init__()
        self.frames = frames
        self.shift_div = shift_div

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the shape of `features`, (N * frames, C, H, W)."""
        clips = features.view(-1, self.frames, *features.shape[1:])
        part = features.shape[1] // self.shift_div
        after, before, own = clips.tensor_split((part, 2 * part), dim=2)
        later = functional.pad(after[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
        earlier = functional.pad(before[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        return torch.cat([later, earlier, own], dim=2).flatten(0, 1)
