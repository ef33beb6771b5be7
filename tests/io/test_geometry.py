"""Moving between grids: what a marker in space says, before and after."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from medssl.errors import GeometryError
from medssl.io.geometry import corner_distance_mm, pad_to, resample, resample_like, to_ras
from medssl.types import Volume

ORIENTATIONS = ["RAS", "LPS", "SRA", "PIR", "ALS", "ILP"]


def smooth_volume(shape=(20, 24, 16), spacing=(1.0, 1.2, 2.0), turn=0.0) -> Volume:
    """A volume whose value is a smooth function of the place in space."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-10.0, 5.0, 7.0)
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.eye(4)
    rotation[:2, :2] = [[cosine, -sine], [sine, cosine]]
    affine = rotation @ affine
    return Volume(function_of_place(shape, affine), affine)


def function_of_place(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = index @ affine[:3, :3].T + affine[:3, 3]
    return (np.sin(place[..., 0] / 7) + np.cos(place[..., 1] / 9) + place[..., 2] / 20).astype(
        np.float32
    )


def stored_as(volume: Volume, codes: str) -> Volume:
    """The same volume with its axes in another order, by nibabel."""
    start = nib.orientations.io_orientation(volume.affine)
    step = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(tuple(codes)))
    affine = volume.affine @ nib.orientations.inv_ornt_aff(step, volume.data.shape)
    return Volume(nib.orientations.apply_orientation(volume.data, step), affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_to_ras_undoes_any_order_of_axes(codes):
    volume = smooth_volume()
    back = to_ras(stored_as(volume, codes))
    assert np.array_equal(back.data, volume.data)
    assert np.allclose(back.affine, volume.affine)


def test_to_ras_keeps_an_oblique_volume_oblique():
    volume = smooth_volume(turn=0.3)
    back = to_ras(stored_as(volume, "LSP"))
    assert np.array_equal(back.data, volume.data)
    assert np.allclose(back.affine, volume.affine)


def test_to_ras_orders_the_axes_of_a_planar_image():
    data = np.arange(6).reshape(2, 3)
    affine = np.array([[0, -2.0, 0, 9], [-1.0, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]])
    back = to_ras(Volume(data, affine))
    assert back.data.shape == (3, 2)
    assert back.spacing_mm == (2.0, 1.0)
    for i, j in itertools.product(range(3), range(2)):
        place = back.affine @ (i, j, 0, 1)
        old = np.rint(np.linalg.solve(affine, place)).astype(int)
        assert back.data[i, j] == data[old[0], old[1]]


def test_to_ras_refuses_an_affine_without_volume():
    with pytest.raises(GeometryError, match="independent"):
        to_ras(Volume(np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 0.0, 1.0])))


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (1.5, 1.0, 2.5)])
def test_resampled_values_stay_at_their_place(order, spacing):
    volume = smooth_volume((40, 40, 30))
    result = resample(volume, spacing, order=order)
    assert np.allclose(result.spacing_mm, spacing)
    expected = function_of_place(result.data.shape, result.affine)
    inner = (slice(4, -4),) * 3
    assert np.abs(result.data - expected)[inner].max() < 0.02


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (3.3, 2.0, 5.0)])
def test_field_of_view_is_kept_to_half_a_voxel(spacing):
    volume = smooth_volume((40, 41, 30))
    result = resample(volume, spacing)
    for axis in range(3):
        before, after = (
            [
                (v.affine @ np.eye(4)[3] + v.affine[:, axis] * end)[axis]
                for end in (-0.5, v.data.shape[axis] - 0.5)
            ]
            for v in (volume, result)
        )
        assert np.abs(np.subtract(before, after)).max() <= spacing[axis] / 4 + 1e-9


def test_a_spacing_that_is_right_already_changes_nothing():
    volume = smooth_volume()
    result = resample(volume, tuple(edge * (1 + 1e-6) for edge in volume.spacing_mm))
    assert np.array_equal(result.data, volume.data)
    assert np.array_equal(result.affine, volume.affine)


def test_coarsening_averages_fine_structure_instead_of_folding_it():
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::2] = 1.0
    coarse = resample(Volume(stripes, np.eye(4)), (3.0, 1.0, 1.0)).data
    assert np.abs(coarse[2:-2] - 0.5).max() < 0.05


def test_labels_keep_their_values_and_type():
    mask = (np.indices((20, 20, 20)).sum(axis=0) // 15).astype(np.uint8)
    result = resample(Volume(mask, np.eye(4)), (0.6, 1.7, 2.0), order="nearest").data
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= set(np.unique(mask))


def test_planar_images_are_resampled_with_the_first_two_numbers():
    image = Volume(np.ones((10, 12)), np.diag([2.0, 2.0, 1.0, 1.0]))
    assert resample(image, (1.0, 4.0, 9.0)).data.shape == (20, 6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0)])
def test_a_spacing_that_makes_no_grid_is_refused(spacing):
    with pytest.raises(GeometryError, match="positive"):
        resample(smooth_volume(), spacing)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_prediction_goes_back_to_the_source_grid_exactly(codes):
    source = stored_as(smooth_volume(), codes)
    ras = to_ras(source)
    back = resample_like(ras.data, ras.affine, source.data.shape, source.affine, order="nearest")
    assert np.array_equal(back, source.data)


def test_a_resampled_prediction_goes_back_with_its_channels():
    source = stored_as(smooth_volume((40, 40, 30)), "LSP")
    fine = resample(to_ras(source), (1.3, 1.0, 1.6))
    channels = np.stack([fine.data, -fine.data])
    back = resample_like(channels, fine.affine, source.data.shape, source.affine)
    inner = (slice(4, -4),) * 3
    assert back.shape == (2, *source.data.shape)
    assert np.abs(back[0] - source.data)[inner].max() < 0.03
    assert np.array_equal(back[1], -back[0])


def test_an_oblique_target_is_read_at_the_right_place():
    source, target = smooth_volume((40, 40, 30)), smooth_volume((12, 12, 10), turn=0.2)
    moved = resample_like(
        source.data, source.affine, target.data.shape, target.affine, outside=-5.0
    )
    seen = moved > -5.0
    assert 500 < seen.sum() < seen.size
    # The outermost half voxel is still the field of view and repeats the edge.
    assert np.abs(moved - target.data)[seen].max() < 0.05
    assert np.median(np.abs(moved - target.data)[seen]) < 0.005


def test_what_lies_beyond_the_field_of_view_is_filled():
    data = np.ones((4, 4, 4), np.int16)
    shifted = np.eye(4)
    shifted[0, 3] = -2.0
    moved = resample_like(data, np.eye(4), (8, 4, 4), shifted, order="nearest", outside=0)
    assert moved[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert resample_like(data, np.eye(4), (8, 4, 4), shifted, order="nearest").all()


def test_corner_distance_sees_a_shift_and_another_order():
    shape, affine = (10, 20, 30), np.eye(4)
    moved = affine.copy()
    moved[1, 3] = 2.5
    assert corner_distance_mm(shape, affine, shape, moved) == pytest.approx(2.5)
    assert corner_distance_mm(shape, affine, shape, np.diag([-1.0, 1, 1, 1])) > 9


def test_padding_centres_the_volume_in_its_own_minimum():
    image = np.arange(1, 28, dtype=np.float32).reshape(1, 3, 3, 3)
    padded, before = pad_to(image, (6, 3, 2), -7.0)
    assert padded.shape == (1, 6, 3, 3)
    assert before == (2, 0, 0)
    assert np.array_equal(padded[:, 2:5], image)
    assert (padded[:, :2] == -7).all()
    assert (padded[:, 5:] == -7).all()
