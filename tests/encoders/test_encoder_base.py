import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.errors import ConfigError, UnknownNameError


def test_an_unknown_encoder_names_the_nearest():
    with pytest.raises(UnknownNameError, match='did you mean "resnet50"'):
        build_encoder("resnet55")


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match='no option "tokens"; did you mean "token"'):
        build_encoder("vit_tiny", tokens=8)


@pytest.mark.parametrize("options", [{"spatial_dims": 4}, {"in_channels": 0}])
def test_images_are_planar_or_volumes_and_have_a_channel(options):
    with pytest.raises(ConfigError, match="2 or 3"):
        build_encoder("resnet18", **options)


def test_options_are_kept_apart_from_what_the_name_means():
    encoder = build_encoder("resnet18", widen=0.125, patch=(8, 8, 8))
    assert encoder.config == {"widen": 0.125, "patch": (8, 8, 8)}


def test_a_mask_is_repeated_to_voxels():
    mask = torch.tensor([[[True, False], [False, True]]])
    voxels = upsample_mask(mask, (4, 6))[0, 0]
    assert voxels.shape == (4, 6)
    assert torch.equal(voxels[::2, ::3], mask[0])
    assert torch.equal(voxels[1::2, 2::3], mask[0])


def test_a_mask_must_tile_the_image():
    with pytest.raises(ValueError, match="does not tile"):
        upsample_mask(torch.zeros(1, 2, 2, dtype=torch.bool), (4, 5))
