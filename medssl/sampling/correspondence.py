"""The same anatomy in two patients, found by the features that an encoder learnt.

Features of every volume are computed once on a coarse grid and written beside the store (see
``medssl.evaluation.descriptors``); here they are only compared.
"""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from medssl.errors import ConfigError, StoreError
from medssl.sampling.body import Body
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.partners import corresponding_place
from medssl.sampling.places import around
from medssl.sampling.position import body_coordinates, voxel_at
from medssl.types import Box, Place, Shape

__all__ = ["Descriptors", "LearnedPairs", "Match", "best_match", "descriptor_path"]

_KEPT = 64
"""Volumes whose descriptors stay in memory; some megabytes each."""

_TRIES = 8


def descriptor_path(folder: Path, volume: str) -> Path:
    """Return where the descriptors of a volume lie.

    Args:
        folder: ``STORE/descriptors/NAME``.
        volume: The store's name of the volume.
    """
    return folder / (quote(volume, safe="") + ".npz")


@dataclass(frozen=True, eq=False)
class Descriptors:
    """What an encoder saw at each cell of a coarse grid of one volume.

    Attributes:
        features: ``(D, *grid)`` float16, of length 1 along the first axis.
        stride: Voxels from one cell to the next along each axis; cell 0 begins at voxel 0.
    """

    features: npt.NDArray[np.float16]
    stride: Shape

    @classmethod
    def read(cls, folder: Path, volume: str) -> Descriptors:
        """Return the descriptors of a volume.

        Raises:
            StoreError: If they were not written, or are damaged.
        """
        try:
            # The file is opened here, because numpy leaves one open that it can't read.
            with (
                descriptor_path(folder, volume).open("rb") as stream,
                np.load(stream, allow_pickle=False) as content,
            ):
                return cls(content["features"], tuple(int(edge) for edge in content["stride"]))
        except FileNotFoundError as error:
            raise StoreError(
                f'the descriptors "{folder.name}" hold no volume "{volume}"; write them again with '
                "medssl.evaluation.descriptors.write_descriptors"
            ) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise StoreError(
                f'the descriptors "{folder.name}" of volume "{volume}" are damaged ({error}); '
                "remove the file and write them again"
            ) from error

    def cell_at(self, voxel: Shape) -> Shape:
        """Return the cell that a voxel lies in; the nearest one for a voxel outside."""
        grid = self.features.shape[1:]
        return tuple(
            min(max(index // edge, 0), count - 1)
            for index, edge, count in zip(voxel, self.stride, grid, strict=True)
        )

    def at(self, cell: Shape) -> npt.NDArray[np.float16]:
        """Return the descriptor of a cell, ``(D,)``."""
        index: tuple[slice | int, ...] = (slice(None), *cell)
        return self.features[index]


@dataclass(frozen=True)
class Match:
    """The voxel of another volume that looks most like a given one.

    Attributes:
        voxel: Where it is.
        likeness: Cosine of the two descriptors.
        is_mutual: Whether the way back leads to where one came from, or to a cell beside it.
    """

    voxel: Shape
    likeness: float
    is_mutual: bool


def best_match(
    first: Descriptors,
    voxel: Shape,
    second: Descriptors,
    guess: Shape,
    reach: Shape,
    *,
    pull: float = 0.5,
) -> Match:
    """Return the best match of a voxel in another volume, near where it is expected.

    Features alone take the left kidney for the right one, or one vertebra for the next; a window
    about a guess keeps what is alike apart, and of places that are as alike the nearer one counts.

    Args:
        first: Descriptors of the volume that the voxel lies in.
        voxel: The voxel.
        second: Descriptors of the other volume.
        guess: Where in the other volume the match is expected, in voxels.
        reach: How far from there it may lie along each axis, in voxels.
        pull: How much more alike, as a difference of cosines, a place at the reach along one axis
            must be than one at the guess.
    """
    asked = first.cell_at(voxel)
    cell, likeness = _most_alike(first.at(asked), second, guess, reach, pull=pull)
    # The way back is free within the window: pulled home, every match would look mutual.
    back, _ = _most_alike(second.at(cell), first, voxel, reach, pull=0.0)
    mutual = max(abs(a - b) for a, b in zip(asked, back, strict=True)) <= 1
    # The voxel lies as deep in the cell that was found as in its own.
    found = tuple(
        index * edge + at % edge for index, edge, at in zip(cell, second.stride, voxel, strict=True)
    )
    return Match(found, likeness, mutual)


def _most_alike(
    descriptor: npt.NDArray[np.float16],
    among: Descriptors,
    guess: Shape,
    reach: Shape,
    *,
    pull: float,
) -> tuple[Shape, float]:
    """Return the cell of a window that is most like a descriptor, and the cosine."""
    low = among.cell_at(tuple(np.subtract(guess, reach).tolist()))
    high = among.cell_at(tuple(np.add(guess, reach).tolist()))
    window = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    features = among.features[(slice(None), *window)].astype(np.float32)
    likeness = np.tensordot(descriptor.astype(np.float32), features, axes=1)
    score = likeness.astype(np.float64)
    for axis, (first, edge, at, far) in enumerate(
        zip(low, among.stride, guess, reach, strict=True)
    ):
        middles = (np.arange(likeness.shape[axis]) + first) * edge + (edge - 1) / 2
        cost = pull * ((middles - at) / max(far, 1)) ** 2
        score = score - cost.reshape([-1 if other == axis else 1 for other in range(score.ndim)])
    best = np.unravel_index(int(score.argmax()), score.shape)
    cell = tuple(int(a + b) for a, b in zip(low, best, strict=True))
    return cell, float(likeness[best])


class LearnedPairs:
    """Crops of two patients around voxels that an encoder finds alike.

    A voxel is drawn on the body of the first volume. In the second it is looked for near the same
    body coordinates. Voxels whose match does not lead back are drawn again; if none of several
    does, the one that is most alike is taken.

    Targets: ``likeness`` ``(crops,)`` float32, 1 for the first crop and the cosine for the second;
    ``position`` ``(crops, ndim)`` float32; and ``member``.

    Args:
        descriptors: The folder that ``write_descriptors`` wrote, ``STORE/descriptors/NAME``.
        reach: How far from the expected place a match may lie, as a share of the body's box.
        mutual: Whether matches must lead back.
        share: Least share of body in the first crop.
        same_modality: Whether both volumes must be of one modality.
    """

    volumes = 2

    def __init__(
        self,
        descriptors: Path | str,
        *,
        reach: float = 0.2,
        mutual: bool = True,
        share: float = 0.5,
        same_modality: bool = True,
    ) -> None:
        if not 0 < reach <= 1:
            raise ConfigError(f"a reach of {reach} finds nothing; expected a share in (0, 1]")
        self.folder = Path(descriptors)
        self.reach = reach
        self.mutual = mutual
        self.body = Body(share=share)
        self.same_modality = same_modality

    def places(
        self, facts: Sequence[VolumeFacts], patch: Shape, generator: np.random.Generator
    ) -> list[Place]:
        """Return one crop in each of two volumes, see :class:`~.partners.JointSampler`.

        Raises:
            StoreError: If the descriptors of a volume are missing or damaged.
        """
        one, two = facts
        first, second = (_kept(self.folder, each.volume) for each in facts)
        reach = tuple(round(self.reach * edge) for edge in two.body.size)
        tried: list[tuple[Match, Box]] = []
        while len(tried) < (_TRIES if self.mutual else 1):
            box = self.body.box(one, patch, generator)
            middle = tuple(a + edge // 2 for a, edge in zip(box.start, box.size, strict=True))
            guess = voxel_at(two, body_coordinates(one, box))
            tried.append((best_match(first, middle, second, guess, reach), box))
            if tried[-1][0].is_mutual:
                break
        match, box = max(tried, key=lambda pair: (pair[0].is_mutual, pair[0].likeness))
        places = [
            corresponding_place(one, box),
            corresponding_place(two, around(match.voxel, patch, two.shape)),
        ]
        likeness = np.array([[1.0], [match.likeness]], np.float32)
        return [
            Place(place.region, place.crops, {**place.targets, "likeness": alike})
            for place, alike in zip(places, likeness, strict=True)
        ]


@functools.lru_cache(maxsize=_KEPT)
def _kept(folder: Path, volume: str) -> Descriptors:
    return Descriptors.read(folder, volume)
