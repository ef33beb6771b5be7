"""DINO and iBOT and DINOv2: who is compared with whom, and what moves when."""

import copy

import pytest
import torch

from medssl.encoders import build_encoder
from medssl.encoders.tokens import map_to_tokens, token_mask
from medssl.errors import ConfigError
from medssl.losses.assignment import sinkhorn
from medssl.losses.distillation import koleo
from medssl.methods import DINO, IBOT, DINOv2
from medssl.training.module import TrainingPlan

PATCH = (16, 16)
METHODS = [DINO, IBOT, DINOv2]


def build(method, **options):
    torch.manual_seed(0)
    encoder = build_encoder(
        "vit_tiny", spatial_dims=2, patch=PATCH, token=4, width=24, depth=4, heads=2
    )
    built = method(encoder=encoder, patch=PATCH, **{**method.tiny(), **options})
    with torch.no_grad():  # a teacher that differs, so that mixing them up shows
        for parameter in built.encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return built


def make_views(method, places=3):
    images = torch.randn(places, 1, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    return method.views()(images, torch.Generator().manual_seed(2))


def loss_of(method, views):
    return method.loss(views, {}, torch.Generator().manual_seed(3))


def naive_views(student, teacher):
    """The mean cross-entropy over pairs of different views, one place after the other."""
    costs = []
    for s, scores in enumerate(student):
        for t, answers in enumerate(teacher):
            if s != t:
                logs = (scores.double() / 0.1).log_softmax(dim=1)
                costs += [-(a.double() * log).sum() for a, log in zip(answers, logs, strict=True)]
    return float(torch.stack(costs).mean())


def naive_places(scores, answers, hidden):
    total, row = 0.0, 0
    for image in hidden:
        costs = []
        for _ in range(int(image.sum())):
            log = (scores[row].double() / 0.1).log_softmax(dim=0)
            costs.append(-float((answers[row].double() * log).sum()))
            row += 1
        total += sum(costs) / max(1, len(costs))
    return total / len(hidden)


@torch.no_grad()
def test_dino_is_the_mean_over_pairs_of_different_views():
    method = build(DINO)
    views = make_views(method)
    student = [method.head(method.encoder.embed(view)) for view in views]
    raw = [method.teacher_head(method.teacher_encoder.module.embed(view)) for view in views[:2]]
    centre = torch.cat(raw).mean(dim=0)
    teacher = [((scores - centre) / 0.04).softmax(dim=1) for scores in raw]
    loss = loss_of(method, views)["loss"]
    assert loss.item() == pytest.approx(naive_views(student, teacher), rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", [IBOT, DINOv2])
def test_student_answers_at_hidden_places_what_the_teacher_saw_there(kind):
    method = build(kind)
    views = make_views(method)
    drawn = []
    mask = method.mask
    method.mask = lambda *args: drawn.append(mask(*args)) or drawn[-1]
    terms = loss_of(method, views)
    large = torch.cat(views[:2])
    hidden = token_mask(drawn[0], (4, 4))
    assert 0 < hidden.any(dim=1).sum() < len(hidden)
    seen = method.encoder(method.mask_token(large, drawn[0]))[-1]
    known = method.teacher_encoder(large)[-1]
    head, teacher_head = method.head, method.teacher_head
    if kind is DINOv2:
        patch_head, teacher_patch_head = method.patch_head, method.teacher_patch_head
    else:
        patch_head, teacher_patch_head = head, teacher_head
    scores = head(seen.mean(dim=(2, 3))).split(3)
    local = [head(method.encoder.embed(view)) for view in views[2:]]
    raw = teacher_head(known.mean(dim=(2, 3)))
    patch_raw = teacher_patch_head(map_to_tokens(known)[hidden])
    if kind is DINOv2:
        answers, patch_answers = (sinkhorn(each, epsilon=0.04) for each in (raw, patch_raw))
        spread = sum(koleo(view) for view in seen.mean(dim=(2, 3)).split(3))
        assert terms["koleo"].item() == pytest.approx(spread.item(), rel=1e-4)
    else:
        answers, patch_answers = (
            ((each - each.mean(dim=0)) / 0.04).softmax(dim=1) for each in (raw, patch_raw)
        )
    expected = naive_views([*scores, *local], answers.split(3))
    assert terms["view"].item() == pytest.approx(expected, rel=1e-4)
    patch_scores = patch_head(map_to_tokens(seen)[hidden])
    expected = naive_places(patch_scores, patch_answers, hidden)
    assert terms["place"].item() == pytest.approx(expected, rel=1e-4)
    total = terms["view"] + terms["place"] + 0.1 * terms.get("koleo", torch.tensor(0.0))
    assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("kind", METHODS)
def test_teacher_follows_more_and_more_slowly_and_is_what_is_exported(kind):
    method = build(kind, momentum=0.5)
    method.plan = TrainingPlan(steps=10)
    first = method.teacher_encoder.module.blocks[0].mlp.linear1.weight
    student = method.encoder.blocks[0].mlp.linear1.weight
    before = (first - student).abs().max()
    method.after_step(0)
    torch.testing.assert_close((first - student).abs().max(), before / 2)
    held = first.clone()
    method.after_step(10)
    assert torch.equal(first, held), "at the end of a run the teacher stands still"
    assert method.exported_encoder() is method.teacher_encoder.module


@pytest.mark.parametrize("kind", METHODS)
def test_prototypes_are_frozen_in_the_first_part_of_a_run(kind):
    method = build(kind, frozen_share=0.5)
    method.plan = TrainingPlan(steps=10)
    loss_of(method, make_views(method))["loss"].backward()
    assert method.head.weight.grad.abs().max() == 0
    method = build(kind)
    loss_of(method, make_views(method))["loss"].backward()
    assert method.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", [DINO, IBOT])
def test_centre_is_the_mean_of_the_teachers_raw_scores(kind):
    method = build(kind)
    views = make_views(method)
    known = method.teacher_encoder.module.embed(torch.cat(views[:2]))
    raw = method.teacher_head(known).mean(dim=0)
    loss_of(method, views)
    assert not method.centre.started, "the loss of a step must not move the centre"
    method.after_step(1)
    torch.testing.assert_close(method.centre.centre, raw)
    assert (raw - raw.softmax(dim=0)).abs().max() > 1e-2


def test_a_place_of_one_crop_teaches_at_all():
    """Two views of one crop, no small ones: two pairs."""
    method = build(DINO, local_views=0)
    assert torch.isfinite(loss_of(method, make_views(method, places=1))["loss"])


def test_cells_that_do_not_fit_are_refused_when_built():
    with pytest.raises(ConfigError, match="mask_size"):
        build(IBOT, mask_size=6)


def test_nothing_is_mirrored():
    method = build(DINO, strength=0.0)
    ramp = torch.linspace(-1, 1, 16)[:, None].expand(4, 1, 1, 16, 16).contiguous()
    for view in method.views()(ramp, torch.Generator().manual_seed(0)):
        assert (view.mean(dim=(1, 3)).diff(dim=1) > 0).all()


@pytest.mark.parametrize("kind", METHODS)
def test_a_resumed_run_goes_on_where_it_was(kind):
    method = build(kind)
    views = make_views(method)
    loss_of(method, views)
    method.after_step(1)
    other = build(kind)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(loss_of(method, views)["loss"], loss_of(other, views)["loss"])
