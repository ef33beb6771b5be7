import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.compose import Compose, OneOf
from medssl.transforms.corruption import CutMix
from medssl.transforms.draws import log_uniform, partners
from medssl.transforms.intensity import Brightness, Gamma, LowResolution, Noise
from medssl.transforms.presets import segmentation_augmentation
from medssl.transforms.spatial import Flip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_chance_outside_zero_and_one_is_refused(p):
    with pytest.raises(ConfigError, match="Noise: p was"):
        Noise(p=p)


def test_a_range_is_given_low_first():
    with pytest.raises(ConfigError, match="Noise: sigma was"):
        Noise(sigma=(0.2, 0.1))


def test_a_range_is_finite():
    with pytest.raises(ConfigError, match="Brightness: shift was"):
        Brightness(shift=float("nan"))


def test_a_factor_is_positive():
    with pytest.raises(ConfigError, match="Gamma: exponent was"):
        Gamma(exponent=(0.0, 2.0))


def test_a_range_without_width_at_rest_is_told():
    with pytest.warns(UserWarning, match="Gamma.* never changes an image"):
        Gamma(exponent=(1.0, 1.0))


def test_strength_widens_what_is_added_linearly_and_factors_by_their_power():
    assert Brightness(shift=0.1).scaled(2.0).shift == pytest.approx(0.2)
    assert Gamma(exponent=(0.5, 2.0)).scaled(2.0).exponent == pytest.approx((0.25, 4.0))
    assert LowResolution(factor=(1.0, 4.0)).scaled(0.5).factor == pytest.approx((1.0, 2.0))


def test_strength_of_a_flip_is_how_often_it_happens():
    assert Flip(axes=(1,), p=0.5).scaled(0.5).p == 0.25
    assert Flip(axes=(1,), p=0.5).scaled(9.0).p == 1.0


def test_the_chance_is_kept_for_each_image_by_itself():
    active = Noise(p=0.3).draw((20_000, 1, 2, 2), generator())["active"]
    assert active.float().mean() == pytest.approx(0.3, abs=0.01)


def test_factors_fall_below_one_as_often_as_above():
    factors = log_uniform(20_000, 0.5, 2.0, generator())
    assert (factors < 1).float().mean() == pytest.approx(0.5, abs=0.01)
    assert 0.5 <= factors.min() < 0.51
    assert 1.99 < factors.max() <= 2.0


def test_transforms_are_values_that_compare_and_print():
    assert Noise(p=0.5) == Noise(p=0.5)
    assert repr(Brightness(shift=0.2, p=0.5)) == "Brightness(p=0.5, shift=0.2)"


def test_members_of_a_composition_are_applied_in_order():
    image = torch.rand(2, 1, 4, 4, generator=generator())
    both = Compose((Brightness(shift=1.0), Gamma(exponent=(2.0, 2.5))))
    params = both.draw(image.shape, generator())
    first = {k.removeprefix("0."): v for k, v in params.items() if k.startswith("0.")}
    second = {k.removeprefix("1."): v for k, v in params.items() if k.startswith("1.")}
    expected = both.transforms[1].apply(both.transforms[0].apply(image, first), second)
    assert torch.equal(both.apply(image, params), expected)


def test_an_empty_composition_is_the_identity():
    image = torch.rand(2, 1, 4, 4)
    assert torch.equal(Compose()(image, generator()), image)


def test_compositions_nest():
    image = torch.rand(2, 1, 4, 4)
    nested = Compose((Compose((Brightness(),)), Compose((Noise(),))))
    assert not torch.equal(nested(image, generator()), image)


def test_more_than_ten_members_keep_their_own_parameters():
    many = Compose(tuple(Brightness(shift=1.0) for _ in range(12)))
    image = torch.zeros(1, 1, 2, 2)
    params = many.draw(image.shape, generator())
    total = sum(params[f"{number}.shift"] for number in range(12))
    torch.testing.assert_close(many.apply(image, params)[..., 0, 0], total)


def test_strength_of_a_composition_is_that_of_its_members():
    both = Compose((Brightness(shift=0.2), Noise(sigma=(0.0, 0.1), p=0.5)), p=0.7).scaled(0.5)
    assert both == Compose((Brightness(shift=0.1), Noise(sigma=(0.0, 0.05), p=0.5)), p=0.7)


@pytest.mark.gpu
def test_what_was_drawn_on_the_host_does_the_same_on_an_accelerator():
    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    image = torch.rand(4, 1, 32, 32, 32, generator=generator())
    augment = Compose((segmentation_augmentation().transforms[0], Gamma(), Brightness()))
    params = augment.draw(image.shape, generator())
    there = augment.apply(image.cuda(), params)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), augment.apply(image, params), atol=1e-4, rtol=1e-4)
    first, again = (augment(image.cuda(), torch.Generator("cuda").manual_seed(1)) for _ in "ab")
    assert torch.equal(first, again)


def test_one_of_several_is_chosen_by_weight():
    marks = tuple(Brightness(shift=shift) for shift in (1.0, 2.0, 3.0))
    choice = OneOf(marks, weights=(1.0, 0.0, 3.0), p=0.8)
    params = choice.draw((8000, 1, 2, 2), generator())
    active = torch.stack([params[f"{number}.active"] & params["active"] for number in range(3)])
    assert active.sum(dim=0).max() == 1
    shares = active.float().mean(dim=1)
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.0, 0.6]), atol=0.02, rtol=0)
    changed = choice.apply(torch.zeros(8000, 1, 2, 2), params)[:, 0, 0, 0] != 0
    assert torch.equal(changed, active.any(dim=0))


def test_without_weights_each_is_chosen_as_often():
    params = OneOf((Noise(), Brightness())).draw((4000, 1, 2, 2), generator())
    assert params["0.active"].float().mean() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(params["0.active"], ~params["1.active"])


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_weights_that_are_no_chances_are_refused(weights):
    with pytest.raises(ConfigError, match="OneOf: weights"):
        OneOf((Noise(), Brightness()), weights=weights)


def test_members_of_a_composition_that_is_not_always_done_find_their_partners():
    steps = Compose((CutMix(), Brightness()), p=0.5)
    images = torch.rand(30, 1, 8, 8, generator=generator())
    params = steps.draw(images.shape, generator())
    changed = (steps.apply(images, params) != images).flatten(1).any(dim=1)
    assert torch.equal(changed, params["active"])


def test_a_partner_is_another_image_and_each_as_often():
    drawn = torch.stack([partners(4, generator(seed)) for seed in range(3000)])
    for number in range(4):
        counts = drawn[:, number].bincount(minlength=4)
        assert counts[number] == 0
        assert (counts / 3000)[torch.arange(4) != number].min() > 0.29
