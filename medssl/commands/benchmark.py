"""``medssl benchmark``: how fast this machine loads crops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.progress import plain_console
from medssl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medssl.store.store import Store
    from medssl.types import Place

__all__ = ["CropRates", "crops", "measure_crops"]

MOST_RAM_BYTES = 2 * 2**30
"""Volumes are compared with copies in memory as far as these fit here."""

TURN = 10
"""Crops that one way reads before it is another's turn: a busy machine then slows all alike."""


@dataclass(frozen=True)
class CropRates:
    """Crops per second of one process, by several ways in turn.

    Attributes:
        ram: Copied from float32 volumes in memory: the most one can hope for.
        store: Uniform crops from the store: decompressed, checked, normalised.
        body: Body-aware crops from the store, with the search for a place that holds body.
        volumes: How many volumes took part.
    """

    ram: float
    store: float
    body: float
    volumes: int

    @property
    def share_of_ram(self) -> float:
        """The store's rate as a share of that from memory."""
        return self.store / self.ram

    @property
    def cost_of_body(self) -> float:
        """How much longer a body-aware crop takes than a uniform one, as a share."""
        return self.store / self.body - 1


def crops(
    store: Path,
    *,
    patch: tuple[int, ...] = (96, 96, 96),
    crops: int = 200,
    seed: int = 0,
) -> CropRates:
    """Measure how many crops per second one process loads from a store on this machine.

    The same crops are copied from volumes in memory beside it, in the same run, because the ratio
    holds better than the rates. The page cache is warm: each volume is read once before.

    Args:
        store: Folder of the store.
        patch: Edges of a crop in voxels.
        crops: Crops a way.
        seed: Decides which crops.

    Returns:
        Crops per second.

    Raises:
        StoreError: If the store is damaged.
        UsageError: If the patch has not as many edges as the volumes have axes.

    Example:
        medssl benchmark crops store --patch 96 96 96
    """
    from medssl.store.store import Store

    if crops < 1:
        raise UsageError(f"--crops is {crops}; expected at least 1")
    rates = measure_crops(Store.open(Path(store)), patch, crops=crops, seed=seed)
    console = plain_console()
    console.print(f"{rates.volumes} volumes, crops of {' x '.join(map(str, patch))}, one process")
    console.print(f"copy in memory    {rates.ram:8.0f} crops/s")
    console.print(f"store             {rates.store:8.0f} crops/s   {rates.share_of_ram:.2f} of it")
    console.print(f"store, on body    {rates.body:8.0f} crops/s   {rates.cost_of_body:+.0%} time")
    return rates


def measure_crops(store: Store, patch: tuple[int, ...], *, crops: int, seed: int) -> CropRates:
    """Read the same random crops from memory and from a store, turn by turn.

    Args:
        store: An open store.
        patch: Edges of a crop.
        crops: Crops a way.
        seed: Decides which.

    Raises:
        UsageError: If the patch does not suit the volumes.
    """
    from medssl.sampling import Body, Uniform, rng, volume_index

    copies = _in_memory(store, patch)
    names = list(copies)

    def draw(sampler: Body | Uniform, number: int) -> tuple[str, Place]:
        name = names[volume_index(seed, number, len(names))]
        return name, sampler.place(store.facts(name), patch, rng(seed, number))

    def from_store(sampler: Body | Uniform, number: int) -> None:
        name, place = draw(sampler, number)
        store.read(name, place.region.start, place.region.size)

    places = [draw(Uniform(), number) for number in range(crops)]
    ways: list[Callable[[int], object]] = [
        lambda number: _cut(copies[places[number][0]], places[number][1], patch),
        lambda number: from_store(Uniform(), number),
        lambda number: from_store(Body(), number),
    ]
    seconds = [0.0] * len(ways)
    for first in range(0, crops, TURN):
        for index, way in enumerate(ways):
            start = time.perf_counter()
            for number in range(first, min(first + TURN, crops)):
                way(number)
            seconds[index] += time.perf_counter() - start
    ram, uniform, body = (crops / spent for spent in seconds)
    return CropRates(ram=ram, store=uniform, body=body, volumes=len(names))


def _in_memory(store: Store, patch: tuple[int, ...]) -> dict[str, npt.NDArray[np.float32]]:
    """Return whole volumes by name, as many as fit; small ones are padded to the patch."""
    from medssl.io.geometry import pad_to

    copies: dict[str, npt.NDArray[np.float32]] = {}
    used = 0
    for name in store.ids:
        row = store.row(name)
        if len(row["shape"]) != len(patch):
            raise UsageError(
                f"--patch has {len(patch)} edges, but volume {name} has {len(row['shape'])} axes"
            )
        whole, _ = pad_to(
            store.read(name, (0,) * len(patch), row["shape"])[0], patch, row["minimum"]
        )
        used += whole.nbytes
        if copies and used > MOST_RAM_BYTES:
            break
        copies[name] = whole
    return copies


def _cut(
    volume: npt.NDArray[np.float32], place: Place, patch: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Copy a crop; where the store pads, the copy in memory is padded already."""
    starts = (max(start, 0) for start in place.region.start)
    box = tuple(slice(start, start + edge) for start, edge in zip(starts, patch, strict=True))
    return volume[box].copy()
