"""``medssl prepare`` as a user meets it."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from medssl.cli import main
from medssl.cohort.scan import index_sources
from medssl.commands.benchmark import crops
from medssl.commands.prepare import prepare
from medssl.encoders import build_encoder
from medssl.errors import ConfigError, InputError, OutputError, StoreError, UsageError
from medssl.io.nifti import write_nifti
from medssl.store.recipe import Recipe
from medssl.store.store import Store, volume_path
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord


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
    store = prepare(indexed.path, out=tmp_path / "store", workers=1)
    assert store.recipe.spacing_mm == (1.5, 2.0, 1.0)
    told = capsys.readouterr()
    assert "1.5 x 2 x 1 mm" in told.err
    assert "a crop of" in told.err
    assert "on disk" in told.err
    assert "3 volumes" in told.out
    assert "medssl pretrain" in told.out
    record = json.loads((store.path / "run.json").read_text())
    assert record["volumes"] == 3
    assert record["recipe_hash"] == store.recipe.hash


def test_native_keeps_every_volume_s_own_grid(indexed, tmp_path):
    store = prepare(
        indexed, out=tmp_path / "store", spacing_mm="native", ct_window=(-200, 300), workers=1
    )
    assert store.recipe.spacing_mm is None
    assert store.recipe.ct.high == 300
    assert {store.row(volume)["shape"] for volume in store.ids} == {(24, 16, 20)}


def test_the_command_line_takes_three_numbers_and_ends_with_what_is_next(indexed, tmp_path, capsys):
    out = tmp_path / "store"
    command = ["prepare", str(indexed.path), "--out", str(out), "--spacing", "2", "2", "2"]
    command += ["--workers", "1"]
    assert main(command) == 0
    assert Store.open(out).recipe.spacing_mm == (2.0, 2.0, 2.0)
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_resume_mends_a_damaged_store_and_refuses_another_recipe(indexed, tmp_path):
    out = tmp_path / "store"
    store = prepare(indexed, out=out, spacing_mm=(2.0, 2.0, 2.0), workers=1)
    path = volume_path(out, store.ids[2])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=store.ids[2]):
        Store.open(out).verify()
    assert prepare(indexed, out=out, spacing_mm=(2.0, 2.0, 2.0), resume=True, workers=1).verify()
    with pytest.raises(StoreError, match="another recipe"):
        prepare(indexed, out=out, spacing_mm="native", resume=True)


def test_a_volume_that_is_left_out_is_counted(indexed, tmp_path, capsys):
    shutil.copytree(indexed.path.parent / "scans", tmp_path / "scans")
    (tmp_path / "cohort").mkdir()
    index_sources([tmp_path / "scans"], tmp_path / "cohort")
    bad = indexed.ids[0]
    (tmp_path / "scans" / indexed.row(bad)["path"]).unlink()
    store = prepare(tmp_path / "cohort", out=tmp_path / "store", workers=1)
    told = capsys.readouterr()
    assert len(store) == 2
    assert f"left out {bad}" in told.err
    assert "1 left out, see quarantine.csv" in told.out


def test_no_cohort_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no cohort"):
        prepare(tmp_path / "empty", out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--workers is 0"),
        ({"seconds": 0.5}, "--seconds is 0.5"),
        ({"reduce": "embedding"}, "--weights"),
        ({"weights": "x"}, "--reduce embedding"),
        ({"threshold": 0.9}, "--threshold"),
        ({"reduce": "embedding", "weights": "x", "threshold": 2.0}, "similarity"),
    ],
)
def test_options_that_do_not_go_together_are_refused(indexed, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        prepare(indexed, out=tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_a_store_that_the_disk_can_not_hold_is_refused(indexed, tmp_path):
    with pytest.raises(OutputError, match="coarser --spacing"):
        prepare(indexed, out=tmp_path / "store", spacing_mm=(1e-4, 1e-4, 1e-4))
    assert not (tmp_path / "store").exists()


def test_of_volumes_that_an_encoder_sees_as_one_the_first_is_prepared(tmp_path, capsys):
    (tmp_path / "scans").mkdir()
    (tmp_path / "cohort").mkdir()
    images = [np.random.default_rng(n).normal(300, 90, (18, 20, 22)) for n in range(2)]
    images[1][:9] += 400
    images.append(images[0] + np.random.default_rng(9).normal(0, 0.5, images[0].shape))
    for number, image in enumerate(images):
        path = tmp_path / "scans" / f"subject{number}_mr.nii.gz"
        write_nifti(path, np.rint(image * 10).astype(np.int16), np.eye(4))
    cohort = index_sources([tmp_path / "scans"], tmp_path / "cohort")
    prefixes = [cohort.row(volume)["path"][:8] for volume in cohort.ids]
    torch.manual_seed(0)
    (tmp_path / "run").mkdir()
    weights = small_export(tmp_path / "run" / "export")
    command = ["prepare", str(cohort.path), "--out", str(tmp_path / "store"), "--workers", "1"]
    command += ["--reduce", "embedding", "--weights", str(weights), "--threshold", "0.9999"]
    assert main(command) == 0
    assert "1 of 3 volumes have nearly the vector of another" in capsys.readouterr().err
    store = Store.open(tmp_path / "store")
    with (store.path / "reduced.csv").open() as stream:
        (entry,) = csv.DictReader(stream)
    pair = {prefixes[cohort.ids.index(entry[name])] for name in ("id", "kept")}
    assert pair == {"subject0", "subject2"}
    assert entry["same_patient"] == "no"
    assert set(store.ids) == set(cohort.ids) - {entry["id"]}
    assert not list(store.path.glob("embedding*"))


def small_export(folder):
    """The export of a small untrained encoder."""
    encoder = build_encoder("resenc_s", spatial_dims=3, in_channels=1, patch=(16, 16, 16))
    recipe = Recipe()
    write_export(
        folder,
        encoder,
        encoder=encoder,
        contract=InputContract("mr", recipe.to_dict(), recipe.hash, (16, 16, 16)),
        training=TrainingRecord("mae_cnn", 1, 0, 1, 1, "0" * 64),
        title="an untrained encoder",
    )
    return folder


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
