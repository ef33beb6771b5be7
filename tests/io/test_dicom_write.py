from __future__ import annotations

import fake_dicom as fake
import numpy as np
import pytest

from medssl.errors import GeometryError
from medssl.io.dicom_series import (
    DicomSeriesReader,
    write_dicom_series,
)

READER = DicomSeriesReader()
AFFINE = np.diag([0.9, 0.7, 2.5, 1.0])


def test_the_writer_is_exact_where_it_can_be(tmp_path):
    whole = np.random.default_rng(0).integers(-30000, 30000, (5, 4, 3)).astype(np.int32)
    write_dicom_series(tmp_path / "a", whole, AFFINE, "mr")
    assert np.array_equal(READER.read(tmp_path / "a").data, whole)
    real = np.random.default_rng(0).normal(size=(5, 4, 3))
    write_dicom_series(tmp_path / "b", real, AFFINE, "mr")
    assert np.abs(READER.read(tmp_path / "b").data - real).max() <= np.ptp(real) / 65535
    sheared = AFFINE + 0.3 * (np.arange(16).reshape(4, 4) == 1)
    with pytest.raises(GeometryError, match="right angles"):
        write_dicom_series(tmp_path / "c", whole, sheared, "mr")


def test_the_writer_makes_the_same_files_for_the_same_volume(tmp_path):
    first = fake.write_ct(tmp_path / "a")
    second = fake.write_ct(tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
