"""Learning from a teacher's soft answers: over views, hidden places and clusters; and KoLeo.

Caron et al. 2021, arXiv:2104.14294; Zhou et al. 2022, arXiv:2111.07832; Oquab et al. 2024,
arXiv:2304.07193; DISCOVR, arXiv:2506.11777. A teacher's answers come in as probabilities, however
they were centred.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses.assignment import sinkhorn, swapped_prediction

__all__ = ["cluster_distillation", "koleo", "masked_distillation", "view_distillation"]

CLOSEST = 1e-4
"""Distance below which two vectors count as one; bounds the slope of the logarithm."""


def view_distillation(scores: Tensor, targets: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the cross-entropy between each teacher view and every other student view.

    Args:
        scores: ``(V, B, K)`` of the student, views that the teacher saw too first.
        targets: ``(T, B, K)`` probabilities of the teacher, ``T`` at most ``V``, without gradient.
        temperature: Of the student's softmax.

    Returns:
        A scalar, the mean over pairs of different views and over the batch.

    Raises:
        ValueError: If there is no pair of different views.
    """
    seen, taught = len(scores), len(targets)
    pairs = seen * taught - taught
    if taught > seen or pairs < 1:
        raise ValueError(
            f"{seen} student and {taught} teacher views make no pair of different views; "
            "give the views of the teacher first, and at least two in all"
        )
    with torch.autocast(scores.device.type, enabled=False):
        # each student view is asked for the sum of the answers to the other views
        asked = targets.float().sum(dim=0, keepdim=True).repeat(seen, 1, 1)
        asked[:taught] -= targets.float()
        answered = F.log_softmax(scores.float() / temperature, dim=-1)
        return -(asked * answered).sum() / (pairs * scores.shape[1])


def masked_distillation(
    scores: Tensor, targets: Tensor, hidden: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Return the cross-entropy at hidden places: the mean of each image, then over all images.

    Images that hide nothing count as images without loss, as in the reference code.

    Args:
        scores: ``(n, K)`` of the student at the hidden places, image by image.
        targets: ``(n, K)`` probabilities of the teacher there, without gradient.
        hidden: ``(B, places)``, True at the ``n`` hidden places.
        temperature: Of the student's softmax.

    Returns:
        A scalar; 0 if nothing is hidden.
    """
    with torch.autocast(scores.device.type, enabled=False):
        answered = F.log_softmax(scores.float() / temperature, dim=-1)
        cost = -(targets.float() * answered).sum(dim=-1)
        share = 1.0 / hidden.sum(dim=1, keepdim=True).clamp(min=1)
        return (cost * share.expand(hidden.shape)[hidden]).sum() / len(hidden)


def koleo(vectors: Tensor) -> Tensor:
    """Return Kozachenko and Leonenko's estimate of how little the vectors fill the sphere.

    ``-mean log(distance to the nearest other)`` of unit vectors: it pushes each away from its
    nearest neighbour, in float32.

    Args:
        vectors: ``(n, D)``, of all ranks.

    Returns:
        A scalar; 0 for fewer than two vectors.

    Example:
        >>> round(koleo(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])).item(), 4)
        -0.6931
    """
    with torch.autocast(vectors.device.type, enabled=False):
        unit = F.normalize(vectors.float(), dim=-1)
        if len(unit) < 2:
            return unit.sum() * 0.0
        with torch.no_grad():
            nearest = (unit @ unit.T).fill_diagonal_(-2.0).argmax(dim=1)
        squared = (unit - unit[nearest]).square().sum(dim=1)
        return -0.5 * (squared + CLOSEST**2).log().mean()


def cluster_distillation(
    first: Tensor,
    second: Tensor,
    clusters: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 10,
) -> Tensor:
    """Return how badly two sets of features of the same places tell each other's clusters.

    Clusters are assigned by Sinkhorn's balance over all ranks, and stay soft.

    Args:
        first: ``(n, D)``.
        second: ``(n, D)``, of the same places in the same order.
        clusters: ``(K, D)``; gradient goes there from both.
        temperature: Of the prediction.
        epsilon: Temperature of the assignment.
        iterations: Rounds of balancing.

    Returns:
        A scalar.
    """
    with torch.autocast(first.device.type, enabled=False):
        centres = F.normalize(clusters.float(), dim=1)
        scores = [F.normalize(each.float(), dim=1) @ centres.T for each in (first, second)]
    codes = [sinkhorn(each, epsilon=epsilon, iterations=iterations) for each in scores]
    return swapped_prediction(scores, codes, temperature=temperature)
