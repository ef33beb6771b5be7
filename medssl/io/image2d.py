"""Planar pictures (``.png .jpg .tif``), by pillow: radiographs and slices without a place in space.

A picture says how many pixels it has and nothing of their size or of left and right: spacing is
one, and the fix ``orientation_unknown`` is recorded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medssl.io.contract import Source, VolumeHeader, plane_affine, single_file
from medssl.io.soundness import fill_non_finite, refuse, verdicts
from medssl.types import Volume

__all__ = ["Image2DReader"]

MAX_PIXELS = 2**28
"""Larger than any detector; a file that declares more is a decompression bomb."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SCALAR_MODES = {"1": "uint8", "L": "uint8", "I": "int32", "F": "float32"}
_LAYERED_MODES = ("LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV")


class Image2DReader:
    """Reads planar pictures of one channel, also where a grey picture is stored in colour."""

    format = "image2d"

    def can_read(self, source: Source) -> bool:
        """Go by the name; what is inside is checked when the file is read."""
        return isinstance(source, Path) and source.name.lower().endswith(_SUFFIXES)

    def read_header(self, source: Source) -> VolumeHeader:
        """Return shape and type; the picture is not unpacked.

        Raises:
            VolumeReadError: If it is no picture, or several.
        """
        path = single_file(source)
        with verdicts(path), _open(path) as image:
            return _header(path, image)

    def read(self, source: Source) -> Volume:
        """Return the pixels, ``(X, Y)`` with X along the picture's rows.

        Raises:
            VolumeReadError: If it is damaged, in colour, or several pictures.
        """
        path = single_file(source)
        with verdicts(path), _open(path) as image:
            header = _header(path, image)
            pixels = _grey(path, _unpack(path, image), image)
        data, filled = fill_non_finite(path, np.ascontiguousarray(pixels.T).astype(header.dtype))
        return Volume(data, header.affine, fixes=(*header.fixes, *filled))


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(path)
        except UnidentifiedImageError as error:
            raise refuse(path, "not_an_image", "it does not start like a picture") from error
        except Image.DecompressionBombError as error:
            raise refuse(path, "too_large", "it declares too many pixels") from error
        except (SyntaxError, ValueError) as error:
            raise refuse(path, "corrupt", "its header is damaged") from error
        except OSError as error:
            if error.errno is not None:  # the system's refusal; pillow's own errors have no number
                raise
            raise refuse(path, "corrupt", "its header is damaged") from error


def _header(path: Path, image: Image.Image) -> VolumeHeader:
    if image.width * image.height > MAX_PIXELS:
        raise refuse(path, "too_large", f"it declares {image.width} x {image.height} pixels")
    if getattr(image, "n_frames", 1) > 1:
        raise refuse(path, "time_series", f"it holds {getattr(image, 'n_frames', 1)} pictures")
    if image.mode.startswith("I;16"):
        dtype = "uint16"
    elif image.mode in _LAYERED_MODES:
        dtype = "uint8"
    elif image.mode in _SCALAR_MODES:
        dtype = _SCALAR_MODES[image.mode]
    else:
        raise refuse(path, "not_scalar", f"pixels of mode {image.mode} are not one number each")
    lossy = ("lossy",) if image.format in ("JPEG", "MPO") else ()
    fixes = ("orientation_unknown", *lossy)
    shape = (image.width, image.height)
    return VolumeHeader(Image2DReader.format, shape, plane_affine((1.0, 1.0)), dtype, fixes=fixes)


def _unpack(path: Path, image: Image.Image) -> npt.NDArray[Any]:
    """Return the pixels as stored; pillow reports damage in a few kinds of errors."""
    try:
        if image.format == "PNG":
            with _open(path) as whole:
                whole.verify()  # unpacking alone looks at no checksum
        plain = image.convert("RGBA") if image.mode in _LAYERED_MODES else image
        return np.asarray(plain)
    except OSError as error:
        code = "truncated" if "truncated" in str(error) else "corrupt"
        raise refuse(path, code, "its pixels can't be unpacked to the last one") from error
    except (SyntaxError, ValueError, EOFError) as error:
        raise refuse(path, "corrupt", "its pixels are damaged") from error


def _grey(path: Path, pixels: npt.NDArray[Any], image: Image.Image) -> npt.NDArray[Any]:
    """Return ``(rows, columns)`` of a picture whose colours are all grey."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise refuse(path, "not_scalar", f"it is a colour picture (mode {image.mode})")
    if alpha.min() < 255:
        raise refuse(path, "not_scalar", "it has transparent parts, as drawings have")
    grey: npt.NDArray[Any] = red
    return grey
