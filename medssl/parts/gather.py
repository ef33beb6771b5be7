"""All ranks of a run as one batch: what losses with cross-sample terms compare.

Without this a contrastive loss on several devices knows the negatives of its own device only, and
its gradient is not that of the joint batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["JointBatchNorm", "gather", "mean_over_ranks", "rank", "world_size"]


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among those that train together."""
    return dist.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """Gather in the order of the ranks; a gradient is the sum of what all ranks ask for."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        joint = gradients[0].contiguous().clone()
        dist.all_reduce(joint)
        return joint[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather(tensor: Tensor) -> Tensor:
    """Return the rows of all ranks, those of the first rank first, with gradient.

    A loss over the gathered rows, the same on every rank, gives after the usual averaging of
    gradients those of one process with the joint batch: the mean over ranks of what each of them
    contributes, times the number of ranks. The same holds for the mean of a loss over one's own
    rows against all rows.

    Args:
        tensor: ``(n, …)``, as many rows on every rank.

    Returns:
        ``(ranks * n, …)``; ``tensor`` itself where one process trains alone.
    """
    if world_size() == 1:
        return tensor
    joined: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return joined


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks, with gradient."""
    return gather(tensor[None]).mean(dim=0)


class JointBatchNorm(nn.BatchNorm1d):
    """Batch norm over the vectors of all ranks, on any device.

    torch's own synchronised norm needs a GPU. Statistics are those of one process with the joint
    batch, running ones too.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 nn.BatchNorm1d's name
        """Return normalised ``(n, features)``."""
        if world_size() == 1 or not self.training:
            return super().forward(input)
        normed = super().forward(gather(input.float()))
        return normed[rank() * len(input) : (rank() + 1) * len(input)]
