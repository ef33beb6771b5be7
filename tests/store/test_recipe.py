"""One recipe, the same numbers everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest

from medssl.errors import ConfigError, InputError
from medssl.store.coding import Coding, to_int16
from medssl.store.recipe import Recipe, RobustZ, Window, modality_of
from medssl.types import Volume

RECIPE = Recipe(spacing_mm=(2.0, 1.5, 1.0), ct=Window(-200, 300), others=RobustZ(1.0, 99.0))


def ct_volume(shape=(20, 24, 18)) -> Volume:
    chance = np.random.default_rng(0)
    data = np.full(shape, -1000, np.int16)
    data[4:-4, 4:-4] = chance.integers(-120, 1500, (shape[0] - 8, shape[1] - 8, shape[2]))
    return Volume(data, np.diag([-1.0, -1.0, 2.0, 1.0]), "ct")


def mr_volume(shape=(40, 40, 20), gain=1.0, offset=0.0) -> Volume:
    chance = np.random.default_rng(1)
    data = np.abs(chance.normal(0, 4, shape))
    data[8:32, 8:32] = chance.normal(200, 30, (24, 24, shape[2]))
    return Volume((gain * data + offset).astype(np.float32), np.eye(4), "mr")


def test_a_recipe_survives_json():
    assert Recipe.from_dict(json.loads(json.dumps(RECIPE.to_dict()))) == RECIPE
    assert hash(Recipe.from_dict(Recipe().to_dict())) == hash(Recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": None},
        {"spacing_mm": (2.0, 1.5, 1.1)},
        {"ct": Window(-200, 301)},
        {"others": RobustZ(1.0, 99.5)},
        {"interpolation": "linear"},
    ],
)
def test_every_change_changes_the_hash(change):
    assert replace(RECIPE, **change).hash != RECIPE.hash


def test_the_hash_is_the_same_in_every_process():
    assert Recipe().hash == "72d4e8a177d6aaf2"


def test_a_recipe_of_unknown_keys_is_refused():
    with pytest.raises(ConfigError, match="colour"):
        Recipe.from_dict({**RECIPE.to_dict(), "colour": "grey"})


@pytest.mark.parametrize(
    "build",
    [
        lambda: Window(300, -200),
        lambda: RobustZ(99.0, 1.0),
        lambda: Recipe(spacing_mm=(1.0, -1.0, 1.0)),
        lambda: Recipe(spacing_mm=(1.0,)),
    ],
)
def test_values_that_make_no_sense_are_refused(build):
    with pytest.raises(ConfigError):
        build()


def test_ct_is_windowed_to_one_scale_whatever_else_is_in_the_volume():
    prepared = Recipe(ct=Window(-200, 300)).apply(ct_volume())
    hu = np.clip(ct_volume().data[::-1, ::-1].astype(float), -200, 300)
    assert np.abs(prepared.data - (hu - 50) / 250).max() < 1e-6
    assert prepared.minimum == -1.0
    assert prepared.stored.min() == -1000


def test_other_modalities_do_not_depend_on_their_unit():
    first = Recipe().apply(mr_volume())
    second = Recipe().apply(mr_volume(gain=37.0, offset=900.0))
    assert np.abs(first.data - second.data).max() < 0.01
    body = first.data[8:32, 8:32]
    assert abs(body.mean()) < 0.1
    assert body.std() == pytest.approx(1, abs=0.1)
    assert first.minimum == first.data.min()


def test_outliers_do_not_move_the_rest():
    spoilt = mr_volume()
    spoilt.data[15, 15, 10] = 1e7
    difference = np.abs(Recipe().apply(spoilt).data - Recipe().apply(mr_volume()).data)
    assert np.median(difference) < 0.01
    assert Recipe().apply(spoilt).data.max() < 5


def test_outliers_are_cut_off_when_read_and_not_when_stored():
    spoilt = mr_volume()
    spoilt.data[15, 15, 10] = 1000.0
    prepared = Recipe().apply(spoilt)
    assert prepared.stored[15, 15, 10] > 2 * prepared.coding.high
    assert prepared.data[15, 15, 10] == prepared.data.max()
    assert prepared.stored.max() <= 30 * 1024


@pytest.mark.parametrize("window", [(-1000, 1000), (-160, 240), (-1350, 150)])
def test_one_stored_ct_serves_every_window(window):
    stored = Recipe().apply(ct_volume()).stored
    alone = Recipe(ct=Window(*window)).apply(ct_volume())
    assert np.array_equal(Window(*window).coding().decode(stored), alone.data)


def emission_tomogram() -> Volume:
    """Background, organs, and small lesions far brighter than the rest, as PET has it."""
    chance = np.random.default_rng(3)
    data = np.abs(chance.normal(0, 0.02, (48, 48, 40)))
    data[8:40, 8:40] = np.abs(chance.normal(1, 0.2, (32, 32, 40)))
    data[20:23, 20:23, 20:23] = 25.0
    return Volume(data.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "pt")


def ultrasound() -> Volume:
    """Speckle in a fan on black, eight bits."""
    chance = np.random.default_rng(4)
    x, y = np.indices((96, 96))
    fan = np.abs(x - 48) < 0.5 * y
    speckle = np.clip(chance.rayleigh(40, (96, 96)), 0, 255)
    return Volume((speckle * fan).astype(np.uint8), np.diag([0.3, 0.3, 1.0, 1.0]), "us")


def radiograph() -> Volume:
    """Twelve bits, the whole plane is body."""
    x, y = np.indices((120, 100))
    chance = np.random.default_rng(5)
    data = 1500 + 900 * np.sin(x / 20) * np.cos(y / 15) + chance.normal(0, 30, (120, 100))
    return Volume(data.astype(np.uint16), np.diag([0.15, 0.15, 1.0, 1.0]), "xr")


@pytest.mark.parametrize("image", [emission_tomogram(), ultrasound(), radiograph()])
def test_every_modality_gets_mean_0_and_deviation_1_and_keeps_its_contrast(image):
    prepared = Recipe().apply(image)
    data = prepared.data
    assert np.isfinite(data).all()
    body = np.kron(prepared.occupancy, np.ones(prepared.cell, bool)).astype(bool)
    inside = data[body[tuple(map(slice, data.shape))]]
    assert abs(inside.mean()) < 0.1
    assert 0.8 < inside.std() < 1.1
    # Cut off at either end is what the percentiles say, and no more.
    assert (data == data.max()).mean() < 0.011
    assert len(np.unique(data)) > 0.5 * min(len(np.unique(image.data)), 5000)


def test_the_brightest_of_a_tomogram_is_still_stored():
    prepared = Recipe().apply(emission_tomogram())
    assert prepared.stored[21, 21, 21] > prepared.coding.high


def test_a_drawing_of_one_value_keeps_its_contrast():
    drawn = np.zeros((28, 28, 28), np.uint8)
    drawn[12:16, 10:18, 11:15] = 1
    data = Recipe().apply(Volume(drawn, np.eye(4))).data
    assert data[drawn == 1].min() > data[drawn == 0].max() + 1


def test_air_stays_darker_than_the_darkest_tissue():
    data = Recipe().apply(mr_volume()).data
    assert np.median(data[:6]) < data[8:32, 8:32].min()


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_constant_volume_gives_no_nan(modality):
    volume = Volume(np.full((8, 8, 8), 3.0), np.eye(4), modality)
    data = Recipe().apply(volume).data
    assert np.isfinite(data).all()
    assert np.ptp(data) == 0


def test_volumes_with_nan_are_refused():
    volume = mr_volume()
    volume.data[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        Recipe().apply(volume)


def test_a_mask_lands_on_the_grid_of_its_image():
    volume = ct_volume()
    mask = Volume((volume.data > -500).astype(np.uint8), volume.affine)
    labels, prepared = RECIPE.apply_label(mask), RECIPE.apply(volume)
    assert labels.shape == prepared.stored.shape
    assert labels.dtype == np.int16
    assert prepared.spacing_mm == (2.0, 1.5, 1.0)
    agree = (labels > 0) == (prepared.stored > -500)
    assert agree.mean() > 0.9


def test_the_modality_is_what_one_says_or_else_what_the_values_show():
    volume = replace(ct_volume(), modality="unknown")
    assert modality_of(volume) == "ct"
    assert modality_of(volume, "mr") == "mr"
    assert modality_of(replace(volume, modality="pt"), "unknown") == "pt"
    assert modality_of(Volume(np.arange(27).reshape(3, 3, 3), np.eye(4))) == "unknown"
    assert Recipe().apply(volume, modality="mr").modality == "mr"


def test_planar_images_go_through():
    image = Volume(np.arange(4096.0).reshape(64, 64), np.diag([-0.2, -0.2, 1.0, 1.0]), "xr")
    prepared = Recipe(spacing_mm=(0.4, 0.4, 3.0)).apply(image)
    assert prepared.data.shape == (32, 32)
    assert prepared.data[0, 0] > prepared.data[-1, -1]


def test_decoding_a_part_is_the_part_of_decoding_all():
    chance = np.random.default_rng(0)
    stored = chance.integers(-3000, 3000, (31, 17, 23)).astype(np.int16)
    coding = Coding(low=-777, high=1234, centre=228.5, scale=0.0009876)
    part = (slice(3, 20), slice(1, 8), slice(5, 22))
    assert np.array_equal(coding.decode(stored)[part], coding.decode(stored[part].copy()))


def test_integers_are_rounded_and_saturate():
    values = np.array([-1e9, -1.6, 0.4, 1e9])
    assert to_int16(values).tolist() == [-32768, -2, 0, 32767]
    assert to_int16(np.array([70000, 3], np.int32)).tolist() == [32767, 3]
