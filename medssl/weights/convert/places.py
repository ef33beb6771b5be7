"""The positions of a published transformer: whose they are, of which grid, and on which they go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medssl.encoders.tokens import sincos_positions
from medssl.errors import ConfigError, WeightsMismatchError
from medssl.weights.convert.adapt import resize_positions

__all__ = ["Positions", "place_positions"]

_NAME = "patch_embedding.position_embeddings"
_CLOSE = 1e-4
"""How far sine and cosine may be from ours: the rounding of another library."""


@dataclass(frozen=True)
class Positions:
    """What positions become.

    Attributes:
        config: Options of the encoder that follow from them.
        tensors: Positions and, where there is one, the class token.
        adapted: What was changed, one sentence each.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    adapted: tuple[str, ...]


def place_positions(
    positions: Tensor | None,
    class_token: Tensor | None,
    token: Sequence[int],
    patch: Sequence[int] | None,
    *,
    class_comes_first: bool,
) -> Positions:
    """Bring positions to the grid of a crop and that of the class token to the token itself.

    Args:
        positions: ``(1, tokens, width)``.
        class_token: ``(1, 1, width)``, if there is one.
        token: Edges of a token in voxels.
        patch: Edges of the usual crop in voxels; by default those of the pretraining.
        class_comes_first: Whether the first position may be that of the class token; the number
            of positions says whether it is.

    Raises:
        ConfigError: If the crop has other axes than a token, or is smaller than one.
        WeightsMismatchError: If there are none, or they make no grid.
    """
    if positions is None or positions.ndim != 3:
        raise WeightsMismatchError(
            "the file holds no learned or computed positions (1, tokens, features) for its "
            "transformer; download it again, or it is of no family known here"
        )
    wanted = _wanted(token, patch)
    tensors: dict[str, Tensor] = {}
    adapted: list[str] = []
    if class_token is not None:
        if class_comes_first and _grid_of(positions.shape[1] - 1, len(token), wanted) is not None:
            # the same sum as in the published network, made once
            class_token = class_token + positions[:, :1]
            positions = positions[:, 1:]
            adapted.append("the first position added to cls_token, exactly")
        tensors["cls_token"] = class_token
    grid = _grid_of(positions.shape[1], len(token), wanted)
    if grid is None:
        raise WeightsMismatchError(
            f"{positions.shape[1]} positions make no even grid in {len(token)}D; give the crop of "
            f"the pretraining with --patch, {_words(token)} voxels for each token"
        )
    computed = sincos_positions(grid, positions.shape[2])
    is_computed = torch.allclose(positions.float(), computed, rtol=0, atol=_CLOSE)
    if wanted is not None and wanted != grid:
        how = "computed anew" if is_computed else "interpolated linearly"
        adapted.append(f"{_NAME} {how}, from a grid of {_words(grid)} to {_words(wanted)}")
        positions = (
            sincos_positions(wanted, positions.shape[2])
            if is_computed
            else resize_positions(positions, grid, wanted)
        )
        grid = wanted
    config = {
        "patch": list(patch) if patch else [c * e for c, e in zip(grid, token, strict=True)],
        "positions": "sincos" if is_computed else "learned",
        "class_token": class_token is not None,
    }
    return Positions(config, {**tensors, _NAME: positions}, tuple(adapted))


def _wanted(token: Sequence[int], patch: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the grid of the crop that is asked for."""
    if patch is None:
        return None
    if len(patch) != len(token) or any(p < t for p, t in zip(patch, token, strict=True)):
        raise ConfigError(
            f"a crop of {_words(patch)} voxels was asked for, and the tokens of the file have "
            f"{_words(token)}; give --patch as many edges, each at least that long"
        )
    return tuple(p // t for p, t in zip(patch, token, strict=True))


def _grid_of(count: int, dims: int, wanted: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the grid of so many tokens: an even one, else the one asked for; none if neither."""
    edge = round(max(count, 0) ** (1 / dims))
    if edge and edge**dims == count:
        return (edge,) * dims
    return wanted if wanted is not None and math.prod(wanted) == count else None


def _words(edges: Sequence[int]) -> str:
    return " x ".join(str(edge) for edge in edges)
