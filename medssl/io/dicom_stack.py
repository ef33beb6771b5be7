"""Frames of one volume laid out along their normal: where each lies, and what is missing.

Everything is decided from headers. What can't be decided is refused with a code, never averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from medssl.io.dicom_frames import Frame

__all__ = ["Rejected", "Stack", "Verdict", "lay_out", "places", "rejected", "vectors"]

Vectors = npt.NDArray[np.float64]

_SAME_PLACE_MM = 0.01
_STRAIGHT_MM = 0.1
_SAME_STEP = 0.05
_LARGEST_GAP = 3.5
_SHORTEST_RUN = 3
_COMMON_SHARE = 0.1


@dataclass(frozen=True)
class Stack:
    """The frames of one volume, in order along their common normal.

    Attributes:
        frames: From the lowest position to the highest.
        along_mm: ``(N,)`` position of each frame along the normal, from the first.
        drift_mm: ``(N, 2)`` how far each frame is shifted along rows and columns.
        step_mm: Distance between planes of the volume.
        fixes: Codes of what was repaired to get here.
    """

    frames: tuple[Frame, ...]
    along_mm: Vectors
    drift_mm: Vectors
    step_mm: float
    fixes: tuple[str, ...] = ()

    @property
    def is_regular(self) -> bool:
        """Whether the frames are the planes of the volume as they are."""
        return not {"tilt_resampled", "uneven_resampled"} & set(self.fixes)


@dataclass(frozen=True)
class Rejected:
    """Frames that make no volume.

    Attributes:
        frames: The frames.
        code: Reason code of the quarantine table.
        detail: What is wrong, in a few words without patient data.
    """

    frames: tuple[Frame, ...]
    code: str
    detail: str


Verdict = Stack | Rejected


def rejected(frames: Sequence[Frame], code: str, detail: str) -> Rejected:
    """Return the refusal of frames."""
    return Rejected(tuple(frames), code, detail)


def lay_out(frames: Sequence[Frame], fixes: tuple[str, ...], fill_missing: int) -> Verdict:
    """Measure the gaps between frames that are in order, each at a place of its own.

    Args:
        frames: From the lowest position to the highest.
        fixes: What was repaired so far.
        fill_missing: Up to this many missing frames are interpolated.
    """
    positions, across, down, normal = vectors(frames)
    relative = positions - positions[0]
    along = relative @ normal
    drift = np.stack([relative @ across, relative @ down], axis=1)
    if len(frames) == 1:
        thickness = frames[0].thickness
        if thickness is None or thickness <= 0:
            return rejected(frames, "no_spacing", "a single slice without a thickness")
        return Stack(tuple(frames), along, drift, thickness, fixes)
    steps = np.diff(along)
    base, missing = _missing(frames, steps)
    total = sum(missing.values())
    if total > fill_missing:
        first = min(missing) + 1
        detail = f"{total} of {len(frames) + total} slices are missing, the first after {first}"
        return rejected(frames, "missing_slices", detail)
    hole = None if missing else _hole(steps)
    if hole is not None:
        detail = f"a hole of {steps[hole]:.4g} mm after slice {hole + 1} of {len(frames)}"
        return rejected(frames, "missing_slices", detail)
    step = base if missing else float(along[-1] / (len(frames) - 1))
    uneven = np.abs(along - step * np.arange(len(frames))).max() > max(0.05, 0.02 * step)
    if uneven and not missing:
        step = max(_finest(steps), float(along[-1]) / (4 * len(frames)))
    if uneven:
        fixes = (*fixes, "uneven_resampled")
    if np.abs(drift).max() > _STRAIGHT_MM:
        fixes = (*fixes, "tilt_resampled")
    return Stack(tuple(frames), along, drift, step, fixes)


def vectors(frames: Sequence[Frame]) -> tuple[Vectors, Vectors, Vectors, Vectors]:
    """Return positions ``(N, 3)`` and the unit vectors across, down and normal."""
    orientation = np.array(frames[0].orientation, dtype=np.float64)
    across, down = orientation[:3], orientation[3:]
    across = across / np.linalg.norm(across)
    down = down / np.linalg.norm(down)
    normal = np.cross(across, down)
    return np.array([frame.position for frame in frames]), across, down, normal


def places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames grouped by place, from the lowest along the normal to the highest."""
    positions, _, _, normal = vectors(frames)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    found = [[frames[order[0]]]]
    for before, here in pairwise(order):
        if along[here] - along[before] <= _SAME_PLACE_MM:
            found[-1].append(frames[here])
        else:
            found.append([frames[here]])
    return found


def _missing(frames: Sequence[Frame], steps: Vectors) -> tuple[float, dict[int, int]]:
    """Return the common step, and how many slices are missing after which frame.

    Only gaps that are whole multiples of one step tell of missing slices. Several such gaps in a
    row are a coarser part of the same scan, as head CT has it above the skull base, unless the
    instance numbers jump as well.
    """
    base = float(np.median(steps))
    if np.mean(np.abs(steps - steps.min()) <= _SAME_STEP * steps.min()) >= 0.5:
        base = float(np.median(steps[steps <= (1 + _SAME_STEP) * steps.min()]))
    multiples = np.rint(steps / base).astype(int)
    if np.abs(steps / base - multiples).max() > _SAME_STEP or np.mean(multiples == 1) < 0.5:
        return base, {}
    found: dict[int, int] = {}
    start = 0
    for multiple, run in groupby(multiples.tolist()):
        length = len(list(run))
        gaps = range(start, start + length)
        start += length
        jumps = sum(abs(frames[at + 1].instance - frames[at].instance) == multiple for at in gaps)
        if multiple > 1 and (length < _SHORTEST_RUN or 2 * jumps > length):
            found |= dict.fromkeys(gaps, multiple - 1)
    return base, found


def _finest(steps: Vectors) -> float:
    """Return the smallest distance that is no exception: every slice keeps its share of the volume.

    Where two slabs meet, one gap is often much smaller than all others.
    """
    ordered = np.sort(steps)
    alike = np.searchsorted(ordered, ordered * (1 + _SAME_STEP), side="right")
    common = alike - np.arange(len(ordered)) >= _COMMON_SHARE * len(ordered)
    return float(ordered[np.argmax(common)])


def _hole(steps: Vectors) -> int | None:
    """Return where a lone gap is much wider than the gaps on both sides of it."""
    for at in range(1, len(steps) - 1):
        if steps[at] > _LARGEST_GAP * max(steps[at - 1], steps[at + 1]):
            return at
    return None
