"""Losses of segmentation: overlap and cross-entropy, at every depth of a decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import ConfigError

__all__ = ["deep_supervision", "dice_ce", "soft_dice"]

SMOOTH = (
    1e-5  # MONAI's and nnU-Net's default; a class that is absent and not predicted costs nothing
)


def soft_dice(
    logits: Tensor, target: Tensor, *, include_background: bool = False, per_sample: bool = True
) -> Tensor:
    """Return the soft Dice score of each class, in float32.

    Args:
        logits: ``(B, K, X, Y, Z)`` or ``(B, K, X, Y)``, class 0 being the background.
        target: ``(B, X, Y, Z)`` or ``(B, 1, X, Y, Z)`` integers in [0, K).
        include_background: Whether class 0 is scored too.
        per_sample: Score each image by itself; otherwise the batch as one image, which is steadier
            when some images lack a class.

    Returns:
        ``(B, K)``, or ``(1, K)`` without ``per_sample``; one class fewer without the background.

    Raises:
        ValueError: If the target is not of the logits' shape.
    """
    target = _as_indices(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        probability = logits.float().softmax(dim=1).flatten(2)
        truth = torch.zeros_like(probability).scatter_(1, target.flatten(1).unsqueeze(1), 1.0)
        first = 0 if include_background else 1
        probability, truth = probability[:, first:], truth[:, first:]
        common = (probability * truth).sum(dim=2)
        total = probability.sum(dim=2) + truth.sum(dim=2)
    if not per_sample:
        common, total = common.sum(dim=0, keepdim=True), total.sum(dim=0, keepdim=True)
    return (2.0 * common + SMOOTH) / (total + SMOOTH)


def dice_ce(
    logits: Tensor,
    target: Tensor,
    *,
    include_background: bool = False,
    per_sample: bool = True,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
) -> Tensor:
    """Return one minus the mean soft Dice plus the cross-entropy, in float32.

    Args:
        logits: ``(B, K, X, Y, Z)`` or ``(B, K, X, Y)``, class 0 being the background.
        target: ``(B, X, Y, Z)`` or ``(B, 1, X, Y, Z)`` integers in [0, K).
        include_background: Whether class 0 counts in the Dice part.
        per_sample: Score each image by itself, or the batch as one image.
        dice_weight: Weight of the Dice part.
        ce_weight: Weight of the cross-entropy.

    Returns:
        A scalar.

    Raises:
        ValueError: If the target is not of the logits' shape, or there is a single class.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4)
        >>> target = torch.zeros(1, 4, 4, dtype=torch.long)
        >>> sure = logits + torch.tensor([20.0, -20.0]).view(1, 2, 1, 1)
        >>> bool(dice_ce(sure, target) < dice_ce(logits, target))
        True
    """
    if logits.shape[1] < 2:
        raise ValueError(
            f"segmentation needs a background and at least one class, not {logits.shape[1]} channel"
        )
    dice = soft_dice(logits, target, include_background=include_background, per_sample=per_sample)
    entropy = F.cross_entropy(logits.float(), _as_indices(logits, target))
    return dice_weight * (1.0 - dice.mean()) + ce_weight * entropy


def deep_supervision(
    logits: Sequence[Tensor], target: Tensor, *, loss: Callable[[Tensor, Tensor], Tensor] = dice_ce
) -> Tensor:
    """Return the weighted loss of a decoder's predictions at several resolutions.

    Level ``i`` weighs ``1 / 2**i``, normalised to 1 in sum; its target is the label at the nearest
    voxel.

    Args:
        logits: Predictions, finest first; the first has the target's shape.
        target: ``(B, X, Y, Z)`` or ``(B, 1, X, Y, Z)`` integers.
        loss: What compares one level with its target.

    Returns:
        A scalar.

    Raises:
        ConfigError: If there is no level.
    """
    if not logits:
        raise ConfigError("deep supervision was given no prediction; it needs at least one level")
    channels_first = target if target.ndim == logits[0].ndim else target.unsqueeze(1)
    weights = [0.5**level for level in range(len(logits))]
    total = logits[0].new_zeros((), dtype=torch.float32)
    for weight, level in zip(weights, logits, strict=True):
        total = total + weight * loss(level, _nearest(channels_first, tuple(level.shape[2:])))
    return total / sum(weights)


def _nearest(target: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Resample labels ``(B, 1, …)`` to ``shape`` by the nearest voxel centre."""
    if tuple(target.shape[2:]) == shape:
        return target
    # Labels are small integers, exact in float32, which is what interpolate accepts on every
    # device.
    return F.interpolate(target.float(), size=shape, mode="nearest-exact").to(target.dtype)


def _as_indices(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target as ``(B, …)`` int64, checked against the logits."""
    indices = target.squeeze(1) if target.ndim == logits.ndim and target.shape[1] == 1 else target
    if indices.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"labels {tuple(target.shape)} do not fit predictions {tuple(logits.shape)}; "
            "expected one label a voxel"
        )
    return indices.long()
