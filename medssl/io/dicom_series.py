"""DICOM series: files sorted into volumes by their headers alone, then read one volume at a time.

Standard: DICOM PS3.3, C.7.6.2 (image plane) and C.7.6.16 (functional groups).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl.errors import VolumeReadError
from medssl.io.contract import Source, VolumeHeader, plane_affine
from medssl.io.dicom_frames import Frame
from medssl.io.dicom_headers import (
    DicomHeader,
    is_dicom,
    modality_of,
    read_dicom_header,
    reason_to_exclude,
)
from medssl.io.dicom_pixels import can_unpack, read_file_pixels, value_dtype
from medssl.io.dicom_restack import restack, stack_grid
from medssl.io.dicom_stack import Rejected, Stack, assemble
from medssl.io.dicom_write import write_dicom_series
from medssl.io.soundness import fill_non_finite, refuse, sound_affine, verdicts
from medssl.types import Modality, Volume

__all__ = [
    "DicomSeriesReader",
    "FoundVolume",
    "RefusedFiles",
    "read_found",
    "sort_into_volumes",
    "write_dicom_series",
]


@dataclass(frozen=True)
class FoundVolume:
    """One volume, or one planar image, among the files of a folder.

    Attributes:
        header: Of its first file, for what the whole series shares.
        files: Its files, in order of name.
        part: Which of the volumes in exactly these files it is; 0 where there is one.
        stack: Its frames in order, or a single frame for a planar image.
        fixes: Codes of what was repaired.
    """

    header: DicomHeader
    files: tuple[Path, ...]
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


def sort_into_volumes(headers: Iterable[DicomHeader]) -> list[FoundVolume | RefusedFiles]:
    """Give a verdict on every file: part of a volume, or refused with a reason.

    Args:
        headers: Of any number of series, in any order.

    Returns:
        Volumes and refusals, in an order that depends on the headers alone.
    """
    excluded: dict[tuple[str, str, str], list[Path]] = {}
    sound: list[DicomHeader] = []
    for header in headers:
        reason = reason_to_exclude(header)
        if reason is None and not can_unpack(header.syntax):
            reason = "codec_missing", 'its pixels need another codec: pip install "medssl[dicom]"'
        if reason is None:
            sound.append(header)
        else:
            excluded.setdefault((header.series, *reason), []).append(header.path)
    found: list[FoundVolume | RefusedFiles] = []
    for group in _by_series(sound):
        found += _sort_series(group)
    for (_, code, detail), files in excluded.items():
        found.append(RefusedFiles(tuple(files), code, detail))
    return found


def read_found(found: FoundVolume) -> Volume:
    """Read the pixels of one volume.

    Raises:
        VolumeReadError: If a file is cut short, damaged, or packed in a way unknown here.
    """
    header = _volume_header(found)
    stack = found.stack
    frames = stack.frames if isinstance(stack, Stack) else (stack,)
    dtype = value_dtype(frames)
    planes = np.empty((frames[0].columns, frames[0].rows, len(frames)), dtype)
    by_file: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        by_file.setdefault(frame.path, []).append(place)
    for path, places in by_file.items():
        pixels = read_file_pixels(path)
        for place in places:
            values = pixels.values(frames[place], dtype, is_ct=found.modality == "ct")
            planes[:, :, place] = values.T
    data = restack(stack, planes) if isinstance(stack, Stack) else planes[:, :, 0]
    data, filled = fill_non_finite(found.files[0], data)
    return Volume(data, header.affine, header.modality, (*header.fixes, *filled))


class DicomSeriesReader:
    """Reads a folder, a file or a list of files that holds exactly one volume."""

    format = "dicom"

    def can_read(self, source: Source) -> bool:
        """Say whether there is DICOM in the source, by its first bytes."""
        if isinstance(source, Path) and source.is_file():
            return is_dicom(source)
        return bool(_files(source))

    def read_header(self, source: Source) -> VolumeHeader:
        """Return shape and place of the only volume.

        Raises:
            VolumeReadError: If there is none, or more than one.
        """
        return _volume_header(self._only(source))

    def read(self, source: Source) -> Volume:
        """Return the voxels of the only volume.

        Raises:
            VolumeReadError: If there is none, or more than one, or its pixels are damaged.
        """
        return read_found(self._only(source))

    def read_part(self, files: Sequence[Path], part: int) -> Volume:
        """Return one of several volumes in the same files, as :class:`FoundVolume` counts them.

        Raises:
            VolumeReadError: If the files no longer hold that volume.
        """
        volumes = [found for found in _sorted(files) if isinstance(found, FoundVolume)]
        if part >= len(volumes):
            raise refuse(files[0], "unreadable", "its series is no longer what it was")
        return read_found(volumes[part])

    def _only(self, source: Source) -> FoundVolume:
        name = source if isinstance(source, Path) else source[0]
        files = _files(source)
        if not files:
            raise refuse(name, "not_an_image", "there is no DICOM file in it")
        verdicts = _sorted(files)
        volumes = [verdict for verdict in verdicts if isinstance(verdict, FoundVolume)]
        if len(volumes) == 1:
            return volumes[0]
        if volumes:
            reason = f"it holds {len(volumes)} volumes; expected one, so give the files of one"
            raise refuse(name, "ambiguous_stack", reason)
        reasons = [verdict for verdict in verdicts if isinstance(verdict, RefusedFiles)]
        raise refuse(name, reasons[0].code, reasons[0].detail)


def _files(source: Source) -> list[Path]:
    if not isinstance(source, Path):
        return list(source)
    if not source.is_dir():
        return [source]
    with verdicts(source):
        entries = sorted(entry for entry in source.iterdir() if not entry.name.startswith("."))
        return [entry for entry in entries if entry.is_file() and is_dicom(entry)]


def _sorted(files: Sequence[Path]) -> list[FoundVolume | RefusedFiles]:
    return sort_into_volumes([read_dicom_header(path) for path in files])


def _by_series(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Group by series; copies of a series in several folders stay apart, as copies."""
    series: dict[str, list[DicomHeader]] = {}
    for header in headers:
        series.setdefault(header.series or f"folder {header.path.parent}", []).append(header)
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


def _sort_series(headers: Sequence[DicomHeader]) -> list[FoundVolume | RefusedFiles]:
    headers = sorted(headers, key=lambda header: str(header.path))
    if modality_of(headers[0]) in ("xr", "us"):
        return [_planar(header) for header in headers]
    by_path = {header.path: header for header in headers}
    found: list[FoundVolume | RefusedFiles] = []
    parts: dict[tuple[Path, ...], int] = {}
    frames = [frame for header in headers for frame in header.frames]
    for verdict in assemble(frames, _same_pixels):
        files = tuple(sorted({frame.path for frame in verdict.frames}))
        if isinstance(verdict, Rejected):
            found.append(RefusedFiles(files, verdict.code, verdict.detail))
            continue
        lossy = ("lossy",) if any(by_path[path].lossy for path in files) else ()
        part = parts.get(files, 0)
        parts[files] = part + 1
        fixes = (*verdict.fixes, *lossy)
        found.append(FoundVolume(by_path[files[0]], files, part, verdict, fixes))
    return found


def _planar(header: DicomHeader) -> FoundVolume | RefusedFiles:
    """Give the verdict on a radiograph or an ultrasound picture: each file is an image."""
    files, frame = (header.path,), header.frames[0]
    if len(header.frames) > 1:
        return RefusedFiles(files, "time_series", f"it holds {len(header.frames)} pictures")
    if frame.spacing is None and frame.detector_spacing is None:
        return RefusedFiles(files, "no_spacing", "neither PixelSpacing nor ImagerPixelSpacing")
    fixes = ("orientation_unknown", *(("lossy",) if header.lossy else ()))
    return FoundVolume(header, files, 0, frame, fixes)


def _same_pixels(first: Frame, other: Frame) -> bool:
    """Compare two frames; pixels that can't be read are not the same."""
    try:
        one, two = (read_file_pixels(frame.path).plane(frame) for frame in (first, other))
    except VolumeReadError:
        return False
    return np.array_equal(one, two)


def _volume_header(found: FoundVolume) -> VolumeHeader:
    stack, fixes = found.stack, found.fixes
    if isinstance(stack, Stack):
        shape, affine = stack_grid(stack)
        affine, straightened = sound_affine(found.files[0], affine, shape)
        fixes, frames = (*fixes, *straightened), stack.frames
    else:
        rows_mm, columns_mm = stack.spacing or stack.detector_spacing or (1.0, 1.0)
        shape, affine = (stack.columns, stack.rows), plane_affine((columns_mm, rows_mm))
        frames = (stack,)
    dtype = str(value_dtype(frames))
    return VolumeHeader("dicom", shape, affine, dtype, found.modality, fixes)
