"""A learned pattern of voxels is a transformer's mask token, and nothing hidden gets through."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.tokens import map_to_tokens, sincos_positions, token_mask
from medssl.errors import ConfigError
from medssl.parts.mask_token import MaskToken


def test_hidden_tokens_of_a_transformer_are_one_vector_and_their_positions():
    encoder = build_encoder("vit_tiny", patch=(16, 8, 12), token=4, width=24, depth=4, heads=2)
    filler = MaskToken(encoder)
    hidden = torch.rand(2, 4, 2, 3) < 0.5
    tokens = []
    encoder.blocks[0].register_forward_pre_hook(lambda module, args: tokens.append(args[0]))
    maps = encoder(filler(torch.randn(2, 1, 16, 8, 12), hidden))
    own = tokens[0] - sincos_positions((4, 2, 3), 24)
    at_hidden = own[token_mask(hidden, tuple(maps[-1].shape[2:]))]
    torch.testing.assert_close(at_hidden, at_hidden[:1].expand_as(at_hidden))
    maps[-1].sum().backward()
    assert filler.token.grad.shape == (1, 4, 4, 4)


@pytest.mark.parametrize("name", ["resenc_s", "vit_tiny", "swin_tiny"])
def test_what_is_hidden_reaches_no_output(name):
    torch.manual_seed(0)
    encoder = build_encoder(name, spatial_dims=2, patch=(32, 32)).eval()
    filler = MaskToken(encoder)
    hidden = torch.zeros(1, 2, 2, dtype=torch.bool)
    hidden[0, 0, 1] = True
    image = torch.randn(1, 1, 32, 32)
    other = image.clone()
    other[..., :16, 16:] = torch.randn(16, 16)
    for a, b in zip(encoder(filler(image, hidden)), encoder(filler(other, hidden)), strict=True):
        assert torch.equal(map_to_tokens(a), map_to_tokens(b))


def test_odd_sizes_and_low_precision_are_kept():
    encoder = build_encoder("vit_tiny", spatial_dims=2, patch=(16, 16), token=8)
    image = torch.zeros(1, 1, 20, 12, dtype=torch.bfloat16)
    filled = MaskToken(encoder)(image, torch.ones(1, 5, 3, dtype=torch.bool))
    assert filled.dtype == torch.bfloat16
    assert filled.shape == image.shape
    assert torch.equal(filled[..., 8:16, :8], filled[..., :8, :8])


def test_cells_that_do_not_tile_are_refused():
    encoder = build_encoder("vit_tiny", spatial_dims=2, patch=(16, 16), token=8)
    with pytest.raises(ConfigError, match="does not tile"):
        MaskToken(encoder)(torch.zeros(1, 1, 16, 16), torch.ones(1, 3, 3, dtype=torch.bool))
