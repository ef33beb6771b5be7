"""Pictures (PNG, JPEG, TIFF, BMP) with one fault each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults.case import FaultCase
from faults.nifti_cases import FIRST, SPLIT, flipped
from PIL import Image, TiffImagePlugin

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 30)).astype(np.uint8)
GREY = np.repeat(PIXELS[..., None], 3, axis=2)
COLOUR = np.dstack([PIXELS, PIXELS // 2, PIXELS])
DEEP = PIXELS.astype(np.uint16) * 200
UNKNOWN = ("orientation_unknown",)
LOSSY = ("orientation_unknown", "lossy")
PAGES = ("orientation_unknown", "frames_split")
_PHOTOMETRIC, _ORIENTATION, _RESOLUTION = 262, 274, 282


def saved(kind: str, pixels: np.ndarray | Image.Image, **options: Any) -> bytes:
    """Return a picture as a file holds it."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tags(**values: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return tags of a TIFF file by number, ``t262=0``."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in values.items():
        directory[int(name[1:])] = value
    return directory


def turned(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = number
    return exif


def several(kind: str, count: int = 3) -> bytes:
    """Return a file of several pictures that differ."""
    first, *others = (Image.fromarray(np.roll(PIXELS, number, axis=0)) for number in range(count))
    return saved(kind, first, save_all=True, append_images=others)


def bare_png(width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    """Return a PNG of exactly these numbers, also ones that pillow would not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + end


def deep_colours() -> bytes:
    """Return a PNG of three channels of 16 bits, which pillow would read as 8."""
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in DEEP)
    return bare_png(DEEP.shape[1], DEEP.shape[0], 16, 2, rows)


def one(name: str, make: Callable[[], bytes]) -> Callable[[Path], None]:
    """Return a writer of one file."""
    return lambda folder: (folder / name).write_bytes(make()) and None


CASES = [
    FaultCase("PNG, grey", "", one("a.png", lambda: saved("PNG", PIXELS)), fixes=UNKNOWN),
    FaultCase("PNG of 16 bits", "", one("a.png", lambda: saved("PNG", DEEP)), fixes=UNKNOWN),
    FaultCase("PNG, grey in colours", "", one("a.png", lambda: saved("PNG", GREY)), fixes=UNKNOWN),
    FaultCase(
        "PNG with a palette of greys",
        "",
        one("a.png", lambda: saved("PNG", Image.fromarray(PIXELS).convert("P"))),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "PNG with a palette of colours",
        "N19",
        one("a.png", lambda: saved("PNG", Image.fromarray(COLOUR).quantize(16))),
        "not_scalar",
    ),
    FaultCase("PNG, colours", "N19", one("a.png", lambda: saved("PNG", COLOUR)), "not_scalar"),
    FaultCase("PNG, colours of 16 bits", "N19", one("a.png", deep_colours), "not_scalar"),
    FaultCase(
        "PNG, opaque",
        "",
        one("a.png", lambda: saved("PNG", np.dstack([GREY, np.full_like(PIXELS, 255)]))),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "PNG, transparent",
        "N19",
        one("a.png", lambda: saved("PNG", np.dstack([GREY, PIXELS]))),
        "not_scalar",
    ),
    FaultCase(
        "PNG of single bits",
        "N24",
        one("a.png", lambda: saved("PNG", PIXELS > 100)),
        "not_image_object",
    ),
    FaultCase("PNG, black", "N24", one("a.png", lambda: saved("PNG", PIXELS * 0)), "no_content"),
    FaultCase(
        "PNG, cut short", "N01", one("a.png", lambda: saved("PNG", PIXELS)[:-400]), "corrupt"
    ),
    FaultCase(
        "PNG, without its end", "N01", one("a.png", lambda: saved("PNG", PIXELS)[:-12]), "truncated"
    ),
    FaultCase(
        "PNG, bits flipped",
        "N02",
        one("a.png", lambda: flipped(saved("PNG", PIXELS), 500)),
        "corrupt",
    ),
    FaultCase(
        "PNG, wrong checksum",
        "N03",
        one("a.png", lambda: flipped(saved("PNG", PIXELS), -14)),
        "corrupt",
    ),
    FaultCase(
        "PNG, an error page", "N04", one("a.png", lambda: b"<html>404</html>" * 9), "not_an_image"
    ),
    FaultCase("PNG, empty", "N04", one("a.png", bytes), "not_an_image"),
    FaultCase(
        "PNG, a bomb",
        "N06",
        one("a.png", lambda: bare_png(60_000, 60_000, 8, 0, bytes(2**20))),
        "too_large",
    ),
    FaultCase("PNG, animated", "N17", one("a.png", lambda: several("PNG")), "time_series"),
    FaultCase(
        "PNG, animated, first",
        "N17",
        one("a.png", lambda: several("PNG")),
        fixes=PAGES,
        options=FIRST,
    ),
    FaultCase(
        "PNG on its side",
        "",
        one("a.png", lambda: saved("PNG", PIXELS, exif=turned(6))),
        fixes=UNKNOWN,
    ),
    FaultCase("PNG named JPEG", "", one("a.jpg", lambda: saved("PNG", PIXELS)), fixes=UNKNOWN),
    FaultCase("JPEG", "", one("a.jpg", lambda: saved("JPEG", PIXELS)), fixes=LOSSY),
    FaultCase("JPEG, colours", "N19", one("a.jpg", lambda: saved("JPEG", COLOUR)), "not_scalar"),
    FaultCase(
        "JPEG of four inks",
        "N19",
        one("a.jpg", lambda: saved("JPEG", Image.fromarray(COLOUR).convert("CMYK"))),
        "not_scalar",
    ),
    FaultCase(
        "JPEG, cut short", "N01", one("a.jpg", lambda: saved("JPEG", PIXELS)[:-300]), "truncated"
    ),
    FaultCase(
        "JPEG on its side",
        "",
        one("a.jpeg", lambda: saved("JPEG", PIXELS, exif=turned(8))),
        fixes=LOSSY,
    ),
    FaultCase("TIFF", "", one("a.tif", lambda: saved("TIFF", PIXELS)), fixes=UNKNOWN),
    FaultCase("TIFF of 16 bits", "", one("a.tif", lambda: saved("TIFF", DEEP)), fixes=UNKNOWN),
    FaultCase(
        "TIFF of numbers with fractions",
        "",
        one("a.tiff", lambda: saved("TIFF", PIXELS / np.float32(3))),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "TIFF with one NaN",
        "N08",
        one(
            "a.tif",
            lambda: saved(
                "TIFF",
                np.where(np.arange(1200).reshape(40, 30) == 7, np.nan, PIXELS).astype(np.float32),
            ),
        ),
        fixes=(*UNKNOWN, "non_finite_filled"),
    ),
    FaultCase(
        "TIFF with a resolution",
        "",
        one("a.tif", lambda: saved("TIFF", PIXELS, dpi=(300, 300))),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "TIFF, packed",
        "",
        one("a.tif", lambda: saved("TIFF", PIXELS, compression="tiff_lzw")),
        fixes=UNKNOWN,
    ),
    FaultCase(
        "TIFF, packed as JPEG",
        "",
        one("a.tif", lambda: saved("TIFF", PIXELS, compression="jpeg")),
        fixes=LOSSY,
    ),
    FaultCase(
        "TIFF, zero is white, 16 bits",
        "",
        one("a.tif", lambda: saved("TIFF", DEEP, tiffinfo=tags(t262=0))),
        "monochrome1",
    ),
    FaultCase(
        "TIFF on its side",
        "",
        one("a.tif", lambda: saved("TIFF", PIXELS, tiffinfo=tags(t274=6))),
        fixes=UNKNOWN,
    ),
    FaultCase("TIFF, pages", "N17", one("a.tif", lambda: several("TIFF")), "time_series"),
    FaultCase(
        "TIFF, pages, split",
        "N17",
        one("a.tif", lambda: several("TIFF")),
        fixes=PAGES,
        volumes=3,
        options=SPLIT,
    ),
    FaultCase(
        "TIFF, cut short", "N01", one("a.tif", lambda: saved("TIFF", PIXELS)[:-300]), "truncated"
    ),
    FaultCase("BMP", "", one("a.bmp", lambda: saved("BMP", PIXELS)), fixes=UNKNOWN),
]
