"""DICOM series: files sorted into volumes by their headers, then read one volume at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssl.io.contract import ReadRules, Source, VolumeHeader, plane_affine
from medssl.io.dicom_headers import is_dicom, read_dicom_header
from medssl.io.dicom_pixels import check_size, read_file_pixels, value_dtype
from medssl.io.dicom_restack import restack, stack_grid
from medssl.io.dicom_stack import Stack
from medssl.io.dicom_verdicts import FoundVolume, RefusedFiles, sort_into_volumes
from medssl.io.dicom_write import write_dicom_series
from medssl.io.soundness import fill_non_finite, refuse, sound_affine, verdicts
from medssl.types import Volume

__all__ = [
    "DicomSeriesReader",
    "FoundVolume",
    "RefusedFiles",
    "header_of",
    "read_found",
    "sort_into_volumes",
    "write_dicom_series",
]


def read_found(found: FoundVolume) -> Volume:
    """Read the pixels of one volume.

    Raises:
        VolumeReadError: If a file is cut short, damaged, or packed in a way unknown here.
    """
    header = header_of(found)
    stack = found.stack
    frames = stack.frames if isinstance(stack, Stack) else (stack,)
    formats = dict(zip(found.files, found.formats, strict=True))
    by_file: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        by_file.setdefault(frame.path, []).append(place)
    for path in by_file:
        check_size(path, formats[path])  # before memory is asked for
    # Planes lie one after the other in memory, as in their files.
    planes = np.empty((len(frames), frames[0].rows, frames[0].columns), np.dtype(header.dtype))
    for path, places in by_file.items():
        needed = {frames[place].index for place in places}
        pixels = read_file_pixels(path, formats[path], needed)
        for place in places:
            planes[place] = pixels.values(frames[place], planes.dtype, is_ct=found.modality == "ct")
    values = planes.transpose(2, 1, 0)
    data = restack(stack, values) if isinstance(stack, Stack) else values[:, :, 0]
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

    def count(self, source: Source) -> int:
        """Return how many volumes there are; none where all is refused."""
        return len(_volumes(_sorted(_files(source), _ALL)))

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape and place of the only volume, or of one of several.

        Raises:
            VolumeReadError: If there is no such volume, or several and no ``part`` to choose one.
        """
        return header_of(self.find(source, part))

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the voxels of the only volume, or of one of several.

        Raises:
            VolumeReadError: If there is no such volume, or several and no ``part`` to choose one,
                or if its pixels are damaged.
        """
        return read_found(self.find(source, part))

    def read_part(self, files: Sequence[Path], part: int, rules: ReadRules | None = None) -> Volume:
        """Return one of several volumes in the same files, as :class:`FoundVolume` counts them.

        The count does not depend on the rules; none reads whatever an index may have admitted.

        Raises:
            VolumeReadError: If the files no longer hold that volume.
        """
        return read_found(self.find_part(files, part, rules))

    def find_part(
        self, files: Sequence[Path], part: int, rules: ReadRules | None = None
    ) -> FoundVolume:
        """Return what :meth:`read_part` would read, from headers alone.

        Raises:
            VolumeReadError: If the files no longer hold that volume.
        """
        for found in _volumes(_sorted(files, rules or _ALL)):
            if found.part == part and set(found.files) == set(files):
                return found
        raise refuse(files[0], "unreadable", "its series is no longer what it was")

    def find(self, source: Source, part: int | None = None) -> FoundVolume:
        """Return the only volume, or one of several, from headers alone.

        Raises:
            VolumeReadError: If there is no such volume, or several and no ``part`` to choose one.
        """
        name = source if isinstance(source, Path) else source[0]
        files = _files(source)
        if not files:
            raise refuse(name, "not_an_image", "there is no DICOM file in it")
        verdicts = _sorted(files, ReadRules() if part is None else _ALL)
        volumes = _volumes(verdicts)
        for verdict in verdicts:
            if isinstance(verdict, RefusedFiles) and verdict.code in ("truncated", "corrupt"):
                raise refuse(name, verdict.code, verdict.detail)  # else slices would lack
        if len(volumes) == 1 and part is None:
            return volumes[0]
        if part is not None and part < len(volumes):
            return volumes[part]
        if volumes:
            reason = f"it holds {len(volumes)} volumes; expected one, so give the files of one"
            raise refuse(name, "ambiguous_stack", reason)
        reasons = [verdict for verdict in verdicts if isinstance(verdict, RefusedFiles)]
        raise refuse(name, reasons[0].code, reasons[0].detail)


_ALL = ReadRules(time_series="split", fill_missing=2**16)


def _volumes(verdicts: Sequence[FoundVolume | RefusedFiles]) -> list[FoundVolume]:
    return [verdict for verdict in verdicts if isinstance(verdict, FoundVolume)]


def _files(source: Source) -> list[Path]:
    if not isinstance(source, Path):
        return list(source)
    if not source.is_dir():
        return [source]
    with verdicts(source):
        entries = sorted(entry for entry in source.iterdir() if not entry.name.startswith("."))
        return [entry for entry in entries if entry.is_file() and is_dicom(entry)]


def _sorted(files: Sequence[Path], rules: ReadRules) -> list[FoundVolume | RefusedFiles]:
    return sort_into_volumes([read_dicom_header(path) for path in files], rules)


def header_of(found: FoundVolume) -> VolumeHeader:
    """Return shape, place and type of one volume, from headers alone."""
    stack, fixes = found.stack, found.fixes
    if isinstance(stack, Stack):
        shape, affine = stack_grid(stack)
        affine, straightened = sound_affine(found.files[0], affine, shape)
        fixes, frames = (*fixes, *straightened), stack.frames
    else:
        rows_mm, columns_mm = stack.spacing or stack.detector_spacing or (1.0, 1.0)
        shape, affine = (stack.columns, stack.rows), plane_affine((columns_mm, rows_mm))
        frames = (stack,)
    formats = dict(zip(found.files, found.formats, strict=True))
    dtype = str(value_dtype((frame, formats[frame.path]) for frame in frames))
    return VolumeHeader("dicom", shape, affine, dtype, found.modality, fixes)
