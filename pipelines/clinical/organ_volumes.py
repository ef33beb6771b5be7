"""Organ volumes of a study: masks, DICOM SEG and a table of millilitres. Research only.

    python organ_volumes.py --model runs/organs --input STUDY --out volumes
    python organ_volumes.py --labels DATASET --weights runs/voco --input STUDY --out volumes

The second call fine-tunes first, on a handful of labelled volumes; what follows the options above,
such as ``--trainer.steps 500``, changes the recipe. STUDY is a folder, archive or file of any
format that ``medssl index`` reads. Files are named after medssl's ids, which come from content.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import medssl

RECIPE = Path(__file__).resolve().parents[1] / "finetune/segmentation.yaml"
COLUMNS = ("id", "patient", "organ", "volume_ml", "voxels", "cut_off", "model", "weights_sha256")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], allow_abbrev=False)
    parser.add_argument("--model", type=Path, help="what medssl finetune wrote")
    parser.add_argument("--labels", type=Path, help="labelled volumes to fine-tune on first")
    parser.add_argument("--weights", default="none", help="where the fine-tuning starts from")
    parser.add_argument("--config", type=Path, default=RECIPE, help="its recipe")
    parser.add_argument("--input", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options, changes = parser.parse_known_args()
    if (options.model is None) == (options.labels is None) or (changes and not options.labels):
        parser.error("give a --model, or --labels with perhaps --weights and changes of the recipe")
    if options.labels:
        options.model = medssl.finetune(
            config=options.config,
            data=options.labels,
            weights=options.weights,
            out=options.out / "run",
            overrides=changes,
        )
    model = medssl.load_model(options.model)
    expected = model.manifest.input.modality
    cohort = medssl.index(options.input, out=options.out / "cohort", modality=expected)
    for folder in ("masks", "seg"):
        (options.out / folder).mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    failed = []
    for name in cohort.ids:
        try:
            rows += measure(model, cohort, name, options.out)
        except medssl.MedsslError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed.append(name)
    with (options.out / "volumes.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    for row in rows:
        remark = "  (cut off by the edge of the scan)" if row["cut_off"] == "yes" else ""
        print(f"{row['id']}  {row['organ']:<20} {row['volume_ml']:>10} ml{remark}")
    print(f"{len(cohort.ids) - len(failed)} scans measured, {len(failed)} failed. What was not")
    print("admitted stands with its reason in cohort/quarantine.csv. Look at every mask.")
    return 3 if failed or not cohort.ids else 0


def measure(model: Any, cohort: medssl.Cohort, name: str, out: Path) -> list[dict[str, Any]]:
    """Write the masks of one scan and return a row for each organ."""
    row, expected = cohort.row(name), model.manifest.input.modality
    if expected not in ("unknown", row["modality"]):
        raise medssl.MedsslError(f"it is {row['modality']} and the model was trained on {expected}")
    volume = cohort.read(name)
    if volume.data.ndim != 3:
        raise medssl.MedsslError("it is a single picture, which has no volume")
    mask = model.predict(volume)
    nib.save(nib.Nifti1Image(mask, volume.affine), out / "masks" / f"{name}.nii.gz")
    if row["format"] == "dicom":
        try:
            series = cohort.files(name)
            model.write_dicom_seg(out / "seg" / f"{name}.dcm", mask, series, part=row["part"])
        except medssl.MedsslError as error:
            print(f"{name}: no DICOM SEG: {error}", file=sys.stderr)
    voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    rows = []
    for organ, value in model.labels.items():
        inside = mask == value
        # An organ that leaves the scan is larger than what can be counted.
        edges = any(inside.take(end, axis).any() for axis in range(3) for end in (0, -1))
        rows.append(
            {
                "id": name,
                "patient": row["patient"],
                "organ": organ,
                "volume_ml": f"{inside.sum() * voxel_ml:.2f}",
                "voxels": int(inside.sum()),
                "cut_off": "yes" if edges else "no",
                "model": model.manifest.id,
                "weights_sha256": model.manifest.file.sha256,
            }
        )
    return rows


if __name__ == "__main__":
    try:
        sys.exit(main())
    except medssl.MedsslError as error:
        sys.exit(f"error: {error}")
