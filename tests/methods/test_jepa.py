"""JEPA asks at hidden places for what the teacher saw there, from what is visible alone."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.encoders.tokens import map_to_tokens, token_mask
from medssl.errors import ConfigError
from medssl.methods import JEPA
from medssl.parts.predictor import cell_places

PATCH = (16, 8, 12)


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    config = {"token": 4, "width": 24, "depth": 4, "heads": 2}
    if name == "resenc_s":
        config = {"features": (4, 6, 8), "blocks": (1, 1, 1)}
    encoder = build_encoder(name, patch=PATCH, **config)
    return JEPA(encoder=encoder, patch=PATCH, **{**JEPA.tiny(), **options})


def record(method, volume):
    """The loss, the mask that was drawn, and what went into and came out of the predictor."""
    seen, drawn = [], []
    mask = method.mask
    method.mask = lambda *args: drawn.append(mask(*args)) or drawn[-1]
    handle = method.predictor.register_forward_hook(
        lambda module, args, answer: seen.append((args, answer))
    )
    losses = method.loss([volume], {}, torch.Generator().manual_seed(0))
    handle.remove()
    method.mask = mask
    return losses, drawn[0], seen[0]


@pytest.mark.parametrize("name", ["vit_tiny", "resenc_s"])
def test_loss_is_the_distance_at_hidden_places_on_a_box_that_is_no_cube(name):
    method = build(name, distance="square").eval()
    volume = torch.randn(3, 1, *PATCH)
    losses, cells, ((_, seen_places, places), answer) = record(method, volume)
    hidden = token_mask(cells, (4, 2, 3))
    known = map_to_tokens(method.teacher_encoder(volume)[-1]).double()
    everywhere = cell_places((4, 2, 3))
    costs = []
    for image in range(3):
        indices = hidden[image].nonzero().flatten().tolist()
        assert torch.equal(places[image], everywhere[indices])
        assert torch.equal(seen_places[image], everywhere[~hidden[image]])
        for row, index in enumerate(indices):
            target = known[image, index]
            target = (target - target.mean()) / (target.var(unbiased=False) + 1e-5).sqrt()
            error = answer[image, row].detach().double() - target
            costs.append(float(error.square().mean()))
    assert losses["loss"].item() == pytest.approx(sum(costs) / len(costs), rel=1e-4)


@pytest.mark.parametrize("name", ["vit_tiny", "resenc_s"])
def test_hidden_voxels_do_not_reach_the_prediction(name):
    method = build(name).eval()
    volume = torch.randn(2, 1, *PATCH)
    _, cells, (_, answer) = record(method, volume)
    other = torch.where(upsample_mask(cells, PATCH), torch.randn_like(volume), volume)
    _, again, (_, other_answer) = record(method, other)
    assert torch.equal(cells, again)
    torch.testing.assert_close(answer, other_answer)


def test_variance_term_is_added_with_its_weight():
    volume = torch.randn(2, 1, *PATCH)
    plain = record(build(), volume)[0]
    losses = record(build(variance_weight=0.5), volume)[0]
    expected = plain["loss"] + 0.5 * losses["variance"]
    torch.testing.assert_close(losses["loss"], expected)


def test_too_few_places_are_refused_when_built():
    encoder = build_encoder("vit_tiny", patch=(16, 16, 16), token=16)
    with pytest.raises(ConfigError, match="into several"):
        JEPA(encoder=encoder, patch=(16, 16, 16))
