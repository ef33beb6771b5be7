"""Predictions find their references, and only where both lie at one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medssl.errors import GeometryError, InputError
from medssl.evaluation.pairs import (
    case_name,
    check_same_grid,
    files_by_case,
    labels_found,
    match_cases,
    read_mask,
)
from medssl.io.nifti import write_nifti
from medssl.types import Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    write_nifti(path, data, affine)
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "A.NRRD", "a.mha"])
def test_a_name_loses_only_its_format(name: str) -> None:
    assert case_name(Path("masks") / name) == name[0]
    assert case_name(Path("liver.v2.nii.gz")) == "liver.v2"


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "b.nii.gz", np.zeros((4, 4, 4), np.int16))
    (tmp_path / "._b.nii.gz").write_bytes(b"x")
    (tmp_path / "run.json").write_text("{}")
    assert list(files_by_case(tmp_path)) == ["b"]


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mask"):
        files_by_case(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        files_by_case(tmp_path / "absent")


def test_a_missing_partner_is_named() -> None:
    here = {name: Path(name) for name in "abc"}
    assert match_cases(here, here) == ["a", "b", "c"]
    with pytest.raises(InputError, match="no prediction for c"):
        match_cases({name: here[name] for name in "ab"}, here)
    with pytest.raises(InputError, match="no reference for c"):
        match_cases(here, {name: here[name] for name in "ab"})


def test_a_subset_may_be_scored_but_not_an_unknown_case() -> None:
    here = {name: Path(name) for name in "abc"}
    assert match_cases({"b": Path("b")}, here, subset=True) == ["b"]
    with pytest.raises(InputError, match="no reference for z"):
        match_cases({"z": Path("z")}, here, subset=True)


def test_masks_come_in_ras_order_whatever_way_they_are_stored(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.int16)
    data[0, 1, 2] = 3
    upright = read_mask(write(tmp_path / "a.nii.gz", data))
    turned = AFFINE @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    flipped = read_mask(write(tmp_path / "b.nii.gz", data[::-1].copy(), turned))
    np.testing.assert_array_equal(upright.data, flipped.data)
    check_same_grid("a", upright, flipped)


def test_a_mask_between_labels_is_refused(tmp_path: Path) -> None:
    soft = np.zeros((4, 4, 4), np.float32)
    soft[1] = 0.4
    with pytest.raises(InputError, match="fractions"):
        read_mask(write(tmp_path / "soft.nii.gz", soft))
    almost = np.full((4, 4, 4), 1.9999, np.float32)
    assert (read_mask(write(tmp_path / "almost.nii.gz", almost)).data == 2).all()


def test_other_shapes_and_other_places_are_refused() -> None:
    data = np.zeros((4, 4, 4), np.int32)
    moved = AFFINE.copy()
    moved[0, 3] = 0.4
    check_same_grid("a", Volume(data, AFFINE), Volume(data, moved))
    moved[0, 3] = 3.0
    with pytest.raises(GeometryError, match=r"a lie 3\.0 mm apart"):
        check_same_grid("a", Volume(data, AFFINE), Volume(data, moved))
    with pytest.raises(GeometryError, match="voxels"):
        check_same_grid("a", Volume(data, AFFINE), Volume(data[:3], AFFINE))


def test_labels_without_names_are_called_after_their_values(tmp_path: Path) -> None:
    data = np.zeros((4, 4, 4), np.int16)
    data[0], data[1] = 2, 7
    assert labels_found([write(tmp_path / "a.nii.gz", data)]) == {"label_2": 2, "label_7": 7}
    with pytest.raises(InputError, match="no mask holds a label"):
        labels_found([write(tmp_path / "b.nii.gz", data * 0)])
