"""From a store to batches: every crop is a function of the seed and its number.

Nothing here remembers anything. A resumed run, another number of workers or of ranks asks for other
numbers and gets the crops that belong to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from medssl.sampling.counter import rng, volume_index
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Sampler as PlaceSampler
from medssl.types import Batch, Box, Shape

__all__ = ["CropDataset", "CropSource", "GlobalBatches", "collate", "crop_loader"]


class CropSource(Protocol):
    """What the loader needs of a store."""

    def facts(self, volume: str) -> VolumeFacts:
        """Return what samplers may know of a volume."""

    def read(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.float32]:
        """Return ``(C, *size)`` normalised voxels, padded where the box leaves the volume."""

    def read_label(self, volume: str, start: Shape, size: Shape) -> npt.NDArray[np.int16]:
        """Return ``size`` labels, 0 where the box leaves the volume."""


class CropDataset(Dataset[Batch]):
    """Sample number ``i`` of an endless run over a set of volumes.

    Args:
        store: Where voxels come from.
        volumes: The ids that take part.
        places: The sampler that says where to look.
        patch: Edges of a crop in voxels; two edges on volumes ask for axial slices.
        seed: Root of every choice.
        labels: Whether masks are read too, as target ``label`` ``(K, *patch)``.
    """

    def __init__(
        self,
        store: CropSource,
        volumes: Sequence[str],
        places: PlaceSampler,
        patch: Shape,
        *,
        seed: int,
        labels: bool = False,
    ) -> None:
        self.store = store
        # one buffer: a list of strings would be copied page by page in workers
        self.volumes = np.array(volumes)
        self.places = places
        self.patch = patch
        self.seed = seed
        self.labels = labels

    def __getitem__(self, index: int) -> Batch:
        """Read sample number ``index`` as a batch of one."""
        volume = str(self.volumes[volume_index(self.seed, index, len(self.volumes))])
        place = self.places.place(self.store.facts(volume), self.patch, rng(self.seed, index))
        region = self.store.read(volume, place.region.start, place.region.size)
        images = np.stack([region[(slice(None), *_slices(box))] for box in place.crops])
        targets = {name: torch.from_numpy(np.array(v)) for name, v in place.targets.items()}
        planar = len(self.patch) == 2 and images.ndim == 5
        if self.labels:
            mask = self.store.read_label(volume, place.region.start, place.region.size)
            masks = np.stack([mask[_slices(box)] for box in place.crops])
            targets["label"] = torch.from_numpy(masks[..., 0] if planar else masks)
        return Batch(
            images=torch.from_numpy(images[..., 0] if planar else images)[None],
            targets={name: target[None] for name, target in targets.items()},
            volumes=[volume],
            indices=[index],
        )


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in zip(box.start, box.stop, strict=True))


def collate(samples: Sequence[Batch]) -> Batch:
    """Stack batches of one into one batch."""
    names = samples[0].targets
    return Batch(
        images=torch.cat([sample.images for sample in samples]),
        targets={name: torch.cat([sample.targets[name] for sample in samples]) for name in names},
        volumes=[volume for sample in samples for volume in sample.volumes],
        indices=[index for sample in samples for index in sample.indices],
    )


class GlobalBatches(Sampler[list[int]]):
    """Numbers of the samples of each batch of this rank, from a given batch on.

    Its length is that of the whole run, whatever batch it starts with: a resumed loop counts on.

    Args:
        batches: Batches of the whole run, for one rank.
        batch: Samples in a batch of one rank.
        first: Batch to start with.
        rank: This process.
        world_size: Processes in all; they take turns.
    """

    def __init__(
        self, batches: int, batch: int, *, first: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self.batches = batches
        self.batch = batch
        self.first = first
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.first, self.batches):
            start = (number * self.world_size + self.rank) * self.batch
            yield list(range(start, start + self.batch))


def crop_loader(dataset: CropDataset, batches: GlobalBatches, *, workers: int) -> DataLoader[Batch]:
    """Return a loader of batches.

    Args:
        dataset: Samples by number.
        batches: Which numbers, in which order.
        workers: Reading processes; 0 reads in this one.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
