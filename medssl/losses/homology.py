"""Which parts of a mixed image come from the same source.

Chen et al. 2023 (MixedAE), arXiv:2303.17152: homologous contrast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["homologous_contrast"]


def homologous_contrast(features: Tensor, owner: Tensor, *, temperature: float = 0.25) -> Tensor:
    """Return how badly the tokens of one source are told from those of others in the same image.

    For each token the mean over the others of its source of ``-log softmax`` of their cosine, the
    softmax running over all other tokens of the mixed image. Computed in float32.

    Args:
        features: ``(B, n, D)``.
        owner: ``(B, n)`` integers, the source of each token.
        temperature: What cosines are divided by.

    Returns:
        A scalar, the mean over tokens that are not alone of their source; 0 if all are.
    """
    with torch.autocast(features.device.type, enabled=False):
        directions = F.normalize(features.float(), dim=-1)
        itself = torch.eye(features.shape[1], dtype=torch.bool, device=features.device)
        logits = (directions @ directions.mT) / temperature
        chance = logits - logits.masked_fill(itself, -torch.inf).logsumexp(dim=-1, keepdim=True)
        kin = (owner.unsqueeze(1) == owner.unsqueeze(2)) & ~itself
        count = kin.sum(dim=-1)
        cost = -(chance * kin).sum(dim=-1) / count.clamp(min=1)
        return cost.sum() / (count > 0).sum().clamp(min=1)
