"""A sum of methods: what it adds up, what is done once, and which methods can't look together."""

import pytest
import torch

from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.encoders import build_encoder
from medssl.errors import ConfigError, UnknownNameError
from medssl.methods import METHODS, Joint, SimCLR
from medssl.sampling.grid import Grid
from medssl.types import Batch

PATCH = (16, 16, 16)
MASKED = {"name": "mae_cnn", "mask_size": 4}
POSITION = {"name": "voco", "grid": (2, 1, 1), "crops": 2, "width": 16}
CONTRAST = {"name": "simclr", **SimCLR.tiny()}


def build(*terms):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    return Joint(encoder=encoder, patch=PATCH, terms=list(terms))


def make_batch(crops=4, places=2, **targets):
    images = torch.randn(places, crops, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    overlap = torch.tensor([[1.0, 0.0], [0.25, 0.75]]).expand(places, 2, 2)
    return Batch(images, {"overlap": overlap, **targets}, [], [0])


def losses_of(method, batch):
    return method.compute_losses(batch, torch.Generator().manual_seed(0))


def forwards(method):
    """Count the forwards that are computed, below the memory of a step."""
    stem = next(m for m in method.encoder.modules() if isinstance(m, torch.nn.Conv3d))
    seen = []
    stem.register_forward_hook(lambda *args: seen.append(len(args[-1])))
    return seen


def test_terms_are_weighed_and_logged_by_name():
    method = build({**MASKED, "weight": 2.0}, {**POSITION, "weight": 0.5})
    losses = losses_of(method, make_batch())
    expected = 2.0 * losses["mae_cnn/loss"] + 0.5 * losses["voco/loss"]
    torch.testing.assert_close(losses["loss"], expected)
    assert {"voco/position", "voco/spread", "voco/position_accuracy"} <= losses.keys()


def test_loss_and_gradient_are_those_of_the_terms_alone():
    method, batch = build(MASKED, POSITION), make_batch()
    recipe = method.views()
    views = recipe(batch.images, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(2)
    state = generator.get_state()
    joint = method.loss(views, batch.targets, generator)["loss"]
    parameters = list(method.encoder.parameters())
    found = torch.autograd.grad(joint, parameters)
    generator.set_state(state)
    masked, position = method.terms.values()
    alone = masked.loss(views[:1], {}, generator)["loss"]
    alone = alone + position.loss(views[1:], batch.targets, generator)["loss"]
    expected = torch.autograd.grad(alone, parameters)
    torch.testing.assert_close(joint, alone)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_term_takes_the_options_of_the_methods_that_it_extends():
    method = build({**MASKED, "body_share": 0.7}, POSITION)
    assert method.terms["mae_cnn"].body_share == 0.7


def test_masked_terms_take_all_crops_of_the_place():
    method = build(MASKED, POSITION)
    assert isinstance(method.places(), Grid)
    counts = forwards(method)
    losses_of(method, make_batch())
    assert counts == [8, 8]  # all four crops of two places, masked; then as voco's views


def test_terms_share_one_encoder():
    method = build(MASKED, POSITION)
    assert all(term.encoder is method.encoder for term in method.terms.values())
    names = [name for name, _ in method.named_parameters()]
    assert sum(name.startswith("encoder.") for name in names) == len(
        list(method.encoder.parameters())
    )
    assert not any(".encoder." in name for name in names)


def test_equal_views_are_made_once_and_seen_once():
    one, two = POSITION, {**POSITION, "regularisation_power": 1}
    method = build(one, two)
    assert len(method.views().views) == 2
    counts = forwards(method)
    losses = losses_of(method, make_batch())
    assert counts == [8]
    assert losses["voco/loss"] != losses["voco-2/loss"]


def test_two_equal_views_of_one_term_stay_two_draws():
    method = build(CONTRAST, {"name": "barlow_twins", **METHODS["barlow_twins"].tiny()})
    assert len(method.views().views) == 2
    slots = method._slots
    assert slots["simclr"] == slots["barlow_twins"] == [0, 1]


def test_foreign_places_tell_a_term_which_crops_overlap():
    """The overlap of a grid is of random with base crops: a contrast would take it for its own."""
    method = build(POSITION, CONTRAST)
    asked = []
    contrast = method.terms["simclr"]
    inner = contrast.loss
    contrast.loss = lambda views, targets, generator: (
        asked.append(targets) or inner(views, targets, generator)
    )
    everyone = torch.eye(4).expand(2, 4, 4)
    losses_of(method, make_batch(crop_overlap=everyone))
    assert asked[0].keys() == {"overlap", "frames"}
    assert len(asked[0]["frames"]) == 2  # of its own views, not of the grid's
    assert asked[0]["overlap"] is everyone


def test_terms_that_ask_for_different_crops_are_refused():
    with pytest.raises(ConfigError, match=r'"voco" and "adam" can\'t learn from the same crops'):
        build(POSITION, {"name": "adam", **METHODS["adam"].tiny()})
    with pytest.raises(ConfigError, match="can't learn"):
        build(POSITION, {**POSITION, "crops": 3})


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ([], ConfigError, "at least one"),
        ([{"name": "mae_cnn", "mask_sise": 8}], ConfigError, 'did you mean "mask_size"'),
        ([{"name": "mae_cn"}], UnknownNameError, 'did you mean "mae_cnn"'),
        ([{"mask_size": 8}], ConfigError, "expected the name of a method"),
        ([{"name": "joint"}], ConfigError, "expected the name of a method"),
    ],
)
def test_terms_that_are_misspelt_are_refused(terms, error, message):
    with pytest.raises(error, match=message):
        build(*terms)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"name": "mae_cnn", "mask_sise": 8}, r'number 2: .*did you mean "mask_size"'),
        ({"name": "mae_cnn", "mask_size": "eight"}, "expected int"),
        ({"name": "mae_cnn", "weight": "much"}, "weight is 'much'; expected a number"),
        ({"weight": 1}, "name is missing"),
    ],
)
def test_a_configuration_checks_each_term_before_anything_is_built(term, message):
    given = {
        "method": {"name": "joint", "terms": [{"name": "voco", "grid": [2, 1, 1]}, term]},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": [16, 16, 16]},
    }
    with pytest.raises(ConfigError, match=message):
        load_configuration(given, (), pretrain_sections())


def test_a_configuration_holds_every_option_of_every_term(tmp_path):
    given = {
        "method": {"name": "joint", "terms": [{"name": "voco", "grid": [2, 1, 1]}, MASKED]},
        "encoder": {"name": "resenc_s"},
        "data": {"patch": [16, 16, 16]},
    }
    first = load_configuration(given, (), pretrain_sections())
    path = tmp_path / "config.yaml"
    path.write_text(first.to_yaml())
    assert load_configuration(path, (), pretrain_sections()) == first
    terms = first.to_dict()["method"]["terms"]
    assert terms[0]["grid"] == [2, 1, 1]
    assert terms[0]["weight"] == 1.0
    assert terms[1]["mask_ratio"] == 0.75


def test_labels_add_what_a_decoder_gets_wrong():
    torch.manual_seed(0)
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    method = Joint(encoder=encoder, patch=PATCH, terms=[MASKED], classes=2, labels_weight=0.5)
    labelled = torch.randn(3, 1, 1, *PATCH, generator=torch.Generator().manual_seed(5))
    masks = (labelled[:, :, 0] > 0.3).long() + (labelled[:, :, 0] > 0.6)
    losses = losses_of(method, make_batch(labelled=labelled, label=masks))
    expected = losses["mae_cnn/loss"] + 0.5 * losses["labels"]
    torch.testing.assert_close(losses["loss"], expected)
    losses["labels"].backward()
    assert all(p.grad is not None for p in method.supervision.decoder.parameters())
    assert any(p.grad is not None for p in encoder.parameters())
    wrong = losses_of(method, make_batch(labelled=labelled, label=2 - masks))
    assert wrong["labels"] != losses["labels"]
    assert wrong["mae_cnn/loss"] == losses["mae_cnn/loss"]


def test_teachers_follow_and_the_first_is_exported():
    assert build(MASKED, POSITION).exported_encoder().config["features"] == (4, 6)
    plain = build(MASKED, POSITION)
    assert plain.exported_encoder() is plain.encoder
    method = build(MASKED, {**POSITION, "teacher": "full", "momentum": 0.5})
    teacher = method.terms["voco"].teacher_encoder.module
    assert method.exported_encoder() is teacher
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in teacher.parameters()]
    method.after_step(1)
    for old, new in zip(before, teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.5)


@torch.no_grad()
def test_pictures_tell_whose_they_are():
    method = build(MASKED, POSITION)
    titles = [p.title for p in method.pictures(make_batch(), torch.Generator().manual_seed(0))]
    assert titles[0] == "mae_cnn: Masked reconstruction"
    assert "voco: Base crops" in titles


def test_defaults_are_the_first_recipe():
    encoder = build_encoder("resenc_s", patch=PATCH, features=(4, 6), blocks=(1, 1))
    assert list(Joint(encoder=encoder, patch=PATCH).terms) == ["mae_cnn", "voco"]


def test_what_holds_for_all_views_is_an_option_of_the_sum():
    with pytest.raises(ConfigError, match='term "mae_cnn" has no "batch_style"'):
        build({**MASKED, "batch_style": 0.5})
    assert build({**MASKED, "batch_style": 0.0}).style is None
