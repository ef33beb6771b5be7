"""Slices of anatomy as PNG data addresses, the way round a radiologist expects.

Arrays come in RAS+ order, ``(X, Y)`` with X to the patient's right and Y to the front. On the page
the patient's right is on the viewer's left and the front is up, so both axes are turned.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.image import imsave

from medssl.report.page import Block, Matrix, Panel, Panels
from medssl.types import Picture

__all__ = [
    "LABEL_COLOURS",
    "anatomy",
    "grey_window",
    "label_colour",
    "label_overlay",
    "picture_blocks",
    "planes",
]

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

LABEL_COLOURS: tuple[tuple[int, int, int], ...] = (
    (86, 180, 233),
    (240, 170, 70),
    (90, 190, 130),
    (214, 120, 160),
    (240, 225, 100),
    (120, 130, 220),
    (225, 100, 80),
    (150, 205, 205),
    (190, 150, 110),
    (200, 200, 200),
)
"""Told apart by readers with any colour vision as far as ten colours can be; on grey anatomy."""

UNSEEN = (52, 74, 82)
"""What is drawn where a voxel is NaN: it was not shown to the network."""


MOST_PER_ROW = 5
"""More panels than this are drawn small, as many side by side as there is room for."""


def anatomy(
    plane: Array,
    label: str,
    *,
    window: tuple[float, float],
    spacing_mm: Sequence[float] = (1.0, 1.0),
) -> Panel:
    """Return a panel of one slice.

    Args:
        plane: ``(X, Y)`` grey values, where NaN was not shown; or ``(X, Y, 3)`` colours, 0 to 255.
        label: A few words under it.
        window: Values drawn as black and as white.
        spacing_mm: Size of a pixel along X and Y; the panel keeps the true proportions.
    """
    pixels = plane.astype(np.uint8) if plane.ndim == 3 else _grey(plane, window)
    shown = np.ascontiguousarray(pixels[::-1, ::-1].transpose(1, 0, 2))
    buffer = io.BytesIO()
    imsave(buffer, shown, format="png", metadata={"Software": "medssl"})
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = (n * s for n, s in zip(plane.shape[:2], spacing_mm, strict=True))
    return Panel(source, label, aspect=width / height)


def _grey(plane: Array, window: tuple[float, float]) -> Pixels:
    low, high = window
    values = np.nan_to_num(plane.astype(np.float64), nan=low)
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0) * 255.0
    pixels = np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)
    if np.issubdtype(plane.dtype, np.floating):
        pixels[np.isnan(plane)] = UNSEEN
    return pixels


def grey_window(planes: Sequence[Array]) -> tuple[float, float]:
    """Return the values to draw as black and white in pictures that are to be compared."""
    values = np.concatenate([plane[np.isfinite(plane)].ravel() for plane in planes])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(high)


def label_overlay(
    image: Array, labels: Array, *, window: tuple[float, float] | None = None, opacity: float = 0.5
) -> Pixels:
    """Paint labels over a slice, for a panel of :func:`anatomy`.

    Args:
        image: ``(X, Y)`` grey values.
        labels: ``(X, Y)`` label values; 0 is left bare.
        window: Values drawn as black and as white; by default from the slice.
        opacity: Of the colours inside a label; its outline is opaque.

    Returns:
        ``(X, Y, 3)`` colours, 0 to 255.
    """
    pixels = _grey(image, window if window is not None else grey_window([image])).astype(np.float64)
    for value in np.unique(labels[labels > 0]):
        colour = np.array(label_colour(int(value)), dtype=np.float64)
        inside = labels == value
        strength = np.where(_outline(inside), 1.0, opacity)[inside][:, None]
        pixels[inside] = (1.0 - strength) * pixels[inside] + strength * colour
    return pixels.astype(np.uint8)


def label_colour(value: int) -> tuple[int, int, int]:
    """Return the colour of a label value above 0."""
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def _outline(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask that touch, by an edge, what is not the mask."""
    framed = np.pad(mask, 1)
    buried = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~buried


def planes(volume: Array, spacing_mm: Sequence[float], *, title: str, caption: str = "") -> Panels:
    """Show the axial, coronal and sagittal slice through the middle of a volume.

    Args:
        volume: ``(X, Y, Z)`` in RAS+ order, or ``(X, Y)``.
        spacing_mm: Distance of voxel centres along each axis.
        title: What one sees.
        caption: What to look for.
    """
    if volume.ndim == 2:
        cuts = [("", volume, (0, 1))]
    else:
        x, y, z = (n // 2 for n in volume.shape)
        cuts = [
            ("axial", volume[:, :, z], (0, 1)),
            ("coronal", volume[:, y, :], (0, 2)),
            # Seen from the patient's left: the front is on the viewer's left, as axis 0 is turned.
            ("sagittal", volume[x, :, :], (1, 2)),
        ]
    window = grey_window([volume])
    return Panels(
        title,
        tuple(
            anatomy(cut, name, window=window, spacing_mm=[spacing_mm[axis] for axis in axes])
            for name, cut, axes in cuts
        ),
        caption,
        per_row=3,
    )


def picture_blocks(
    pictures: Sequence[Picture], *, labels: Mapping[str, int] | None = None
) -> tuple[Block, ...]:
    """Turn the pictures of a method or task into blocks of a page.

    Grey panels of one picture share one window, so that input and reconstruction can be compared.
    Pictures in a row that have the same title and labels become the rows of one block.

    Args:
        pictures: What to show, in order.
        labels: Name and value of what is painted in colour, for a legend.
    """
    blocks: list[Block] = []
    number = 0
    while number < len(pictures):
        alike = [pictures[number]]
        while number + len(alike) < len(pictures) and _alike(
            alike[0], pictures[number + len(alike)]
        ):
            alike.append(pictures[number + len(alike)])
        if alike[0].kind == "matrix":
            blocks += [b for picture in alike for b in _matrices(picture, pictures[:number])]
        else:
            blocks.append(_rows(alike, labels or {}))
        number += len(alike)
    return tuple(blocks)


def _alike(first: Picture, second: Picture) -> bool:
    labels = [[label for label, _ in picture.panels] for picture in (first, second)]
    return first.title == second.title and first.kind == second.kind and labels[0] == labels[1]


def _rows(pictures: Sequence[Picture], labels: Mapping[str, int]) -> Panels:
    """Put pictures of the same sort one under the other; captions that differ go to their row."""
    first = pictures[0]
    common = all(picture.caption == first.caption for picture in pictures)
    panels = [panel for picture in pictures for panel in _panels(picture, caption=not common)]
    painted = any(array.ndim == 3 for picture in pictures for _, array in picture.panels)
    return Panels(
        first.title,
        tuple(panels),
        first.caption if common else "",
        per_row=len(first.panels) if len(first.panels) <= MOST_PER_ROW else 0,
        legend=_legend(labels) if painted else (),
    )


def _legend(labels: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"rgb{label_colour(value)}", name.replace("_", " ")) for name, value in labels.items()
    )


def _panels(picture: Picture, *, caption: bool) -> list[Panel]:
    grey = [array for _, array in picture.panels if array.ndim == 2]
    window = grey_window(grey) if grey else (0.0, 1.0)
    labels = [label for label, _ in picture.panels]
    if caption and picture.caption:
        labels[-1] = f"{labels[-1]}. {picture.caption}"
    arrays = [array for _, array in picture.panels]
    return [
        anatomy(array, label, window=window) for label, array in zip(labels, arrays, strict=True)
    ]


def _matrices(picture: Picture, before: Sequence[Picture]) -> list[Block]:
    """Return one block a matrix; the picture's caption stands over the first one.

    Rows and columns take the names of the pictures shown before, where their numbers fit.
    """
    rows, columns = picture.panels[0][1].shape
    row_names, column_names = _names(before, rows), _names(before, columns)
    return [
        Matrix(
            title=f"{picture.title}: {label}" if label else picture.title,
            rows=row_names,
            columns=column_names,
            values=values,
            caption=picture.caption if number == 0 else "",
        )
        for number, (label, values) in enumerate(picture.panels)
    ]


def _names(before: Sequence[Picture], count: int) -> tuple[str, ...]:
    """Return the labels of the last picture with so many panels, or numbers if there is none.

    A first word that all share, as in "base 1.1" and "base 1.2", is left out: it makes columns
    wide.
    """
    for picture in reversed(before):
        if picture.kind == "image" and len(picture.panels) == count:
            words = [label.partition(" ") for label, _ in picture.panels]
            if count > MOST_PER_ROW and len({first for first, _, _ in words}) == 1:
                return tuple(rest or first for first, _, rest in words)
            return tuple(label for label, _ in picture.panels)
    return tuple(str(number + 1) for number in range(count))
