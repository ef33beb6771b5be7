"""``medssl embed`` and ``medssl probe``: from scans to vectors to what they know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from medssl.commands.embed import embed
from medssl.commands.probe import probe
from medssl.encoders import build_encoder
from medssl.errors import InputError, UsageError
from medssl.io.nifti import write_nifti
from medssl.store.recipe import Recipe
from medssl.weights.export import write_export
from medssl.weights.load import load_encoder
from medssl.weights.manifest import InputContract, TrainingRecord


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the export of a small untrained encoder."""
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", spatial_dims=3, in_channels=1, patch=(32, 32, 32))
    recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))
    folder = tmp_path_factory.mktemp("run") / "export"
    write_export(
        folder,
        encoder,
        encoder=encoder,
        contract=InputContract("ct", recipe.to_dict(), recipe.hash, (32, 32, 32)),
        training=TrainingRecord("mae_cnn", 1, 0, 1, 1, "0" * 64),
        title="an untrained encoder",
    )
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    (folder / "deeper").mkdir()
    for number, place in enumerate((folder, folder, folder / "deeper")):
        image = generator.normal(0, 200, (24, 20, 16)).astype(np.int16)
        write_nifti(place / f"scan{number}.nii.gz", image, np.diag([2.0, 2.0, 2.0, 1.0]))
    return folder


def test_every_scan_gets_the_vector_that_the_encoder_gives(
    weights: Path, scans: Path, tmp_path: Path
) -> None:
    out = embed(weights=weights, input=[scans], out=tmp_path / "features.parquet")
    table = pq.read_table(out)
    assert sorted(table["id"].to_pylist()) == ["scan0", "scan1", "scan2"]
    encoder, preprocess = load_encoder(weights)
    with torch.inference_mode():
        expected = encoder.embed(preprocess(scans / "scan1.nii.gz"))[0]
    row = table["id"].to_pylist().index("scan1")
    assert table["features"].to_pylist()[row] == pytest.approx(expected.tolist(), abs=1e-5)
    assert json.loads((tmp_path / "features.run.json").read_text())["volumes"] == 3


def test_patterns_choose_files(weights: Path, scans: Path, tmp_path: Path) -> None:
    out = embed(weights=weights, input=[scans / "*0.nii.gz"], out=tmp_path / "f.parquet")
    assert pq.read_table(out)["id"].to_pylist() == ["scan0"]


def test_a_damaged_scan_is_named_and_left_out(
    weights: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes((scans / "scan0.nii.gz").read_bytes()[:200])
    out = embed(weights=weights, input=[scans, broken], out=tmp_path / "f.parquet")
    assert pq.read_table(out).num_rows == 3
    assert "broken.nii.gz" in capsys.readouterr().err
    with pytest.raises(InputError, match="none of the 1 scans"):
        embed(weights=weights, input=[broken], out=tmp_path / "g.parquet")
    assert not (tmp_path / "g.parquet").exists()


def test_what_can_not_be_embedded_is_refused(weights: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.parquet"):
        embed(weights=weights, input=[scans], out=tmp_path / "features.csv")
    with pytest.raises(InputError, match="does not exist"):
        embed(weights=weights, input=[tmp_path / "absent"], out=tmp_path / "f.parquet")
    with pytest.raises(UsageError, match="given twice"):
        embed(
            weights=weights,
            input=[scans / "scan0.nii.gz", scans / "scan0.nii.gz"],
            out=tmp_path / "f.parquet",
        )


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Return features of 24 cases whose first number tells their class."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(24, 6))
    vectors[:12, 0] += 6
    columns = {
        "id": [f"s{n}" for n in range(24)],
        "features": pa.array(vectors.tolist(), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "features.parquet")
    return tmp_path / "features.parquet"


def test_without_targets_the_features_are_asked_about_themselves(
    features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = probe(features=features)
    assert result["features"]["inputs"] == 24
    assert 1 < result["features"]["rankme"] <= 6
    assert "probes" not in result
    assert "RankMe" in capsys.readouterr().out


def test_with_targets_both_probes_answer(features: Path, tmp_path: Path) -> None:
    targets = tmp_path / "targets.csv"
    lines = [f"s{n},{'a' if n < 12 else 'b'}" for n in range(24)]
    targets.write_text("\n".join(["id,target", *lines]) + "\n")
    out = tmp_path / "probe.json"
    result = probe(features=features, targets=targets, out=out, bootstrap=50)
    assert json.loads(out.read_text()) == result
    assert result["probes"]["linear"]["auroc"]["value"] > 0.95
    assert result["probes"]["knn"]["balanced_accuracy"]["value"] > 0.8


def test_targets_of_other_cases_are_refused(features: Path, tmp_path: Path) -> None:
    targets = tmp_path / "targets.csv"
    targets.write_text("id,target\nelsewhere,a\n")
    with pytest.raises(InputError, match="no case of the features"):
        probe(features=features, targets=targets)
