"""Strict loading: every tensor finds its place, or the caller has named what may differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medssl.errors import WeightsMismatchError
from medssl.registry import nearest
from medssl.weights.manifest import FileRecord

__all__ = ["LoadReport", "load_state", "read_tensors", "sha256_of"]

_NAMED = 5


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor.

    Attributes:
        loaded: Names that were copied.
        dropped: Names in the file that the caller allowed to go.
    """

    loaded: tuple[str, ...]
    dropped: tuple[str, ...]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(folder: Path, record: FileRecord) -> dict[str, Tensor]:
    """Read the weights file of an export after its size and hash were found right.

    Raises:
        WeightsMismatchError: If the file is missing, damaged or holds another number of tensors.
    """
    path = folder / record.name
    if not path.is_file():
        raise WeightsMismatchError(
            f'{record.name} is missing from "{folder.name}"; export the run again'
        )
    if path.stat().st_size != record.bytes or sha256_of(path) != record.sha256:
        raise WeightsMismatchError(
            f'{record.name} in "{folder.name}" is damaged: its hash is not the one in '
            "manifest.json. Copy or export it again"
        )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise WeightsMismatchError(f"{record.name} is not a safetensors file: {error}") from error
    if len(tensors) != record.tensors:
        raise WeightsMismatchError(
            f"{record.name} holds {len(tensors)} tensors and the manifest says {record.tensors}"
        )
    return tensors


def load_state(
    module: nn.Module, tensors: Mapping[str, Tensor], *, drop: Sequence[str] = ()
) -> LoadReport:
    """Copy tensors into a module; all of the module's and all of the file's must agree.

    Args:
        module: What is filled.
        tensors: Names and values.
        drop: Patterns of names in ``tensors`` that need not have a place, such as ``head.*``.

    Raises:
        WeightsMismatchError: If anything else is left over, missing or of another shape.
    """
    wanted = module.state_dict()
    dropped = {
        name for name in tensors if name not in wanted and any(fnmatch(name, p) for p in drop)
    }
    given = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    faults = [
        *_unmatched("missing", set(wanted) - set(given), given),
        *_unmatched("unexpected", set(given) - set(wanted), wanted),
        *_misshapen(wanted, given),
    ]
    if faults:
        raise WeightsMismatchError("the weights do not fit the network: " + "; ".join(faults))
    module.load_state_dict(given, strict=True)
    return LoadReport(loaded=tuple(sorted(given)), dropped=tuple(sorted(dropped)))


def _unmatched(what: str, names: set[str], others: Iterable[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)[:_NAMED]
    hint = nearest(shown[0], others).split("?")[0] + "?" if len(names) < _NAMED else ""
    listed = ", ".join(shown) + (", …" if len(names) > _NAMED else "")
    close = f" ({hint})" if hint.startswith("did you mean") else ""
    return [f"{len(names)} {what}: {listed}{close}"]


def _misshapen(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    differing = [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(given))
        if wanted[name].shape != given[name].shape
    ]
    return differing[:_NAMED]
