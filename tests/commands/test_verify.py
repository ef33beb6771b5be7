"""Whether what lies on the disk is still what was written."""

from __future__ import annotations

import fake_dicom as fake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.cli import main
from medssl.cohort.scan import index_sources
from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.commands.session import CommandSession
from medssl.commands.verify import verify
from medssl.encoders import build_encoder
from medssl.errors import InputError, WeightsMismatchError
from medssl.io.nifti import write_nifti
from medssl.io.read import read_volume
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


@pytest.fixture
def cohort(tmp_path):
    """A cohort of three images and a DICOM series."""
    scans = tmp_path / "scans"
    for number in range(3):
        place = scans / f"patient{number}" / "scan_ct.nii"
        place.parent.mkdir(parents=True)
        data = np.random.default_rng(number).normal(0, 500, (8, 9, 7)).astype(np.int16)
        write_nifti(place, data, np.diag([1.0, 1.5, 2.0, 1.0]))
    fake.write_ct(scans / "series")
    out = tmp_path / "cohort"
    out.mkdir()
    return index_sources([scans], out)


def test_a_whole_cohort_passes(cohort, capsys):
    assert main(["verify", str(cohort.path)]) == 0
    assert "4 volumes are where and what they were" in capsys.readouterr().out


def test_all_that_is_wrong_with_a_cohort_is_told(cohort, tmp_path, capsys):
    scans = tmp_path / "scans"
    (scans / "patient0" / "scan_ct.nii").unlink()
    for number, change in ((1, 1), (2, 0)):
        file = scans / f"patient{number}" / "scan_ct.nii"
        volume = read_volume(file)
        affine = volume.affine + np.eye(4, k=3) * (change == 0)
        write_nifti(file, volume.data + np.int16(change), affine)
    (cohort.path / "quarantine.csv").chmod(0o644)
    assert main(["verify", str(cohort.path)]) == 3
    said = capsys.readouterr().err
    assert set(counts_in(said)) == {
        "1 files open to others",
        "1 volumes that can't be read",
        "1 volumes that changed",
        "1 volumes of another place",
    }
    assert "patient" not in said
    assert "mm from where the table says" in said


def counts_in(said: str) -> list[str]:
    """Return the counts of the last line."""
    return said.splitlines()[-1].partition("not sound: ")[2].partition(";")[0].split(", ")


def test_a_damaged_table_is_named(cohort):
    (cohort.path / "volumes.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="damaged"):
        verify(cohort.path)


def test_a_table_with_two_rows_of_one_id_is_unsound(cohort, capsys):
    table = cohort.table
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), cohort.path / "volumes.parquet")
    with pytest.raises(InputError, match="1 ids that are not unique"):
        verify(cohort.path)
    assert "several volumes are called" in capsys.readouterr().err
