from __future__ import annotations

import itertools

import numpy as np
import pytest
from faults import phantom

from medssl.io.dicom_series import DicomSeriesReader, write_dicom_series

AXES = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
SHAPE = (9, 8, 7)
SPACING = np.array([1.5, 1.75, 2.0])
POINTS = np.array(list(itertools.product((-3.5, 0.0, 2.5), repeat=3)))


@pytest.mark.parametrize(("order", "signs"), AXES)
def test_a_series_in_any_of_48_orientations_is_read_in_place(tmp_path, order, signs):
    columns = (np.eye(3)[:, order] * signs) * SPACING
    affine = phantom.centred(columns, SHAPE)
    write_dicom_series(tmp_path, phantom.paint(SHAPE, affine), affine, "ct")
    volume = DicomSeriesReader().read(tmp_path)
    assert volume.fixes == ()
    assert sorted(volume.data.shape) == sorted(SHAPE)
    phantom.check(volume, points_mm=POINTS)


def test_an_oblique_series_is_read_in_place(tmp_path):
    turned, _ = np.linalg.qr(np.array([[0.9, 0.3, -0.2], [-0.2, 0.8, 0.4], [0.3, -0.3, 0.9]]))
    affine = phantom.centred(turned * SPACING, (12, 11, 10))
    write_dicom_series(tmp_path, phantom.paint((12, 11, 10), affine), affine, "mr")
    phantom.check(DicomSeriesReader().read(tmp_path), points_mm=POINTS)
