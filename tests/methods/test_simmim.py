"""SimMIM's arithmetic against loops over cells, and what enters the encoder."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import SimMIM

PATCH = (16, 8, 12)
ENCODERS = {
    "vit_tiny": {"token": 4, "width": 24, "depth": 4, "heads": 2},
    "resenc_s": {"features": (4, 6, 8), "blocks": (1, 1, 1)},
}


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    encoder = build_encoder(name, patch=PATCH, **ENCODERS[name])
    return SimMIM(encoder=encoder, patch=PATCH, mask_size=4, **options)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("error", ["l1", "mse"])
def test_it_is_the_mean_over_hidden_cells_on_a_box_that_is_no_cube(name, error):
    method = build(name, error=error)
    volume = torch.randn(2, 1, *PATCH, generator=generator(1))
    hidden = method.mask(volume.shape, generator())
    shown = volume.clone()
    boxes = []
    for n, *cell in hidden.nonzero().tolist():
        box = (n, 0, *(slice(4 * c, 4 * c + 4) for c in cell))
        # the finest stride of a CNN is 1: its pattern is one value
        shown[box] = method.mask_token.token[0]
        boxes.append(box)
    rebuilt = method.decoder(method.encoder(shown), PATCH)
    errors = [(rebuilt[box] - volume[box]).double() for box in boxes]
    cost = [e.abs().mean() if error == "l1" else e.square().mean() for e in errors]
    loss = method.loss([volume], {}, generator())["loss"]
    assert loss.item() == pytest.approx(torch.stack(cost).mean().item(), rel=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_hidden_reaches_the_answer(name):
    """Other voxels in hidden cells change nothing; an encoder that got them would answer so."""
    method = build(name)
    volume = torch.randn(2, 1, *PATCH, generator=generator(1))
    answer, _, hidden = method.rebuild(volume, generator())
    other, _, _ = method.rebuild(volume.masked_fill(hidden, 7.0), generator())
    assert torch.equal(answer, other)
    leaking = method.decoder(method.encoder(volume), PATCH)
    assert not torch.equal(leaking, method.decoder(method.encoder(volume + hidden), PATCH))


def test_hidden_tokens_enter_and_know_their_place():
    method = build()
    volume = torch.zeros(1, 1, *PATCH)
    answer, _, hidden = method.rebuild(volume, generator())
    tokens = [
        answer[0, 0, 4 * x : 4 * x + 4, :4, :4] for x in range(4) if hidden[0, 0, 4 * x, 0, 0]
    ]
    assert len(tokens) > 1
    assert not torch.equal(tokens[0], tokens[1])
    assert method.encoder.drops_tokens  # which would answer 0 there, were they dropped


def test_an_error_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="l1 and mse"):
        build(error="huber")
