"""What is done to every volume before a network sees it, from the store to prediction.

The same :meth:`Recipe.apply` fills the store, prepares what is fine-tuned on and what is predicted,
and is what ``load_encoder`` returns beside the encoder. It goes through the integers of the store,
so that a volume gives the same numbers whether it was stored first or not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medssl.cohort.modality import modality_from_values
from medssl.errors import ConfigError, InputError
from medssl.io.geometry import resample, to_ras
from medssl.sampling.body import cell_of, occupancy
from medssl.store.coding import Coding, to_int16
from medssl.types import Modality, Shape, Volume

__all__ = ["Prepared", "Recipe", "RobustZ", "Window", "modality_of"]

_NUMBERS = 2
"""Raised whenever the same recipe would give other numbers, so that older stores are refused."""

_STEPS = 1024
"""Stored steps in one standard deviation: finer than the noise of any scanner, exact in binary."""

_FARTHEST = 30 * _STEPS
"""Largest z-score that is stored, in such steps; sixteen bits hold it."""

_SAMPLE = 2**20
"""At most as many voxels decide the statistics of a volume."""

_FLAT = 1e-3
"""A deviation below this share of the range is none."""


@dataclass(frozen=True)
class Window:
    """Hounsfield units from ``low`` to ``high`` become -1 to 1; what lies beyond is cut off.

    Attributes:
        low: Becomes ``floor``.
        high: Becomes 1.
        floor: -1; 0 for weights whose authors trained them so.
    """

    low: int = -1000
    high: int = 1000
    floor: float = -1.0

    def __post_init__(self) -> None:
        if not -32768 <= self.low < self.high <= 32767:
            raise ConfigError(
                f"a CT window from {self.low} to {self.high} HU is empty or too wide; "
                "give the lower bound first, say -1000 1000"
            )
        if self.floor not in (-1.0, 0.0):
            raise ConfigError(f"a CT window that begins at {self.floor} was asked for; -1 or 0")

    def coding(self) -> Coding:
        """Return how stored Hounsfield units become intensities."""
        return Coding(
            low=self.low,
            high=self.high,
            centre=self.low if self.floor == 0 else (self.low + self.high) / 2,
            scale=(1 - self.floor) / (self.high - self.low),
        )


@dataclass(frozen=True)
class RobustZ:
    """Intensities without a unit: outliers are cut off, then the body has mean 0 and deviation 1.

    Attributes:
        low_percentile: Values below this percentile of the body are raised to it.
        high_percentile: Values above this percentile of the body are lowered to it.
    """

    low_percentile: float = 0.5
    high_percentile: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ConfigError(
                f"percentiles {self.low_percentile} and {self.high_percentile} are out of order; "
                "give two between 0 and 100, the lower first"
            )

    def encode(
        self, data: npt.NDArray[Any], occupied: npt.NDArray[np.bool_], cell: Shape
    ) -> tuple[npt.NDArray[np.int16], Coding]:
        """Return stored integers, and how they become intensities.

        Outliers are stored as they are, as far as sixteen bits go, and cut off when they are read.

        Args:
            data: Intensities in any unit.
            occupied: Which cells of a coarse grid are body.
            cell: Edge of such a cell in voxels.
        """
        everywhere, is_body = _sample_of(data, occupied, cell)
        inside = everywhere[is_body] if is_body.any() else everywhere
        low, high = np.percentile(inside, (self.low_percentile, self.high_percentile))
        # Air keeps its distance from the darkest tissue.
        low = min(low, np.percentile(everywhere, self.low_percentile))
        values = np.clip(inside, low, high)
        if values.std() <= _FLAT * (high - low):
            # A body of one value, as in a drawing: what contrast there is, it has with the air.
            values = np.clip(everywhere, low, high)
        mean, deviation = float(values.mean()), float(values.std())
        # A constant image has no contrast to show; it becomes all zeros instead of NaN.
        gain = _STEPS / deviation if deviation > 1e-6 * max(1e-6, abs(mean)) else 0.0
        bounds = np.clip([(low - mean) * gain, (high - mean) * gain], -_FARTHEST, _FARTHEST)
        first, last = (int(bound) for bound in np.rint(bounds))
        return _scaled(data, mean, gain), Coding(first, last, centre=0.0, scale=1 / _STEPS)


def _sample_of(
    data: npt.NDArray[Any], occupied: npt.NDArray[np.bool_], cell: Shape
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return at most a million values of an even grid, and which of them are of the body."""
    steps = [1] * data.ndim
    counts = list(data.shape)
    while math.prod(counts) > _SAMPLE:
        axis = counts.index(max(counts))
        steps[axis] += 1
        counts[axis] = -(-data.shape[axis] // steps[axis])
    seen = data[tuple(slice(None, None, step) for step in steps)]
    places = (np.arange(count) * step for count, step in zip(counts, steps, strict=True))
    cells = np.ix_(*(place // edge for place, edge in zip(places, cell, strict=True)))
    return seen.reshape(-1).astype(np.float64), occupied[cells].reshape(-1)


def _scaled(data: npt.NDArray[Any], mean: float, gain: float) -> npt.NDArray[np.int16]:
    """Return stored integers, plane by plane, so that memory stays small."""
    stored = np.empty(data.shape, np.int16)
    for plane, target in zip(data, stored, strict=True):
        values = plane.astype(np.float32)
        values -= np.float32(mean)
        values *= np.float32(gain)
        target[...] = np.rint(np.clip(values, -_FARTHEST, _FARTHEST, out=values), out=values)
    return stored


@dataclass(frozen=True)
class Prepared:
    """A volume as a network sees it.

    Attributes:
        stored: ``(X, Y, Z)`` or ``(X, Y)`` in RAS+, as the store keeps it: Hounsfield units for CT.
        coding: How stored integers become intensities.
        affine: ``(4, 4)`` of the new grid.
        modality: What the volume was taken for.
        occupancy: Which cells of a coarse grid are body.
        cell: Edge of such a cell in voxels.
    """

    stored: npt.NDArray[np.int16]
    coding: Coding
    affine: npt.NDArray[np.float64]
    modality: Modality
    occupancy: npt.NDArray[np.bool_]
    cell: Shape

    @property
    def data(self) -> npt.NDArray[np.float32]:
        """The normalised intensities, of the shape of ``stored``; computed anew at each access."""
        return self.coding.decode(self.stored)

    @property
    def minimum(self) -> float:
        """The smallest intensity: what the volume is padded with where a crop leaves it."""
        return self.coding.decode_one(int(self.stored.min()))

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Distance between voxel centres along each axis, in millimetres."""
        return Volume(self.stored, self.affine).spacing_mm


@dataclass(frozen=True)
class Recipe:
    """Orientation, spacing and intensity. Equal recipes give equal numbers.

    Attributes:
        spacing_mm: Voxel size of the new grid; none keeps each volume's own.
        ct: Intensity rule of CT.
        others: Intensity rule of every other modality.
        interpolation: How intensities are read between voxels; labels always take the nearest.
        orientation: Direction in which the axes run.

    Example:
        >>> recipe = Recipe(spacing_mm=(1.5, 1.5, 1.5))
        >>> recipe == Recipe.from_dict(recipe.to_dict())
        True
    """

    spacing_mm: tuple[float, ...] | None = None
    ct: Window = field(default_factory=Window)
    others: RobustZ = field(default_factory=RobustZ)
    interpolation: Literal["linear", "cubic"] = "cubic"
    orientation: Literal["RAS"] = "RAS"

    def __post_init__(self) -> None:
        spacing = self.spacing_mm
        if spacing is not None and (len(spacing) not in (2, 3) or not min(spacing) > 0):
            raise ConfigError(
                f"a spacing of {spacing} mm makes no grid; expected two or three positive numbers"
            )

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever the numbers would."""
        content = json.dumps({**self.to_dict(), "numbers": _NUMBERS}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return primitives, ready for JSON or YAML."""
        values = dataclasses.asdict(self)
        values["spacing_mm"] = None if self.spacing_mm is None else list(self.spacing_mm)
        if self.ct.floor == Window.floor:
            del values["ct"]["floor"]  # stores from before there was one keep their hash
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe that :meth:`to_dict` described.

        Raises:
            ConfigError: If a key is unknown or a value makes no sense.
        """
        known = dict(values)
        try:
            spacing = known.pop("spacing_mm")
            return cls(
                spacing_mm=None if spacing is None else tuple(float(edge) for edge in spacing),
                ct=Window(**known.pop("ct")),
                others=RobustZ(**known.pop("others")),
                **known,
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"a recipe of the keys {', '.join(sorted(values))} is not this version's: {error}"
            ) from error

    def apply(self, volume: Volume, *, modality: Modality | None = None) -> Prepared:
        """Return a volume as a network sees it.

        Args:
            volume: Any orientation, spacing and unit, as read from a file.
            modality: What to take it for; none believes the volume, see :func:`modality_of`.

        Raises:
            InputError: If the volume holds NaN or infinite values.
        """
        if np.issubdtype(volume.data.dtype, np.floating) and not np.isfinite(volume.data).all():
            raise InputError("the volume holds NaN or infinite values; index repairs such files")
        kind = modality_of(volume, modality)
        volume = to_ras(volume)
        if self.spacing_mm is not None:
            dtype = np.int16 if kind == "ct" else np.float32
            volume = resample(volume, self.spacing_mm, order=self.interpolation, dtype=dtype)
        cell = cell_of(volume.data.shape, volume.spacing_mm)
        cells = occupancy(volume.data, kind, cell)
        if kind == "ct":
            stored, coding = to_int16(volume.data), self.ct.coding()
        else:
            stored, coding = self.others.encode(volume.data, cells, cell)
        stored = np.ascontiguousarray(stored)
        return Prepared(stored, coding, volume.affine, kind, cells, cell)

    def apply_label(self, label: Volume) -> npt.NDArray[np.int16]:
        """Return a mask on the grid that :meth:`apply` gives the image it belongs to."""
        label = to_ras(label)
        if self.spacing_mm is not None:
            label = resample(label, self.spacing_mm, order="nearest")
        return np.ascontiguousarray(to_int16(label.data))


def modality_of(volume: Volume, modality: Modality | None = None) -> Modality:
    """Return what a volume is to be taken for.

    Args:
        volume: As read from a file. NIfTI does not say what made an image; then its values may.
        modality: What the caller knows; none or ``unknown`` asks the volume.
    """
    for said in (modality, volume.modality):
        if said is not None and said != "unknown":
            return said
    return modality_from_values(volume.data)
