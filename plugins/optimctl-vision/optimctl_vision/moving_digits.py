"""Clips for action recognition, made from the handwritten digits that scikit-learn ships."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from optimctl_vision.arguments import require_positive
from optimctl_vision.digits import Digits

ACTIONS = ("left", "right", "up", "down", "grow", "still")
"""What a digit does in a clip; a label is an index into these."""

_DIGIT = 8.0
"""Height and width of a digit of scikit-learn, in pixels."""
_SPEEDS = (0.5, 1.0)
"""How far a digit moves, as a share of all the room that it has."""
_SCALES = (0.85, 1.1)
"""How large a digit is in the middle of its growth, as a multiple of its 8 pixels."""
_GROWTH = (1.4, 1.8)
"""How much larger a digit that grows is in the last frame than in the first."""
_SEEDS = {"train": 0, "test": 1}
"""Of the numbers by which clips are drawn, so that the two splits draw different ones."""


class MovingDigits(Dataset[tuple[Tensor, int]]):
    """Short clips of a digit that moves to the left, right, up or down, grows, or stays as it is.

    Which digit it is does not matter, and a single frame does not tell what it does: positions and sizes have the same
    range for every action. The digits of the two splits are those of `Digits`, disjoint, and a clip is a function of the
    arguments and its index; with more clips of each digit, the first ones stay as they are.

    An item is a clip, float32 of shape (1, frames, size, size) in [0, 1] with 1 for ink, channels first as
    `torch.nn.Conv3d` wants them, and its label, an int: 0 left, 1 right, 2 up, 3 down, 4 grow, 5 still.

    Args:
        split: "train" or "test".
        frames: frames of a clip, 2 or more.
        size: height and width of a frame, in pixels; at least 16, so that a digit of 8 pixels has room.
        clips: clips of each digit; 1,437 digits are for training and 360 for testing.
        noise: standard deviation of the noise of each pixel; 0 or more.
        seed: draws other motions.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        split: str = "train",
        frames: int = 8,
        size: int = 16,
        clips: int = 1,
        noise: float = 0.05,
        seed: int = 0,
    ) -> None:
        digits = Digits(split)
        require_positive(frames=frames, size=size, clips=clips)
        _check(frames, size, noise, seed)
        generator = torch.Generator().manual_seed(2 * seed + _SEEDS[split])
        passes = [_make_clips(digits.images, frames, size, noise, generator) for _ in range(clips)]
        self.clips = torch.cat([made for made, _ in passes])
        self.labels = torch.cat([labels for _, labels in passes])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.clips[index], int(self.labels[index])


def _check(frames: int, size: int, noise: float, seed: int) -> None:
    if frames < 2:
        raise ValueError(f"frames must be at least 2, or nothing moves, not {frames!r}")
    if size < 2 * _DIGIT:
        raise ValueError(f"size must be at least {2 * _DIGIT:.0f} pixels, so that a digit has room, not {size!r}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a number from 0 up, not {noise!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0 up, not {seed!r}")


def _make_clips(
    images: Tensor, frames: int, size: int, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One clip (1, frames, size, size) of each image (1, 8, 8), and the labels, each action as often as the others."""
    count = len(images)
    labels = torch.randperm(count, generator=generator) % len(ACTIONS)
    centres, scales = _draw_motions(labels, frames, size, generator)
    clips = _render(images, centres, scales, size)
    drawn = torch.randn(clips.shape, generator=generator)
    return (clips + noise * drawn).clamp_(0, 1).unsqueeze(1), labels


def _draw_motions(labels: Tensor, frames: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where each digit is and how large, frame by frame.

    Returns:
        The centres (N, frames, 2), x to the right and y down, in pixels from the frame's centre, and the scales
        (N, frames), as multiples of a digit's 8 pixels.
    """
    count = len(labels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    room = (size - _DIGIT) / 2  # a digit's centre stays this close to the frame's centre
    length = 2 * room * uniform(*_SPEEDS)
    along, across = uniform(-1, 1), room * uniform(-1, 1)
    growth = uniform(*_GROWTH)
    usual = uniform(*_SCALES)
    moment = uniform(-0.5, 0.5)  # that of its growth at which a digit stays that does not grow
    progress = torch.linspace(-0.5, 0.5, frames)
    moves = labels < ACTIONS.index("grow")
    horizontal = labels <= ACTIONS.index("right")
    sign = torch.where((labels == ACTIONS.index("right")) | (labels == ACTIONS.index("down")), 1.0, -1.0)
    # The path's middle lies where the whole path has room; what does not move is anywhere.
    middle = along * torch.where(moves, room - length / 2, room)
    path = middle[:, None] + (sign * length * moves)[:, None] * progress
    steady = across[:, None].expand(-1, frames)
    x = torch.where(horizontal[:, None], path, steady)
    y = torch.where(horizontal[:, None], steady, path)
    grows = (labels == ACTIONS.index("grow"))[:, None]
    scales = usual[:, None] * growth[:, None] ** torch.where(grows, progress, moment[:, None])
    return torch.stack([x, y], dim=2), scales


def _render(images: Tensor, centres: Tensor, scales: Tensor, size: int) -> Tensor:
    """Frames (N, frames, size, size) of images (N, 1, 8, 8), each moved to its centre and scaled, between pixels too."""
    count, frames = scales.shape
    # `affine_grid` maps the frame's coordinates, -1 to 1 over its width, to the image's.
    zoom = size / (_DIGIT * scales)
    shift = -2 * centres / (_DIGIT * scales)[..., None]
    transforms = torch.zeros(count, frames, 2, 3)
    transforms[..., 0, 0] = transforms[..., 1, 1] = zoom
    transforms[..., :, 2] = shift
    grid = functional.affine_grid(transforms.flatten(0, 1), [count * frames, 1, size, size], align_corners=False)
    repeated = images[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    drawn = functional.grid_sample(repeated, grid, align_corners=False)
    return drawn.view(count, frames, size, size)
