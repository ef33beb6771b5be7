"""Answers for whole images out of answers for windows."""

import numpy as np
import pytest
import torch

from medssl.io.geometry import pad_to
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.places import Uniform
from medssl.tasks.inference import slide, window_mean


def brightness_classes(x: torch.Tensor) -> torch.Tensor:
    """Two logits a voxel that depend on that voxel alone."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :1]], dim=1)


def random_image(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shape", [(20, 17, 31), (16, 16, 16), (5, 40, 9), (3, 4, 5)])
def test_a_voxelwise_network_answers_the_same_in_windows_as_at_once(shape):
    image = random_image(1, *shape)
    answer = slide(brightness_classes, image, patch=(16, 16, 16), pad_value=-2.0)
    assert torch.allclose(answer, brightness_classes(image[None])[0].softmax(0), atol=1e-5)


def test_probabilities_sum_to_one_at_every_voxel():
    answer = slide(
        lambda x: torch.randn(len(x), 3, *x.shape[2:]),
        random_image(1, 24, 24, 10),
        patch=(16, 16, 8),
        pad_value=0.0,
    )
    assert torch.allclose(answer.sum(dim=0), torch.ones(24, 24, 10), atol=1e-5)


def test_what_surrounds_a_small_image_is_the_given_value_and_the_image_lies_as_in_training():
    seen = []

    def watch(x: torch.Tensor) -> torch.Tensor:
        seen.append(x[0, 0].clone())
        return brightness_classes(x)

    image = random_image(1, 5, 8, 12)
    slide(watch, image, patch=(8, 8, 8), pad_value=-7.0)
    facts = VolumeFacts((5, 8, 12), (1.0, 1.0, 1.0), np.ones((1, 1, 1), bool), (8, 8, 8))
    box = Uniform().place(facts, (8, 8, 8), np.random.default_rng(0)).region
    expected, before = pad_to(image[0].numpy(), (8, 8, 8), -7.0)
    assert before[0] == -box.start[0] == 2
    assert torch.equal(seen[0], torch.from_numpy(expected)[..., :8])


def test_a_planar_network_sees_a_volume_slice_by_slice():
    def mean_of_slice(x: torch.Tensor) -> torch.Tensor:
        assert x.ndim == 4
        return brightness_classes(x.mean(dim=(2, 3), keepdim=True).expand_as(x))

    image = random_image(1, 16, 16, 11)
    answer = slide(mean_of_slice, image, patch=(16, 16), pad_value=0.0)
    expected = torch.sigmoid(image[0].mean(dim=(0, 1)))
    assert answer.shape == (2, 16, 16, 11)
    assert torch.allclose(answer[1, 0, 0], expected, atol=1e-5)


def test_a_planar_image_stays_planar():
    answer = slide(brightness_classes, random_image(1, 30, 9), patch=(16, 16), pad_value=0.0)
    assert answer.shape == (2, 30, 9)


def test_windows_near_their_middle_count_more_than_at_their_edge():
    def left_half(x: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(x), 2, *x.shape[2:])
        logits[:, 1, : x.shape[2] // 2] = 4.0
        return logits

    answer = slide(left_half, torch.zeros(1, 24, 16, 16), patch=(16, 16, 16), pad_value=0.0)
    # Voxel 8 begins the second window, at its edge, and lies just right of the first one's middle.
    assert 0.5 < float(answer[1, 8, 8, 8]) < 0.7


def test_one_answer_for_an_image_is_the_mean_over_windows_that_cover_it():
    windows = []

    def fraction(x: torch.Tensor) -> torch.Tensor:
        windows.extend(x)
        share = x.mean(dim=(1, 2, 3, 4))
        return torch.stack([(1 - share).log(), share.log()], dim=1)

    image = torch.full((1, 20, 8, 8), 0.25)
    image[:, 10:] = 0.75
    answer = window_mean(fraction, image, patch=(10, 8, 8), pad_value=0.0)
    assert len(windows) == 2
    assert torch.allclose(answer, torch.tensor([0.5, 0.5]), atol=1e-5)
    assert all(tuple(window.shape) == (1, 10, 8, 8) for window in windows)


def test_no_voxel_is_left_out_of_the_windows_of_one_answer():
    counted = torch.zeros(13, 9, 21)

    def count(x: torch.Tensor) -> torch.Tensor:
        for index in x.flatten().long().tolist():
            counted.view(-1)[index] += 1
        return torch.zeros(len(x), 2)

    image = torch.arange(13 * 9 * 21, dtype=torch.float32).reshape(1, 13, 9, 21)
    window_mean(count, image, patch=(8, 8, 8), pad_value=0.0)
    assert bool((counted > 0).all())
