"""NRRD and MetaImage (``.nrrd .nhdr .mha .mhd``); their LPS space becomes RAS+.

Both are a header of text and plain or packed voxels, and both are read here to the last byte. The
library they come from, ITK, fills in what a header leaves out, refuses axes that lean, hands on
what a damaged stream still gives, and ends the process over a file name that is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medssl.io.contract import Source, VolumeHeader, choose_part, single_file
from medssl.io.itk_header import ItkHeader
from medssl.io.itk_voxels import read_voxels
from medssl.io.meta_header import read_meta_header
from medssl.io.nrrd_header import read_nrrd_header
from medssl.io.soundness import check_size, fill_non_finite, refuse, verdicts
from medssl.types import Volume

__all__ = ["ItkReader"]

_NRRD = b"NRRD000"
_META = (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType", b"Name", b"ID ", b"ID=")


class ItkReader:
    """Reads one family of ITK's own formats.

    Args:
        name: ``nrrd`` or ``mha``, as in the column ``format``.
        suffixes: Names of its files end in one of these.
    """

    def __init__(self, name: str, suffixes: tuple[str, ...]) -> None:
        self.format = name
        self.suffixes = suffixes

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith(self.suffixes)

    def count(self, source: Source) -> int:
        """Return how many volumes there are."""
        return _header(single_file(source)).frames

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape, place and type.

        Raises:
            VolumeReadError: If the header is unsound or leaves out the voxel size.
        """
        path = single_file(source)
        header = _header(path)
        _, split = choose_part(path, header.frames, part)
        return VolumeHeader(
            self.format,
            header.grid.shape,
            header.grid.affine,
            str(header.dtype.newbyteorder("=")),
            header.modality,
            (*header.fixes, *header.grid.fixes, *split),
            header.frames,
        )

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the voxels.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        header = _header(path)
        chosen, _ = choose_part(path, header.frames, part)
        (volume,) = _volumes(path, header, range(chosen, chosen + 1))
        return volume

    def read_each(self, source: Source) -> Iterator[Volume]:
        """Yield every volume in order.

        Raises:
            VolumeReadError: If the file is cut short or damaged, or its header is.
        """
        path = single_file(source)
        header = _header(path)
        yield from _volumes(path, header, range(header.frames))


def _header(path: Path) -> ItkHeader:
    with verdicts(path), path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        if start.startswith(_NRRD):
            header = read_nrrd_header(path, file)
        elif start.startswith(_META):
            header = read_meta_header(path, file)
        else:
            what = "it starts with neither a NRRD nor a MetaImage header"
            raise refuse(path, "not_an_image", what if start else "the file is empty")
    check_size(path, header.sizes, header.dtype.itemsize)
    return header


def _volumes(path: Path, header: ItkHeader, parts: range) -> Iterator[Volume]:
    values = read_voxels(path, header)
    split = ("frames_split",) if header.frames > 1 else ()
    for part in parts:
        one = values if header.time_axis is None else values.take(part, axis=header.time_axis)
        data, filled = fill_non_finite(path, one.reshape(header.grid.stored_shape, order="F"))
        fixes = (*header.fixes, *header.grid.fixes, *split, *filled)
        data = np.asfortranarray(header.grid.fit(data))
        yield Volume(data, header.grid.affine, header.modality, fixes)
