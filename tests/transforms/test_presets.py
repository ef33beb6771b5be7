import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.compose import Compose
from medssl.transforms.presets import (
    cut_out_corruption,
    genesis_corruption,
    gentle_geometry,
    gentle_intensity,
    multicrop_views,
    segmentation_augmentation,
    strong_intensity,
)
from medssl.transforms.spatial import Flip, Rotate90

PRESETS = [gentle_geometry, gentle_intensity, segmentation_augmentation, strong_intensity]


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


@pytest.mark.parametrize(
    "preset", [gentle_intensity, strong_intensity, genesis_corruption, cut_out_corruption]
)
def test_what_changes_intensities_moves_nothing(preset, images):
    labels = torch.randint(0, 3, (16, 1, *images.shape[2:]), generator=generator())
    _, moved = preset()(images, generator(), label=labels)
    assert torch.equal(moved, labels)


def test_strong_views_differ_more_than_gentle_ones(images):
    gentle, strong = (
        (preset()(images, generator()) - images).abs().mean()
        for preset in (gentle_intensity, strong_intensity)
    )
    assert strong > 1.5 * gentle


def test_ct_has_no_coil_and_no_ringing():
    kinds = {
        modality: {type(part).__name__ for part in strong_intensity(modality=modality).transforms}
        for modality in ("ct", "mr", "other")
    }
    assert kinds["mr"] - kinds["ct"] == {"BiasField", "Gibbs"}
    assert kinds["other"] - kinds["ct"] == {"Gibbs"}


def test_genesis_corrupts_as_often_as_its_paper():
    corruption = genesis_corruption()
    params = corruption.draw((4000, 1, 16, 16, 8), generator())
    for key, share in (("0", 0.5), ("1", 0.9), ("2", 0.9), ("2.0", 0.18), ("2.1", 0.72)):
        chosen = params[f"{key}.active"] & params[f"{key[0]}.active"]
        assert chosen.float().mean() == pytest.approx(share, abs=0.03)


def test_cut_out_hides_up_to_three_tenths_twice():
    corruption = cut_out_corruption()
    shape = (40, 1, 32, 32, 32)
    params = corruption.draw(shape, generator())
    parts = Compose(corruption.transforms[:1])
    first = {k: v for k, v in params.items() if not k.startswith("1.")}
    hidden = parts.mask(shape, first).float().flatten(1).mean(dim=1)
    assert hidden.mean() == pytest.approx(0.14, abs=0.04)
    assert 0.2 < hidden.max() < 0.4
    assert corruption.mask(shape, params).float().mean() > 1.5 * hidden.mean()


@pytest.mark.parametrize(
    ("shape", "large", "small", "through"),
    [
        ((2, 3, 1, 24, 24, 12), (16, 16, 8), (8, 8, 4), 2),
        ((2, 3, 1, 24, 24, 24), (16, 16, 16), (8, 8, 8), None),
        ((2, 3, 1, 24, 24), (16, 16), (8, 8), None),
    ],
    ids=["slices", "3d", "2d"],
)
def test_large_and_small_views_lie_in_one_crop(shape, large, small, through):
    recipe = multicrop_views(large, small, local_views=3, through_axis=through)
    images = torch.rand(shape, generator=generator()) * 2 - 1
    drawn = recipe.draw(shape, generator())
    views = recipe.apply(images, drawn)
    assert [tuple(view.shape) for view in views] == [(6, 1, *large)] * 2 + [(6, 1, *small)] * 3
    shares = [frames[:, :, :-1].det() for frames in recipe.frames(shape, drawn)]
    smallest, largest = (0.48, 1.0) if through is None and len(large) == 2 else (0.24, 1.0)
    for number, share in enumerate(shares):
        low, high = (
            (smallest, largest) if number < 2 else (0.032, 0.24 if len(large) == 3 else 0.48)
        )
        assert share.min() > low - 1e-4
        assert share.max() < high + 1e-4


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
