import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.presets import (
    gentle_geometry,
    gentle_intensity,
    segmentation_augmentation,
)
from medssl.transforms.spatial import Flip, Rotate90

PRESETS = [gentle_geometry, gentle_intensity, segmentation_augmentation]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(16, 1, 24, 20, 16), (16, 2, 24, 20)], ids=["3d", "2d"])
def images(request):
    return torch.rand(request.param, generator=generator()) * 2 - 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_changes_some_images_and_stays_near_their_range(preset, images):
    changed = preset()(images, generator())
    assert not torch.equal(changed, images)
    assert changed.shape == images.shape
    assert changed.abs().max() < 3


@pytest.mark.parametrize("preset", PRESETS)
def test_strength_zero_is_none_without_a_word(preset, images):
    assert torch.equal(preset(0.0)(images, generator()), images)


@pytest.mark.parametrize("preset", PRESETS)
def test_more_strength_changes_more(preset, images):
    def change(strength):
        return (preset(strength)(images, generator()) - images).abs().mean()

    assert change(0.3) < change(1.0) < change(2.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_negative_strength_is_refused(preset):
    with pytest.raises(ConfigError, match="strength was -1"):
        preset(-1)


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_is_mirrored(preset):
    assert not any(isinstance(part, Flip | Rotate90) for part in preset().transforms)


def test_intensity_views_move_nothing(images):
    labels = torch.randint(0, 3, (16, 1, *images.shape[2:]), generator=generator())
    _, moved = gentle_intensity()(images, generator(), label=labels)
    assert torch.equal(moved, labels)


def test_geometry_views_invent_no_intensity(images):
    changed = gentle_geometry()(images, generator())
    assert changed.min() >= images.min()
    assert changed.max() <= images.max()


def test_ct_grey_values_change_less_than_mr(images):
    def grey(modality):
        parts = segmentation_augmentation(modality=modality).transforms
        return next(part.exponent for part in parts if type(part).__name__ == "Gamma")

    assert grey("mr")[0] < grey("ct")[0] < 1 < grey("ct")[1] < grey("mr")[1]


def test_only_mr_has_a_coil():
    def names(modality):
        parts = segmentation_augmentation(modality=modality).transforms
        return {type(part).__name__ for part in parts}

    assert names("mr") - names("ct") == {"BiasField"}
