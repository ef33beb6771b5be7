"""Descriptors of whole volumes, tile by tile, and what becomes of a folder of them."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch

from medssl.encoders import Encoder, build_encoder
from medssl.errors import ConfigError
from medssl.evaluation.descriptors import describe_volume, write_descriptors
from medssl.sampling import VolumeFacts
from medssl.sampling.correspondence import Descriptors, best_match, descriptor_path
from medssl.store.recipe import Recipe
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord

SHAPE = (40, 27, 18)


class OneVolume:
    """A store of one volume of noise."""

    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)

    def facts(self, volume):
        cells = np.ones([-(-n // 4) for n in SHAPE], bool)
        cells[-3:] = False
        return VolumeFacts(SHAPE, (1.0,) * 3, cells, (4, 4, 4), volume=volume)

    def read(self, volume, start, size):
        result = np.zeros(size, np.float32)
        inside = tuple(slice(a, min(a + n, c)) for a, n, c in zip(start, size, SHAPE, strict=True))
        cut = self.data[inside]
        result[tuple(slice(n) for n in cut.shape)] = cut
        return result[None]


class Means(Encoder):
    """An encoder whose features are those of single cells, so that tiles can't matter."""

    spatial_dims, in_channels, channels = 3, 1, (2, 3)
    strides = ((2, 2, 2), (8, 8, 8))

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        maps = []
        for count, stride in zip(self.channels, (2, 8), strict=True):
            mean = torch.nn.functional.avg_pool3d(x, stride)
            maps.append(torch.cat([mean**power for power in range(1, count + 1)], dim=1))
        return maps


@pytest.mark.parametrize("levels", [[0], [1]])
def test_tiles_give_what_the_whole_volume_gives(levels):
    store, encoder = OneVolume(), Means()
    stride = encoder.strides[levels[0]][0]
    padded = np.zeros((40, 32, 24), np.float32)
    padded[tuple(slice(n) for n in SHAPE)] = store.data
    grid = tuple(-(-n // stride) for n in SHAPE)
    with torch.no_grad():
        whole = encoder(torch.from_numpy(padded)[None, None])[levels[0]][0].numpy()
    whole = whole[(slice(None), *(slice(n) for n in grid))].astype(np.float64)
    body = np.zeros(SHAPE, bool)
    body[:28] = True
    inside = [i for i in itertools.product(*map(range, grid)) if i[0] * stride + stride // 2 < 28]
    values = np.stack([whole[(slice(None), *index)] for index in inside], axis=1)
    scaled = (whole - values.mean(axis=1)[:, None, None, None]) / values.std(axis=1)[
        :, None, None, None
    ]
    expected = scaled / np.linalg.norm(scaled, axis=0)
    found = describe_volume(encoder, store, "a", (16, 16, 16), levels)
    assert found.stride == (stride,) * 3
    assert found.features.dtype == np.float16
    assert np.allclose(found.features, expected, atol=2e-3)


def test_maps_of_several_levels_lie_on_the_grid_of_the_finest():
    found = describe_volume(Means(), OneVolume(), "a", (16, 16, 16), [0, 1])
    assert found.features.shape == (5, 20, 14, 9)
    lengths = np.linalg.norm(found.features.astype(float), axis=0)
    assert np.allclose(lengths, 1, atol=1e-2)


def test_a_volume_matches_itself():
    torch.manual_seed(0)
    options = {"features": (4, 8, 16), "blocks": (1, 1, 1)}
    encoder = build_encoder("resenc_s", spatial_dims=3, patch=(16, 16, 16), **options).eval()
    found = describe_volume(encoder, OneVolume(), "a", (16, 16, 16), [2])
    for voxel in [(6, 10, 9), (30, 20, 13)]:
        match = best_match(found, voxel, found, voxel, (12, 12, 12), pull=0.0)
        assert match.voxel == voxel
        assert match.is_mutual


RECIPE = Recipe(spacing_mm=(2.0, 2.0, 2.0))


class StoreOfTwo(OneVolume):
    """Two volumes that were prepared, with a folder beside them."""

    ids = ("a", "b/c")
    table = pa.table({"id": list(ids), "shape": [list(SHAPE)] * 2})

    def __init__(self, path, recipe=RECIPE):
        self.path = path
        self.recipe = recipe


def export_to(folder, seed=0):
    torch.manual_seed(seed)
    encoder = build_encoder(
        "resenc_s", spatial_dims=3, in_channels=1, patch=(16,) * 3, features=(4, 8), blocks=(1, 1)
    )
    contract = InputContract("ct", RECIPE.to_dict(), RECIPE.hash, (16,) * 3)
    training = TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab")
    write_export(
        folder, encoder, encoder=encoder, contract=contract, training=training, title="A test"
    )
    return folder


def test_descriptors_of_every_volume_are_written_beside_the_store(tmp_path):
    weights, store = export_to(tmp_path / "export"), StoreOfTwo(tmp_path)
    folder = write_descriptors(store, weights, name="tiny")
    assert folder == tmp_path / "descriptors" / "tiny"
    found = {volume: Descriptors.read(folder, volume) for volume in store.ids}
    assert found["a"].features.shape == (8, 20, 14, 9)
    path = descriptor_path(folder, "b/c")
    path.unlink()
    written = descriptor_path(folder, "a").stat().st_mtime_ns
    write_descriptors(store, weights, name="tiny")
    assert np.array_equal(Descriptors.read(folder, "b/c").features, found["b/c"].features)
    assert descriptor_path(folder, "a").stat().st_mtime_ns == written


def test_other_weights_and_other_recipes_are_refused(tmp_path):
    weights, store = export_to(tmp_path / "export"), StoreOfTwo(tmp_path)
    write_descriptors(store, weights, name="tiny")
    with pytest.raises(ConfigError, match="other weights"):
        write_descriptors(store, export_to(tmp_path / "other", seed=1), name="tiny")
    with pytest.raises(ConfigError, match="not what the weights were trained on"):
        write_descriptors(StoreOfTwo(tmp_path, Recipe()), weights, name="new")
