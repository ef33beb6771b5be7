"""A convolution that a CPU gets wrong in bfloat16, done in float32.

torch 2.13 with oneDNN on a CPU with bfloat16 instructions: a strided 3D convolution whose output is
a single voxel wide along the last axis reads memory that nobody wrote, and returns numbers such as
1e36 or NaN now and then. Thin slabs of slices come to that in the coarsest stages. Float32, planar
images and wider outputs are right. Found by comparing shapes with float32; a test does so again, so
that a version without the fault is noticed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Conv3d", "guard_convolutions"]


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` in every respect, but for what :mod:`medssl.encoders.narrow` tells."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 nn.Conv3d's name
        """Return the convolution."""
        if not self._is_misread(input):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.float()
            wide = F.conv3d(
                input.float(),
                self.weight.float(),
                bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
            )
        return wide.to(torch.bfloat16)

    def _is_misread(self, x: Tensor) -> bool:
        # What stands for a tensor, such as blocks of one, brings its own convolution.
        if type(x) is not Tensor or not x.is_cpu or self.stride[2] == 1:
            return False
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
        if torch.bfloat16 not in (x.dtype, half) or isinstance(self.padding, str):
            return False
        reach = self.dilation[2] * (self.kernel_size[2] - 1)
        return (int(x.shape[4]) + 2 * self.padding[2] - reach - 1) // self.stride[2] == 0


def guard_convolutions(network: nn.Module) -> None:
    """Give all 3D convolutions of a network the guarded form; names and weights stay."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
