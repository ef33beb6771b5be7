"""Crops that meet every label."""

import numpy as np
import pytest

from medssl.sampling import LabelBalanced, VolumeFacts, rng
from medssl.types import Box


def labelled(voxels):
    return VolumeFacts((64, 64, 64), (1.0,) * 3, np.ones((16,) * 3, bool), (4, 4, 4), voxels)


SPOTS = {1: np.array([[10, 50, 30]], np.int32), 3: np.array([[63, 0, 31], [60, 2, 33]], np.int32)}


def holds(box: Box, voxels) -> bool:
    inside = (voxels >= box.start) & (voxels < box.stop)
    return bool(inside.all(axis=1).any())


def test_foreground_crops_hold_each_label_equally_often():
    regions = [
        LabelBalanced(foreground=1.0).place(labelled(SPOTS), (16, 16, 16), rng(0, n)).region
        for n in range(400)
    ]
    hits = {label: np.mean([holds(r, voxels) for r in regions]) for label, voxels in SPOTS.items()}
    assert hits[1] == pytest.approx(0.5, abs=0.08)
    assert hits[1] + hits[3] == pytest.approx(1.0, abs=0.02)


def test_the_chance_of_foreground_is_kept():
    sampler = LabelBalanced(foreground=0.3)
    regions = [sampler.place(labelled(SPOTS), (8, 8, 8), rng(1, n)).region for n in range(600)]
    share = np.mean([any(holds(r, voxels) for voxels in SPOTS.values()) for r in regions])
    assert share == pytest.approx(0.3, abs=0.06)


def test_the_voxel_is_not_always_in_the_middle():
    facts = labelled({1: np.array([[32, 32, 32]], np.int32)})
    starts = {
        LabelBalanced(foreground=1.0).place(facts, (16, 16, 16), rng(0, n)).region.start
        for n in range(40)
    }
    assert len(starts) > 30


@pytest.mark.parametrize("voxels", [None, {}])
def test_without_labels_crops_are_uniform(voxels):
    region = LabelBalanced().place(labelled(voxels), (16, 16, 16), rng(0, 0)).region
    assert region.size == (16, 16, 16)
