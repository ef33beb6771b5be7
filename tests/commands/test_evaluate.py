"""``medssl evaluate`` on files: pairs, geometry, names of labels, tables, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medssl.commands.evaluate import evaluate
from medssl.errors import GeometryError, InputError, UsageError
from medssl.io.nifti import write_nifti

AFFINE = np.diag([1.0, 1.0, 2.5, 1.0])
LABELS = {"0": "background", "1": "front", "2": "back"}

Write = Callable[..., Path]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return predictions and references of four cases, of which the first is predicted exactly."""
    generator = np.random.default_rng(0)
    predictions, references = tmp_path / "masks", tmp_path / "dataset" / "labelsTr"
    predictions.mkdir()
    references.mkdir(parents=True)
    for number in range(4):
        truth = np.zeros((14, 12, 10), np.int16)
        truth[2:12, 2:6, 2:8], truth[2:12, 6:10, 2:8] = 1, 2
        said = np.where(generator.random(truth.shape) < 0.1 * number, 0, truth).astype(np.int16)
        write_nifti(references / f"case_{number}.nii.gz", truth, AFFINE)
        write_nifti(predictions / f"case_{number}.nii.gz", said, AFFINE)
    (references.parent / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    return predictions, references


def test_scores_are_written_per_case_per_label_and_in_the_mean(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    result = evaluate(predictions=folders[0], references=folders[1], out=out, bootstrap=200)
    assert json.loads(out.read_text()) == result
    assert [case["id"] for case in result["cases"]] == [f"case_{n}" for n in range(4)]
    assert list(result["labels"]) == ["front", "back"]
    first, last = result["cases"][0], result["cases"][-1]
    assert first["mean"]["dice"] == 1.0
    assert first["labels"]["front"]["reference_ml"] == pytest.approx(10 * 4 * 6 * 2.5 / 1000)
    assert last["mean"]["dice"] < 0.95
    mean = result["mean"]["dice"]
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["value"] == pytest.approx(
        np.mean([case["mean"]["dice"] for case in result["cases"]])
    )
    printed = capsys.readouterr().out
    assert "front" in printed
    assert f"{mean['value']:.3f} ({mean['low']:.3f}, {mean['high']:.3f})" in printed
    record = json.loads((tmp_path / "scores.run.json").read_text())
    assert record["cases"] == 4


def test_the_same_seed_gives_the_same_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        evaluate(predictions=folders[0], references=folders[1], out=tmp_path / name, bootstrap=50)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_missing_prediction_is_named_unless_a_subset_is_asked_for(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[0] / "case_2.nii.gz").unlink()
    out = tmp_path / "scores.json"
    with pytest.raises(InputError, match="no prediction for case_2"):
        evaluate(predictions=folders[0], references=folders[1], out=out)
    assert not out.exists()
    result = evaluate(
        predictions=folders[0], references=folders[1], out=out, subset=True, bootstrap=20
    )
    assert len(result["cases"]) == 3
    assert result["settings"]["references_left_out"] == 1


def test_a_mask_elsewhere_in_space_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 40.0
    write_nifti(folders[0] / "case_1.nii.gz", np.zeros((14, 12, 10), np.int16), moved)
    with pytest.raises(GeometryError, match=r"case_1 lie 40\.0 mm apart"):
        evaluate(predictions=folders[0], references=folders[1], out=tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_a_value_that_is_no_label_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_nifti(folders[0] / "case_1.nii.gz", np.full((14, 12, 10), 9, np.int16), AFFINE)
    with pytest.raises(InputError, match=r"case_1 hold the values \[9\]"):
        evaluate(predictions=folders[0], references=folders[1], out=tmp_path / "scores.json")


def test_labels_that_nobody_named_are_called_after_their_values(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[1].parent / "dataset.json").unlink()
    result = evaluate(
        predictions=folders[0], references=folders[1], out=tmp_path / "scores.json", bootstrap=20
    )
    assert list(result["labels"]) == ["label_1", "label_2"]


def test_a_file_that_is_there_is_kept_unless_told_otherwise(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    out.write_text("mine")
    with pytest.raises(UsageError, match="overwrite"):
        evaluate(predictions=folders[0], references=folders[1], out=out)
    assert out.read_text() == "mine"
    evaluate(predictions=folders[0], references=folders[1], out=out, overwrite=True, bootstrap=20)
    assert out.read_text().startswith("{")


def test_senseless_options_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bootstrap"):
        evaluate(
            predictions=folders[0], references=folders[1], out=tmp_path / "s.json", bootstrap=0
        )


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    said, true = tmp_path / "said", tmp_path / "true.csv"
    said.mkdir()
    lines = ["id,prediction,probability_well,probability_ill"]
    targets = ["image,target,patient"]
    for number in range(12):
        sick = 0.2 + 0.05 * number
        lines.append(f"s{number},x,{1 - sick:.6f},{sick:.6f}")
        targets.append(f"scans/s{number}.nii.gz,{'ill' if number > 5 else 'well'},p{number // 2}")
    (said / "predictions.csv").write_text("\n".join(lines) + "\n")
    true.write_text("\n".join(targets) + "\n")
    return said, true


def test_class_tables_are_scored(tables: tuple[Path, Path], tmp_path: Path) -> None:
    result = evaluate(
        predictions=tables[0], references=tables[1], out=tmp_path / "s.json", bootstrap=50
    )
    assert result["task"] == "classification"
    assert result["mean"]["auroc"]["value"] == 1.0
    assert len(result["cases"]) == 12
    assert result["labels"] == {}


def test_a_class_without_a_probability_is_named(tables: tuple[Path, Path], tmp_path: Path) -> None:
    tables[1].write_text(tables[1].read_text().replace(",ill,", ",other,"))
    with pytest.raises(InputError, match=r"\['other'\]"):
        evaluate(predictions=tables[0], references=tables[1], out=tmp_path / "s.json")
