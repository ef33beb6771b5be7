import torch

from medssl.parts.points import frame_of_pairs, matched_points
from medssl.transforms.frames import compose_frames, relation

WHOLE = torch.eye(2, 3)[None]


def coordinates(size):
    """A map whose features are the place of each cell, from -1 to 1 between outer faces."""
    axes = [(2 * torch.arange(n) + 1) / n - 1.0 for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def points(related, size=(8, 8), count=64):
    maps = coordinates(size)
    return matched_points(maps, maps, related, count, torch.Generator().manual_seed(0))


def test_points_of_two_views_lie_at_the_same_anatomy():
    """The second view shows the upper left quarter: its place x is (x - 1) / 2 of the first."""
    corner = torch.tensor([[[0.5, 0.0, -0.5], [0.0, 0.5, -0.5]]])
    found = points(relation(WHOLE, corner))
    assert found.seen.all()
    inside = (found.first.abs() < 0.8).all(dim=2)
    torch.testing.assert_close(found.first[inside], ((found.second - 1) / 2)[inside])


def test_places_that_the_first_view_does_not_show_come_last():
    aside = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])  # half a view further along axis 0
    found = points(relation(WHOLE, aside), count=32)
    assert found.seen.all()
    assert (found.second[..., 0] < 0).all()
    assert not points(relation(WHOLE, aside), count=48).seen.all()


def test_places_are_those_of_the_cells():
    found = points(relation(WHOLE, WHOLE), size=(4, 8), count=32)
    torch.testing.assert_close(found.second, (2 * found.where + 1) / torch.tensor([4.0, 8]) - 1)
    assert len({tuple(place) for place in found.where[0].tolist()}) == 32


def test_views_of_two_crops_are_matched_across_the_crops():
    """The second crop lies a quarter of an edge further along axis 0 and half along axis 1."""
    targets = {
        "relative_position": torch.tensor([[0.25, 0.5]]),
        "relative_size": torch.ones(1, 2),
    }
    second = compose_frames(frame_of_pairs(targets, 2), WHOLE)
    found = points(relation(WHOLE, second))
    clear = found.seen & (found.first.abs() < 0.8).all(dim=2)
    assert clear.sum() > 10
    shift = torch.tensor([0.5, 1.0])
    torch.testing.assert_close(found.first[clear], (found.second + shift)[clear])
