"""The masked methods' arithmetic against loops over cells."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import MAE, MAECNN

PATCH = (16, 8, 12)


def tokens_encoder():
    torch.manual_seed(0)
    return build_encoder("vit_tiny", patch=PATCH, token=4, width=24, depth=4, heads=2)


def cells(shape, size):
    for x in range(0, shape[0], size):
        for y in range(0, shape[1], size):
            for z in range(0, shape[2], size):
                yield (x // size, y // size, z // size), (
                    slice(x, x + size), slice(y, y + size), slice(z, z + size),
                )  # fmt: skip


@pytest.mark.parametrize("normalise", [False, True])
def test_mae_is_the_mean_over_hidden_cells_on_a_box_that_is_no_cube(normalise):
    method = MAE(
        encoder=tokens_encoder(), patch=PATCH, mask_size=4, decoder_width=32, decoder_depth=1,
        normalise_targets=normalise,
    )  # fmt: skip
    volume = torch.randn(2, 1, *PATCH)
    hidden = method.mask(volume.shape, torch.Generator().manual_seed(3))
    rebuilt = method.decoder(method.encoder.forward_masked(volume, hidden), hidden)
    errors = []
    for image, answer, mask in zip(volume.double(), rebuilt.double(), hidden, strict=True):
        for index, box in cells(PATCH, 4):
            if mask[index]:
                target = image[0][box]
                if normalise:
                    target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
                errors.append((answer[0][box] - target).square().mean())
    loss = method.loss([volume], {}, torch.Generator().manual_seed(3))["loss"]
    assert loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)


def test_mae_refuses_an_encoder_without_tokens():
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    with pytest.raises(ConfigError, match=r'"resenc_s" has no tokens to drop.*mae_cnn'):
        MAE(encoder=encoder, patch=PATCH)


def test_mae_cnn_is_the_mean_over_hidden_cells():
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    method = MAECNN(encoder=encoder, patch=PATCH, mask_size=4)
    volume = torch.randn(2, 1, *PATCH)
    hidden = method.mask(volume.shape, torch.Generator().manual_seed(3))
    rebuilt = method.decoder(encoder.forward_masked(volume, hidden), PATCH)
    errors = [
        (rebuilt[n, 0][box] - volume[n, 0][box]).double().square().mean()
        for n in range(2)
        for index, box in cells(PATCH, 4)
        if hidden[n][index]
    ]
    loss = method.loss([volume], {}, torch.Generator().manual_seed(3))["loss"]
    assert loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)
