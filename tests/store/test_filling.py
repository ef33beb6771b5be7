"""Filling a store: whatever happens to some volumes, and however often it is interrupted."""

import csv
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from medssl.cohort.cohort import Cohort
from medssl.cohort.crew import open_crew
from medssl.cohort.datasets import open_dataset
from medssl.cohort.scan import index_sources
from medssl.errors import DatasetError, InputError, OutputError, StoreError, UsageError
from medssl.io.nifti import write_nifti
from medssl.sampling import LabelBalanced, rng
from medssl.store.prepare import prepare_cohort, prepare_dataset
from medssl.store.recipe import Recipe
from medssl.store.store import Store, volume_path

RECIPE = Recipe(spacing_mm=(2.0, 2.0, 2.0))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        data = np.random.default_rng(number).integers(0, 300, (20, 24, 16)).astype(np.int16)
        write_nifti(folder / f"subject{number}_mr.nii.gz", data, np.diag([1.0, 1.0, 2.0, 1.0]))
    return folder


def indexed(scans) -> Cohort:
    out = scans.parent / "cohort"
    out.mkdir()
    return index_sources([scans], out)


def whole_files(folder):
    return [path for path in folder.glob("data/*/*.b2nd") if not path.name.startswith(".")]


def contents(store: Store) -> dict[str, bytes]:
    files = sorted(store.path.glob("data/*/*.b2nd"))
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture
def labelled(tmp_path):
    """Two labelled cases in the Decathlon layout."""
    root = tmp_path / "Task01_Test"
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    for number in range(2):
        affine = np.diag([-1.0, -1.0, 1.5, 1.0])
        image = np.random.default_rng(number).normal(100, 10, (20, 22, 18)).astype(np.float32)
        mask = np.zeros((20, 22, 18), np.uint8)
        mask[4:12, 5:15, 6:12] = 1
        mask[6:8, 7:9, 8:10] = 2
        image[mask > 0] += 80
        write_nifti(root / "imagesTr" / f"case_{number}.nii.gz", image, affine)
        write_nifti(root / "labelsTr" / f"case_{number}.nii.gz", mask, affine)
    return root


def test_a_bad_volume_is_listed_and_does_not_stop_the_rest(scans, tmp_path):
    cohort = indexed(scans)
    broken = cohort.row(cohort.ids[1])["path"]
    (scans / broken).write_bytes(b"gone bad")
    seen = []

    def watch(outcomes, total):
        for outcome in outcomes:
            seen.append((outcome.volume, outcome.row is not None, total))
            yield outcome

    store = prepare_cohort(cohort, tmp_path / "store", RECIPE, progress=watch)
    assert store.ids == [volume for volume in cohort.ids if volume != cohort.ids[1]]
    assert seen == [(volume, volume != cohort.ids[1], 4) for volume in cohort.ids]
    with (store.path / "quarantine.csv").open() as stream:
        (entry,) = csv.DictReader(stream)
    assert entry["id"] == cohort.ids[1]
    assert entry["code"]
    assert "subject1" not in entry["detail"]


def test_nothing_usable_is_an_error_and_no_store(scans, tmp_path):
    cohort = indexed(scans)
    for path in scans.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="none of 4"):
        prepare_cohort(cohort, tmp_path / "store", RECIPE)
    with pytest.raises(StoreError, match="not finished"):
        Store.open(tmp_path / "store")


def test_several_processes_write_the_same_bytes_as_one(scans, tmp_path):
    cohort = indexed(scans)
    one = prepare_cohort(cohort, tmp_path / "one", RECIPE, workers=0)
    two = prepare_cohort(cohort, tmp_path / "two", RECIPE, workers=2)
    assert contents(one) == contents(two)
    assert one.table.equals(two.table)


def test_what_was_written_whole_is_kept_and_the_rest_is_written_anew(scans, tmp_path):
    cohort = indexed(scans)
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    before = contents(store)
    kept, flipped, missing, cut = (volume_path(store.path, volume) for volume in store.ids)
    mark = kept.stat().st_mtime_ns
    content = bytearray(flipped.read_bytes())
    content[300] ^= 1
    flipped.write_bytes(content)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-5])
    left_over = kept.with_name(f".abc.part.{kept.name}")
    left_over.write_bytes(b"half")
    again = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    assert contents(again) == before
    assert again.table.equals(store.table)
    assert kept.stat().st_mtime_ns == mark
    assert not left_over.exists()


def test_another_recipe_is_refused_and_the_store_stays_whole(scans, tmp_path):
    cohort = indexed(scans)
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    with pytest.raises(StoreError, match="another recipe"):
        prepare_cohort(cohort, tmp_path / "store", Recipe())
    assert Store.open(store.path).verify()


def test_a_kill_at_any_time_leaves_what_can_be_resumed(scans, tmp_path):
    cohort = indexed(scans)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from medssl.cohort.cohort import Cohort\n"
        "from medssl.store.prepare import prepare_cohort\n"
        "from medssl.store.recipe import Recipe\n"
        "def slowly(outcomes, total):\n"
        "    for outcome in outcomes:\n"
        "        yield outcome\n"
        "        time.sleep(0.3)\n"
        "recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))\n"
        "prepare_cohort(Cohort.open(sys.argv[1]), Path(sys.argv[2]), recipe, progress=slowly)\n"
    )
    arguments = [sys.executable, "-c", code, str(cohort.path), str(tmp_path / "store")]
    with subprocess.Popen(arguments) as process:
        deadline = time.monotonic() + 60
        while not whole_files(tmp_path / "store") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert len(whole_files(tmp_path / "store")) in (1, 2, 3)
    with pytest.raises(StoreError, match="resume"):
        Store.open(tmp_path / "store")
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    assert len(store) == 4
    assert store.verify()


def test_two_writers_of_one_store_are_kept_apart(scans, tmp_path):
    cohort = indexed(scans)

    def intrude(outcomes, total):
        with pytest.raises(UsageError, match="another process"):
            prepare_cohort(cohort, tmp_path / "store", RECIPE)
        yield from outcomes

    assert len(prepare_cohort(cohort, tmp_path / "store", RECIPE, progress=intrude)) == 4


def test_a_full_disk_stops_with_a_sentence(scans, tmp_path):
    cohort = indexed(scans)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(OutputError, match="can't"):
            prepare_cohort(cohort, tmp_path / "store", RECIPE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "store").glob("data/*/*"))


def test_the_table_tells_of_store_and_source(scans, tmp_path):
    cohort = indexed(scans)
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    row, source = store.row(store.ids[0]), cohort.row(cohort.ids[0])
    assert row["patient"] == source["patient"]
    assert row["path"] == source["path"]
    assert row["source_shape"] == [20, 24, 16]
    assert row["shape"] == (10, 12, 16)
    assert len(row["checksum"]) == 64
    assert row["orientation"] == "RAS"
    assert (store.path / "volumes.parquet").stat().st_mode & 0o077 == 0


def test_a_labelled_dataset_keeps_masks_on_the_grid_of_the_images(labelled, tmp_path):
    dataset = open_dataset(labelled)
    store = prepare_dataset(dataset, tmp_path / "store", Recipe(spacing_mm=(1.0, 1.0, 1.0)))
    assert store.labels == dict(dataset.labels)
    for volume in store.ids:
        shape = store.row(volume)["shape"]
        mask = store.read_label(volume, (0, 0, 0), shape)
        image = store.read(volume, (0, 0, 0), shape)[0]
        assert mask.dtype == np.int16
        assert set(np.unique(mask)) == {0, 1, 2}
        assert image[mask > 0].mean() > image[mask == 0].mean() + 1
        voxels = store.facts(volume).label_voxels
        assert set(voxels) == {1, 2}
        assert all((mask[tuple(found.T)] == label).all() for label, found in voxels.items())
        place = LabelBalanced(foreground=1.0).place(store.facts(volume), (4, 4, 4), rng(0, 0))
        assert store.read_label(volume, place.region.start, place.region.size).any()
        outside = store.read_label(volume, (-3, -3, -3), (6, 6, 6))
        assert not outside[:3].any()


def test_a_volume_that_does_not_fit_into_memory_costs_itself_alone(scans, tmp_path):
    ramp = np.broadcast_to(np.arange(240, dtype=np.int16), (240, 240, 240))
    write_nifti(scans / "subject9_mr.nii", ramp, np.eye(4))
    cohort = indexed(scans)
    with open_crew(1, memory_bytes=40 * 2**20) as crew:
        store = prepare_cohort(cohort, tmp_path / "store", RECIPE, crew=crew)
    with (store.path / "quarantine.csv").open() as stream:
        (entry,) = csv.DictReader(stream)
    assert entry["code"] == "too_large"
    assert cohort.row(entry["id"])["shape"] == [240, 240, 240]
    assert len(store) == 4
    # What is there is kept, and the rest is no harder with more memory.
    mark = volume_path(store.path, store.ids[0]).stat().st_mtime_ns
    assert len(prepare_cohort(cohort, tmp_path / "store", RECIPE, workers=0)) == 5
    assert volume_path(store.path, store.ids[0]).stat().st_mtime_ns == mark


def test_a_case_that_does_not_fit_into_memory_stops_a_labelled_store(labelled, tmp_path):
    dataset = open_dataset(labelled)
    with (
        open_crew(1, seconds=0.001) as crew,
        pytest.raises(InputError, match=r'case "case_0" can.t be prepared: .*longer'),
    ):
        prepare_dataset(dataset, tmp_path / "store", RECIPE, crew=crew)


def test_volumes_can_be_left_out(scans, tmp_path):
    cohort = indexed(scans)
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE, without=cohort.ids[1:3])
    assert store.ids == [cohort.ids[0], cohort.ids[3]]


def test_a_mask_that_only_some_cases_have_is_in_the_table(labelled, tmp_path):
    dataset = open_dataset(labelled)
    first, second = dataset.cases
    mixed = replace(dataset, cases=[replace(first, label=None), second])
    store = prepare_dataset(mixed, tmp_path / "store", RECIPE)
    assert store.table["label_checksum"].to_pylist()[0] is None
    assert len(store.table["label_checksum"].to_pylist()[1]) == 64


@pytest.mark.slow
def test_kills_at_random_times_lose_nothing(scans, tmp_path):
    cohort = indexed(scans)
    whole = prepare_cohort(cohort, tmp_path / "whole", RECIPE)
    code = (
        "import sys; from pathlib import Path\n"
        "from medssl.cohort.cohort import Cohort\n"
        "from medssl.store.prepare import prepare_cohort\n"
        "from medssl.store.recipe import Recipe\n"
        "print('begin', flush=True)\n"
        "recipe = Recipe(spacing_mm=(2.0, 2.0, 2.0))\n"
        "prepare_cohort(Cohort.open(sys.argv[1]), Path(sys.argv[2]), recipe)\n"
    )
    arguments = [sys.executable, "-c", code, str(cohort.path), str(tmp_path / "store")]
    chance = np.random.default_rng(0)
    for _ in range(10):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
    store = prepare_cohort(cohort, tmp_path / "store", RECIPE)
    assert contents(store) == contents(whole)
    assert store.table.equals(whole.table)
    assert not list(store.path.glob("data/*/.*"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_volumes(scans, tmp_path):
    cohort = indexed(scans)
    one = cohort.table.slice(0, 1).to_pylist()[0]
    rows = [{**one, "id": f"{number:032x}"} for number in range(10_000)]
    many = Cohort(cohort.path, pa.Table.from_pylist(rows, schema=cohort.table.schema), [scans])
    del rows
    resident = []

    def watch(outcomes, total):
        assert total == 10_000
        for number, outcome in enumerate(outcomes):
            assert outcome.row is not None
            if number % 1000 == 999:
                resident.append(resident_bytes())
            yield outcome

    store = prepare_cohort(many, tmp_path / "store", Recipe(), workers=0, progress=watch)
    assert len(store) == 10_000
    assert store.ids == many.ids
    # Five bytes a volume would be much; the allocator alone moves by more than nothing.
    assert resident[-1] - resident[1] < 8 * 2**20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_mask_that_does_not_fit_stops_a_labelled_store(labelled, tmp_path):
    path = labelled / "labelsTr" / "case_1.nii.gz"
    dataset = open_dataset(labelled)
    write_nifti(path, np.full((20, 22, 18), 9, np.uint8), np.diag([-1.0, -1.0, 1.5, 1.0]))
    with pytest.raises(DatasetError, match="case_1"):
        prepare_dataset(dataset, tmp_path / "store", RECIPE)


def test_a_case_that_changed_is_written_anew(labelled, tmp_path):
    dataset = open_dataset(labelled)
    before = contents(prepare_dataset(dataset, tmp_path / "store", RECIPE))
    image = np.random.default_rng(9).normal(50, 10, (20, 22, 18)).astype(np.float32)
    path = labelled / "imagesTr" / "case_0.nii.gz"
    write_nifti(path, image, np.diag([-1.0, -1.0, 1.5, 1.0]))
    after = contents(prepare_dataset(dataset, tmp_path / "store", RECIPE))
    assert {name for name in before if before[name] != after[name]} == {"case_0.b2nd"}


def test_all_images_are_taken_for_what_the_weights_demand(labelled, tmp_path):
    dataset = open_dataset(labelled)
    store = prepare_dataset(dataset, tmp_path / "store", RECIPE, modality="ct")
    assert {store.row(volume)["modality"] for volume in store.ids} == {"ct"}


@pytest.mark.data
def test_real_hippocampus_cases_are_stored_as_they_are(shared_data, tmp_path):
    images = shared_data("Task04_Hippocampus/imagesTr")
    for name in ("hippocampus_001", "hippocampus_004"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / f"{name}.nii.gz").symlink_to(images / f"{name}.nii.gz")
    store = prepare_cohort(indexed(tmp_path / "scans"), tmp_path / "store", Recipe())
    assert [store.row(volume)["shape"] for volume in store.ids] == [(35, 51, 35), (36, 52, 38)]
    for volume in store.ids:
        data = store.read(volume, (0, 0, 0), store.row(volume)["shape"])
        assert abs(data.mean()) < 0.01
        assert store.facts(volume).occupancy.all()
