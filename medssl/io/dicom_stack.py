"""Frames of one series put in order: which belong together, where they lie, and what is missing.

Everything is decided from headers. What can't be decided is refused with a code, never averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medssl.io.dicom_frames import Frame

__all__ = ["Rejected", "SamePixels", "Stack", "assemble"]

SamePixels = Callable[[Frame, Frame], bool]
Vectors = npt.NDArray[np.float64]

FEWEST_FRAMES = 4
"""Fewer planes than this are the odd ones out of a series, not a volume of their own."""

MOST_PHASES = 10
"""More volumes than this at one place are a time series, not phases of a contrast agent."""

_KEYS = ("image_type", "echo", "b_value", "acquisition", "temporal", "clock")
_SAME_PLACE_MM = 0.01
_STRAIGHT_MM = 0.1
_SAME_DIRECTION = 1e-3


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


def assemble(frames: Sequence[Frame], same_pixels: SamePixels) -> list[Verdict]:
    """Sort the frames of one series into volumes.

    Args:
        frames: Of one series, in any order.
        same_pixels: Tells whether two frames at one place hold the same picture; asked rarely.

    Returns:
        A verdict on every frame, in an order that depends on the headers alone.
    """
    flat = [frame for frame in frames if frame.position is None or frame.orientation is None]
    if flat:
        count = f"{len(flat)} of {len(frames)}"
        return [_rejected(frames, "no_geometry", f"{count} images do not say where they lie")]
    if any(frame.spacing is None for frame in frames):
        return [_rejected(frames, "no_spacing", "PixelSpacing is missing or zero")]
    verdicts: list[Verdict] = []
    for group, fixes in _by_matrix(frames):
        verdicts += _by_orientation(group, fixes, same_pixels)
    return verdicts


def _rejected(frames: Sequence[Frame], code: str, detail: str) -> Rejected:
    return Rejected(tuple(frames), code, detail)


def _by_matrix(frames: Sequence[Frame]) -> list[tuple[list[Frame], tuple[str, ...]]]:
    """Split by picture size; a few pictures of another size are left out of the main group."""
    groups: dict[object, list[Frame]] = {}
    for frame in sorted(frames, key=_order):
        spacing = tuple(round(size, 4) for size in frame.spacing or ())
        groups.setdefault((frame.rows, frame.columns, spacing), []).append(frame)
    ranked = sorted(groups.values(), key=len, reverse=True)
    kept = [group for group in ranked if len(group) >= FEWEST_FRAMES]
    if not kept or len(kept) == len(ranked):
        return [(group, ()) for group in ranked]
    return [(kept[0], ("odd_slice_dropped",)), *((group, ()) for group in kept[1:])]


def _by_orientation(
    frames: list[Frame], fixes: tuple[str, ...], same_pixels: SamePixels
) -> list[Verdict]:
    """Split by direction; a lone picture that lies askew puts the whole group in doubt."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            shift = np.subtract(frame.orientation or (), group[0].orientation or ())
            if np.abs(shift).max() <= _SAME_DIRECTION:
                group.append(frame)
                break
        else:
            groups.append([frame])
    smallest = min(len(group) for group in groups)
    if len(groups) > 1 and smallest < FEWEST_FRAMES:
        detail = f"its {len(frames)} images lie in {len(groups)} directions"
        return [_rejected(frames, "mixed_orientation", detail)]
    return [verdict for group in groups for verdict in _by_phase(group, fixes, same_pixels)]


def _by_phase(
    frames: list[Frame], fixes: tuple[str, ...], same_pixels: SamePixels
) -> list[Verdict]:
    """Split where several pictures lie at one place, by what their headers say of time and kind."""
    groups = [frames]
    for key in _KEYS:
        if all(_most_repeats(group) == 1 for group in groups):
            break
        groups = [part for group in groups for part in _split(group, key)]
    if len(groups) > MOST_PHASES:
        return [_rejected(frames, "time_series", f"it holds {len(groups)} volumes of one place")]
    if len(groups) > 1:
        fixes = (*fixes, "frames_split")
    return [_without_repeats(group, fixes, same_pixels) for group in groups]


def _split(frames: list[Frame], key: str) -> list[list[Frame]]:
    """Split by one key, if every part then covers the place and repeats less."""
    repeats = _most_repeats(frames)
    parts: dict[str, list[Frame]] = {}
    for frame in frames:
        parts.setdefault(getattr(frame, key), []).append(frame)
    enough = min(FEWEST_FRAMES, len(_places(frames)))
    covers = all(len(_places(part)) >= enough for part in parts.values())
    helps = max(_most_repeats(part) for part in parts.values()) < repeats
    return list(parts.values()) if repeats > 1 and covers and helps else [frames]


def _without_repeats(
    frames: list[Frame], fixes: tuple[str, ...], same_pixels: SamePixels
) -> Verdict:
    """Drop pictures that occur twice; refuse different pictures of one place."""
    places = _places(frames)
    repeated = [place for place in places if len(place) > 1]
    for first, *others in repeated:
        if not all(same_pixels(first, other) for other in others):
            if 2 * len(repeated) > len(places):
                detail = f"{len(repeated)} of {len(places)} places have several images"
                return _rejected(frames, "ambiguous_stack", detail)
            detail = f"{len(repeated)} places have several, different images"
            return _rejected(frames, "duplicate_slices", detail)
    if repeated:
        fixes = (*fixes, "duplicate_slice_dropped")
    return _lay_out([place[0] for place in places], fixes)


def _lay_out(frames: list[Frame], fixes: tuple[str, ...]) -> Verdict:
    """Measure the gaps between frames that are in order."""
    positions, across, down, normal = _vectors(frames)
    relative = positions - positions[0]
    along = relative @ normal
    drift = np.stack([relative @ across, relative @ down], axis=1)
    if len(frames) == 1:
        thickness = frames[0].thickness
        if thickness is None or thickness <= 0:
            return _rejected(frames, "no_spacing", "a single slice without a thickness")
        return Stack(tuple(frames), along, drift, thickness, fixes)
    steps = np.diff(along)
    missing = _missing(steps)
    if missing:
        total, first = sum(missing.values()), min(missing) + 1
        detail = f"{total} of {len(frames) + total} slices are missing, the first after {first}"
        return _rejected(frames, "missing_slices", detail)
    step = float(along[-1] / (len(frames) - 1))
    uneven = np.abs(along - step * np.arange(len(frames))).max() > max(0.05, 0.02 * step)
    if uneven:
        # The finest distance keeps every slice, but a stray one must not blow up the volume.
        step = max(float(steps.min()), float(along[-1]) / (4 * len(frames)))
        fixes = (*fixes, "uneven_resampled")
    if np.abs(drift).max() > _STRAIGHT_MM:
        fixes = (*fixes, "tilt_resampled")
    return Stack(tuple(frames), along, drift, step, fixes)


def _missing(steps: Vectors) -> dict[int, int]:
    """Return how many slices are missing after which, where all gaps are multiples of one step."""
    base = float(np.median(steps))
    if np.mean(np.abs(steps - steps.min()) <= 0.05 * steps.min()) >= 0.5:
        base = float(np.median(steps[steps <= 1.05 * steps.min()]))
    multiples = np.rint(steps / base)
    if np.abs(steps / base - multiples).max() > 0.05 or np.mean(multiples == 1) < 0.5:
        return {}
    return {int(at): int(multiples[at]) - 1 for at in np.flatnonzero(multiples > 1)}


def _vectors(frames: Sequence[Frame]) -> tuple[Vectors, Vectors, Vectors, Vectors]:
    """Return positions ``(N, 3)`` and the unit vectors across, down and normal."""
    orientation = np.array(frames[0].orientation, dtype=np.float64)
    across, down = orientation[:3], orientation[3:]
    across = across / np.linalg.norm(across)
    down = down / np.linalg.norm(down)
    normal = np.cross(across, down)
    return np.array([frame.position for frame in frames]), across, down, normal


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames grouped by place, from the lowest along the normal to the highest."""
    positions, _, _, normal = _vectors(frames)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    places = [[frames[order[0]]]]
    for before, here in pairwise(order):
        if along[here] - along[before] <= _SAME_PLACE_MM:
            places[-1].append(frames[here])
        else:
            places.append([frames[here]])
    return places


def _most_repeats(frames: Sequence[Frame]) -> int:
    return max(map(len, _places(frames)))


def _order(frame: Frame) -> tuple[int, str, int]:
    return frame.instance, frame.path.name, frame.index
