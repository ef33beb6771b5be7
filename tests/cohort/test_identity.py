from __future__ import annotations

import stat
from pathlib import PurePosixPath

import pytest

from medssl.cohort.identity import (
    dicom_patient,
    home,
    patient_name,
    pseudonym,
    read_salt,
    real_patient_id,
    session_name,
)
from medssl.errors import OutputError

NAMES = [
    ("sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz", "sub-01"),
    ("raw/patient01/study1_FLAIR.nii.gz", "patient01"),
    ("raw/patient01/study2_T2W.nii.gz", "patient01"),
    ("Case_0012/ct.nrrd", "case_0012"),
    ("imagesTr/BRATS_001_0000.nii.gz", "BRATS_001"),
    ("imagesTr/BRATS_001_0003.nii.gz", "BRATS_001"),
    ("imagesTr/liver_3_0000.nii.gz", "liver_3"),
    ("amos/amos_0001.nii.gz", "amos_0001"),
    ("ct/pt7.nii", "pt7"),
    ("Meier/T1w.nii.gz", "Meier"),
    ("s0001/ct.nii.gz", "s0001"),
    ("BraTS2021_00001/BraTS2021_00001_flair.nii.gz", "BraTS2021_00001"),
    ("HGG/Brats18_2013_10_1/Brats18_2013_10_1_t1ce.nii.gz", "brats18_2013_10"),
    ("train/BraTS-GLI-00005-000/BraTS-GLI-00005-000-t1n.nii.gz", "brats-gli-00005"),
    ("train/BraTS-GLI-00005-001/BraTS-GLI-00005-001-t2f.nii.gz", "brats-gli-00005"),
    ("disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon.nii", "oas1_0001"),
    ("disc2/OAS1_0001_MR2/RAW/OAS1_0001_MR2_mpr-1_anon.nii", "oas1_0001"),
    ("ADNI/002_S_0413/MPRAGE/2006-05-19_16_17_47.0/S13893/ADNI_002_S_0413.nii", "002_s_0413"),
    ("IXI-T1/IXI012-HH-1211-T1.nii.gz", "ixi012"),
    ("IXI-T2/IXI012-HH-1211-T2.nii.gz", "ixi012"),
    ("LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-NA-NA-30178/3000566.0-NA-03192/a.nii", "LIDC-IDRI-0001"),
    ("LIDC-IDRI-0001_CT.nii.gz", "LIDC-IDRI-0001"),
    ("1000123_20252_2_0/T1.nii", "1000123"),
    ("1000123_20252_3_0/T1.nii", "1000123"),
    ("images/00000013_026.png", "00000013"),
    ("files/p10/p10000032/s50414267/view.png", "p10000032"),
    ("Doe_John/visit1/t1.nii", "Doe_John"),
    ("Doe_John/2019-01-03/brain.nii", "Doe_John"),
    ("Doe_John/301_ax_t2.nii.gz", "Doe_John"),
    ("P001_visit1.nii", "P001"),
    ("P001_20200101_ct.nii.gz", "P001"),
    ("studies/CT-0/study_0001.nii.gz", "0001"),
    ("visit1/ct.nii", "visit1"),
    ("ct.nii.gz", "."),
    ("flair.nii.gz", "."),
]


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_images_of_one_patient_get_one_name(path, name):
    assert patient_name(PurePosixPath(path)) == name


@pytest.mark.parametrize(
    ("path", "session"),
    [
        ("sub-1/ses-a/x.nii", "sub-1/ses-a"),
        ("sub-1/x.nii", ""),
        ("Doe_John/visit2/t1.nii", "Doe_John/visit2"),
        ("Doe_John/2019-01-03/t1.nii", "Doe_John/2019-01-03"),
        (
            "L/LIDC-IDRI-0001/01-01-2000-NA-NA-30178/3-NA/a.nii",
            "LIDC-IDRI-0001/01-01-2000-NA-NA-30178",
        ),
        ("visits/patient01/t1.nii", ""),
    ],
)
def test_sessions_belong_to_their_subject(path, session):
    assert session_name(PurePosixPath(path)) == session


@pytest.mark.parametrize(
    "word",
    ["", " ", "ANON", "Anonymous", "anonymized", "0", "0000", "N/A", "none", "Unknown", "REMOVED",
     "PatientID", "de-identified", "XXXX", "anon^patient", "test"],
)  # fmt: skip
def test_words_that_stand_for_no_one_are_no_patient_id(word):
    assert real_patient_id(word) == ""


@pytest.mark.parametrize(
    "word", ["4711", "ANON-17", "Patient3", "LUNG1-001", "Anonym42", "1", "Na1"]
)
def test_anything_else_is_one(word):
    assert real_patient_id(f" {word} ") == word


def test_a_dicom_patient_is_its_id_else_its_folder_else_its_study():
    doe = PurePosixPath("Doe_John/2019/S1")
    assert dicom_patient("4711", doe, "1.2.3") == "4711"
    assert dicom_patient("", doe, "1.2.3") == "Doe_John"
    assert dicom_patient("", PurePosixPath("DICOM/S1"), "1.2.3") == "1.2.3"
    assert dicom_patient("", PurePosixPath(), "1.2.3") == "1.2.3"
    assert dicom_patient("", PurePosixPath("DICOM"), "") == "."


def test_the_salt_is_made_once_and_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "deep" / "home"))
    salt = read_salt()
    assert len(salt) == 32
    assert salt == read_salt()
    assert stat.S_IMODE((home() / "salt").stat().st_mode) == 0o600
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "other"))
    assert read_salt() != salt


def test_a_home_that_can_not_be_made_is_an_output_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(OutputError, match="MEDSSL_HOME"):
        read_salt()


def test_pseudonyms_hide_the_name_and_depend_on_the_salt():
    assert pseudonym(b"a", "Doe^John") == pseudonym(b"a", "Doe^John")
    assert pseudonym(b"a", "Doe^John") != pseudonym(b"b", "Doe^John")
    assert pseudonym(b"a", "Doe^John") != pseudonym(b"a", "Doe^Jane")
    assert pseudonym(b"a", "") == ""
    assert "Doe" not in pseudonym(b"a", "Doe^John")
