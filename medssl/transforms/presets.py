"""Augmentation that the shipped recipes use, each behind one number for its strength.

None of them mirrors: left and right, and front and back, are part of what is to be learned. On the
hippocampus task mirroring front to back kept one of two labels from being found at all.
"""

from __future__ import annotations

from typing import Literal

from medssl.errors import ConfigError
from medssl.transforms.base import Transform
from medssl.transforms.compose import Compose, OneOf
from medssl.transforms.corruption import CutMix, InPaint, LocalShuffle, OutPaint
from medssl.transforms.crop import CropResize
from medssl.transforms.curves import Bezier, HistogramShift
from medssl.transforms.fourier import Gibbs
from medssl.transforms.intensity import (
    BiasField,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    LowResolution,
    Noise,
)
from medssl.transforms.views import ViewRecipe
from medssl.transforms.warp import FOLD_LIMIT, Affine, Deform, Elastic

__all__ = [
    "cut_out_corruption",
    "genesis_corruption",
    "gentle_geometry",
    "gentle_intensity",
    "multicrop_views",
    "segmentation_augmentation",
    "strong_intensity",
]

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


def strong_intensity(
    strength: float = 1.0, *, modality: Literal["ct", "mr", "other"] = "other"
) -> Compose:
    """Return what makes two views of one place look like two scans, for contrast and distillation.

    One of gamma, histogram shift and noise for most images, as in 3DINO (Xu et al. 2025), whose
    gamma range (0.5 to 2), chance (0.8) and Gibbs chance (0.2) these are; brightness, contrast,
    blur and coarse slices as in nnssl's SimCLR, more often. For MR also the coil's field and
    ringing.

    Args:
        strength: 0 is nothing, 1 the usual, 2 twice as much.
        modality: CT, whose units are absolute, gets half the changes of grey values and no k-space.

    Raises:
        ConfigError: If the strength is negative.
    """
    _check_strength(strength)
    if strength == 0.0:
        return Compose(())
    grey = strength * (0.5 if modality == "ct" else 1.0)
    kinds: tuple[Transform, ...] = (
        Gamma(exponent=(0.5, 2.0)).scaled(grey),
        HistogramShift(slope=3.0).scaled(grey),
        Noise(sigma=(0.0, 0.2)).scaled(strength),
    )
    parts: list[Transform] = [
        OneOf(kinds, p=0.8),
        Brightness(shift=0.2, p=0.5).scaled(grey),
        Contrast(factor=(0.67, 1.5), p=0.5).scaled(grey),
        Blur(sigma_voxels=(0.3, 1.5), p=0.3).scaled(strength),
        LowResolution(factor=(1.0, 2.0), p=0.2).scaled(strength),
    ]
    if modality == "mr":
        parts.insert(0, BiasField(amplitude=0.7, p=0.3).scaled(strength))
    if modality != "ct":
        parts.append(Gibbs(cut=(0.2, 0.6), p=0.2).scaled(min(strength, 1.6)))
    return Compose(tuple(parts))


def genesis_corruption(*, inner_share: float = 0.2) -> Compose:
    """Return the corruption that Models Genesis repairs; give the mask of it where it is asked for.

    Shuffled blocks for half of the images, another grey scale for nine of ten, and for nine of ten
    noise in boxes or everywhere else (Zhou et al. 2019, arXiv:1908.06912). Its mirroring, which it
    does to image and target alike, is left out: left is not right.

    Args:
        inner_share: Share of the painted images that are painted in boxes, the rest around them.
    """
    painted = OneOf((InPaint(), OutPaint()), weights=(inner_share, 1.0 - inner_share), p=0.9)
    return Compose((LocalShuffle(p=0.5), Bezier(p=0.9), painted))


def cut_out_corruption() -> Compose:
    """Return the two corruptions of SwinUNETR's pretraining, up to 30 % of the voxels each.

    Boxes up to a quarter of an edge are filled with noise, then as many with what another image of
    the batch shows (Tang et al. 2022, arXiv:2111.14791). So many boxes are that share in 3D.
    """
    count, edge = (1, 88), (0.05, 0.25)
    return Compose((InPaint(count=count, edge=edge), CutMix(count=count, edge=edge)))


def multicrop_views(
    global_size: tuple[int, ...],
    local_size: tuple[int, ...],
    *,
    local_views: int = 8,
    strength: float = 1.0,
    through_axis: int | None = None,
    modality: Literal["ct", "mr", "other"] = "other",
) -> ViewRecipe:
    """Return two large and several small views of a crop, for DINO and its kin.

    Shares and aspect are those of 3DINO (Xu et al. 2025): 48 to 100 % of the plane in large views
    and 16 to 48 % in small ones, 50 to 100 % and 20 to 50 % of the axis through it, edges within
    1.11 of each other; there from 96 and 48 cubed. Nothing is mirrored.

    Args:
        global_size: Voxels along each axis of a large view.
        local_size: Voxels along each axis of a small one.
        local_views: Number of small views.
        strength: Of the changes of intensity.
        through_axis: The axis across slices; None takes three equal axes, whose volume has the
            product of both shares, and in 2D the plane's.
        modality: See :func:`strong_intensity`.

    Raises:
        ConfigError: If the strength is negative.
    """
    look = strong_intensity(strength, modality=modality)

    def part(
        size: tuple[int, ...], plane: tuple[float, float], through: tuple[float, float]
    ) -> Compose:
        if through_axis is None and len(size) == 3:
            plane = (plane[0] * through[0], plane[1] * through[1])
        crop = CropResize(
            scale=plane, aspect=1.11, size=size, through_axis=through_axis, through_scale=through
        )
        return Compose((crop, *look.transforms))

    return ViewRecipe.multicrop(
        part(global_size, (0.48, 1.0), (0.5, 1.0)),
        part(local_size, (0.16, 0.48), (0.2, 0.5)),
        local_views=local_views,
    )


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
    elastic = Elastic(
        displacement_voxels=furthest, spacing_voxels=ELASTIC_SPACING, spacing_mm=spacing_mm, p=0.2
    )
    return Deform(affine=affine.scaled(strength), elastic=elastic)


def _check_strength(strength: float) -> None:
    if strength < 0.0:
        raise ConfigError(f"augmentation strength was {strength}; it starts at 0, which is none")
