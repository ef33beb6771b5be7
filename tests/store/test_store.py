"""Reading crops: the right numbers, for anyone, or an error that names the volume."""

import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.errors import ConfigError, StoreError
from medssl.io.geometry import to_ras
from medssl.store.recipe import Recipe, Window
from medssl.store.store import Store, volume_path
from medssl.store.volume_file import VolumeFile, write_volume

RECIPE = Recipe(spacing_mm=(2.0, 2.0, 2.0))


@pytest.fixture
def store(finished, tmp_path) -> Store:
    """A copy that a test may damage, far from the sources."""
    shutil.copytree(finished.path, tmp_path / "moved" / "store")
    return Store.open(tmp_path / "moved" / "store")


def whole(store: Store, volume: str) -> np.ndarray:
    shape = store.row(volume)["shape"]
    return store.read(volume, (0,) * len(shape), shape)


def test_what_is_read_is_what_the_recipe_gives_to_the_last_bit(store, cohort):
    assert store.ids == cohort.ids
    for volume in store.ids:
        prepared = store.recipe.apply(cohort.read(volume))
        row = store.row(volume)
        assert np.array_equal(whole(store, volume)[0], prepared.data)
        assert row["shape"] == prepared.data.shape
        assert np.array_equal(row["affine"], prepared.affine)
        assert row["minimum"] == prepared.minimum == prepared.data.min()
        assert row["spacing_mm"] == (2.0, 2.0, 2.0)
        assert row["modality"] == "ct"


@pytest.mark.parametrize("seed", range(10))
def test_a_crop_is_the_crop_of_the_padded_volume(store, seed):
    chance = np.random.default_rng(seed)
    volume = store.ids[seed % 3]
    image = np.pad(whole(store, volume)[0], 50, constant_values=store.row(volume)["minimum"])
    start, size = chance.integers(-30, 45, 3), chance.integers(1, 40, 3)
    box = tuple(slice(a + 50, a + 50 + b) for a, b in zip(start, size, strict=True))
    crop = store.read(volume, tuple(start.tolist()), tuple(size.tolist()))
    assert crop.dtype == np.float32
    assert np.array_equal(crop[0], image[box])


def test_a_box_of_another_number_of_axes_is_refused(store):
    with pytest.raises(ValueError, match="suit"):
        store.read(store.ids[0], (0, 0), (4, 4))


def test_facts_tell_where_the_body_is(store):
    for volume in store.ids:
        facts, row = store.facts(volume), store.row(volume)
        box = tuple(slice(a, b) for a, b in zip(facts.body.start, facts.body.stop, strict=True))
        inside = np.zeros(facts.shape, bool)
        inside[box] = True
        body = whole(store, volume)[0] > -0.7
        assert facts.shape == row["shape"]
        assert (inside & body).sum() > 0.99 * body.sum()
        assert inside.mean() < 0.75
        assert facts.label_voxels is None


def read_all(store: Store) -> list[float]:
    return [float(whole(store, volume).sum()) for volume in store.ids]


def test_a_store_travels_to_other_processes(store):
    expected = read_all(store)
    assert read_all(pickle.loads(pickle.dumps(store))) == expected  # noqa: S301
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_all, (store,)) == expected


def test_a_volume_that_is_not_there_is_named(store):
    with pytest.raises(StoreError, match="nobody"):
        store.read("nobody", (0, 0, 0), (4, 4, 4))
    with pytest.raises(StoreError, match="nobody"):
        store.row("nobody")


def test_a_damaged_volume_is_named_and_the_others_are_served(store):
    first, second, _ = store.ids
    path = volume_path(store.path, first)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)
    with pytest.raises(StoreError, match=first):
        whole(store, first)
    assert whole(store, second).size
    with pytest.raises(StoreError, match=f"1 of 3.*{first}"):
        store.verify()


def test_a_missing_volume_is_named_even_if_it_was_open(store):
    volume = store.ids[1]
    whole(store, volume)
    volume_path(store.path, volume).unlink()
    with pytest.raises(StoreError, match=volume):
        whole(store, volume)
    with pytest.raises(StoreError, match=volume):
        store.verify()


def test_a_sound_store_says_so(store):
    assert store.verify() == ["3 volumes, every byte as it was written"]


def test_a_volume_of_another_recipe_is_not_served(store, cohort, tmp_path):
    from medssl.store.prepare import prepare_cohort

    other = prepare_cohort(cohort, tmp_path / "other", Recipe())
    volume = store.ids[0]
    shutil.copy(volume_path(other.path, volume), volume_path(store.path, volume))
    with pytest.raises(StoreError, match="another recipe"):
        Store.open(store.path).read(volume, (0, 0, 0), (4, 4, 4))


def test_a_store_without_masks_says_so(store):
    with pytest.raises(StoreError, match="no masks"):
        store.read_label(store.ids[0], (0, 0, 0), (4, 4, 4))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: (path / "store.json").unlink(), "not a store"),
        (lambda path: (path / "store.json").write_text("{"), "damaged"),
        (lambda path: (path / "store.json").write_text('{"format": 99}'), "format 99"),
        (lambda path: (path / "volumes.parquet").unlink(), "volumes.parquet"),
        (lambda path: (path / "volumes.parquet").write_bytes(b"x" * 99), "volumes.parquet"),
        (
            lambda path: (path / "store.json").write_text(
                (path / "store.json").read_text().replace("finished", "unfinished")
            ),
            "not finished",
        ),
        (
            lambda path: (path / "store.json").write_text(
                (path / "store.json").read_text().replace("-1000", "-999")
            ),
            "other numbers",
        ),
    ],
)
def test_a_folder_that_is_no_sound_store_is_refused(store, spoil, reason):
    spoil(store.path)
    with pytest.raises(StoreError, match=reason):
        Store.open(store.path)


def test_memory_and_open_files_do_not_grow_with_the_number_of_volumes(store, monkeypatch):
    monkeypatch.setattr("medssl.store.files.MOST_OPEN", 2)
    expected = read_all(store)
    assert read_all(store) == expected
    assert len(store._files) == 2


@pytest.mark.parametrize("start", [(0, 0, 0), (-5, 3, 20), (100, 100, 100)])
def test_integers_and_their_coding_give_the_same_numbers(store, start):
    volume = store.ids[1]
    stored, coding = store.read_stored(volume, start, (9, 21, 17))
    assert stored.dtype == np.int16
    assert np.array_equal(coding.decode(stored), store.read(volume, start, (9, 21, 17)))


def test_one_store_serves_several_windows(store, cohort):
    narrow = Store.open(store.path, ct_window=(-175, 250))
    recipe = Recipe(spacing_mm=RECIPE.spacing_mm, ct=Window(-175, 250))
    assert narrow.recipe == recipe
    for volume in store.ids:
        prepared = recipe.apply(cohort.read(volume))
        assert np.array_equal(whole(narrow, volume)[0], prepared.data)
        assert narrow.row(volume)["minimum"] == prepared.minimum
        outside = narrow.read(volume, (-9, -9, -9), (3, 3, 3))
        assert (outside == prepared.minimum).all()
    again = pickle.loads(pickle.dumps(narrow))  # noqa: S301
    assert np.array_equal(whole(again, volume), whole(narrow, volume))
    with pytest.raises(ConfigError, match="empty"):
        Store.open(store.path, ct_window=(300, -200))


def test_a_window_is_for_ct_alone(store):
    table = store.table.to_pylist()
    for row in table:
        row["modality"] = "mr"
    pq.write_table(pa.Table.from_pylist(table), store.path / "volumes.parquet")
    narrow, volume = Store.open(store.path, ct_window=(-175, 250)), store.ids[0]
    assert np.array_equal(whole(narrow, volume), whole(store, volume))
    assert narrow.row(volume)["minimum"] == store.row(volume)["minimum"]


def test_what_is_stored_of_ct_are_hounsfield_units(store, cohort):
    volume = store.ids[0]
    native = to_ras(cohort.read(volume)).data
    stored, _ = store.read_stored(volume, (0, 0, 0), store.row(volume)["shape"])
    assert stored.min() <= native.min() + 1
    assert stored.max() > 600


def test_threads_may_share_a_store(store):
    expected = {volume: whole(store, volume) for volume in store.ids}
    shared = Store.open(store.path)

    def check(number):
        volume = shared.ids[number % 3]
        return np.array_equal(whole(shared, volume), expected[volume])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, range(100)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_goes_on_reading_what_its_parent_had_open(store):
    expected = read_all(store)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(read_all, [store, store]) == [expected] * 2
    assert read_all(store) == expected


def test_a_volume_that_is_written_anew_meanwhile_is_read_whole_all_the_time(store):
    volume = store.ids[0]
    path, expected = volume_path(store.path, volume), whole(store, volume)
    file = VolumeFile(path, volume)
    array, note = file.read((0, 0, 0), file.shape), file.note
    done = threading.Event()

    def rewrite():
        # With other notes, so that the file has another length every time.
        for number in range(20):
            write_volume(path, array, {**note, "stamp": "x" * number})
            time.sleep(0.002)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    reads = 0
    while not done.is_set() or reads < 20:
        assert np.array_equal(whole(store, volume), expected)
        reads += 1
    writer.join()


def test_a_file_that_was_damaged_and_mended_is_read_again(store):
    volume = store.ids[0]
    path, expected = volume_path(store.path, volume), whole(store, volume)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreError, match=volume):
        whole(store, volume)
    path.write_bytes(content)
    assert np.array_equal(whole(store, volume), expected)


def test_volumes_that_changed_places_are_not_served(store):
    first, second = (volume_path(store.path, volume) for volume in store.ids[:2])
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    for volume in store.ids[:2]:
        with pytest.raises(StoreError, match=f'"{volume}" holds another'):
            whole(store, volume)


@pytest.fixture
def large(store):
    """A store whose table has ten thousand rows; the files of three are there."""
    rows = store.table.to_pylist()
    names = [f"{number:016x}" for number in range(10_000)]
    table = pa.Table.from_pylist([{**rows[n % 3], "id": name} for n, name in enumerate(names)])
    pq.write_table(table, store.path / "volumes.parquet", compression="zstd")
    for number in (0, 1, 9_998):
        file = VolumeFile(volume_path(store.path, store.ids[number % 3]), "source")
        path = volume_path(store.path, names[number])
        path.parent.mkdir(exist_ok=True)
        write_volume(path, file.read((0,) * 3, file.shape), {**file.note, "id": names[number]})
    return store.path, names


def test_the_first_crop_of_ten_thousand_volumes_comes_within_two_seconds(large):
    path, names = large
    start = time.perf_counter()
    store = Store.open(path)
    crop = store.read(names[9_998], (0, 0, 0), (16, 16, 16))
    facts = store.facts(names[9_998])
    assert time.perf_counter() - start < 2
    assert crop.shape == (1, 16, 16, 16)
    assert facts.shape == store.row(names[9_998])["shape"]
    assert len(store) == len(store.ids) == 10_000
    with pytest.raises(StoreError, match="no such file"):
        store.read(names[5], (0, 0, 0), (4, 4, 4))


def test_a_store_of_ten_thousand_volumes_is_little_to_send_to_a_worker(large):
    path, names = large
    store = Store.open(path)
    store.read(names[0], (0, 0, 0), (4, 4, 4))
    assert len(pickle.dumps(store)) < 1.2 * store.table.nbytes + 10_000


@pytest.mark.parametrize("limit", ["MOST_OPEN", "MOST_BYTES"])
def test_open_files_are_bounded_in_number_and_size(store, monkeypatch, limit):
    monkeypatch.setattr(f"medssl.store.files.{limit}", 1)
    assert read_all(store) == read_all(store)
    assert len(store._files) == 1


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_thousand_crops(store, tmp_path):
    """Of three hundred volumes, more than are kept open, through a process of its own."""
    names = [f"{number:04d}" for number in range(300)]
    rows = store.table.to_pylist()
    file = VolumeFile(volume_path(store.path, store.ids[0]), "source")
    array = file.read((0,) * 3, file.shape)
    for name in names:
        path = volume_path(store.path, name)
        path.parent.mkdir(exist_ok=True)
        write_volume(path, array, {**file.note, "id": name})
    table = pa.Table.from_pylist([{**rows[0], "id": name} for name in names])
    pq.write_table(table, store.path / "volumes.parquet")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sizes = json.loads(pool.apply(resident, (str(store.path),)))
    # The first thousand open as many files as are kept.
    assert max(sizes[2:]) < 1.05 * sizes[1]


def resident(path: str) -> str:
    """Return resident megabytes after every thousand of ten thousand crops."""
    store, sizes = Store.open(path), []
    chance = np.random.default_rng(0)
    for number in range(10_000):
        start = tuple(chance.integers(-8, 24, 3).tolist())
        volume = store.ids[int(chance.integers(len(store)))]
        store.facts(volume)
        store.read(volume, start, (24, 24, 24))
        if number % 1000 == 999:
            with open("/proc/self/statm") as stream:  # noqa: PTH123
                sizes.append(int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return json.dumps(sizes)
