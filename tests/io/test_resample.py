"""Reading between voxels: what a slow loop in double precision says, and at which cost."""

import math
import tracemalloc

import numpy as np
import pytest

from medssl.io.resample import read_at


def bell(distance: int, step: float) -> float:
    sigma = math.sqrt(step**2 - 1) / (2 * math.sqrt(2 * math.log(2)))
    return math.exp(-0.5 * (distance / sigma) ** 2)


def read_slowly(line, index, order):
    """One line of voxels, smoothed and read at some places, one voxel after the other."""
    step = abs(index[1] - index[0])
    edge = lambda place: line[min(max(place, 0), len(line) - 1)]  # noqa: E731

    def smoothed(place):
        if step <= 1:
            return edge(place)
        sigma = math.sqrt(step**2 - 1) / (2 * math.sqrt(2 * math.log(2)))
        reach = range(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
        weights = [bell(distance, step) for distance in reach]
        values = [edge(place + distance) for distance in reach]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    def at(place):
        first = math.floor(place)
        t = place - first
        if order == "linear":
            return (1 - t) * smoothed(first) + t * smoothed(first + 1)
        p, q, r, s = (smoothed(first + offset) for offset in (-1, 0, 1, 2))
        slope, bend = (r - p) / 2, p - 2.5 * q + 2 * r - s / 2
        return q + slope * t + bend * t**2 + (1.5 * (q - r) + (s - p) / 2) * t**3

    return np.array([at(place) for place in index])


def read_everything_slowly(data, positions, order):
    result = data.astype(np.float64)
    for axis, index in enumerate(positions):
        result = np.apply_along_axis(read_slowly, axis, result, index, order)
    return result


def places(count, step, *, backwards=False):
    length = max(2, round(count / step))
    index = (np.arange(length) - (length - 1) / 2) * step + (count - 1) / 2
    return index[::-1].copy() if backwards else index


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("steps", [(0.6, 1.7, 2.3), (3.0, 0.5, 1.0), (1.0, 1.0, 0.7), (2.0, 2.0)])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_fast_reading_is_the_slow_loop_in_double_precision(order, steps, layout):
    shape = (41, 36, 39)[: len(steps)] if len(steps) == 2 else (13, 12, 15)
    data = np.random.default_rng(0).integers(-1000, 3000, shape).astype(np.int16, order=layout)
    positions = [
        places(n, step, backwards=axis == 0)
        for axis, (n, step) in enumerate(zip(shape, steps, strict=True))
    ]
    found = read_at(data, positions, order)
    expected = read_everything_slowly(data, positions, order)
    # The claim is 1 % of full scale; single precision does much better.
    assert np.abs(found - expected).max() < 1e-5 * np.ptp(data)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


def test_whole_numbers_are_the_rounded_values_and_saturate():
    data = np.random.default_rng(0).integers(-60000, 60000, (9, 40, 70)).astype(np.int32)
    positions = [places(n, step) for n, step in zip(data.shape, (0.8, 1.3, 0.9), strict=True)]
    whole = read_at(data, positions, "cubic", dtype=np.int16)
    fractions = read_at(data, positions, "cubic")
    assert np.array_equal(whole, np.clip(np.rint(fractions), -32768, 32767))


@pytest.mark.parametrize("turned", [False, True])
def test_many_blocks_join_without_a_seam(turned):
    data = np.random.default_rng(1).normal(size=(3, 4, 150)).astype(np.float32)
    data = data.transpose(2, 0, 1) if turned else data
    long = data.ndim - 1 if not turned else 0
    for step in (0.4, 2.5):
        positions = [np.arange(float(count)) for count in data.shape]
        positions[long] = places(150, step)
        found = np.moveaxis(read_at(data, positions, "cubic"), long, -1)
        for row, line in zip(
            found.reshape(12, -1), np.moveaxis(data, long, -1).reshape(12, -1), strict=True
        ):
            expected = read_slowly(line.astype(float), positions[long], "cubic")
            assert np.abs(row - expected).max() < 1e-5


def test_every_third_voxel_is_a_mean_and_not_a_sample():
    stripes = np.tile([1.0, 0.0, 0.0], 21)[:, None, None] * np.ones((1, 4, 4))
    places = [np.arange(1.0, 63, 3), np.arange(4.0), np.arange(4.0)]
    coarse = read_at(stripes.astype(np.float32), places, "cubic")
    assert np.abs(coarse[3:-3] - 1 / 3).max() < 0.05


def test_a_constant_stays_constant_to_the_edge():
    data = np.full((20, 21, 22), 700, np.int16)
    positions = [places(n, step) for n, step in zip(data.shape, (0.7, 1.9, 3.1), strict=True)]
    assert (read_at(data, positions, "cubic", dtype=np.int16) == 700).all()


def test_channels_are_read_one_by_one():
    data = np.random.default_rng(2).normal(size=(3, 10, 11, 12)).astype(np.float32)
    positions = [places(n, 1.4) for n in data.shape[1:]]
    found = read_at(data, positions, "linear")
    for channel, alone in zip(data, found, strict=True):
        assert np.array_equal(read_at(channel, positions, "linear"), alone)


def test_nothing_to_do_copies_nothing():
    data = np.random.default_rng(2).normal(size=(4, 5, 6)).astype(np.float32)
    assert read_at(data, [np.arange(float(n)) for n in data.shape], "cubic") is data


@pytest.mark.parametrize("layout", ["C", "F"])
def test_beside_source_and_result_little_memory_is_held(layout):
    data = np.ones((160, 150, 140), np.int16, order=layout)
    positions = [places(n, 0.8) for n in data.shape]
    tracemalloc.start()
    result = read_at(data, positions, "cubic", dtype=np.int16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.6 * result.nbytes
