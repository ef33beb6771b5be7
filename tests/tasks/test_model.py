"""A model answers in the space of the scan that it was given."""

import numpy as np
import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import UsageError, WeightsMismatchError
from medssl.store.recipe import Recipe
from medssl.tasks import Classification, Model, Segmentation, load_model
from medssl.types import Volume
from medssl.weights.export import write_export
from medssl.weights.manifest import InputContract, TrainingRecord

PATCH = (16, 16, 16)


def export(folder, kind, *, labels, spacing_mm=(4.0, 4.0, 4.0), patch=PATCH):
    torch.manual_seed(0)
    encoder = build_encoder(
        "resenc_s",
        spatial_dims=len(patch),
        in_channels=1,
        patch=patch,
        features=(8, 16),
        blocks=(1, 1),
    )
    task = kind(encoder=encoder, labels=labels, patch=patch)
    recipe = Recipe(spacing_mm=spacing_mm)
    write_export(
        folder,
        task.network,
        encoder=encoder,
        contract=InputContract("mr", recipe.to_dict(), recipe.hash, patch),
        training=TrainingRecord(task.name, 1, 0, 1, 1, "0" * 64),
        title="test",
        task=task.record(),
    )
    return task


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "export"
    export(folder, Segmentation, labels={"head": 1, "tail": 7})
    return load_model(folder)


def scan(shape=(18, 22, 20), spacing_mm=(4.0, 4.0, 4.0), seed=0):
    data = np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-12.5, 30.0, 4.0)
    return Volume(data, affine, "mr")


def turned(volume, order, flips):
    """The same volume with its axes stored in another order and direction."""
    data = volume.data.transpose(order)
    step = np.zeros((4, 4))
    step[3, 3] = 1.0
    for new, old in enumerate(order):
        step[old, new] = -1.0 if flips[new] else 1.0
        step[old, 3] = volume.data.shape[old] - 1 if flips[new] else 0.0
    data = data[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return Volume(np.ascontiguousarray(data), volume.affine @ step, volume.modality)


def turn(array, order, flips):
    return array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)]


def test_a_mask_has_the_shape_of_its_scan_and_values_of_its_labels(segmenter):
    mask = segmenter.predict(scan())
    assert mask.shape == (18, 22, 20)
    assert set(np.unique(mask)) <= {0, 1, 7}
    assert len(np.unique(mask)) > 1


@pytest.mark.parametrize(
    ("order", "flips"),
    [
        ((1, 2, 0), (False, False, False)),
        ((2, 0, 1), (True, False, True)),
        ((0, 1, 2), (True,) * 3),
    ],
)
def test_axes_stored_in_another_order_give_the_same_mask_in_that_order(segmenter, order, flips):
    volume = scan()
    expected = turn(segmenter.predict(volume), order, flips)
    assert np.array_equal(segmenter.predict(turned(volume, order, flips)), expected)


def test_a_scan_of_other_voxels_gets_a_mask_on_its_own_grid(segmenter):
    assert segmenter.predict(scan((30, 11, 9), (2.4, 6.8, 10.0))).shape == (30, 11, 9)


class Bright(torch.nn.Module):
    """A network that calls bright what is brighter than the middle of the range."""

    def answer(self, image, **_):
        share = torch.sigmoid(8 * image)
        return torch.cat([1 - share, share])


def test_a_mask_of_a_finer_scan_lies_where_that_of_the_coarse_scan_lies(tmp_path):
    export(tmp_path / "export", Segmentation, labels={"bright": 1})
    model = Model(load_model(tmp_path / "export").manifest, Bright())
    grid = np.stack(np.meshgrid(*[np.arange(48) * 2.0] * 3, indexing="ij"), axis=-1)
    ball = np.linalg.norm(grid - (36.0, 52.0, 44.0), axis=-1) < 20.0
    fine = Volume(100.0 * ball, np.diag([2.0, 2.0, 2.0, 1.0]), "mr")
    mask = model.predict(fine).astype(bool)
    # How large the ball comes out depends on the intensity rule; where it lies does not.
    assert np.allclose(grid[mask].mean(axis=0), (36.0, 52.0, 44.0), atol=0.5)
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.8


def test_a_model_loaded_again_answers_bit_for_bit_the_same(tmp_path):
    task = export(tmp_path / "export", Segmentation, labels={"head": 1, "tail": 2})
    image = torch.randn(1, 1, *PATCH)
    loaded = load_model(tmp_path / "export").network
    with torch.no_grad():
        assert torch.equal(loaded(image), task.network.eval()(image))


def test_a_classifier_gives_one_probability_a_class(tmp_path):
    export(tmp_path / "export", Classification, labels={"benign": 0, "malignant": 1})
    model = load_model(tmp_path / "export")
    probabilities = model.classify(scan())
    assert list(probabilities) == ["benign", "malignant"]
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(UsageError, match="classify"):
        model.predict(scan())


def test_a_planar_model_answers_for_a_volume_slice_by_slice(tmp_path):
    export(tmp_path / "export", Segmentation, labels={"head": 1}, patch=(16, 16))
    assert load_model(tmp_path / "export").predict(scan()).shape == (18, 22, 20)


def test_an_encoder_without_a_task_is_no_model(tmp_path):
    encoder = build_encoder("resenc_s", features=(8, 16), blocks=(1, 1), patch=PATCH)
    recipe = Recipe(spacing_mm=(1.0, 1.0, 1.0))
    write_export(
        tmp_path / "export",
        encoder,
        encoder=encoder,
        contract=InputContract("mr", recipe.to_dict(), recipe.hash, PATCH),
        training=TrainingRecord("mae", 1, 0, 1, 1, "0" * 64),
        title="test",
    )
    with pytest.raises(WeightsMismatchError, match="resenc_s"):
        load_model(tmp_path / "export")
