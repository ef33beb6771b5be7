"""A labelled subset that is asked during pretraining."""

import numpy as np
import pytest
import torch

import medssl
from medssl.cohort.datasets import open_dataset
from medssl.commands.phantoms import write_phantoms
from medssl.errors import DatasetError
from medssl.evaluation.probing import labelled_crops
from medssl.report.run import RunFolder
from medssl.store.prepare import prepare_dataset
from medssl.store.recipe import Recipe

ORGANS = ("liver", "lung_left", "lung_right")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_phantoms(root / "raw", count=3, size=(32, 32, 32))
    write_phantoms(
        root / "labelled", count=4, size=(32, 32, 32), seed=9, labels=True, organs=ORGANS
    )
    cohort = medssl.index([root / "raw" / "imagesTr"], out=root / "cohort", modality="ct")
    medssl.prepare(cohort, out=root / "store", spacing_mm="native", workers=1)
    return root


@pytest.fixture(scope="module")
def labelled(data):
    dataset = open_dataset(data / "labelled")
    return prepare_dataset(dataset, data / "labelled_store", Recipe(), workers=0)


@pytest.mark.parametrize("patch", [(8, 8, 8), (9, 12)])
def test_crops_have_their_label_in_the_middle(labelled, patch):
    known = labelled_crops(labelled, patch)
    assert sorted(set(known.targets)) == sorted(ORGANS)
    assert len(known.crops) == len(known.targets) == len(known.patients) == 4 * 3 * 3
    assert {crop.shape for crop in known.crops} == {(1, *patch)}
    again = labelled_crops(labelled, patch)
    assert all(torch.equal(a, b) for a, b in zip(known.crops, again.crops, strict=True))
    # lungs are darker than the liver
    middles = [float(crop[(0, *(n // 2 for n in patch))]) for crop in known.crops]
    lungs = [m for m, name in zip(middles, known.targets, strict=True) if name != "liver"]
    liver = [m for m, name in zip(middles, known.targets, strict=True) if name == "liver"]
    assert np.mean(lungs) < np.mean(liver) - 0.3


def test_cases_without_labels_are_refused(data):
    with pytest.raises(DatasetError, match="masks or classes"):
        labelled_crops(medssl.Store.open(data / "store"), (8, 8, 8))


def test_a_run_logs_its_probes_from_the_first_step_on(data, tmp_path):
    config = {
        "method": {"name": "mae_cnn", "mask_size": 8},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": [16, 16, 16], "batch": 1, "workers": 0},
        "trainer": {"steps": 4, "threads": 1, "monitor_every": 2, "accelerator": "cpu"},
    }
    out = tmp_path / "run"
    medssl.pretrain(config=config, data=data / "store", out=out, probe=data / "labelled")
    metrics = RunFolder.open(out).metrics
    for name in ("probe_linear", "probe_knn"):
        steps, values = metrics[name]
        assert len(steps) == 3
        assert ((values >= 0) & (values <= 1)).all()
    assert "alpha_req" in metrics
    assert "Probes" in (out / "report.html").read_text()
