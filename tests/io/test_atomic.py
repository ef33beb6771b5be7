from __future__ import annotations

import errno
import json
import os
import stat

import pytest

from medssl.errors import OutputError, UsageError
from medssl.io.atomic import (
    MARKER,
    atomic_path,
    claim_output,
    release_output,
    write_json,
    write_text,
)


def test_an_error_halfway_leaves_the_old_file_and_no_trace(tmp_path):
    target = tmp_path / "table.nii.gz"
    target.write_text("old")

    def fail_halfway():
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.nii.gz"]


def test_the_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    with atomic_path(tmp_path / "scan.nii.gz") as temporary:
        assert temporary.name.endswith("scan.nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_text("x")


def test_a_private_file_is_private_from_the_first_byte_on(tmp_path):
    with atomic_path(tmp_path / "map.json", mode=0o600) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("x")
    assert stat.S_IMODE((tmp_path / "map.json").stat().st_mode) == 0o600


def test_a_full_disk_is_an_output_error_that_says_so(tmp_path):
    with pytest.raises(OutputError, match="disk is full"), atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_reading_something_else_is_not_blamed_on_the_output(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.bin"):
        (tmp_path / "absent").read_bytes()


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"a\.txt"):
        write_text(tmp_path / "absent" / "a.txt", "x")


def test_json_keeps_names_that_are_not_utf8_and_refuses_nan(tmp_path):
    name = os.fsdecode(b"caf\xe9.nii")
    write_json(tmp_path / "a.json", {"path": name})
    assert json.loads((tmp_path / "a.json").read_text())["path"] == name
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))


def test_claiming_makes_the_folder_and_refuses_a_full_one(tmp_path):
    out = claim_output(tmp_path / "deep" / "out")
    (out / "result.txt").write_text("x")
    with pytest.raises(UsageError, match="--overwrite") as caught:
        claim_output(out)
    assert caught.value.exit_code == 2
    assert claim_output(out, resume=True) == out
    assert (out / "result.txt").exists()


def test_overwriting_empties_what_medssl_wrote_and_nothing_else(tmp_path):
    out = claim_output(tmp_path / "out")
    (out / "data").mkdir()
    (out / "data" / "a.bin").write_text("x")
    claim_output(out, overwrite=True)
    assert [entry.name for entry in out.iterdir()] == [MARKER]
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("years of work")
    with pytest.raises(UsageError, match="did not write"):
        claim_output(thesis, overwrite=True)
    assert (thesis / "chapter1.tex").read_text() == "years of work"


def test_both_options_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="exclude"):
        claim_output(tmp_path / "out", overwrite=True, resume=True)


def test_a_file_in_the_way_is_an_output_error(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="out"):
        claim_output(tmp_path / "out")


def test_releasing_removes_an_empty_claim_and_keeps_results(tmp_path):
    release_output(claim_output(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()
    full = claim_output(tmp_path / "full")
    (full / "a").write_text("x")
    release_output(full)
    assert (full / "a").exists()
