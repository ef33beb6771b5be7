"""Reading crops: the right numbers, for anyone, or an error that names the volume."""

import multiprocessing
import pickle
import shutil

import numpy as np
import pytest

from medssl.errors import StoreError
from medssl.store.recipe import Recipe
from medssl.store.store import Store, volume_path

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
    monkeypatch.setattr("medssl.store.store._MOST_OPEN", 2)
    expected = read_all(store)
    assert read_all(store) == expected
    assert len(store._volumes) == 2
