"""Leaning axes set upright: values and labels stay at their place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from faults.phantom import centred, check, paint, places

from medssl.io.shear import straight_grid, straighten
from medssl.types import Volume

SHAPE = (18, 17, 16)
LEANS = {
    "a tilted gantry": [[1.5, 0, 0], [0, 1.75, 0.8], [0, 0, 2.0]],
    "a shear in the plane": [[1.5, -0.4, 0], [0, 1.75, 0], [0, 0, 2.0]],
    "all axes": [[1.5, 0.3, -0.3], [0, 1.75, 0.4], [0.1, 0, 2.0]],
}


@pytest.mark.parametrize("axes", LEANS.values(), ids=LEANS)
@pytest.mark.parametrize("turned", [False, True])
def test_values_stay_at_their_place_and_no_voxel_is_lost(axes, turned):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    affine = centred(turn @ np.array(axes) if turned else axes, SHAPE)
    shape, straight = straight_grid(affine, SHAPE)
    unit = straight[:3, :3] / np.linalg.norm(straight[:3, :3], axis=0)
    assert np.allclose(unit.T @ unit, np.eye(3), atol=1e-9)
    corners = places(SHAPE, affine)[np.ix_(*[(0, -1)] * 3)].reshape(-1, 3)
    index = (corners - straight[:3, 3]) @ np.linalg.inv(straight[:3, :3]).T
    assert (index > -0.01).all()
    assert (index < np.array(shape) - 0.99).all()
    data = straighten(paint(SHAPE, affine), affine, shape, straight)
    assert data.dtype == np.int16
    check(Volume(data, straight, fixes=("shear_resampled",)), tolerance=4.0)


def test_slices_stay_slices_where_only_they_lean():
    affine = centred(LEANS["a tilted gantry"], SHAPE)
    shape, straight = straight_grid(affine, SHAPE)
    assert (shape[0], shape[2]) == (SHAPE[0], SHAPE[2])
    assert np.allclose(straight[:3, :3], np.diag([1.5, 1.75, 2.0]))


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
def test_labels_stay_labels(kind):
    affine = centred(LEANS["all axes"], SHAPE)
    where = places(SHAPE, affine)
    labels = np.select([where[..., 0] > 4, where[..., 2] < -3], [7, 2], 0).astype(kind)
    shape, straight = straight_grid(affine, SHAPE)
    moved = straighten(labels, affine, shape, straight)
    assert set(np.unique(moved)) == {0, 2, 7}
    inner = np.array(list(itertools.product((-6.0, 0.0, 8.0), repeat=3)))
    index = np.rint((inner - straight[:3, 3]) @ np.linalg.inv(straight[:3, :3]).T).astype(int)
    expected = [7 if x > 4 else 2 if z < -3 else 0 for x, _, z in inner]
    assert moved[tuple(index.T)].tolist() == expected
