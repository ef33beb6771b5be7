"""``medssl predict``: masks in the geometry of their scans."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 its own documentation's name
import torch
from scipy.spatial.transform import Rotation

from medssl.commands.predict import predict
from medssl.encoders import build_encoder
from medssl.errors import InputError, UsageError
from medssl.evaluation.tables import read_classes
from medssl.io.dicom_write import write_dicom_series
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
from medssl.store.recipe import Recipe
from medssl.tasks import Classification, Segmentation
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord

PATCH = (16, 16, 16)


def export(folder, kind, labels):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", features=[8, 16], blocks=[1, 1], in_channels=1, patch=PATCH)
    task = kind(encoder=encoder, labels=labels, patch=PATCH)
    recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))
    write_export(
        folder,
        task.network,
        encoder=encoder,
        contract=InputContract("ct", recipe.to_dict(), recipe.hash, PATCH),
        training=TrainingRecord(task.name, 1, 0, 1, 1, "0" * 64),
        title="test",
        task=task.record(),
    )
    return folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return export(
        tmp_path_factory.mktemp("model") / "export", Segmentation, {"liver": 1, "spleen": 2}
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return export(
        tmp_path_factory.mktemp("model") / "export", Classification, {"benign": 0, "malignant": 1}
    )


def voxels(shape=(20, 24, 16), seed=0):
    return np.random.default_rng(seed).integers(-900, 900, shape).astype(np.int16)


STORED_OTHERWISE = np.array(
    [[0.0, 0.0, -2.5, 40.0], [-1.25, 0.0, 0.0, 20.0], [0.0, 1.5, 0.0, -70.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Axes stored front-to-back, upwards, right-to-left; all spacings different."""

TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("xyz", (12, -7, 20), degrees=True).as_matrix() * (1.6, 1.6, 3)
TURNED[:3, 3] = (5.0, -9.0, 70.0)
"""Oblique to the body in every direction."""


@pytest.mark.parametrize("affine", [np.diag([1.0, 1.0, 3.0, 1.0]), STORED_OTHERWISE, TURNED])
def test_a_mask_of_a_nifti_file_lies_on_exactly_its_grid(segmenter, tmp_path, affine):
    write_nifti(tmp_path / "scan.nii.gz", voxels(), affine)
    (mask,) = predict(model=segmenter, input=[tmp_path / "scan.nii.gz"], out=tmp_path / "masks")
    source, predicted = nib.load(tmp_path / "scan.nii.gz"), nib.load(mask)
    assert mask.name == "scan.nii.gz"
    assert predicted.shape == source.shape
    assert np.array_equal(predicted.affine, source.affine)
    assert np.issubdtype(predicted.get_data_dtype(), np.integer)
    assert set(np.unique(np.asanyarray(predicted.dataobj))) <= {0, 1, 2}


def test_a_mask_of_a_dicom_series_lies_on_the_grid_of_the_series(segmenter, tmp_path):
    series = tmp_path / "series"
    write_dicom_series(series, voxels(), np.diag([1.5, 1.5, 2.5, 1.0]), "ct")
    (mask,) = predict(model=segmenter, input=[series], out=tmp_path / "masks")
    volume, predicted = read_volume(series), nib.load(mask)
    assert mask.name == "series.nii.gz"
    assert predicted.shape == volume.data.shape
    assert np.allclose(predicted.affine, volume.affine, atol=1e-4)


def test_a_mask_of_an_nrrd_file_lies_on_its_grid(segmenter, tmp_path):
    image = sitk.GetImageFromArray(voxels().transpose(2, 1, 0))
    image.SetSpacing((0.8, 0.8, 4.0))
    image.SetOrigin((-10.0, 25.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    (mask,) = predict(model=segmenter, input=[tmp_path / "scan.nrrd"], out=tmp_path / "masks")
    predicted = sitk.ReadImage(str(mask))
    assert predicted.GetSize() == image.GetSize()
    assert np.allclose(predicted.GetOrigin(), image.GetOrigin(), atol=1e-4)
    assert np.allclose(predicted.GetSpacing(), image.GetSpacing(), atol=1e-5)


def test_a_scan_that_cannot_be_read_is_named_and_the_others_go_on(segmenter, tmp_path, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    write_nifti(scans / "good.nii.gz", voxels(), np.eye(4))
    write_nifti(scans / "late.nii.gz", voxels(seed=1), np.eye(4))
    (scans / "broken.nii.gz").write_bytes((scans / "good.nii.gz").read_bytes()[:500])
    with pytest.raises(InputError, match="1 of 3 scans") as caught:
        predict(model=segmenter, input=[scans], out=tmp_path / "masks")
    assert caught.value.exit_code == 3
    assert "broken" in capsys.readouterr().err
    masks = {path.name for path in (tmp_path / "masks").glob("*.nii.gz")}
    assert masks == {"good.nii.gz", "late.nii.gz"}
    record = json.loads((tmp_path / "masks" / "run.json").read_text())
    assert (record["predicted"], record["failed"]) == (2, 1)


def test_a_classifier_writes_a_table_that_evaluate_reads(classifier, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(2):
        write_nifti(scans / f"p{number}.nii.gz", voxels(seed=number), np.eye(4))
    (table,) = predict(model=classifier, input=[scans], out=tmp_path / "classes")
    read = read_classes(table)
    assert read.ids == ("p0", "p1")
    assert read.classes == ("benign", "malignant")
    assert np.allclose(read.values.sum(axis=1), 1.0, atol=1e-5)
    with table.open() as file:
        assert {row["prediction"] for row in csv.DictReader(file)} <= {"benign", "malignant"}


def test_two_scans_of_one_name_get_masks_of_two_names(segmenter, tmp_path):
    for folder in ("ann", "bob"):
        (tmp_path / folder).mkdir()
        write_nifti(tmp_path / folder / "ct.nii.gz", voxels(), np.eye(4))
    written = predict(
        model=segmenter, input=[tmp_path / "ann", tmp_path / "bob"], out=tmp_path / "masks"
    )
    assert len({path.name for path in written}) == 2


def test_the_source_is_left_as_it_was(segmenter, tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", voxels(), np.eye(4))
    before = (tmp_path / "scan.nii.gz").read_bytes()
    predict(model=segmenter, input=[tmp_path / "scan.nii.gz"], out=tmp_path / "masks")
    assert (tmp_path / "scan.nii.gz").read_bytes() == before


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_to_predict_is_said_and_nothing_is_written(segmenter, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        predict(model=segmenter, input=[tmp_path / name], out=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_an_unknown_format_is_refused(segmenter, tmp_path):
    with pytest.raises(UsageError, match="nifti"):
        predict(model=segmenter, input=[tmp_path], out=tmp_path / "masks", format="stl")


def test_a_dicom_seg_of_a_series_holds_the_mask_that_nifti_holds(segmenter, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    series = tmp_path / "series"
    write_dicom_series(series, voxels(), TURNED, "ct", patient_id="P1")
    (mask,) = predict(model=segmenter, input=[series], out=tmp_path / "masks")
    (path,) = predict(model=segmenter, input=[series], out=tmp_path / "seg", format="dicom-seg")
    assert path.name == "series.dcm"
    seg = highdicom.seg.segread(path)
    assert (seg.PatientID, seg.Modality) == ("P1", "SEG")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["liver", "spleen"]
    found, expected = seg.get_volume(combine_segments=True), nib.load(mask)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    index = np.argwhere(found.array > 0)
    points = (index @ found.affine[:3, :3].T + found.affine[:3, 3]) @ flip[:3, :3]
    inverse = np.linalg.inv(expected.affine)
    places = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    values = np.asarray(expected.dataobj)
    assert len(index) == (values > 0).sum() > 0
    assert np.array_equal(values[tuple(places.T)], found.array[tuple(index.T)])


def test_a_scan_that_is_no_dicom_series_gets_no_dicom_seg(segmenter, tmp_path, capsys):
    pytest.importorskip("highdicom")
    scans = tmp_path / "scans"
    write_dicom_series(scans / "series", voxels(), np.eye(4), "ct")
    write_nifti(scans / "scan.nii.gz", voxels(), np.eye(4))
    with pytest.raises(InputError, match="1 of 2 scans"):
        predict(model=segmenter, input=[scans], out=tmp_path / "seg", format="dicom-seg")
    assert "no DICOM series" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "seg").glob("*.dcm")] == ["series.dcm"]


def test_a_classifier_draws_no_dicom_seg(classifier, tmp_path):
    pytest.importorskip("highdicom")
    write_nifti(tmp_path / "scan.nii.gz", voxels(), np.eye(4))
    with pytest.raises(UsageError, match="one of classification"):
        predict(
            model=classifier,
            input=[tmp_path / "scan.nii.gz"],
            out=tmp_path / "out",
            format="dicom-seg",
        )
    assert not (tmp_path / "out").exists()
