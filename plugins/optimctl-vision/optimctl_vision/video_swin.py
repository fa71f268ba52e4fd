"""A transformer over the cells of a clip that attends within windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimctl_vision.arguments import (
    Sizes,
    divide,
    read_sizes,
    require_clip_size,
    require_perceptron,
    require_positive,
)
from optimctl_vision.vit import Perceptron


class VideoSwin(nn.Module):
    """Classify clips with a transformer that attends within windows of space and time.

    Liu et al., "Video Swin Transformer", 2021 (https://arxiv.org/abs/2106.13230): every other block of a stage shifts its
    windows by half their size, what a token sees of its window depends on where the two stand to each other
    (`relative_position_bias_table`), and each stage but the last merges 2x2 neighbours.

    The parts are named as in MMAction2: `backbone.patch_embed`, `backbone.layers.0.blocks.0`, ...,
    `backbone.layers.0.downsample`, ..., `backbone.norm` and `head`.

    Args:
        frames: frames of a clip.
        image_size: height and width of a frame, in pixels.
        patch_size: frames, height and width of a patch; divide the clip.
        in_channels: channels of a frame.
        num_classes: number of classes.
        width: channels of a token in the first stage; each further stage has twice as many as the one before.
        depths: number of blocks of each stage.
        heads: attention heads of each stage; divide its width.
        window: frames, height and width of a window, in tokens; where a stage has fewer tokens, all of them. They
            divide the tokens of each stage.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of the width.

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
        width: int = 32,
        depths: Sequence[int] = (2, 2),
        heads: Sequence[int] = (2, 4),
        window: Sequence[int] = (2, 2, 2),
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        require_positive(frames=frames, image_size=image_size, in_channels=in_channels, num_classes=num_classes)
        require_positive(width=width)
        _check_stages(width, depths, heads)
        require_perceptron(width, mlp_ratio)
        patch, largest = read_sizes("patch_size", patch_size), read_sizes("window", window)
        self.clip_size = (frames, image_size, image_size)
        sizes = divide(self.clip_size, "patch_size", patch, "a clip")
        self.backbone = Backbone(in_channels, patch, sizes, width, depths, heads, largest, mlp_ratio)
        self.head = nn.Linear(self.backbone.width, num_classes)
        self.apply(_initialize)

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that should not decay, as timm's models do."""
        return {name for name, _ in self.named_parameters() if name.endswith("relative_position_bias_table")}

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits of shape (N, num_classes) for clips of shape (N, in_channels, frames, image_size, image_size)."""
        require_clip_size(clips, self.clip_size)
        tokens: Tensor = self.backbone(clips)
        logits: Tensor = self.head(tokens.mean(dim=(1, 2, 3)))
        return logits


class Backbone(nn.Module):
    """Patches, stages and a last norm: (N, C, frames, H, W) -> (N, T', H', W', width of the last stage)."""

    def __init__(
        self,
        in_channels: int,
        patch: Sizes,
        sizes: Sizes,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: Sizes,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, patch, width)
        self.layers = nn.ModuleList()
        for stage, (depth, head_count) in enumerate(zip(depths, heads, strict=True)):
            is_last = stage == len(depths) - 1
            self.layers.append(Stage(sizes, width, depth, head_count, window, mlp_ratio, merges=not is_last))
            if not is_last:
                sizes, width = divide(sizes, "merging", (1, 2, 2), f"the tokens of stage {stage}"), 2 * width
        self.width = width
        self.norm = nn.LayerNorm(width)

    def forward(self, clips: Tensor) -> Tensor:
        """Return normalized tokens of the last stage."""
        tokens = self.patch_embed(clips)
        for layer in self.layers:
            tokens = layer(tokens)
        normalized: Tensor = self.norm(tokens)
        return normalized


class PatchEmbedding(nn.Module):
    """Cut clips into patches of space and time, each a token: (N, C, T, H, W) -> (N, T', H', W', width)."""

    def __init__(self, in_channels: int, patch: Sizes, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, clips: Tensor) -> Tensor:
        """Return one normalized token for each patch."""
        normalized: Tensor = self.norm(self.proj(clips).permute(0, 2, 3, 4, 1))
        return normalized


class Stage(nn.Module):
    """Blocks, every other one with shifted windows, then a merge unless it is the last stage."""

    def __init__(
        self,
        sizes: Sizes,
        width: int,
        depth: int,
        heads: int,
        window: Sizes,
        mlp_ratio: float,
        merges: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(sizes, width, heads, window, mlp_ratio, is_shifted=number % 2 == 1) for number in range(depth)
        )
        self.downsample = Merge(width) if merges else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (N, T, H, W, width), or (N, T, H / 2, W / 2, 2 * width) where the stage merges."""
        for block in self.blocks:
            tokens = block(tokens)
        merged: Tensor = self.downsample(tokens)
        return merged


class Merge(nn.Module):
    """Make one token of 2x2 neighbours: (N, T, H, W, width) -> (N, T, H / 2, W / 2, 2 * width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the merged tokens."""
        fours = torch.cat([tokens[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=-1)
        merged: Tensor = self.reduction(self.norm(fours))
        return merged


class Block(nn.Module):
    """Attention within windows, then a perceptron, each over normalized tokens and added to them.

    Windows of a shifted block begin half a window later; what runs over the edge goes on at the other side, where it
    does not see what it never was next to. A window that is as large as the clip is not shifted.
    """

    def __init__(self, sizes: Sizes, width: int, heads: int, window: Sizes, mlp_ratio: float, is_shifted: bool) -> None:
        super().__init__()
        window = _smaller(window, sizes)
        divide(sizes, "window", window, "the tokens of a stage")
        self.window = window
        self.shift = tuple(w // 2 if is_shifted and w < size else 0 for w, size in zip(window, sizes, strict=True))
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, int(width * mlp_ratio), dropout=0.0)
        self.mask: Tensor | None
        self.register_buffer("mask", _mask(sizes, window, self.shift) if any(self.shift) else None, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the shape of `tokens`, (N, T, H, W, width)."""
        tokens = tokens + self._attend(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed

    def _attend(self, tokens: Tensor) -> Tensor:
        back = tuple(-step for step in self.shift)
        shifted = torch.roll(tokens, back, dims=(1, 2, 3)) if self.mask is not None else tokens
        windows = _split(shifted, self.window)
        mixed = _join(self.attn(windows, self.mask), self.window, tokens.shape)
        return torch.roll(mixed, self.shift, dims=(1, 2, 3)) if self.mask is not None else mixed


class WindowAttention(nn.Module):
    """Self-attention within each window: (N, windows, L, width) -> the same shape, L the tokens of a window.

    `relative_position_bias_table` has one number for each head and each way in which two tokens of a window can stand
    to each other: (2 T - 1) (2 H - 1) (2 W - 1) of them.
    """

    def __init__(self, width: int, heads: int, window: Sizes) -> None:
        super().__init__()
        self.heads = heads
        ways = math.prod(2 * size - 1 for size in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(ways, heads))
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", _relative_positions(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Return each token mixed with those of its window; `mask` (windows, L, L) is added to the scores."""
        batch, count, length, width = windows.shape
        qkv = self.qkv(windows).view(batch, count, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias if mask is None else bias + mask.unsqueeze(1)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: Tensor = self.proj(mixed.transpose(2, 3).flatten(3))
        return projected


def _split(tokens: Tensor, window: Sizes) -> Tensor:
    """Cut (N, T, H, W, C) into windows: (N, windows, L, C)."""
    batch, frames, height, width, channels = tokens.shape
    t, h, w = window
    cells = tokens.view(batch, frames // t, t, height // h, h, width // w, w, channels)
    return cells.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, t * h * w, channels)


def _join(windows: Tensor, window: Sizes, shape: torch.Size) -> Tensor:
    """Put windows (N, windows, L, C) together again: (N, T, H, W, C), which is `shape`."""
    counts = [size // w for size, w in zip(shape[1:4], window, strict=True)]
    cells = windows.view(shape[0], *counts, *window, shape[4])
    return cells.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


def _relative_positions(window: Sizes) -> Tensor:
    """For each two tokens of a window, which row of the table says how they stand to each other: (L, L)."""
    places = torch.cartesian_prod(*(torch.arange(size) for size in window)).view(-1, 3)
    apart = places[:, None] - places[None, :] + torch.tensor(window) - 1
    rows = torch.zeros(apart.shape[:2], dtype=torch.int64)
    for dim, size in enumerate(window):
        rows = rows * (2 * size - 1) + apart[..., dim]
    return rows


def _mask(sizes: Sizes, window: Sizes, shift: tuple[int, ...]) -> Tensor:
    """0 where two tokens of a shifted window are near each other in the clip, -inf where the edge lies between them."""
    regions = torch.zeros(1, *sizes, 1)
    for dim, (size, step) in enumerate(zip(sizes, shift, strict=True), 1):
        beyond = (torch.arange(size) >= size - step).view([-1 if d == dim else 1 for d in range(5)])
        regions = 2 * regions + beyond
    numbers = _split(regions, window).squeeze(-1).squeeze(0)
    apart = numbers[:, None, :] != numbers[:, :, None]
    return torch.zeros(apart.shape).masked_fill(apart, -math.inf)


def _smaller(window: Sizes, sizes: Sizes) -> Sizes:
    frames, height, width = (min(w, size) for w, size in zip(window, sizes, strict=True))
    return frames, height, width


def _check_stages(width: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    if len(depths) != len(heads) or not depths:
        raise ValueError(f"depths and heads must have a number for each stage, not {depths!r} and {heads!r}")
    require_positive(**{f"depths[{stage}]": depth for stage, depth in enumerate(depths)})
    require_positive(**{f"heads[{stage}]": count for stage, count in enumerate(heads)})
    for stage, count in enumerate(heads):
        if width * 2**stage % count:
            raise ValueError(f"heads[{stage}] must divide the width of its stage, {width * 2**stage}, not be {count}")


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
