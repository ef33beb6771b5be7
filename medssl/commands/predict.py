"""``medssl predict``: masks in the geometry of their scans, or a table of class probabilities."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl.commands.scans import opened_scans
from medssl.commands.session import CommandSession
from medssl.errors import InputError, MedsslError, OutputError, UsageError

if TYPE_CHECKING:
    from medssl.tasks.model import Model

__all__ = ["predict"]

TABLE = "predictions.csv"
SUFFIXES = {"nifti": ".nii.gz", "dicom-seg": ".dcm"}


def predict(
    *,
    model: Path,
    input: Sequence[Path],  # noqa: A002 the name that users type
    out: Path,
    format: Literal["nifti", "dicom-seg"] = "nifti",  # noqa: A002 the name that users type
    overwrite: bool = False,
) -> list[Path]:
    """Predict scans with a fine-tuned model.

    A mask has exactly the grid of its scan: the same shape, axis order and affine, whatever the
    model was trained on. A scan that can't be read is named, the others go on. A DICOM SEG lies
    over the series that it was made from, and carries the patient and study of that series.

    Args:
        model: What ``medssl finetune`` wrote: the run folder or the export folder in it.
        input: Scans, folders of scans, or patterns; a folder with one DICOM series is one scan.
        out: The folder for the masks, or for predictions.csv.
        format: The format of the masks: NIfTI files, or one DICOM SEG for each DICOM series.
        overwrite: Replace what an earlier prediction wrote there.

    Returns:
        The files that were written.

    Raises:
        UsageError: If the format is unknown, not installed, or the model draws no masks.
        InputError: If there is nothing to predict, or a scan could not be predicted.
        WeightsMismatchError: If the model is damaged or answers no task.

    Example:
        medssl predict --model runs/organs --input scans --out masks
    """
    if format not in SUFFIXES:
        raise UsageError(f'--format is "{format}"; expected {" or ".join(SUFFIXES)}')
    if format == "dicom-seg":
        from medssl.io.dicom_seg import check_dicom_seg

        check_dicom_seg()
    options = {"model": model, "input": list(input), "format": format}
    with (
        CommandSession("predict", out=out, overwrite=overwrite, options=options) as session,
        opened_scans(input) as scans,
    ):
        from medssl.tasks.model import load_model

        loaded = load_model(model)
        if format == "dicom-seg" and loaded.task != "segmentation":
            raise UsageError(f"--format dicom-seg is for masks; this model is one of {loaded.task}")
        session.record["model"] = {
            "id": loaded.manifest.id,
            "sha256": loaded.manifest.file.sha256,
            "recipe": loaded.manifest.input.recipe_hash,
        }
        written, failed = _predict_all(session, loaded, scans, Path(out), SUFFIXES[format])
        session.record["predicted"] = len(scans) - len(failed)
        session.record["failed"] = len(failed)
        session.hash_output(*written)
        if not failed:
            kind = "masks" if loaded.task == "segmentation" else "rows of class probabilities"
            session.summary(
                [f"{len(scans)} {kind}"],
                next_step="open them in a viewer, over the series they were made from"
                if format == "dicom-seg"
                else f"medssl evaluate --predictions {out} --references REFERENCES "
                "--out scores.json",
            )
            return written
        raise InputError(
            f"{len(failed)} of {len(scans)} scans could not be predicted "
            f"({', '.join(failed[:5])}{', …' if len(failed) > 5 else ''}); the reasons are above, "
            "the other predictions are kept"
        )


def _predict_all(
    session: CommandSession, model: Model, scans: dict[str, Path], out: Path, suffix: str
) -> tuple[list[Path], list[str]]:
    """Predict every scan; return the files that were written and the names of scans that failed."""
    written: list[Path] = []
    failed: list[str] = []
    rows: list[tuple[str, dict[str, float]]] = []
    for name, scan in session.progress(scans.items(), total=len(scans), unit="scan"):
        try:
            if model.task == "segmentation":
                written.append(_write_mask(model, scan, out / f"{name}{suffix}"))
            else:
                rows.append((name, model.classify(scan)))
        except OutputError:
            raise
        except MedsslError as error:
            session.note(f"{name}: {error}")
            failed.append(name)
    if rows:
        written.append(_write_table(out / TABLE, rows))
    return written, failed


def _write_mask(model: Model, scan: Path, path: Path) -> Path:
    from medssl.io.dicom_seg import find_series
    from medssl.io.nifti import write_nifti
    from medssl.io.read import read_volume

    volume = read_volume(scan)
    if path.suffix == SUFFIXES["dicom-seg"]:
        find_series(scan)  # before minutes are spent on a mask that can't be written
        model.write_dicom_seg(path, model.predict(volume), scan)
    else:
        write_nifti(path, model.predict(volume), volume.affine)
    return path


def _write_table(path: Path, rows: Sequence[tuple[str, dict[str, float]]]) -> Path:
    """Write one row a scan: its name, the likeliest class, and the probability of each class."""
    from medssl.io.atomic import atomic_path

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prediction", *(f"probability_{name}" for name in rows[0][1])])
        for name, probabilities in rows:
            best = max(probabilities, key=lambda label: probabilities[label])
            writer.writerow([name, best, *(f"{p:.6f}" for p in probabilities.values())])
    return path
