"""Lay out the Decathlon hippocampus task for the worked example of the README.

    python pipelines/finetune/hippocampus.py TASK04_FOLDER --out hippocampus

Writes ``pretrain/`` (images of 130 patients, no labels), ``labelled.csv`` (8 of them, with masks)
and ``test/images``, ``test/labels`` (20 other patients). The choice is seeded. Cases that lack an
image or a label, as some public copies do, are left out and counted.

Data: Medical Segmentation Decathlon, Task04 (CC BY-SA 4.0), Antonelli et al. 2022.
"""

import argparse
import csv
import random
import shutil
from pathlib import Path

PRETRAIN, LABELLED, TEST = 130, 8, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    images = {path.name: path for path in options.source.glob("imagesTr/hippocampus_*.nii.gz")}
    labels = {path.name: path for path in options.source.glob("labelsTr/hippocampus_*.nii.gz")}
    cases = sorted(images.keys() & labels.keys())
    random.Random(options.seed).shuffle(cases)  # noqa: S311 a choice of cases, not a secret
    pretrain, test = cases[:PRETRAIN], cases[PRETRAIN : PRETRAIN + TEST]

    for folder in ("pretrain", "test/images", "test/labels"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    for name in pretrain:
        shutil.copyfile(images[name], options.out / "pretrain" / name)
    for name in test:
        shutil.copyfile(images[name], options.out / "test/images" / name)
        shutil.copyfile(labels[name], options.out / "test/labels" / name)
    with (options.out / "labelled.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label", "patient"])
        rows.writerows(
            [images[name].resolve(), labels[name].resolve(), name.removesuffix(".nii.gz")]
            for name in pretrain[:LABELLED]
        )
    left_out = len(images.keys() ^ labels.keys())
    print(
        f"{len(pretrain)} images to pretrain on, {LABELLED} of them labelled, {len(test)} to test "
        f"on; {left_out} files without a partner left out"
    )


if __name__ == "__main__":
    main()
