"""Swin UNETR's pretraining: what is turned, what is rebuilt, and who is a negative."""

import math

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.losses.contrast import nt_xent
from medssl.methods import SwinUNETR
from medssl.methods.swin_unetr import turned

PATCH = (8, 8, 12)


def build(patch=PATCH, **options):
    torch.manual_seed(0)
    encoder = build_encoder(
        "resenc_s", spatial_dims=len(patch), patch=patch, features=(4, 6), blocks=(1, 1)
    )
    return SwinUNETR(encoder=encoder, patch=patch, width=8, **options)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def rows(count):
    return {"overlap": torch.ones(count, 1, 1)}


def test_turns_are_about_the_axis_of_the_body_and_mirror_nothing():
    volume = torch.randn(4, 1, *PATCH, generator=generator(1))
    found = turned(volume, torch.arange(4))
    for n in range(4):
        for x, y in torch.cartesian_prod(torch.arange(8), torch.arange(8)).tolist():
            u, v = x - 3.5, y - 3.5
            for _ in range(n):
                u, v = -v, u
            there = (n, 0, int(u + 3.5), int(v + 3.5))
            assert torch.equal(found[there], volume[n, 0, x, y])  # the whole line along Z


def test_the_answer_names_the_turn_and_the_turned_clean_crop_is_rebuilt():
    method = build()
    volume = torch.randn(3, 1, *PATCH, generator=generator(1))
    answer, clean, cut, maps = method._answer(volume, generator())
    assert set(answer.tolist()) <= {0, 1, 2, 3}
    for row in range(6):
        assert torch.equal(clean[row], torch.rot90(volume[row % 3], answer[row].item(), (1, 2)))
        share = (cut[row] != clean[row]).float().mean()
        assert 0.0 < share < 0.9
    losses = method.loss([volume], rows(3), generator())
    rebuilt = method.decoder(maps, PATCH)
    expected = (rebuilt.double() - clean.double()).abs().mean()
    assert losses["inpainting"].item() == pytest.approx(expected.item(), rel=1e-5)
    pooled = maps[-1].double().mean(dim=(2, 3, 4))
    chance = method.rotation_head.double()(pooled).softmax(dim=1)
    entropy = -chance[torch.arange(6), answer].log().mean()
    assert losses["rotation"].item() == pytest.approx(entropy.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx(
        sum(losses[name].item() for name in ("rotation", "contrast", "inpainting")), rel=1e-5
    )


def test_contrast_is_that_of_a_loop_and_overlapping_crops_are_no_negatives():
    method = build(crops=2)
    volume = torch.randn(4, 1, *PATCH, generator=generator(1))
    overlap = torch.tensor([[[1.0, 0.2], [0.2, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    losses = method.loss([volume], {"overlap": overlap}, generator())
    _, _, _, maps = method._answer(volume, generator())
    z = method.contrast_head(maps[-1].mean(dim=(2, 3, 4))).double()
    z = z / z.norm(dim=1, keepdim=True)
    related = [{0, 1}, {0, 1}, {2}, {3}]
    costs = []
    for i in range(8):
        positive = torch.exp(z[i] @ z[(i + 4) % 8] / 0.5)
        negatives = [torch.exp(z[i] @ z[j] / 0.5) for j in range(8) if j % 4 not in related[i % 4]]
        costs.append(-torch.log(positive / (positive + sum(negatives))))
    assert losses["contrast"].item() == pytest.approx(sum(costs).item() / 8, rel=1e-5)


def test_negatives_of_one_device_alone_would_give_another_loss():
    """The reference compares the 2 to 4 crops of a GPU: less to tell apart, a smaller loss."""
    first, second = (torch.randn(4, 6, generator=generator(seed)) for seed in (1, 2))
    local = (nt_xent(first[:2], second[:2]) + nt_xent(first[2:], second[2:])) / 2
    joint = nt_xent(first, second)
    assert joint - local > 0.3
    assert joint.item() == pytest.approx(math.log(7), abs=0.7)


def test_a_plane_that_is_no_square_is_turned_by_half_turns():
    method = build(patch=(8, 12, 8))
    volume = torch.randn(6, 1, 8, 12, 8, generator=generator(1))
    answer, clean, _, _ = method._answer(volume, generator())
    assert method.rotation_head.out_features == 2
    assert set(answer.tolist()) == {0, 1}
    for row in range(12):
        expected = torch.rot90(volume[row % 6], 2 * answer[row].item(), (1, 2))
        assert torch.equal(clean[row], expected)
