"""What a cohort proposes, and whether the disk can hold it."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from medssl.cohort.cohort import SCHEMA, Cohort
from medssl.errors import InputError, OutputError
from medssl.store.fingerprint import check_room, fingerprint_of
from medssl.store.prepare import prepare_cohort
from medssl.store.recipe import Recipe


def cohort_of(tmp_path, *volumes) -> Cohort:
    """A table of volumes, each shape and spacing; nothing lies behind it."""
    rows = []
    for number, (shape, spacing) in enumerate(volumes):
        affine = np.diag([*(*spacing, 1.0)[:3], 1.0])
        rows.append(
            {
                "id": f"v{number}",
                "shape": list(shape),
                "spacing_mm": list(spacing),
                "affine": affine.ravel().tolist(),
                "modality": "ct",
            }
        )
    return Cohort(tmp_path, pa.Table.from_pylist(rows, schema=SCHEMA), [tmp_path])


def test_the_number_of_voxels_is_what_preparing_gives(cohort, tmp_path):
    fingerprint = fingerprint_of(cohort)
    for spacing in (None, (2.0, 2.0, 2.0), (0.7, 3.3, 1.1)):
        store = prepare_cohort(cohort, tmp_path / str(spacing), Recipe(spacing_mm=spacing))
        shapes = store.table["shape"].to_pylist()
        assert fingerprint.voxels(spacing) == sum(np.prod(shape) for shape in shapes)


def test_axes_are_compared_in_ras_and_copies_do_not_count(tmp_path):
    cohort = cohort_of(tmp_path, ((9, 8, 7), (1.0, 2.0, 3.0)), ((9, 8, 7), (5.0, 5.0, 5.0)))
    rows = cohort.table.to_pylist()
    rows[0]["affine"] = [0, 0, 3, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    rows[1]["duplicate_of"] = "v0"
    turned = Cohort(tmp_path, pa.Table.from_pylist(rows, schema=SCHEMA), [tmp_path])
    fingerprint = fingerprint_of(turned)
    assert fingerprint.median_spacing_mm == (3.0, 1.0, 2.0)
    assert fingerprint.shapes.tolist() == [[7, 9, 8]]
    assert len(fingerprint_of(turned, ["v0"])) == 0


def test_thick_slices_are_kept_and_the_reason_is_said(tmp_path):
    scans = [((400, 400, 40), (0.8, 0.8, 5.0))] * 3
    fingerprint = fingerprint_of(cohort_of(tmp_path, *scans))
    thick, crop = fingerprint.reasons(fingerprint.median_spacing_mm)
    assert "6.2 times as thick" in thick
    assert "400 x 400 x 40 voxels for 320 x 320 x 200 mm" in crop
    assert "176 x 176 x 32 covers 141 x 141 x 160 mm" in crop
    (cubes,) = fingerprint.reasons((1.5, 1.5, 1.5))
    assert "213 x 213 x 133 voxels" in cubes
    own, *_ = fingerprint.reasons(None)
    assert "0.8 x 0.8 x 5 to 0.8 x 0.8 x 5 mm" in own


def test_a_wide_range_of_spacings_is_warned_of(tmp_path):
    scans = [((100, 100, 100), (edge,) * 3) for edge in (0.5, 0.6, 3.0, 4.0)]
    fingerprint = fingerprint_of(cohort_of(tmp_path, *scans))
    assert any("several kinds" in said for said in fingerprint.reasons((1.8, 1.8, 1.8)))


def test_planar_images_keep_their_pixels(tmp_path):
    fingerprint = fingerprint_of(cohort_of(tmp_path, ((300, 200), (0.2, 0.2))))
    assert fingerprint.reasons(None) == ["planar images keep their own pixels"]
    assert fingerprint.voxels(None) == 60_000
    with pytest.raises(InputError, match="native"):
        _ = fingerprint.median_spacing_mm


def test_a_disk_that_is_too_small_is_told_of_before_anything_is_written(tmp_path):
    assert "on disk" in check_room(1e6, tmp_path / "not" / "there")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OutputError, match="coarser --spacing"):
        check_room(2.0 * free, tmp_path)
