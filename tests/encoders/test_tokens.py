import warnings

import pytest
import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding

from medssl.encoders.tokens import (
    map_to_tokens,
    patchify,
    sincos_positions,
    split_tokens,
    token_mask,
    tokens_to_map,
    unpatchify,
)


@pytest.mark.parametrize(
    ("grid", "token"), [((2, 3, 4), (4, 2, 3)), ((1, 5, 2), (2, 2, 2)), ((3, 2), (4, 8))]
)
def test_tokens_are_cells_with_the_first_axis_slowest(grid, token):
    shape = [g * t for g, t in zip(grid, token, strict=True)]
    x = torch.randn(2, 3, *shape)
    tokens = patchify(x, token)
    number = 0
    for place in torch.cartesian_prod(*(torch.arange(g) for g in grid)).tolist():
        box = tuple(slice(p * t, p * t + t) for p, t in zip(place, token, strict=True))
        assert torch.equal(tokens[:, number], x[(slice(None), slice(None), *box)].flatten(1))
        number += 1
    assert tokens.shape[1] == number
    assert torch.equal(unpatchify(tokens, grid, token), x)


def test_tokens_and_maps_share_their_memory():
    tokens = torch.randn(2, 24, 5)
    features = tokens_to_map(tokens, (2, 3, 4))
    assert torch.equal(features[1, :, 1, 0, 2], tokens[1, 1 * 12 + 0 * 4 + 2])
    assert torch.equal(map_to_tokens(features), tokens)
    assert features.data_ptr() == map_to_tokens(features).data_ptr() == tokens.data_ptr()


def test_a_cell_of_several_tokens_hides_each():
    hidden = torch.zeros(1, 2, 1, 3, dtype=torch.bool)
    hidden[0, 1, 0, 2] = True
    tokens = token_mask(hidden, (4, 2, 3)).view(4, 2, 3)
    assert tokens.nonzero().tolist() == [[2, 0, 2], [2, 1, 2], [3, 0, 2], [3, 1, 2]]


def test_places_keep_the_order_of_tokens():
    visible, gone = split_tokens(torch.tensor([[True, False, True, False, False]]))
    assert visible.tolist() == [[1, 3, 4]]
    assert gone.tolist() == [[0, 2]]


@pytest.mark.parametrize(("grid", "width"), [((2, 3, 4), 24), ((5, 3), 16), ((2, 2, 2), 6)])
def test_positions_are_those_of_monai(grid, width):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.meshgrid's arguments
        expected = build_sincos_position_embedding(grid, width, len(grid))
    torch.testing.assert_close(sincos_positions(grid, width), expected.data)


@pytest.mark.parametrize("width", [1024, 32, 5])
def test_positions_fit_widths_that_do_not_divide(width):
    positions = sincos_positions((3, 4, 5), width)
    assert positions.shape == (1, 60, width)
    used = width // 6 * 6
    assert not positions[..., used:].any()
    if used:
        assert len(positions[0].unique(dim=0)) == 60
