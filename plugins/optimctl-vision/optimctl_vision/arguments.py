"""Checks of constructor arguments that the models share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Sizes = tuple[int, int, int]
"""Frames, height and width; in pixels, patches or tokens."""


def require_positive(**arguments: int) -> None:
    """Raise a ValueError that names the first argument that is not a whole number of at least 1."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


def require_perceptron(width: int, mlp_ratio: float) -> None:
    """Raise a ValueError where a transformer's perceptron would have no hidden channel."""
    if not width * mlp_ratio >= 1:
        raise ValueError(f"mlp_ratio must leave at least 1 hidden channel of {width}, not {mlp_ratio!r} times as many")


def require_transformer(width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
    """Raise a ValueError that names the first argument of a transformer that does not fit the others."""
    if width % heads:
        raise ValueError(f"heads must divide width, but {width} is no multiple of {heads}")
    require_perceptron(width, mlp_ratio)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout!r}")


def read_sizes(name: str, values: Sequence[int]) -> Sizes:
    """Three sizes; a ValueError names the argument where they are not."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise ValueError(f"{name} must be three numbers, of frames, height and width, not {values!r}")
    require_positive(**{f"{name}[{index}]": value for index, value in enumerate(values)})
    frames, height, width = values
    return frames, height, width


def divide(sizes: Sizes, name: str, parts: Sizes, what: str) -> Sizes:
    """How many times each of `parts` goes into `sizes`; a ValueError names the argument where one leaves a rest."""
    if any(size % part for size, part in zip(sizes, parts, strict=True)):
        raise ValueError(f"{name} must divide {what}, but {size_text(sizes)} is no multiple of {size_text(parts)}")
    frames, height, width = (size // part for size, part in zip(sizes, parts, strict=True))
    return frames, height, width


def require_clip_size(clips: Tensor, sizes: Sizes) -> None:
    """Raise a ValueError where clips (N, C, T, H, W) have another size than the model was built for."""
    if tuple(clips.shape[2:]) != sizes:
        raise ValueError(f"clips are {size_text(clips.shape[2:])}, but the model was built for {size_text(sizes)}")


def size_text(sizes: Sequence[int]) -> str:
    """Sizes for a sentence, as in 8x16x16."""
    return "x".join(map(str, sizes))
