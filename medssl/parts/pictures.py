"""Pictures that show what a method asked and what was answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from medssl.parts.infilling import fill_smooth, psnr
from medssl.types import Picture, Shape

__all__ = [
    "beside_each_other",
    "crop_row",
    "likeness_matrix",
    "masking_picture",
    "middle_slice",
    "position_pictures",
]


def middle_slice(image: Tensor) -> npt.NDArray[np.float32]:
    """Return the axial slice in the middle of ``(C, X, Y, Z)`` or ``(C, X, Y)``, first channel."""
    plane = image[0] if image.ndim == 3 else image[0, ..., image.shape[-1] // 2]
    array: npt.NDArray[np.float32] = plane.detach().float().cpu().numpy()
    return array


def beside_each_other(
    title: str, named: Sequence[tuple[str, Tensor]], caption: str, *, count: int = 3
) -> list[Picture]:
    """Show the middle slices of several images of the same place in one picture.

    Args:
        title: What one sees.
        named: Labels and ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)`` images, in the order of panels.
        caption: What to look for.
        count: Pictures at most, one for each of the first places of the batch.
    """
    shown = min(count, len(named[0][1]))
    return [
        Picture(
            title=title,
            panels=tuple((label, middle_slice(images[place])) for label, images in named),
            caption=caption,
        )
        for place in range(shown)
    ]


def masking_picture(volume: Tensor, hidden: Tensor, rebuilt: Tensor) -> list[Picture]:
    """Show input, visible part and reconstruction of the first volumes of a batch.

    Beside them stands what interpolation makes of the visible part, which learning must surpass.

    Args:
        volume: ``(B, C, X, Y, Z)``.
        hidden: ``(B, 1, X, Y, Z)``, True where hidden.
        rebuilt: ``(B, C, X, Y, Z)``; shown where hidden, beside the visible input.
    """
    volume, hidden, rebuilt = volume[:3], hidden[:3], rebuilt[:3].detach().to(volume.dtype)
    filled = fill_smooth(volume, hidden)
    ratios = zip(psnr(rebuilt, volume, hidden), psnr(filled, volume, hidden), strict=True)
    pictures = []
    for image, mask, answer, guess, (ours, theirs) in zip(
        volume, hidden, rebuilt, filled, ratios, strict=True
    ):
        panels = (
            ("input", middle_slice(image)),
            ("visible to the encoder", middle_slice(image.masked_fill(mask, float("nan")))),
            ("rebuilt", middle_slice(image.where(~mask, answer))),
            ("interpolated", middle_slice(guess)),
        )
        pictures.append(
            Picture(
                title="Masked reconstruction",
                panels=panels,
                caption=(
                    f"Signal to noise over hidden voxels: rebuilt {float(ours):.1f} dB, "
                    f"interpolated from what is visible {float(theirs):.1f} dB."
                ),
            )
        )
    return pictures


def position_pictures(
    bases: Tensor,
    crops: Tensor,
    overlap: Tensor,
    answered: Tensor,
    grid: Sequence[int],
    accuracy: float,
) -> list[Picture]:
    """Show the base crops and random crops of the first volume, and their overlaps.

    Args:
        bases: ``(B * n, C, X, Y, Z)``, those of the first volume first.
        crops: ``(B * k, C, X, Y, Z)``.
        overlap: ``(B, k, n)`` true overlaps.
        answered: ``(k, n)`` overlaps as the features tell them.
        grid: Base crops along each axis.
        accuracy: Share of the crops of all volumes that are most like the base they overlap most.
    """
    volumes, asked, count = overlap.shape
    names = [_cell_name(number, tuple(grid)) for number in range(count)]
    titles = [f"crop {number + 1}" for number in range(asked)]
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
            panels=(("true", _numbers(overlap[0])), ("answered", _numbers(answered))),
            caption="Rows: random crops; columns: base crops; numbers: shares of the crop. "
            f"Of {volumes * asked} crops of {volumes} volumes, {accuracy:.0%} are most like the "
            f"base they overlap most; by chance it would be {1 / count:.0%}.",
            kind="matrix",
        ),
    ]


def crop_row(title: str, name: str, crops: Tensor, caption: str) -> Picture:
    """Show crops ``(n, C, X, Y, Z)`` side by side, named and numbered."""
    panels = tuple((f"{name} {n}", middle_slice(crop)) for n, crop in enumerate(crops, start=1))
    return Picture(title=title, panels=panels, caption=caption)


def likeness_matrix(title: str, likeness: Tensor, caption: str) -> Picture:
    """Show how alike features of two sets are, ``(n, m)``."""
    panels = (("answered", _numbers(likeness)),)
    return Picture(title=title, panels=panels, caption=caption, kind="matrix")


def _numbers(matrix: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = matrix.detach().float().cpu().numpy()
    return array


def _cell_name(number: int, grid: Shape) -> str:
    cell = np.unravel_index(number, grid)
    return "base " + ".".join(str(int(i) + 1) for i in cell)
