"""A transformer over the patches of a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from optimctl_vision.arguments import (
    Sizes,
    divide,
    read_sizes,
    require_clip_size,
    require_positive,
    require_transformer,
)
from optimctl_vision.vit import Block


class VideoTransformer(nn.Module):
    """Classify clips with a transformer in which each patch of space and time attends to all others.

    Arnab et al., "ViViT: A Video Vision Transformer", 2021 (https://arxiv.org/abs/2103.15691), model 1: patches span
    several frames ("tubelets"), and go with a learned class token and learned positions through the blocks of
    `VisionTransformer`. Parts are named as there: `patch_embed`, `cls_token`, `pos_embed`, `blocks.0`, `blocks.1`, ...,
    `norm` and `head`.

    Args:
        frames: frames of a clip.
        image_size: height and width of a frame, in pixels.
        patch_size: frames, height and width of a patch; divide the clip.
        in_channels: channels of a frame.
        num_classes: number of classes.
        width: channels of a token; a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads in each block.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of `width`.
        dropout: probability with which a channel is dropped after the positions are added and after each attention
            and each layer of a perceptron; in [0, 1).

    Shape:
        clips (N, in_channels, frames, image_size, image_size) -> logits (N, num_classes).

    Raises:
        ValueError: an argument is out of its range; in `forward`, a clip has another size.
    """

    def __init__(
        self,
        frames: int = 8,
        image_size: int = 16,
        patch_size: Sequence[int] = (2, 4, 4),
        in_channels: int = 1,
        num_classes: int = 6,
        width: int = 48,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(frames=frames, image_size=image_size, in_channels=in_channels, num_classes=num_classes)
        require_positive(width=width, depth=depth, heads=heads)
        require_transformer(width, heads, mlp_ratio, dropout)
        patch = read_sizes("patch_size", patch_size)
        self.clip_size = (frames, image_size, image_size)
        patches = divide(self.clip_size, "patch_size", patch, "a clip")
        self.patch_embed = PatchEmbedding(in_channels, patch, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + math.prod(patches), width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self._initialize()

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that should not decay, as timm's models do."""
        return {"pos_embed", "cls_token"}

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits of shape (N, num_classes) for clips of shape (N, in_channels, frames, image_size, image_size)."""
        require_clip_size(clips, self.clip_size)
        patches: Tensor = self.patch_embed(clips)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.pos_embed))
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def _initialize(self) -> None:
        # As in VisionTransformer: positions are as large as the patches that they are added to.
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=self.patch_embed.proj.weight[0].numel() ** -0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


class PatchEmbedding(nn.Module):
    """Cut clips into patches of space and time, each a token: (N, C, T, H, W) -> (N, T' * H' * W', width)."""

    def __init__(self, in_channels: int, patch: Sizes, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, kernel_size=patch, stride=patch)

    def forward(self, clips: Tensor) -> Tensor:
        """Return one token for each patch, frame by frame and row by row."""
        patches: Tensor = self.proj(clips)
        return patches.flatten(2).transpose(1, 2)
