"""``safetensors``: the weights of a run, with its job and versions beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optimctl.errors import UsageError, listing, raised_text
from optimctl.export.notes import notes
from optimctl.export.source import Source, exporter

if TYPE_CHECKING:
    from torch import Tensor


@exporter(needs="run", binary=True)
def export_safetensors(source: Source) -> bytes:
    """The weights of a run's checkpoint as safetensors; averaged ones, as of the hook EMA, where there are some.

    The file's metadata has the resolved job (optimctl.job) and the versions it ran with (optimctl.versions), as JSON. A tensor with
    several names is there under the first; the others stand in the metadata with that name, as safetensors' own save_model has it.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UsageError("safetensors needs the package of that name: pip install 'optimctl[safetensors]'") from error
    state = _tensors(source.weights.state)
    described = {f"optimctl.{name}": text for name, text in notes(source).items()}
    try:
        tensors, aliases = _distinct(state)
        return _in_order(save(tensors, {"format": "pt", **described, **aliases}))
    except Exception as error:  # quantized, sparse, or of a type that safetensors does not know
        raise UsageError(f"these weights cannot be written as safetensors: {raised_text(error)}") from error


def _in_order(file: bytes) -> bytes:
    """The same file, its metadata sorted: the library writes it in another order each time.

    The format: eight bytes, little-endian, that say how long the header is; the header, JSON filled up with blanks; the tensors.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the library has it: tensors begin where a machine likes to read them
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(file)[end:]))


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    from torch import Tensor

    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise UsageError(f"safetensors holds tensors alone, and the model's state has more: {listing(others)}")
    return dict(state)


def _distinct(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once and with memory of its own, and the further names of those that have several."""
    names: dict[Any, str] = {}
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        view = (
            (memory, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else name
        )
        first = names.setdefault(view, name)
        if first != name:
            aliases[name] = first
        else:
            kept[name] = (tensor.clone() if memory in taken else tensor).contiguous()
            taken.add(memory)
    return kept, aliases
