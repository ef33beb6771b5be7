"""Classes of scans from frozen features, with calibrated probabilities. Research only.

    python calibrated_classes.py --weights W --labelled TABLE --input STUDY --out classes

TABLE (.csv) has the columns ``image``, ``target`` and perhaps ``patient``. Held-out patients score
and calibrate; a scan farther from the labelled ones than 95 % of theirs is given no class.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import medssl

Array = np.ndarray
USUAL = 0.95  # share of held-out scans that count as usual; of new ones alike, 5 % are flagged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", required=True, help="an export, a zoo id, or a checkpoint")
    parser.add_argument("--labelled", type=Path, required=True, help="table of image and target")
    parser.add_argument("--input", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    table = read_table(options.labelled)
    labelled = medssl.index(list(table), out=options.out / "labelled")
    names = [n for n in labelled.ids if not labelled.row(n)["duplicate_of"]]  # copies would leak
    targets, patients = np.array([row_of(table, labelled, name) for name in names]).T
    patients = np.unique(patients, return_inverse=True)[1]  # the table may hold real names
    known = embed(labelled, names, options.weights)
    classes, distance = np.unique(targets), np.zeros(len(names))
    chance = np.zeros((len(names), len(classes)))
    for fit, held in folds(targets, patients):
        chance[held] = classify(known[fit], targets[fit], patients[fit], known[held])
        distance[held] = distances(known[fit], known[held])
    scored = options.out / "cross_validated.csv"
    columns = {"id": names, "patient": patients, "target": targets, "distance": distance}
    save(scored, columns, classes, chance)
    medssl.evaluate(predictions=scored, references=scored, out=options.out / "scores.json")
    scans = medssl.index(options.input, out=options.out / "scans")
    vectors = embed(scans, scans.ids, options.weights)
    distance, limit = distances(known, vectors), np.quantile(distance, USUAL, method="higher")
    chance = classify(known, targets, patients, vectors)
    unlike, guesses = distance > limit, classes[chance.argmax(axis=1)]
    columns = {"id": scans.ids, "prediction": np.where(unlike, "", guesses)}
    columns |= {"unlike": np.where(unlike, "yes", "no"), "distance": distance / limit}
    save(options.out / "predictions.csv", columns, classes, chance)
    print(f"{len(guesses)} scans, {unlike.sum()} of them unlike the labelled ones")


def read_table(path: Path) -> dict[Path, dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"image", "target"} <= rows[0].keys():
        raise medssl.MedsslError(f'"{path.name}" needs rows with the columns image and target')
    return {(path.parent / row["image"]).resolve(): row for row in rows}


def row_of(table: dict[Path, dict], cohort: medssl.Cohort, name: str) -> tuple[str, str]:
    """Return target and patient of a scan, from the row of its file or of a folder above."""
    file = cohort.files(name)[0].resolve()
    row = next(table[place] for place in (file, *file.parents) if place in table)
    return row["target"], row.get("patient") or cohort.row(name)["patient"]


def embed(cohort: medssl.Cohort, names: list[str], weights: str) -> Array:
    encoder, preprocess = medssl.load_encoder(weights)
    vectors = []
    for name in names:
        parts = preprocess(cohort.read(name)).split(16)  # of slices, for a planar encoder
        vectors.append(np.concatenate([encoder.embed(part).numpy() for part in parts]).mean(axis=0))
    if not vectors:
        raise medssl.MedsslError("no scan was admitted; quarantine.csv says why")
    return np.array(vectors, dtype=np.float64)


def folds(targets: Array, patients: Array) -> list:
    fewest = min(len(set(patients[targets == name])) for name in targets)
    if len(set(targets)) < 2 or fewest < 2:
        raise medssl.MedsslError("expected at least two classes with three patients each")
    split = StratifiedGroupKFold(min(5, fewest), shuffle=True, random_state=0)
    return list(split.split(targets, targets, patients))


def classify(known: Array, targets: Array, patients: Array, asked: Array) -> Array:
    """Fit on all known scans, and calibrate on what cross-validation over patients predicts."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    model = CalibratedClassifierCV(model, cv=folds(targets, patients), ensemble=False)
    return model.fit(known, targets).predict_proba(asked)


def distances(known: Array, asked: Array) -> Array:
    """Return the mean distance to the five nearest known scans, each feature in its own spread."""
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-6
    nearest = NearestNeighbors(n_neighbors=min(5, len(known))).fit((known - mean) / spread)
    return nearest.kneighbors((asked - mean) / spread)[0].mean(axis=1)


def save(path: Path, columns: dict, classes: Array, chance: Array) -> None:
    columns = columns | {f"probability_{n}": c for n, c in zip(classes, chance.T, strict=True)}
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])


if __name__ == "__main__":
    try:
        main()
    except medssl.MedsslError as error:
        sys.exit(f"error: {error}")
