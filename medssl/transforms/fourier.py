"""What happens in k-space: ringing, and the style of a scanner in low frequencies.

Magnitudes of low frequencies hold contrast, shading and brightness; phases hold where things are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform, per_voxel
from medssl.transforms.draws import partners, uniform
from medssl.transforms.separable import along_axes, lowpass_matrix

__all__ = ["AmplitudeMix", "BatchStyle", "Gibbs"]


@dataclass(frozen=True, kw_only=True)
class Gibbs(Transform):
    """Leave out the highest frequencies along each axis, as short MR readouts do: edges ring.

    A box of k-space is kept, as scanners do. The crop is continued by its mirror image, so that
    ringing starts at edges of tissue and not at the border.

    Attributes:
        cut: Smallest and largest share of the frequencies along an axis that is left out, each axis
            by itself.
    """

    cut: tuple[float, float] = (0.0, 0.6)

    neutral: ClassVar[Mapping[str, float]] = {"cut": 0.0}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        cut = uniform((shape[0], len(shape) - 2), *self.cut, generator)
        return {"cut": cut.clamp(max=1.0)}

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        cut = params["cut"].to(images.device, non_blocking=True)
        matrices = [
            lowpass_matrix(cut[:, axis], size) for axis, size in enumerate(images.shape[2:])
        ]
        return along_axes(images, matrices)


@dataclass(frozen=True, kw_only=True)
class AmplitudeMix(Transform):
    """Give an image low-frequency magnitudes of another one of its batch; phases stay.

    Fourier domain adaptation (Yang and Soatto 2020, arXiv:2004.05498) with a mixing ratio. Grey
    values are measured from each channel's darkest voxel, for a mean of 0 would have no phase, and
    kept within the range of both images. An image that is alone in its batch stays as it is.

    Attributes:
        mix: Smallest and largest share of the other image's magnitudes, at most 1.
        box: Smallest and largest share of the frequencies along each axis that are mixed.
    """

    mix: tuple[float, float] = (0.0, 1.0)
    box: tuple[float, float] = (0.02, 0.2)

    neutral: ClassVar[Mapping[str, float]] = {"mix": 0.0}
    mixes_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the box.

        Raises:
            ConfigError: If it is larger than all frequencies, or negative.
        """
        super().__post_init__()
        if not 0.0 <= self.box[0] <= self.box[1] <= 1.0:
            raise ConfigError(
                f"{type(self).__name__}: box was {self.box}; give shares of the frequencies, from "
                "0 to 1, low first"
            )

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        return {
            "partner": partners(shape[0], generator),
            "mix": uniform(shape[0], *self.mix, generator).clamp(max=1.0),
            "box": uniform(shape[0], *self.box, generator),
        }

    def _on_active(self, x: Tensor, params: Params, *, is_label: bool) -> Tensor:
        active = params["active"]
        if is_label or len(active) != len(x) or not bool(active.any()):
            return super()._on_active(x, params, is_label=is_label)
        # The spectrum of an image serves itself and its partner, so all are taken at once.
        changed = self._apply(x.float(), params).to(x.dtype)
        return torch.where(per_voxel(active, x), changed, x)

    def _apply(self, images: Tensor, params: Params) -> Tensor:
        lowest = images.flatten(2).amin(dim=2)
        highest = images.flatten(2).amax(dim=2) - lowest
        partner = params["partner"].to(images.device, non_blocking=True)
        low = per_voxel(lowest, images)
        axes = tuple(range(2, images.ndim))
        spectrum = torch.fft.rfftn(images - low, dim=axes)
        size = spectrum.abs()
        # Where an image has no such frequency there is no phase to keep.
        ratio = size[partner] / size.clamp(min=1e-6)
        share = per_voxel(params["mix"], images) * _low_frequencies(images.shape, params, images)
        mixed = torch.fft.irfftn(
            spectrum * (1.0 + share * (ratio - 1.0)), s=images.shape[2:], dim=axes
        )
        ceiling = per_voxel(torch.maximum(highest, highest[partner]), images)
        return torch.minimum(mixed.clamp_(min=0.0), ceiling) + low


@dataclass(frozen=True, kw_only=True)
class BatchStyle(AmplitudeMix):
    """Give all images of a batch the low-frequency magnitudes of one of them, drawn for each view.

    Batch Styles Standardization (Scalbert et al. 2024): within a view no image can be told from
    another by its scanner, and two views differ by theirs. Ours keeps to the lowest third of the
    frequencies, where the paper takes up to all of them: beyond it a chest becomes blotchy.

    Attributes:
        p: Chance that a batch is given one style.
        mix: Smallest and largest share of the chosen image's magnitudes.
        box: Smallest and largest share of the frequencies along each axis; one for the batch.
    """

    mix: tuple[float, float] = (1.0, 1.0)
    box: tuple[float, float] = (0.02, 0.3)

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Params:  # type: ignore[override]
        """Draw one image and one set of parameters, and repeat them for the batch."""
        params = super().draw(shape, generator)
        return {key: value[:1].expand_as(value).clone() for key, value in params.items()}

    def _draw(self, shape: torch.Size, generator: torch.Generator) -> Params:
        params = super()._draw(shape, generator)
        one = torch.randint(shape[0], (1,), generator=generator, device=generator.device)
        return {**params, "partner": one.expand(shape[0])}


def _low_frequencies(shape: torch.Size, params: Params, images: Tensor) -> Tensor:
    """Return 1 where a frequency of ``rfftn`` lies in the box of its image, else 0.

    The mean always does; a frequency at the border of the box does in part.
    """
    dims = len(shape) - 2
    box = params["box"].to(images.device, non_blocking=True)[:, None]
    total = torch.ones(shape[0], *[1] * (dims + 1), device=images.device)
    for axis, size in enumerate(shape[2:]):
        last = axis == dims - 1
        count = size // 2 + 1 if last else size
        wave = torch.arange(count, device=images.device, dtype=torch.float32)
        wave = torch.minimum(wave, size - wave)
        kept = (box * (size / 2.0 + 1.0) - wave).clamp(min=0.0, max=1.0)
        kept = torch.where(wave == 0.0, 1.0, kept)
        line = [shape[0], *[1] * (dims + 1)]
        line[axis + 2] = count
        total = total * kept.view(line)
    return total
