"""nnU-Net's plain encoder: its names, its sizes, and what it refuses."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.checkpointing import checkpoint_blocks
from medssl.errors import ConfigError


def test_names_and_sizes_are_the_published_ones():
    with torch.device("meta"):
        encoder = build_encoder("plainconv")
    shapes = {n: tuple(t.shape) for n, t in encoder.state_dict().items()}
    assert shapes["stages.0.0.convs.0.conv.weight"] == (32, 1, 3, 3, 3)
    assert shapes["stages.5.0.convs.1.norm.bias"] == (320,)
    assert len(shapes) == 6 * 2 * 4
    assert [stride[0] for stride in encoder.strides] == [1, 2, 4, 8, 16, 32]


def test_strides_may_differ_between_axes():
    strides = ((1, 1, 1), (2, 2, 1), (2, 2, 2))
    encoder = build_encoder("plainconv", **{**tiny(), "stage_strides": strides})
    assert encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    assert encoder(torch.zeros(1, 1, 16, 8, 6))[-1].shape == (1, 8, 4, 2, 3)


def tiny():
    return {"features": (4, 6, 8), "convolutions": (1, 2, 1)}


def test_stages_that_disagree_are_refused():
    with pytest.raises(ConfigError, match="one entry a stage"):
        build_encoder("plainconv", features=(4, 8), convolutions=(1, 1, 1))
    with pytest.raises(ConfigError, match="2 strides in each"):
        build_encoder("plainconv", spatial_dims=2, **tiny(), stage_strides=((1, 1, 1),) * 3)


def test_its_stages_are_found_for_checkpointing():
    assert checkpoint_blocks(build_encoder("plainconv", **tiny())) >= 3
