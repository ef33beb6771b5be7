"""Slices of some volumes of a cohort, each read as carefully as the first time.

The files may have changed since they were admitted, so that they are read in a sandbox, and one
that is gone costs a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medssl.cohort.cohort import Cohort
from medssl.errors import VolumeReadError
from medssl.io.geometry import to_ras
from medssl.io.sandbox import Sandbox
from medssl.report.advice import MODALITIES
from medssl.report.numbers import edges
from medssl.report.page import Block, Facts, Panel, Panels
from medssl.report.panels import anatomy, grey_window

__all__ = ["thumbnails"]

Plane = npt.NDArray[np.float32]

MOST = 24
PIXELS = 160
CT_WINDOW = (-500.0, 500.0)
CAPTION = (
    "Axial, coronal and sagittal slice through the middle, in true proportions. The choice runs "
    "over modalities and remarks, and is the same every time. Faces can be recognised in scans of "
    "the head: mind whom this page is given to."
)


@dataclass(frozen=True)
class _Sketch:
    """The middle slices of a volume: name of the plane, and a small square in true proportions."""

    slices: tuple[tuple[str, Plane], ...]


def thumbnails(cohort: Cohort, *, most: int = MOST) -> tuple[Block, ...]:
    """Return pictures of volumes spread over modalities and remarks.

    Args:
        cohort: As it lies on the disk.
        most: How many volumes are shown.
    """
    chosen = _spread(cohort.table, most)
    ids = [str(cohort.table["id"][place]) for place in chosen]
    rows = [cohort.row(volume) for volume in ids]
    with Sandbox() as sandbox:
        outcomes = list(sandbox.map(_sketch, [(cohort.path, volume) for volume in ids]))
    solid: list[Panel] = []
    planar: list[Panel] = []
    gone: list[tuple[str, str]] = []
    for volume, row, outcome in zip(ids, rows, outcomes, strict=True):
        if isinstance(outcome, _Sketch):
            panels = _panels(row, outcome)
            (solid if len(panels) > 1 else planar).extend(panels)
        else:
            text = outcome if isinstance(outcome, str) else "its reader failed; index again"
            gone.append((volume, text))
    blocks: list[Block] = []
    if solid:
        blocks.append(Panels("Volumes", tuple(solid), CAPTION, per_row=6))
    if planar:
        blocks.append(Panels("Images", tuple(planar), per_row=6))
    return (*blocks, *([Facts(tuple(gone))] if gone else []))


def _spread(table: pa.Table, most: int) -> list[int]:
    """Return rows, in turn from every modality and first remark, evenly over the table."""
    modality = table["modality"].combine_chunks().dictionary_encode()
    fixes = table["fixes"].combine_chunks()
    words = fixes.flatten().dictionary_encode()
    lengths = np.diff(fixes.offsets.to_numpy()) if len(fixes) else np.zeros(0, dtype=np.int64)
    first = np.full(len(table), -1, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    first[lengths > 0] = words.indices.to_numpy(zero_copy_only=False)[starts[lengths > 0]]
    kinds = modality.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    groups = [
        np.flatnonzero((kinds == kind) & (first == remark))
        for kind in range(len(modality.dictionary))
        for remark in range(-1, len(words.dictionary))
    ]
    groups = [group for group in groups if len(group)]
    chosen: list[int] = []
    for group, share in zip(groups, _shares([len(group) for group in groups], most), strict=True):
        places = np.linspace(0, len(group) - 1, share).round().astype(np.int64)
        chosen += group[places].tolist()
    return chosen


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """Deal out places one at a time, the larger groups first."""
    shares = [0] * len(sizes)
    order = sorted(range(len(sizes)), key=lambda group: -sizes[group])
    while sum(shares) < min(most, sum(sizes)):
        for group in order:
            if shares[group] < sizes[group] and sum(shares) < most:
                shares[group] += 1
    return shares


@functools.lru_cache(maxsize=1)
def _open(path: Path) -> Cohort:
    return Cohort.open(path)


def _sketch(item: tuple[Path, str]) -> _Sketch | str:
    """Return the slices of a volume, or why there are none."""
    path, name = item
    try:
        volume = to_ras(_open(path).read(name))
    except VolumeReadError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - a picture is no reason to go without the report
        return "it can't be read any more; index again"
    if volume.data.ndim == 2:
        cuts = [("", volume.data, (0, 1))]
    else:
        x, y, z = (n // 2 for n in volume.data.shape)
        cuts = [
            ("axial", volume.data[:, :, z], (0, 1)),
            ("coronal", volume.data[:, y, :], (0, 2)),
            ("sagittal", volume.data[x, :, :], (1, 2)),
        ]
    side = max(n * mm for n, mm in zip(volume.data.shape, volume.spacing_mm, strict=True))
    return _Sketch(
        tuple(
            (plane, _square(values, [volume.spacing_mm[axis] for axis in axes], side / PIXELS))
            for plane, values, axes in cuts
        )
    )


def _square(values: npt.NDArray[Any], spacing_mm: Sequence[float], pixel_mm: float) -> Plane:
    """Return a slice in the middle of a square, in the scale of its volume; empty parts are NaN."""
    square: Plane = np.full((PIXELS, PIXELS), np.nan, dtype=np.float32)
    places, targets = [], []
    for size, length in zip(values.shape, spacing_mm, strict=True):
        pixels = min(max(round(size * length / pixel_mm), 1), PIXELS)
        places.append(np.arange(pixels) * size // pixels)
        first = (PIXELS - pixels) // 2
        targets.append(slice(first, first + pixels))
    square[targets[0], targets[1]] = values[np.ix_(places[0], places[1])]
    return square


def _panels(row: dict[str, Any], sketch: _Sketch) -> list[Panel]:
    modality = str(row["modality"])
    about = f"{MODALITIES.get(modality, modality)}, {edges(row['spacing_mm'])} mm"
    remarks = ", ".join(row["fixes"]).replace("_", " ")
    values = [plane for _, plane in sketch.slices]
    low, high = CT_WINDOW if modality == "ct" else grey_window(values)
    if len(values) == 1:
        labels = [f"{about}. {remarks}" if remarks else about]
    else:
        labels = [about, remarks, str(row["id"])]
    return [
        anatomy(np.nan_to_num(plane, nan=low), label, window=(low, high))
        for plane, label in zip(values, labels, strict=True)
    ]
