from __future__ import annotations

import json
from pathlib import PurePosixPath

import numpy as np
import pytest

from medssl.cohort.modality import Surroundings, is_mask, is_suspect_ct, modality_from_values


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("sub-1/anat/sub-1_T1w.nii.gz", "mr"),
        ("study1_FLAIR.nii.gz", "mr"),
        ("example_ct_small.nii.gz", "ct"),
        ("pet/7.nii", "pt"),
        ("CT/mr_7.nii", "mr"),
        ("ct-scans/7.nii", "ct"),
        ("patient_t2.nii", "unknown"),
        ("doctor/picture.nii", "unknown"),
    ],
)
def test_names_tell_only_what_they_say(tmp_path, path, modality):
    assert Surroundings(tmp_path).modality(PurePosixPath(path)) == modality


def test_a_sidecar_comes_before_the_name(tmp_path):
    (tmp_path / "ct_7.json").write_text(json.dumps({"Modality": "MR"}))
    assert Surroundings(tmp_path).modality(PurePosixPath("ct_7.nii.gz")) == "mr"


@pytest.mark.parametrize(
    ("about", "name", "modality"),
    [
        ({"modality": {"0": "MRI"}}, "a.nii.gz", "mr"),
        ({"modality": {"0": "CT"}}, "a_0000.nii.gz", "ct"),
        ({"channel_names": {"0": "T1w", "1": "PET"}}, "a_0001.nii.gz", "pt"),
        ({"channel_names": {"0": "something"}}, "a_0000.nii.gz", "unknown"),
        ({"name": "x"}, "a.nii.gz", "unknown"),
    ],
)
def test_dataset_json_speaks_for_its_folders(tmp_path, about, name, modality):
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert Surroundings(tmp_path).modality(PurePosixPath("imagesTr") / name) == modality


def test_a_broken_neighbour_says_nothing(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    (tmp_path / "a.json").write_text("[1]")
    assert Surroundings(tmp_path).modality(PurePosixPath("a.nii")) == "unknown"


def test_hounsfield_units_give_themselves_away():
    rng = np.random.default_rng(0)
    ct = rng.normal(0, 50, (10, 10, 10)).round().astype(np.int16)
    ct[0] = -1000
    assert modality_from_values(ct) == "ct"
    assert modality_from_values(ct + 1000) == "unknown"
    assert modality_from_values(ct.astype(np.float32)) == "unknown"
    assert not is_suspect_ct(ct)
    assert is_suspect_ct(ct + 1000)
    assert is_suspect_ct((ct / 8).astype(np.int16))


def test_masks_are_told_by_values_and_name():
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[2:4] = 1
    assert is_mask(mask, PurePosixPath("anything.nii"))
    assert not is_mask(mask * 7, PurePosixPath("anything.nii"))
    assert is_mask(mask * 7, PurePosixPath("liver_seg.nii"))
    assert is_mask(mask * 7.0, PurePosixPath("labelsTr/liver.nii"))
    assert not is_mask(mask * 7.5, PurePosixPath("labelsTr/liver.nii"))
    assert not is_mask(mask * 7 - 1.0, PurePosixPath("labelsTr/liver.nii"))
