"""SiT: what stands in hidden groups, and what the loss is made of."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.losses.contrast import nt_xent
from medssl.methods import SiT

PATCH = (16, 16, 16)


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return SiT(encoder=encoder, patch=PATCH, **{**SiT.tiny(), **options})


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def test_groups_hold_noise_nothing_or_another_volume():
    method = build()
    clean = 5.0 + torch.randn(60, 1, *PATCH, generator=generator(1))
    filled = method.filling(clean, generator())
    zeros = {n for n in range(60) if not filled[n].any()}
    others = {
        n for n in range(60)
        if any(m != n and torch.equal(filled[n], clean[m]) for m in range(60))
    }  # fmt: skip
    noise = set(range(60)) - zeros - others
    assert not any(torch.equal(filled[n], clean[n]) for n in range(60))
    assert min(len(zeros), len(others), len(noise)) > 10
    for n in noise:
        assert filled[n].mean().item() == pytest.approx(5.0, abs=0.2)
        assert filled[n].std().item() == pytest.approx(1.0, abs=0.1)


def test_a_lone_image_is_never_filled_with_itself():
    method = build()
    clean = torch.randn(1, 1, *PATCH, generator=generator(1))
    for seed in range(12):
        assert not torch.equal(method.filling(clean, generator(seed)), clean)


def test_hidden_cells_hang_together_and_are_as_many_in_each_image():
    """A hidden cell has more hidden neighbours than one drawn by itself would have."""
    method = build(mask_size=2)
    hidden = method.mask((20, 1, *PATCH), generator())
    assert (hidden.flatten(1).sum(1) == 256).all()
    same = (hidden[:, 1:] & hidden[:, :-1]).sum() / hidden[:, 1:].sum()
    assert same > 0.7  # 0.5 for single cells


def test_loss_is_the_error_over_hidden_voxels_and_the_contrast():
    method = build(contrast_weight=0.5)
    views = [torch.randn(2, 1, *PATCH, generator=generator(seed)) for seed in (1, 2)]
    overlap = {"overlap": torch.ones(1, 2, 2)}
    clean = torch.cat(views)
    replay = generator()
    hidden = upsample_mask(method.mask(clean.shape, replay), PATCH)
    shown = clean.where(~hidden, method.filling(clean, replay))
    assert torch.equal(shown[~hidden], clean[~hidden])
    maps = method.encoder(shown)
    errors = (method.decoder(maps, PATCH) - clean).double().abs()[hidden]
    first, second = method.head(maps[-1].mean(dim=(2, 3, 4))).chunk(2)
    same = torch.ones(2, 2, dtype=torch.bool)
    contrast = nt_xent(first, second, temperature=0.2, same=same)
    losses = method.loss(views, overlap, generator())
    assert losses["rebuilt"].item() == pytest.approx(errors.mean().item(), rel=1e-4)
    assert losses["contrast"].item() == pytest.approx(contrast.item(), rel=1e-4, abs=1e-6)
    expected = losses["rebuilt"] + 0.5 * losses["contrast"]
    assert losses["loss"].item() == pytest.approx(expected.item())


def test_contrast_can_be_left_away():
    method = build(contrast_weight=0.0)
    assert method.head is None
    assert set(method.loss([torch.randn(2, 1, *PATCH)] * 2, {}, generator())) == {"loss", "rebuilt"}
