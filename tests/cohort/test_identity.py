from __future__ import annotations

import stat
from pathlib import PurePosixPath

import pytest

from medssl.cohort.identity import home, patient_name, pseudonym, read_salt, session_name
from medssl.errors import OutputError


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz", "sub-01"),
        ("raw/patient01/study1_FLAIR.nii.gz", "patient01"),
        ("raw/patient01/study2_T2W.nii.gz", "patient01"),
        ("Case_0012/ct.nrrd", "case_0012"),
        ("imagesTr/BRATS_001_0000.nii.gz", "BRATS_001"),
        ("imagesTr/BRATS_001_0003.nii.gz", "BRATS_001"),
        ("ct/pt7.nii", "pt7"),
        ("Meier/T1w.nii.gz", "Meier"),
        ("ct.nii.gz", "ct"),
    ],
)
def test_images_of_one_patient_get_one_name(path, name):
    assert patient_name(PurePosixPath(path)) == name


def test_sessions_belong_to_their_subject():
    assert session_name(PurePosixPath("sub-1/ses-a/x.nii")) == "sub-1/ses-a"
    assert session_name(PurePosixPath("sub-1/x.nii")) == ""


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
