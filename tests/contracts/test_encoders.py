"""The encoder contract: every registered encoder, in 2D and 3D, as the smallest of its kind.

A new family is found by itself. Each ``check_*`` is also run against a planted fault, to show that
it can fail.
"""

import json
import math

import pytest
import torch
from torch import nn

from medssl.encoders import ENCODERS, Encoder, build_encoder, list_encoders
from medssl.encoders.base import upsample_mask

PATCH = {2: (32, 24), 3: (16, 8, 24)}
SIZES = {2: [(32, 32), (32, 24), (37, 19)], 3: [(24, 24, 24), (16, 8, 24), (19, 10, 23)]}


def kinds():
    """Return one name for each set of options that is left when the family's own are made tiny."""
    found = {}
    for name in list_encoders():
        variant = ENCODERS[name]
        options = {**variant.preset, **variant.family.tiny()}
        found.setdefault((variant.family, json.dumps(options, sort_keys=True)), name)
    return list(found.values())


def build(name, dims, *, channels=1):
    tiny = ENCODERS[name].family.tiny()
    encoder = build_encoder(
        name, spatial_dims=dims, in_channels=channels, patch=PATCH[dims], **tiny
    )
    return encoder.eval()


@pytest.fixture(params=[(name, dims) for name in kinds() for dims in (2, 3)], ids=str)
def encoder(request):
    torch.manual_seed(0)
    return build(*request.param)


def image(encoder, size=None, *, batch=2):
    size = size or PATCH[encoder.spatial_dims]
    return torch.randn(batch, encoder.in_channels, *size)


def half_hidden(encoder, *, edge=8, batch=2):
    """Hide half of the cells, others in each sample."""
    grid = tuple(length // edge for length in PATCH[encoder.spatial_dims])
    count = math.prod(grid)
    order = torch.stack([torch.randperm(count) for _ in range(batch)])
    return (order < count // 2).view(batch, *grid)


def check_shapes(encoder, size):
    x = image(encoder, size)
    maps = encoder(x)
    expected = [
        (len(x), channels, *(math.ceil(n / s) for n, s in zip(size, stride, strict=True)))
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert [tuple(features.shape) for features in maps] == expected


def check_hidden_voxels_do_not_matter(encoder, x, hidden):
    other = torch.where(upsample_mask(hidden, tuple(x.shape[2:])), 100 * torch.randn_like(x), x)
    assert not torch.equal(other, x)
    before, after = encoder.forward_masked(x, hidden), encoder.forward_masked(other, hidden)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def check_every_parameter_learns(encoder):
    loss = sum(
        (features * torch.randn_like(features)).sum() for features in encoder(image(encoder))
    )
    loss.backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert not idle
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("case", range(3), ids=["cubic", "not cubic", "odd"])
def test_maps_are_as_large_as_the_strides_say(encoder, case):
    check_shapes(encoder, SIZES[encoder.spatial_dims][case])


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", kinds())
def test_two_channels_come_in(name, dims):
    check_shapes(build(name, dims, channels=2), PATCH[dims])


@torch.no_grad()
def test_an_empty_mask_changes_nothing(encoder):
    x, nothing = image(encoder), torch.zeros_like(half_hidden(encoder))
    for a, b in zip(encoder(x), encoder.forward_masked(x, nothing), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_hidden_voxels_do_not_matter(encoder):
    check_hidden_voxels_do_not_matter(encoder, image(encoder), half_hidden(encoder))


@torch.no_grad()
def test_visible_voxels_do_matter(encoder):
    x, hidden = image(encoder), half_hidden(encoder)
    seen = ~upsample_mask(hidden, tuple(x.shape[2:]))
    a = encoder.forward_masked(x, hidden)[-1]
    b = encoder.forward_masked(torch.where(seen, -x, x), hidden)[-1]
    assert not torch.allclose(a, b)


@torch.no_grad()
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", [n for n in kinds() if ENCODERS[n].family.drops_tokens])
def test_dropped_tokens_leave_zeros(name, dims):
    encoder = build(name, dims)
    hidden = half_hidden(encoder)
    for features in encoder.forward_masked(image(encoder), hidden):
        here = upsample_mask(hidden, tuple(features.shape[2:])).expand_as(features)
        assert not features[here].any()
        assert features[~here].all()


def test_every_parameter_learns(encoder):
    check_every_parameter_learns(encoder.train())


@torch.no_grad()
def test_it_is_rebuilt_from_its_name_and_options(encoder):
    config = json.loads(json.dumps(encoder.config))
    again = build_encoder(encoder.name, **config).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    x = image(encoder)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x), again(x), strict=True))


@torch.no_grad()
def test_the_same_seed_gives_the_same_features(encoder):
    torch.manual_seed(0)
    again = build(encoder.name, encoder.spatial_dims)
    x = image(encoder)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x), again(x), strict=True))


@torch.no_grad()
def test_one_vector_an_image(encoder):
    vector = encoder.embed(image(encoder, batch=3))
    assert vector.shape == (3, encoder.channels[-1])
    assert not torch.allclose(vector[0], vector[1])


@pytest.mark.parametrize("name", list_encoders())
def test_every_name_is_built_in_full_size_with_its_defaults(name):
    with torch.device("meta"):
        encoder = build_encoder(name)
    assert len(encoder.channels) == len(encoder.strides) >= 4
    assert all(len(stride) == encoder.spatial_dims == 3 for stride in encoder.strides)
    assert all(parameter.is_meta for parameter in encoder.parameters())


class Leaky(Encoder):
    """Halves the resolution once, and forgets the mask; holds a layer that it never calls."""

    spatial_dims, in_channels, channels, strides = 3, 1, (2,), ((2, 2, 2),)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 2, stride=2)
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        return [self.conv(x)]

    def forward_masked(self, x, hidden):
        return self.forward(x)


def test_a_leaking_encoder_is_caught():
    leaky = Leaky()
    with pytest.raises(AssertionError):
        check_hidden_voxels_do_not_matter(leaky, image(leaky), half_hidden(leaky))


def test_an_idle_parameter_is_caught():
    with pytest.raises(AssertionError, match="idle"):
        check_every_parameter_learns(Leaky())


def test_a_wrong_size_is_caught():
    with pytest.raises(AssertionError):
        check_shapes(Leaky(), (9, 8, 8))
