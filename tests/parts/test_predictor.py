"""The predictor asks by place, not by order, and descriptions say what was done."""

import pytest
import torch

from medssl.errors import ConfigError
from medssl.parts.describe import describe
from medssl.parts.predictor import Predictor, cell_places, wave_positions
from medssl.parts.slice_stack import random_window, slice_stack
from medssl.parts.view_sizes import coarsest_cells, local_edges
from medssl.transforms.presets import gentle_intensity, strong_intensity


def test_order_of_what_was_seen_does_not_matter_and_places_do():
    torch.manual_seed(0)
    predictor = Predictor(6, width=32, depth=2).eval()
    seen, places = torch.randn(2, 5, 6), cell_places((2, 3)).expand(2, -1, -1)
    asked = torch.tensor([[[7.0, -2.5], [0.5, 0.5]]]).expand(2, -1, -1)
    answer = predictor(seen, places[:, :5], asked)
    turned = predictor(seen.flip(1), places[:, :5].flip(1), asked)
    torch.testing.assert_close(answer, turned, rtol=1e-4, atol=1e-5)
    assert (answer[:, 0] - answer[:, 1]).abs().max() > 1e-3
    swapped = predictor(seen, places[:, :5], asked.flip(1))
    torch.testing.assert_close(answer, swapped.flip(1), rtol=1e-4, atol=1e-5)


def test_waves_are_those_of_a_loop():
    waves = wave_positions(torch.tensor([[1.5, -2.0]]), 9)[0]
    omega = [1.0, 10000.0**-0.5]
    expected = []
    for place in (1.5, -2.0):
        angles = torch.tensor([place * o for o in omega], dtype=torch.float64)
        expected += [*angles.sin().tolist(), *angles.cos().tolist()]
    torch.testing.assert_close(waves, torch.tensor([*expected, 0.0]))


def test_a_condition_changes_the_answer():
    torch.manual_seed(0)
    predictor = Predictor(6, width=32, depth=1, conditions=3)
    seen, places = torch.randn(1, 4, 6), cell_places((2, 2)).unsqueeze(0)
    one, other = (predictor(seen, places, places, look) for look in torch.randn(2, 1, 3))
    assert (one - other).abs().max() > 1e-3


def test_impossible_predictor_is_refused():
    with pytest.raises(ConfigError, match="heads must divide"):
        Predictor(6, width=32, heads=5)


@pytest.mark.parametrize("look", [gentle_intensity(), strong_intensity()])
def test_a_description_is_the_same_where_nothing_was_done_and_tells_what_was(look):
    shape = (64, 1, 8, 8, 8)
    drawn = look.draw(shape, torch.Generator().manual_seed(0))
    told = describe(drawn)
    assert told.shape == describe(look.draw(shape, torch.Generator().manual_seed(1))).shape
    assert len(torch.unique(told, dim=0)) > 32
    idle = describe({**drawn, "active": torch.zeros(64, dtype=torch.bool)})
    assert idle.abs().max() == 0


def test_slices_are_one_of_each_layer():
    ramp = torch.arange(12.0).expand(2, 1, 4, 4, 12)
    stack = slice_stack(ramp, 4, torch.Generator().manual_seed(0))[:, 0, 0, 0].view(2, 3)
    assert torch.equal(stack[0], stack[1])
    assert (stack[0] // 4).tolist() == [0, 1, 2]
    window = random_window(ramp, (2, 3, 5), torch.Generator().manual_seed(0))
    assert window.shape == (2, 1, 2, 3, 5)
    assert torch.equal(window[0, 0, 0, 0].diff(), torch.ones(4))


def test_small_views_are_whole_tokens_and_two_places_of_the_coarsest_map():
    assert local_edges((96, 96, 96), [(8,) * 3]) == (48, 48, 48)
    assert local_edges((32, 32, 8), [(1,) * 3, (16,) * 3]) == (24, 24, 8)
    assert local_edges((40, 40), [(8, 8)]) == (24, 24)


@pytest.mark.parametrize("size", [None, 24])
def test_cells_that_fit_no_encoder_are_refused(size):
    strides = [(4, 4, 4), (16, 16, 16)]
    with pytest.raises(ConfigError, match="mask_size" if size else "does not|do not tile"):
        coarsest_cells((40, 48, 48), strides, size)
