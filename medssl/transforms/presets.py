"""Augmentation that the shipped recipes use, each behind one number for its strength.

None of them mirrors: left and right, and front and back, are part of what is to be learned. On the
hippocampus task mirroring front to back kept one of two labels from being found at all.
"""

from __future__ import annotations

from typing import Literal

from medssl.errors import ConfigError
from medssl.transforms.base import Transform
from medssl.transforms.compose import Compose
from medssl.transforms.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    Noise,
)
from medssl.transforms.warp import FOLD_LIMIT, Affine, Deform, Elastic

__all__ = ["gentle_geometry", "gentle_intensity", "segmentation_augmentation"]

ELASTIC_SPACING = 24.0


def segmentation_augmentation(
    strength: float = 1.0,
    *,
    modality: Literal["ct", "mr", "other"] = "mr",
    spacing_mm: tuple[float, ...] | None = None,
) -> Compose:
    """Return what is done to labelled crops when labels are few.

    Pose and shape (one resampling), grey scale, noise, sharpness and, for MR, the coil's field.
    With little of it a network trained on two labelled volumes loses a tenth of Dice.

    Args:
        strength: 0 is nothing, 1 the usual, 2 twice as much.
        modality: MR gets a bias field; CT, whose units are absolute, gets milder grey-scale
            changes.
        spacing_mm: Distance of voxels along each axis, if they differ.

    Raises:
        ConfigError: If the strength is negative.
    """
    _check_strength(strength)
    if strength == 0.0:
        return Compose(())
    grey = 0.5 if modality == "ct" else 1.0
    parts: list[Transform] = [
        _pose_and_shape(strength, spacing_mm),
        Gamma(exponent=(0.67, 1.5), p=0.5).scaled(strength * grey),
        Brightness(shift=0.25, p=0.8).scaled(strength * grey),
        Contrast(factor=(0.75, 1.33), p=0.8).scaled(strength * grey),
        Blur(sigma_voxels=(0.3, 1.0), p=0.15).scaled(strength),
        LowResolution(factor=(1.0, 2.0), p=0.15).scaled(strength),
        Noise(sigma=(0.0, 0.15), p=0.8).scaled(strength),
    ]
    if modality == "mr":
        parts.insert(1, BiasField(amplitude=0.7, p=0.25).scaled(strength))
    return Compose(tuple(parts))


def gentle_geometry(strength: float = 1.0) -> Compose:
    """Return what is done to volumes that are rebuilt: turned and scaled a little, never mirrored.

    Intensities stay, for they are what is to be predicted.

    Args:
        strength: 0 is nothing, 1 the usual, 2 twice as much.

    Raises:
        ConfigError: If the strength is negative.
    """
    _check_strength(strength)
    if strength == 0.0:
        return Compose(())
    return Compose((Affine(rotation_deg=15.0, scale=(0.8, 1.25), p=0.3).scaled(strength),))


def gentle_intensity(strength: float = 1.0) -> Compose:
    """Return what tells two views of one place apart without moving anything.

    The chances are those of nnssl's contrastive recipes; nothing is mirrored or turned, because
    where a crop lies is what is asked.

    Args:
        strength: 0 is nothing, 1 the usual, 2 twice as much.

    Raises:
        ConfigError: If the strength is negative.
    """
    _check_strength(strength)
    if strength == 0.0:
        return Compose(())
    parts: tuple[Transform, ...] = (
        Gamma(exponent=(0.7, 1.5), p=0.4),
        Brightness(shift=0.1, p=0.3),
        Contrast(factor=(0.75, 1.33), p=0.15),
        Blur(sigma_voxels=(0.3, 1.0), p=0.2),
        LowResolution(factor=(1.0, 2.0), p=0.1),
        Noise(sigma=(0.0, 0.1), p=0.1),
    )
    return Compose(tuple(part.scaled(strength) for part in parts))


def _pose_and_shape(strength: float, spacing_mm: tuple[float, ...] | None) -> Deform:
    affine = Affine(
        rotation_deg=15.0,
        scale=(0.8, 1.25),
        per_axis_scale=True,
        translate=0.05,
        spacing_mm=spacing_mm,
        p=1.0,
    )
    furthest = min(6.0 * strength, FOLD_LIMIT * ELASTIC_SPACING)
    elastic = Elastic(displacement_voxels=furthest, spacing_voxels=ELASTIC_SPACING, p=0.2)
    return Deform(affine=affine.scaled(strength), elastic=elastic)


def _check_strength(strength: float) -> None:
    if strength < 0.0:
        raise ConfigError(f"augmentation strength was {strength}; it starts at 0, which is none")
