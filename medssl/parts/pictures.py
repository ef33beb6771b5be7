"""Pictures that show what a method asked and what was answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medssl.types import Picture, Shape

__all__ = ["masking_picture", "middle_slice", "position_pictures"]


def middle_slice(image: Tensor) -> npt.NDArray[np.float32]:
    """Return the axial slice in the middle of ``(C, X, Y, Z)`` or ``(C, X, Y)``, first channel."""
    plane = image[0] if image.ndim == 3 else image[0, ..., image.shape[-1] // 2]
    array: npt.NDArray[np.float32] = plane.detach().float().cpu().numpy()
    return array


def masking_picture(volume: Tensor, hidden: Tensor, rebuilt: Tensor) -> list[Picture]:
    """Show input, visible part and reconstruction of the first volumes of a batch.

    Args:
        volume: ``(B, C, X, Y, Z)``.
        hidden: ``(B, 1, X, Y, Z)``, True where hidden.
        rebuilt: ``(B, C, X, Y, Z)``; shown where hidden, beside the visible input.
    """
    pictures = []
    for image, mask, answer in list(zip(volume, hidden, rebuilt, strict=True))[:3]:
        panels = (
            ("input", middle_slice(image)),
            ("visible to the encoder", middle_slice(image.masked_fill(mask, float("nan")))),
            ("rebuilt", middle_slice(image.where(~mask, answer.to(image.dtype)))),
        )
        error = (answer - image)[mask.expand_as(image)].float().square().mean().sqrt()
        pictures.append(
            Picture(
                title="Masked reconstruction",
                panels=panels,
                caption=f"Error over hidden voxels: {float(error):.3f} (root mean square).",
            )
        )
    return pictures


def position_pictures(
    bases: Tensor, crops: Tensor, overlap: Tensor, answered: Tensor, grid: Sequence[int]
) -> list[Picture]:
    """Show the base crops and random crops of the first volume, and their overlaps.

    Args:
        bases: ``(B * n, C, X, Y, Z)``, those of the first volume first.
        crops: ``(B * k, C, X, Y, Z)``.
        overlap: ``(k, n)`` true overlaps of the first volume.
        answered: ``(k, n)`` overlaps as the features tell them.
        grid: Base crops along each axis.
    """
    names = [_cell_name(number, tuple(grid)) for number in range(overlap.shape[1])]
    titles = [f"crop {number + 1}" for number in range(overlap.shape[0])]
    size = " x ".join(str(n) for n in grid)
    return [
        Picture(
            title="Base crops",
            panels=tuple(
                (name, middle_slice(base)) for name, base in zip(names, bases, strict=False)
            ),
            caption=f"One window of one volume, tiled {size} (X, Y, Z); the numbers are the cells.",
        ),
        Picture(
            title="Random crops",
            panels=tuple((t, middle_slice(crop)) for t, crop in zip(titles, crops, strict=False)),
            caption="Cut anywhere in the same window. The question: which bases do they overlap?",
        ),
        Picture(
            title="Overlap of random and base crops",
            panels=(("true", _numbers(overlap)), ("answered", _numbers(answered))),
            caption="Rows: random crops; columns: base crops; numbers: shares of the crop.",
            kind="matrix",
        ),
    ]


def _numbers(matrix: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = matrix.detach().float().cpu().numpy()
    return array


def _cell_name(number: int, grid: Shape) -> str:
    cell = np.unravel_index(number, grid)
    return "base " + ".".join(str(int(i) + 1) for i in cell)
