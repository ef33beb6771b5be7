"""What only a device can show: that nothing waits for it, and that its results are the host's."""

import pytest
import torch

from medssl.transforms import presets
from medssl.transforms.views import ViewRecipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator"),
]

RECIPES = {
    "segmentation": ViewRecipe.single(presets.segmentation_augmentation()),
    "geometry": ViewRecipe.single(presets.gentle_geometry()),
    "strong": ViewRecipe.pair(presets.strong_intensity(modality="mr")),
    "genesis": ViewRecipe.single(presets.genesis_corruption()),
    "cut out": ViewRecipe.single(presets.cut_out_corruption()),
    "multicrop": presets.multicrop_views((24, 24, 24), (12, 12, 12)),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_making_views_never_waits_for_the_device(recipe):
    images = torch.rand(4, 1, 1, 32, 32, 32, device="cuda") * 2 - 1
    drawn = recipe.draw(images.shape, torch.Generator().manual_seed(0))
    recipe.apply(images, drawn)  # handles and plans are made once
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        recipe.apply(images, drawn)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["geometry", "multicrop"])
def test_views_are_those_of_the_host(name):
    images = torch.rand(4, 1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    recipe = (
        RECIPES["geometry"]
        if name == "geometry"
        else ViewRecipe.multicrop(
            presets.multicrop_views((24,) * 3, (12,) * 3).views[0].transform.transforms[0],
            presets.multicrop_views((24,) * 3, (12,) * 3).views[2].transform.transforms[0],
        )
    )
    drawn = recipe.draw(images.shape, torch.Generator().manual_seed(0))
    for here, there in zip(
        recipe.apply(images, drawn), recipe.apply(images.cuda(), drawn), strict=True
    ):
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)


def test_labels_move_on_the_device_as_on_the_host():
    images = torch.rand(4, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = (images > 0.5).long()
    augment = presets.segmentation_augmentation()
    params = augment.draw(images.shape, torch.Generator().manual_seed(0))
    there = augment.apply_label(labels.cuda(), params).cpu()
    # A place halfway between two voxels may be rounded to either.
    assert (there == augment.apply_label(labels, params)).float().mean() > 0.999
