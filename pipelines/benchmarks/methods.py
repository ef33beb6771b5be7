"""Does each method learn? Frozen features after minutes of pretraining against random weights.

    python pipelines/benchmarks/methods.py --hippocampus TASK04_FOLDER --work grid
    python pipelines/benchmarks/methods.py --work grid --table     # what is there so far

Every method pretrains the same small encoder for the same processor time on unlabelled synthetic
CT and hippocampus MR, with the options of its laptop recipe. Then linear probes and nearest
neighbours on the frozen features of subjects that were never seen tell in which organ or region the
middle of a crop lies, and the class of a synthetic subject. Beside it stand the random weights that
the run began with. What was run is not run again, so that the grid can be stopped; ``--part 0/2``
and ``--part 1/2`` share it between two processes.

Hippocampus: Medical Segmentation Decathlon, Task04 (CC BY-SA 4.0), Antonelli et al. 2022.
"""

import argparse
import json
import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import medssl
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.made_up import MadeUpStore
from medssl.commands.phantoms import write_phantoms
from medssl.encoders import Encoder, build_encoder
from medssl.errors import ConfigError
from medssl.evaluation.bootstrap import paired_difference
from medssl.io.read import read_volume
from medssl.methods import METHODS
from medssl.methods.base import Method
from medssl.phantom import ORGANS, make_subject
from medssl.sampling import rng
from medssl.store.recipe import Recipe
from medssl.store.store import Store
from medssl.training.datamodules import CropDataset, collate
from medssl.training.trainer import RunSettings, train
from medssl.types import Volume

RECIPES = Path(__file__).resolve().parents[1] / "pretrain"
PATCH = (24, 24, 24)
SIZE = (72, 56, 80)
"""Voxels of a synthetic trunk: 5.6 x 7.1 x 6 mm each."""

UNLABELLED, ASKED = 60, 45
"""Synthetic and as many real subjects to learn from, and others to be asked about."""

LABELLED_FOLDS = 5
"""Probes see the labels of one of so many parts of the subjects, and are asked about the rest."""

ENCODERS = {
    "resenc_s": {"features": (8, 16, 32, 64), "blocks": (1, 1, 1, 1)},
    "vit_tiny": {"token": 6, "width": 96, "depth": 6, "heads": 3},
}
MASK = {"resenc_s": 8, "vit_tiny": 6}
"""Edge of a hidden cube that tiles a crop."""

MOST_PLACES, VIEWS = 8, 48
"""A step has at most so many places, and about so many views of them where a place has many."""

CHANGES: dict[str, dict[str, Any]] = {
    "voco": {"grid": [3, 3, 2], "crops": 4, "width": 128},
}
"""Options of a method that differ from its recipe, because crops are small here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="keeps data and results")
    parser.add_argument("--hippocampus", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of a run")
    parser.add_argument("--part", default="0/1", help="which share of the runs, such as 0/2")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.table:
        torch.set_num_threads(1)
        store = unlabelled(options)
        asked = questions(options)
        part, parts = map(int, options.part.split("/"))
        runs = [(seed, name) for seed in options.seeds for name in options.methods]
        for seed, name in runs[part::parts]:
            run(name, seed, store, asked, options)
    print(table(options))


def unlabelled(options: argparse.Namespace) -> Path:
    """Return a store of synthetic CT and, where the folder is given, hippocampus MR."""
    store = options.work / "store"
    if not (store / "volumes.parquet").exists():
        raw = options.work / "raw"
        shutil.rmtree(raw, ignore_errors=True)
        write_phantoms(raw / "ct", count=UNLABELLED, size=SIZE)
        sources = [raw / "ct" / "imagesTr"]
        if options.hippocampus:
            (raw / "mr").mkdir()
            for number, name in enumerate(hippocampus(options)[:UNLABELLED]):
                image = options.hippocampus / "imagesTr" / name
                shutil.copy(image, raw / "mr" / f"brain{number}_mr.nii.gz")
            sources.append(raw / "mr")
        for number, path in enumerate(sorted(sources[0].glob("*.nii.gz"))):
            path.rename(path.with_name(f"trunk{number}_ct.nii.gz"))
        cohort = medssl.index(sources, out=options.work / "cohort", overwrite=True)
        medssl.prepare(cohort, out=store, spacing_mm="native", overwrite=True)
    return store


def hippocampus(options: argparse.Namespace) -> list[str]:
    """Return the names of labelled cases in an order of chance."""
    both = [{path.name for path in (options.hippocampus / folder).glob("hippocampus_*.nii.gz")}
            for folder in ("imagesTr", "labelsTr")]  # fmt: skip
    return rng(7).permutation(sorted(both[0] & both[1])).tolist()


PROBES = ("linear", "knn")

Question = tuple[np.ndarray, list[str], list[str]]
"""Crops or whole volumes ``(n, 1, X, Y, Z)``, the answer to each, and its subject."""


def questions(options: argparse.Namespace) -> dict[str, Question]:
    """Return what is asked, cut once and kept."""
    path = options.work / "questions.npz"
    if not path.exists():
        asked = {"organ in CT": trunks(), "class of subject": classes()}
        if options.hippocampus:
            asked["region in MR"] = brains(options)
        parts = {
            f"{name}|{number}": np.array(part)
            for name, question in asked.items()
            for number, part in enumerate(question)
        }
        np.savez(path, **parts)
    with np.load(path) as known:
        names = sorted({key.split("|")[0] for key in known})
        return {
            name: (known[f"{name}|0"], known[f"{name}|1"].tolist(), known[f"{name}|2"].tolist())
            for name in names
        }


def trunks() -> Question:
    """Return crops around random voxels of organs of subjects whom no run has seen."""
    crops, answers, subjects = [], [], []
    for seed in range(5000, 5000 + ASKED):
        made = make_subject(seed, size=SIZE)
        image = normalised(made.volume, "ct")
        for organ in ORGANS:
            voxels = np.argwhere(made.labels == ORGANS[organ])
            if len(voxels):
                crops.append(around(image, voxels[int(rng(seed).integers(len(voxels)))]))
                answers.append(organ)
                subjects.append(str(seed))
    return np.stack(crops), answers, subjects


def brains(options: argparse.Namespace) -> Question:
    """Return crops around voxels of both parts of the hippocampus and outside, of new patients."""
    crops, answers, subjects = [], [], []
    for name in hippocampus(options)[UNLABELLED : UNLABELLED + ASKED]:
        volume = read_volume(options.hippocampus / "imagesTr" / name)
        label = Recipe().apply_label(read_volume(options.hippocampus / "labelsTr" / name))
        image = normalised(volume, "mr")
        for value, region in enumerate(("outside", "anterior", "posterior")):
            voxels = np.argwhere(label == value)
            for voxel in rng(0, value).permutation(len(voxels))[:3]:
                crops.append(around(image, voxels[int(voxel)]))
                answers.append(region)
                subjects.append(name)
    return np.stack(crops), answers, subjects


def classes() -> Question:
    """Return whole synthetic subjects and their classes."""
    made = [make_subject(seed, size=SIZE) for seed in range(7000, 7000 + 2 * ASKED)]
    images = [normalised(one.volume, "ct")[None] for one in made]
    return np.stack(images), [str(one.subject_class) for one in made], [str(s.seed) for s in made]


def normalised(volume: Volume, modality: str) -> np.ndarray:
    """Return intensities as a store gives them."""
    prepared = Recipe().apply(volume, modality=modality)
    return prepared.coding.decode(prepared.data)


def around(image: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the crop with a voxel in its middle; outside lies the lowest value."""
    half = np.array(PATCH) // 2
    padded = np.pad(image, [(h, h) for h in half], constant_values=image.min())
    return padded[tuple(slice(m, m + n) for m, n in zip(middle, PATCH, strict=True))][None]


def run(
    name: str, seed: int, store: Path, asked: dict[str, Question], options: argparse.Namespace
) -> None:
    """Pretrain once, ask, and keep what was answered."""
    out = options.work / "results" / f"{name}_{seed}.json"
    if out.exists():
        return
    method, settings, encoder_name = built(name, seed)
    before = at_random(method.encoder, f"{encoder_name}_{seed}", asked, options)
    with tempfile.TemporaryDirectory() as folder:
        step_seconds = timed(method, settings, store, Path(folder) / "warm-up") / 6
        steps = max(20, math.floor(options.seconds / step_seconds))
        method, settings, _ = built(name, seed, steps)
        seconds = timed(method, settings, store, Path(folder) / "run")
    after = answered(method.exported_encoder(), asked)
    out.parent.mkdir(exist_ok=True)
    result = {
        "method": name, "seed": seed, "encoder": encoder_name, "steps": steps,
        "seconds": round(seconds, 1), "before": before, "after": after,
    }  # fmt: skip
    out.write_text(json.dumps(result))
    told = ", ".join(
        f"{question} {np.mean(after[question]['linear']):.3f} from "
        f"{np.mean(before[question]['linear']):.3f}"
        for question in after
    )
    print(f"{name} seed {seed}: {steps} steps in {seconds:.0f} s: {told}", flush=True)


def at_random(
    encoder: Encoder, name: str, asked: dict[str, Question], options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Return the answers of the weights that every run of a seed begins with."""
    path = options.work / "random" / f"{name}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(answered(encoder, asked)))
    found: dict[str, dict[str, list[float]]] = json.loads(path.read_text())
    return found


def built(name: str, seed: int, steps: int = 6) -> tuple[Method, RunSettings, str]:
    """Return a method with its small encoder: a CNN, or a transformer where it needs tokens."""
    given = yaml.safe_load((RECIPES / f"{name}_ct_cpu.yaml").read_text())
    patch = PATCH[: len(given["data"]["patch"])]
    for encoder, fixed in ENCODERS.items():
        changed = {**given["method"], **CHANGES.get(name, {})}
        if "mask_size" in changed:
            changed["mask_size"] = MASK[encoder]
        sections = {
            "method": changed,
            "encoder": {"name": encoder},
            "data": {"patch": list(patch), "batch": 1, "workers": 0},
            "optim": given["optim"],
            "trainer": {"steps": steps, "seed": seed, "threads": 1, "checkpoint_every": steps,
                        "accelerator": "cpu"},
        }  # fmt: skip
        configuration = load_configuration(sections, (), pretrain_sections())
        options = configuration.chosen("method").options
        torch.manual_seed(seed)
        network = build_encoder(encoder, spatial_dims=len(patch), patch=patch, **fixed)
        try:
            method = METHODS[name](encoder=network, patch=patch, **options)
        except ConfigError as error:
            reason = error
            continue
        settings = configuration.run_settings()
        batch = min(MOST_PLACES, max(2, VIEWS // views_a_place(method, settings)))
        settings = replace(settings, data=replace(settings.data, batch=batch))
        return method, settings, f"{encoder} 2D" if len(patch) == 2 else encoder
    raise reason


def views_a_place(method: Method, settings: RunSettings) -> int:
    """Return how many crops a method sees of each place."""
    store = MadeUpStore(settings.data.patch, count=3)
    samples = CropDataset(store, store.ids, method.places(), settings.data.patch, seed=0)
    views = method.make_views(collate([samples[0], samples[1]]), torch.Generator())
    return sum(len(view) for view in views) // 2


def timed(method: Method, settings: RunSettings, store: Path, run: Path) -> float:
    """Train and return the processor time of it."""
    opened = Store.open(store)
    start = time.process_time()
    train(
        method,
        store=opened,
        volumes=opened.ids,
        places=method.places(),
        settings=settings,
        run=run,
    )
    return time.process_time() - start


@torch.no_grad()
def features(encoder: Encoder, images: np.ndarray) -> np.ndarray:
    """Return what ``medssl embed`` would: the mean of the coarsest map, ``(n, channels)``."""
    encoder.eval()
    parts = torch.from_numpy(images).split(16)
    if encoder.spatial_dims == 3:
        return torch.cat([encoder.embed(part) for part in parts]).double().numpy()
    # A planar encoder is shown the middle slice of a crop, and slices of a whole volume.
    depth = images.shape[-1]
    shown = [depth // 2] if depth == PATCH[-1] else range(0, depth, 8)
    return np.mean(
        [
            torch.cat([encoder.embed(part[..., at]) for part in parts]).double().numpy()
            for at in shown
        ],
        axis=0,
    )


def answered(encoder: Encoder, asked: dict[str, Question]) -> dict[str, dict[str, list[float]]]:
    """Return for each question and probe which cases were told right, by subjects held out.

    Each case counts by how rare its answer is, so that the mean is the balanced accuracy.
    """
    told: dict[str, dict[str, list[float]]] = {}
    for name, (images, answers, subjects) in asked.items():
        seen = features(encoder, images)
        truth, groups = np.array(answers), np.array(subjects)
        folds = StratifiedGroupKFold(LABELLED_FOLDS, shuffle=True, random_state=0)
        split = list(folds.split(seen, truth, groups))
        kinds, counts = np.unique(truth, return_counts=True)
        weight = {kind: len(truth) / len(kinds) / n for kind, n in zip(kinds, counts, strict=True)}
        told[name] = {}
        for probe in PROBES:
            right = np.zeros(len(truth))
            for ask, fit in split:
                guesses = model(probe).fit(seen[fit], truth[fit]).predict(seen[ask])
                right[ask] += (guesses == truth[ask]) / (LABELLED_FOLDS - 1)
            told[name][probe] = [float(r * weight[t]) for r, t in zip(right, truth, strict=True)]
    return told


def model(probe: str) -> Any:
    if probe == "knn":
        return make_pipeline(
            StandardScaler(), Normalizer(), KNeighborsClassifier(9, weights="distance")
        )
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))


def table(options: argparse.Namespace) -> str:
    """Return balanced accuracies and gains over random weights, means of the seeds, as Markdown."""
    found: dict[str, list[dict]] = {}
    for path in sorted((options.work / "results").glob("*.json")):
        found.setdefault(path.stem.rsplit("_", 1)[0], []).append(json.loads(path.read_text()))
    asked = questions(options)
    columns = [(name, probe) for name in asked for probe in PROBES]
    head = ["method", "encoder", "seeds", "steps", *(f"{n}, {p}" for n, p in columns)]
    lines = [head, ["---"] * len(head)]
    for method, runs in found.items():
        row = [method, runs[0]["encoder"], str(len(runs)), str(runs[0]["steps"])]
        for name, probe in columns:
            after, before = (
                np.mean([one[when][name][probe] for one in runs], axis=0)
                for when in ("after", "before")
            )
            gain = paired_difference(after, before, patients=asked[name][2])
            row.append(
                f"{after.mean():.3f}, {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            )
        lines.append(row)
    chance = ", ".join(
        f"{name} {1 / len(set(answers)):.3f}" for name, (_, answers, _) in asked.items()
    )
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\nBalanced accuracy, and its gain over random weights. Chance: {chance}."


if __name__ == "__main__":
    main()
