"""A vision transformer for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimctl_vision.arguments import require_positive, require_transformer


class VisionTransformer(nn.Module):
    """Classify small images with a transformer over their patches.

    Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020 (https://arxiv.org/abs/2010.11929): pre-norm blocks, a
    learned class token and learned positions. Parts are named as in timm: `patch_embed`, `cls_token`, `pos_embed`,
    `blocks.0`, `blocks.1`, ..., `norm` and `head`.

    Args:
        image_size: height and width of an image, in pixels.
        patch_size: height and width of a patch, in pixels; divides `image_size`.
        in_channels: channels of an image.
        num_classes: number of classes.
        width: channels of a token; a multiple of `heads`.
        depth: number of blocks.
        heads: attention heads in each block.
        mlp_ratio: hidden channels of a block's perceptron, as a multiple of `width`.
        dropout: probability with which a channel is dropped after the positions are added and after each attention
            and each layer of a perceptron; in [0, 1).

    Shape:
        images (N, in_channels, image_size, image_size) -> logits (N, num_classes).

    Raises:
        ValueError: an argument is out of its range; in `forward`, an image has another height or width.
    """

    def __init__(
        self,
        image_size: int = 8,
        patch_size: int = 2,
        in_channels: int = 1,
        num_classes: int = 10,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_positive(image_size=image_size, patch_size=patch_size, in_channels=in_channels, num_classes=num_classes)
        require_positive(width=width, depth=depth, heads=heads)
        if image_size % patch_size:
            raise ValueError(f"patch_size must divide image_size, but {image_size} is no multiple of {patch_size}")
        require_transformer(width, heads, mlp_ratio, dropout)
        self.patch_embed = PatchEmbedding(image_size, patch_size, in_channels, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (image_size // patch_size) ** 2, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self._initialize()

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that should not decay, as timm's models do."""
        return {"pos_embed", "cls_token"}

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (N, num_classes) for images of shape (N, in_channels, image_size, image_size)."""
        patches: Tensor = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        tokens = self.blocks(self.dropout(tokens + self.pos_embed))
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits

    def _initialize(self) -> None:
        # timm's settings, but for the positions: its 0.02 suits patches of 16x16x3 pixels. The smaller the patch, the
        # larger the convolution's initial weights, and positions of 0.02 would drown among the patches of 2x2x1.
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=self.patch_embed.proj.weight[0].numel() ** -0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


class PatchEmbedding(nn.Module):
    """Cut images into patches and project each to a token: (N, C, H, W) -> (N, H * W / patch_size**2, width)."""

    def __init__(self, image_size: int, patch_size: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.proj = nn.Conv2d(in_channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return one token for each patch, row by row; a ValueError where the images have another size."""
        height, width = images.shape[-2:]
        if height != self.image_size or width != self.image_size:
            raise ValueError(f"images are {height}x{width}, but the model was built with image_size={self.image_size}")
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Attention, then a perceptron, each over normalized tokens and added to them: (N, L, width) -> (N, L, width)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, int(width * mlp_ratio), dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the shape of `tokens`, (N, L, width)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class Attention(nn.Module):
    """Multi-head self-attention: (N, L, width) -> (N, L, width)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token mixed with those it attends to, (N, L, width)."""
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
        return projected


class Perceptron(nn.Module):
    """Two linear layers with GELU between: (N, L, width) -> (N, L, width)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token changed by itself, (N, L, width)."""
        hidden = self.dropout(functional.gelu(self.fc1(tokens)))
        projected: Tensor = self.dropout(self.fc2(hidden))
        return projected
