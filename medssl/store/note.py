"""What is worked out once of a volume and written behind it, so that nobody scans voxels again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medssl.sampling.counter import rng
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.tissue import tissue_strata
from medssl.store.recipe import Prepared
from medssl.store.sums import pack_array, unpack_array

__all__ = ["describe", "facts_from_note", "facts_of", "facts_to_note", "sample_label_voxels"]

_VOXELS_A_LABEL = 1000
"""Remembered voxels of one label: plenty of places for crops, some kilobytes on disk."""


def facts_of(prepared: Prepared, mask: npt.NDArray[np.int16] | None) -> VolumeFacts:
    """Return the facts of a volume that is about to be stored."""
    tissue, names = tissue_strata(
        prepared.stored, prepared.modality, prepared.cell, prepared.occupancy
    )
    return VolumeFacts(
        shape=prepared.stored.shape,
        spacing_mm=prepared.spacing_mm,
        occupancy=prepared.occupancy,
        cell=prepared.cell,
        label_voxels=None if mask is None else sample_label_voxels(mask),
        tissue=tissue,
        tissue_names=names,
    )


def sample_label_voxels(mask: npt.NDArray[np.int16]) -> dict[int, npt.NDArray[np.int32]]:
    """Return up to a thousand voxels of each label above 0, ``(n, ndim)``, always the same."""
    flat = mask.ravel()
    inside = np.flatnonzero(flat > 0)
    inside = inside[np.argsort(flat[inside], kind="stable")]
    labels, starts = np.unique(flat[inside], return_index=True)
    found = {}
    for label, voxels in zip(labels.tolist(), np.split(inside, starts[1:]), strict=False):
        if voxels.size > _VOXELS_A_LABEL:
            voxels = np.sort(rng(0, label).choice(voxels, _VOXELS_A_LABEL, replace=False))
        found[label] = np.stack(np.unravel_index(voxels, mask.shape), axis=1).astype(np.int32)
    return found


def facts_to_note(facts: VolumeFacts) -> dict[str, Any]:
    """Return facts as primitives, to be written behind the volume."""
    voxels = facts.label_voxels
    return {
        "shape": list(facts.shape),
        "spacing_mm": list(facts.spacing_mm),
        "cell": list(facts.cell),
        "occupancy": pack_array(np.packbits(facts.occupancy)),
        "label_voxels": None
        if voxels is None
        else {str(label): pack_array(found) for label, found in voxels.items()},
        "tissue": None if facts.tissue is None else pack_array(facts.tissue),
        "tissue_names": list(facts.tissue_names),
    }


def facts_from_note(note: Mapping[str, Any], volume: str = "") -> VolumeFacts:
    """Return the facts that :func:`facts_to_note` described.

    Args:
        note: What was written; notes of earlier versions tell nothing of tissues.
        volume: The store's name of the volume.
    """
    shape, cell = tuple(note["shape"]), tuple(note["cell"])
    cells = tuple(-(-count // edge) for count, edge in zip(shape, cell, strict=True))
    bits = np.unpackbits(unpack_array(note["occupancy"]), count=int(np.prod(cells)))
    voxels, tissue = note["label_voxels"], note.get("tissue")
    return VolumeFacts(
        shape=shape,
        spacing_mm=tuple(note["spacing_mm"]),
        occupancy=bits.astype(np.bool_).reshape(cells),
        cell=cell,
        label_voxels=None
        if voxels is None
        else {int(label): unpack_array(found) for label, found in voxels.items()},
        tissue=None if tissue is None else unpack_array(tissue),
        tissue_names=tuple(note.get("tissue_names", ())),
        volume=volume,
    )


def describe(prepared: Prepared, facts: VolumeFacts) -> dict[str, Any]:
    """Return the columns of ``volumes.parquet`` that tell of the stored volume itself."""
    body = facts.body
    box = tuple(slice(a, b) for a, b in zip(body.start, body.stop, strict=True))
    inside = prepared.stored[box]
    sample = prepared.coding.decode(inside.ravel()[:: max(1, inside.size // 2**20)])
    return {
        "modality": prepared.modality,
        "shape": list(facts.shape),
        "spacing_mm": list(facts.spacing_mm),
        "orientation": "RAS",
        "affine": prepared.affine.ravel().tolist(),
        "dtype": "int16",
        "minimum": prepared.minimum,
        "foreground_start": list(body.start),
        "foreground_size": list(body.size),
        "body_share": float(facts.occupancy.mean()),
        "intensity_mean": float(sample.mean()),
        "intensity_deviation": float(sample.std()),
    }
