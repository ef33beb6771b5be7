"""Faults of labelled data, rows L01 to L08: refused by ``open_dataset``, all told by ``verify``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medssl.cli import main
from medssl.cohort.datasets import open_dataset
from medssl.cohort.inspect_labels import inspect_labels
from medssl.errors import DatasetError
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
from medssl.store.prepare import prepare_dataset
from medssl.store.recipe import Recipe

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
IMAGE = np.random.default_rng(0).integers(0, 900, (8, 9, 7)).astype(np.int16)
MASK = ((IMAGE > 300).astype(np.uint8) + (IMAGE > 600)).astype(np.uint8)
"""Background, 1 and 2, a third each."""


def add(
    root: Path,
    name: str,
    *,
    image: np.ndarray | None = None,
    mask: np.ndarray | None = MASK,
    mask_affine: np.ndarray = AFFINE,
) -> None:
    """Write a case of a Decathlon folder; each has an image of its own."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in (root / "imagesTr").iterdir())
    values = IMAGE + number if image is None else image
    write_nifti(root / "imagesTr" / f"{name}.nii.gz", values, AFFINE)
    if mask is not None:
        write_nifti(root / "labelsTr" / f"{name}.nii.gz", mask, mask_affine)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sound dataset of three cases."""
    folder = tmp_path / "Task07_Test"
    for name in ("a", "b", "c"):
        add(folder, name)
    labels = {"0": "background", "1": "front", "2": "back"}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def split(root: Path, **parts: list[str]) -> None:
    """Write splits as nnU-Net does."""
    (root / "splits_final.json").write_text(json.dumps([{"train": [], "val": [], **parts}]))


def table(root: Path, rows: list[dict[str, str]]) -> Path:
    """Write a table of cases."""
    with (root / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "label", "id", "patient", "split"])
        writer.writeheader()
        writer.writerows(
            {"image": f"imagesTr/{row['id'][0]}.nii.gz", "label": f"labelsTr/{row['id'][0]}.nii.gz"}
            | row
            for row in rows
        )
    return root / "table.csv"


def kinds(path: Path) -> dict[str, int]:
    """Return how many problems of each kind ``verify`` finds."""
    counts: dict[str, int] = {}
    for problem in inspect_labels(path).problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + problem.count
    return counts


def use_all_masks(path: Path) -> None:
    """Read every mask, as training does."""
    dataset = open_dataset(path)
    for case in dataset.cases:
        dataset.read_mask(case, read_volume(case.image))


def test_a_sound_dataset_passes_with_a_table_of_its_labels(root, capsys):
    add(root, "empty", mask=np.zeros_like(MASK))
    assert main(["verify", str(root)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = [line.split() for line in said.out.splitlines()]
    per_case = (MASK == 1).sum() * 2 / 1000
    assert ["front", "1", "3", f"{per_case:.2f}"] in lines
    assert "1 masks hold no label: empty" in said.out
    assert said.out.endswith("The dataset is sound.\n")


@pytest.mark.parametrize(
    ("row", "case", "kind"),
    [
        ("L01 shifted", {"mask_affine": AFFINE + np.eye(4, k=3) * 1.5}, "masks that do not fit"),
        ("L01 another grid", {"mask": MASK[:-1]}, "masks that do not fit"),
        ("L01 far corner alone", {"mask_affine": np.diag([1.0, 1.2, 2.0, 1.0])},
         "masks that do not fit"),
        ("L02 unknown value", {"mask": MASK * 3}, "masks that do not fit"),
        ("L02 negative value", {"mask": MASK.astype(np.int16) - 1}, "masks that do not fit"),
        ("L03 fractions", {"mask": MASK * 0.5}, "masks that do not fit"),
        ("L05 no mask", {"mask": None}, "files without partner"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_fault_of_a_case_stops_it_and_is_counted_twice_where_it_is_twice(root, row, case, kind):
    add(root, "bad1", **case)
    add(root, "bad2", **case)
    with pytest.raises(DatasetError, match="bad"):
        use_all_masks(root)
    assert kinds(root) == {kind: 2}


def test_l01_a_header_off_by_noise_is_the_images_own(root):
    add(root, "noisy", mask_affine=AFFINE + 1e-4)
    dataset = open_dataset(root)
    (case,) = (case for case in dataset.cases if case.id == "noisy")
    image = read_volume(case.image)
    assert np.array_equal(dataset.read_mask(case, image).affine, image.affine)
    assert kinds(root) == {}


def test_l02_gaps_between_values_are_no_fault(root):
    (root / "dataset.json").write_text(json.dumps({"labels": {"far": 7}}))
    for name in "abc":
        write_nifti(root / "labelsTr" / f"{name}.nii.gz", (MASK > 0).astype(np.uint8) * 7, AFFINE)
    assert kinds(root) == {}
    assert inspect_labels(root).labels["far"].cases == 3


def test_l03_whole_numbers_with_noise_are_rounded(root):
    add(root, "float", mask=(MASK + np.float32(-1e-4)).astype(np.float32))
    assert kinds(root) == {}
    dataset = open_dataset(root)
    case = dataset.cases[-1]
    assert np.array_equal(dataset.read_mask(case, read_volume(case.image)).data, MASK)


def test_l04_empty_masks_are_allowed_and_counted(root):
    add(root, "empty", mask=np.zeros_like(MASK))
    use_all_masks(root)
    assert inspect_labels(root).empty == ["empty"]


def test_l05_masks_and_images_alone_and_ids_twice_are_all_told(root):
    add(root, "lonely", mask=None)
    write_nifti(root / "labelsTr" / "orphan.nii.gz", MASK, AFFINE)
    write_nifti(root / "imagesTr" / "a.nii", IMAGE, AFFINE)
    assert kinds(root) == {"duplicate ids": 1, "files without partner": 2}
    path = table(root, [{"id": "a"}, {"id": "a"}, {"id": "b", "label": "labelsTr/gone.nii.gz"}])
    assert kinds(path) == {"duplicate ids": 1, "missing files": 1}
    for dataset in (root, path):
        with pytest.raises(DatasetError):
            open_dataset(dataset)


def test_l06_the_same_patient_in_two_splits(root):
    rows = [
        {"id": "a", "patient": "x", "split": "train"},
        {"id": "b", "patient": "x", "split": "test"},
    ]
    path = table(root, rows)
    with pytest.raises(DatasetError, match="1 patients are in more than one split"):
        open_dataset(path)
    assert kinds(path) == {"patients in several splits": 1}


def test_l06_visits_of_one_patient_in_two_splits_of_a_folder(tmp_path):
    for name in ("patient001_frame01", "patient001_frame12", "patient002_frame01"):
        add(tmp_path, name)
    split(tmp_path, train=["patient001_frame01"], val=["patient001_frame12", "patient002_frame01"])
    with pytest.raises(DatasetError, match="1 patients are in more than one split"):
        open_dataset(tmp_path)
    split(tmp_path, train=["patient001_frame01", "patient001_frame12"], val=["patient002_frame01"])
    assert {case.patient for case in open_dataset(tmp_path).cases} == {"patient001", "patient002"}


def test_l06_the_same_bytes_in_two_splits(root):
    (root / "imagesTr" / "b.nii.gz").write_bytes((root / "imagesTr" / "a.nii.gz").read_bytes())
    split(root, train=["a", "c"], val=["b"])
    with pytest.raises(DatasetError, match="same image"):
        open_dataset(root)
    assert kinds(root) == {"images in several splits": 1}


def test_l06_the_same_voxels_in_two_splits_whatever_the_file(root):
    write_nifti(root / "imagesTr" / "b.nii.gz", IMAGE.astype(np.float32), AFFINE)
    split(root, train=["a"], val=["b", "c"])
    assert kinds(root) == {"images in several splits": 1}
    split(root, train=["a", "b"], val=["c"])
    assert kinds(root) == {}


def test_l07_ids_that_differ_in_capitals_alone(root):
    path = table(root, [{"id": "a"}, {"id": "b"}, {"id": "B", "image": "imagesTr/b.nii.gz",
                                                   "label": "labelsTr/b.nii.gz"}])  # fmt: skip
    with pytest.raises(DatasetError, match="capital letters"):
        open_dataset(path)
    assert kinds(path) == {"duplicate ids": 1}


def test_verify_tells_everything_at_once_and_exits_3(root, capsys):
    add(root, "shifted", mask_affine=AFFINE + np.eye(4, k=3) * 5)
    add(root, "unknown", mask=MASK * 100)
    add(root, "lonely", mask=None)
    add(root, "cut")
    file = root / "imagesTr" / "cut.nii.gz"
    file.write_bytes(file.read_bytes()[:200])
    assert main(["verify", str(root)]) == 3
    said = capsys.readouterr().err
    for word in ("shifted", "unknown", "lonely", "cut"):
        assert word in said
    assert "1 files without partner, 1 unreadable files, 2 masks that do not fit" in said
    assert str(root.parent) not in said


def test_l08_a_case_smaller_than_the_patch_is_padded_with_its_least_value(root, tmp_path):
    store = prepare_dataset(open_dataset(root), tmp_path / "store", Recipe(spacing_mm=None))
    (name, *_) = store.ids
    image = store.read(name, (-4, -4, -4), (16, 16, 16))[0]
    label = store.read_label(name, (-4, -4, -4), (16, 16, 16))
    inner = tuple(slice(4, 4 + size) for size in MASK.shape)
    assert np.array_equal(label[inner], MASK)
    outside = np.ones(image.shape, bool)
    outside[inner] = False
    assert not label[outside].any()
    assert np.unique(image[outside]).tolist() == [image.min()]
