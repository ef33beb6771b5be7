"""Volumes that an encoder sees as the same: of each heap one goes into a store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.cohort.reduce import Removed, heaps
from medssl.errors import UsageError
from medssl.io.atomic import write_json

__all__ = ["DEFAULT_SIMILARITY", "Vectors", "find_alike_vectors"]

Float32 = npt.NDArray[np.float32]

DEFAULT_SIMILARITY = 0.998
"""Least cosine similarity of two volumes that count as alike.

Of 60 hippocampus crops of as many patients the nearest two have 0.9971 in an untrained encoder;
noise of a tenth of the standard deviation, other units or 8 bits leave at least 0.9997. An encoder
that was trained spreads patients wider.
"""


def find_alike_vectors(
    rows: Sequence[Mapping[str, Any]], vectors: Float32, least: float = DEFAULT_SIMILARITY
) -> list[Removed]:
    """Say which volumes to leave out so that no two that are left have nearly the same vector.

    Volumes of another modality, and planar images and volumes, are never compared. Of those that
    are alike the first one stays.

    Args:
        rows: ``id``, ``patient``, ``modality`` and ``shape`` of each volume.
        vectors: ``(volumes, D)``; NaN where there is none, and such a volume stays.
        least: Least cosine similarity of what is alike, above 0 and at most 1.

    Returns:
        What goes, in the order of ``rows``; its distance is what the similarity lacks to 1.

    Raises:
        UsageError: If the similarity is none.
    """
    if not 0 < least <= 1:
        raise UsageError(f"--threshold is {least:g}; expected a similarity above 0, at most 1")
    groups: dict[tuple[str, int], list[int]] = {}
    for number, row in enumerate(rows):
        length = float(np.linalg.norm(vectors[number]))
        if np.isfinite(length) and length > 0:
            groups.setdefault((row["modality"], len(row["shape"])), []).append(number)
    removed: dict[int, Removed] = {}
    for members in groups.values():
        found = vectors[members].T.copy()
        found /= np.linalg.norm(found, axis=0)
        # Rounding leaves equal vectors a little less than 1.
        for first, near, far in heaps(
            found, np.zeros(len(members), bool), 1 - least + 1e-6, _apart
        ):
            kept = rows[members[first]]
            for place, distance in zip(near.tolist(), far.tolist(), strict=True):
                row = rows[members[place]]
                same = row["patient"] == kept["patient"]
                removed[members[place]] = Removed(row["id"], kept["id"], max(0.0, distance), same)
    return [removed[number] for number in sorted(removed)]


def _apart(vectors: Float32, first: Float32) -> Float32:
    """Return what the cosine similarity to the first lacks to 1."""
    return np.asarray(1 - (first.T @ vectors)[0])


class Vectors:
    """The vectors of a cohort on the disk, so that a run that was stopped goes on where it was.

    Args:
        folder: Where they lie.
        ids: The volumes.
        weights: What tells the encoder from others.
    """

    def __init__(self, folder: Path, ids: Sequence[str], weights: str) -> None:
        self._about = folder / "embedding.json"
        self._file = folder / "embedding.f32"
        self._key = sha256(json.dumps([weights, list(ids)]).encode()).hexdigest()
        self._count = len(ids)
        self._values: npt.NDArray[np.float32] | None = None
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
            if about["key"] == self._key:
                self._values = self._open(int(about["features"]), "r+")
        except (OSError, ValueError, KeyError, TypeError):
            self._values = None

    def missing(self) -> list[int]:
        """Return the numbers of the volumes that have none yet."""
        if self._values is None:
            return list(range(self._count))
        return [int(number) for number in np.flatnonzero(np.isnan(self._values[:, 0]))]

    def put(self, number: int, vector: Float32) -> None:
        """Keep the vector of a volume."""
        if self._values is None:
            self._file.unlink(missing_ok=True)
            self._values = self._open(len(vector), "w+")
            self._values[:] = np.nan
            write_json(self._about, {"key": self._key, "features": len(vector)})
        self._values[number] = vector

    def all(self) -> Float32:
        """Return ``(volumes, D)``, NaN where there is none."""
        return (
            np.full((self._count, 1), np.nan, np.float32) if self._values is None else self._values
        )

    def forget(self) -> None:
        """Remove them from the disk."""
        self._values = None
        self._about.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)

    def _open(self, features: int, mode: Literal["r+", "w+"]) -> Float32:
        return np.memmap(self._file, np.float32, mode=mode, shape=(self._count, features))
