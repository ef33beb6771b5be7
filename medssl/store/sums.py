"""Proof that the bytes of a stored volume are those that were written, fast enough for every read.

Sums are over 64-bit words of the compressed chunks, modulo 2**64. They cost a few percent of
reading a crop where a CRC-32 costs half of it, and any single flipped bit, any zeroed page and any
stretch of other bytes changes them. The little that is no chunk has a CRC-32.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Sums", "pack_array", "unpack_array"]

_WORD = 8
_HEAD_LENGTH = slice(11, 15)
"""Where a blosc2 frame says how long its head is; from there the chunks lie one behind another."""

_REPEATED_VALUE = 64
"""A chunk of one repeated value is described in fewer bytes than this; other chunks never are."""


@dataclass(frozen=True)
class Sums:
    """What is known of the bytes of one file.

    Attributes:
        edges: ``(chunks + 1,)`` where each chunk begins, and where the last one ends, in bytes.
        below: Sum of all words before the word that an edge lies in.
        through: The same with that word, if the edge cuts it.
        frame: Length of the blosc2 frame in bytes.
        crc: CRC-32 of the frame's head and of what lies between the last chunk and its end.
    """

    edges: npt.NDArray[np.int64]
    below: npt.NDArray[np.uint64]
    through: npt.NDArray[np.uint64]
    frame: int
    crc: int

    @classmethod
    def of(cls, frame: bytes, chunks: list[bytes]) -> Sums:
        """Return the sums of a frame.

        Args:
            frame: The whole of it.
            chunks: Its compressed chunks in order; those of one repeated value take no place in it.

        Raises:
            OSError: If a chunk is not where it must be.
        """
        position = int(struct.unpack(">i", frame[_HEAD_LENGTH])[0])
        edges = [position]
        for chunk in chunks:
            if frame[position : position + len(chunk)] == chunk:
                position += len(chunk)
            elif len(chunk) > _REPEATED_VALUE:
                raise OSError("the array was not written whole")
            edges.append(position)
        words = np.frombuffer(frame, np.uint64, count=len(frame) // _WORD)
        totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
        at = np.array(edges)
        return cls(
            edges=at,
            below=totals[at // _WORD],
            through=totals[-(-at // _WORD)],
            frame=len(frame),
            crc=zlib.crc32(frame[position:], zlib.crc32(frame[: edges[0]])),
        )

    def frame_holds(self, content: npt.NDArray[np.uint8]) -> bool:
        """Say whether the head, and the index that says where chunks are, are as written."""
        head, tail = content[: self.edges[0]], content[self.edges[-1] : self.frame]
        return zlib.crc32(tail.data, zlib.crc32(head.data)) == self.crc

    def chunks_hold(self, words: npt.NDArray[np.uint64], first: int, last: int) -> bool:
        """Say whether the chunks from ``first`` to before ``last`` are as written.

        Args:
            words: The file, from its beginning.
            first: Number of the first chunk.
            last: One past the number of the last.
        """
        begin, end = int(self.edges[first]), int(self.edges[last])
        if begin == end:
            return True
        found = np.add.reduce(words[begin // _WORD : -(-end // _WORD)])
        # Array arithmetic wraps around in silence, as it must here; that of scalars warns.
        return bool((self.through[last : last + 1] - self.below[first : first + 1] == found)[0])

    def to_dict(self) -> dict[str, Any]:
        """Return primitives, ready for JSON."""
        arrays = {name: pack_array(getattr(self, name)) for name in ("edges", "below", "through")}
        return {**arrays, "frame": self.frame, "crc": self.crc}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sums:
        """Return what :meth:`to_dict` described."""
        return cls(
            edges=unpack_array(values["edges"]),
            below=unpack_array(values["below"]),
            through=unpack_array(values["through"]),
            frame=int(values["frame"]),
            crc=int(values["crc"]),
        )


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
