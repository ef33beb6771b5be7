"""``medssl benchmark``: how fast this machine loads crops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.progress import plain_console
from medssl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medssl.store.store import Store
    from medssl.types import Place, Shape

__all__ = ["CropRates", "crops", "measure_crops", "measure_workers", "take_turns"]

MOST_RAM_BYTES = 2 * 2**30
"""Volumes are compared with copies in memory as far as these fit here."""

TURN = 10
"""Crops that one way reads before it is another's turn: what slows the machine slows all alike."""

ROUNDS = 3
"""Every way reads the same crops this often, and the fastest time of each crop counts."""

WORKER_BATCH = 4
"""Crops in a batch that worker processes hand over."""


@dataclass(frozen=True)
class CropRates:
    """Crops per second of one process, by several ways in turn.

    Attributes:
        ram: Copied from float32 volumes in memory: the most one can hope for.
        store: Uniform crops from the store: proved, decompressed, normalised.
        integers: The same left as integers, to be normalised on the device.
        proof: Only proved: how often a second the bytes of a crop are compared with their sums.
        body: Body-aware crops from the store, with the search for a place that holds body.
        found: The same crops without the search. Body takes longer to decode than air does.
        volumes: How many volumes took part.
        workers: Crops per second of a loader with one and with two worker processes; none if that
            was not measured.
    """

    ram: float
    store: float
    integers: float
    proof: float
    body: float
    found: float
    volumes: int
    workers: tuple[float, float] | None = None

    @property
    def share_of_ram(self) -> float:
        """The store's rate as a share of that from memory."""
        return self.store / self.ram

    @property
    def share_of_proof(self) -> float:
        """The part of the time of a crop that its proof takes."""
        return self.store / self.proof

    @property
    def cost_of_search(self) -> float:
        """How much the search for a place that holds body adds to a uniform crop, as a share."""
        return self.store / self.body - self.store / self.found

    @property
    def cost_of_body(self) -> float:
        """How much longer a body-aware crop takes than a uniform one, as a share."""
        return self.store / self.body - 1


def crops(
    store: Path,
    *,
    patch: tuple[int, ...] = (96, 96, 96),
    crops: int = 200,
    workers: bool = True,
    seed: int = 0,
) -> CropRates:
    """Measure how many crops per second are loaded from a store on this machine.

    The same crops are copied from volumes in memory beside it, in the same run, because the ratio
    holds better than the rates. The page cache is warm: each volume is read once before.

    Args:
        store: Folder of the store.
        patch: Edges of a crop in voxels.
        crops: Crops a way.
        workers: Whether a loader with one and with two worker processes is measured too.
        seed: Decides which crops.

    Returns:
        Crops per second.

    Raises:
        StoreError: If the store is damaged.
        UsageError: If the patch has not as many edges as the volumes have axes.

    Example:
        medssl benchmark crops store --patch 96 96 96
    """
    from dataclasses import replace

    from medssl.store.store import Store

    if crops < 1:
        raise UsageError(f"--crops is {crops}; expected at least 1")
    opened = Store.open(Path(store))
    rates = measure_crops(opened, patch, crops=crops, seed=seed)
    if workers:
        rates = replace(rates, workers=measure_workers(opened, patch, crops=crops, seed=seed))
    console = plain_console()
    for line in describe(rates, patch):
        console.print(line)
    return rates


def describe(rates: CropRates, patch: Shape) -> list[str]:
    """Return lines that tell what was measured."""
    lines = [
        f"{rates.volumes} volumes, crops of {' x '.join(map(str, patch))}, one process",
        f"copy in memory    {rates.ram:8.0f} crops/s",
        f"store             {rates.store:8.0f} crops/s   {rates.share_of_ram:.2f} of it, "
        f"{rates.share_of_proof:.0%} of its time for checksums",
        f"store, integers   {rates.integers:8.0f} crops/s   {rates.integers / rates.ram:.2f} of it",
        f"store, on body    {rates.body:8.0f} crops/s   {rates.cost_of_body:+.0%} time, "
        f"{rates.cost_of_search:+.1%} for the search",
    ]
    if rates.workers is not None:
        one, two = rates.workers
        lines.append(f"loader, 1 worker  {one:8.0f} crops/s")
        lines.append(f"loader, 2 workers {two:8.0f} crops/s   {two / one:.2f} times one")
    return lines


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

    def box(sampler: Body | Uniform, number: int) -> tuple[str, Shape, Shape]:
        name, place = draw(sampler, number)
        return name, place.region.start, place.region.size

    places = [draw(Uniform(), number) for number in range(crops)]
    boxes = [(name, place.region.start, place.region.size) for name, place in places]
    found = [box(Body(), number) for number in range(crops)]
    ways: dict[str, Callable[[int], object]] = {
        "ram": lambda number: _cut(copies[places[number][0]], places[number][1], patch),
        "store": lambda number: store.read(*box(Uniform(), number)),
        "integers": lambda number: store.read_stored(*box(Uniform(), number)),
        "proof": lambda number: store.prove(*boxes[number]),
        "body": lambda number: store.read(*box(Body(), number)),
        "found": lambda number: store.read(*found[number]),
    }
    rate = take_turns(ways, crops)
    return CropRates(
        ram=rate["ram"],
        store=rate["store"],
        integers=rate["integers"],
        proof=rate["proof"],
        body=rate["body"],
        found=rate["found"],
        volumes=len(names),
    )


def take_turns(
    ways: Mapping[str, Callable[[int], object]], count: int, *, rounds: int = ROUNDS
) -> dict[str, float]:
    """Return how often a second each way does its work.

    Seconds are those of the processor, and of every piece of work the fastest of several rounds
    counts: with all files in memory that is what it takes, whatever else the machine does.

    Args:
        ways: What to call with the numbers from 0 to before ``count``, by name.
        count: Calls of each way in a round.
        rounds: How often all of it is done.
    """
    best = {name: [float("inf")] * count for name in ways}
    for _ in range(rounds):
        for first in range(0, count, TURN):
            for name, way in ways.items():
                fastest = best[name]
                for number in range(first, min(first + TURN, count)):
                    start = time.process_time()
                    way(number)
                    fastest[number] = min(fastest[number], time.process_time() - start)
    return {name: count / sum(fastest) for name, fastest in best.items()}


def measure_workers(
    store: Store, patch: tuple[int, ...], *, crops: int, seed: int
) -> tuple[float, float]:
    """Return crops per second of the loader of training with one and with two worker processes.

    Batches are integers, as in training: the device makes intensities of them.

    Each loader first goes through all crops once, which starts its workers and opens the files.

    Args:
        store: An open store.
        patch: Edges of a crop.
        crops: About how many crops, at least a hundred batches.
        seed: Decides which.
    """
    from medssl.sampling import Uniform
    from medssl.training.datamodules import CropDataset, GlobalBatches, crop_loader

    dataset = CropDataset(store, store.ids, Uniform(), patch, seed=seed, integers=True)
    # A few batches would tell how workers start and stop, not how fast they are.
    batches = GlobalBatches(max(100, crops // WORKER_BATCH), WORKER_BATCH)
    loaders = [crop_loader(dataset, batches, workers=workers) for workers in (1, 2)]
    best = [float("inf")] * len(loaders)
    for turn in range(1 + ROUNDS):
        for index, loader in enumerate(loaders):
            start = time.perf_counter()
            for _ in loader:
                pass
            if turn:
                best[index] = min(best[index], time.perf_counter() - start)
    one, two = (len(batches) * WORKER_BATCH / seconds for seconds in best)
    return one, two


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
