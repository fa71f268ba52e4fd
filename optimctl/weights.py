"""Initial weights: ``job.load_from``, matched by name and shape, with nothing executed and nothing silent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from optimctl.errors import JobError, listing

if TYPE_CHECKING:
    from optimctl.job.schema import LoadFrom

KEY = ("job", "load_from")
AVERAGED = "averaged"
"""Where our checkpoints keep averaged weights, beside the trained ones, if there are some."""
HOLDERS = (AVERAGED, "state_dict", "model", "module", "model_state_dict")
"""Where files keep the weights, ours and those of other tools, beside other things; the first that is there is taken."""


@dataclass(frozen=True)
class LoadedWeights:
    """What became of a file of weights."""

    path: str
    loaded: int
    """Tensors that the model took."""
    missing: tuple[str, ...]
    """Tensors of the model that the file does not have; they keep their initial values."""
    left_over: tuple[str, ...]
    """Tensors of the file that the model does not have."""
    other_shape: tuple[str, ...]
    """``name: shape in the file, shape in the model``; they keep their initial values."""
    averaged: bool = False
    """Whether they are the averaged weights of a checkpoint that has the trained ones too."""

    def __str__(self) -> str:
        tensors = f"{self.loaded} {'averaged ' * self.averaged}tensor{'s' * (self.loaded != 1)}"
        parts = [f"{tensors} loaded from {self.path}"]
        for what, names in (
            ("missing in it", self.missing),
            ("left over", self.left_over),
            ("of another shape", self.other_shape),
        ):
            if names:
                parts.append(f"{len(names)} {what} ({listing(names, 3)})")
        return ", ".join(parts)


def load_weights(model: nn.Module, source: LoadFrom) -> LoadedWeights:
    """Copy the weights of a file into ``model``, where name and shape agree; a model without values gets none.

    Raises:
        JobError: The file cannot be read, nothing in it fits, or ``strict`` is set and anything does not fit.
    """
    found, averaged = _read(source.path)
    if source.prefix:
        found = {name[len(source.prefix) :]: value for name, value in found.items() if name.startswith(source.prefix)}
    own = model.state_dict(keep_vars=True)
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    other = [name for name in found if name in own and name not in fitting]
    told = LoadedWeights(
        path=source.path,
        loaded=len(fitting),
        missing=tuple(_missing(own, found)),
        left_over=tuple(name for name in found if name not in own),
        other_shape=tuple(f"{name}: {tuple(found[name].shape)}, {tuple(own[name].shape)}" for name in other),
        averaged=averaged,
    )
    if not fitting:
        message = f"no tensor of {source.path} fits the model: {_why_nothing_fits(own, found, told)}"
        raise JobError.single(KEY, message, "no-weights")
    if source.strict and (told.missing or told.left_over or told.other_shape):
        raise JobError.single((*KEY, "strict"), str(told), "weights-differ")
    model.load_state_dict({name: value for name, value in fitting.items() if not own[name].is_meta}, strict=False)
    return told


def _why_nothing_fits(own: Mapping[str, Tensor], found: Mapping[str, Tensor], told: LoadedWeights) -> str:
    if not found:
        return "it has none, or none with the prefix"
    if told.other_shape:
        return f"they have other shapes ({listing(told.other_shape, 2)})"
    return f"the model has names like {listing(own, 2)}, the file like {listing(found, 2)}; set load_from.prefix"


def _missing(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[str]:
    """The model's tensors that a file lacks; safetensors files hold a tensor that has several names under one of them."""
    there = {id(own[name]) for name in found if name in own}
    return (name for name, tensor in own.items() if id(tensor) not in there)


def _read(path: str) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a file, and whether they are an average that it holds beside the trained ones."""
    file = Path(path)
    if not file.is_file():
        raise JobError.single(KEY, f"there is no file {path}", "no-file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file)), False
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        return _tensors(loaded), isinstance(loaded, Mapping) and isinstance(loaded.get(AVERAGED), Mapping)
    except ImportError as error:
        raise JobError.single(
            KEY, "safetensors files need the package safetensors: pip install safetensors", "no-package"
        ) from error
    except Exception as error:
        raise JobError.single(
            KEY, f"{path} cannot be read as weights: {why_unreadable(error)}", "bad-weights"
        ) from error


def why_unreadable(error: Exception) -> str:
    """Why a file could not be read, in a sentence; torch's own is eight lines and tells how to execute what is in the file."""
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return f"it would execute code, {asked[1]}; save the state dict alone, with torch.save(model.state_dict(), ...)"
    if isinstance(error, ValueError):
        return str(error)
    first = str(error).partition("\n")[0]
    first = "" if "weights_only" in first else first  # torch's advice to execute what is in the file
    return f"it is damaged, or something else ({type(error).__name__}{f': {first}' if first else ''})"


def _tensors(loaded: Any) -> dict[str, Tensor]:
    """The state dict in a file, also where it is one of several things in it."""
    for holder in HOLDERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(holder), Mapping):
            return _tensors(loaded[holder])
    if not isinstance(loaded, Mapping):
        raise ValueError(f"it holds a {type(loaded).__name__}, and no state dict")
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}
