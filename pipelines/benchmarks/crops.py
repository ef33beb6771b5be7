"""Crops per second: the store against a copy of the same crops from memory, in one run.

    python pipelines/benchmarks/crops.py                       # synthetic volumes, about a minute
    python pipelines/benchmarks/crops.py --scans FOLDER…       # your own
    python pipelines/benchmarks/crops.py --store STORE         # a store that is there

Prints rates and, what counts, their ratios. Absolute rates depend on what else the machine does.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from medssl.cohort.scan import index_sources
from medssl.commands.benchmark import CropRates, measure_crops
from medssl.io.nifti import write_nifti
from medssl.phantom.subject import make_subject
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe
from medssl.store.store import Store

SYNTHETIC = {"ct": (256, 256, 128), "t1": (192, 192, 128)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", type=Path, help="a store that medssl prepare wrote")
    source.add_argument("--scans", type=Path, nargs="+", help="folders of images; sizes are kept")
    parser.add_argument("--patch", type=int, nargs="+", default=(96, 96, 96))
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long to measure")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(options.store) if options.store else build(options.scans, Path(folder))
        show(store, measure(store, tuple(options.patch), options.seconds, options.seed))


def build(scans: list[Path] | None, folder: Path) -> Store:
    """Index and prepare images, or synthetic ones, and say what that took."""
    if scans is None:
        scans = [folder / "scans"]
        scans[0].mkdir()
        for seed, (modality, size) in enumerate(SYNTHETIC.items()):
            subject = make_subject(seed, size=size, modality=modality)
            name = f"subject{seed}_{'ct' if modality == 'ct' else 'mr'}.nii.gz"
            write_nifti(scans[0] / name, np.rint(subject.image).astype(np.int16), subject.affine)
    (folder / "cohort").mkdir()
    cohort = index_sources(scans, folder / "cohort")
    start = time.perf_counter()
    store = prepare_cohort(cohort, folder / "store", Recipe())
    print(f"prepared {len(store)} volumes in {time.perf_counter() - start:.1f} s")
    return store


def measure(store: Store, patch: tuple[int, ...], seconds: float, seed: int) -> CropRates:
    """Measure for about the time that was asked for."""
    start = time.perf_counter()
    measure_crops(store, patch, crops=50, seed=seed + 1)
    each = (time.perf_counter() - start) / 50
    return measure_crops(store, patch, crops=max(50, round(seconds / each)), seed=seed)


def show(store: Store, rates: CropRates) -> None:
    voxels = sum(int(np.prod(shape)) for shape in store.table["shape"].to_pylist())
    stored = sum(store.table["stored_bytes"].to_pylist())
    print(f"copy in memory {rates.ram:8.0f} crops/s")
    print(f"store          {rates.store:8.0f} crops/s   ratio {rates.share_of_ram:.2f}")
    print(f"store, on body {rates.body:8.0f} crops/s   {rates.cost_of_body:+.1%} time")
    print(
        f"size           {stored / 1e6:8.1f} MB        ratio {stored / 4 / voxels:.2f} of float32"
    )


if __name__ == "__main__":
    main()
