"""How one DICOM file stores its pixels: sizes, bits, signs and padding, from its header alone."""

from __future__ import annotations

from typing import NamedTuple

from medssl.io.dicom_tags import HeaderItem
from medssl.io.dicom_values import number
from medssl.io.dicom_walk import NO_PIXELS, PixelPlace

__all__ = ["PixelFormat", "pixel_format_of"]


class PixelFormat(NamedTuple):
    """How the pixels of one file are stored: primitives only, so that a journal can keep it.

    Attributes:
        syntax: UID of the transfer syntax; empty where the file does not say.
        offset: First byte of the pixels in their file; -1 where only pydicom knows, -2 for none.
        length: Bytes of pixels as the file states them; -1 where it leaves that open.
        floating: Type of floating-point pixels as numpy spells it, else empty.
        rows: Pixels down, of the whole picture.
        columns: Pixels across.
        pictures: How many are in the file.
        samples: Numbers a pixel.
        allocated: Bits that a pixel takes.
        stored: Bits of these that hold its value.
        high: The uppermost of those.
        is_signed: Whether values may be negative.
        is_inverted: Whether the smallest value is shown white.
        padding: Least and greatest stored value of pixels that were never measured, or None.
    """

    syntax: str = ""
    offset: int = -1
    length: int = -1
    floating: str = ""
    rows: int = 0
    columns: int = 0
    pictures: int = 1
    samples: int = 1
    allocated: int = 16
    stored: int = 16
    high: int = 15
    is_signed: bool = False
    is_inverted: bool = False
    padding: tuple[int, int] | None = None

    @property
    def exist(self) -> bool:
        """Whether the file has pixels at all."""
        return self.offset != NO_PIXELS

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that a pixel can hold."""
        if self.is_signed:
            return -(2 ** (self.stored - 1)), 2 ** (self.stored - 1) - 1
        return 0, 2**self.stored - 1


def pixel_format_of(header: HeaderItem, syntax: str, place: PixelPlace) -> PixelFormat:
    """Return how an object stores its pixels; of a size of zero where it is no picture.

    Raises:
        ValueError: If the header contradicts itself.
    """
    rows, columns = header.get("Rows"), header.get("Columns")
    if not rows or not columns:
        return PixelFormat(syntax, place.offset, place.length)
    usual = {"float32": 32, "float64": 64}.get(place.dtype, 16)
    allocated = int(header.get("BitsAllocated") or usual)
    stored = int(header.get("BitsStored") or allocated)
    high = header.get("HighBit")
    high = stored - 1 if high is None else int(high)
    if not 1 <= stored <= high + 1 <= allocated <= 64:
        raise ValueError(f"{stored} bits up to bit {high} of {allocated} make no pixel")
    signed = header.get("PixelRepresentation") == 1
    count = number(header.get("NumberOfFrames"))
    if count is not None and not 0 <= count < 2**20:
        raise ValueError("a number of frames that can't be")
    return PixelFormat(
        syntax=syntax,
        offset=place.offset,
        length=place.length,
        floating=place.dtype,
        rows=int(rows),
        columns=int(columns),
        pictures=int(count or 1),
        samples=int(header.get("SamplesPerPixel") or 1),
        allocated=allocated,
        stored=stored,
        high=high,
        is_signed=signed,
        is_inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
        padding=_padding(header, allocated, is_signed=signed),
    )


def _padding(header: HeaderItem, bits: int, *, is_signed: bool) -> tuple[int, int] | None:
    """Return least and greatest padding value; writers confuse signed and unsigned here."""
    ends = [header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")]
    known = [int(end) for end in ends if isinstance(end, int)]
    if ends[0] is None or not known:
        return None
    size, half = 2**bits, 2 ** (bits - 1)
    known = [(end + half) % size - half if is_signed else end % size for end in known]
    return min(known), max(known)
