"""Proof that the bytes of a stored volume are those that were written, fast enough for every read.

There is one sum a page: its 64-bit words, modulo 2**64. Any flipped bit changes one, and so do a
zeroed page, a page that belongs elsewhere and any stretch of other bytes. Summing costs about a
tenth of reading a crop, where a CRC-32 costs half of it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PAGE", "Sums", "pack_array", "unpack_array"]

PAGE = 4096
"""Bytes under one sum."""

_WORD = 8
_HEAD_LENGTH = slice(11, 15)
"""Where a blosc2 frame says how long its head is; from there the chunks lie one behind another."""

_REPEATED_VALUE = 64
"""A chunk of one repeated value is described in fewer bytes than this; other chunks never are."""

_MOST_AT_ONCE = 1024
_STARTS = np.arange(_MOST_AT_ONCE) * (PAGE // _WORD)
"""Where the first pages begin, in words."""

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sums:
    """What is known of the bytes of one file.

    Attributes:
        edges: ``(chunks + 1,)`` where each chunk begins, and where the last one ends, in bytes.
        pages: ``(pages,)`` sum of the words of each page.
    """

    edges: npt.NDArray[np.int64]
    pages: Words

    @classmethod
    def of(cls, content: bytes, chunks: list[bytes]) -> Sums:
        """Return the sums of a frame.

        Args:
            content: The whole of it, and zeros up to the end of its last page.
            chunks: Its compressed chunks in order; those of one repeated value take no place in it.

        Raises:
            OSError: If a chunk is not where it must be.
        """
        position = int(struct.unpack(">i", content[_HEAD_LENGTH])[0])
        edges = [position]
        for chunk in chunks:
            if content[position : position + len(chunk)] == chunk:
                position += len(chunk)
            elif len(chunk) > _REPEATED_VALUE:
                raise OSError("the array was not written whole")
            edges.append(position)
        words = np.frombuffer(content, "<u8")
        return cls(np.array(edges, np.int64), _page_sums(words, 0, words.size * _WORD // PAGE))

    @property
    def first_pages(self) -> npt.NDArray[np.int64]:
        """``(chunks,)`` the page that each chunk begins in."""
        return self.edges[:-1] // PAGE

    @property
    def last_pages(self) -> npt.NDArray[np.int64]:
        """``(chunks,)`` one past the page that each chunk ends in."""
        return -(-self.edges[1:] // PAGE)

    @property
    def frame_pages(self) -> list[tuple[int, int]]:
        """Where the frame's head is, and the index that says where chunks are."""
        head, index = int(self.edges[0]), int(self.edges[-1])
        return [(0, -(-head // PAGE)), (index // PAGE, len(self.pages))]

    def hold(self, words: Words, runs: Iterable[tuple[int, int]]) -> bool:
        """Say whether pages are as they were written.

        Args:
            words: All of the file, from its beginning.
            runs: First page, and one past the last, of what is to be looked at.
        """
        found, known = [], []
        for first, last in runs:
            found.append(_page_sums(words, first, last))
            known.append(self.pages[first:last])
        return bool((np.concatenate(found) == np.concatenate(known)).all())

    def to_bytes(self) -> bytes:
        """Return what :meth:`from_bytes` understands."""
        counts = struct.pack("<QQ", self.edges.size, self.pages.size)
        return counts + self.edges.astype("<i8").tobytes() + self.pages.astype("<u8").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Sums:
        """Return what :meth:`to_bytes` described."""
        edges, pages = struct.unpack_from("<QQ", content)
        values = np.frombuffer(content, "<i8", offset=2 * _WORD)
        if values.size != edges + pages or edges == 0:
            raise ValueError("its sums are of another length")
        return cls(values[:edges].astype(np.int64), values[edges:].view("<u8").astype(np.uint64))


def _page_sums(words: Words, first: int, last: int) -> Words:
    """Return the sums of the pages from ``first`` to before ``last``."""
    step = PAGE // _WORD
    if last - first > _MOST_AT_ONCE:
        starts = range(first, last, _MOST_AT_ONCE)
        parts = [_page_sums(words, at, min(at + _MOST_AT_ONCE, last)) for at in starts]
        return np.concatenate(parts)
    # A third faster than a sum along the rows of a table of pages, which does the same.
    return np.add.reduceat(words[first * step : last * step], _STARTS[: last - first])


def pack_array(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return an array as primitives, compressed.

    Example:
        >>> unpack_array(pack_array(np.arange(3)))
        array([0, 1, 2])
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    content = base64.b64encode(zlib.compress(little.tobytes())).decode("ascii")
    return {"dtype": little.dtype.str, "shape": list(little.shape), "zlib": content}


def unpack_array(packed: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return the array that :func:`pack_array` packed."""
    content = zlib.decompress(base64.b64decode(packed["zlib"]))
    return np.frombuffer(content, np.dtype(packed["dtype"])).reshape(packed["shape"])
