"""Convolution, norm and activation as one block, for residual encoders and all decoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.narrow import Conv3d

__all__ = ["CONV", "TRANSPOSED_CONV", "ConvBlock", "InstanceNorm", "lay_out"]

CONV: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: Conv3d}
TRANSPOSED_CONV: dict[int, type[nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}

SLOPE = 0.01
"""Of the leaky rectifier, as in nnU-Net."""


def lay_out(x: Tensor) -> Tensor:
    """Store channels last where that is the faster order: in convolutions of volumes on a CPU.

    On AVX2, a 3-cubed convolution of 16 channels takes half the time for its output and for the
    gradient of its weights; a U-Net step as a whole 5 to 10 % less on two free cores and up to 40 %
    less on busy ones. Blocks keep the order they get, so that laying out the input is enough.
    """
    if x.is_cpu and x.ndim == 5:
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x


class InstanceNorm(nn.Module):
    """Give each channel of each image mean 0 and variance 1, then scale and shift it.

    As ``nn.InstanceNorm3d(affine=True)``, in any number of dimensions and with two differences: it
    keeps channels last, and a map of a single voxel, which has no variance, is scaled and shifted
    alone, where PyTorch raises.

    Args:
        channels: How many there are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        if x[0, 0].numel() == 1:
            shape = (1, -1, *(1,) * (x.ndim - 2))
            return x * self.weight.view(shape) + self.bias.view(shape)
        # a group a channel is the same sum, in a kernel that knows both orders
        return F.group_norm(x, x.shape[1], self.weight, self.bias, eps=1e-5)


class ConvBlock(nn.Module):
    """Convolution, instance norm and leaky rectifier, under nnU-Net's names.

    Args:
        dims: 2 or 3.
        in_channels: Of the input.
        out_channels: Of the output.
        kernel: Edge of the kernel, odd; the output has ``ceil(size / stride)`` voxels.
        stride: Of the convolution.
        bias: Whether the convolution adds one.
        active: Whether the rectifier follows.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: tuple[int, ...] | int = 1,
        bias: bool = True,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.conv = CONV[dims](
            in_channels,
            out_channels,
            kernel,
            stride=stride,  # type: ignore[arg-type]  # as many numbers as dims
            padding=kernel // 2,
            bias=bias,
        )
        self.norm = InstanceNorm(out_channels)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, out_channels, …)``."""
        x = self.norm(self.conv(x))
        return F.leaky_relu(x, SLOPE, inplace=True) if self.active else x
