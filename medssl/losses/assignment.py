"""Assignment to prototypes: balanced by Sinkhorn's iteration, and predicted from another view.

Papers: Cuturi 2013, arXiv:1306.0895; SwAV, Caron et al. 2020, arXiv:2006.09882.
Ours differs: the iteration runs on logarithms, so that no temperature overflows; ranks exchange one
sum a prototype in place of all scores, and may hold different numbers of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.parts.gather import gather

__all__ = ["sinkhorn", "swapped_prediction"]


@torch.no_grad()
def sinkhorn(
    scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3, weights: Tensor | None = None
) -> Tensor:
    """Assign rows to prototypes so that, over the rows of all ranks, each gets an equal share.

    Rows and prototypes are balanced in turns; rows come last, so that each is a distribution
    exactly and prototypes are balanced as far as the iterations went.

    Args:
        scores: ``(n, K)`` similarity of this rank's rows to the prototypes; n may differ between
            ranks, and be 0.
        epsilon: Temperature; the smaller, the harder the assignment.
        iterations: Rounds of balancing.
        weights: ``(n,)`` how much each row counts for the balance, none below 0; 0 leaves a row out
            of it. None counts all alike.

    Returns:
        ``(n, K)`` float32, each row summing to 1; without gradient.

    Example:
        >>> sinkhorn(torch.tensor([[1.0, 0.9], [1.0, 0.0]]), epsilon=0.1).round(decimals=1)
        tensor([[0.1000, 0.9000],
                [1.0000, 0.0000]])
    """
    with torch.autocast(scores.device.type, enabled=False):
        logs = scores.float() / epsilon
        counted = 0.0 if weights is None else weights.float().log().unsqueeze(1)
        for _ in range(iterations):
            mine = torch.logsumexp(logs + counted, dim=0, keepdim=True)
            total = torch.logsumexp(gather(mine), dim=0, keepdim=True)
            # Nothing counts anywhere: there is no balance to keep.
            logs = logs - total.masked_fill(total.isinf(), 0.0)
            logs = logs - torch.logsumexp(logs, dim=1, keepdim=True)
        return logs.softmax(dim=1)


def swapped_prediction(
    scores: Sequence[Tensor], codes: Sequence[Tensor], *, temperature: float = 0.1
) -> Tensor:
    """Return the cross-entropy of each view's scores with the assignments of the other views.

    Args:
        scores: For each view ``(n, K)`` similarity to the prototypes, rows of one place in line.
        codes: Assignments ``(n, K)`` of the first of these views, each row summing to 1.
        temperature: Of the prediction.

    Returns:
        A scalar: the mean over all pairs of an assignment and another view.

    Raises:
        ValueError: If there is no such pair.
    """
    losses = []
    with torch.autocast(scores[0].device.type, enabled=False):
        logs = [F.log_softmax(each.float() / temperature, dim=1) for each in scores]
        for asked, code in enumerate(codes):
            losses += [
                -(code.float() * log).sum(dim=1).mean()
                for view, log in enumerate(logs)
                if view != asked
            ]
    if not losses:
        raise ValueError("a prediction is swapped between views; give the scores of at least two")
    return torch.stack(losses).mean()
