"""What every command does around its work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medssl.commands.session import CommandSession
from medssl.errors import InputError, UsageError


def run_json(out: Path) -> dict:
    return json.loads((out / "run.json").read_text("utf-8"))


def write_run(out: Path, text: str = "first", **options) -> None:
    with CommandSession("index", out=out, **options):
        (out / "result.txt").write_text(text)


def test_a_finished_command_leaves_its_record(tmp_path):
    out = tmp_path / "deep" / "cohort"
    with CommandSession("index", out=out, options={"seed": 3, "names": ("a", "b")}) as session:
        assert list(session.progress(range(4), unit="volume", doing="reading")) == [0, 1, 2, 3]
        (out / "result.txt").write_text("42")
        session.hash_output(out / "result.txt")
        session.record["volumes"] = 4
    record = run_json(out)
    assert record["command"] == "index"
    assert record["status"] == "finished"
    assert record["options"] == {"seed": 3, "names": ["a", "b"]}
    assert record["stages"]["reading"]["volumes"] == 4
    assert record["volumes"] == 4
    assert record["sha256"]["result.txt"].startswith("73475cb40a568e8d")
    assert {"python", "medssl", "torch"} <= set(record["versions"])


def test_the_record_holds_no_path_of_the_user(tmp_path):
    scans = tmp_path / "DOE^JANE" / "ct"
    scans.mkdir(parents=True)
    options = {
        "sources": [scans, str(scans)],
        "config": tmp_path / "mae.yaml",
        "nested": {"a": scans},
    }
    with CommandSession("index", out=tmp_path / "out", options=options):
        pass
    text = (tmp_path / "out" / "run.json").read_text("utf-8")
    assert "DOE" not in text
    assert str(tmp_path) not in text
    assert json.loads(text)["options"]["config"] == "mae.yaml"


def test_an_output_folder_with_content_is_refused_and_kept(tmp_path):
    out = tmp_path / "cohort"
    write_run(out)
    with pytest.raises(UsageError, match="--overwrite"):
        write_run(out, "second")
    assert (out / "result.txt").read_text() == "first"


def test_overwrite_replaces_the_whole_folder(tmp_path):
    out = tmp_path / "cohort"
    write_run(out)
    (out / "old.txt").write_text("old")
    write_run(out, "second", overwrite=True)
    assert (out / "result.txt").read_text() == "second"
    assert not (out / "old.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_overwrite_spares_a_folder_that_medssl_did_not_write(tmp_path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError):
        write_run(out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_refused_input_gives_the_overwritten_result_back(tmp_path):
    out = tmp_path / "cohort"
    write_run(out)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(InputError), CommandSession("index", out=out, overwrite=True):
        raise InputError("no image")
    assert (out / "result.txt").read_text() == "first"
    assert sorted(path.name for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_a_refused_input_leaves_no_new_folder(tmp_path):
    with pytest.raises(InputError), CommandSession("index", out=tmp_path / "a" / "b"):
        raise InputError("no image")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_input_leaves_an_empty_folder_empty(tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    with pytest.raises(InputError), CommandSession("index", out=out):
        raise InputError("no image")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("bad"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_what_was_done_before_an_error_is_kept_with_its_status(tmp_path, error, status):
    out = tmp_path / "run"

    def work():
        with CommandSession("pretrain", out=out):
            (out / "checkpoint").write_text("half way")
            raise error

    with pytest.raises(type(error)):
        work()
    assert (out / "checkpoint").exists()
    assert run_json(out)["status"] == status
    assert run_json(out)["error"] == type(error).__name__


def test_resume_keeps_what_is_there(tmp_path):
    out = tmp_path / "run"
    write_run(out)
    with CommandSession("index", out=out, resume=True):
        assert (out / "result.txt").read_text() == "first"


def test_an_output_file_gets_its_record_beside_it(tmp_path):
    out = tmp_path / "scores" / "liver.json"
    with CommandSession("evaluate", out=out, file=True):
        out.write_text("{}")
    assert sorted(path.name for path in out.parent.iterdir()) == ["liver.json", "liver.run.json"]
    with (
        pytest.raises(UsageError, match=r"liver\.json"),
        CommandSession("evaluate", out=out, file=True),
    ):
        pass


def test_a_failed_output_file_leaves_no_folder(tmp_path):
    out = tmp_path / "scores" / "liver.json"
    with pytest.raises(InputError), CommandSession("evaluate", out=out, file=True):
        raise InputError("no masks")
    assert list(tmp_path.iterdir()) == []


def test_the_summary_ends_with_what_to_do_next(tmp_path, capsys):
    with CommandSession("index", out=tmp_path / "cohort") as session:
        session.note("3 files are no images")
        session.summary(
            ["7 volumes of [2] patients"], next_step="medssl prepare cohort --out store"
        )
    said = capsys.readouterr()
    assert said.err == "3 files are no images\n"
    assert said.out.splitlines() == [
        "7 volumes of [2] patients",
        "Wrote cohort",
        "Next: medssl prepare cohort --out store",
    ]
