"""Checkpoints: tensors and plain values only, so that they load without unpickling code; each whole or not there at all.

What is in one, by its keys:

* ``format``: 1.
* ``model``: the trained weights, as the model's ``state_dict``.
* ``averaged``: only where a hook, such as ``EMA``, has begun to average: the same names, with the averages in place of the trained
  weights. Validation and ``best`` are about these, and ``load_from`` and exports take them.
* ``optimizers``: the state of each optim wrapper by name (``default`` where there is one), keyed by the parameters' names.
* ``schedules``, ``progress``, ``random``: how far the run is, and its generators.
* ``hooks``: what each hook remembers, by its name.
* ``metrics``, ``best``: as in ``summary.json``.

A run goes on from ``model``; a tensor that stands under several keys, as an average does, is in the file once.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optimctl.errors import RunFailed
from optimctl.weights import why_unreadable

FORMAT = 1


def checkpoint_name(iteration: int) -> str:
    """The file of the checkpoint after ``iteration`` iterations; the names sort as the numbers do."""
    return f"iteration-{iteration:08d}.pt"


def save_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write beside the place and rename.

    Raises:
        RunFailed: The disk is full, or the folder is gone.
    """
    beside = file.with_name(f".{file.name}.part")
    try:
        torch.save({"format": FORMAT, **state}, beside)
        os.replace(beside, file)  # noqa: PTH105
    except Exception as error:
        raise RunFailed(f"the checkpoint {file} cannot be written: {error}") from error
    finally:
        beside.unlink(missing_ok=True)


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is executed.

    Raises:
        RunFailed: The file is missing, damaged, or of a later format.
    """
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunFailed(f"{file} cannot be read as a checkpoint: {why_unreadable(error)}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunFailed(f"{file} is not a checkpoint of this version of optimctl")
    return state


def random_state() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's generators, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators where ``random_state`` saw them."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def keep_newest(folder: Path, keep: int | None, besides: Path | None) -> None:
    """Delete all but the ``keep`` newest checkpoints; ``besides`` (the best one) stays too."""
    if keep is not None:
        for file in sorted(folder.glob("iteration-*.pt"))[:-keep]:
            if file != besides:
                file.unlink()
