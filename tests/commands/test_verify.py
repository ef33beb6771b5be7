"""Whether what lies on the disk is still what was written."""

from __future__ import annotations

import pytest

from medssl.cli import main
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.session import CommandSession
from medssl.commands.verify import verify
from medssl.encoders import build_encoder
from medssl.errors import InputError, WeightsMismatchError
from medssl.store.recipe import Recipe
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord


@pytest.fixture
def run(tmp_path):
    """A finished run: configuration, export, record with a hash."""
    out = tmp_path / "run"
    config = {"method": {"name": "mae_cnn"}, "encoder": {"name": "resenc_s"}}
    recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))
    contract = InputContract("ct", recipe.to_dict(), recipe.hash, (16, 16, 16))
    encoder = build_encoder(
        "resenc_s",
        spatial_dims=3,
        in_channels=1,
        patch=(16, 16, 16),
        features=(4, 8),
        blocks=(1, 1),
    )
    with CommandSession("pretrain", out=out) as session:
        text = load_configuration(config, {}, pretrain_sections()).to_yaml()
        (out / "config.yaml").write_text(text)
        training = TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab")
        write_export(
            out / "export",
            encoder,
            encoder=encoder,
            contract=contract,
            training=training,
            title="A test",
        )
        session.hash_output(out / "config.yaml", out / "export" / "encoder.safetensors")
    return out


def test_a_whole_run_passes(run, capsys):
    sentences = verify(run)
    assert "2 files have the hash of run.json" in sentences
    assert any("golden features" in sentence for sentence in sentences)
    assert capsys.readouterr().out.endswith("The run is whole.\n")
    assert verify(run / "export")


def test_a_flipped_bit_in_the_weights_is_named(run):
    file = run / "export" / "encoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"export/encoder\.safetensors.*changed"):
        verify(run)
    with pytest.raises(WeightsMismatchError):
        verify(run / "export")


def test_a_missing_file_is_named(run):
    (run / "export" / "encoder.safetensors").unlink()
    with pytest.raises(InputError, match=r"encoder\.safetensors.*missing"):
        verify(run)


def test_a_run_without_export_is_unfinished(run):
    (run / "run.json").unlink()
    (run / "export").rename(run / "elsewhere")
    with pytest.raises(InputError, match="--resume"):
        verify(run)


def test_a_damaged_record_is_named(run):
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json"):
        verify(run)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_nothing_of_ours_is_unusable_input(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["verify", name]) == 3
    assert capsys.readouterr().err.startswith("medssl: ")
