"""Heads: the small networks between an encoder's vector and a loss."""

from __future__ import annotations

import itertools
from typing import Literal

from torch import nn

from medssl.errors import ConfigError
from medssl.parts.gather import JointBatchNorm

__all__ = ["Norm", "mlp"]

Norm = Literal["batch", "layer", "none"]


def mlp(
    in_features: int,
    hidden: int,
    out: int,
    *,
    layers: int = 2,
    norm: Norm = "batch",
    affine: bool = True,
    last_norm: bool = False,
) -> nn.Sequential:
    """Build the projector or predictor that nearly every joint-embedding method uses.

    Each layer but the last is Linear, norm, ReLU. Batch norm needs at least two vectors in a
    training batch and lets samples see each other, those of other ranks too; layer norm has
    neither property.

    Args:
        in_features: Length of an input vector.
        hidden: Length between the layers.
        out: Length of an output vector.
        layers: Number of linear layers; 1 is a plain linear map.
        norm: What stands between a linear layer and its ReLU.
        affine: Whether norms learn a scale and an offset.
        last_norm: Whether the output is normalised too (SimSiam, Barlow Twins).

    Returns:
        A module from ``(B, in_features)`` to ``(B, out)``.

    Raises:
        ConfigError: If there is no layer or the norm is not known.

    Example:
        >>> import torch
        >>> mlp(16, 32, 8)(torch.zeros(4, 16)).shape
        torch.Size([4, 8])
    """
    if layers < 1:
        raise ConfigError(f"a head of {layers} layers was asked for; it needs at least 1")
    if norm not in ("batch", "layer", "none"):
        raise ConfigError(f'a head knows no norm "{norm}"; choose batch, layer or none')
    widths = [in_features, *[hidden] * (layers - 1), out]
    modules: list[nn.Module] = []
    for number, (width_in, width_out) in enumerate(itertools.pairwise(widths), start=1):
        is_last = number == layers
        is_normed = norm != "none" and (last_norm or not is_last)
        # An affine batch norm brings its own offset; the layer's would be taken off again at once.
        is_offset_redundant = is_normed and norm == "batch"
        modules.append(nn.Linear(width_in, width_out, bias=not is_offset_redundant))
        if is_normed:
            modules.append(_norm(norm, width_out, affine=affine))
        if not is_last:
            modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


def _norm(norm: Norm, features: int, *, affine: bool) -> nn.Module:
    if norm == "batch":
        return JointBatchNorm(features, affine=affine)
    return nn.LayerNorm(features, elementwise_affine=affine)
