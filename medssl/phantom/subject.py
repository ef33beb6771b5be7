"""One synthetic subject, scanned: the front door of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from medssl.errors import UsageError
from medssl.phantom import acquisition
from medssl.phantom.anatomy import draw_anatomy
from medssl.phantom.canvas import Canvas
from medssl.phantom.noise import Array, Axes, stream
from medssl.phantom.organs import ORGANS
from medssl.registry import nearest
from medssl.types import Modality, Volume

__all__ = ["FIELD_OF_VIEW_MM", "PhantomModality", "PhantomSubject", "make_subject"]

PhantomModality = Literal["ct", "t1", "t2", "xr"]
FIELD_OF_VIEW_MM: Final = (400.0, 400.0, 480.0)
"""What a scan covers unless a spacing is given: from the collar bones to the hips."""

_SHADOW: Final = {"lung_right": 0.3, "lung_left": 0.3, "ribs": 0.5, "lesion": 20.0}
"""How strongly an organ shows on a radiograph for its depth, if not 1: lungs hide nothing."""
_SHORTEST_PATH_MM: Final = 9.0
"""An organ is named on a radiograph where its weighted depth is at least this."""


@dataclass(frozen=True)
class PhantomSubject:
    """A scan of a synthetic subject with what is known about it.

    Attributes:
        image: float32, ``(X, Y, Z)`` in RAS+ order; a radiograph is ``(X, Z)``: right, up.
        labels: int16, of the same shape, values of ``ORGANS``; 0 elsewhere.
        affine: ``(4, 4)``, voxel index to RAS+ millimetres; a radiograph lies in the plane z = 0.
        modality: ``ct`` in Hounsfield units, ``t1``, ``t2`` or ``xr``.
        subject_class: A value of ``SUBJECT_CLASSES``.
        seed: The subject.
    """

    image: Array
    labels: npt.NDArray[np.int16]
    affine: npt.NDArray[np.float64]
    modality: PhantomModality
    subject_class: int
    seed: int

    @property
    def organs(self) -> tuple[str, ...]:
        """Names of the organs that the labels show, in the order of their values."""
        seen = np.bincount(self.labels.ravel(), minlength=len(ORGANS) + 1)
        return tuple(name for name, value in ORGANS.items() if seen[value])

    @property
    def volume(self) -> Volume:
        """The scan as any reader of files would return it."""
        kind: Modality = "mr" if self.modality == "t1" or self.modality == "t2" else self.modality
        return Volume(self.image, self.affine, kind)


def make_subject(
    seed: int,
    *,
    size: Sequence[int] = (96, 96, 96),
    spacing_mm: Sequence[float] | None = None,
    modality: PhantomModality = "ct",
) -> PhantomSubject:
    """Make a scan of a synthetic trunk; the same seed is the same body in every modality and grid.

    Axes are RAS+: x grows towards the patient's right, so the liver lies at high x.

    Args:
        seed: The subject, not negative.
        size: Voxels along x, y and z. For a radiograph y is the number of steps along the rays.
        spacing_mm: Distance between voxels along x, y and z; by default the grid spans
            :data:`FIELD_OF_VIEW_MM`. Where one axis is much coarser, slices are thick:
            averaged over their profile.
        modality: What scans: ``ct``, ``t1``, ``t2`` or ``xr``.

    Raises:
        UsageError: If the size, the spacing or the modality can't be scanned.

    Example:
        >>> from medssl.phantom import make_subject
        >>> subject = make_subject(7, size=(48, 48, 48), modality="t1")
        >>> subject.image.shape, "liver" in subject.organs
        ((48, 48, 48), True)
    """
    spacing = _checked_spacing(seed, size, spacing_mm, modality)
    splits = _slice_splits(spacing)
    axes = _axes(size, spacing, splits)
    edge_mm = float(np.mean(np.divide(spacing, splits)))
    canvas = draw_anatomy(seed, axes, edge_mm)
    labels = canvas.labels[tuple(slice(n // 2, None, n) for n in splits)]
    image = _scan(canvas, spacing, splits, modality)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(count - 1) / 2 * step for count, step in zip(size, spacing, strict=True)]
    if modality == "xr":
        labels = _projected(labels, spacing[1])
        affine = affine[[0, 2, 1, 3]][:, [0, 2, 1, 3]]
        affine[2] = (0, 0, 1, 0)
    return PhantomSubject(
        image=np.ascontiguousarray(image, dtype=np.float32),
        labels=np.ascontiguousarray(labels),
        affine=affine,
        modality=modality,
        subject_class=canvas.physique.subject_class,
        seed=seed,
    )


def _scan(
    canvas: Canvas,
    spacing_mm: acquisition.Spacing,
    splits: tuple[int, int, int],
    modality: PhantomModality,
) -> Array:
    """Return the anatomy as one modality sees it, noise included."""
    generator = stream(canvas.physique.seed, f"scan {modality}")
    if modality == "xr":
        hu = acquisition.plain_ct(canvas)
        return acquisition.radiograph(_thick(hu, splits), spacing_mm, generator)
    if modality == "ct":
        image = _thick(acquisition.ct(canvas, generator), splits)
        return acquisition.with_ct_noise(image, spacing_mm, generator)
    image = _thick(acquisition.mr(canvas, modality, generator), splits)
    return acquisition.with_mr_noise(image, spacing_mm, generator)


def _thick(image: Array, splits: tuple[int, int, int]) -> Array:
    """Average fine slices over the profile of a thick one, strongest in its middle."""
    for axis, count in enumerate(splits):
        if count > 1:
            profile = np.hanning(count + 2)[1:-1] ** 0.5
            stacked = np.moveaxis(image, axis, -1).reshape(
                *np.moveaxis(image, axis, -1).shape[:-1], -1, count
            )
            averaged = stacked @ (profile / profile.sum()).astype(np.float32)
            image = np.moveaxis(averaged, -1, axis)
    return image


def _projected(labels: npt.NDArray[np.int16], step_mm: float) -> npt.NDArray[np.int16]:
    """Return for each ray along y the organ that shows most on a radiograph, ``(X, Z)``."""
    found = np.zeros((labels.shape[0], labels.shape[2]), np.int16)
    strongest = np.full(found.shape, _SHORTEST_PATH_MM, np.float32)
    for name, value in ORGANS.items():
        path = (labels == value).sum(axis=1) * np.float32(step_mm * _SHADOW.get(name, 1.0))
        found[path > strongest] = value
        strongest = np.maximum(strongest, path)
    return found


def _slice_splits(spacing_mm: acquisition.Spacing) -> tuple[int, int, int]:
    """Return how many fine slices make a voxel along each axis; odd, so one is the middle."""
    finest = min(spacing_mm)
    x, y, z = (1 if step < 1.8 * finest else 3 if step < 4 * finest else 5 for step in spacing_mm)
    return x, y, z


def _axes(
    size: Sequence[int], spacing_mm: acquisition.Spacing, splits: tuple[int, int, int]
) -> Axes:
    """Return the positions of the fine voxel centres; the middle of the grid is at 0."""
    x, y, z = (
        ((np.arange(count * split) - (count * split - 1) / 2) * (step / split)).astype(np.float32)
        for count, step, split in zip(size, spacing_mm, splits, strict=True)
    )
    return x, y, z


def _checked_spacing(
    seed: int, size: Sequence[int], spacing_mm: Sequence[float] | None, modality: str
) -> acquisition.Spacing:
    """Return the spacing, having checked all that a caller chooses."""
    if seed < 0:
        raise UsageError(f"the seed of a phantom is {seed}; give a whole number from 0 up")
    if modality not in get_args(PhantomModality):
        raise UsageError(
            f'a phantom can\'t be scanned as "{modality}"; '
            f"{nearest(modality, get_args(PhantomModality))}"
        )
    if len(size) != 3 or min(size) < 8:
        raise UsageError(
            f"the size of a phantom is {tuple(size)}; give three numbers of voxels, each at least 8"
        )
    if spacing_mm is None:
        spacing_mm = tuple(np.divide(FIELD_OF_VIEW_MM, size))
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise UsageError(
            f"the spacing of a phantom is {tuple(spacing_mm)}; give three lengths above 0 in mm"
        )
    x, y, z = (float(step) for step in spacing_mm)
    return x, y, z
