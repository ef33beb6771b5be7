"""``medssl prepare`` as a user meets it."""

import json
import shutil

import numpy as np
import pytest

from medssl.cli import main
from medssl.cohort.scan import index_sources
from medssl.commands.benchmark import crops
from medssl.commands.prepare import prepare
from medssl.errors import ConfigError, InputError, StoreError, UsageError
from medssl.io.nifti import write_nifti
from medssl.store.store import Store, volume_path


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A cohort of three volumes of different spacing and orientation."""
    root = tmp_path_factory.mktemp("road")
    (root / "scans").mkdir()
    (root / "cohort").mkdir()
    for number, edge in enumerate([1.0, 1.5, 4.0]):
        data = np.random.default_rng(number).integers(0, 300, (16, 20, 24)).astype(np.int16)
        affine = np.array([[0, 0, edge, 0], [-2.0, 0, 0, 9], [0, 1.0, 0, 0], [0, 0, 0, 1]])
        write_nifti(root / "scans" / f"subject{number}_mr.nii.gz", data, affine)
    return index_sources([root / "scans"], root / "cohort")


def test_the_median_of_the_cohort_is_taken_axis_by_axis_in_ras(indexed, tmp_path, capsys):
    store = prepare(indexed.path, out=tmp_path / "store")
    assert store.recipe.spacing_mm == (1.5, 2.0, 1.0)
    told = capsys.readouterr()
    assert "1.5 x 2 x 1 mm" in told.err
    assert "3 volumes" in told.out
    assert "medssl pretrain" in told.out
    record = json.loads((store.path / "run.json").read_text())
    assert record["volumes"] == 3
    assert record["recipe_hash"] == store.recipe.hash


def test_native_keeps_every_volume_s_own_grid(indexed, tmp_path):
    store = prepare(indexed, out=tmp_path / "store", spacing_mm="native", ct_window=(-200, 300))
    assert store.recipe.spacing_mm is None
    assert store.recipe.ct.high == 300
    assert {store.row(volume)["shape"] for volume in store.ids} == {(24, 16, 20)}


def test_the_command_line_takes_three_numbers_and_ends_with_what_is_next(indexed, tmp_path, capsys):
    out = tmp_path / "store"
    command = ["prepare", str(indexed.path), "--out", str(out), "--spacing", "2", "2", "2"]
    assert main(command) == 0
    assert Store.open(out).recipe.spacing_mm == (2.0, 2.0, 2.0)
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_resume_mends_a_damaged_store_and_refuses_another_recipe(indexed, tmp_path):
    out = tmp_path / "store"
    store = prepare(indexed, out=out, spacing_mm=(2.0, 2.0, 2.0))
    path = volume_path(out, store.ids[2])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=store.ids[2]):
        Store.open(out).verify()
    assert prepare(indexed, out=out, spacing_mm=(2.0, 2.0, 2.0), resume=True).verify()
    with pytest.raises(StoreError, match="another recipe"):
        prepare(indexed, out=out, spacing_mm="native", resume=True)


def test_a_volume_that_is_left_out_is_counted(indexed, tmp_path, capsys):
    shutil.copytree(indexed.path.parent / "scans", tmp_path / "scans")
    (tmp_path / "cohort").mkdir()
    index_sources([tmp_path / "scans"], tmp_path / "cohort")
    bad = indexed.ids[0]
    (tmp_path / "scans" / indexed.row(bad)["path"]).unlink()
    store = prepare(tmp_path / "cohort", out=tmp_path / "store")
    told = capsys.readouterr()
    assert len(store) == 2
    assert f"left out {bad}" in told.err
    assert "1 left out, see quarantine.csv" in told.out


def test_no_cohort_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no cohort"):
        prepare(tmp_path / "empty", out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("options", [{"spacing_mm": (1.0, 0.0, 1.0)}, {"ct_window": (300, -200)}])
def test_options_that_make_no_sense_are_refused(indexed, tmp_path, options):
    with pytest.raises(ConfigError):
        prepare(indexed, out=tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_a_stores_throughput_is_measured_beside_a_copy_in_memory(indexed, tmp_path, capsys):
    store = prepare(indexed, out=tmp_path / "store", spacing_mm="native")
    rates = crops(store.path, patch=(12, 12, 32), crops=15)
    assert rates.volumes == 3
    assert 0 < rates.share_of_ram < 1
    assert "crops/s" in capsys.readouterr().out
    with pytest.raises(UsageError, match="3 axes"):
        crops(store.path, patch=(12, 12))
