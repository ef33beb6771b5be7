import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.fusion import FusionMap
from medssl.parts.group_masks import DisjointCells, share_cells

SHAPE = (5, 1, 16, 8, 12)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("views", "ratio"), [(2, 0.5), (4, 0.25), (3, 0.5), (4, 0.75), (2, 0.6)])
def test_together_the_masks_hide_every_cell_and_none_much_more_often(views, ratio):
    mask = DisjointCells(views=views, ratio=ratio, size=4)
    hidden = mask(SHAPE, generator()).view(views, 5, -1)
    assert (hidden.sum(dim=2) == round(ratio * 24)).all()
    times = hidden.sum(dim=0)
    assert times.min() >= 1
    assert times.max() - times.min() <= 1
    if views * ratio == 1:
        assert (times == 1).all()


def test_independent_masks_would_leave_cells_that_none_hides():
    from medssl.parts.masking import RandomCells

    mask = RandomCells(ratio=0.5, size=4)
    times = mask(SHAPE, generator(1)).int() + mask(SHAPE, generator(2)).int()
    assert times.min() == 0


def test_images_have_orders_of_their_own_and_seeds_replay():
    mask = DisjointCells(views=2, ratio=0.5, size=4)
    first, again, other = (mask(SHAPE, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(row.flatten().tolist()) for row in first}) == 10


def test_every_cell_is_in_the_first_mask_as_often_as_any_other():
    hidden = DisjointCells(views=3, ratio=0.5, size=8)((3000, 1, 16, 16, 24), generator())
    share = hidden[:3000].float().mean(0)
    torch.testing.assert_close(share, torch.full((2, 2, 3), 0.5), atol=0.04, rtol=0)


def test_masks_that_can_not_hide_all_are_refused():
    with pytest.raises(ConfigError, match="use 4 or more"):
        DisjointCells(views=3, ratio=0.25)


def test_cells_are_shared_equally_and_at_random():
    owner = share_cells(400, (4, 3, 2), 3, generator())
    assert all(row.flatten().bincount().tolist() == [8, 8, 8] for row in owner)
    torch.testing.assert_close(
        (owner == 0).float().mean(0), torch.full((4, 3, 2), 1 / 3), atol=0.1, rtol=0
    )


def test_cells_that_can_not_be_shared_equally_are_refused():
    with pytest.raises(ConfigError, match="can't be shared equally among 5"):
        share_cells(1, (4, 3), 5, generator())


@pytest.mark.parametrize("shape", [(3, 1, 20, 12, 8), (3, 2, 20, 12)])
def test_fusion_map_has_all_classes_over_a_background(shape):
    fusion = FusionMap(levels=4, boxes=(10, 40))
    classes = torch.cat([fusion(shape, generator(seed)) for seed in range(20)])
    assert classes.shape[1:] == shape[2:]
    share = classes.flatten().bincount(minlength=5) / classes.numel()
    assert (share > 0.05).all()
    assert share.argmax() == 0
    assert torch.equal(fusion(shape, generator(3)), fusion(shape, generator(3)))


def test_later_boxes_lie_over_earlier_ones_and_edges_keep_their_bounds():
    """One box: what is not 0 is a box whose edges lie in the bounds."""
    fusion = FusionMap(levels=1, boxes=(1, 1), edge=(0.25, 0.5))
    seen = set()
    for seed in range(60):
        classes = fusion((1, 1, 16, 8, 12), generator(seed))[0]
        if not classes.any():
            continue
        inside = classes.nonzero()
        edges = inside.amax(0) - inside.amin(0) + 1
        assert len(inside) == edges.prod()
        for edge, size in zip(edges, (16, 8, 12), strict=True):
            assert round(0.25 * size) <= edge <= round(0.5 * size)
        seen.add(tuple(inside.amin(0).tolist()))
    assert len(seen) > 10


def test_fused_voxels_are_the_weighted_mean():
    fusion = FusionMap(levels=4)
    front, back = (torch.randn(2, 1, 6, 6, 6, generator=generator(seed)) for seed in (1, 2))
    classes = fusion(front.shape, generator())
    fused = fusion.fuse(front, back, classes)
    for place in torch.randint(6, (20, 3), generator=generator()).tolist():
        at = (0, *place)
        alpha = classes[at].item() / 4
        f, b = front[(0, 0, *place)], back[(0, 0, *place)]
        assert fused[(0, 0, *place)].item() == pytest.approx((alpha * f + (1 - alpha) * b).item())


def test_impossible_maps_are_refused():
    with pytest.raises(ConfigError, match="edges in"):
        FusionMap(edge=(0.5, 1.5))
