import numpy as np
import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.fourier import AmplitudeMix, BatchStyle, Gibbs
from medssl.transforms.separable import lowpass_matrix


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(4, 2, 12, 11, 10), (4, 2, 12, 11)], ids=["3d", "2d"])
def images(request):
    return torch.rand(request.param, generator=generator()) * 2 - 1


@pytest.mark.parametrize("size", [8, 9])
def test_a_cut_is_that_of_the_mirrored_signals_spectrum(size):
    signal = np.random.default_rng(0).normal(size=size)
    kept = size - 3
    mirrored = np.concatenate([signal, signal[::-1]])
    spectrum = np.fft.fft(mirrored)
    wave = np.minimum(np.arange(2 * size), 2 * size - np.arange(2 * size))
    expected = np.fft.ifft(spectrum * (wave < kept)).real[:size]
    matrix = lowpass_matrix(torch.tensor([3 / size]), size)[0].double().numpy()
    np.testing.assert_allclose(matrix @ signal, expected, atol=1e-5)


def test_gibbs_rings_at_an_edge_overshoots_by_a_tenth_and_leaves_the_border_even():
    step = torch.zeros(1, 1, 64, 64)
    step[:, :, 32:] = 1.0
    rung = Gibbs(cut=(0.8, 0.8))(step, generator())[0, 0, :, 5]
    assert 1.07 < rung.max() < 1.13
    assert -0.13 < rung.min() < -0.07
    assert ((rung[32:] - 1).diff().sign().diff() != 0).sum() >= 4
    flat = torch.full((1, 1, 16, 16), 0.4)
    torch.testing.assert_close(Gibbs()(flat, generator()), flat)


def naive_mix(images, params):
    """Mix magnitudes image by image, channel by channel, over the whole spectrum."""
    result = images.double().clone().numpy()
    shape = images.shape[2:]
    low = images.double().flatten(2).amin(2).numpy()
    high = images.double().flatten(2).amax(2).numpy() - low
    waves = [np.minimum(np.arange(n), n - np.arange(n)) for n in shape]
    for number in range(len(images)):
        partner, mix, box = (params[key][number].item() for key in ("partner", "mix", "box"))
        share = mix * np.ones(shape)
        for axis, (wave, n) in enumerate(zip(waves, shape, strict=True)):
            kept = np.where(wave == 0, 1, np.clip(box * (n / 2 + 1) - wave, 0, 1))
            share = share * kept.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        for channel in range(images.shape[1]):
            own, other = (
                np.fft.fftn(images[i, channel].double().numpy() - low[i, channel])
                for i in (number, partner)
            )
            size = np.abs(own) * (1 - share) + np.abs(other) * share
            mixed = np.fft.ifftn(size * np.exp(1j * np.angle(own))).real
            ceiling = max(high[number, channel], high[partner, channel])
            result[number, channel] = mixed.clip(0, ceiling) + low[number, channel]
    return torch.from_numpy(result)


@pytest.mark.parametrize("transform", [AmplitudeMix(box=(0.1, 0.6)), BatchStyle(box=(0.3, 0.9))])
def test_mixing_agrees_with_a_loop_over_whole_spectra(transform, images):
    params = transform.draw(images.shape, generator(2))
    mixed = transform.apply(images, params)
    torch.testing.assert_close(mixed.double(), naive_mix(images, params), atol=1e-4, rtol=0)


def test_only_chosen_images_are_mixed(images):
    transform = AmplitudeMix(p=0.5)
    params = transform.draw(images.shape, generator(1))
    active = params["active"]
    assert 0 < active.sum() < len(active)
    mixed = transform.apply(images, params)
    assert torch.equal(mixed[~active], images[~active])
    all_mixed = transform.apply(images, {**params, "active": torch.ones_like(active)})
    torch.testing.assert_close(mixed[active], all_mixed[active])


def test_a_style_is_that_of_one_image_and_the_same_for_a_whole_view(images):
    transform = BatchStyle()
    for seed in range(5):
        params = transform.draw(images.shape, generator(seed))
        assert all(len(value.unique(dim=0)) == 1 for value in params.values())
    chosen = {int(transform.draw(images.shape, generator(s))["partner"][0]) for s in range(60)}
    assert chosen == {0, 1, 2, 3}
    styled = transform.apply(images, params)
    own = int(params["partner"][0])
    torch.testing.assert_close(styled[own], images[own], atol=1e-5, rtol=0)


def test_styled_images_share_their_low_magnitudes():
    images = torch.rand(5, 1, 16, 16, generator=generator()) + torch.linspace(0, 3, 5).view(
        5, 1, 1, 1
    )
    images[:, :, 0, 0] = 0.0  # the darkest voxel of all, from which grey values are measured
    transform = BatchStyle(box=(0.3, 0.3))
    params = transform.draw(images.shape, generator())
    style = images[int(params["partner"][0])]

    def magnitudes(batch):
        return torch.fft.fftn(batch, dim=(-2, -1)).abs()[..., :2, :2]

    before = (magnitudes(images) - magnitudes(style)).abs().mean()
    # Values beyond the range of both images are cut off, which changes magnitudes a little.
    after = (magnitudes(transform.apply(images, params)) - magnitudes(style)).abs().mean()
    assert after < 0.1 * before


def test_an_image_that_is_alone_stays_as_it_is():
    image = torch.rand(1, 1, 8, 8, 8)
    for transform in (AmplitudeMix(mix=(1.0, 1.0)), BatchStyle()):
        torch.testing.assert_close(transform(image, generator()), image, atol=1e-5, rtol=0)


def test_a_box_beyond_all_frequencies_is_refused():
    with pytest.raises(ConfigError, match="BatchStyle: box was"):
        BatchStyle(box=(0.1, 1.2))
