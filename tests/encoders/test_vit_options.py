"""What published vision transformers have besides: class token, registers, positions, scales."""

import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import ViT as MonaiViT

from medssl.encoders import build_encoder
from medssl.encoders.checkpointing import checkpoint_blocks
from medssl.encoders.tokens import map_to_tokens, resize_positions
from medssl.errors import ConfigError

SMALL = {"width": 24, "depth": 5, "heads": 2, "token": 4}
EVERY = {
    "positions": "learned",
    "class_token": True,
    "registers": 3,
    "norm_eps": 1e-6,
    "layer_scale": 0.5,
    "qkv_bias": True,
}
PATCH = {2: (16, 8), 3: (8, 8, 16)}


def build(dims=3, **options):
    torch.manual_seed(0)
    config = {"spatial_dims": dims, "patch": PATCH[dims], **SMALL, **options}
    return build_encoder("vit_tiny", **config).eval()


def blocks_of(encoder, x):
    """Return all tokens of the last block, the tokens without a place first, after the norm."""
    stem = encoder.patch_embedding.patch_embeddings
    convolve = F.conv3d if x.ndim == 5 else F.conv2d
    tokens = convolve(x, stem.weight, stem.bias, stride=4).flatten(2).transpose(1, 2)
    tokens = tokens + encoder.patch_embedding.position_embeddings
    first = [encoder.cls_token, encoder.register_tokens]
    tokens = torch.cat([*(part.expand(len(x), -1, -1) for part in first), tokens], dim=1)
    for block in encoder.blocks:
        tokens = block(tokens)
    return encoder.norm(tokens)


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_the_class_token_and_registers_take_part_and_the_class_token_answers(dims):
    encoder = build(dims, **EVERY)
    x = torch.randn(2, 1, *PATCH[dims])
    expected = blocks_of(encoder, x)
    torch.testing.assert_close(encoder.embed(x), expected[:, 0])
    torch.testing.assert_close(map_to_tokens(encoder(x)[-1]), expected[:, 4:])
    without = build(dims, **{**EVERY, "class_token": False, "registers": 0})
    torch.testing.assert_close(without.embed(x), without(x)[-1].flatten(2).mean(dim=2))


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_what_stands_for_no_place_is_never_hidden(dims):
    encoder = build(dims, **EVERY)
    x = torch.randn(2, 1, *PATCH[dims])
    grid = tuple(edge // 4 for edge in PATCH[dims])
    hidden = torch.zeros(2, *grid, dtype=torch.bool)
    hidden[0, 0], hidden[1, -1] = True, True
    other = encoder.forward_masked(x, hidden)
    voxels = hidden.unsqueeze(1)
    for axis in range(2, 2 + dims):
        voxels = voxels.repeat_interleave(4, dim=axis)
    changed = encoder.forward_masked(torch.where(voxels, 9.0, x), hidden)
    assert all(torch.equal(a, b) for a, b in zip(other, changed, strict=True))
    for features in other:
        assert not features[hidden.unsqueeze(1).expand_as(features)].any()
        assert features[~hidden.unsqueeze(1).expand_as(features)].all()
    nothing = torch.zeros_like(hidden)
    for a, b in zip(encoder(x), encoder.forward_masked(x, nothing), strict=True):
        assert torch.equal(a, b)
    with torch.enable_grad():
        encoder.forward_masked(x, hidden)[-1].square().mean().backward()
    assert encoder.cls_token.grad.any()
    assert encoder.register_tokens.grad.any()


def test_every_parameter_learns_and_is_rebuilt_from_the_options():
    encoder = build(**EVERY)
    x = torch.randn(2, 1, *PATCH[3])
    sum((m * torch.randn_like(m)).sum() for m in encoder(x)).backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]
    again = build_encoder(encoder.name, **json.loads(json.dumps(encoder.config))).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x), again(x), strict=True))
    assert checkpoint_blocks(again) == 5
    assert torch.equal(again.embed(x), encoder.embed(x))


@torch.no_grad()
def test_monai_loads_a_class_token_and_learned_positions():
    encoder = build(class_token=True, positions="learned")
    twin = MonaiViT(1, PATCH[3], 4, 24, 96, 5, 2, classification=True, num_classes=7).eval()
    left = twin.load_state_dict(encoder.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(name.startswith("classification_head") for name in left.missing_keys)
    twin.classification_head = torch.nn.Identity()
    x = torch.randn(2, 1, *PATCH[3])
    torch.testing.assert_close(encoder.embed(x), twin(x)[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_scales_of_one_change_nothing_and_of_zero_leave_the_tokens():
    plain, x = build(), torch.randn(1, 1, *PATCH[3])
    for start in (1.0, 0.0):
        scaled = build(layer_scale=start)
        left = scaled.load_state_dict(plain.state_dict(), strict=False)
        assert len(left.missing_keys) == 10
        same = torch.allclose(scaled(x)[-1], plain(x)[-1], atol=1e-5)
        assert same == (start == 1.0)
    torch.testing.assert_close(scaled(x)[0], scaled(x)[1])


@torch.no_grad()
def test_the_epsilon_is_that_of_every_norm():
    encoder = build(norm_eps=1e-6, layer_scale=1.0)
    norms = [part for part in encoder.modules() if isinstance(part, torch.nn.LayerNorm)]
    assert len(norms) == 11
    assert {norm.eps for norm in norms} == {1e-6}
    assert not torch.equal(
        encoder(torch.ones(1, 1, 8, 8, 16))[-1],
        build(layer_scale=1.0)(torch.ones(1, 1, 8, 8, 16))[-1],
    )


@torch.no_grad()
def test_learned_positions_are_interpolated_where_another_grid_comes():
    encoder = build(positions="learned")
    assert "patch_embedding.position_embeddings" in dict(encoder.named_parameters())
    stored = encoder.patch_embedding.position_embeddings
    moved = resize_positions(stored, (2, 2, 4), (3, 2, 2))
    fitting = build(positions="learned", patch=(12, 8, 8))
    fitting.load_state_dict({**encoder.state_dict(), "patch_embedding.position_embeddings": moved})
    x = torch.randn(1, 1, 12, 8, 8)
    torch.testing.assert_close(encoder(x)[-1], fitting(x)[-1])


@pytest.mark.parametrize("grid", [(4, 2), (4, 2, 3)])
def test_positions_that_grow_evenly_still_do_on_another_grid(grid):
    places = torch.tensor(list(itertools.product(*map(range, grid)))).float()
    # centres of tokens as a share of the image
    shares = (places + 0.5) / torch.tensor(grid)
    wanted = tuple(edge * 2 for edge in grid)
    inner = torch.tensor(list(itertools.product(*map(range, wanted)))).float()
    expected = ((inner + 0.5) / torch.tensor(wanted)).clamp(
        0.5 / torch.tensor(grid), 1 - 0.5 / torch.tensor(grid)
    )
    torch.testing.assert_close(resize_positions(shares[None], grid, wanted)[0], expected)


@pytest.mark.parametrize("options", [{"positions": "sines"}, {"registers": -1}, {"norm_eps": 0.0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="positions are"):
        build(**options)


@torch.no_grad()
def test_rotary_attention_is_its_naive_loop():
    """Pairs of features as complex numbers, turned by place times frequency, axis by axis."""
    encoder = build(3, positions="rotary", class_token=True, heads=2).double()
    attention, grid = encoder.blocks[0].attn, (2, 2, 4)
    tokens = torch.randn(1, 17, 24, dtype=torch.float64)
    angles = encoder._angles(grid, tokens, None)
    found = attention(tokens, angles)[0]
    places = [None, *itertools.product(*map(range, grid))]  # the class token has none
    query, key, value = attention.qkv(tokens[0]).view(17, 3, 2, 12).unbind(1)
    bands = [10000.0 ** (-n / 2) for n in range(2)]  # 12 features are 6 pairs, 2 an axis

    def turned(row, place):
        pairs = torch.view_as_complex(row.view(6, 2))
        by = [at * band for at in place for band in bands] if place else [0.0] * 6
        return pairs * torch.exp(1j * torch.tensor(by, dtype=torch.float64))

    expected = torch.zeros(17, 2, 12, dtype=torch.float64)
    for head, one in itertools.product(range(2), range(17)):
        asked = turned(query[one, head], places[one])
        scores = torch.stack(
            [
                (asked * turned(key[other, head], places[other]).conj()).real.sum()
                for other in range(17)
            ]
        )
        weights = (scores / 12**0.5).softmax(0)
        expected[one, head] = weights @ value[:, head]
    expected = attention.out_proj(expected.flatten(1))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("scale", [None, 0.5])
def test_rotary_positions_take_any_grid_and_hold_nothing(scale):
    encoder = build(3, positions="rotary", layer_scale=scale, registers=2)
    assert not any("position" in name for name in encoder.state_dict())
    assert encoder(torch.randn(1, 1, 16, 12, 8))[-1].shape == (1, 24, 4, 3, 2)
    x = torch.randn(1, 1, 8, 8, 16)
    assert not torch.allclose(encoder(x)[-1].flip(2), encoder(x.flip(2))[-1], atol=1e-3)
    with pytest.raises(ConfigError, match="even number of features"):
        build(3, positions="rotary", width=21, heads=3)
