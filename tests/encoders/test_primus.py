"""Primus against its published definition, written out here for one sample at a time."""

import math

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.encoders.checkpointing import checkpoint_blocks
from medssl.encoders.tokens import map_to_tokens
from medssl.errors import ConfigError

SMALL = {"width": 72, "depth": 4, "heads": 2, "token": 4}
CUBE, BOX = (8, 8, 8), (8, 12, 16)


def published(encoder):
    """Return the weights under their published names."""
    return {
        key if key.startswith("down_projection.") else f"eva.{key}": value
        for key, value in encoder.state_dict().items()
    }


def vary(encoder):
    """Give every weight a value that matters, for scales and norms start as constants."""
    torch.manual_seed(1)
    for parameter in encoder.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    return encoder.eval()


def turn(x, grid):
    """Turn ``(heads, tokens, head)``, tokens of ``grid`` in order, as a complex product."""
    head = x.shape[-1]
    count = head // (2 * len(grid))
    frequencies = 1.0 / 10000.0 ** (torch.arange(count) / count)
    places = torch.cartesian_prod(*(torch.arange(n) for n in grid)).double()
    angles = (places[:, :, None] * frequencies.double()).flatten(1)
    factor = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * factor).flatten(-2).to(x.dtype)


def reference(weights, x, grid, *, heads=2, depth=4, keep=None):
    """Return the tokens of one image as the published network has them, and their order.

    ``grid`` is that of its sequence: (h, w, d).
    """
    w = {key: value.double() for key, value in weights.items()}
    x = F.conv3d(x.double(), w["down_projection.proj.weight"], w["down_projection.proj.bias"], 4)
    x = x.permute(0, 3, 2, 4, 1).flatten(1, 3)[0] + w["eva.pos_embed"][0]
    keep = torch.arange(len(x)) if keep is None else keep
    width = x.shape[1]
    x = x[keep]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def turned(part):
        spread = part.new_zeros(heads, math.prod(grid), width // heads)
        spread[:, keep] = part
        return turn(spread, grid)[:, keep]

    for i in range(depth):
        at = f"eva.blocks.{i}"
        y = norm(x, f"{at}.norm1")
        q, k, v = (
            linear(y, f"{at}.attn.{n}_proj").view(len(x), heads, -1).transpose(0, 1) for n in "qkv"
        )
        scores = turned(q) @ turned(k).mT / math.sqrt(width // heads)
        y = (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)
        y = linear(norm(y, f"{at}.attn.norm"), f"{at}.attn.proj")
        x = x + w[f"{at}.gamma_1"] * y
        y = norm(x, f"{at}.norm2")
        y = F.silu(linear(y, f"{at}.mlp.fc1_g")) * linear(y, f"{at}.mlp.fc1_x")
        x = x + w[f"{at}.gamma_2"] * linear(norm(y, f"{at}.mlp.norm"), f"{at}.mlp.fc2")
    return norm(x, "eva.norm").float()


def close(found, expected):
    assert (found - expected).norm() < 1e-5 * expected.norm()


@torch.no_grad()
@pytest.mark.parametrize("patch", [CUBE, BOX], ids=["cube", "box"])
def test_features_are_those_of_the_published_network_in_its_order_of_tokens(patch):
    encoder = vary(build_encoder("primus_m", patch=patch, **SMALL))
    x = torch.randn(1, 1, *patch)
    first, second, third = encoder.grid
    expected = reference(published(encoder), x, (second, first, third))
    found = encoder(x)[-1][0].permute(2, 1, 3, 0).flatten(0, 2)
    close(found, expected)


@torch.no_grad()
def test_the_other_order_gives_other_features():
    encoder = vary(build_encoder("primus_m", patch=CUBE, **SMALL))
    other = build_encoder("primus_m", patch=CUBE, second_axis_first=False, **SMALL).eval()
    other.load_state_dict(encoder.state_dict())
    x = torch.randn(1, 1, *CUBE)
    ours, theirs = encoder(x)[-1], other(x)[-1]
    assert (ours - theirs).norm() > 0.05 * ours.norm()
    # on a cube, the two orders are one function of the turned image: kernel and image turned too
    other.down_projection.proj.weight.copy_(
        encoder.down_projection.proj.weight.transpose(2, 3).clone()
    )
    close(other(x.transpose(2, 3))[-1].transpose(2, 3), ours)


@torch.no_grad()
def test_visible_tokens_are_encoded_as_if_there_were_no_others():
    encoder = vary(build_encoder("primus_m", patch=BOX, **SMALL))
    first, second, third = encoder.grid
    hidden = torch.stack([torch.randperm(24) < 13 for _ in range(2)]).view(2, *encoder.grid)
    x = torch.randn(2, 1, *BOX)
    maps = encoder.forward_masked(x, hidden)[-1]
    for sample in range(2):
        seen = ~hidden[sample].transpose(0, 1).flatten()
        keep = seen.nonzero()[:, 0]
        weights = published(encoder)
        expected = reference(weights, x[sample : sample + 1], (second, first, third), keep=keep)
        tokens = maps[sample].permute(2, 1, 3, 0).flatten(0, 2)
        close(tokens[seen], expected)
        assert not tokens[~seen].any()


def test_names_and_sizes_are_the_published_ones():
    with torch.device("meta"):
        encoder = build_encoder("primus_m", patch=(160, 160, 160))
    shapes = {key: tuple(value.shape) for key, value in published(encoder).items()}
    assert shapes.pop("down_projection.proj.weight") == (864, 1, 8, 8, 8)
    assert shapes.pop("down_projection.proj.bias") == (864,)
    assert shapes.pop("eva.pos_embed") == (1, 8000, 864)
    assert shapes.pop("eva.norm.weight") == shapes.pop("eva.norm.bias") == (864,)
    first = {
        key.removeprefix("eva.blocks.0."): shape
        for key, shape in shapes.items()
        if key.startswith("eva.blocks.0.")
    }
    assert len(shapes) == 16 * len(first)
    both = ("weight", "bias")
    expected = {f"{n}.{p}": (864,) for n in ("norm1", "norm2", "attn.norm") for p in both}
    for name in ("q_proj", "k_proj", "v_proj", "proj"):
        expected |= {f"attn.{name}.weight": (864, 864), f"attn.{name}.bias": (864,)}
    del expected["attn.k_proj.bias"]
    for name in ("fc1_g", "fc1_x"):
        expected |= {f"mlp.{name}.weight": (2304, 864), f"mlp.{name}.bias": (2304,)}
    expected |= {"mlp.fc2.weight": (864, 2304), "mlp.fc2.bias": (864,)}
    expected |= {"mlp.norm.weight": (2304,), "mlp.norm.bias": (2304,)}
    expected |= {"gamma_1": (864,), "gamma_2": (864,)}
    assert first == expected


@pytest.mark.parametrize(
    ("name", "width", "depth", "head"),
    [
        ("primus_s", 396, 12, 66),
        ("primus_b", 792, 12, 66),
        ("primus_m", 864, 16, 72),
        ("primus_l", 1056, 24, 66),
    ],
)
def test_the_published_members(name, width, depth, head):
    with torch.device("meta"):
        encoder = build_encoder(name, patch=(32, 32, 32))
    assert (encoder.channels[0], len(encoder.blocks), encoder.head) == (width, depth, head)
    assert encoder.head % 6 == 0  # every pair of a head has its axis
    assert encoder.strides == ((8, 8, 8),) * 4


@torch.no_grad()
def test_learned_positions_are_interpolated_to_another_grid():
    encoder = vary(build_encoder("primus_m", patch=BOX, **SMALL))
    grid = (2, 3, 4)
    ramp = torch.arange(3.0)[:, None, None].expand(3, 2, 4)  # along the second axis
    encoder.pos_embed.copy_(ramp.flatten()[None, :, None].expand(1, 24, 72))
    for other, line in ((grid, [0.0, 1.0, 2.0]), ((1, 6, 2), [0.0, 0.25, 0.75, 1.25, 1.75, 2.0])):
        found = encoder._positions(other).transpose(1, 2).view(72, *other)
        expected = torch.tensor(line).view(1, -1, 1).expand(other)
        torch.testing.assert_close(found, expected.expand(72, *other))


def test_tokens_keep_their_places():
    encoder = vary(build_encoder("primus_m", patch=BOX, **SMALL))
    x = torch.zeros(1, 1, *BOX, requires_grad=True)
    tokens = map_to_tokens(encoder(x)[0])
    assert tokens.shape == (1, 24, 72)
    for block in encoder.blocks:
        block.gamma_1.data.zero_()  # no token learns of another
    encoder(x)[-1][0, :, 1, 2, 3].sum().backward()
    seen = x.grad[0, 0] != 0
    assert seen[4:8, 8:12, 12:16].all()
    assert seen.sum() == 64


def test_its_blocks_are_found_for_checkpointing():
    assert checkpoint_blocks(build_encoder("primus_s", patch=CUBE, **SMALL)) == 4


def test_odd_heads_are_refused():
    with pytest.raises(ConfigError, match="even number"):
        build_encoder("primus_s", width=42, heads=6)
