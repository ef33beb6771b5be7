"""A patient's data is planted everywhere and looked for in all that commands write and say."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults import canary

PRIVATE = {"volumes.parquet", "quarantine.csv", "sources.json", "index.db"}
"""Files that map ids to paths: their owner alone can read them, and paths alone are in them."""

pytestmark = pytest.mark.slow  # a dozen commands, each a process of its own

DATA = (canary.WORD, canary.DATE, canary.UID, canary.TIME, "1931:07:29")
PATHS = (canary.PLACE, "1931-07-29")


def run(*words: str | Path, home: Path, code: int = 0) -> str:
    """Run a command as a user does and return all that it says."""
    environment = {**os.environ, "MEDSSL_HOME": str(home), "CI": "true"}
    command = [sys.executable, "-m", "medssl", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, env=environment, check=False, cwd=home.parent, timeout=300
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == code, said
    return said


def forms(word: str) -> Iterator[bytes]:
    """Yield how a word may be written."""
    plain = word.lower().encode()
    yield plain
    yield word.lower().encode("utf-16-le")
    yield word.lower().encode("utf-16-be")
    yield plain.hex().encode()


def contents(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, as they are and as what reads it makes of them."""
    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if path.suffix == ".parquet":
        yield str(pq.read_table(path).to_pylist()).encode()
        yield str(pq.read_metadata(path).metadata).encode()
    if raw[:15] == b"SQLite format 3":
        with sqlite3.connect(path) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            for (table,) in tables.fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                    yield repr(row).encode()
                    yield from (_unpacked(value) for value in row if isinstance(value, bytes))


def _unpacked(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


def leaks(content: bytes, words: tuple[str, ...]) -> list[str]:
    """Return the words that are somewhere in these bytes."""
    lowered = content.lower()
    return [word for word in words if any(form in lowered for form in forms(word))]


def leaks_of(folder: Path) -> list[str]:
    """Return what is where it must not be, in all files below a folder."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or "unpacked" in inside.parts:
            continue
        is_private = path.name in PRIVATE and stat.S_IMODE(path.stat().st_mode) == 0o600
        words = DATA if is_private else (*DATA, *PATHS)
        for content in contents(path):
            found += [f"{word} in {inside}" for word in leaks(_without_paths(content, path), words)]
        found += [f"{word} in the name {inside}" for word in leaks(str(inside).encode(), words)]
    return found


def _without_paths(content: bytes, path: Path) -> bytes:
    """Leave out the folder of the date, which is part of a path, where paths may be."""
    return re.sub(rb"1931-07-29", b"", content) if path.name in PRIVATE else content


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the patient's data in ``scans`` and a cohort of it, made by the command."""
    folder = tmp_path_factory.mktemp("canary")
    canary.write_all(folder / "scans")
    return folder


@pytest.fixture(scope="module")
def said(place: Path) -> str:
    """What ``medssl index`` said while it made the cohort."""
    return run(
        *("index", place / "scans", "--out", place / "cohort", "--workers", "1", "--thumbnails"),
        home=place / "home",
    )


def test_the_canary_is_in_what_was_read(place, said):
    """Or nothing would be found for the wrong reason."""
    table = pq.read_table(place / "cohort" / "volumes.parquet").to_pylist()
    assert {row["format"] for row in table} >= {"dicom", "nifti", "image2d"}
    assert len(table) >= 9
    assert all(canary.PLACE in row["path"] or "xray" in row["path"] for row in table)
    quarantine = (place / "cohort" / "quarantine.csv").read_text()
    assert len(quarantine.splitlines()) >= 12
    assert leaks(b"zzyzxq", (canary.WORD,))
    assert leaks("ZZYZXQ".encode("utf-16-le"), (canary.WORD,))


def test_no_file_of_a_cohort_holds_patient_data(place, said):
    assert leaks_of(place / "cohort") == []
    assert leaks_of(place / "home") == []
    unpacked = place / "cohort" / "unpacked"
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in unpacked.iterdir())
    assert not any(leaks(path.name.encode(), (*DATA, *PATHS)) for path in unpacked.iterdir())


def test_no_command_says_patient_data(place, said):
    assert leaks(said.encode(), (*DATA, *PATHS)) == []
    again = run(
        *("index", place / "scans", "--out", place / "again", "--workers", "1", "--debug"),
        *("--reduce", "hash", "--time-series", "split", "--fill-missing", "1"),
        home=place / "home",
    )
    assert leaks(again.encode(), (*DATA, *PATHS)) == []
    assert leaks_of(place / "again") == []
    checked = run("verify", place / "cohort", home=place / "home")
    assert leaks(checked.encode(), (*DATA, *PATHS)) == []


def test_no_file_of_a_store_holds_patient_data(place, said):
    out = place / "store"
    prepared = run(
        *("prepare", place / "cohort", "--out", out, "--spacing", "2", "2", "2"),
        home=place / "home",
    )
    assert leaks(prepared.encode(), (*DATA, *PATHS)) == []
    assert leaks_of(out) == []


@pytest.mark.parametrize("words", [(), ("--debug",)])
def test_sources_without_an_image_are_refused_without_patient_data(tmp_path, words):
    canary.write_broken_alone(tmp_path / "scans")
    said = run(
        *("index", tmp_path / "scans", "--out", tmp_path / "cohort", "--workers", "1", *words),
        home=tmp_path / "home",
        code=3,
    )
    assert "no usable image" in said
    assert leaks(said.encode(), (*DATA, *PATHS)) == []


def test_sources_that_are_gone_are_told_by_id(place, said, tmp_path):
    (place / "scans").rename(place / "moved")
    try:
        told = run("verify", place / "cohort", "--debug", home=place / "home", code=3)
        told += run("prepare", place / "cohort", "--out", "s", "--debug", home=place / "home")
        assert "can't be read any more" in told
        assert leaks(told.encode(), (*DATA, *PATHS)) == []
    finally:
        (place / "moved").rename(place / "scans")
