"""Masks as DICOM SEG: at the same millimetres as the images they lie over."""

from __future__ import annotations

import itertools
import sys

import fake_dicom as fake
import numpy as np
import pydicom
import pytest
from faults.dicom_series import enhanced
from pydicom.sr.codedict import codes

from medssl.errors import GeometryError, InputError, UsageError
from medssl.io.dicom_seg import write_dicom_seg
from medssl.io.dicom_series import write_dicom_series
from medssl.io.dicom_terms import terms_of
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume

highdicom = pytest.importorskip("highdicom")

AXES = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
LABELS = {"liver": 1, "kidney_left": 4}
MODEL = {"algorithm": "local/liver", "algorithm_version": "ab" * 32}


def corner(shape):
    """A mask that is like none of its mirror images: label 1 in one corner, 4 in another."""
    mask = np.zeros(shape, np.uint8)
    mask[0:2, 1:4, 1:3] = 1
    mask[0, 0, 0] = 1
    mask[-1, 1, -1] = 4
    return mask


def from_volume(source, mask, value):
    """Where the voxels of a value lie in RAS+ millimetres, by medssl's reading of the series."""
    index = np.argwhere(mask == value)
    affine = read_volume(source).affine
    return np.sort(np.round(index @ affine[:3, :3].T + affine[:3, 3], 2) + 0.0, axis=0)


def from_seg(path, number):
    """The same of a segment, by the plain rule of PS3.3 C.7.6.2.1.1 and nothing of ours."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    along = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows_mm, columns_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    planes = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    points = []
    for plane, group in zip(planes, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        start = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(plane):
            lps = start + column * columns_mm * along[:3] + row * rows_mm * along[3:]
            points.append(lps * (-1, -1, 1))
    return np.sort(np.round(points, 2) + 0.0, axis=0)


def check_in_place(path, source, mask):
    for number, value in enumerate(LABELS.values(), start=1):
        expected, found = from_volume(source, mask, value), from_seg(path, number)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 0.02
    names = {n.segment_label for n in highdicom.seg.segread(path).SegmentSequence}
    assert names == set(LABELS)


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_a_mask_lies_at_its_millimetres_in_any_of_48_orientations(tmp_path, order, signs):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[:, order] * signs) * (0.9, 0.7, 2.5)
    affine[:3, 3] = (10, -20, 30)
    fake.write_ct(tmp_path / "ct", affine=affine)
    mask = corner(read_volume(tmp_path / "ct").data.shape)
    write_dicom_seg(tmp_path / "seg.dcm", mask, tmp_path / "ct", LABELS, **MODEL)
    check_in_place(tmp_path / "seg.dcm", tmp_path / "ct", mask)


def test_a_mask_of_an_oblique_series_lies_in_place_and_refers_to_each_image(tmp_path):
    files = fake.write_ct(tmp_path / "ct", affine=fake.oblique())
    mask = corner(read_volume(tmp_path / "ct").data.shape)
    write_dicom_seg(tmp_path / "seg.dcm", mask, tmp_path / "ct", LABELS, **MODEL)
    check_in_place(tmp_path / "seg.dcm", tmp_path / "ct", mask)
    images = {str(pydicom.dcmread(path).SOPInstanceUID): pydicom.dcmread(path) for path in files}
    for group in pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        image = images[reference.ReferencedSOPInstanceUID]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == image.ImagePositionPatient


def test_a_mask_of_a_tilted_series_lies_on_the_straightened_grid(tmp_path):
    affine = np.diag([1.5, 1.75, 2.0, 1.0])
    affine[1, 2] = 0.8
    fake.write_ct(tmp_path / "ct", affine=affine, data=fake.body((18, 17, 16)))
    volume = read_volume(tmp_path / "ct")
    assert "tilt_resampled" in volume.fixes
    mask = corner(volume.data.shape)
    write_dicom_seg(tmp_path / "seg.dcm", mask, tmp_path / "ct", LABELS, **MODEL)
    check_in_place(tmp_path / "seg.dcm", tmp_path / "ct", mask)


def test_a_mask_of_a_multi_frame_file_lies_in_place_whatever_the_order_of_its_frames(tmp_path):
    enhanced(tmp_path / "mr", [(at, {}) for at in (3, 1, 0, 2, 4, 6, 5, 7, 9, 8)])
    mask = corner(read_volume(tmp_path / "mr").data.shape)
    write_dicom_seg(tmp_path / "seg.dcm", mask, tmp_path / "mr", LABELS, **MODEL)
    check_in_place(tmp_path / "seg.dcm", tmp_path / "mr", mask)


def test_patient_study_and_frame_of_reference_are_those_of_the_series(tmp_path):
    (first, *_) = fake.write_ct(tmp_path / "ct", patient_id="P7")
    mask = corner((7, 6, 8))
    write_dicom_seg(tmp_path / "seg.dcm", mask, tmp_path / "ct", LABELS, **MODEL)
    image, seg = pydicom.dcmread(first), highdicom.seg.segread(tmp_path / "seg.dcm")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword] == image[keyword]
    assert seg.SeriesInstanceUID != image.SeriesInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert seg.DeviceSerialNumber == MODEL["algorithm_version"]
    kidney = seg.get_segment_description(2)
    assert kidney.segmented_property_type == codes.SCT.Kidney
    (kind,) = kidney.SegmentedPropertyTypeCodeSequence
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_the_same_mask_has_the_same_identifiers_and_another_has_others(tmp_path):
    fake.write_ct(tmp_path / "ct")
    uids = []
    for number, mask in enumerate((corner((7, 6, 8)), corner((7, 6, 8)), np.ones((7, 6, 8), int))):
        path = tmp_path / f"{number}.dcm"
        write_dicom_seg(path, mask, tmp_path / "ct", LABELS, **MODEL)
        uids.append(pydicom.dcmread(path).SOPInstanceUID)
    assert uids[0] == uids[1] != uids[2]


def test_a_mask_in_which_nothing_was_found_names_its_segments(tmp_path):
    fake.write_ct(tmp_path / "ct")
    empty = np.zeros((7, 6, 8), np.uint8)
    write_dicom_seg(tmp_path / "seg.dcm", empty, tmp_path / "ct", LABELS, **MODEL)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == list(LABELS)
    assert not seg.pixel_array.any()


def test_files_whose_names_were_taken_out_get_a_mask(tmp_path):
    files = fake.write_ct(tmp_path / "ct")
    gone = dict.fromkeys(["PatientName", "PatientBirthDate", "AccessionNumber", "StudyTime"])
    fake.edit_all(files, lambda dataset, _: fake.put(**gone, PatientSex="U")(dataset))
    write_dicom_seg(tmp_path / "seg.dcm", corner((7, 6, 8)), files, LABELS, **MODEL, part=0)
    check_in_place(tmp_path / "seg.dcm", tmp_path / "ct", corner((7, 6, 8)))


def planar(folder):
    write_dicom_series(folder, fake.body((9, 8)), np.diag([0.2, 0.2, 1.0, 1.0]), "xr")


def nameless(folder):
    fake.edit_all(fake.write_ct(folder), lambda d, _: fake.put(FrameOfReferenceUID=None)(d))


def odd(folder):
    with pydicom.config.disable_value_validation():
        fake.edit_all(fake.write_ct(folder), lambda d, _: fake.put(StudyDate="Doe")(d))


def nifti(folder):
    folder.mkdir()
    write_nifti(folder / "scan.nii.gz", fake.body(), np.eye(4))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (nifti, "is no DICOM series"),
        (planar, "is a single picture"),
        (nameless, "frame of reference"),
        (odd, "does not allow"),
    ],
)
def test_a_source_that_a_seg_cannot_lie_over_is_refused(tmp_path, write, reason):
    write(tmp_path / "source")
    with pytest.raises(InputError, match=reason) as refusal:
        write_dicom_seg(
            tmp_path / "seg.dcm", corner((7, 6, 8)), tmp_path / "source", LABELS, **MODEL
        )
    assert "Doe" not in str(refusal.value)
    assert not list(tmp_path.glob("*.dcm"))


def test_without_highdicom_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    fake.write_ct(tmp_path / "ct")
    with pytest.raises(UsageError, match=r"medssl\[seg\]"):
        write_dicom_seg(tmp_path / "s.dcm", corner((7, 6, 8)), tmp_path / "ct", LABELS, **MODEL)


def test_a_mask_that_does_not_fit_is_refused(tmp_path):
    fake.write_ct(tmp_path / "ct")
    with pytest.raises(GeometryError, match=r"\(7, 6, 7\)"):
        write_dicom_seg(tmp_path / "s.dcm", corner((7, 6, 7)), tmp_path / "ct", LABELS, **MODEL)
    odd = np.where(corner((7, 6, 8)) == 4, 3, 0)
    with pytest.raises(GeometryError, match="value 3"):
        write_dicom_seg(tmp_path / "s.dcm", odd, tmp_path / "ct", LABELS, **MODEL)
    with pytest.raises(GeometryError, match="value -3"):
        write_dicom_seg(tmp_path / "s.dcm", -odd, tmp_path / "ct", LABELS, **MODEL)
    with pytest.raises(GeometryError, match="value 4"):
        write_dicom_seg(
            tmp_path / "s.dcm", corner((7, 6, 8)), tmp_path / "ct", {"liver": 1}, **MODEL
        )


@pytest.mark.parametrize(
    ("label", "meaning", "side"),
    [
        ("lung_right", "Lung", "Right"),
        ("vertebrae", "Vertebra", None),
        ("Urinary Bladder", "Bladder", None),
        ("left adrenal gland", "Adrenal gland", "Left"),
        ("liver_tumour", "Neoplasm", None),
        ("vena_cava", "vena_cava", None),
    ],
)
def test_labels_become_terms_that_viewers_know(label, meaning, side):
    terms = terms_of(label)
    assert terms.property_type.meaning == meaning
    assert (terms.side.meaning if terms.side else None) == side
    assert len(terms.property_type.value) <= 16
    abnormal = terms.category == codes.SCT.MorphologicallyAbnormalStructure
    assert abnormal == (meaning == "Neoplasm")
