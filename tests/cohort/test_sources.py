from __future__ import annotations

import os
import stat
import zipfile
from pathlib import PurePosixPath

import pytest

from medssl.cohort.sources import from_text, open_sources, to_text, walk
from medssl.cohort.unpack import unpack_zip
from medssl.errors import InputError


def names(source) -> list[str]:
    return [str(path) for path in walk(source).files]


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    return folder


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.nii", "b.nii", "deep/c.nii", "._a.nii", ".DS_Store", "Thumbs.db", "DICOMDIR"):
        (folder / name).write_text("x")
    return folder


def test_a_folder_is_walked_once_and_junk_is_counted(scans, out):
    (source,) = open_sources([scans], out)
    assert names(source) == ["a.nii", "b.nii", "deep/c.nii"]
    assert walk(source).ignored == {"hidden": 4}


def test_a_file_and_a_pattern_mean_these_files_alone(scans, out):
    (one,) = open_sources([scans / "a.nii"], out)
    assert names(one) == ["a.nii"]
    (many,) = open_sources([str(scans / "*.nii")], out)
    assert names(many) == ["a.nii", "b.nii"]
    deep = open_sources([str(scans / "**" / "*.nii")], out)
    assert sorted(name for source in deep for name in names(source)) == ["a.nii", "b.nii", "c.nii"]


def test_a_source_that_is_not_there_is_named(scans, out):
    for absent in (scans / "absent", scans / "*.mha"):
        with pytest.raises(InputError, match=r"absent|mha") as caught:
            open_sources([absent], out)
        assert str(scans) not in str(caught.value)


def test_the_cohort_may_not_lie_in_a_source(scans):
    with pytest.raises(InputError, match="never written to"):
        open_sources([scans], scans / "cohort")


def test_links_are_followed_but_not_in_circles(scans, out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.nii").write_text("x")
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "deep" / "up").symlink_to(scans)
    (scans / "broken.nii").symlink_to(scans / "absent.nii")
    (scans / "self.nii").symlink_to(scans / "self.nii")
    (source,) = open_sources([scans], out)
    found = walk(source)
    assert [str(p) for p in found.files] == ["a.nii", "b.nii", "deep/c.nii", "link/d.nii"]
    assert found.ignored["link in a circle"] == 1
    assert sorted(str(path) for path, _ in found.refused) == ["broken.nii", "self.nii"]


def test_a_pipe_is_refused_and_never_opened(scans, out):
    os.mkfifo(scans / "pipe.nii")
    (source,) = open_sources([scans], out)
    assert [str(path) for path, _ in walk(source).refused] == ["pipe.nii"]


def test_names_that_are_not_utf8_survive_a_table():
    odd = PurePosixPath(os.fsdecode(b"a/caf\xe9.nii"))
    assert from_text(to_text(odd)) == odd
    to_text(odd).encode("utf-8")
    assert to_text(PurePosixPath("a/ü.nii")) == "a/ü.nii"


def test_a_zip_is_unpacked_into_the_cohort(tmp_path, out):
    archive = tmp_path / "scans.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("deep/a.nii", "x")
        content.writestr("b.nii", "x")
    (source,) = open_sources([archive], out)
    assert source.recorded == "unpacked/0"
    assert source.root == out / "unpacked" / "0"
    assert names(source) == ["b.nii", "deep/a.nii"]


def link_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "content"),
    [
        ("../evil.nii", "x"),
        ("/etc/evil.nii", "x"),
        ("deep/../../evil.nii", "x"),
        ("C:/evil.nii", "x"),
        ("..\\evil.nii", "x"),
        (link_entry("link.nii"), "/etc/passwd"),
        ("bomb.nii", b"\0" * 2**25),
    ],
)
def test_an_evil_zip_leaves_nothing_behind(tmp_path, entry, content):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.nii", "x")
        file.writestr(entry, content)
    with pytest.raises(InputError, match="not opened"):
        unpack_zip(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_damaged_zip_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(InputError, match=r"a\.zip.*damaged"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as content:
        content.writestr("a.nii", "abc" * 100)
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(whole.replace(b"abcabc", b"abdabc", 1))
    with pytest.raises(InputError, match=r"b\.zip.*damaged"):
        unpack_zip(tmp_path / "b.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encrypted_zip_says_what_to_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr("a.nii", "x")
    whole = bytearray((tmp_path / "a.zip").read_bytes())
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(whole)
    with pytest.raises(InputError, match="encrypted"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
