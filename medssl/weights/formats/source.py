"""What is handed over: a checked export, its network, and how its answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from medssl.encoders.base import Encoder
from medssl.errors import WeightsMismatchError
from medssl.types import Shape
from medssl.weights.manifest import Manifest

__all__ = ["TOLERANCE", "Agreement", "Outputs", "Source", "compare"]

TOLERANCE = 1e-4
"""Largest error that a hand-over may show, as a share of the largest number of the output."""


class Outputs(nn.Module):
    """A network as other tools call it: one image in, one tensor or a tuple of maps out.

    Args:
        network: An encoder, or a network that answers with one tensor.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits, or the maps of features, finest first.

        Args:
            image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``.
        """
        found: Tensor | Sequence[Tensor] = self.network(image)
        return found if isinstance(found, Tensor) else tuple(found)


@dataclass(frozen=True)
class Source:
    """An export and the network in it, frozen and in evaluation mode.

    Attributes:
        folder: The export.
        manifest: What it is.
        encoder: Its encoder.
        network: The fine-tuned network, or the encoder itself.
    """

    folder: Path
    manifest: Manifest
    encoder: Encoder
    network: nn.Module

    @property
    def task(self) -> str | None:
        """``segmentation`` or ``classification``; none for an encoder."""
        return None if self.manifest.task is None else self.manifest.task.name

    @property
    def window(self) -> Shape:
        """Edges of the crops that it was trained on, in voxels."""
        return tuple(self.manifest.input.patch)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs: ``logits``, or ``features_0`` and so on, finest first."""
        if self.task is not None:
            return ("logits",)
        return tuple(f"features_{level}" for level in range(len(self.encoder.channels)))

    def outputs(self) -> Outputs:
        """Return the network as other tools call it."""
        return Outputs(self.network).eval()

    def probe(self, count: int, *, seed: int = 0) -> Tensor:
        """Return ``(count, C, *window)`` images of noise."""
        shape = (count, self.encoder.in_channels, *self.window)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Agreement:
    """How far two programs for one network lie apart.

    Attributes:
        largest_absolute_error: Over all outputs.
        largest_relative_error: The same as a share of the largest number of the output.
        images: How many images were compared.
    """

    largest_absolute_error: float
    largest_relative_error: float
    images: int


@torch.no_grad()
def compare(
    source: Source,
    other: Callable[[Tensor], Sequence[Tensor]],
    what: str,
    *,
    batches: Sequence[int],
) -> Agreement:
    """Run what was written beside the network it came from.

    Args:
        source: The network.
        other: What was written, as a function from images to its outputs.
        what: Its name in messages.
        batches: How many images to send at once, one number for each trial.

    Raises:
        WeightsMismatchError: If an output has another shape or differs by more than
            :data:`TOLERANCE`.
    """
    network = source.outputs()
    absolute = relative = 0.0
    for seed, count in enumerate(batches):
        images = source.probe(count, seed=seed)
        wanted = network(images)
        expected = (wanted,) if isinstance(wanted, Tensor) else tuple(wanted)
        given = tuple(other(images))
        if [tuple(t.shape) for t in given] != [tuple(t.shape) for t in expected]:
            raise WeightsMismatchError(
                f"{what} answers with other shapes than {source.manifest.encoder.name}; it was not "
                "handed over"
            )
        for a, b in zip(expected, given, strict=True):
            error = float((a - b).abs().max())
            absolute = max(absolute, error)
            relative = max(relative, error / max(float(a.abs().max()), 1e-12))
    if not relative <= TOLERANCE:
        raise WeightsMismatchError(
            f"{what} differs from {source.manifest.encoder.name} by {relative:.2g} of its largest "
            f"output, allowed is {TOLERANCE:.0e}; it was not handed over"
        )
    return Agreement(absolute, relative, sum(batches))
