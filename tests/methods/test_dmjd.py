"""DMJD: every voxel is rebuilt, each image has masks of its own, and what is distilled."""

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders import build_encoder
from medssl.encoders.base import upsample_mask
from medssl.methods import DMJD

PATCH = (16, 8, 12)


def build(name="vit_tiny", **options):
    torch.manual_seed(0)
    config = {"token": 4, "width": 24, "depth": 4, "heads": 2}
    if name == "resenc_s":
        config = {"features": (4, 6, 8), "blocks": (1, 1, 1)}
    encoder = build_encoder(name, patch=PATCH, **config)
    return DMJD(encoder=encoder, patch=PATCH, **{**DMJD.tiny(), **options})


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["vit_tiny", "resenc_s"])
def test_loss_is_that_of_each_mask_by_itself(name):
    method = build(name, masks=2, mask_ratio=0.5)
    with torch.no_grad():  # so that teacher and student differ
        for parameter in method.encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(9)))
    volume = torch.randn(2, 1, *PATCH, generator=generator(1))
    masks = method.mask(volume.shape, generator()).chunk(2)
    whole = method.teacher_encoder.module(volume)[-1]
    squares, distances, weights = [], [], []
    for hidden in masks:
        maps = method.encoder.forward_masked(volume, hidden)
        voxels = upsample_mask(hidden, PATCH)
        rebuilt = method.decoder(maps, hidden, PATCH)
        squares.append((rebuilt - volume).double()[voxels].square())
        for n in range(2):
            for place in torch.cartesian_prod(*map(torch.arange, maps[-1].shape[2:])).tolist():
                at = (n, slice(None), *place)
                box = tuple(slice(4 * p, 4 * p + 4) for p in place)  # coarsest stride of both
                target = whole[at].double()
                target = (target - target.mean()) / (target.var(unbiased=False) + 1e-5).sqrt()
                answer = method.head(maps[-1][at][None])[0].double()
                distances.append(F.smooth_l1_loss(answer, target))
                weights.append((~voxels)[(n, 0, *box)].double().mean())
    rebuilt = torch.cat(squares).mean()
    distilled = sum(d * w for d, w in zip(distances, weights, strict=True)) / sum(weights)
    losses = method.loss([volume], {}, generator())
    assert losses["rebuilt"].item() == pytest.approx(rebuilt.item(), rel=1e-4)
    assert losses["distilled"].item() == pytest.approx(distilled.item(), rel=1e-4)
    assert losses["loss"].item() == pytest.approx((rebuilt + distilled).item(), rel=1e-4)


def test_every_voxel_of_every_image_gets_a_gradient():
    """One mask alone would leave the visible part out; one order for the batch repeats itself."""
    method = build(distillation_weight=0.0)
    volume = torch.randn(3, 1, *PATCH, generator=generator(1)).requires_grad_()
    hidden = method.mask(volume.shape, generator())
    first, second = hidden.chunk(2)
    assert (first | second).all()
    assert not (first[0] == first[1]).all()
    method.loss([volume], {}, generator())["loss"].backward()
    assert (volume.grad != 0).all()


def test_without_distillation_there_is_no_teacher_and_the_student_is_exported():
    method = build(distillation_weight=0.0)
    assert method.teacher_encoder is None
    assert build().exported_encoder() is not build().teacher_encoder


def test_the_teacher_follows_and_slows_down():
    method = build(momentum=0.5)
    method.plan = type(method.plan)(steps=10)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    (name, _), *_ = method.encoder.named_parameters()
    teacher = dict(method.teacher_encoder.module.named_parameters())[name]
    before = teacher.clone()
    method.after_step(0)
    torch.testing.assert_close(teacher - before, torch.full_like(before, 0.5))
    moved = teacher.clone()
    method.after_step(10)
    assert torch.equal(teacher, moved)
