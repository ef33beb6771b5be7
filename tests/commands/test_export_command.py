"""Handing weights over."""

from __future__ import annotations

import json

import pytest
import torch

import medssl
from medssl.cli import main
from medssl.encoders import build_encoder
from medssl.store.recipe import Recipe
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))
    encoder = build_encoder(
        "resenc_s",
        spatial_dims=3,
        in_channels=1,
        patch=(16, 16, 16),
        features=(4, 8),
        blocks=(1, 1),
    )
    write_export(
        tmp_path / "run" / "export",
        encoder,
        encoder=encoder,
        contract=InputContract("ct", recipe.to_dict(), recipe.hash, (16, 16, 16)),
        training=TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab"),
        title="A test",
    )
    return tmp_path / "run"


def test_the_copy_loads_as_the_original_and_is_proven(run, tmp_path, capsys):
    out = tmp_path / "handover"
    assert main(["export", str(run), "--to", "medssl", "--out", str(out)]) == 0
    assert {"encoder.safetensors", "manifest.json", "README.md", "run.json"} <= {
        path.name for path in out.iterdir()
    }
    probe = torch.randn(1, 1, 16, 16, 16)
    first, _ = medssl.load_encoder(run)
    second, _ = medssl.load_encoder(out)
    assert all(torch.equal(a, b) for a, b in zip(first(probe), second(probe), strict=True))
    assert set(json.loads((out / "run.json").read_text())["sha256"]) == {
        "encoder.safetensors",
        "manifest.json",
    }
    assert main(["verify", str(out)]) == 0
    assert "golden features" in capsys.readouterr().out


def test_damaged_weights_are_not_handed_over(run, tmp_path, capsys):
    file = run / "export" / "encoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    assert main(["export", str(run), "--out", str(tmp_path / "handover")]) == 3
    assert not (tmp_path / "handover").exists()


def test_an_unknown_format_is_wrong_usage(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "onx", "--out", str(tmp_path / "handover")]) == 2
    assert '--to is "onx"' in capsys.readouterr().err
