"""Reports of runs are made from whatever a run folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medssl.evaluation.metrics import LabelScores
from medssl.evaluation.summary import summarise_masks
from medssl.report.finetune import write_finetune_report
from medssl.report.predictions import prediction_picture
from medssl.report.pretrain import write_pretrain_report
from medssl.report.run import RunFolder
from medssl.types import Picture


@pytest.fixture
def run(tmp_path: Path) -> Path:
    lines = ["step,loss,position,lr-AdamW,volumes_per_s,rankme,feature_spread,validation_dice"]
    for step in range(9, 400, 10):
        look = "12.5,0.4,0.7" if step % 50 == 49 else ",,"
        lines.append(f"{step},{1 / (step + 1)},{0.5 / (step + 1)},0.001,3.5,{look}")
    lines.append("409,nan,,,,,,")
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "config.yaml").write_text(
        "method:\n  name: voco\nencoder:\n  name: resenc_s\ntask:\n  name: segmentation\n"
    )
    (tmp_path / "run.json").write_text(
        json.dumps({"seconds": 754.0, "versions": {"torch": "2.13.0"}, "sha256": {"w": "cd" * 32}})
    )
    (tmp_path / "export").mkdir()
    manifest = {"file": {"sha256": "ef" * 32}, "task": {"labels": {"left_lung": 1}}}
    (tmp_path / "export" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_missing_values_and_nan_are_passed_over(run: Path) -> None:
    metrics = RunFolder.open(run).metrics
    steps, ranks = metrics["rankme"]
    assert steps.tolist() == [50, 100, 150, 200, 250, 300, 350, 400]
    assert set(ranks) == {12.5}
    assert metrics["loss"][0][-1] == 400


def test_a_pretraining_report_shows_loss_rank_pictures_and_hashes(run: Path) -> None:
    picture = Picture("Masked reconstruction", (("input", np.eye(8)),), "look")
    text = write_pretrain_report(run, [picture]).read_text()
    for shown in (
        "voco on resenc_s",
        "Masked reconstruction",
        "RankMe over steps",
        "Feature spread over steps",
        "Learning rate over steps",
        "Volumes a second",
        "12 min 34 s",
        "cd" * 32,
        "ef" * 32,
        "2.13.0",
        "name: resenc_s",
    ):
        assert shown in text, shown
    assert "http" not in text


def test_an_empty_run_folder_still_gets_a_page(tmp_path: Path) -> None:
    text = write_pretrain_report(tmp_path).read_text()
    assert "<h2>" not in text
    assert "<svg" not in text


def test_a_finetuning_report_shows_scores_and_coloured_predictions(run: Path) -> None:
    cases = {
        str(i): {"left_lung": LabelScores(0.9, 0.8, 2.0, 1.0, 3.0, 5.0, 6.0)} for i in range(3)
    }
    scores = summarise_masks(
        cases, patients=None, repeats=20, seed=0, settings={"nsd_tolerance_mm": 2.0}
    )
    truth = np.zeros((8, 8, 4), int)
    truth[2:5, 2:5, 1] = 1
    picture = prediction_picture(
        np.random.default_rng(0).random((8, 8, 4)), {"predicted": truth}, truth
    )
    text = write_finetune_report(run, [picture], evaluation=scores).read_text()
    for shown in ("Segmentation on resenc_s", "left lung", "0.900", "Validation", "surface Dice"):
        assert shown in text, shown


def test_the_slice_with_most_of_the_truth_is_shown() -> None:
    image = np.zeros((6, 6, 5), np.float32)
    image[..., 3] = np.arange(36).reshape(6, 6)
    truth = np.zeros((6, 6, 5), int)
    truth[1:4, 1:4, 3] = 2
    truth[1, 1, 0] = 2
    picture = prediction_picture(image, {"predicted": truth * 0}, truth)
    labels = [label for label, _ in picture.panels]
    assert labels == ["image", "predicted", "true"]
    np.testing.assert_array_equal(picture.panels[0][1], image[..., 3])
