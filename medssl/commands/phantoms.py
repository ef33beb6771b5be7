"""Synthetic subjects as files: a raw folder to index, or a labelled dataset to learn from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from medssl.errors import UsageError
from medssl.io.atomic import atomic_path, claim_output, write_json
from medssl.io.dicom_write import write_dicom_series
from medssl.io.nifti import write_nifti
from medssl.phantom.noise import stream
from medssl.phantom.organs import ORGANS
from medssl.phantom.physique import SUBJECT_CLASSES
from medssl.phantom.subject import PhantomModality, PhantomSubject, make_subject
from medssl.registry import nearest

__all__ = ["write_phantoms"]


def write_phantoms(
    out: Path,
    *,
    count: int,
    modality: PhantomModality = "ct",
    image_format: Literal["nifti", "dicom"] = "nifti",
    size: Sequence[int] = (96, 96, 96),
    spacing_mm: Sequence[float] | None = None,
    seed: int = 0,
    labels: bool = False,
    organs: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write synthetic subjects the way a hospital or a challenge hands them over.

    DICOM makes ``out`` a raw folder: one folder a patient with one series in it. NIfTI images lie
    in ``imagesTr`` beside the table ``classes.csv``, which names the class of each subject and can
    be learnt from as it is; with labels the whole is a Decathlon dataset, with ``labelsTr`` and
    ``dataset.json``.

    Args:
        out: The folder; made if it is missing.
        count: How many subjects; their seeds are ``seed``, ``seed + 1`` and so on.
        modality: What scans them: ``ct``, ``t1``, ``t2`` or ``xr``.
        image_format: ``nifti`` in RAS+ order, or ``dicom`` series in the scanner's own order.
        size: Voxels along x, y and z.
        spacing_mm: Millimetres between voxels; by default the grid spans the trunk.
        seed: Seed of the first subject.
        labels: Whether masks are written too.
        organs: The organs that the masks keep, numbered from 1 in this order; by default all, with
            the values of ``ORGANS``.
        overwrite: Replace what an earlier call wrote.

    Returns:
        The images: files, or folders of series, in the order of the seeds.

    Raises:
        UsageError: If the options do not fit each other, or the folder holds something.
        OutputError: If the folder can't be written.
    """
    if count < 1:
        raise UsageError(f"{count} subjects were asked for; ask for at least 1")
    if organs is not None and not labels:
        raise UsageError("organs were chosen, but masks are not written; set labels too")
    kept = _kept(organs)
    if image_format == "dicom":
        if labels:
            raise UsageError("masks are written beside NIfTI only; leave labels out, or use nifti")
        claim_output(out, overwrite=overwrite)
        return [
            _write_series(out, subject)
            for subject in _subjects(count, seed, size, spacing_mm, modality)
        ]
    claim_output(out, overwrite=overwrite)
    images, masks = out / "imagesTr", out / "labelsTr"
    images.mkdir(exist_ok=True)
    paths, rows = [], []
    for subject in _subjects(count, seed, size, spacing_mm, modality):
        paths.append(images / f"subject{subject.seed:05d}.nii.gz")
        write_nifti(paths[-1], _whole_numbers(subject), subject.affine)
        if labels:
            masks.mkdir(exist_ok=True)
            mask = _renumbered(subject.labels, kept)
            write_nifti(masks / paths[-1].name, mask, subject.affine)
        rows.append((paths[-1].relative_to(out).as_posix(), _class_name(subject)))
    _write_classes(out / "classes.csv", rows)
    if labels:
        _write_description(out / "dataset.json", paths, kept, modality)
    return paths


def _subjects(
    count: int,
    seed: int,
    size: Sequence[int],
    spacing_mm: Sequence[float] | None,
    modality: PhantomModality,
) -> Iterator[PhantomSubject]:
    for number in range(seed, seed + count):
        yield make_subject(number, size=size, spacing_mm=spacing_mm, modality=modality)


def _kept(organs: Sequence[str] | None) -> dict[str, int]:
    """Return the value that each organ gets in the masks."""
    if organs is None:
        return dict(ORGANS)
    for name in organs:
        if name not in ORGANS:
            raise UsageError(f'no organ is called "{name}"; {nearest(name, ORGANS)}')
    return {name: value for value, name in enumerate(organs, start=1)}


def _renumbered(labels: npt.NDArray[np.int16], kept: dict[str, int]) -> npt.NDArray[np.uint8]:
    """Return the mask with the values of the organs that are kept, 0 elsewhere."""
    table = np.zeros(max(ORGANS.values()) + 1, np.uint8)
    for name, value in kept.items():
        table[ORGANS[name]] = value
    mask: npt.NDArray[np.uint8] = table[labels]
    return mask


def _whole_numbers(subject: PhantomSubject) -> npt.NDArray[np.int16]:
    """Return the image as scanners store it: 16-bit whole numbers."""
    return np.rint(np.clip(subject.image, -32768, 32767)).astype(np.int16)


def _class_name(subject: PhantomSubject) -> str:
    names = {value: name for name, value in SUBJECT_CLASSES.items()}
    return names[subject.subject_class]


def _write_classes(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write the table of images and classes."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "target"))
        writer.writerows(rows)


def _write_description(
    path: Path, images: Sequence[Path], kept: dict[str, int], modality: PhantomModality
) -> None:
    """Write the ``dataset.json`` of the Medical Segmentation Decathlon."""
    values = {"background": 0, **kept}
    pairs = [
        {"image": f"./imagesTr/{image.name}", "label": f"./labelsTr/{image.name}"}
        for image in images
    ]
    about = {
        "name": "phantoms",
        "description": "synthetic anatomy of medssl",
        "tensorImageSize": "2D" if modality == "xr" else "3D",
        "modality": {"0": {"ct": "CT", "xr": "XR"}.get(modality, "MRI")},
        "labels": {str(value): name for name, value in values.items()},
        "numTraining": len(pairs),
        "numTest": 0,
        "training": pairs,
        "test": [],
    }
    write_json(path, about)


def _write_series(out: Path, subject: PhantomSubject) -> Path:
    """Write one subject as a DICOM series with the identifiers of a made-up patient."""
    generator = stream(subject.seed, "patient")
    patient_id = f"SYN{generator.integers(10**7, 10**8)}"
    description = {
        "ct": "Trunk portal venous",
        "t1": "T1 trunk",
        "t2": "T2 trunk",
        "xr": "Trunk AP",
    }
    born = int(generator.integers(1935, 2003))
    attributes = {
        "PatientName": f"Phantom^Subject{subject.seed}",
        "PatientSex": "O",
        "PatientBirthDate": f"{born}0101",
        "Manufacturer": "medssl synthetic anatomy",
        "BodyPartExamined": "TRUNK",
        "PatientPosition": "HFS",
    }
    data, affine = _whole_numbers(subject), subject.affine.copy()
    if data.ndim == 3:
        # Scanners store columns towards the patient's left and rows towards the back.
        data = data[::-1, ::-1]
        affine[:3, 3] += affine[:3, :2] @ (np.array(data.shape[:2]) - 1)
        affine[:3, :2] *= -1
    folder = out / patient_id / subject.modality
    write_dicom_series(
        folder,
        data,
        affine,
        subject.volume.modality,
        patient_id=patient_id,
        description=description[subject.modality],
        attributes=attributes,
    )
    return folder
