import math

import pytest
import torch

from medssl.encoders import ENCODERS, Encoder, build_encoder
from medssl.encoders.base import upsample_mask
from medssl.encoders.decoders import LightDecoder, TokenDecoder, UNetDecoder, plan_levels
from medssl.encoders.tokens import map_to_tokens, sincos_positions, unpatchify
from medssl.errors import ConfigError

NAMES = ["resnet18", "resenc_s", "segresnet", "swin_tiny", "unet_genesis", "vit_tiny", "primus_s"]
SIZE = {2: (37, 19), 3: (19, 10, 23)}


def tiny(name, dims=3, **options):
    encoder = build_encoder(name, spatial_dims=dims, **{**ENCODERS[name].family.tiny(), **options})
    return encoder.eval()


def strides(*edges):
    return [(edge,) * 3 for edge in edges]


def edges(levels):
    return {stride[0]: maps for stride, maps in levels.items()}


@pytest.mark.parametrize(
    ("given", "planned"),
    [
        ((1, 2, 4), {1: [0], 2: [1], 4: [2]}),
        ((2, 4, 8), {1: [], 2: [0], 4: [1], 8: [2]}),
        ((2, 2, 4), {1: [], 2: [0, 1], 4: [2]}),
        ((1, 4), {1: [0], 2: [], 4: [1]}),
        ((16,) * 4, {1: [], 2: [0], 4: [1], 8: [2], 16: [3]}),
        ((8,) * 4, {1: [], 2: [0, 1], 4: [2], 8: [3]}),
        ((12,) * 2, {1: [], 3: [], 6: [0], 12: [1]}),
        ((32,) * 4, {1: [], 2: [], 4: [0], 8: [1], 16: [2], 32: [3]}),
    ],
)
def test_each_map_finds_its_level(given, planned):
    assert edges(plan_levels(strides(*given))) == planned


def test_anisotropic_levels():
    levels = plan_levels([(1, 1, 1), (2, 2, 1), (8, 4, 2)])
    assert levels == {(1, 1, 1): [0], (2, 2, 1): [1], (4, 2, 1): [], (8, 4, 2): [2]}


def test_strides_that_do_not_follow_each_other_are_refused():
    with pytest.raises(ConfigError, match="multiple of the one before"):
        plan_levels(strides(2, 3))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_unet_stands_on_every_encoder(name, dims):
    encoder = tiny(name, dims, in_channels=2)
    decoder = UNetDecoder(encoder, 3, deep_supervision=True)
    x = torch.randn(2, 2, *SIZE[dims])
    answers = decoder(encoder(x), x)
    assert len(answers) == len(decoder.strides) > 1
    for logits, stride in zip(answers, decoder.strides, strict=True):
        size = (math.ceil(n / s) for n, s in zip(SIZE[dims], stride, strict=True))
        assert logits.shape == (2, 3, *size)
    sum((logits * torch.randn_like(logits)).sum() for logits in answers).backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None]
    assert not [n for n, p in encoder.named_parameters() if p.grad is None]


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_without_deep_supervision_full_resolution_answers_alone(name):
    encoder = tiny(name)
    x = torch.randn(1, 1, 16, 16, 16)
    answers = UNetDecoder(encoder, 3)(encoder(x), x)
    assert [tuple(logits.shape) for logits in answers] == [(1, 3, 16, 16, 16)]


@torch.no_grad()
def test_a_unet_over_thick_slices():
    steps = ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    encoder = tiny("resenc_s", stage_strides=steps)
    decoder = UNetDecoder(encoder, 2, deep_supervision=True)
    x = torch.randn(1, 1, 15, 16, 5)
    shapes = [tuple(logits.shape[2:]) for logits in decoder(encoder(x), x)]
    assert shapes == [(15, 16, 5), (8, 8, 5)]
    tokens = tiny("vit_tiny", token=(8, 8, 2))
    answers = UNetDecoder(tokens, 2, deep_supervision=True)(tokens(x), x)
    assert [tuple(a.shape[2:]) for a in answers] == [(15, 16, 5), (8, 8, 5), (4, 4, 5)]


def test_a_unet_learns_to_copy_a_pattern():
    torch.manual_seed(0)
    encoder = tiny("resenc_s").train()
    decoder = UNetDecoder(encoder, 1, width=8)
    x = torch.nn.functional.avg_pool3d(torch.randn(2, 1, 16, 16, 16), 5, 1)
    target = (x > 0).float()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-2)
    losses = []
    for _ in range(20):
        logits = decoder(encoder(x), x)[0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_one_resolution_is_too_few():
    with pytest.raises(ConfigError, match="coarser one"):
        UNetDecoder(build_encoder("resenc_s", features=(4,), blocks=(1,)), 2)


@torch.no_grad()
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_light_decoder_rebuilds_the_size_of_the_image(name, skips):
    encoder = tiny(name)
    decoder = LightDecoder(encoder, 2, skips=skips)
    x = torch.randn(1, 1, 16, 8, 24)
    assert decoder(encoder(x)).shape == (1, 2, 16, 8, 24)
    odd = torch.randn(1, 1, 15, 9, 21)
    assert decoder(encoder(odd), (15, 9, 21)).shape == (1, 2, 15, 9, 21)


@torch.no_grad()
def test_without_skips_all_passes_the_coarsest_map():
    encoder = tiny("resenc_s")
    maps = encoder(torch.randn(1, 1, 16, 16, 16))
    others = [torch.randn_like(features) for features in maps[:-1]] + maps[-1:]
    closed, open_ = (LightDecoder(encoder, 1, skips=skips) for skips in (False, True))
    assert torch.equal(closed(maps), closed(others))
    assert not torch.equal(open_(maps), open_(others))


def plain_token_decoder(decoder, features, hidden, token):
    """Decode all tokens in their own order, one sample at a time, without any shortcut."""
    grid = features.shape[1:]
    gone = hidden.flatten()
    tokens = map_to_tokens(features[None])
    x = decoder.embed(tokens)
    x[0, gone] = decoder.mask_token
    x = x + sincos_positions(grid, decoder.width)
    for block in decoder.blocks:
        x = block(x)
    x = decoder.last(x, x.shape[1])
    return unpatchify(decoder.head(decoder.norm(x)), grid, token)[0]


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
def test_a_token_decoder_answers_at_the_right_place(dims):
    encoder = tiny("vit_tiny", dims)
    decoder = TokenDecoder(encoder, width=24, depth=3, heads=2).eval()
    shape = (16, 8, 24)[:dims]
    grid = tuple(n // 4 for n in shape)
    count = math.prod(grid)
    hidden = torch.stack([torch.randperm(count) < count // 2 for _ in range(2)]).view(2, *grid)
    maps = encoder.forward_masked(torch.randn(2, 1, *shape), hidden)
    answer = decoder(maps, hidden)
    assert answer.shape == (2, 1, *shape)
    voxels = upsample_mask(hidden, shape)
    assert not answer[~voxels].any()
    for sample in range(2):
        plain = plain_token_decoder(decoder, maps[-1][sample], hidden[sample], (4,) * dims)
        here = voxels[sample]
        torch.testing.assert_close(answer[sample][here], plain[here], rtol=1e-4, atol=1e-5)


def test_every_parameter_of_a_token_decoder_learns():
    encoder = tiny("vit_tiny", in_channels=2)
    decoder = TokenDecoder(encoder, width=24, depth=2, heads=2)
    hidden = torch.tensor([True, False]).view(1, 2, 1, 1)
    answer = decoder(encoder.forward_masked(torch.randn(1, 2, 16, 8, 8), hidden), hidden)
    assert answer.shape == (1, 2, 16, 8, 8)
    (answer * torch.randn_like(answer)).sum().backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [n for n, p in encoder.named_parameters() if p.grad is None]


def test_a_token_decoder_needs_tokens_and_something_hidden():
    with pytest.raises(ConfigError, match="vit_"):
        TokenDecoder(tiny("resenc_s"))
    encoder = tiny("vit_tiny")
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    with pytest.raises(ConfigError, match="nothing is hidden"):
        TokenDecoder(encoder, width=24)(encoder(torch.zeros(1, 1, 8, 8, 8)), nothing)


class Coarse(Encoder):
    """A family that no decoder was written for."""

    spatial_dims, in_channels = 3, 1
    channels, strides = (3, 5), ((3, 3, 3), (6, 6, 3))

    def forward(self, x):
        sizes = [
            [math.ceil(n / s) for n, s in zip(x.shape[2:], t, strict=True)] for t in self.strides
        ]
        return [torch.ones(len(x), c, *size) for c, size in zip(self.channels, sizes, strict=True)]


@torch.no_grad()
def test_an_unforeseen_encoder_is_decoded():
    x = torch.randn(1, 1, 14, 12, 9)
    encoder = Coarse()
    answers = UNetDecoder(encoder, 2, deep_supervision=True)(encoder(x), x)
    assert [tuple(a.shape[2:]) for a in answers] == [(14, 12, 9), (5, 4, 3)]
