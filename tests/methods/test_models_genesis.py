"""Models Genesis: what is restored, and the trap of intensities that are not from 0 to 1."""

import numpy as np
import pytest
import torch

from medssl.encoders import build_encoder
from medssl.methods import ModelsGenesis
from medssl.transforms.curves import Bezier

PATCH = (16, 12, 8)


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return ModelsGenesis(encoder=encoder, patch=PATCH, **options)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def test_the_clean_crop_is_the_target_and_every_voxel_counts():
    method = build()
    volume = torch.randn(2, 1, *PATCH, generator=generator(1))
    corrupted = method.corruption(volume, generator())
    assert not torch.equal(corrupted, volume)
    restored = method.decoder(method.encoder(corrupted), corrupted)[0]
    expected = (restored.double() - volume.double()).square().mean()
    loss = method.loss([volume], {}, generator())["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def clamping_bezier(volume):
    """The defect: a curve from 0 to 1 looked up for values in standard deviations."""
    places = np.linspace(0, 1, 100)
    return torch.from_numpy(np.interp(volume.numpy(), places, places**2)).float()


def distinct_share(before, after):
    return len(after.unique()) / len(before.unique())


def test_values_beyond_0_and_1_are_kept_apart():
    method = build()
    bezier = next(part for part in method.corruption.transforms if isinstance(part, Bezier))
    volume = torch.randn(8, 1, *PATCH, generator=generator(1)) * 2.0
    assert distinct_share(volume, clamping_bezier(volume)) < 0.25
    assert distinct_share(volume, bezier(volume, generator())) > 0.9


def test_corruption_does_not_depend_on_the_unit_of_intensity():
    """The same crop in other units is corrupted in the same way, but for those units."""
    method = build()
    unit = torch.rand(6, 1, *PATCH, generator=generator(1))
    there = method.corruption(unit, generator())
    back = (method.corruption(unit * 7.0 - 3.0, generator()) + 3.0) / 7.0
    torch.testing.assert_close(back, there, atol=1e-3, rtol=0)
