"""Sixteen bits and intensities: the same number, however it is computed."""

import numpy as np
import pytest

from medssl.store.coding import Coding
from medssl.store.recipe import Window

EVERY = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize(
    "coding",
    [
        Window(-1000, 1000).coding(),
        Window(-175, 250).coding(),  # the centre lies between two integers
        Window(-32768, 32767).coding(),  # wider than sixteen bits can tell the distance of
        Window(-32768, 0).coding(),
        Window(0, 32767).coding(),
        Window(32000, 32767).coding(),
        Window(-1, 0).coding(),
        Coding(low=-1801, high=2915, centre=0.0, scale=1 / 1024),
        Coding(low=-777, high=1234, centre=228.3, scale=0.0009876),
    ],
)
def test_decoding_is_clipping_then_subtracting_then_multiplying_in_float32(coding):
    clipped = np.clip(EVERY.astype(np.float32), np.float32(coding.low), np.float32(coding.high))
    expected = (clipped - np.float32(coding.centre)) * np.float32(coding.scale)
    stored = EVERY.copy()
    assert np.array_equal(coding.decode(stored), expected)
    assert np.array_equal(stored, EVERY)
    out = np.zeros((2, EVERY.size), np.float32)
    assert coding.decode(stored, out[1]) is not None
    assert np.array_equal(out[1], expected)
    assert np.array_equal(coding.decode(stored, out[0], spoil=True), expected)
    assert coding.decode_one(-5) == expected[32768 - 5]


def test_a_window_runs_from_minus_one_to_one():
    decoded = Window(-160, 240).coding().decode(EVERY)
    assert decoded.min() == -1
    assert decoded.max() == 1
    assert decoded[32768 + 40] == 0
