import numpy as np
import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.two_views import TwoViews, overlapping_rows
from medssl.sampling.facts import VolumeFacts

PATCH = (16, 16, 16)


def facts():
    return VolumeFacts((48, 48, 48), (1.0,) * 3, np.ones((6, 6, 6), bool), (8, 8, 8))


def place(pair, seed=0):
    return pair.places().place(facts(), PATCH, np.random.default_rng(seed))


def test_crops_that_share_voxels_are_told_and_others_are_not():
    place_ = place(TwoViews(crops=6))
    overlap = place_.targets["overlap"]
    for i, one in enumerate(place_.crops):
        for j, other in enumerate(place_.crops):
            edges = [
                max(0, min(a, b) + 16 - max(a, b))
                for a, b in zip(one.start, other.start, strict=True)
            ]
            assert overlap[i, j] == pytest.approx(np.prod(edges) / 16**3)
    assert (overlap == 0).any()


def test_rows_of_one_place_are_strangers_only_if_they_share_nothing():
    overlap = torch.tensor([[[1.0, 0.2, 0.0], [0.2, 1.0, 0.0], [0.0, 0.0, 1.0]]]).repeat(2, 1, 1)
    known = overlapping_rows({"overlap": overlap}, 6)
    expected = torch.block_diag(*(overlap > 0).float()) > 0
    assert torch.equal(known, expected)
    assert torch.equal(overlapping_rows({}, 3), torch.eye(3, dtype=torch.bool))


def test_pairs_are_seen_as_they_were_cut_and_crops_in_part():
    images = torch.arange(16.0).view(1, 1, 1, 16, 1, 1).expand(1, 2, 1, *PATCH).contiguous()
    still = {"strength": 0.0}
    first, second = TwoViews(overlap=(0.3, 0.6), **still).recipe()(images, torch.Generator())
    assert torch.equal(first, images[:, 0])
    assert torch.equal(second, images[:, 1])
    views = TwoViews(crops=2, **still).recipe()(images, torch.Generator().manual_seed(0))
    assert all(view.shape == (2, 1, *PATCH) for view in views)
    assert not torch.equal(*views)


def test_nothing_is_mirrored_or_turned():
    ramp = torch.linspace(-1, 1, 16).view(1, 1, 1, 16, 1, 1).expand(1, 2, 1, *PATCH).contiguous()
    for seed in range(10):
        for view in TwoViews(crops=2).recipe()(ramp, torch.Generator().manual_seed(seed)):
            profile = view.mean(dim=(1, 3, 4))
            assert (profile[:, -1] > profile[:, 0]).all()


def test_small_views_have_the_size_that_was_asked_for():
    recipe = TwoViews(crops=2).recipe(local_views=3, local_size=(8, 8, 8))
    views = recipe(torch.randn(1, 2, 1, *PATCH), torch.Generator().manual_seed(0))
    assert [tuple(view.shape[2:]) for view in views] == [PATCH] * 2 + [(8, 8, 8)] * 3


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        TwoViews(crops=0)
    with pytest.raises(ConfigError, match="leave out `overlap`"):
        TwoViews(overlap=(0.2, 0.5)).recipe(3)
