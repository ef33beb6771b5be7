"""The page of the demo joins the stages and claims no more than the numbers allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medssl.cohort.cohort import Cohort
from medssl.cohort.scan import index_sources
from medssl.evaluation.metrics import LabelScores
from medssl.evaluation.summary import Evaluation, summarise_masks
from medssl.io.nifti import write_nifti
from medssl.report.demo import Comparison, PretrainedRun, write_demo_report
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe
from medssl.store.store import Store


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Store]:
    folder = tmp_path_factory.mktemp("road")
    (folder / "raw").mkdir()
    (folder / "cohort").mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        image = np.full((24, 24, 20), -1000, np.int16)
        image[4:20, 4:20] = generator.normal(40, 20, (16, 16, 20))
        write_nifti(folder / "raw" / f"SAMPLE_PATIENT_{number}.nii.gz", image, np.eye(4) * 2)
    cohort = index_sources([folder / "raw"], folder / "cohort")
    store = prepare_cohort(cohort, folder / "store", Recipe(), workers=0)
    return cohort, store


def evaluation(dice: list[float]) -> Evaluation:
    cases = {
        str(n): {"liver": LabelScores(value, value, 3.0, 0.0, 0.0, 1.0, 1.0)}
        for n, value in enumerate(dice)
    }
    return summarise_masks(cases, patients=None, repeats=200, seed=0, settings={"labels": {}})


def page(
    prepared: tuple[Cohort, Store], path: Path, scratch: list[float], pretrained: list[float]
) -> str:
    comparison = Comparison(
        pretrained=evaluation(pretrained), scratch=evaluation(scratch), labelled=4, method="mae"
    )
    write_demo_report(
        path / "report.html",
        cohort=prepared[0],
        store=prepared[1],
        patch=(16, 16, 16),
        runs=[PretrainedRun("mae", path)],
        comparison=comparison,
        seconds=61,
    )
    return (path / "report.html").read_text()


def test_every_stage_that_there_is_has_its_section(
    prepared: tuple[Cohort, Store], tmp_path: Path
) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss,rankme\n0,2.0,4.0\n1,1.0,5.0\n")
    text = page(prepared, tmp_path, [0.5, 0.6, 0.7], [0.7, 0.8, 0.9])
    for title in (
        "The cohort",
        "What the network is fed",
        "Pretraining with mae",
        "Is it worth it?",
    ):
        assert f"<h2>{title}</h2>" in text
    assert text.count('src="data:image/png') == 10
    assert "1 min 01 s" in text
    assert "SAMPLE" not in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("pretrained", "claim"),
    [
        ([0.70, 0.81, 0.92], "the pretrained one is better by +0.210"),
        ([0.30, 0.41, 0.52], "the pretrained one is worse by \u22120.190"),
        ([0.40, 0.80, 0.60], "to tell"),
    ],
)
def test_the_verdict_follows_the_interval(
    prepared: tuple[Cohort, Store], tmp_path: Path, pretrained: list[float], claim: str
) -> None:
    text = page(prepared, tmp_path, [0.5, 0.6, 0.7], pretrained)
    assert claim in text
    assert "Pretraining with mae" not in text
