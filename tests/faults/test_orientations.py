"""The 48 ways to store the axes of a volume, and axes that fall together with none of the body."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from faults.itk_cases import meta, nrrd
from faults.nifti_cases import content
from faults.phantom import SHAPE, centred, check, paint

from medssl.io.read import read_volume

STEPS = np.array([1.5, 1.75, 2.0])


def orientations() -> list[np.ndarray]:
    """Return the axes of the 48 ways, columns in millimetres, and of three oblique ones."""
    found = [
        np.eye(3)[list(order)].T * np.array(signs) * STEPS
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    generator = np.random.default_rng(3)
    turned = [np.linalg.qr(generator.normal(size=(3, 3)))[0] for _ in range(3)]
    return [*found, *(rotation * STEPS for rotation in turned)]


def write_by_itk(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


def plainly(make: Callable[..., bytes]) -> Callable[[Path, np.ndarray, np.ndarray], None]:
    return lambda path, data, affine: path.write_bytes(make(data, affine)) and None


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("scan.nii", plainly(content)),
        ("scan.nrrd", plainly(nrrd)),
        ("scan.mha", plainly(meta)),
        ("ras.nrrd", plainly(lambda data, affine: nrrd(data, affine, space="RAS"))),
        ("by_itk.nii.gz", write_by_itk),
        ("by_itk.nrrd", write_by_itk),
        ("by_itk.mha", write_by_itk),
    ],
)
def test_the_object_is_at_its_place_in_all_48_orientations_and_oblique(name, write, tmp_path):
    for axes in orientations():
        affine = centred(axes)
        write(tmp_path / name, paint(SHAPE, affine), affine)
        volume = read_volume(tmp_path / name)
        assert volume.fixes == ()
        check(volume)
