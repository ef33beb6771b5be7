from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from medssl.cohort.sources import (
    FoundFile,
    PassedOver,
    RefusedPath,
    from_text,
    open_sources,
    to_text,
    walk,
    walk_all,
)
from medssl.cohort.unpack import unpack, unpack_zip
from medssl.errors import InputError, VolumeReadError


def names(source) -> list[str]:
    return [str(entry.path) for entry in walk(source) if isinstance(entry, FoundFile)]


def passed(source) -> Counter[str]:
    return Counter(entry.kind for entry in walk(source) if isinstance(entry, PassedOver))


def refused(source) -> list[str]:
    return [str(entry.path) for entry in walk(source) if isinstance(entry, RefusedPath)]


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
    assert passed(source) == {"hidden": 4}


def test_files_come_in_the_order_of_their_paths_with_size_and_time(scans, out):
    for name in ("deep.nii", "deep-er.nii", "deeper/z.nii", "Z.nii", "deep/a/b.nii", "deep/a.nii"):
        (scans / name).parent.mkdir(exist_ok=True)
        (scans / name).write_text("xyz")
    (source,) = open_sources([scans], out)
    found = names(source)
    assert found == sorted(found)
    assert len(found) == 9
    entry = next(entry for entry in walk(source) if isinstance(entry, FoundFile))
    about = (scans / "Z.nii").stat()
    assert (entry.size, entry.mtime_ns) == (3, about.st_mtime_ns)


def test_a_walk_begins_before_it_knows_the_end_and_goes_deep(tmp_path, out):
    folder = tmp_path / "scans"
    deep = folder.joinpath(*["d"] * 450)
    here = folder
    for part in deep.relative_to(folder).parts:
        here = here / part
        here.mkdir(parents=True)
    (folder / "a.nii").write_text("x")
    (source,) = open_sources([folder], out)
    entries = walk(source)
    assert str(next(entries).path) == "a.nii"
    assert list(entries) == []


def test_a_file_and_a_pattern_mean_these_files_alone(scans, out):
    (one,) = open_sources([scans / "a.nii"], out)
    assert names(one) == ["a.nii"]
    (many,) = open_sources([str(scans / "*.nii")], out)
    assert names(many) == ["a.nii", "b.nii"]
    deep = open_sources([str(scans / "**" / "*.nii")], out)
    assert sorted(name for source in deep for name in names(source)) == ["a.nii", "b.nii", "c.nii"]


def test_a_source_given_twice_counts_once(scans, out):
    assert len(open_sources([scans, scans / "deep" / "..", str(scans)], out)) == 1


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
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    (scans / "again").symlink_to(tmp_path / "elsewhere")
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "deep" / "up").symlink_to(scans)
    (scans / "early").symlink_to(scans / "deep")
    (scans / "broken.nii").symlink_to(scans / "absent.nii")
    (scans / "self.nii").symlink_to(scans / "self.nii")
    (source,) = open_sources([scans], out)
    assert names(source) == ["a.nii", "again/d.nii", "b.nii", "deep/c.nii"]
    assert passed(source)["link to a folder met before"] == 4
    assert sorted(refused(source)) == ["broken.nii", "self.nii"]


def test_a_link_into_a_hidden_folder_is_followed(scans, out):
    """Data managers keep content in a hidden store and link to it."""
    (scans / ".store" / "x").mkdir(parents=True)
    (scans / ".store" / "x" / "d.nii").write_text("x")
    (scans / "series").symlink_to(scans / ".store" / "x")
    (source,) = open_sources([scans], out)
    assert "series/d.nii" in names(source)


def test_a_pipe_is_refused_and_never_opened(scans, out):
    os.mkfifo(scans / "pipe.nii")
    (source,) = open_sources([scans], out)
    assert refused(source) == ["pipe.nii"]


def test_names_that_are_not_utf8_survive_a_table():
    odd = PurePosixPath(os.fsdecode(b"a/caf\xe9.nii"))
    assert from_text(to_text(odd)) == odd
    to_text(odd).encode("utf-8")
    assert to_text(PurePosixPath("a/ü.nii")) == "a/ü.nii"


def zipped(path: Path, files: dict[str, str | bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, text in files.items():
            content.writestr(name, text)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as content:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            content.addfile(entry, io.BytesIO(text))
    return path


def everything(sources, out) -> list[str]:
    found = walk_all(sources, out)
    return [str(sources[n].place(e.path)) for n, e in found if isinstance(e, FoundFile)]


@pytest.mark.parametrize(
    "name", ["scans.zip", "s.tar", "s.tar.gz", "s.TGZ", "s.tar.bz2", "s.tar.xz"]
)
def test_an_archive_is_unpacked_into_the_cohort_for_its_owner_alone(tmp_path, out, name):
    archive = tmp_path / name
    if name.endswith("zip"):
        zipped(archive, {"deep/a.nii": "x", "b.nii": "x"})
    else:
        kind = {"gz": "gz", "GZ": "gz", "z2": "bz2", "xz": "xz"}.get(name[-2:], "")
        tarred(archive, {"./deep/a.nii": b"x", "b.nii": b"x"}, f"w:{kind}")
    (source,) = open_sources([archive], out)
    assert (out / source.recorded) == source.root
    assert source.root.parent == out / "unpacked"
    assert names(source) == ["b.nii", "deep/a.nii"]
    assert stat.S_IMODE(source.root.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(source.root.stat().st_mode) == 0o700
    assert "scans" not in source.recorded


def test_archives_inside_a_folder_are_sources_whose_paths_tell_where_they_lay(tmp_path, out):
    scans = tmp_path / "scans"
    inner = zipped(tmp_path / "inner.zip", {"c.nii": "x"})
    deeper = zipped(tmp_path / "deeper.zip", {"inner.zip": inner.read_bytes()})
    zipped(scans / "visits" / "patient01.zip", {"T1.nii": "x", "more.zip": inner.read_bytes()})
    tarred(scans / "patient02.tar.gz", {"T1.nii": b"y"}, "w:gz")
    zipped(scans / "patient03.zip", {"deeper.zip": deeper.read_bytes()})
    sources = open_sources([scans], out)
    assert sorted(everything(sources, out)) == [
        "patient02/T1.nii",
        "visits/patient01/T1.nii",
        "visits/patient01/more/c.nii",
    ]
    again = open_sources([scans], out)
    refusals = [e for _, e in walk_all(again, out) if isinstance(e, RefusedPath)]
    assert [str(entry.path) for entry in refusals] == ["inner.zip"]
    assert [source.recorded for source in sources] == [source.recorded for source in again]


def test_an_archive_is_unpacked_again_only_when_it_changed(tmp_path, out):
    scans = tmp_path / "scans"
    archive = zipped(scans / "a.zip", {"a.nii": "x"})

    def root() -> Path:
        sources = open_sources([scans], out)
        assert everything(sources, out) == ["a/a.nii"]
        return sources[1].root

    first = root()
    made = (first / "a.nii").stat().st_ino
    assert root() == first
    assert (first / "a.nii").stat().st_ino == made
    assert (first / "a.nii").stat().st_mtime_ns == archive.stat().st_mtime_ns
    zipped(archive, {"a.nii": "longer"})
    second = root()
    assert (second / "a.nii").read_text() == "longer"
    assert [path.name for path in (out / "unpacked").iterdir()] == [second.name]


def test_a_bad_archive_in_a_folder_costs_itself_alone(tmp_path, out):
    scans = tmp_path / "scans"
    zipped(scans / "good.zip", {"a.nii": "x"})
    zipped(scans / "slip.zip", {"../evil.nii": "x"})
    zipped(scans / "bomb.zip", {"a.nii": b"\0" * 2**25})
    (scans / "cut.zip").write_bytes(b"PK\x03\x04 no more")
    (scans / "cut.tar").write_bytes(
        tarred(tmp_path / "x.tar", {"a": b"x" * 999}).read_bytes()[:900]
    )
    (scans / "seven.7z").write_bytes(b"7z")
    sources = open_sources([scans], out)
    entries = [entry for _, entry in walk_all(sources, out)]
    codes = {str(e.path): e.code for e in entries if isinstance(e, RefusedPath)}
    assert codes == {
        "slip.zip": "unreadable",
        "bomb.zip": "too_large",
        "cut.zip": "corrupt",
        "cut.tar": "corrupt",
        "seven.7z": "unreadable",
    }
    assert not any("slip" in e.detail for e in entries if isinstance(e, RefusedPath))
    assert len(sources) == 2


def test_a_half_unpacked_archive_is_unpacked_anew(tmp_path, out):
    archive = zipped(tmp_path / "a.zip", {"a.nii": "x", "b.nii": "y"})
    (source,) = open_sources([archive], out)
    half = source.root.with_name(f".{source.root.name}.4711.part")
    source.root.rename(half)
    (half / "b.nii").unlink()
    (again,) = open_sources([archive], out)
    assert names(again) == ["a.nii", "b.nii"]


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
        ("good.nii/below.nii", "x"),
    ],
)
def test_an_evil_zip_leaves_nothing_behind(tmp_path, entry, content):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.nii", "x")
        file.writestr(entry, content)
    with pytest.raises(VolumeReadError, match="not opened"):
        unpack_zip(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        tar_entry("../evil.nii"),
        tar_entry("/etc/evil.nii"),
        tar_entry("link.nii", tarfile.SYMTYPE),
        tar_entry("link.nii", tarfile.LNKTYPE),
        tar_entry("pipe.nii", tarfile.FIFOTYPE),
        tar_entry("disk.nii", tarfile.BLKTYPE),
        tar_entry("bomb.nii", size=2**25),
        tar_entry("good.nii"),
    ],
    ids=lambda entry: f"{entry.name} {entry.type!r}",
)
def test_an_evil_tar_leaves_nothing_behind(tmp_path, entry):
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(tar_entry("good.nii"))
        file.addfile(entry, io.BytesIO(b"\0" * entry.size))
    with pytest.raises(VolumeReadError, match="not opened"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar.gz"]


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
def test_a_damaged_tar_is_named_wherever_it_is_cut_or_changed(tmp_path, kind):
    random = os.urandom(5000)
    whole = tarred(tmp_path / "whole", {"a": random, "b": random}, f"w:{kind}").read_bytes()
    archive = tmp_path / "x.tar"
    for cut in (0, 100, 512, 3000, 5120, len(whole) - 1 if kind else 11264):
        archive.write_bytes(whole[:cut])
        with pytest.raises(VolumeReadError, match="damaged") as caught:
            unpack(archive, tmp_path / "out")
        assert caught.value.code == "corrupt"
    archive.write_bytes(whole[:150] + bytes([whole[150] ^ 255]) + whole[151:])
    with pytest.raises(VolumeReadError, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_compressed_tar_is_checked_to_its_last_byte(tmp_path):
    archive = tarred(tmp_path / "a.tar.gz", {"a": b"x" * 9999}, "w:gz")
    content = bytearray(archive.read_bytes())
    content[-7] ^= 1
    archive.write_bytes(content)
    with pytest.raises(VolumeReadError, match="damaged"):
        unpack(archive, tmp_path / "out")


def test_a_tar_that_would_fill_the_memory_with_a_name_is_refused(tmp_path):
    archive = tmp_path / "a.tar.gz"
    note = tarfile.TarInfo("././@PaxHeader")
    note.type, note.size = tarfile.XHDTYPE, 2**24
    with gzip.open(archive, "wb") as file:
        file.write(note.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 2**16)
    with pytest.raises(VolumeReadError, match="damaged"):
        unpack(archive, tmp_path / "out")


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
    with pytest.raises(InputError, match=r"encrypted.*unpack it yourself"):
        unpack_zip(tmp_path / "a.zip", tmp_path / "out")
