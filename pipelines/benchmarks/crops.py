"""Crops per second and bytes on disk: the store, other stores and plain memory, in one run.

    python pipelines/benchmarks/crops.py                       # synthetic volumes, some minutes
    python pipelines/benchmarks/crops.py --data ../shared/data # real CT and MR, enlarged if small
    python pipelines/benchmarks/crops.py --scans FOLDER…       # your own
    python pipelines/benchmarks/crops.py --store STORE         # a store that is there

Prints rates and, what counts, their ratios. Absolute rates depend on what else the machine does.
Beside the store run: a copy of the crop from float32 volumes in memory; nnssl's store, by its
parameters; MONAI's CacheDataset and TorchIO's UniformSampler with volumes in memory.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import blosc2
import numpy as np

from medssl.cohort.scan import index_sources
from medssl.commands.benchmark import MOST_RAM_BYTES, measure_crops, measure_workers, take_turns
from medssl.io.geometry import resample
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
from medssl.phantom.subject import make_subject
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe
from medssl.store.store import Store
from medssl.types import Volume

SYNTHETIC = {"ct": (256, 256, 128), "t1": (192, 192, 128)}
VISITS = "multiple_sclerosis/longitudinal/raw/patient01"
REAL = {
    # Below the folder of public data: what it is, and the edges of the voxels it is resampled to.
    "ct_gantry_tilt/In/GE": ("ct", (0.5, 0.5, 1.3)),
    "totalsegmentator/example_ct.nii.gz": ("ct", (0.75, 0.75, 2.5)),
    f"{VISITS}/study1_T2W.nii.gz": ("mr", (0.5133, 0.5133, 1.0)),
    f"{VISITS}/study2_T1W.nii.gz": ("mr", (0.5, 0.5, 1.0)),
}
NNSSL_PATCH, NNSSL_BLOCK_BYTES, NNSSL_CHUNK_BYTES = 160, 0.8 * 32768, 0.8 * 1441792
"""What nnssl lays files out for: its patch, and eight tenths of a core's first and last cache."""

NNSSL = "nnssl's store"

Read = Callable[[str, tuple[int, ...]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", type=Path, help="a store that medssl prepare wrote")
    source.add_argument("--scans", type=Path, nargs="+", help="folders of images; sizes are kept")
    source.add_argument("--data", type=Path, help="the folder of public data, see the README")
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96))
    parser.add_argument("--crops", type=int, default=200, help="crops a way and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    patch = tuple(options.patch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store.open(options.store) if options.store else build(options, folder)
        compare(store, folder, patch, options)
        slices(store, patch, options)
        rates = measure_crops(store, patch, crops=options.crops, seed=options.seed)
        print(f"checksums      {rates.share_of_proof:8.1%} of the time of a crop")
        print(
            f"crops on body  {rates.cost_of_body:+8.1%} time, "
            f"{rates.cost_of_search:+.1%} for the search, the rest for denser voxels"
        )
        one, two = measure_workers(store, patch, crops=options.crops, seed=options.seed)
        print(f"two workers    {two:8.0f} crops/s   {two / one:.2f} times one")


def build(options: argparse.Namespace, folder: Path) -> Store:
    """Index and prepare images, and say what that took."""
    scans = options.scans or [folder / "scans"]
    if options.scans is None:
        scans[0].mkdir()
        for name, volume in (real(options.data) if options.data else synthetic()).items():
            data = np.clip(np.rint(volume.data), -32768, 32767).astype(np.int16)
            write_nifti(scans[0] / f"{name}.nii.gz", data, volume.affine)
    (folder / "cohort").mkdir()
    cohort = index_sources(scans, folder / "cohort")
    start = time.perf_counter()
    store = prepare_cohort(cohort, folder / "store", Recipe(), workers=1)
    print(f"prepared {len(store)} volumes in {time.perf_counter() - start:.1f} s")
    return store


def synthetic() -> dict[str, Volume]:
    """Return phantoms by name."""
    volumes = {}
    for seed, (modality, size) in enumerate(SYNTHETIC.items()):
        subject = make_subject(seed, size=size, modality=modality)
        kind = "ct" if modality == "ct" else "mr"
        volumes[f"subject{seed}_{kind}"] = Volume(subject.image, subject.affine)
    return volumes


def real(data: Path) -> dict[str, Volume]:
    """Return real scans by name, those of few voxels resampled to many."""
    volumes = {}
    for number, (place, (kind, spacing_mm)) in enumerate(REAL.items()):
        volume = read_volume(data / place)
        if spacing_mm is not None:
            volume = resample(volume, spacing_mm, order="cubic")
        volumes[f"subject{number}_{kind}"] = volume
    return volumes


def compare(
    store: Store, folder: Path, patch: tuple[int, ...], options: argparse.Namespace
) -> None:
    """Read the same crops from everything that holds crops."""
    volumes = in_memory(store, patch)
    peer, peer_bytes = nnssl_store(volumes, folder / "nnssl")
    ways: dict[str, Read] = {
        "copy in memory": lambda name, start: volumes[name][cut(start, patch)].copy(),
        "store": lambda name, start: store.read(name, start, patch),
        "store, integers": lambda name, start: store.read_stored(name, start, patch),
        NNSSL: lambda name, start: open_peer(peer[name])[(slice(0, 1), *cut(start, patch))],
        "MONAI in memory": monai_cache(volumes, patch),
    }
    torchio = torchio_sampler(volumes, patch)
    if torchio is not None:
        ways["TorchIO in memory"] = torchio
    chance = np.random.default_rng(options.seed)
    names = list(volumes)
    crops = []
    for number in range(options.crops):
        name = names[number % len(names)]
        spare = [n - edge + 1 for n, edge in zip(volumes[name].shape, patch, strict=True)]
        crops.append((name, tuple(int(chance.integers(each)) for each in spare)))
    rates = take_turns(
        {title: (lambda number, read=read: read(*crops[number])) for title, read in ways.items()},
        len(crops),
        rounds=options.rounds,
    )
    print(f"{len(volumes)} volumes, crops of {' x '.join(map(str, patch))}, one process")
    for title, rate in rates.items():
        print(
            f"{title:18} {rate:6.0f} crops/s   {rate / rates['copy in memory']:.2f} of a copy, "
            f"{rate / rates[NNSSL]:.1f} times nnssl"
        )
    voxels = sum(volume.size for volume in volumes.values())
    stored = sum(store.row(name)["stored_bytes"] for name in volumes)
    print(
        f"size {stored / 1e6:.1f} MB, {stored / 4 / voxels:.2f} of float32, "
        f"{stored / peer_bytes:.2f} of nnssl's {peer_bytes / 1e6:.1f} MB"
    )


def in_memory(store: Store, patch: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the volumes that hold a crop, as they are read, while they fit."""
    found, used = {}, 0
    for name in store.ids:
        shape = store.row(name)["shape"]
        if len(shape) == len(patch) and all(n >= e for n, e in zip(shape, patch, strict=True)):
            found[name] = store.read(name, (0,) * len(shape), shape)[0]
            used += found[name].nbytes
        if used > MOST_RAM_BYTES:
            break
    if not found:
        raise SystemExit(f"no volume of the store holds a crop of {patch}; give a smaller --patch")
    return found


def cut(start: tuple[int, ...], patch: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + edge) for a, edge in zip(start, patch, strict=True))


def open_peer(path: Path) -> blosc2.NDArray:
    """Open a file as nnssl does for every crop, which is a hundredth of what a crop takes."""
    return blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})


def nnssl_store(volumes: dict[str, np.ndarray], folder: Path) -> tuple[dict[str, Path], int]:
    """Write files with the parameters of nnssl's.

    Float32 of mean 0 and deviation 1 over the volume, Zstandard at level 8.
    """
    folder.mkdir()
    paths, size = {}, 0
    for number, (name, volume) in enumerate(volumes.items()):
        blocks, chunks = nnssl_layout((1, *volume.shape))
        path = folder / f"{number}.b2nd"
        blosc2.asarray(
            ((volume - volume.mean()) / volume.std())[None].astype(np.float32),
            chunks=chunks,
            blocks=blocks,
            urlpath=str(path),
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 8, "nthreads": 1},
        )
        paths[name] = path
        size += path.stat().st_size
    return paths, size


def nnssl_layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return edges of blocks and of chunks of a ``(C, X, Y, Z)`` array by nnssl's rule.

    Blocks begin with half a patch, as powers of two, and are halved along their longest axis until
    one fits into the first cache. Chunks begin with a block and grow along the axis of the fewest
    blocks until one fills the last cache.
    """
    block = [2 ** math.floor(math.log2(NNSSL_PATCH / 2))] * 3
    while shape[0] * math.prod(block) * 4 > NNSSL_BLOCK_BYTES:
        free = [axis for axis in range(3) if block[axis] not in (1, shape[axis + 1])]
        # Of a volume of 64 cubed nothing is left to choose from, and nnssl stops with an error.
        axis = max(free or range(3), key=lambda axis: (block[axis], axis))
        block[axis] = min(block[axis] // 2, shape[axis + 1])
    chunk = list(block)
    while shape[0] * math.prod(chunk) * 4 < NNSSL_CHUNK_BYTES and chunk != list(shape[1:]):
        free = [axis for axis in range(3) if chunk[axis] < shape[axis + 1]]
        axis = min(free, key=lambda axis: chunk[axis] / block[axis])
        chunk[axis] = min(chunk[axis] + block[axis], shape[axis + 1])
    return (shape[0], *block), (shape[0], *chunk)


def monai_cache(volumes: dict[str, np.ndarray], patch: tuple[int, ...]) -> Read:
    """Return MONAI's way: cached tensors, cropped at random, copied because a crop is a view."""
    import torch
    from monai.data import CacheDataset
    from monai.transforms import RandSpatialCropd

    items = [{"image": torch.from_numpy(volume)[None]} for volume in volumes.values()]
    crop = RandSpatialCropd(keys="image", roi_size=patch, random_size=False)
    dataset = CacheDataset(items, crop, progress=False, copy_cache=False, num_workers=None)
    numbers = {name: number for number, name in enumerate(volumes)}
    return lambda name, _: dataset[numbers[name]]["image"].clone()


def torchio_sampler(volumes: dict[str, np.ndarray], patch: tuple[int, ...]) -> Read | None:
    """Return TorchIO's way, if it is here."""
    try:
        import torchio
    except ImportError as error:
        print(f"TorchIO is left out: {error}")
        return None
    import torch

    sampler = torchio.UniformSampler(patch)
    subjects = {
        name: torchio.Subject(image=torchio.ScalarImage(tensor=torch.from_numpy(volume)[None]))
        for name, volume in volumes.items()
    }
    return lambda name, _: next(iter(sampler(subjects[name], num_patches=1)))["image"].data.clone()


def slices(store: Store, patch: tuple[int, ...], options: argparse.Namespace) -> None:
    """Read whole slices and slabs, and say how they compare with a crop, voxel by voxel."""
    names = [name for name in store.ids if len(store.row(name)["shape"]) == 3]
    shapes = {name: store.row(name)["shape"] for name in names}
    chance = np.random.default_rng(options.seed)
    kinds = {"crop": None, "sagittal": (0, 1), "coronal": (1, 1), "axial": (2, 1)}
    kinds |= {"axial slab of 16": (2, 16), "axial slab of 32": (2, 32)}
    voxels = dict.fromkeys(kinds, 0)
    boxes: dict[str, list[tuple[str, tuple[int, ...], tuple[int, ...]]]] = {}
    for kind, cutting in kinds.items():
        boxes[kind] = []
        for number in range(20):
            name = names[number % len(names)]
            size = list(patch) if cutting is None else list(shapes[name])
            if cutting is not None:
                size[cutting[0]] = cutting[1]
            spare = [max(n - e, 0) + 1 for n, e in zip(shapes[name], size, strict=True)]
            start = tuple(int(chance.integers(each)) for each in spare)
            boxes[kind].append((name, start, tuple(size)))
            voxels[kind] += math.prod(size)
    rates = take_turns(
        {kind: (lambda number, kind=kind: store.read(*boxes[kind][number])) for kind in kinds},
        20,
        rounds=options.rounds,
    )
    for kind, rate in rates.items():
        dear = rates["crop"] / rate
        a_voxel = dear * voxels["crop"] / voxels[kind]
        print(f"{kind:18} {1000 / rate:6.2f} ms   {dear:.2f} crops, {a_voxel:.1f} times a voxel")


if __name__ == "__main__":
    main()
