"""CheXWorld: the other crop lies where it lies, and what was done to a crop is told."""

import numpy as np
import pytest
import torch

from medssl.encoders import build_encoder
from medssl.methods import CheXWorld
from medssl.sampling.facts import VolumeFacts
from medssl.types import Batch

PATCH = (16, 8, 12)


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("vit_tiny", patch=PATCH, token=4, width=24, depth=4, heads=2)
    return CheXWorld(encoder=encoder, patch=PATCH, **{**CheXWorld.tiny(), **options})


def place_of(method, seed=0):
    facts = VolumeFacts((64, 48, 40), (1.0,) * 3, np.ones((8, 6, 5), bool), (8,) * 3)
    return method.places().place(facts, PATCH, np.random.default_rng(seed))


def batch_of(method, count=3):
    places = [place_of(method, seed) for seed in range(count)]
    targets = {
        name: torch.from_numpy(np.stack([place.targets[name] for place in places]))
        for name in places[0].targets
    }
    images = torch.randn(count, 2, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    return places, Batch(images, targets, [], [])


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_places_of_the_other_crop_are_those_of_the_volume(scale):
    """Each hidden place, in voxels of the volume, by way of either crop."""
    method = build(scale=scale, overlap=(0.1, 0.4))
    places, batch = batch_of(method)
    grid = np.array([4, 2, 3])
    cells = np.random.default_rng(0).uniform(0, grid, (6, 5, 3)).astype(np.float32)
    beyond = method._beyond(torch.from_numpy(cells), tuple(grid.tolist()), batch.targets)
    for row in range(6):
        boxes = places[row // 2].crops
        own, other = boxes[row % 2], boxes[1 - row % 2]
        asked = cells[row - row % 2 + 1 - row % 2]
        voxels = np.array(other.start) + asked / grid * np.array(other.size)
        expected = (voxels - np.array(own.start)) / np.array(own.size) * grid
        np.testing.assert_allclose(beyond[row].numpy(), expected, rtol=1e-4, atol=1e-4)


def terms_of(method, views, targets):
    return method.loss(views, targets, torch.Generator().manual_seed(0))


def test_terms_are_averaged_by_weight():
    method = build(layout_weight=3.0).eval()
    _, batch = batch_of(method)
    terms = terms_of(method, *method.views_and_targets(batch, torch.Generator().manual_seed(2)))
    expected = (terms["structure"] + 3 * terms["layout"]) / 4
    torch.testing.assert_close(terms["loss"], expected)


def test_answers_depend_on_where_the_other_crop_lies_and_on_what_was_done():
    method = build().eval()
    _, batch = batch_of(method)
    views, targets = method.views_and_targets(batch, torch.Generator().manual_seed(2))
    terms = terms_of(method, views, targets)
    moved = {**targets, "relative_position": targets["relative_position"] + 1.0}
    other = terms_of(method, views, moved)
    assert torch.equal(terms["structure"], other["structure"])
    assert not torch.equal(terms["layout"], other["layout"])
    untold = terms_of(method, views, {**targets, "look": torch.zeros_like(targets["look"])})
    assert not torch.equal(terms["structure"], untold["structure"])


def test_student_sees_changed_intensities_and_teacher_the_crops_as_they_are():
    method = build(strength=2.0)
    _, batch = batch_of(method)
    views, targets = method.views_and_targets(batch, torch.Generator().manual_seed(2))
    assert torch.equal(views[1], batch.images.flatten(0, 1))
    changed = (views[0] != views[1]).flatten(1).any(dim=1)
    told = targets["look"].flatten(0, 1)[:, :-1]  # the last says that the composition was applied
    untouched = told.abs().sum(dim=1) == 0
    assert not changed[untouched].any()
    assert changed[~untouched].any()
    assert method.exported_encoder() is method.teacher_encoder.module


def test_no_change_at_all_is_allowed():
    method = build(strength=0.0)
    _, batch = batch_of(method)
    views, targets = method.views_and_targets(batch, torch.Generator().manual_seed(2))
    assert torch.equal(views[0], views[1])
    assert torch.isfinite(terms_of(method, views, targets)["loss"])
