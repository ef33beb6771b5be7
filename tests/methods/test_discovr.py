"""DISCOVR: slices and volume speak of the same places, and centres follow raw scores."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.planar import planar_sibling
from medssl.errors import ConfigError
from medssl.methods import DISCOVR

PATCH = (16, 8, 12)
ENCODERS = {
    "vit_tiny": {"token": 4, "width": 24, "depth": 4, "heads": 2},
    "resenc_s": {"features": (4, 6, 8), "blocks": (1, 1, 1)},
}


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, patch=PATCH, **ENCODERS[name])
    return DISCOVR(encoder=encoder, patch=PATCH, **{**DISCOVR.tiny(), **options})


def loss_of(method, views):
    return method.loss(views, {}, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", ENCODERS)
def test_frames_are_in_the_order_of_the_places_of_the_volume(name):
    method = build(name).eval()
    volume = torch.randn(2, 1, *PATCH)
    stacks = []
    method.teacher_slice_encoder.register_forward_hook(
        lambda module, args, maps: stacks.append((args[0], maps[-1]))
    )
    _, frames = method._slices(volume, torch.Generator().manual_seed(0))
    stack, features = stacks[0]
    assert frames.shape == (2, 4 * 2 * 3, features.shape[1])
    for image in range(2):
        for layer in range(3):
            shown = stack[image * 3 + layer]
            slices = volume[image, ..., 4 * layer : 4 * layer + 4].unbind(-1)
            assert any(torch.equal(shown, each) for each in slices)
            for x in range(4):
                for y in range(2):
                    expected = features[image * 3 + layer, :, x, y]
                    assert torch.equal(frames[image, (x * 2 + y) * 3 + layer], expected)


def test_centres_follow_raw_scores_where_the_released_code_takes_probabilities():
    method = build().eval()
    views = list(torch.randn(2, 2, 1, *PATCH))
    loss_of(method, views)
    method.after_step(1)
    with torch.no_grad():
        known = method.teacher_encoder.module.embed(torch.cat(views))
        raw = method.teacher_head(known)
    torch.testing.assert_close(method.centre.centre, raw.mean(dim=0))
    assert (method.centre.centre - raw.softmax(dim=1).mean(dim=0)).abs().max() > 1e-2
    assert method.slice_centre.started


def test_terms_have_their_weights():
    views = list(torch.randn(2, 2, 1, *PATCH))
    terms = loss_of(build(weights=(0.5, 2.0, 3.0)), views)
    expected = 0.5 * terms["slices"] + 2 * terms["volumes"] + 3 * terms["clusters"]
    torch.testing.assert_close(terms["loss"], expected)


def test_clusters_teach_the_volume_encoder_and_not_that_of_slices():
    method = build(weights=(0.0, 0.0, 1.0))
    loss_of(method, list(torch.randn(2, 2, 1, *PATCH)))["loss"].backward()
    assert method.clusters.grad.abs().max() > 0
    assert method.encoder.blocks[0].mlp.linear1.weight.grad.abs().max() > 0
    assert method.slice_encoder.blocks[0].mlp.linear1.weight.grad.abs().max() == 0


@pytest.mark.parametrize("name", ENCODERS)
def test_bfloat16_is_finite(name):
    method = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        losses = loss_of(method, list(torch.randn(2, 1, 1, *PATCH)))
    assert torch.isfinite(losses["loss"])
    assert losses["loss"].dtype == torch.float32


def test_planar_images_are_refused():
    encoder = build_encoder("vit_tiny", spatial_dims=2, patch=(16, 16), token=4)
    with pytest.raises(ConfigError, match="slices are cut from volumes"):
        DISCOVR(encoder=encoder, patch=(16, 16))


def test_sibling_has_the_options_of_its_volume_encoder_in_the_plane():
    encoder = build_encoder(
        "resenc_s", features=(4, 6), blocks=(1, 1), stage_strides=((1, 1, 1), (2, 2, 1))
    )
    sibling = planar_sibling(encoder)
    assert sibling.strides == ((1, 1), (2, 2))
    assert sibling.channels == encoder.channels
    assert planar_sibling(build_encoder("vit_tiny", token=(8, 4, 2))).token == (8, 4)
