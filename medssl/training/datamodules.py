"""From a store to batches: every crop is a function of the seed and its number.

Nothing here remembers anything. A resumed run, another number of workers or of ranks asks for other
numbers and gets the crops that belong to them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from medssl.sampling.counter import VolumeOrder, rng
from medssl.sampling.cut import cut_images, cut_labels, cut_stored, keeps_voxels
from medssl.sampling.partners import JointSampler, Partners
from medssl.sampling.places import Sampler as PlaceSampler
from medssl.sampling.slices import Slices
from medssl.store.coding import Coding
from medssl.training.config import Balance
from medssl.training.sources import CropSource, WithIntegers, WithTable
from medssl.types import Batch, Place, Shape

__all__ = ["CropDataset", "GlobalBatches", "collate", "crop_loader", "decoded"]

_LEVELS: dict[Balance, tuple[str, ...]] = {
    "none": (),
    "patient": ("patient", "study"),
    "study": ("study",),
    "modality": ("modality", "patient", "study"),
}
"""Columns of the table whose groups are drawn evenly, from the outermost."""


class CropDataset(Dataset[Batch]):
    """Sample number ``i`` of an endless run over a set of volumes.

    Args:
        store: Where voxels come from.
        volumes: The ids that take part.
        places: The sampler that says where to look, in one volume or in several.
        patch: Edges of a crop in voxels; two edges on volumes ask for slices, axial ones unless
            the sampler says otherwise.
        seed: Root of every choice.
        labels: Whether masks are read too, as target ``label`` ``(K, *patch)``.
        balance: What an epoch visits once, see :class:`~medssl.training.config.DataConfig`. A store
            without a table takes every volume for a patient.
        integers: Leave voxels as the store holds them wherever no crop changes its size, for
            :func:`decoded` on the device: half the bytes to hand over.

    Raises:
        ConfigError: If the sampler takes several volumes and some have no partner.
    """

    def __init__(
        self,
        store: CropSource,
        volumes: Sequence[str],
        places: PlaceSampler | JointSampler,
        patch: Shape,
        *,
        seed: int,
        labels: bool = False,
        balance: Balance = "none",
        integers: bool = False,
    ) -> None:
        self.store = store
        self.integers = integers
        # one buffer: a list of strings would be copied page by page in workers
        self.volumes = np.array(volumes)
        self.places = _planar(places) if len(patch) == 2 else places
        self.patch = patch
        self.seed = seed
        self.labels = labels
        groups = [_column(store, volumes, name) for name in _LEVELS[balance]]
        self.order = VolumeOrder(seed, len(volumes), groups)
        self._partners = _partners_of(places, store, volumes)

    def __getitem__(self, index: int) -> Batch:
        """Read sample number ``index`` as a batch of one."""
        names, places = self._draw(index)
        targets = _joined_targets(places)
        if self.labels:
            masks = [self._cut_labels(*pair) for pair in zip(names, places, strict=True)]
            targets["label"] = torch.from_numpy(np.concatenate(masks))
        images, coding = self._cut(names, places)
        return Batch(
            images=torch.from_numpy(images)[None],
            targets={name: target[None] for name, target in targets.items()},
            volumes=[" + ".join(names)],
            indices=[index],
            coding=coding,
        )

    def _cut(
        self, names: Sequence[str], places: Sequence[Place]
    ) -> tuple[npt.NDArray[Any], torch.Tensor | None]:
        """Return the crops of one sample, ``(K, C, *patch)``, and the coding of integers."""
        images: list[npt.NDArray[Any]] = []
        codings: list[Coding] = []
        exact = all(keeps_voxels(place, self.patch) for place in places)
        for name, place in zip(names, places, strict=True):
            if self.integers and exact and isinstance(self.store, WithIntegers):
                box = place.region
                region, coding = self.store.read_stored(name, box.start, box.size)
                images.append(cut_stored(region, place))
                codings += [coding] * len(place.crops)
            else:
                read = functools.partial(self.store.read, name)
                images.append(cut_images(read, self.store.facts(name), place, self.patch))
        joined = np.concatenate(images) if len(images) > 1 else images[0]
        return joined, _numbers(codings) if codings else None

    def _cut_labels(self, name: str, place: Place) -> npt.NDArray[np.int16]:
        read = functools.partial(self.store.read_label, name)
        return cut_labels(read, self.store.facts(name), place, self.patch)

    def _draw(self, index: int) -> tuple[list[str], list[Place]]:
        """Return the volumes of a sample and where to look in each of them."""
        generator = rng(self.seed, index)
        first = self.order[index]
        if not isinstance(self.places, JointSampler) or self._partners is None:
            name = str(self.volumes[first])
            sampler = cast("PlaceSampler", self.places)
            return [name], [sampler.place(self.store.facts(name), self.patch, generator)]
        others = self._partners.of(self.seed, index, first, self.places.volumes - 1)
        names = [str(self.volumes[number]) for number in (first, *others)]
        facts = [self.store.facts(name) for name in names]
        return names, self.places.places(facts, self.patch, generator)


def _planar(places: PlaceSampler | JointSampler) -> PlaceSampler | JointSampler:
    """Let a sampler that knows nothing of slices cut axial ones where it meets a volume."""
    return places if isinstance(places, JointSampler | Slices) else Slices(places)


def _joined_targets(places: Sequence[Place]) -> dict[str, torch.Tensor]:
    """Return the targets of all places, and of several places which each crop belongs to."""
    if len(places) == 1:
        return {name: torch.from_numpy(np.array(v)) for name, v in places[0].targets.items()}
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for place in places:
        for name, values in place.targets.items():
            found.setdefault(name, []).append(np.asarray(values))
    counts = [len(place.crops) for place in places]
    found["member"] = [np.repeat(np.arange(len(places)), counts)]
    return {name: torch.from_numpy(np.concatenate(values)) for name, values in found.items()}


def _partners_of(
    places: PlaceSampler | JointSampler, store: CropSource, volumes: Sequence[str]
) -> Partners | None:
    """Return who may be shown beside whom, if the sampler wants several volumes."""
    if not isinstance(places, JointSampler):
        return None
    modalities = _column(store, volumes, "modality") if places.same_modality else None
    return Partners(_column(store, volumes, "patient"), modalities, needed=places.volumes - 1)


def _column(store: CropSource, volumes: Sequence[str], name: str) -> list[str]:
    """Return a column of the store's table for some volumes; a volume without a value is alone."""
    known: dict[str, Any] = {}
    if isinstance(store, WithTable) and name in store.table.column_names:
        known = dict(zip(store.table["id"].to_pylist(), store.table[name].to_pylist(), strict=True))
    # Volumes of no known modality may share one; two of no known patient are of two.
    unknown = "unknown" if name == "modality" else None
    return [str(known.get(volume) or unknown or volume) for volume in volumes]


def _numbers(codings: Sequence[Coding]) -> torch.Tensor:
    rows = [(coding.low, coding.high, coding.centre, coding.scale) for coding in codings]
    return torch.tensor([rows], dtype=torch.float32)


def decoded(batch: Batch) -> Batch:
    """Return a batch whose images are intensities, bit for bit those of :meth:`Coding.decode`."""
    if batch.coding is None:
        return batch
    parts = batch.coding.reshape(*batch.images.shape[:2], 4, *(1,) * (batch.images.ndim - 2))
    low, high, centre, scale = parts.unbind(2)
    images = batch.images.float()
    torch.clamp(images, low, high, out=images).sub_(centre).mul_(scale)
    return replace(batch, images=images, coding=None)


def collate(samples: Sequence[Batch]) -> Batch:
    """Stack batches of one into one batch; if some are intensities, all become so."""
    if any(sample.coding is None for sample in samples):
        samples = [decoded(sample) for sample in samples]
    codings = [sample.coding for sample in samples if sample.coding is not None]
    names = samples[0].targets
    return Batch(
        images=_joined([sample.images for sample in samples]),
        targets={name: _joined([sample.targets[name] for sample in samples]) for name in names},
        volumes=[volume for sample in samples for volume in sample.volumes],
        indices=[index for sample in samples for index in sample.indices],
        coding=torch.cat(codings) if codings else None,
    )


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate tensors; in a worker into memory that the training process shares.

    They would be copied there when the batch is handed over: one copy of every voxel less.
    """
    if get_worker_info() is None:
        return torch.cat(list(tensors))
    first = tensors[0]
    shape = (sum(len(tensor) for tensor in tensors), *first.shape[1:])
    size = math.prod(shape) * first.element_size()
    shared = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    strides = torch.empty(shape, device="meta").stride()
    joined: torch.Tensor = first.new_empty(0).set_(shared, 0, shape, strides)
    start = 0
    for tensor in tensors:
        joined[start : start + len(tensor)] = tensor
        start += len(tensor)
    return joined


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


def crop_loader(
    dataset: Dataset[Batch], batches: GlobalBatches, *, workers: int
) -> DataLoader[Batch]:
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
