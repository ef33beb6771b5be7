"""Samplers that look at several patients at once, and who is shown beside whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from medssl.errors import ConfigError
from medssl.sampling.body import Body
from medssl.sampling.counter import rng
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import around
from medssl.sampling.position import body_coordinates, voxel_at
from medssl.types import Box, Place, Shape

__all__ = ["Corresponding", "JointSampler", "Partners", "corresponding_place"]


@runtime_checkable
class JointSampler(Protocol):
    """Decides where in several volumes, each of another patient, one training example comes from.

    The crops of all volumes become the crops of one example, in the order of the volumes; a target
    ``member`` tells which of the volumes each comes from. Targets of one name are joined along
    their first axis.

    Attributes:
        volumes: How many volumes one example takes, at least 2.
        same_modality: Whether all of them must be of one modality.
    """

    volumes: int
    same_modality: bool

    def places(
        self, facts: Sequence[VolumeFacts], patch: Shape, generator: np.random.Generator
    ) -> list[Place]:
        """Return a place in each volume.

        Args:
            facts: What is known of each volume; the first is the one whose turn it is.
            patch: Voxels along each edge of a crop.
            generator: Where chance comes from.
        """
        ...


class Partners:
    """Chooses volumes of other patients to go with a volume, as a function of seed and number.

    Patients are drawn evenly, then one of a patient's volumes; none comes twice.

    Args:
        patients: The patient of each volume.
        modalities: The modality of each volume if partners must share it; none lets any two meet.
        needed: How many partners a volume must have.

    Raises:
        ConfigError: If a volume has too few possible partners.
    """

    def __init__(
        self,
        patients: Sequence[str],
        modalities: Sequence[str] | None = None,
        *,
        needed: int = 1,
    ) -> None:
        kinds = np.unique(modalities or [""] * len(patients), return_inverse=True)[1]
        people = np.unique(patients, return_inverse=True)[1]
        self._volumes = np.lexsort((people, kinds))
        pairs = np.stack([kinds, people], axis=1)[self._volumes]
        fresh = np.flatnonzero(np.any(np.diff(pairs, axis=0, prepend=-1), axis=1))
        # Volumes of one patient and modality lie together, and so do the patients of a modality.
        self._begins = np.append(fresh, len(patients))
        self._kind_begins = np.searchsorted(pairs[fresh, 0], np.arange(kinds.max(initial=0) + 2))
        self._group = np.empty(len(patients), np.int64)
        self._group[self._volumes] = np.repeat(np.arange(len(fresh)), np.diff(self._begins))
        self._kinds = kinds
        alone = int((np.diff(self._kind_begins)[kinds] <= needed).sum())
        if alone:
            alike = " of the same modality" if modalities is not None else ""
            raise ConfigError(
                f"{alone} of {len(patients)} volumes have fewer than {needed} other patients"
                f"{alike} to be shown beside; leave them out, or use a method that takes one volume"
            )

    def of(self, seed: int, number: int, volume: int, count: int) -> list[int]:
        """Return volumes of ``count`` other patients.

        Args:
            seed: The seed of the run.
            number: Global number of the sample.
            volume: The volume that partners are wanted for.
            count: How many.
        """
        generator = rng(seed, number, 1)
        kind = self._kinds[volume]
        first, last = (int(n) for n in self._kind_begins[kind : kind + 2])
        drawn = generator.choice(last - first - 1, count, replace=False) + first
        found = []
        for group in drawn.tolist():
            # The own patient is left out by counting past it.
            group += group >= self._group[volume]
            begin, end = (int(n) for n in self._begins[group : group + 2])
            found.append(int(self._volumes[begin + int(generator.integers(end - begin))]))
        return found


class Corresponding:
    """The same part of the body in several patients, by its place in the body's own box.

    A crop is placed on the body of the first volume; in the others the crop lies around the voxel
    with the same body coordinates, moved inside the volume. It is the same anatomy as far as scans
    cover the same part of the body; between an abdomen and a whole trunk it is not.

    Targets: ``position`` ``(crops, ndim)`` float32, where each crop lies in its body; ``member``.

    Args:
        volumes: How many patients.
        share: Least share of body in the first crop.
        jitter: Largest shift of the other crops along each axis, in edges of the crop.
        same_modality: Whether all volumes must be of one modality.
    """

    def __init__(
        self,
        *,
        volumes: int = 2,
        share: float = 0.5,
        jitter: float = 0.0,
        same_modality: bool = True,
    ) -> None:
        if volumes < 2:
            raise ConfigError(f"crops of {volumes} patients correspond to none; use 2 or more")
        self.volumes = volumes
        self.body = Body(share=share)
        self.jitter = jitter
        self.same_modality = same_modality

    def places(
        self, facts: Sequence[VolumeFacts], patch: Shape, generator: np.random.Generator
    ) -> list[Place]:
        """Return one crop a volume, see :class:`JointSampler`."""
        first = self.body.box(facts[0], patch, generator)
        at = body_coordinates(facts[0], first)
        places = [corresponding_place(facts[0], first)]
        for other in facts[1:]:
            shift = generator.uniform(-self.jitter, self.jitter, len(patch)) * patch
            voxel = tuple(np.add(voxel_at(other, at), np.rint(shift).astype(int)).tolist())
            places.append(corresponding_place(other, around(voxel, patch, other.shape)))
        return places


def corresponding_place(facts: VolumeFacts, box: Box) -> Place:
    """Return the place of one crop with its position in the body as a target."""
    targets: dict[str, npt.NDArray[np.float32]] = {"position": body_coordinates(facts, box)[None]}
    return Place(box, (Box((0,) * len(box.size), box.size),), targets)
