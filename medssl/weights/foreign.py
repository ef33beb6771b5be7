"""Reads weights that others wrote, without running anything that lies in them.

A safetensors file holds numbers alone. Every other file is a pickle: it is opened in a child
process with limits on memory and time, by a reader that builds tensors and plain values and nothing
else, and what it does not know it refuses. There is no second way.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from medssl.errors import InputError, WeightsMismatchError
from medssl.io.sandbox import Sandbox, SandboxFault
from medssl.weights.pickled import load_pickled

__all__ = ["read_foreign"]

_SECONDS = 300.0
_SPARE_BYTES = 2 * 2**30
_COPIES = 6
"""How often the numbers of a file may lie in the memory of the child."""
_DEEPEST = 12
_MOST_ENTRIES = 200_000

_HARMLESS: list[Any] = [
    # a training loop notes its best score as a numpy number, and its options as a namespace
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
]


@dataclass
class _Content:
    """What a child found: plain values, with a numbered place for each tensor."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    owners: dict[tuple[Any, ...], str] = field(default_factory=dict)
    entries: int = 0

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Return mappings and lists as they are, tensors as ``("tensor", number)``."""
        self.entries += 1
        if depth > _DEEPEST or self.entries > _MOST_ENTRIES:
            return None
        if isinstance(value, Tensor):
            return ("tensor", self._place(value))
        if isinstance(value, Mapping):
            return {str(k): self.plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, argparse.Namespace):
            return self.plain(vars(value), depth)
        if isinstance(value, list | tuple):
            return [self.plain(v, depth + 1) for v in value]
        if isinstance(value, np.generic):
            return value.item()
        return value if isinstance(value, str | int | float | bool) else None

    def _place(self, tensor: Tensor) -> str:
        # a file may name one tensor often; its numbers are handed over once
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if key not in self.owners:
            self.owners[key] = str(len(self.tensors))
            self.tensors[self.owners[key]] = tensor.detach().contiguous().clone()
        return self.owners[key]


def read_foreign(path: Path | str) -> dict[str, Any]:
    """Return what a weights file holds: mappings and lists of tensors and plain values.

    Args:
        path: A safetensors file, or what ``torch.save`` wrote.

    Raises:
        WeightsMismatchError: If it is damaged, no weights file, holds more than numbers, or takes
            more memory or time than a file of its size may.

    Example:
        >>> read_foreign("model_swinvit.pt").keys()  # doctest: +SKIP
        dict_keys(['epoch', 'state_dict', 'optimizer'])
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f'weights file "{file.name}" does not exist')
    _refuse_other_framework(file)
    if _is_safetensors(file):
        return _read_safetensors(file)
    with tempfile.TemporaryDirectory(prefix="medssl-weights-") as folder:
        handed = Path(folder) / "tensors.safetensors"
        memory = _SPARE_BYTES + _COPIES * file.stat().st_size
        with Sandbox(memory_bytes=memory, seconds=_SECONDS) as sandbox:
            (found,) = sandbox.map(_read_pickle, [(str(file), str(handed))])
        if isinstance(found, SandboxFault):
            raise WeightsMismatchError(
                f'"{file.name}" was not read: {_FAULTS[found.kind]}; the file is damaged or made '
                "to do harm, download it again from its publisher"
            )
        tensors = load_file(handed)
    return {str(key): _with_tensors(value, tensors) for key, value in found.items()}


_OTHERS = {
    ".h5": "Keras",
    ".hdf5": "Keras",
    ".keras": "Keras",
    ".json": "TensorFlow.js",
    ".npz": "NumPy",
    ".onnx": "ONNX",
    ".pb": "TensorFlow",
    ".tflite": "TensorFlow Lite",
}


def _refuse_other_framework(path: Path) -> None:
    made_by = _OTHERS.get(path.suffix)
    if path.suffix == ".bin" and path.with_name("model.json").is_file():
        made_by = _OTHERS[".json"]  # numbers alone, whose names lie in the file beside it
    if made_by is not None:
        raise WeightsMismatchError(
            f'"{path.name}" is a file of {made_by}; expected safetensors or a state dict written '
            "by torch.save: take the PyTorch file of its authors, or save one where it was made"
        )


_FAULTS = {
    "crash": "the process that read it crashed",
    "timeout": f"it took more than {_SECONDS:.0f} seconds",
    "memory": "it takes far more memory than its size explains",
}


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (len(head) == 9 and head[8:9] == b"{")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        # the header is checked against the length of the file before a byte is set aside for it
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
        content: dict[str, Any] = dict(load_file(path))
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise WeightsMismatchError(
            f'"{path.name}" is not a whole safetensors file ({_first_line(error)}); copy or '
            "download it again"
        ) from error
    return {**content, **({"__metadata__": dict(about)} if about else {})}


def _read_pickle(names: tuple[str, str]) -> dict[str, Any]:
    """In the child: write the tensors of a file to another, and return the rest."""
    source, target = names
    shown = Path(source).name
    try:
        loaded = load_pickled(source, harmless=_HARMLESS)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - any file, any error: all are refusals
        raise WeightsMismatchError(_refusal(shown, error)) from None
    if not isinstance(loaded, Mapping):
        raise WeightsMismatchError(
            f'"{shown}" holds one {type(loaded).__name__} and no names; expected a state dict'
        )
    content = _Content()
    plain: dict[str, Any] = content.plain(loaded)
    save_file(content.tensors, target)
    return plain


def _refusal(shown: str, error: Exception) -> str:
    text = str(error)
    named = re.search(r"(?:Unsupported global: GLOBAL|Unsupported class|class) ([\w.]+)", text)
    if named is not None and "ordinal not in range" not in text:
        return (
            f'"{shown}" is refused: it asks to run {named.group(1)}, and weights are numbers '
            "alone. Nothing was run. If you trust its source, save its state dict alone as "
            "safetensors where it was made"
        )
    return (
        f'"{shown}" is no whole weights file ({_first_line(error)}); expected safetensors or a '
        "state dict written by torch.save: copy or download it again"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    # what torch says of other bytes is about its own releases, or a number
    if isinstance(error, LookupError) or text.startswith("Weights only load failed"):
        return "its bytes are no pickle of tensors"
    lines = text.splitlines()
    return (lines[0] if lines else type(error).__name__)[:120].rstrip(". ")


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, tuple):
        return tensors[value[1]]
    if isinstance(value, dict):
        return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_tensors(inner, tensors) for inner in value]
    return value
