"""What SimCLR compares with what, and the defects of the code it is known from."""

import copy

import pytest
import torch
from contracts.test_methods import CPU, build, make_batch

from medssl.errors import ConfigError
from medssl.losses.contrast import nt_xent
from medssl.training.module import batch_generator


def made(method, seed=0):
    batch = make_batch(method)
    return method.views_and_targets(batch, batch_generator(seed, 0, CPU))


def loss_of(method, views, targets):
    return method.loss(views, targets, torch.Generator().manual_seed(0))["loss"]


def test_crops_of_a_place_that_overlap_are_no_negatives():
    """The form that knows of no overlap gives another loss; that of strangers the same."""
    method = build("simclr", {"crops": 3}, "cnn", 3)
    views, targets = made(method)
    apart = torch.eye(3).expand(4, -1, -1)
    embedded = method.head(method.encoder.embed(torch.cat(views))).chunk(2)
    naive = nt_xent(*embedded, temperature=method.temperature)
    torch.testing.assert_close(loss_of(method, views, {**targets, "overlap": apart}), naive)
    together = apart.clone()
    together[:, 0, 1] = together[:, 1, 0] = 0.3
    masked = loss_of(method, views, {**targets, "overlap": together})
    assert masked < naive


def test_overlaps_of_the_sampler_are_those_of_the_crops():
    method = build("simclr", {"crops": 3}, "cnn", 3)
    overlap = make_batch(method).targets["overlap"]
    assert overlap.shape == (4, 3, 3)
    assert (overlap.diagonal(dim1=1, dim2=2) == 1).all()


def test_places_match_only_where_they_were_read():
    """Frames that are told wrong make another loss: it is geometry that matches, not features."""
    options = {"overlap": (0.4, 0.75), "dense_weight": 1.0, "dense_level": 0, "dense_points": 512}
    method = build("simclr", options, "cnn", 3)
    views, targets = made(method)
    shifted = {**targets, "relative_position": targets["relative_position"].roll(1, dims=0)}
    losses = [method.loss(views, each, torch.Generator())["places"] for each in (targets, shifted)]
    assert losses[0] != losses[1]


def test_learning_brings_places_of_the_same_anatomy_together():
    options = {"overlap": (0.4, 0.75), "dense_weight": 1.0, "dense_level": 0, "dense_points": 64}
    method = build("simclr", options, "cnn", 3)
    views, targets = made(method)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    seen = []
    for _ in range(15):
        losses = method.loss(views, targets, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        seen.append(losses["places"].item())
    assert seen[-1] < 0.9 * seen[0]


def test_without_the_dense_term_there_is_no_head_for_it():
    assert build("simclr", {}, "cnn", 3).dense_head is None


def test_a_map_that_is_not_there_is_refused():
    method = build("simclr", {}, "cnn", 3)
    with pytest.raises(ConfigError, match="has 3 maps"):
        type(method)(encoder=copy.deepcopy(method.encoder), patch=method.patch, dense_level=5)
