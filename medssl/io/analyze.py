"""Analyze 7.5 and NIfTI in two files: ``.hdr`` and ``.img``, each perhaps compressed.

Analyze says how large voxels are and nothing reliable of left and right: what its field ``orient``
and the ``.mat`` of SPM mean differs from program to program, so neither is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from medssl.io.contract import Source, VolumeHeader, choose_part, single_file
from medssl.io.nifti_header import Layout, read_layout
from medssl.io.nifti_voxels import open_stream, read_frames
from medssl.io.soundness import refuse, verdicts
from medssl.types import Volume

__all__ = ["AnalyzeReader", "is_companion"]

_HEADERS, _VOXELS = (".hdr", ".hdr.gz"), (".img", ".img.gz")
_OTHER_HEADERS = (".mhd", ".nhdr")


class AnalyzeReader:
    """Reads pairs of header and voxels; either of the two names stands for the image."""

    format = "analyze"

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the files are read."""
        return isinstance(source, Path) and source.name.lower().endswith((*_HEADERS, *_VOXELS))

    def count(self, source: Source) -> int:
        """Return how many volumes there are: the fourth size."""
        return self._layout(_pair(single_file(source))[0]).public.frames

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape, place and type.

        Raises:
            VolumeReadError: If one of the two files is missing, or the header is unsound.
        """
        path = single_file(source)
        public = self._layout(_pair(path)[0]).public
        _, fixes = choose_part(path, public.frames, part)
        return replace(public, fixes=(*public.fixes, *fixes))

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the voxels, scaled as the header says.

        Raises:
            VolumeReadError: If one of the two files is missing, cut short or damaged.
        """
        path = single_file(source)
        head, voxels = _pair(path)
        layout = self._layout(head)
        chosen, _ = choose_part(path, layout.public.frames, part)
        (volume,) = read_frames(path, voxels, layout, range(chosen, chosen + 1))
        return volume

    def read_each(self, source: Source) -> Iterator[Volume]:
        """Yield every volume in order.

        Raises:
            VolumeReadError: If one of the two files is missing, cut short or damaged.
        """
        path = single_file(source)
        head, voxels = _pair(path)
        layout = self._layout(head)
        yield from read_frames(path, voxels, layout, range(layout.public.frames))

    def _layout(self, head: Path) -> Layout:
        with verdicts(head), open_stream(head) as stream:
            return read_layout(head, stream, of_pair=True)


def is_companion(path: Path) -> bool:
    """Say whether a file holds the voxels of a header beside it, which stands for the image."""
    if not path.name.lower().endswith(_VOXELS):
        return False
    return _beside(path, _VOXELS, (*_HEADERS, *_OTHER_HEADERS)) is not None


def _pair(path: Path) -> tuple[Path, Path]:
    """Return the file of the header and that of the voxels."""
    is_header = path.name.lower().endswith(_HEADERS)
    own, wanted = (_HEADERS, _VOXELS) if is_header else (_VOXELS, _HEADERS)
    with verdicts(path):
        other = _beside(path, own, wanted)
    if other is None:
        what = "the file of its voxels (.img)" if is_header else "the file of its header (.hdr)"
        raise refuse(path, "unreadable", f"{what} is missing")
    return (path, single_file(other)) if is_header else (single_file(other), path)


def _beside(path: Path, own: tuple[str, ...], wanted: tuple[str, ...]) -> Path | None:
    """Return the neighbour that differs in its suffix alone; capital letters follow the file's."""
    lower = path.name.lower()
    length = max(len(suffix) for suffix in own if lower.endswith(suffix))
    stem, suffix = path.name[:-length], path.name[-length:]
    for ending in wanted:
        for spelling in (ending, ending.upper()) if suffix.isupper() else (ending,):
            candidate = path.with_name(stem + spelling)
            if candidate.exists():
                return candidate
    return None
