"""Preparing against MONAI on the same files: voxels per second, peak memory, and the numbers.

    python pipelines/benchmarks/prepare.py                     # real CT and MR, enlarged
    python pipelines/benchmarks/prepare.py --scans FILE…       # your own
    python pipelines/benchmarks/prepare.py --spacing 1 1 1

Each side reads the same files in fresh processes, turn by turn. MONAI runs `LoadImaged`,
`Orientationd`, `Spacingd`, `ScaleIntensityRanged` and `CropForegroundd` and keeps nothing; medssl
also compresses, proves and writes its store. First both use one process, MONAI's with two
threads, then two processes of one. On a busy machine the processor time of one process is what
can be compared best.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data import MetaTensor

from medssl.cohort.scan import index_sources
from medssl.io.geometry import resample, resample_like, to_ras
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
from medssl.io.resample import kernel_at
from medssl.types import Volume

SHARED = Path(os.environ.get("MEDSSL_DATA", Path(__file__).parents[3] / "shared" / "data"))
MADE = {
    "body_ct": ("totalsegmentator/example_ct.nii.gz", (0.75, 0.75, 1.5), 12.0),
    "flair_mr": (
        "multiple_sclerosis/longitudinal/raw/patient01/study1_FLAIR.nii.gz", (0.6, 0.6, 1.0), 4.0,
    ),
    "brain_mr": (
        "multiple_sclerosis/longitudinal/raw/patient01/study1_T1W.nii.gz", (0.5, 0.5, 1.0), 4.0,
    ),
    "head_mr": ("weights/brainchop/public/t1_crop.nii.gz", None, 0.0),
}  # fmt: skip
"""Source, spacing that it is enlarged to, and the noise that enlarging takes away."""

MEDSSL = """
import sys, json, time
from pathlib import Path
from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import Crew, open_crew
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe
cohort, out, workers, spacing = json.loads(sys.argv[1])
if __name__ == "__main__":
    start, busy = time.perf_counter(), time.process_time()
    recipe = Recipe(spacing_mm=tuple(spacing))
    if workers == 1:
        prepare_cohort(Cohort.open(cohort), Path(out), recipe, workers=0)
    else:
        with open_crew(workers) as crew:
            prepare_cohort(Cohort.open(cohort), Path(out), recipe, crew=crew)
    print(time.perf_counter() - start, time.process_time() - busy)
"""

MONAI = """
import sys, json, time, warnings
warnings.filterwarnings("ignore")
from multiprocessing import Pool
import torch
from monai.transforms import (
    Compose, CropForegroundd, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd)
files, workers, spacing = json.loads(sys.argv[1])
torch.set_num_threads(2 if workers == 1 else 1)
def bright(image):
    return image > -0.9
chain = Compose([
    LoadImaged("image", ensure_channel_first=True),
    Orientationd("image", axcodes="RAS", labels=None),
    Spacingd("image", pixdim=spacing, mode="bilinear"),
    ScaleIntensityRanged("image", -1000, 1000, -1, 1, clip=True),
    CropForegroundd("image", "image", select_fn=bright, allow_smaller=True)])
def run(file):
    return tuple(chain({"image": file})["image"].shape)
if __name__ == "__main__":
    start, busy = time.perf_counter(), time.process_time()
    if workers == 1:
        list(map(run, files))
    else:
        with Pool(workers) as pool:
            pool.map(run, files, chunksize=1)
    print(time.perf_counter() - start, time.process_time() - busy)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scans", type=Path, nargs="+", help="NIfTI files, _ct or _mr in the name")
    parser.add_argument("--spacing", type=float, nargs=3, default=(1.5, 1.5, 1.5))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=2, help="how often each file is prepared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = enlarged(folder / "made") if options.scans is None else options.scans
        scans = copied(files, folder / "scans", options.copies)
        (folder / "cohort").mkdir()
        cohort = index_sources([folder / "scans"], folder / "cohort")
        voxels = sum(int(np.prod(shape)) for shape in cohort.table["shape"].to_pylist())
        print(f"{len(cohort)} files, {voxels / 1e6:.0f} million voxels, to {options.spacing} mm")
        agreement(files, tuple(options.spacing))
        found = [
            compare(folder, scans, voxels, list(options.spacing), workers, options.rounds)
            for workers in (1, 2)
        ]
        ours, theirs = (min(seconds[side] for seconds in found) for side in ("medssl", "MONAI"))
        print(f"best against best: {theirs / ours:.2f} times the voxels/s")


def enlarged(folder: Path) -> list[Path]:
    """Write real images, finer than they came, with the noise that finer voxels would have."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    for name, (source, spacing, noise) in MADE.items():
        volume = read_volume(SHARED / source)
        if spacing is not None:
            volume = resample(volume, spacing, order="cubic")
        data = volume.data + chance.normal(0, noise, volume.data.shape) if noise else volume.data
        write_nifti(folder / f"{name}.nii.gz", np.rint(data).astype(np.int16), volume.affine)
    return sorted(folder.iterdir())


def copied(files: list[Path], folder: Path, copies: int) -> list[Path]:
    """Write every file several times, each with another value in one voxel: no two are the same."""
    folder.mkdir()
    for file in files:
        volume = read_volume(file)
        for copy in range(copies):
            data = volume.data.copy()
            data[0, 0, 0] += copy
            stem, kind = file.name.removesuffix(".nii.gz").rsplit("_", 1)
            write_nifti(folder / f"{stem}{copy}_{kind}.nii.gz", data, volume.affine)
    return sorted(folder.iterdir())


def compare(
    folder: Path, scans: list[Path], voxels: int, spacing: list[float], workers: int, rounds: int
) -> dict[str, float]:
    """Run both sides turn by turn and print the best of each, and what they held.

    Returns:
        The seconds of each side.
    """
    best: dict[str, tuple[float, float, float]] = {}
    for number in range(rounds):
        store = str(folder / f"store{workers}-{number}")
        sides = {
            "medssl": (MEDSSL, [str(folder / "cohort"), store, workers, spacing]),
            "MONAI": (MONAI, [[str(scan) for scan in scans], workers, spacing]),
        }
        for side, (program, arguments) in sides.items():
            found = measured(folder, side, program, arguments, workers)
            best[side] = tuple(map(min, found, best.get(side, found)))
    for side, (seconds, busy, peak) in best.items():
        rate = voxels / seconds / 1e6
        spent = f"  {busy:6.1f} s of processor" if workers == 1 else ""
        print(
            f"{workers} process(es)  {side:7s} {rate:7.1f} million voxels/s  {peak:6.0f} MB{spent}"
        )
    quicker, less, smaller = (b / a for a, b in zip(best["medssl"], best["MONAI"], strict=True))
    spent = f", {less:.2f} for a second of processor" if workers == 1 else ""
    print(f"  ratio: {quicker:.2f} times the voxels/s{spent}, {1 / smaller:.2f} of memory")
    return {side: seconds for side, (seconds, _, _) in best.items()}


def measured(
    folder: Path, side: str, program: str, arguments: object, workers: int
) -> tuple[float, float, float]:
    """Return seconds, those of the processor, and peak memory in MB with all children.

    The time is that of the work, with the start of its processes, without the first imports.
    """
    path = folder / f"run_{side.lower()}.py"
    path.write_text(program)
    threads = "2" if workers == 1 and side == "MONAI" else "1"
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    with subprocess.Popen(
        [sys.executable, str(path), json.dumps(arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        peak = [0.0]
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        told, said = process.communicate()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{side} failed: {said.decode()[-2000:]}")
    seconds, busy = map(float, told.decode().split()[-2:])
    return seconds, busy, peak[0]


def watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Note the most memory that a process and its children hold together; shared pages once."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(held, family(process.pid))) / 1e6)
        time.sleep(0.02)


def family(number: int) -> list[int]:
    """Return a process and all that it started."""
    try:
        tasks = list(Path(f"/proc/{number}/task").iterdir())
        words = [word for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return [number]
    return [number, *(child for word in words for child in family(int(word)))]


def held(number: int) -> float:
    """Return the bytes of a process that are its own, and its share of what others have too."""
    try:
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def agreement(files: list[Path], spacing: tuple[float, ...]) -> None:
    """Print how far results are from double precision, and from MONAI's where it does the same.

    MONAI does not smooth before it coarsens, and another grid comes out; so it is asked for finer
    voxels, and ours are read where it put them.
    """
    from monai.transforms import Spacing

    for file in files:
        volume = to_ras(read_volume(file))
        middle = tuple(slice(count // 4, count // 4 + 80) for count in volume.data.shape)
        cut = replace(volume, data=np.ascontiguousarray(volume.data[middle], np.float32))
        scale = float(np.ptp(cut.data))
        fast = resample(cut, spacing, order="cubic").data
        exact = in_double_precision(cut, spacing, fast.shape)
        finer = Spacing(pixdim=[0.7 * edge for edge in cut.spacing_mm], mode="bilinear")
        theirs = finer(MetaTensor(cut.data[None], affine=cut.affine))
        shape, affine = theirs.shape[1:], theirs.affine.numpy()
        ours = resample_like(cut.data, cut.affine, shape, affine, order="linear")
        apart = np.abs(ours - theirs[0].numpy())[2:-2, 2:-2, 2:-2].max()
        print(
            f"{file.name}: {np.abs(fast - exact).max() / scale:.1e} of full scale from double "
            f"precision, {apart / scale:.1e} from MONAI"
        )


def in_double_precision(
    volume: Volume, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """Resample voxel by voxel along one axis after the other, with the same weights."""
    exact = volume.data.astype(np.float64)
    for axis, (now, wanted) in enumerate(zip(volume.spacing_mm, spacing, strict=True)):
        count, length = exact.shape[axis], shape[axis]
        places = (np.arange(length) - (length - 1) / 2) * (wanted / now) + (count - 1) / 2
        kernel = kernel_at(count, places, "cubic")
        moved = np.moveaxis(exact, axis, 0)
        rows = [
            sum(weight * moved[column] for weight, column in zip(weights, columns, strict=True))
            for weights, columns in zip(kernel.weights, kernel.columns, strict=True)
        ]
        exact = np.moveaxis(np.stack(rows), 0, axis)
    return exact


if __name__ == "__main__":
    main()
