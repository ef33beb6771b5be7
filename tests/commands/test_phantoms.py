from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medssl.cohort.datasets import open_dataset
from medssl.commands.phantoms import write_phantoms
from medssl.errors import UsageError
from medssl.io.geometry import to_ras
from medssl.io.read import read_volume
from medssl.phantom import ORGANS, make_subject

SIZE = (32, 28, 24)


def test_labelled_phantoms_are_a_dataset(tmp_path):
    paths = write_phantoms(tmp_path / "set", count=2, size=SIZE, seed=4, labels=True)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.task == "segmentation"
    assert dict(dataset.labels) == dict(ORGANS)
    assert [case.image for case in dataset.cases] == paths
    subject = make_subject(5, size=SIZE)
    image, mask = (nib.load(path) for path in (dataset.cases[1].image, dataset.cases[1].label))
    np.testing.assert_allclose(np.asarray(image.dataobj), subject.image, atol=0.51)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), subject.labels)
    np.testing.assert_allclose(image.affine, subject.affine, atol=1e-4)


def test_the_table_of_classes_can_be_learnt_from(tmp_path):
    write_phantoms(tmp_path / "set", count=3, size=SIZE)
    dataset = open_dataset(tmp_path / "set" / "classes.csv")
    assert dataset.task == "classification"
    assert [case.target for case in dataset.cases] == [
        ("unremarkable", "lesions", "single_kidney")[make_subject(seed, size=SIZE).subject_class]
        for seed in range(3)
    ]


def test_chosen_organs_are_numbered_from_one(tmp_path):
    write_phantoms(tmp_path / "set", count=1, size=SIZE, labels=True, organs=["liver", "lung_left"])
    dataset = open_dataset(tmp_path / "set")
    assert dict(dataset.labels) == {"liver": 1, "lung_left": 2}
    mask = np.asarray(nib.load(dataset.cases[0].label).dataobj)
    labels = make_subject(0, size=SIZE).labels
    np.testing.assert_array_equal(mask == 1, labels == ORGANS["liver"])
    np.testing.assert_array_equal(mask == 2, labels == ORGANS["lung_left"])
    assert mask.max() == 2


@pytest.mark.parametrize("modality", ["ct", "t1"])
def test_a_series_holds_the_same_voxels_at_the_same_place(tmp_path, modality):
    (folder,) = write_phantoms(
        tmp_path / "raw", count=1, size=SIZE, image_format="dicom", modality=modality
    )
    subject = make_subject(0, size=SIZE, modality=modality)
    stored = read_volume(folder)
    assert nib.aff2axcodes(stored.affine) == ("L", "P", "S"), "the scanner's own order"
    assert stored.modality == subject.volume.modality
    volume = to_ras(stored)
    np.testing.assert_allclose(volume.data, subject.image, atol=0.6)
    np.testing.assert_allclose(volume.affine, subject.affine, atol=1e-3)


def test_every_series_has_a_made_up_patient_of_its_own(tmp_path):
    folders = write_phantoms(tmp_path / "raw", count=2, size=(16, 16, 8), image_format="dicom")
    patients = [pydicom.dcmread(next(folder.glob("*.dcm"))).PatientID for folder in folders]
    assert len(set(patients)) == 2
    assert all(patient.startswith("SYN") for patient in patients)


def test_a_radiograph_is_written_flat(tmp_path):
    (path,) = write_phantoms(tmp_path / "xr", count=1, size=SIZE, modality="xr", labels=True)
    assert np.asarray(nib.load(path).dataobj).squeeze().shape == (32, 24)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"count": 0}, "at least 1"),
        ({"image_format": "dicom", "labels": True}, "beside NIfTI only"),
        ({"organs": ["liver"]}, "set labels too"),
        ({"organs": ["livr"], "labels": True}, 'did you mean "liver"'),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        write_phantoms(tmp_path / "out", **{"count": 1, "size": SIZE, **options})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError):
        write_phantoms(tmp_path, count=1, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
