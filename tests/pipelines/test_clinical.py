"""The clinical pipelines: every command of their README, from DICOM series to tables and pages."""

import csv
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

import medssl
from medssl.cli import main as medssl_command
from medssl.encoders import build_encoder
from medssl.io.dicom_write import write_dicom_series
from medssl.io.nifti import write_nifti
from medssl.store.recipe import Recipe
from medssl.tasks import Segmentation
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "pipelines/clinical"
PATCH = (16, 16, 16)
STRAIGHT = np.diag([4.0, 4.0, 5.0, 1.0])
CORONAL = np.array(
    [[-4.0, 0.0, 0.0, 60.0], [0.0, 0.0, 5.0, -40.0], [0.0, -4.0, 0.0, 80.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Columns run to the left, rows down, slices to the front."""

SHORT = {
    "500": "100 --data.patch 16 16 16 --data.batch 4 --data.workers 0 --data.validation 0"
    " --trainer.accelerator cpu --optim.lr 0.01 --optim.ema 0.9 --task.augmentation 0",
}
"""What the test changes in the commands: what ``--trainer.steps`` is followed by."""


def body(seed, affine=STRAIGHT, radius_mm=32.0, organ_hu=300.0):
    """A made-up patient: image, mask of a bright organ, and the organ's volume in ml."""
    draw = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*map(np.arange, (26, 24, 20)), indexing="ij"), axis=-1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    middle = np.array([12.5, 11.5, 9.5]) @ affine[:3, :3].T + affine[:3, 3]
    trunk = (np.abs(places - middle) < 42).all(axis=-1)
    organ = np.linalg.norm(places - middle - draw.uniform(-6, 6, 3), axis=-1) < radius_mm
    image = np.where(trunk, 40.0, -1000.0) + draw.normal(0, 15, trunk.shape)
    image[organ] += organ_hu - 40
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return np.rint(image).astype(np.int16), organ.astype(np.uint8), organ.sum() * voxel_ml


def write_series(folder, image, patient, affine=STRAIGHT, modality="ct"):
    write_dicom_series(folder, image, affine, modality, patient_id=patient, series=folder.name)


def export(folder, build):
    folder.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", features=[8, 16], blocks=[1, 1], in_channels=1, patch=PATCH)
    network, task = build(encoder)
    recipe = Recipe(spacing_mm=(5.0, 5.0, 5.0))
    write_export(
        folder,
        network,
        encoder=encoder,
        contract=InputContract("ct", recipe.to_dict(), recipe.hash, PATCH),
        training=TrainingRecord("mae_cnn", 1, 0, 1, 1, "0" * 64),
        title="untrained",
        task=task,
    )


def organ_model(encoder):
    task = Segmentation(encoder=encoder, labels={"liver": 1, "lung_left": 3}, patch=PATCH)
    return task.network, task.record()


def write_study(folder):
    """A patient with two series, and one of noise."""
    write_series(folder / "axial", body(10)[0], "Doe")
    write_series(folder / "coronal", body(11, CORONAL, 27.0)[0], "Doe", CORONAL)
    noise = np.random.default_rng(0).normal(0, 400, (26, 24, 20))
    write_series(folder / "noise", np.rint(noise).astype(np.int16), "Nobody")


def write_archive(folder):
    """Near copies of the axial series, of which one alone is another patient's CT; and others."""
    draw = np.random.default_rng(1)
    near = [body(10)[0] + np.rint(draw.normal(0, 5, (26, 24, 20))).astype(np.int16) for _ in "abc"]
    write_series(folder / "near", near[0], "Roe")
    write_series(folder / "doe", near[1], "Doe")
    write_series(folder / "magnetic", near[2], "Moe", modality="mr")
    for n, (radius, organ_hu) in enumerate(((14, 300), (36, 120), (20, 900), (30, -300))):
        write_series(folder / f"other{n}", body(n, radius_mm=radius, organ_hu=organ_hu)[0], f"P{n}")
    write_series(folder / "again", body(5, radius_mm=14, organ_hu=300)[0], "P0")


def write_labelled(folder):
    lines = ["image,label"]
    for seed, radius in enumerate((22, 28, 34)):
        image, mask, _ = body(seed, radius_mm=radius)
        write_nifti(folder / f"image{seed}.nii.gz", image, STRAIGHT)
        write_nifti(folder / f"mask{seed}.nii.gz", mask, STRAIGHT)
        lines.append(f"image{seed}.nii.gz,mask{seed}.nii.gz")
    (folder / "labelled.csv").write_text("\n".join(lines) + "\n")
    (folder / "labelled.labels.json").write_text('{"liver": 1}')


def write_classes(folder):
    """Five patients with an organ of 300 HU and five with one of 900, two scans of each."""
    lines = ["image,target,patient"]
    for n in range(20):
        patient, kind = n % 10, n % 2
        image = body(100 + n, organ_hu=(300, 900)[kind])[0]
        write_series(folder / f"classes/{n}", image, f"Named{patient}")
        lines.append(f"classes/{n},{('benign', 'malignant')[kind]},Named{patient}")
    (folder / "classes.csv").write_text("\n".join(lines) + "\n")


def run(words):
    """Run what a line of the README says; return the exit code or the last words."""
    if words[0] == "medssl":
        return medssl_command(words[1:])
    before, sys.argv = sys.argv, words[1:]
    try:
        runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    except SystemExit as ended:
        return ended.code or 0
    finally:
        sys.argv = before
    return 0


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which every command of the README was run, on made-up patients."""
    root = tmp_path_factory.mktemp("clinical")
    export(root / "runs/encoder", lambda encoder: (encoder, None))
    export(root / "runs/organs", organ_model)
    for write, name in ((write_study, "study"), (write_archive, "archive")):
        write(root / name)
    write_labelled(root)
    write_classes(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSSL_HOME", str(root / "home"))
        patch.setenv("CI", "true")
        for words in commands():
            named = [re.sub(r"^/", "", word) for word in words]
            here = [
                str(root / word) if before in PLACES else SHORT.get(word, word)
                for before, word in zip(["", *named], named, strict=False)
            ]
            assert run(shlex.split(shlex.join(here[:-1]) + " " + here[-1])) == 0, words
    return root


PLACES = {"--model", "--input", "--out", "--labels", "--weights", "--earlier", "--collection"} | {
    "--labelled"
}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def id_of(cohort, name):
    """The id of the scan that lies in a folder, or a file, of this name."""
    opened = medssl.Cohort.open(cohort)
    places = {volume: opened.files(volume)[0] for volume in opened.ids}
    (found,) = [volume for volume, place in places.items() if name in str(place)]
    return found


def test_the_readme_runs_every_pipeline(walked):
    scripts = {path.name for path in FOLDER.glob("*.py")}
    assert {Path(words[1]).name for words in commands() if words[0] == "python"} == scripts
    for script in scripts:
        assert len((FOLDER / script).read_text().splitlines()) < 120


def test_volumes_of_a_model_from_three_cases_come_close_to_the_truth(walked):
    rows = {row["id"]: row for row in rows_of(walked / "few_shot/volumes.csv")}
    for name, truth in (("axial", body(10)[2]), ("coronal", body(11, CORONAL, 27.0)[2])):
        row = rows[id_of(walked / "few_shot/cohort", name)]
        assert row["organ"] == "liver"
        assert float(row["volume_ml"]) == pytest.approx(truth, rel=0.2)
        assert row["cut_off"] == "no"


def test_masks_and_dicom_seg_hold_the_volume_of_the_table(walked):
    highdicom = pytest.importorskip("highdicom")
    for out in ("volumes", "few_shot"):
        for row in rows_of(walked / out / "volumes.csv"):
            mask = nib.load(walked / out / f"masks/{row['id']}.nii.gz")
            number = {"liver": 1, "lung_left": 3}[row["organ"]]
            inside = np.asarray(mask.dataobj) == number
            voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
            assert float(row["volume_ml"]) == pytest.approx(inside.sum() * voxel_ml, abs=0.01)
            seg = walked / out / f"seg/{row['id']}.dcm"
            assert highdicom.seg.segread(seg).PatientID in ("Doe", "Nobody")
    for name, affine in (("axial", STRAIGHT), ("coronal", CORONAL)):
        scan = id_of(walked / "few_shot/cohort", name)
        image = pydicom.dcmread(next((walked / "study" / name).glob("*.dcm")))
        seg = highdicom.seg.segread(walked / f"few_shot/seg/{scan}.dcm")
        assert seg.FrameOfReferenceUID == image.FrameOfReferenceUID
        volume = seg.get_volume(combine_segments=True)
        inside = np.argwhere(volume.array == 1)
        found = inside.mean(axis=0) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        truth = np.argwhere(body(*((10,) if name == "axial" else (11, CORONAL, 27.0)))[1])
        middle = truth.mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
        assert np.abs(found * (-1, -1, 1) - middle).max() < 2.5
    assert {path.stem for path in (walked / "seg").glob("*.dcm")} == {"axial", "coronal", "noise"}


def test_the_nearest_scan_is_the_near_copy_of_another_patient(walked):
    asked = id_of(walked / "similar/cohort", "axial")
    rows = [row for row in rows_of(walked / "similar/similar.csv") if row["id"] == asked]
    found = [row["neighbour"] for row in rows]
    collection = walked / "collection/cohort"
    assert found[0] == id_of(collection, "near")
    assert float(rows[0]["cosine"]) > 0.99 > float(rows[1]["cosine"])
    assert len(found) == 5  # of the others' two scans, one each
    assert not {id_of(collection, name) for name in ("doe", "magnetic")} & set(found)
    assert rows == [r for r in rows_of(walked / "similar_again/similar.csv") if r["id"] == asked]


def test_pictures_are_shown_only_when_asked_for_and_no_one_is_named(walked):
    plain = (walked / "similar/similar.html").read_text()
    pictured = (walked / "similar_again/similar.html").read_text()
    assert "<img" not in plain
    assert pictured.count("<img") == 3 * pictured.count("<article") > 0
    assert "not a medical device" in plain
    assert not re.search("Doe|Roe|axial|archive", plain + pictured)


def test_classes_are_told_apart_and_their_scores_have_intervals(walked):
    scores = json.loads((walked / "classes/scores.json").read_text())["mean"]
    assert scores["auroc"]["value"] > 0.95
    assert scores["balanced_accuracy"]["low"] <= scores["balanced_accuracy"]["value"]
    assert {"calibration_error", "brier"} <= scores.keys()
    rows = {row["id"]: row for row in rows_of(walked / "classes/predictions.csv")}
    known = rows[id_of(walked / "classes/scans", "axial")]
    assert (known["prediction"], known["unlike"]) == ("benign", "no")
    total = float(known["probability_benign"]) + float(known["probability_malignant"])
    assert total == pytest.approx(1)
    assert not re.search("Named", (walked / "classes/cross_validated.csv").read_text())


def test_noise_is_unlike_the_labelled_scans_and_gets_no_class(walked):
    rows = {row["id"]: row for row in rows_of(walked / "classes/predictions.csv")}
    noise = rows[id_of(walked / "classes/scans", "noise")]
    assert (noise["prediction"], noise["unlike"]) == ("", "yes")
    assert float(noise["distance"]) > 2
    held_out = rows_of(walked / "classes/cross_validated.csv")
    folds = {row["patient"] for row in held_out}
    assert (len(held_out), len(folds)) == (20, 10)


def test_what_cannot_be_compared_is_said_in_a_sentence(walked, tmp_path):
    ask = ["--input", str(walked / "study"), "--out", str(tmp_path / "out")]
    empty = ["--weights", str(walked / "runs/encoder"), "--collection", str(tmp_path / "none")]
    similar = "pipelines/clinical/similar_patients.py"
    classes = "pipelines/clinical/calibrated_classes.py"
    assert "is no cohort" in run(["python", similar, *empty, *ask])
    (tmp_path / "few.csv").write_text("image,kind\n")
    table = ["--weights", str(walked / "runs/encoder"), "--labelled", str(tmp_path / "few.csv")]
    assert "image and target" in run(["python", classes, *table, *ask])
