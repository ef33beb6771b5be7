"""VoCo's arithmetic against loops in float64, and what each of its forms compares with what."""

import math

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.methods import VoCo
from medssl.types import Batch

GRID, CROPS, PLACES = (2, 1, 1), 3, 2


def build(**options):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=(8, 8, 8), features=(4, 6), blocks=(1, 1))
    return VoCo(encoder=encoder, patch=(8, 8, 8), grid=GRID, crops=CROPS, width=8, **options)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    bases = torch.randn(PLACES * 2, 1, 8, 8, 8, generator=generator)
    crops = torch.randn(PLACES * CROPS, 1, 8, 8, 8, generator=generator)
    share = torch.rand(PLACES, CROPS, 1, generator=generator)
    overlap = torch.cat([share, 1 - share], dim=2)
    overlap[0, 0] = torch.tensor([1.0, 0.0])
    return [bases, crops], {"overlap": overlap}


def embeddings(method, view, encoder=None, head=None):
    maps = (encoder or method.encoder)(view)
    pooled = torch.cat([m.mean(dim=(2, 3, 4)) for m in maps], dim=1)
    return (head or method.head)(pooled).detach().double()


def cosine(a, b):
    return max(0.0, float(a @ b / (a.norm() * b.norm())))


def naive_position(overlap, predicted, log):
    """The card's L_pos + L_neg, one crop after the other."""
    met, missed = [], []
    for row, answers in zip(overlap, predicted, strict=True):
        positive = sum(
            y * -math.log(1 - abs(y - p) + 1e-6) for y, p in zip(row, answers, strict=True)
        )
        met.append(positive / sum(row))
        costs = [
            -math.log(1 - p + 1e-6) if log else p**2
            for y, p in zip(row, answers, strict=True)
            if y == 0
        ]
        missed.append(sum(costs) / max(len(costs), 1))
    return sum(met) / len(met) + sum(missed) / len(missed)


@pytest.mark.parametrize("negative", ["square", "log"])
def test_single_network_form_is_that_of_the_paper(batch, negative):
    views, targets = batch
    method = build(negative=negative).eval()
    losses = method.loss(views, targets, torch.Generator())
    q = embeddings(method, views[0]).view(PLACES, 2, -1)
    z = embeddings(method, views[1]).view(PLACES, CROPS, -1)
    rows, answers, likeness = [], [], []
    for place in range(PLACES):
        likeness.append(cosine(q[place, 0], q[place, 1]) ** 2)
        for crop in range(CROPS):
            rows.append(targets["overlap"][place, crop].double().tolist())
            answers.append([cosine(z[place, crop], q[place, base]) for base in range(2)])
    position = naive_position(rows, answers, negative == "log")
    # noise looks alike to a fresh network: 1 - p is small, and float32 keeps few digits of it
    assert losses["position"].item() == pytest.approx(position, rel=2e-3)
    assert losses["spread"].item() == pytest.approx(sum(likeness) / PLACES, rel=1e-4)
    assert losses["loss"].item() == pytest.approx(position + sum(likeness) / PLACES, rel=2e-3)


def test_bases_of_a_single_network_take_no_gradient_from_positions(batch):
    views, targets = batch
    bases = views[0].clone().requires_grad_()
    method = build(regularisation_weight=0.0)
    method.loss([bases, views[1]], targets, torch.Generator())["loss"].backward()
    assert bases.grad is None or bases.grad.abs().max() == 0


def test_full_teacher_takes_the_mean_of_both_directions(batch):
    views, targets = batch
    method = build(teacher="full").eval()
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    losses = method.loss(views, targets, torch.Generator())
    teacher = {"encoder": method.teacher_encoder.module, "head": method.teacher_head.module}
    q, z = (embeddings(method, view).view(PLACES, -1, 8) for view in views)
    fixed_q, fixed_z = (embeddings(method, view, **teacher).view(PLACES, -1, 8) for view in views)
    rows, answers = [], []
    for place in range(PLACES):
        for crop in range(CROPS):
            rows.append(targets["overlap"][place, crop].double().tolist())
            one = [cosine(z[place, crop], fixed_q[place, n]) for n in range(2)]
            other = [cosine(fixed_z[place, crop], q[place, n]) for n in range(2)]
            answers.append([(a + b) / 2 for a, b in zip(one, other, strict=True)])
    expected = naive_position(rows, answers, log=False)
    assert losses["position"].item() == pytest.approx(expected, rel=2e-3)


def test_exported_encoder_is_the_teachers_where_there_is_one():
    assert build().exported_encoder() is not None
    full, head = build(teacher="full"), build(teacher="head")
    assert full.exported_encoder() is full.teacher_encoder.module
    assert head.exported_encoder() is head.encoder


def test_nothing_is_mirrored_or_turned(batch):
    """The views of a crop keep every voxel in its place: their order of brightness stays."""
    method = build()
    ramp = torch.linspace(-1, 1, 8).view(1, 1, 1, 8, 1, 1).expand(1, 5, 1, 8, 8, 8).contiguous()
    for seed in range(10):
        for view in method.views()(ramp, torch.Generator().manual_seed(seed)):
            profile = view.mean(dim=(1, 3, 4))
            assert (profile[:, -1] > profile[:, 0]).all()


def test_position_accuracy_is_logged_without_gradient_and_told_in_the_report(batch):
    views, targets = batch
    method = build()
    accuracy = method.loss(views, targets, torch.Generator())["position_accuracy"]
    assert not accuracy.requires_grad
    assert 0 <= accuracy <= 1
    images = torch.cat([view.unflatten(0, (PLACES, -1)) for view in views], dim=1)
    pictures = method.pictures(Batch(images, targets, [], []), torch.Generator())
    assert f"Of {PLACES * CROPS} crops of {PLACES} volumes" in pictures[-1].caption
    assert "by chance it would be 50%" in pictures[-1].caption
