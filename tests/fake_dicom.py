"""DICOM series with the faults of hospitals: written sound, then spoilt one tag at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medssl.io.dicom_series import write_dicom_series

OBLIQUE = np.array(
    [[0.8, -0.1, 0.3, -20.0], [0.1, 0.9, -0.2, 15.0], [-0.2, 0.3, 2.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
)


def body(shape: Sequence[int] = (7, 6, 8), seed: int = 0) -> np.ndarray:
    """Return values as CT has them, no two voxels alike enough to hide a swap."""
    count = int(np.prod(shape))
    values = np.linspace(-1000, 1500, count).round().astype(np.int16)
    return np.random.default_rng(seed).permutation(values).reshape(tuple(shape))


def oblique(spacing: tuple[float, float, float] = (0.9, 0.7, 2.5)) -> np.ndarray:
    """Return an affine with axes at right angles that fall together with no axis of the body."""
    rotation, _ = np.linalg.qr(OBLIQUE[:3, :3])
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.sign(np.diag(rotation)) * np.array(spacing)
    affine[:3, 3] = OBLIQUE[:3, 3]
    return affine


def write_ct(folder: Path, **options: Any) -> list[Path]:
    """Write a sound CT series of 8 slices, 2.5 mm apart, and return its files in order."""
    data = options.pop("data", None)
    affine = options.pop("affine", None)
    return write_dicom_series(
        folder,
        body() if data is None else data,
        np.diag([0.9, 0.7, 2.5, 1.0]) if affine is None else affine,
        options.pop("modality", "ct"),
        **options,
    )


def edit(path: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    """Change one file's header."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def edit_all(paths: Sequence[Path], change: Callable[[pydicom.Dataset, int], None]) -> None:
    """Change every file's header; the second argument is the number of the file."""
    for number, path in enumerate(paths):
        edit(path, lambda dataset, number=number: change(dataset, number))


def put(**tags: Any) -> Callable[[pydicom.Dataset], None]:
    """Return a change that sets tags; None deletes one."""

    def change(dataset: pydicom.Dataset) -> None:
        for keyword, value in tags.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    return change


def move_to(dataset: pydicom.Dataset, z: float, *, x: float | None = None) -> None:
    """Move a slice that lies across the body to another height."""
    position = [float(number) for number in dataset.ImagePositionPatient]
    dataset.ImagePositionPatient = [position[0] if x is None else x, position[1], z]
