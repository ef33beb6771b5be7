"""The verdict on every DICOM file of a folder, from headers alone: part of a volume, or refused.

Standard: DICOM PS3.3, C.7.6.2 (image plane) and C.7.6.16 (functional groups).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl.errors import VolumeReadError
from medssl.io.contract import ReadRules
from medssl.io.dicom_codecs import can_unpack, codec_advice
from medssl.io.dicom_format import PixelFormat
from medssl.io.dicom_frames import Frame
from medssl.io.dicom_headers import DicomHeader
from medssl.io.dicom_kinds import modality_of, reason_to_exclude
from medssl.io.dicom_pixels import read_file_pixels
from medssl.io.dicom_sort import MOST_PHASES, assemble
from medssl.io.dicom_stack import Rejected, Stack, Verdict
from medssl.types import Modality

__all__ = ["FoundVolume", "RefusedFiles", "sort_into_volumes"]


@dataclass(frozen=True)
class FoundVolume:
    """One volume, or one planar image, among the files of a folder.

    Attributes:
        header: Of its first file, for what the whole series shares.
        files: Its files, in order of name.
        formats: How each file stores its pixels.
        part: Which of the volumes in exactly these files it is; 0 where there is one.
        stack: Its frames in order, or a single frame for a planar image.
        fixes: Codes of what was repaired.
    """

    header: DicomHeader
    files: tuple[Path, ...]
    formats: tuple[PixelFormat, ...]
    part: int
    stack: Stack | Frame
    fixes: tuple[str, ...]

    @property
    def modality(self) -> Modality:
        """What made the image."""
        return modality_of(self.header)


@dataclass(frozen=True)
class RefusedFiles:
    """Files that make no volume, and why.

    Attributes:
        files: The files.
        code: Reason code of the quarantine table.
        detail: What is wrong, without patient data.
    """

    files: tuple[Path, ...]
    code: str
    detail: str


def sort_into_volumes(
    headers: Iterable[DicomHeader], rules: ReadRules | None = None
) -> list[FoundVolume | RefusedFiles]:
    """Give a verdict on every file: part of a volume, or refused with a reason.

    Args:
        headers: Of any number of series, in any order.
        rules: What becomes of time series and of missing slices; none refuses both.

    Returns:
        Volumes and refusals, in an order that depends on the headers alone.
    """
    rules = rules or ReadRules()
    excluded: dict[tuple[str, str, str], list[Path]] = {}
    sound: list[DicomHeader] = []
    for header in headers:
        reason = reason_to_exclude(header)
        if reason is None and not can_unpack(header.syntax):
            reason = "codec_missing", codec_advice(header.syntax)
        if reason is None:
            sound.append(header)
        else:
            excluded.setdefault((header.series, *reason), []).append(header.path)
    found: list[FoundVolume | RefusedFiles] = []
    for group in _by_series(sound):
        found += _sort_series(group, rules)
    for (_, code, detail), files in excluded.items():
        found.append(RefusedFiles(tuple(files), code, detail))
    return found


def _by_series(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Group by series; copies of a series in several folders stay apart, as copies.

    Some tools that change or take away names give one UID to many series, or even patients.
    """
    series: dict[tuple[str, ...], list[DicomHeader]] = {}
    for header in headers:
        name = header.series or f"folder {header.path.parent}"
        told_apart = (name, header.series_number, header.patient, header.modality)
        series.setdefault(told_apart, []).append(header)
    groups: list[list[DicomHeader]] = []
    for group in series.values():
        folders: dict[str, list[DicomHeader]] = {}
        for header in group:
            folders.setdefault(str(header.path.parent), []).append(header)
        instances = [
            {header.instance for header in part if header.instance} for part in folders.values()
        ]
        copied = sum(map(len, instances)) > len(set().union(*instances))
        groups += folders.values() if copied and len(folders) > 1 else [group]
    return groups


def _sort_series(
    headers: Sequence[DicomHeader], rules: ReadRules
) -> list[FoundVolume | RefusedFiles]:
    headers = sorted(headers, key=lambda header: str(header.path))
    by_path = {header.path: header for header in headers}
    planar = [header for header in headers if _is_planar(header)]
    found: list[FoundVolume | RefusedFiles] = []
    for header in planar:
        found += _planar(header, rules)
    frames = [frame for header in headers if not _is_planar(header) for frame in header.frames]
    parts: dict[tuple[Path, ...], int] = {}
    same = functools.partial(_same_pixels, by_path)
    try:
        places = assemble(frames, same, rules.fill_missing) if frames else []
    except VolumeReadError as error:  # pixels that had to be compared are damaged
        files = tuple(sorted({frame.path for frame in frames}))
        return [*found, RefusedFiles(files, error.code, error.detail)]
    for place in places:
        volumes = [_numbered(verdict, by_path, parts) for verdict in place]
        if len(volumes) <= MOST_PHASES or rules.time_series == "split":
            found += volumes
        elif rules.time_series == "first":
            found.append(volumes[0])
        else:
            files = tuple(sorted({path for volume in volumes for path in volume.files}))
            detail = f"it holds {len(volumes)} volumes of one place"
            found.append(RefusedFiles(files, "time_series", detail))
    return found


def _numbered(
    verdict: Verdict,
    by_path: Mapping[Path, DicomHeader],
    parts: dict[tuple[Path, ...], int],
) -> FoundVolume | RefusedFiles:
    """Return the verdict on files, and count it, refused or not: numbers must not move."""
    files = tuple(sorted({frame.path for frame in verdict.frames}))
    part = parts.get(files, 0)
    parts[files] = part + 1
    if isinstance(verdict, Rejected):
        return RefusedFiles(files, verdict.code, verdict.detail)
    formats = tuple(by_path[path].pixels for path in files)
    lossy = ("lossy",) if any(by_path[path].lossy for path in files) else ()
    fixes = (*verdict.fixes, *lossy)
    return FoundVolume(by_path[files[0]], files, formats, part, verdict, fixes)


def _is_planar(header: DicomHeader) -> bool:
    """Say whether a file is a radiograph or an ultrasound picture, not a slice of a body."""
    if modality_of(header) not in ("xr", "us"):
        return False
    return any(frame.position is None or frame.orientation is None for frame in header.frames)


def _planar(header: DicomHeader, rules: ReadRules) -> list[FoundVolume | RefusedFiles]:
    """Give the verdict on a planar file: each picture is an image."""
    files, frames = (header.path,), header.frames
    if frames[0].spacing is None and frames[0].detector_spacing is None:
        reason = "neither PixelSpacing nor ImagerPixelSpacing"
        return [RefusedFiles(files, "no_spacing", reason)]
    if len(frames) > 1 and rules.time_series == "hold":
        return [RefusedFiles(files, "time_series", f"it holds {len(frames)} pictures")]
    chosen = frames[:1] if rules.time_series == "first" else frames
    split = ("frames_split",) if len(frames) > 1 else ()
    fixes = ("orientation_unknown", *split, *(("lossy",) if header.lossy else ()))
    return [
        FoundVolume(header, files, (header.pixels,), part, frame, fixes)
        for part, frame in enumerate(chosen)
    ]


def _same_pixels(by_path: Mapping[Path, DicomHeader], first: Frame, other: Frame) -> bool:
    """Compare two frames that lie at one place."""
    if (first.slope, first.intercept) != (other.slope, other.intercept):
        return False
    one, two = (
        read_file_pixels(frame.path, by_path[frame.path].pixels, {frame.index}).plane(frame)
        for frame in (first, other)
    )
    return np.array_equal(one, two)
