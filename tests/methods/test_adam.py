"""What Adam puts together and takes apart: octants of a volume, quadrants of an image."""

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import Adam


def build(dims=3, **options):
    torch.manual_seed(0)
    patch = (8,) * dims
    encoder = build_encoder(
        "resenc_s", spatial_dims=dims, patch=patch, features=(4, 6), blocks=(1, 1)
    )
    method = Adam(encoder=encoder, patch=patch, **{**Adam.tiny(), **options})
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:  # the student has moved away from its teacher
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return method


def make_views(places, crops, dims=3):
    generator = torch.Generator().manual_seed(1)
    shape = (places * crops, 1, *(8,) * dims)
    return [torch.randn(shape, generator=generator) for _ in range(2)]


def distance(a, b):
    a, b = a.double(), b.double()
    return 1 - float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize(("dims", "parts"), [(3, 8), (2, 4)])
def test_wholes_and_parts_are_compared_across_views(dims, parts):
    method = build(dims)
    views = make_views(2, 1 + parts, dims)
    losses = method.loss(views, {}, torch.Generator())
    composed, decomposed = [], []
    with torch.no_grad():
        student = [method.encoder.embed(view).unflatten(0, (2, -1)) for view in views]
        teacher = [method.teacher_encoder.module.embed(v).unflatten(0, (2, -1)) for v in views]
        common = torch.cat([each.flatten(0, 1) for each in teacher]).mean(dim=0)
        teacher = [each - common for each in teacher]
        for view in range(2):
            for place in range(2):
                mine, theirs = student[view][place], teacher[1 - view][place]
                together = method.compose(mine[1:].flatten()[None])[0]
                composed.append(distance(together, theirs[0]))
                apart = method.decompose(mine[:1]).view(parts, -1)
                decomposed += [distance(a, t) for a, t in zip(apart, theirs[1:], strict=True)]
    assert losses["composability"].item() == pytest.approx(sum(composed) / 4, rel=1e-4)
    expected = sum(decomposed) / len(decomposed)
    assert losses["decomposability"].item() == pytest.approx(expected, rel=1e-4)
    total = sum(losses[name] for name in losses if name != "loss")
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)


def test_localizability_compares_whole_and_parts_of_the_other_view():
    method = build()
    views = make_views(1, 9)
    losses = method.loss(views, {}, torch.Generator())
    with torch.no_grad():
        scores = [method.head(method.encoder.embed(view)) for view in views]
        raw = [method.teacher_head(method.teacher_encoder.module.embed(view)) for view in views]
        centre = torch.cat(raw).mean(dim=0)
        taught = [((each - centre) / 0.04).softmax(dim=1) for each in raw]
        logs = [(each / 0.1).log_softmax(dim=1) for each in scores]
    cost = -(taught[0] * logs[1] + taught[1] * logs[0]).sum(dim=1).mean() / 2
    assert losses["localizability"].item() == pytest.approx(cost.item(), rel=1e-4)


def test_parts_are_told_apart_by_their_order():
    method = build()
    first, second = make_views(1, 9)
    swapped = first[[0, 2, 1, *range(3, 9)]]
    one, other = (
        method.loss([view, second], {}, torch.Generator())["composability"]
        for view in (first, swapped)
    )
    assert one.item() != other.item()


def test_the_place_holds_a_whole_and_its_parts():
    assert build(factor=2).parts == 8
    assert build(2, factor=3).parts == 9
    with pytest.raises(ConfigError, match="2 or more"):
        build(factor=1)
