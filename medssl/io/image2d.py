"""Planar pictures (``.png .jpg .tif``), by pillow: radiographs and slices without a place in space.

A picture says how many pixels it has and nothing of their size or of left and right: spacing is
one, and the fix ``orientation_unknown`` is recorded. The resolution that files name is that of a
print or a screen, and is not believed.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medssl.errors import VolumeReadError
from medssl.io.contract import Source, VolumeHeader, choose_part, plane_affine, single_file
from medssl.io.soundness import fill_non_finite, refuse, verdicts
from medssl.types import Volume

__all__ = ["Image2DReader"]

MAX_PIXELS = 2**28
"""Larger than any detector; a file that declares more is a decompression bomb."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_SCALAR_MODES = {"1": "uint8", "L": "uint8", "I": "int32", "F": "float32"}
_LAYERED_MODES = ("LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")
_DAMAGE = (SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError)
_MORE_DAMAGE = (AttributeError, RuntimeError, struct.error)
"""What pillow raises over a damaged file, beside OSError."""

_ORIENTATION, _PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 274, 262, 258, 339
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Image2DReader:
    """Reads planar pictures of one channel, also where a grey picture is stored in colour."""

    format = "image2d"

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith(_SUFFIXES)

    def count(self, source: Source) -> int:
        """Return how many pictures, or pages, there are."""
        path = single_file(source)
        with _opened(path) as image:
            return _frames(image)

    def read_header(self, source: Source, part: int | None = None) -> VolumeHeader:
        """Return shape and type; the picture is not unpacked.

        Raises:
            VolumeReadError: If it is no picture, or several and none was chosen.
        """
        path = single_file(source)
        with _opened(path) as image:
            chosen, split = choose_part(path, _frames(image), part)
            image.seek(chosen)
            header = _header(path, image)
        return replace(header, fixes=(*header.fixes, *split))

    def read(self, source: Source, part: int | None = None) -> Volume:
        """Return the pixels, ``(X, Y)`` with X along the picture's rows.

        Raises:
            VolumeReadError: If it is damaged, in colour, or several pictures.
        """
        path = single_file(source)
        with _opened(path, is_whole=True) as image:
            chosen, _ = choose_part(path, _frames(image), part)
            return _read(path, image, chosen)

    def read_each(self, source: Source) -> Iterator[Volume]:
        """Yield every picture in order.

        Raises:
            VolumeReadError: If one is damaged or in colour.
        """
        path = single_file(source)
        with _opened(path, is_whole=True) as image:
            for part in range(_frames(image)):
                yield _read(path, image, part)


@contextmanager
def _opened(path: Path, *, is_whole: bool = False) -> Iterator[Image.Image]:
    """Lend a picture; what pillow says of damage becomes a verdict.

    A file object is what pillow gets: from a name it maps raw pixels into memory, and then takes
    rows for columns in a picture that is stored on its side (pillow 13.0).
    """
    with verdicts(path), path.open("rb") as file, warnings.catch_warnings(action="ignore"):
        try:
            with Image.open(file, formats=_FORMATS) as image:
                if is_whole and image.format == "PNG":
                    _verify(path)
                yield image
        except VolumeReadError:
            raise
        except UnidentifiedImageError as error:
            raise refuse(path, "not_an_image", "it does not start like a picture") from error
        except Image.DecompressionBombError as error:
            raise refuse(path, "too_large", "it declares too many pixels") from error
        except (*_DAMAGE, *_MORE_DAMAGE) as error:
            raise refuse(path, "corrupt", "its header or its pixels are damaged") from error
        except OSError as error:
            if error.errno is not None:  # the system's refusal; pillow's own errors have no number
                raise
            code = "truncated" if "truncated" in str(error) else "corrupt"
            raise refuse(path, code, "it can't be unpacked to the last pixel") from error


def _verify(path: Path) -> None:
    """Look at the checksums, which unpacking alone does not."""
    with path.open("rb") as file, Image.open(file, formats=("PNG",)) as image:
        image.verify()


def _frames(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _header(path: Path, image: Image.Image) -> VolumeHeader:
    if image.width * image.height > MAX_PIXELS:
        raise refuse(path, "too_large", f"it declares {image.width} x {image.height} pixels")
    lossy = image.format in ("JPEG", "MPO") or image.info.get("compression") == "jpeg"
    fixes = ("orientation_unknown", *(("lossy",) if lossy else ()))
    shape = (image.width, image.height)
    if _turn(image) >= 5 and image.format != "TIFF":  # pillow turns TIFF by itself
        shape = shape[::-1]
    return VolumeHeader(
        Image2DReader.format,
        shape,
        plane_affine((1.0, 1.0)),
        _dtype(path, image),
        fixes=fixes,
        frames=_frames(image),
    )


def _dtype(path: Path, image: Image.Image) -> str:
    """Return the type of the pixels; what pillow would thin out or misread is refused."""
    if image.mode in _LAYERED_MODES:
        if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
            reason = "it has several channels of 16 bits; convert it to one"
            raise refuse(path, "not_scalar", reason)
        return "uint8"
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == 0 and image.mode not in ("1", "L"):
        raise refuse(path, "monochrome1", "its zero means white; it is not known how to invert it")
    kind = (image.mode, tags.get(_BITS, (0,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0])
    if kind in (("I", 32, 1), ("L", 8, 2)):
        return "uint32" if image.mode == "I" else "int8"
    if image.mode.startswith("I;16"):
        return "uint16"
    if image.mode not in _SCALAR_MODES:
        raise refuse(path, "not_scalar", f"pixels of mode {image.mode} are not one number each")
    return _SCALAR_MODES[image.mode]


def _turn(image: Image.Image) -> int:
    """Return how the picture is stored: 1 upright, others as EXIF numbers them."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # pillow would unpack the picture to look for it behind the pixels
    turn = image.getexif().get(_ORIENTATION, 1)
    return turn if turn in _TURNS else 1


def _read(path: Path, image: Image.Image, part: int) -> Volume:
    image.seek(part)
    header = _header(path, image)
    turn = _turn(image) if image.format != "TIFF" else 1
    plain = image.convert("RGBA") if image.mode in _LAYERED_MODES else image
    upright = plain.transpose(_TURNS[turn]) if turn > 1 else plain
    pixels = np.ascontiguousarray(_grey(path, np.asarray(upright), image.mode).T)
    if header.dtype in ("uint32", "int8"):  # pillow has no such type and keeps the bits
        pixels = pixels.view(header.dtype)
    data, filled = fill_non_finite(path, pixels.astype(header.dtype, copy=False))
    split = ("frames_split",) if header.frames > 1 else ()
    return Volume(data, header.affine, fixes=(*header.fixes, *split, *filled))


def _grey(path: Path, pixels: npt.NDArray[Any], mode: str) -> npt.NDArray[Any]:
    """Return ``(rows, columns)`` of a picture whose colours are all grey."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise refuse(path, "not_scalar", f"it is a colour picture (mode {mode})")
    if alpha.min() < 255:
        raise refuse(path, "not_scalar", "it has transparent parts, as drawings have")
    grey: npt.NDArray[Any] = red
    return grey
