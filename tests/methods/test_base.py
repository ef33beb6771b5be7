"""What every method can be asked for."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import MAECNN, SimCLR
from medssl.types import Batch

PATCH = (8, 8, 8)


def build(kind=SimCLR, **options):
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return kind(encoder=encoder, patch=PATCH, **{**kind.tiny(), **options})


def batch(crops):
    generator = torch.Generator().manual_seed(3)
    # five scanners, each with a gain of its own
    gain = torch.arange(1.0, 6.0).view(5, 1, 1, 1, 1, 1)
    images = torch.rand(5, crops, 1, *PATCH, generator=generator) * gain
    return Batch(images, {}, [], [])


@pytest.mark.parametrize(("kind", "crops"), [(SimCLR, 2), (MAECNN, 1)])
def test_scanners_can_not_be_told_apart_within_a_view_where_it_is_asked_for(kind, crops):
    for chance, alike in ((0.0, False), (1.0, True)):
        views = build(kind, batch_style=chance).make_views(
            batch(crops), torch.Generator().manual_seed(0)
        )
        means = torch.stack([view.flatten(1).mean(dim=1) for view in views])
        spread = means.std(dim=1) / means.mean(dim=1)
        # noise that is clipped keeps a little of its own gain
        assert bool((spread < 0.3).all()) == alike


def test_a_chance_beyond_one_is_refused():
    with pytest.raises(ConfigError, match="chance"):
        build(batch_style=2.0)
