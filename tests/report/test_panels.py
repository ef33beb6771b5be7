"""Anatomy stands the way a radiologist expects, in its true proportions."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from medssl.report.page import Matrix, Panel, Panels
from medssl.report.panels import anatomy, label_colour, label_overlay, picture_blocks, planes
from medssl.types import Picture


def pixels(panel: Panel) -> np.ndarray:
    """Return ``(rows, columns, 3)`` of what is shown, 0 to 255."""
    data = base64.b64decode(panel.source.partition(",")[2])
    return np.round(imread(io.BytesIO(data), format="png")[..., :3] * 255).astype(int)


def test_right_front_is_shown_at_the_upper_left() -> None:
    plane = np.zeros((6, 4))
    plane[5, 3] = 1.0  # the patient's right, in front
    shown = pixels(anatomy(plane, "", window=(0, 1)))
    assert shown.shape[:2] == (4, 6)
    assert shown[0, 0, 0] == 255
    assert shown.sum() == 3 * 255


def test_proportions_are_those_of_the_body() -> None:
    panel = anatomy(np.zeros((10, 20)), "", window=(0, 1), spacing_mm=(2.0, 0.5))
    assert panel.aspect == pytest.approx(10 * 2.0 / (20 * 0.5))


def test_the_three_planes_stand_upright() -> None:
    volume = np.zeros((6, 8, 10), np.float32)
    volume[5, 4, 9] = volume[3, 7, 9] = 1.0  # right and up in the middle coronal; front and up
    axial, coronal, sagittal = planes(volume, (1, 1, 3), title="t").panels
    assert pixels(coronal)[0, 0, 0] == 255
    assert pixels(sagittal)[0, 0, 0] == 255
    assert axial.aspect == pytest.approx(6 / 8)
    assert coronal.aspect == pytest.approx(6 / 30)


def test_what_was_hidden_is_neither_black_nor_white() -> None:
    plane = np.array([[np.nan, 0.0], [1.0, 0.5]], np.float32)
    shown = pixels(anatomy(plane, "", window=(0, 1)))
    assert len(set(shown[1, 1])) > 1
    assert shown[1, 0].tolist() == [255, 255, 255]


def test_labels_are_painted_in_their_colour_and_nothing_else_is() -> None:
    labels = np.zeros((9, 9), int)
    labels[2:7, 2:7] = 3
    painted = label_overlay(np.zeros((9, 9)), labels, window=(0, 1))
    assert tuple(painted[2, 2]) == label_colour(3)
    assert 0 < painted[4, 4].max() < max(label_colour(3))
    assert painted[labels == 0].max() == 0


def picture(value: float, caption: str) -> Picture:
    array = np.full((4, 4), value, np.float32)
    return Picture("Masked", (("input", array), ("rebuilt", array + 1)), caption)


def test_pictures_of_one_sort_become_rows_of_one_block() -> None:
    (block,) = picture_blocks([picture(0, "error 1"), picture(1, "error 2")])
    assert isinstance(block, Panels)
    assert block.per_row == 2
    assert [p.label for p in block.panels] == [
        "input",
        "rebuilt. error 1",
        "input",
        "rebuilt. error 2",
    ]
    (same,) = picture_blocks([picture(0, "c"), picture(1, "c")])
    assert isinstance(same, Panels)
    assert same.caption == "c"
    assert [p.label for p in same.panels] == ["input", "rebuilt"] * 2


def test_a_matrix_takes_its_names_from_the_pictures_before_it() -> None:
    bases = tuple((f"base {n}.1", np.zeros((3, 3))) for n in range(6))
    crops = tuple((f"crop {n}", np.zeros((3, 3))) for n in range(2))
    numbers = np.arange(12.0).reshape(2, 6) / 12
    blocks = picture_blocks(
        [
            Picture("Bases", bases),
            Picture("Crops", crops),
            Picture("Overlap", (("true", numbers), ("answered", numbers)), "read me", "matrix"),
        ]
    )
    true, answered = (block for block in blocks if isinstance(block, Matrix))
    assert true.rows == ("crop 0", "crop 1")
    assert true.columns == tuple(f"{n}.1" for n in range(6))
    assert (true.caption, answered.caption) == ("read me", "")
    assert answered.title == "Overlap: answered"


def test_colours_get_a_legend_and_grey_pictures_do_not() -> None:
    painted = Picture("p", (("true", np.zeros((3, 3, 3), np.uint8)),))
    (block,) = picture_blocks([painted], labels={"left_lung": 2})
    assert isinstance(block, Panels)
    assert block.legend == ((f"rgb{label_colour(2)}", "left lung"),)
    (grey,) = picture_blocks([picture(0, "")], labels={"left_lung": 2})
    assert isinstance(grey, Panels)
    assert grey.legend == ()
