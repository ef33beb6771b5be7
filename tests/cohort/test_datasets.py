from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.cohort.datasets import open_dataset
from medssl.errors import DatasetError
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
IMAGE = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)
MASK = (IMAGE > 300).astype(np.uint8) + (IMAGE > 600)


def write_case(folder, name, *, mask=MASK, affine=AFFINE, shift=0):
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "imagesTr" / f"{name}.nii.gz", IMAGE + shift, AFFINE)
    if mask is not None:
        write_nifti(folder / "labelsTr" / f"{name}.nii.gz", mask, affine)


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "Task"
    for number in range(3):
        write_case(root, f"case_{number}", shift=number)
    labels = {"0": "background", "1": "front", "2": "back"}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def table_of(folder, **columns):
    names = [f"case_{number}" for number in range(3)]
    rows = [
        {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names
    ]
    for column, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[column] = value
    return write_table(folder / "table.csv", rows)


def test_a_decathlon_folder_is_read(folder):
    dataset = open_dataset(folder)
    assert [case.id for case in dataset.cases] == ["case_0", "case_1", "case_2"]
    assert [case.patient for case in dataset.cases] == ["case_0", "case_1", "case_2"]
    assert dataset.labels == {"front": 1, "back": 2}
    assert dataset.task == "segmentation"
    assert all(case.split is None for case in dataset.cases)


def test_an_nnunet_folder_is_read_with_its_first_fold(tmp_path):
    root = tmp_path / "Dataset001"
    for number in range(2):
        write_case(root, f"case_{number}", shift=number)
        image = root / "imagesTr" / f"case_{number}.nii.gz"
        image.rename(root / "imagesTr" / f"case_{number}_0000.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2}}
    (root / "dataset.json").write_text(json.dumps(about))
    folds = [{"train": ["case_0"], "val": ["case_1"]}, {"train": [], "val": []}]
    (root / "splits_final.json").write_text(json.dumps(folds))
    dataset = open_dataset(root)
    assert dataset.labels == {"liver": 1, "spleen": 2}
    assert [case.split for case in dataset.cases] == ["train", "val"]
    (root / "imagesTr" / "case_0_0001.nii.gz").write_bytes(b"")
    with pytest.raises(DatasetError, match="several channels"):
        open_dataset(root)


def test_a_table_is_read_relative_to_itself(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = table_of(folder, patient=["a", "a", "b"], split=["Training", "train", "valid"])
    dataset = open_dataset(path)
    assert dataset.labels == {"label_1": 1, "label_2": 2}
    assert [case.patient for case in dataset.cases] == ["a", "a", "b"]
    assert [case.split for case in dataset.cases] == ["train", "train", "val"]
    assert dataset.cases[0].image == folder / "imagesTr" / "case_0.nii.gz"
    (folder / "table.labels.json").write_text(json.dumps({"front": 1, "back": 2}))
    assert open_dataset(path).labels == {"front": 1, "back": 2}


def test_parquet_tables_are_read_too(folder):
    rows = {"image": ["imagesTr/case_0.nii.gz", "imagesTr/case_1.nii.gz"], "target": [0, 1]}
    pq.write_table(pa.table({**rows, "patient": [None, "b"]}), folder / "table.parquet")
    dataset = open_dataset(folder / "table.parquet")
    assert [case.target for case in dataset.cases] == ["0", "1"]
    assert [case.patient for case in dataset.cases] == ["case_0", "b"]


@pytest.mark.parametrize(
    ("values", "task", "labels", "targets"),
    [
        (["10", "9", "9"], "classification", {"9": 0, "10": 1}, ["10", "9", "9"]),
        (["1", "1.0", "0"], "classification", {"0": 0, "1": 1}, ["1", "1", "0"]),
        (["yes", "no", "yes"], "classification", {"no": 0, "yes": 1}, ["yes", "no", "yes"]),
        (["1.5", "2", "3"], "regression", {}, [1.5, 2.0, 3.0]),
    ],
)
def test_targets_are_classes_or_quantities(folder, values, task, labels, targets):
    rows = [
        {"image": f"imagesTr/case_{number}.nii.gz", "target": value}
        for number, value in enumerate(values)
    ]
    dataset = open_dataset(write_table(folder / "targets.csv", rows))
    assert (dataset.task, dataset.labels) == (task, labels)
    assert [case.target for case in dataset.cases] == targets


def test_many_whole_numbers_are_quantities(folder):
    rows = [
        {"image": "imagesTr/case_0.nii.gz", "target": 20 + age, "id": f"c{age}"}
        for age in range(30)
    ]
    assert open_dataset(write_table(folder / "ages.csv", rows)).task == "regression"


def test_files_without_a_partner_are_listed(folder):
    (folder / "labelsTr" / "case_0.nii.gz").unlink()
    write_nifti(folder / "labelsTr" / "case_9.nii.gz", MASK, AFFINE)
    with pytest.raises(DatasetError, match=r"2 files .*image case_0.*label case_9"):
        open_dataset(folder)


def test_a_mask_of_another_size_is_refused_at_once(folder):
    write_case(folder, "case_1", mask=MASK[:-1])
    with pytest.raises(DatasetError, match=r"case_1.*\(7, 9, 7\) voxels.*\(8, 9, 7\)"):
        open_dataset(folder)


def test_a_mask_elsewhere_is_refused_and_says_how_far(folder):
    moved = AFFINE.copy()
    moved[0, 3] = 4.0
    write_case(folder, "case_1", affine=moved)
    with pytest.raises(DatasetError, match=r"case_1.*4\.0 mm"):
        open_dataset(folder)


def test_noise_in_a_header_is_mended_with_the_place_of_the_image(folder):
    noisy = AFFINE.copy()
    noisy[0, 3] = 0.2
    write_case(folder, "case_1", affine=noisy)
    dataset = open_dataset(folder)
    image = read_volume(dataset.cases[1].image)
    mask = dataset.read_mask(dataset.cases[1], image)
    assert np.array_equal(mask.affine, image.affine)
    assert np.array_equal(mask.data, MASK)
    assert mask.data.dtype == np.int16


def test_values_that_no_label_has_are_named(folder):
    write_case(folder, "case_1", mask=MASK * 3)
    dataset = open_dataset(folder)
    with pytest.raises(DatasetError, match=r"case_1.*3, 6.*0 and 1, 2"):
        dataset.read_mask(dataset.cases[1], read_volume(dataset.cases[1].image))


def test_fractions_are_rounded_if_they_are_noise_and_refused_if_not(folder):
    write_case(folder, "case_0", mask=MASK + np.float32(0.001))
    write_case(folder, "case_1", mask=MASK + np.float32(0.4))
    dataset = open_dataset(folder)
    image = read_volume(dataset.cases[0].image)
    assert np.array_equal(dataset.read_mask(dataset.cases[0], image).data, MASK)
    with pytest.raises(DatasetError, match=r"case_1.*fractions"):
        dataset.read_mask(dataset.cases[1], image)


def test_an_empty_mask_is_allowed_but_not_in_all_cases_of_a_nameless_table(folder):
    write_case(folder, "case_1", mask=MASK * 0)
    assert open_dataset(table_of(folder)).labels == {"label_1": 1, "label_2": 2}
    for number in range(3):
        write_case(folder, f"case_{number}", mask=MASK * 0, shift=number)
    with pytest.raises(DatasetError, match="no label"):
        open_dataset(table_of(folder))


def test_a_patient_in_two_splits_is_refused_without_a_name(folder):
    path = table_of(folder, patient=["Doe", "Doe", "Roe"], split=["train", "val", "val"])
    with pytest.raises(DatasetError, match=r"case_0 \(train\) and case_1 \(val\)") as caught:
        open_dataset(path)
    assert "Doe" not in str(caught.value)


def test_one_image_in_two_splits_is_refused(folder):
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind / "case_1.nii.gz").write_bytes(
            (folder / kind / "case_0.nii.gz").read_bytes()
        )
    with pytest.raises(DatasetError, match="same image"):
        open_dataset(table_of(folder, split=["train", "val", "val"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,mask\na.nii,b.nii\n", "columns image, mask"),
        ("image,label,target\na.nii,b.nii,1\n", "one of"),
        ("image,label\na.nii,\n", "rows 1"),
        ("image,label\nabsent.nii,absent2.nii\n", "2 files do not exist"),
        ("image,target,split\nimagesTr/case_0.nii.gz,1,other\n", '"other"'),
        ("image,target\nimagesTr/case_0.nii.gz,1\nimagesTr/CASE_0.nii.gz,2\n", "more than once"),
        ("image,target\n", "columns none"),
        ("", "columns none"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(folder, text, words):
    path = folder / "bad.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        open_dataset(path)


def test_what_is_no_dataset_is_refused(tmp_path, folder):
    for path in (tmp_path / "absent", tmp_path, folder / "dataset.json"):
        with pytest.raises(DatasetError):
            open_dataset(path)
    (folder / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="damaged"):
        open_dataset(folder / "bad.parquet")
    for text in ("{", '{"labels": {"liver": [1, 2]}}'):
        (folder / "dataset.json").write_text(text)
        with pytest.raises(DatasetError, match=r"dataset\.json"):
            open_dataset(folder)


def test_an_image_that_can_not_be_read_is_named_by_its_case(folder):
    (folder / "imagesTr" / "case_2.nii.gz").write_text("<html>")
    with pytest.raises(DatasetError, match="case_2"):
        open_dataset(folder)
