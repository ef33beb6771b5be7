"""Our preprocessing as transforms of MONAI, and how far the two lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor

from medssl.store.recipe import Recipe
from medssl.weights.formats import bundled
from medssl.weights.formats.source import Source
from medssl.weights.golden import golden_volume

__all__ = ["differences", "intensity_and_grid", "mean_difference"]

_ROBUST_Z = "scripts.bundled.robust_z"


def intensity_and_grid(source: Source) -> list[dict[str, Any]]:
    """Return the steps between a file that was read and the network, as MONAI configures them."""
    recipe = Recipe.from_dict(source.manifest.input.recipe)
    steps: list[dict[str, Any]] = [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None}
    ]
    if recipe.spacing_mm is not None:
        steps.append(
            {
                "_target_": "Spacingd",
                "keys": "image",
                "pixdim": list(recipe.spacing_mm),
                "mode": "bilinear",
                "padding_mode": "border",
                # outer faces stay where they are, as with medssl
                "scale_extent": True,
                "align_corners": True,
            }
        )
    if source.manifest.input.modality != "ct":
        return [*steps, _function({"_target_": _ROBUST_Z, "_mode_": "callable"})]
    window = {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": recipe.ct.low,
        "a_max": recipe.ct.high,
        "b_min": recipe.ct.floor,
        "b_max": 1.0,
        "clip": True,
    }
    return [*steps, _function("$lambda image: image.round()"), window]


def _function(function: Any) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": "image", "func": function}


def mean_difference(source: Source) -> float:
    """Return how far the two lie apart on a synthetic volume, in normalised intensity.

    The mean of the absolute difference, over the voxels that both grids have.
    """
    volume, contract = golden_volume(), source.manifest.input
    ours = Recipe.from_dict(contract.recipe).apply(volume, modality=contract.modality).data
    steps = intensity_and_grid(source)
    if contract.modality != "ct":
        steps[-1]["func"] = bundled.robust_z  # here it has another place than in the bundle
    parser = ConfigParser({"steps": {"_target_": "Compose", "transforms": steps}})
    image = MetaTensor(
        torch.from_numpy(volume.data[None].astype(np.float32)),
        affine=torch.from_numpy(volume.affine),
    )
    theirs = parser.get_parsed_content("steps")({"image": image})["image"][0].numpy()
    both = tuple(slice(0, min(a, b)) for a, b in zip(ours.shape, theirs.shape, strict=True))
    return float(np.abs(ours[both] - theirs[both]).mean())


def differences(source: Source, gap: float) -> list[str]:
    """Return in sentences what MONAI's transforms do differently.

    Args:
        source: What is handed over.
        gap: What :func:`mean_difference` found.
    """
    recipe = Recipe.from_dict(source.manifest.input.recipe)
    told = []
    if recipe.spacing_mm is not None:
        told.append(
            f"Spacingd interpolates linearly and does not smooth axes it coarsens; medssl "
            f"interpolates by {recipe.interpolation} weights and does. Where the extent is no "
            "whole number of voxels the two grids lie up to half a voxel apart."
        )
    if source.manifest.input.modality != "ct":
        told.append(
            "The body, whose mean and deviation count, is what is brighter than the mean; medssl "
            "looks for the largest connected region that is not air."
        )
    else:
        told.append("The CT window is the same, voxel by voxel.")
    told.append(
        f"On a synthetic volume prepared voxels differ by {gap:.2g} on average (the range of CT is "
        "-1 to 1)."
    )
    return told
