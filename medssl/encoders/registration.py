"""What lays one image over another: a pose, a field of shifts, and the reading of both.

Poses are measured in voxels, so that a turn is a turn in a crop that is no cube, and given as
frames (:mod:`medssl.transforms.frames`): places run from -1 to 1 between outer faces, and sampling
agrees with that (``align_corners=False`` throughout). nnssl's code measures shifts between the
centres of the outermost voxels and samples between outer faces, so that a field of zeros moves the
image; and it builds its matrices from copied numbers, so that its pose head never learns.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.convolution import CONV, ConvBlock
from medssl.types import Shape

__all__ = ["FlowHead", "PoseHead", "pose_frames", "warp"]

LARGEST_TURN = math.radians(20.0)
LARGEST_SCALING = 0.25
LARGEST_SHEAR = math.radians(10.0)
LARGEST_SHIFT = 0.25
"""Of a pose, in edges of the image; turns, scalings and shears are those of the reference code."""

GROUP = 8
"""Channels that the pose head's norms take together: the mean of a channel says where things are,
and must not be normalised away."""


class PoseHead(nn.Module):
    """Says from two coarse maps how the first image must be turned, scaled, sheared and shifted.

    Args:
        dims: 2 or 3.
        channels: Of one map.
        width: Hidden features, a multiple of 8.
    """

    def __init__(self, dims: int, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for wide in (2 * channels, width):
            layers += [
                CONV[dims](wide, width, 3, padding=1),
                nn.GroupNorm(width // GROUP, width),
                nn.LeakyReLU(0.2),
            ]
        self.look = nn.Sequential(*layers)
        self.turns = 3 if dims == 3 else 1
        self.answer = nn.Linear(width, self.turns + dims + dims * (dims - 1) + dims)
        # the first answer is nearly that nothing is to be moved
        nn.init.normal_(self.answer.weight, std=1e-3)
        nn.init.zeros_(self.answer.bias)
        self.dims = dims

    def forward(self, moving: Tensor, fixed: Tensor, shape: Shape) -> Tensor:
        """Return frames ``(B, d, d + 1)``: where the moving image is read.

        Args:
            moving: ``(B, C, x, y, z)``, map of the image that is moved.
            fixed: The same of the image that stays.
            shape: Voxels of the images along each axis.
        """
        seen = self.look(torch.cat([moving, fixed], dim=1)).flatten(2).mean(dim=2)
        with torch.autocast(seen.device.type, enabled=False):
            bounded = torch.tanh(self.answer(seen.float()))
            dims = self.dims
            sizes = [self.turns, dims, dims * (dims - 1), dims]
            turn, scaling, shear, shift = torch.split(bounded, sizes, dim=1)
            return pose_frames(
                turn * LARGEST_TURN,
                1.0 + scaling * LARGEST_SCALING,
                shear * LARGEST_SHEAR,
                shift * LARGEST_SHIFT,
                shape,
            )


def pose_frames(
    turn: Tensor, scaling: Tensor, shear: Tensor, shift: Tensor, shape: Shape
) -> Tensor:
    """Return from where an image is read that is to be turned, then scaled, then sheared.

    Args:
        turn: ``(B, 3)`` angles about each axis, or ``(B, 1)``, in radians.
        scaling: ``(B, d)`` factors.
        shear: ``(B, d * (d - 1))`` angles of each ordered pair of axes, in radians.
        shift: ``(B, d)``, in edges of the image.
        shape: Voxels along each axis.

    Returns:
        ``(B, d, d + 1)``.

    Example:
        >>> nothing = torch.zeros(1, 1), torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2)
        >>> pose_frames(*nothing, (8, 6))[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    dims = len(shape)
    linear = torch.diag_embed(scaling) @ _rotation(turn, dims)
    off_diagonal = ~torch.eye(dims, dtype=torch.bool, device=turn.device)
    straight = torch.eye(dims, dtype=turn.dtype, device=turn.device).expand(len(turn), dims, dims)
    slanted = straight.masked_scatter(off_diagonal, shear.tan())
    linear = slanted @ linear
    # from shares of the edges to voxels, through the matrix, and back
    edges = torch.tensor(shape, dtype=linear.dtype, device=linear.device)
    linear = linear * edges / edges[:, None]
    return torch.cat([linear, 2.0 * shift.unsqueeze(2)], dim=2)


def _rotation(turn: Tensor, dims: int) -> Tensor:
    """Return rotation matrices ``(B, d, d)``, about one axis after the other, with gradient."""
    total = torch.eye(dims, device=turn.device, dtype=turn.dtype).expand(len(turn), dims, dims)
    for number, (a, b) in enumerate([(1, 2), (0, 2), (0, 1)] if dims == 3 else [(0, 1)]):
        # the exponential of the antisymmetric matrix of a plane
        plane = torch.zeros(dims, dims, device=turn.device, dtype=turn.dtype)
        plane[a, b], plane[b, a] = -1.0, 1.0
        within = plane @ plane
        cosine = turn[:, number].cos()[:, None, None]
        sine = turn[:, number].sin()[:, None, None]
        step = torch.eye(dims, device=turn.device, dtype=turn.dtype)
        total = (step + sine * plane + (1.0 - cosine) * within) @ total
    return total


class FlowHead(nn.Module):
    """Says from two fine maps how far each voxel of the first must still be moved.

    Args:
        dims: 2 or 3.
        channels: Of one map.
        width: Hidden features.
    """

    def __init__(self, dims: int, channels: int, width: int) -> None:
        super().__init__()
        self.look = ConvBlock(dims, 2 * channels, width)
        self.answer = CONV[dims](width, dims, 3, padding=1)
        nn.init.normal_(self.answer.weight, std=1e-4)
        nn.init.zeros_(self.answer.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return shifts in voxels, ``(B, d, X, Y, Z)``, along the axes in their order."""
        shifts: Tensor = self.answer(self.look(torch.cat([moving, fixed], dim=1)))
        return shifts.float()


def warp(image: Tensor, frames: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Read an image at a pose, and after small shifts of that, with a single interpolation.

    Args:
        image: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``; continued from its border.
        frames: ``(B, d, d + 1)``, where it is read.
        shifts: ``(B, d, X, Y, Z)`` in voxels: each voxel is read where the pose reads its shifted
            place.

    Returns:
        Float32, of the shape of ``image``.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 4, 1)
        >>> nothing, one = torch.eye(2, 3)[None], torch.zeros(1, 2, 4, 1)
        >>> one[:, 0] = 1.0
        >>> warp(image, nothing, one)[0, 0, :, 0].tolist()
        [1.0, 2.0, 3.0, 3.0]
    """
    with torch.autocast(image.device.type, enabled=False):
        sizes = image.shape[2:]
        dims = len(sizes)
        lines = [
            (torch.arange(size, device=image.device) * 2.0 + 1.0) / size - 1.0 for size in sizes
        ]
        places = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1)[None]
        if shifts is not None:
            edges = torch.tensor(sizes, dtype=torch.float32, device=image.device)
            places = places + shifts.float().movedim(1, -1) * (2.0 / edges)
        frames = frames.float()
        read = places.flatten(1, -2) @ frames[:, :, :dims].mT + frames[:, None, :, dims]
        read = read.view(len(image), *sizes, dims)
        return F.grid_sample(
            image.float(),
            read.flip(-1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
