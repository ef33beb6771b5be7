"""Is the lesson itself learned, on subjects that were never seen?

    python pipelines/benchmarks/lessons.py                     # some minutes each on two cores
    python pipelines/benchmarks/lessons.py --lessons rebuild --steps 2000

``position``: VoCo is pretrained on synthetic CT and asked of new subjects which base crop a random
crop overlaps most; beside it its own random weights and the share of guesses that are right.
``rebuild``: ``mae_cnn`` fills hidden cubes of new subjects; beside it interpolation of the same
holes, by the nearest visible voxel, linearly along the axes, and as the smoothest surface. Peak
signal-to-noise ratio over hidden voxels; its range is that of the crop. Intervals are 95 %
bootstrap intervals over subjects.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import medssl
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.phantoms import write_phantoms
from medssl.commands.pretrain import build_method
from medssl.evaluation.bootstrap import mean_interval, paired_difference
from medssl.evaluation.infilling import compare_with_infilling
from medssl.methods import MAECNN, VoCo
from medssl.methods.base import Method
from medssl.store.store import Store
from medssl.training.datamodules import CropDataset, collate
from medssl.training.module import batch_generator
from medssl.training.trainer import RunSettings, train
from medssl.types import Batch

SIZE = (96, 80, 104)
LEARNED, ASKED = 48, 16
PLACES = 6
"""How often each new subject is asked."""

CONFIGS = {
    "position": {
        "method": {"name": "voco", "grid": [3, 3, 3], "crops": 6, "width": 256},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": [24, 24, 24], "batch": 2, "workers": 0},
        "optim": {"lr": 1e-3, "warmup": 0.1},
    },
    "rebuild": {
        "method": {"name": "mae_cnn", "mask_ratio": 0.6, "mask_size": 8},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": [32, 32, 32], "batch": 8, "workers": 0},
        "optim": {"lr": 2e-3, "warmup": 0.05},
    },
}
STEPS = {"position": 400, "rebuild": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lessons", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--steps", type=int, help="optimiser steps, of each lesson its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learned", type=int, default=LEARNED, help="subjects to learn from")
    parser.add_argument("--asked", type=int, default=ASKED, help="subjects to be asked about")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        learned = subjects(work / "learned", options.learned, seed=0)
        asked = subjects(work / "asked", options.asked, seed=9000)
        for lesson in options.lessons:
            method, settings = built(lesson, options)
            before = ANSWERS[lesson](method, asked, settings)
            start = time.process_time()
            train(
                method,
                store=learned,
                volumes=learned.ids,
                places=method.places(),
                settings=settings,
                run=work / lesson,
            )
            minutes = (time.process_time() - start) / 60
            after = ANSWERS[lesson](method, asked, settings)
            print(f"{lesson}: {settings.trainer.steps} steps in {minutes:.1f} processor minutes")
            TOLD[lesson](before, after)


def subjects(folder: Path, count: int, *, seed: int) -> Store:
    """Prepare synthetic CT of some subjects."""
    write_phantoms(folder / "raw", count=count, size=SIZE, seed=seed)
    cohort = medssl.index([folder / "raw" / "imagesTr"], out=folder / "cohort", modality="ct")
    return medssl.prepare(cohort, out=folder / "store", spacing_mm="native")


def built(lesson: str, options: argparse.Namespace) -> tuple[Method, RunSettings]:
    steps = options.steps or STEPS[lesson]
    trainer = {"steps": steps, "seed": options.seed, "checkpoint_every": steps}
    configuration = load_configuration(
        {**CONFIGS[lesson], "trainer": trainer}, (), pretrain_sections()
    )
    settings = configuration.run_settings()
    return build_method(configuration, settings), settings


def batches(
    method: Method, store: Store, settings: RunSettings
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Yield one place of every subject at a time, the same ones for whoever asks."""
    samples = CropDataset(store, store.ids, method.places(), settings.data.patch, seed=77)
    for turn in range(PLACES):
        numbers = range(turn * len(store), (turn + 1) * len(store))
        for number in numbers:
            batch = collate([samples[number]])
            yield batch, batch_generator(77, number, torch.device("cpu"))


@torch.no_grad()
def positions(method: VoCo, store: Store, settings: RunSettings) -> dict:
    """Return which share of the crops of each place was put where it lies."""
    method.eval()
    right, patients = [], []
    for batch, generator in batches(method, store, settings):
        right.append(float(method.compute_losses(batch, generator)["position_accuracy"]))
        patients += batch.volumes
    method.train()
    return {"right": right, "patients": patients, "chance": 1 / np.prod(method.grid)}


@torch.no_grad()
def rebuilt(method: MAECNN, store: Store, settings: RunSettings) -> dict:
    """Return the ratios of the method and of interpolation, a number a crop."""
    method.eval()
    patients: list[str] = []
    rows = []
    for batch, generator in batches(method, store, settings):
        rows.append(compare_with_infilling(method, [batch.images[:, 0]], generator))
        patients += batch.volumes
    method.train()
    names = ("rebuilt", "nearest", "linear", "smooth", "gain")
    found = {name: np.concatenate([getattr(row, name) for row in rows]) for name in names}
    return {**found, "patients": patients}


def tell_positions(before: dict, after: dict) -> None:
    for name, found in (("random weights", before), ("pretrained", after)):
        held = mean_interval(found["right"], patients=found["patients"])
        print(f"  {name:16} {held.value:.3f} ({held.low:.3f} to {held.high:.3f})")
    print(f"  {'chance':16} {after['chance']:.3f}")
    gain = paired_difference(after["right"], before["right"], patients=after["patients"])
    print(f"  gain {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")


def tell_rebuilt(_: dict, after: dict) -> None:
    for name in ("nearest", "linear", "smooth", "rebuilt"):
        held = mean_interval(after[name], patients=after["patients"])
        print(f"  {name:10} {held.value:6.2f} dB ({held.low:.2f} to {held.high:.2f})")
    for name in ("linear", "smooth"):
        gain = paired_difference(after["rebuilt"], after[name], patients=after["patients"])
        print(f"  over {name:6} {gain.value:+.2f} dB ({gain.low:+.2f} to {gain.high:+.2f})")


ANSWERS = {"position": positions, "rebuild": rebuilt}
TOLD = {"position": tell_positions, "rebuild": tell_rebuilt}


if __name__ == "__main__":
    main()
