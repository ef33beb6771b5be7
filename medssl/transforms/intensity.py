"""What scanners, protocols and reconstructions do to intensities.

Images are CT in [-1, 1] or MR in standard deviations, so that one unit is half a window or one
deviation, and a strength means about the same for both. Channels of an image vary apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform, per_voxel
from medssl.transforms.draws import log_uniform, noise_like, seeds, uniform
from medssl.transforms.separable import along_axes, coarse_matrix, gaussian_matrix, smooth_field

__all__ = [
    "BiasField",
    "Blur",
    "Brightness",
    "Contrast",
    "Gamma",
    "LowResolution",
    "Noise",
    "RicianNoise",
    "own_range",
]


@dataclass(frozen=True, kw_only=True)
class Gamma(Transform):
    """Bend the grey scale between an image's own darkest and brightest voxel.

    Attributes:
        exponent: Lowest and highest exponent; below 1 brightens.
        invert_share: Share of the images whose negative is bent, so that the bright end changes.
    """

    exponent: tuple[float, float] = (0.7, 1.5)
    invert_share: float = 0.25

    neutral: ClassVar[Mapping[str, float]] = {"exponent": 1.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        size = (shape[0], shape[1])
        return {
            "exponent": log_uniform(size, *self.exponent, generator),
            "inverted": uniform(size, 0.0, 1.0, generator) < self.invert_share,
        }

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        lowest, width = own_range(images)
        inverted = per_voxel(params["inverted"], images)
        unit = ((images - lowest) / width).clamp(min=0.0, max=1.0)
        bent = torch.where(inverted, 1.0 - unit, unit).pow(per_voxel(params["exponent"], images))
        return torch.where(inverted, 1.0 - bent, bent) * width + lowest


@dataclass(frozen=True, kw_only=True)
class Brightness(Transform):
    """Add one value to all voxels.

    Attributes:
        shift: Largest value, in units of the image.
    """

    shift: float = 0.1

    neutral: ClassVar[Mapping[str, float]] = {"shift": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"shift": uniform((shape[0], shape[1]), -self.shift, self.shift, generator)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        return images + per_voxel(params["shift"], images)


@dataclass(frozen=True, kw_only=True)
class Contrast(Transform):
    """Stretch or squeeze intensities about the mean, within the image's own range.

    Attributes:
        factor: Lowest and highest factor.
    """

    factor: tuple[float, float] = (0.75, 1.33)

    neutral: ClassVar[Mapping[str, float]] = {"factor": 1.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"factor": log_uniform((shape[0], shape[1]), *self.factor, generator)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        flat = images.flatten(2)
        mean = per_voxel(flat.mean(dim=2), images)
        stretched = (images - mean) * per_voxel(params["factor"], images) + mean
        lowest, highest = per_voxel(flat.amin(dim=2), images), per_voxel(flat.amax(dim=2), images)
        return torch.minimum(torch.maximum(stretched, lowest), highest)


@dataclass(frozen=True, kw_only=True)
class Noise(Transform):
    """Add Gaussian noise.

    What is drawn is a width and a seed an image, not the noise: parameters stay small enough to be
    kept, and the same noise comes back on the same kind of device.

    Attributes:
        sigma: Lowest and highest standard deviation, in units of the image.
    """

    sigma: tuple[float, float] = (0.0, 0.1)

    neutral: ClassVar[Mapping[str, float]] = {"sigma": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {
            "sigma": uniform(shape[0], *self.sigma, generator),
            "seed": seeds(shape[0], generator),
        }

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        noise = noise_like(images, params["seed"], "normal")
        return noise.mul_(per_voxel(params["sigma"], images)).add_(images)


@dataclass(frozen=True, kw_only=True)
class RicianNoise(Noise):
    """Take the magnitude of a signal with noise in both its channels, as MR scanners do.

    Where there is signal it is like Gaussian noise; air, which Gaussian noise leaves dark on
    average, becomes brighter. Signal is measured from the darkest voxel of each channel.

    Attributes:
        sigma: Lowest and highest standard deviation of each channel, in units of the image.
    """

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        sigma = per_voxel(params["sigma"], images)
        lowest = per_voxel(images.flatten(2).amin(dim=2), images)
        real = noise_like(images, params["seed"], "normal").mul_(sigma).add_(images - lowest)
        other = noise_like(images, params["seed"] ^ 1, "normal").mul_(sigma)
        return torch.hypot(real, other).add_(lowest)


@dataclass(frozen=True, kw_only=True)
class Blur(Transform):
    """Smooth with a Gaussian, each axis with a width of its own.

    Attributes:
        sigma_voxels: Lowest and highest standard deviation, in voxels.
    """

    sigma_voxels: tuple[float, float] = (0.0, 1.0)

    neutral: ClassVar[Mapping[str, float]] = {"sigma_voxels": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"sigma": uniform((shape[0], len(shape) - 2), *self.sigma_voxels, generator)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        sigma = params["sigma"].to(images.device, non_blocking=True)
        matrices = [
            gaussian_matrix(sigma[:, axis], size) for axis, size in enumerate(images.shape[2:])
        ]
        return along_axes(images, matrices)


@dataclass(frozen=True, kw_only=True)
class LowResolution(Transform):
    """Show the image as a coarser scan would, interpolated back; each axis by itself.

    Attributes:
        factor: Lowest and highest factor by which voxels are larger, at least 1.
    """

    factor: tuple[float, float] = (1.0, 2.0)

    neutral: ClassVar[Mapping[str, float]] = {"factor": 1.0}

    def __post_init__(self) -> None:
        """Check the factor.

        Raises:
            ConfigError: If it would make voxels smaller.
        """
        super().__post_init__()
        if self.factor[0] < 1.0:
            raise ConfigError(
                f"LowResolution: factor was {self.factor}; voxels can only become larger, so "
                "factors start at 1"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {"factor": log_uniform((shape[0], len(shape) - 2), *self.factor, generator)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        factor = params["factor"].to(images.device, non_blocking=True)
        matrices = [
            coarse_matrix(factor[:, axis], size) for axis, size in enumerate(images.shape[2:])
        ]
        return along_axes(images, matrices)


@dataclass(frozen=True, kw_only=True)
class BiasField(Transform):
    """Multiply by a slowly varying field, as the coil of an MR scanner does.

    Intensities are measured from the image's darkest voxel, which a field leaves alone. Typical
    values of the field are a fifth of the largest.

    Attributes:
        amplitude: Largest logarithm of the field; 0.7 halves or doubles.
        control_points: Points an axis that the field is drawn at, at least 4; few are smooth.
    """

    amplitude: float = 0.7
    control_points: int = 5

    neutral: ClassVar[Mapping[str, float]] = {"amplitude": 0.0}

    def __post_init__(self) -> None:
        """Check the number of control points.

        Raises:
            ConfigError: If there are fewer than a cubic spline needs.
        """
        super().__post_init__()
        if self.control_points < 4:
            raise ConfigError(
                f"BiasField: control_points was {self.control_points}; a smooth field needs 4 or "
                "more an axis"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        size = (*shape[:2], *[self.control_points] * (len(shape) - 2))
        return {"field": uniform(size, -self.amplitude, self.amplitude, generator)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        control = params["field"].to(images.device, non_blocking=True)
        field = smooth_field(control, images.shape[2:]).exp()
        lowest = per_voxel(images.flatten(2).amin(dim=2), images)
        return (images - lowest) * field + lowest


def own_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lowest value of each channel of each image, and the width of its range."""
    flat = images.flatten(2)
    lowest, highest = flat.amin(dim=2), flat.amax(dim=2)
    # An image of one value has no width to divide by; any other number leaves it as it is.
    width = (highest - lowest).clamp(min=1e-6)
    return per_voxel(lowest, images), per_voxel(width, images)
