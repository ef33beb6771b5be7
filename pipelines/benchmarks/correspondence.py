"""Do crops of two patients that are said to correspond show the same organ?

    python pipelines/benchmarks/correspondence.py                              # phantoms
    python pipelines/benchmarks/correspondence.py --hippocampus TASK04_FOLDER  # brain MR as well

Encoders are pretrained for a few minutes on volumes without their labels, and write descriptors
beside the store. Then voxels of labelled organs are drawn in one patient, every label as often as
another, and looked up in other patients: at random on the body, by body coordinates, and by learned
features near these. Printed is the share of pairs with the same label at the voxel, with a 95 %
bootstrap interval over patients, and the paired differences.

Hippocampus: Medical Segmentation Decathlon, Task04 (CC BY-SA 4.0), Antonelli et al. 2022.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from medssl.cohort.cases import Case, LabelledDataset
from medssl.commands.phantoms import write_phantoms
from medssl.commands.pretrain import pretrain
from medssl.evaluation.bootstrap import mean_interval, paired_difference
from medssl.evaluation.descriptors import write_descriptors
from medssl.phantom import ORGANS
from medssl.sampling import rng
from medssl.sampling.correspondence import Descriptors, best_match
from medssl.sampling.position import body_coordinates, voxel_at
from medssl.sampling.share import random_body_voxel
from medssl.store.prepare import prepare_dataset
from medssl.store.recipe import Recipe
from medssl.store.store import Store
from medssl.types import Box

REACH = 0.2
"""How far from the body coordinates a match may lie, as a share of the body's box."""

PAIRS_A_PATIENT = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--hippocampus", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--methods", nargs="+", default=["voco"], choices=["voco", "mae_cnn"])
    parser.add_argument("--seed", type=int, default=0, help="which patients, which pairs")
    parser.add_argument("--work", type=Path, help="folder to keep stores and runs in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        compare("phantom CT", phantoms(work, options), (32, 32, 32), work, options)
        if options.hippocampus:
            store = hippocampus(work, options)
            compare("hippocampus MR", store, (24, 24, 24), work, options)


def phantoms(work: Path, options: argparse.Namespace) -> Store:
    """Prepare synthetic trunks, without lesions, which lie elsewhere in every patient."""
    raw = work / "phantoms"
    organs = [name for name in ORGANS if name != "lesion"]
    if not raw.exists():
        seed = options.seed * options.patients
        write_phantoms(
            raw, count=options.patients, size=(96, 96, 112), seed=seed, labels=True, organs=organs
        )
    names = sorted(path.name for path in (raw / "imagesTr").glob("*.nii.gz"))
    return prepared(raw, names, dict.fromkeys(organs, 0), work / "phantom_store", "ct")


def hippocampus(work: Path, options: argparse.Namespace) -> Store:
    """Prepare brain crops that have both an image and a label."""
    source = options.hippocampus
    both = [{path.name for path in (source / folder).glob("hippocampus_*.nii.gz")}
            for folder in ("imagesTr", "labelsTr")]  # fmt: skip
    names = sorted(both[0] & both[1])
    chosen = sorted(rng(options.seed).choice(names, options.patients, replace=False).tolist())
    return prepared(source, chosen, {"anterior": 1, "posterior": 2}, work / "brain_store", "mr")


def prepared(folder: Path, names: list[str], labels: dict, out: Path, modality: str) -> Store:
    if (out / "volumes.parquet").exists():
        return Store.open(out)
    cases = []
    for name in names:
        stem = name.removesuffix(".nii.gz")
        image, label = (folder / kind / name for kind in ("imagesTr", "labelsTr"))
        cases.append(Case(stem, image, label, None, patient=stem))
    values = {name: value for value, name in enumerate(labels, start=1)}
    dataset = LabelledDataset(cases=cases, labels=values, task="segmentation")
    return prepare_dataset(dataset, out, Recipe(), modality=modality, workers=1)


def compare(
    title: str, store: Store, patch: tuple, work: Path, options: argparse.Namespace
) -> None:
    """Train, describe, look up and print."""
    found = {}
    for method in options.methods:
        start = time.perf_counter()
        run = work / f"{store.path.name}_{method}"
        if not (run / "export").exists():
            pretrain(config=configuration(method, patch, options.steps), data=store.path, out=run)
        trained = time.perf_counter()
        found[f"learned ({method})"] = write_descriptors(store, run, name=method)
        print(
            f"{title}, {method}: {options.steps} steps in {trained - start:.0f} s, descriptors of "
            f"{len(store)} volumes in {time.perf_counter() - trained:.1f} s"
        )
    hits = look_up(store, found, options.seed)
    patients = hits.pop("patient")
    print(f"{title}: {len(patients)} voxels of {len(set(patients))} patients, same label")
    for way, same in hits.items():
        held = mean_interval(same, patients=patients)
        print(f"  {way:22} {held.value:.3f} ({held.low:.3f} to {held.high:.3f})")
    for way in [*found, "body coordinates"]:
        for other in ("random", "body coordinates"):
            if way != other:
                gain = paired_difference(hits[way], hits[other], patients=patients)
                print(f"  {way} - {other}: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")


def configuration(method: str, patch: tuple, steps: int) -> dict:
    options = {"voco": {"grid": [3, 3, 2], "crops": 4, "width": 256}, "mae_cnn": {}}[method]
    batch = 1 if method == "voco" else 4
    return {
        "method": {"name": method, **options},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": list(patch), "batch": batch, "workers": 0},
        "optim": {"lr": 1.0e-3, "warmup": 0.1},
        "trainer": {"steps": steps, "threads": 1, "monitor_every": 0, "checkpoint_every": steps},
    }


def look_up(store: Store, folders: dict[str, Path], seed: int) -> dict:
    """Return for each way whether the voxel that was found has the label of the one asked for."""
    masks = {
        name: store.read_label(name, (0, 0, 0), store.row(name)["shape"]) for name in store.ids
    }
    described = {
        way: {name: Descriptors.read(folder, name) for name in store.ids}
        for way, folder in folders.items()
    }
    hits: dict = {way: [] for way in ("patient", "random", "body coordinates", *folders)}
    for number, name in enumerate(store.ids):
        one = store.facts(name)
        for pair in range(PAIRS_A_PATIENT):
            draw = rng(seed, number, pair)
            labels = sorted(one.label_voxels)
            label = labels[int(draw.integers(len(labels)))]
            voxel = tuple(draw.choice(one.label_voxels[label]).tolist())
            others = [other for other in store.ids if other != name]
            other = others[int(draw.integers(len(others)))]
            if label not in store.facts(other).label_voxels:
                continue
            two = store.facts(other)
            at = voxel_at(two, body_coordinates(one, Box(voxel, (1, 1, 1))))
            ways = {"random": random_body_voxel(two, draw), "body coordinates": at}
            reach = tuple(round(REACH * edge) for edge in two.body.size)
            for way, of in described.items():
                ways[way] = best_match(of[name], voxel, of[other], at, reach).voxel
            for way, place in ways.items():
                inside = np.minimum(place, np.array(two.shape) - 1)
                hits[way].append(float(masks[other][tuple(inside)] == label))
            hits["patient"].append(name)
    return hits


if __name__ == "__main__":
    main()
