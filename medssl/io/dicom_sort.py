"""Frames of one series sorted into volumes: by grid, by direction, by phase.

What can't be decided from the headers is refused with a code, never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from medssl.io.dicom_frames import Frame
from medssl.io.dicom_stack import Rejected, Verdict, lay_out, places, rejected, vectors

__all__ = ["MOST_PHASES", "SamePixels", "assemble"]

SamePixels = Callable[[Frame, Frame], bool]

FEWEST_FRAMES = 4
"""Fewer planes than this are the odd ones out of a series, not a volume of their own."""

MOST_PHASES = 10
"""More volumes than this at one place are a time series, not phases of a contrast agent."""

_KEYS = (
    *("image_type", "echo", "b_value", "direction", "inversion", "kernel", "acquisition"),
    *("temporal", "clock"),
)
_SAME_DIRECTION = 1e-3
_SAME_SIZE = 1e-3
_SAME_ORIGIN_MM = 1.0
_LARGEST_ODD_SHARE = 1 / 3
_FARTHEST_MM = 1e5
_LEAN = 0.1
_MOST_ORIGINS = 8


def assemble(
    frames: Sequence[Frame], same_pixels: SamePixels, fill_missing: int = 0
) -> list[list[Verdict]]:
    """Sort the frames of one series into volumes.

    Args:
        frames: Of one series, in any order.
        same_pixels: Tells whether two frames at one place hold the same picture; asked rarely.
        fill_missing: Up to this many missing frames of a volume are interpolated.

    Returns:
        For each place in space the verdicts on its volumes, in an order that depends on the headers
        alone. Together they hold every frame but odd ones, which the fixes mention.
    """
    frames = sorted(frames, key=_order)
    groups = _by_grid([frame for frame in frames if _fault([frame]) is None])
    fault = _fault(frames)
    if fault is not None and not (groups and _are_captures(frames, groups)):
        return [[rejected(frames, *fault)]]
    kept = [group for group in groups if len(group) >= FEWEST_FRAMES]
    odd = len(frames) - sum(map(len, kept))
    if not kept:
        if fault is not None:
            return [[rejected(frames, *fault)]]
        mixed = _mixed(groups)
        if mixed is not None:
            return [[rejected(frames, *mixed)]]
        kept, odd = groups, 0
    found = [_by_phase(group, same_pixels, fill_missing) for group in kept]
    if not odd:
        return found
    has_holes = any(_is_missing(verdict) for place in found for verdict in place)
    if len(_directions(groups)) > 1 and (has_holes or odd > _LARGEST_ODD_SHARE * len(frames)):
        detail = f"its {len(frames)} images lie in {len(_directions(groups))} directions"
        return [[rejected(frames, "mixed_orientation", detail)]]
    main = max(range(len(kept)), key=lambda at: len(kept[at]))
    found[main] = [_without_odd(verdict) for verdict in found[main]]
    return found


def _fault(frames: Sequence[Frame]) -> tuple[str, str] | None:
    """Return code and detail where frames do not say where they lie."""
    flat = sum(frame.position is None or frame.orientation is None for frame in frames)
    if flat:
        return "no_geometry", f"{flat} of {len(frames)} images do not say where they lie"
    if any(frame.spacing is None for frame in frames):
        return "no_spacing", "PixelSpacing is missing, zero or no number"
    for frame in frames:
        x, y = (frame.orientation or ())[:3], (frame.orientation or ())[3:]
        lean = abs(sum(a * b for a, b in zip(x, y, strict=True)))
        if max(abs(math.hypot(*x) - 1), abs(math.hypot(*y) - 1), lean) > _LEAN:
            return "bad_affine", "its directions are not at right angles"
        if max(map(abs, frame.position or ())) > _FARTHEST_MM:
            return "bad_affine", "its position is farther away than a scanner reaches"
    return None


def _are_captures(frames: Sequence[Frame], groups: list[list[Frame]]) -> bool:
    """Say whether the few frames without a place are no slices: of another size than all others."""
    sizes = {(frame.rows, frame.columns) for group in groups for frame in group}
    faulty = [frame for frame in frames if _fault([frame]) is not None]
    strange = all((frame.rows, frame.columns) not in sizes for frame in faulty)
    return strange and len(faulty) < FEWEST_FRAMES


def _by_grid(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames of one size, spacing, direction and stack; rounding splits nothing."""
    stacks = {frame.stack for frame in frames}
    counts = [sum(frame.stack == stack for frame in frames) for stack in stacks]
    if min(counts, default=0) < FEWEST_FRAMES:
        stacks = {""}
    groups: dict[Hashable, list[list[Frame]]] = {}
    for frame in frames:
        name = (frame.rows, frame.columns, frame.stack if len(stacks) > 1 else "")
        alike = groups.setdefault(name, [])
        for group in alike:
            if _is_parallel(frame, group[0]):
                group.append(frame)
                break
        else:
            alike.append([frame])
    return sorted((group for alike in groups.values() for group in alike), key=len, reverse=True)


def _is_parallel(frame: Frame, other: Frame) -> bool:
    ours, theirs = frame.spacing or (), other.spacing or ()
    is_same_size = all(abs(a / b - 1) <= _SAME_SIZE for a, b in zip(ours, theirs, strict=True))
    return is_same_size and _turn(frame, other) <= _SAME_DIRECTION


def _turn(frame: Frame, other: Frame) -> float:
    """Return by how much the directions of two frames differ."""
    pairs = zip(frame.orientation or (), other.orientation or (), strict=True)
    return max(abs(a - b) for a, b in pairs)


def _directions(groups: Sequence[Sequence[Frame]]) -> list[Frame]:
    """Return one frame for each direction."""
    found: list[Frame] = []
    for first, *_ in groups:
        if all(_turn(first, other) > _SAME_DIRECTION for other in found):
            found.append(first)
    return found


def _mixed(groups: Sequence[Sequence[Frame]]) -> tuple[str, str] | None:
    """Return code and detail where a few frames lie in several directions."""
    directions = _directions(groups)
    if len(directions) < 2:
        return None
    normals = np.stack([vectors([frame])[3] for frame in directions])
    crossing = np.abs(np.triu(normals @ normals.T, 1)).max() < 0.5
    if len(directions) <= 3 and crossing:
        return "localizer", f"a few images in {len(directions)} directions that cross"
    frames = sum(map(len, groups))
    return "mixed_orientation", f"its {frames} images lie in {len(directions)} directions"


def _is_missing(verdict: Verdict) -> bool:
    return isinstance(verdict, Rejected) and verdict.code == "missing_slices"


def _without_odd(verdict: Verdict) -> Verdict:
    if isinstance(verdict, Rejected):
        return verdict
    return replace(verdict, fixes=("odd_slice_dropped", *verdict.fixes))


def _by_phase(frames: list[Frame], same_pixels: SamePixels, fill_missing: int) -> list[Verdict]:
    """Split where several pictures lie at one place, by what their headers say of time and kind."""
    if _most_repeats(frames) == 1:
        return [_without_repeats(frames, (), same_pixels, fill_missing)]
    groups = _split(frames, _origins(frames))
    for key in _KEYS:
        if all(_most_repeats(group) == 1 for group in groups):
            break
        groups = [
            part for group in groups for part in _split(group, list(map(attrgetter(key), group)))
        ]
    groups = [part for group in groups for part in _split(group, _ranks(group))]
    fixes = ("frames_split",) if len(groups) > 1 else ()
    return [_without_repeats(group, fixes, same_pixels, fill_missing) for group in groups]


def _split(frames: list[Frame], labels: Sequence[Hashable]) -> list[list[Frame]]:
    """Split by labels, if every part then covers the place and repeats less."""
    repeats = _most_repeats(frames)
    if repeats == 1:
        return [frames]
    parts: dict[Hashable, list[Frame]] = {}
    for frame, label in zip(frames, labels, strict=True):
        parts.setdefault(label, []).append(frame)
    enough = min(FEWEST_FRAMES, len(places(frames)))
    covers = all(len(places(part)) >= enough for part in parts.values())
    helps = max(_most_repeats(part) for part in parts.values()) < repeats
    return list(parts.values()) if covers and helps else [frames]


def _origins(frames: Sequence[Frame]) -> list[int]:
    """Return for each frame the number of its corner as seen along the normal: left or right."""
    positions, across, down, _ = vectors(frames)
    seen: list[np.ndarray] = []
    labels = []
    for corner in np.stack([positions @ across, positions @ down], axis=1):
        near = [at for at, c in enumerate(seen) if np.abs(c - corner).max() <= _SAME_ORIGIN_MM]
        if not near:
            if len(seen) == _MOST_ORIGINS:  # slices that drift: the corner tells nothing
                return [0] * len(frames)
            seen.append(corner)
        labels.append(near[0] if near else len(seen) - 1)
    return labels


def _ranks(frames: Sequence[Frame]) -> list[int]:
    """Return each frame's rank in time at its place, or 0 for all where that is not known.

    A heart is scanned slice by slice, so that the delays of one phase differ a little.
    """
    found = places(frames)
    ranks: dict[int, int] = {}
    for place in found:
        times = {frame.temporal for frame in place}
        if (
            len(place) != len(found[0])
            or len(times) != len(place)
            or not all(map(_is_number, times))
        ):
            return [0] * len(frames)
        ordered = sorted(place, key=lambda frame: float(frame.temporal))
        ranks |= {id(frame): rank for rank, frame in enumerate(ordered)}
    return [ranks[id(frame)] for frame in frames]


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdecimal()


def _without_repeats(
    frames: list[Frame], fixes: tuple[str, ...], same_pixels: SamePixels, fill_missing: int
) -> Verdict:
    """Drop pictures that occur twice; refuse different pictures of one place."""
    found = places(frames)
    repeated = [place for place in found if len(place) > 1]
    for first, *others in repeated:
        if not all(same_pixels(first, other) for other in others):
            if 2 * len(repeated) > len(found):
                detail = f"{len(repeated)} of {len(found)} places have several images"
                return rejected(frames, "ambiguous_stack", detail)
            detail = f"{len(repeated)} places have several, different images"
            return rejected(frames, "duplicate_slices", detail)
    if repeated:
        fixes = (*fixes, "duplicate_slice_dropped")
    return lay_out([place[0] for place in found], fixes, fill_missing)


def _most_repeats(frames: Sequence[Frame]) -> int:
    return max(map(len, places(frames)))


def _order(frame: Frame) -> tuple[int, str, int]:
    return frame.instance, frame.path.name, frame.index
