import math

import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    Noise,
    RicianNoise,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def image():
    return torch.rand(3, 2, 10, 9, 8, generator=generator()) * 3 - 1


def ranges(image):
    return torch.stack([image.flatten(2).amin(2), image.flatten(2).amax(2)])


@pytest.mark.parametrize("transform", [Gamma(), Contrast()], ids=["gamma", "contrast"])
def test_an_image_keeps_within_its_own_range(transform, image):
    before, after = ranges(image), ranges(transform(image, generator()))
    assert (after[0] >= before[0] - 1e-5).all()
    assert (after[1] <= before[1] + 1e-5).all()


def test_gamma_bends_between_darkest_and_brightest():
    image = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2)
    params = {
        "active": torch.ones(1, dtype=torch.bool),
        "exponent": torch.full((1, 1), 2.0),
        "inverted": torch.zeros(1, 1, dtype=torch.bool),
    }
    bent = Gamma().apply(image, params)
    torch.testing.assert_close(bent.flatten(), torch.tensor([-1.0, -0.75, 0.0, 3.0]))
    params["inverted"] = ~params["inverted"]
    bent = Gamma().apply(image, params)
    torch.testing.assert_close(bent.flatten(), torch.tensor([-1.0, 0.75, 2.0, 3.0]))


def test_gamma_keeps_the_order_of_intensities(image):
    bent = Gamma(invert_share=0.5)(image, generator())
    order = image.flatten(2).argsort(dim=2)
    assert (bent.flatten(2).gather(2, order).diff(dim=2) >= -1e-6).all()


def test_channels_vary_apart(image):
    for transform in (Brightness(), Contrast(), Gamma(), BiasField()):
        same = image[:, :1].repeat(1, 2, 1, 1, 1)
        changed = transform(same, generator())
        assert not torch.allclose(changed[:, 0], changed[:, 1])


def test_brightness_adds_one_value_within_its_limit(image):
    shift = Brightness(shift=0.3)(image, generator()) - image
    spread = shift.flatten(2).amax(2) - shift.flatten(2).amin(2)
    assert spread.max() < 1e-5
    assert shift.abs().max() <= 0.3 + 1e-5


def test_contrast_squeezes_about_the_mean(image):
    squeezed = Contrast(factor=(0.5, 0.5))(image, generator()).flatten(2)
    torch.testing.assert_close(squeezed.mean(2), image.flatten(2).mean(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(squeezed.std(2), image.flatten(2).std(2) / 2, atol=1e-5, rtol=0)


def test_noise_has_the_width_that_was_drawn_and_mean_zero():
    flat = torch.zeros(4, 1, 40, 40, 20)
    transform = Noise(sigma=(0.1, 0.5))
    params = transform.draw(flat.shape, generator())
    noise = transform.apply(flat, params).flatten(1)
    torch.testing.assert_close(noise.std(dim=1), params["sigma"], atol=0, rtol=0.02)
    assert noise.mean(dim=1).abs().max() < 0.01
    assert not torch.allclose(noise[0] / params["sigma"][0], noise[1] / params["sigma"][1])


def test_rician_noise_brightens_air_and_leaves_the_mean_of_tissue():
    halves = torch.zeros(1, 1, 40, 40, 20)
    halves[:, :, 20:] = 5.0
    halves -= 2.0
    halves[0, 0, 0, 0, 0] = -2.0  # the darkest voxel
    noisy = RicianNoise(sigma=(0.4, 0.4))(halves, generator())[0, 0]
    air, tissue = noisy[:20] + 2.0, noisy[20:] - 3.0
    assert air.min() >= 0
    # The mean of Rayleigh's distribution, and of Rice's where the signal is far above the noise.
    assert air.mean() == pytest.approx(0.4 * math.sqrt(math.pi / 2), rel=0.02)
    assert tissue.mean() == pytest.approx(0.4**2 / (2 * 5), abs=0.01)
    assert tissue.std() == pytest.approx(0.4, rel=0.02)


def test_blur_agrees_with_a_loop():
    image = torch.rand(1, 1, 7, 6, generator=generator(), dtype=torch.float64)
    transform = Blur(sigma_voxels=(0.5, 1.5))
    params = transform.draw(image.shape, generator())
    width_x, width_y = params["sigma"][0].tolist()
    blurred = transform.apply(image, params)
    for i in range(7):
        for j in range(6):
            total = weight = 0.0
            for k in range(7):
                for m in range(6):
                    w = math.exp(-((i - k) ** 2) / (2 * width_x**2))
                    w *= math.exp(-((j - m) ** 2) / (2 * width_y**2))
                    total, weight = total + w * float(image[0, 0, k, m]), weight + w
            assert float(blurred[0, 0, i, j]) == pytest.approx(total / weight, abs=1e-5)


@pytest.mark.parametrize("transform", [Blur(), LowResolution()], ids=["blur", "low resolution"])
def test_what_smooths_keeps_an_even_image_and_lowers_the_spread(transform, image):
    torch.testing.assert_close(
        transform(torch.full_like(image, 0.7), generator()), torch.full_like(image, 0.7)
    )
    assert transform(image, generator()).std() < image.std()


def test_low_resolution_is_the_mean_of_coarse_voxels_interpolated():
    image = torch.tensor([0.0, 2.0, 4.0, 10.0]).view(1, 1, 4, 1).expand(1, 1, 4, 4).contiguous()
    coarse = LowResolution(factor=(2.0, 2.0))(image, generator())
    expected = torch.tensor([1.0, 2.5, 5.5, 7.0])
    torch.testing.assert_close(coarse[0, 0, :, 0], expected)


def test_low_resolution_keeps_a_ramp_in_place():
    ramp = torch.arange(24.0).view(1, 1, 24, 1).expand(1, 1, 24, 24).contiguous()
    coarse = LowResolution(factor=(3.0, 3.0))(ramp, generator())
    torch.testing.assert_close(coarse[0, 0, 4:-4, 0], ramp[0, 0, 4:-4, 0], atol=1e-4, rtol=0)


def test_low_resolution_never_makes_voxels_smaller():
    with pytest.raises(ConfigError, match="only become larger"):
        LowResolution(factor=(0.5, 2.0))


def test_a_bias_field_is_smooth_positive_and_within_its_limit():
    transform = BiasField(amplitude=0.7)
    image = torch.ones(8, 1, 32, 32, 32)
    image[:, :, 0, 0, 0] = 0.0  # the darkest voxel, from which a field is measured
    field = transform(image, generator())[:, :, 1:].log()
    assert field.abs().max() <= 0.7
    assert field.std() > 0.05
    assert field.diff(dim=2).abs().max() < 0.1


def test_a_bias_field_needs_four_control_points():
    with pytest.raises(ConfigError, match="control_points was 3"):
        BiasField(control_points=3)
