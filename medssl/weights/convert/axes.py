"""Kernels of networks that read (z, y, x), turned for one that reads (x, y, z), and back.

Turning every kernel with the axes is exact: the turned network gives of the turned image what the
published one gave of the image, turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

__all__ = ["TURNED", "turn_kernel", "turn_kernels"]

TURNED = "kernels turned from the (z, y, x) of nnU-Net's arrays to (x, y, z)"


def turn_kernel(kernel: Tensor, axes: Sequence[int]) -> Tensor:
    """Return a kernel ``(out, in, *edges)`` with its edges in the order of ``axes``."""
    return kernel.permute(0, 1, *(2 + axis for axis in axes)).contiguous()


def turn_kernels(tensors: Mapping[str, Tensor], axes: Sequence[int]) -> dict[str, Tensor]:
    """Return tensors with every kernel among them turned, the others as they are.

    The order (z, y, x) is its own inverse, so that the same call makes our kernels theirs.

    Args:
        tensors: Names and values.
        axes: For each new axis the old one, ``(2, 1, 0)``.
    """
    edges = 2 + len(axes)
    return {n: turn_kernel(t, axes) if t.ndim == edges else t for n, t in tensors.items()}
