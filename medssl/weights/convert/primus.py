"""Primus, the transformer of nnssl: OpenMind's Primus-M and whatever nnssl pretrained.

Its arrays are (z, y, x) and ours (x, y, z). The kernel is turned, the learned positions are moved
to the same places of our grid, and within each head the features of queries and keys that turn
with an axis change places with it: all of it exact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from medssl.encoders.tokens import map_to_tokens, tokens_to_map
from medssl.errors import WeightsMismatchError
from medssl.types import Shape
from medssl.weights.convert.adapt import resize_positions
from medssl.weights.convert.axes import turn_kernel
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.plans import array_axes, contract_of, entry_of, patch_of
from medssl.weights.convert.proposal import Proposal, split_root

__all__ = ["propose_primus"]

_ANCHOR = "eva.blocks.0.attn.q_proj.weight"
_STEM = "down_projection.proj.weight"
_PLACES = "pos_embed"
_PRETRAINED = (1, 0, 2)
_NNUNET = (0, 1, 2)
"""Axes in the order of tokens, the slowest first: of nnssl, and of nnU-Net since June 2025. Each is
its own inverse."""

_TURNED = "kernel, positions and heads turned from the (z, y, x) of nnssl's arrays to (x, y, z)"
_READ = {
    _PRETRAINED: "tokens are read in the order of pretraining, the second axis first",
    _NNUNET: "tokens are read in the order of nnU-Net's own training, the first axis first",
}
_VARIANTS = {
    (396, 12): ("primus_s", 6),
    (792, 12): ("primus_b", 12),
    (864, 16): ("primus_m", 12),
    (1056, 24): ("primus_l", 16),
}
_HEADS = ("num_heads", "eva_numheads", "encoder_eva_numheads")


def propose_primus(
    checkpoint: Checkpoint, *, patch: Sequence[int] | None = None, heads: int | None = None
) -> Proposal | None:
    """Return the Primus in a checkpoint; none if there is none.

    Args:
        checkpoint: A state dict as its file names it.
        patch: Edges of the crop to which the positions are brought, along our axes; by default
            that of the pretraining.
        heads: Attention heads; by default those of the plan, or of the published network.

    Raises:
        WeightsMismatchError: If its positions or its heads can't be made out.
    """
    root = root_of(checkpoint.tensors, _ANCHOR)
    if root is None or root + _STEM not in checkpoint.tensors:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    tensors = {n.removeprefix("eva."): t for n, t in under.items() if _is_encoder(n)}
    if tensors[_STEM].ndim != 5 or _PLACES not in tensors:
        raise WeightsMismatchError(
            "the file holds a part of a Primus of volumes: its kernel or its positions are "
            "missing; download it again"
        )
    axes = array_axes(checkpoint.beside, 3)
    token: Shape = tuple(tensors[_STEM].shape[2:])
    learned, note = _patch(tensors[_PLACES].shape[1], token, checkpoint.beside, axes)
    name, config = _config(tensors, checkpoint.beside, heads)
    edges = tuple(token[axis] for axis in axes)
    grid = _cells(learned, edges)
    is_nnunet = str(checkpoint.beside.get("trainer_name", "")).startswith("nnUNet")
    order = _NNUNET if is_nnunet else _PRETRAINED
    turned = _turn(tensors, [grid[axes.index(a)] for a in range(3)], axes, order, config["heads"])
    adapted = [_TURNED]
    wanted = tuple(patch or learned)
    if _cells(wanted, edges) != grid:
        turned[_PLACES] = resize_positions(
            turned[_PLACES], _along(order, grid), _along(order, _cells(wanted, edges))
        )
        adapted.append(f"positions interpolated from {_shown(learned)} to {_shown(wanted)} voxels")
    return Proposal(
        family="nnunet_primus" if is_nnunet else "openmind_primus",
        encoder=name,
        config={
            **config,
            "patch": list(wanted),
            "token": list(edges),
            "second_axis_first": not is_nnunet,
        },
        tensors=turned,
        stem=_STEM,
        adapted=tuple(adapted),
        dropped=(*outside, *sorted(root + n for n in under if not _is_encoder(n))),
        notes=(_READ[order], note),
        contract=replace(contract_of(checkpoint.beside, axes), patch=wanted),
    )


def _cells(patch: Sequence[int], token: Sequence[int]) -> Shape:
    return tuple(edge // size for edge, size in zip(patch, token, strict=True))


def _along(order: Sequence[int], grid: Sequence[int]) -> Shape:
    return tuple(grid[axis] for axis in order)


def _shown(patch: Sequence[int]) -> str:
    return " x ".join(map(str, patch))


def _is_encoder(name: str) -> bool:
    return re.match(r"down_projection\.|eva\.(blocks|norm)\.|eva\.pos_embed$", name) is not None


def _config(
    tensors: Mapping[str, Tensor], beside: Mapping[str, Any], heads: int | None
) -> tuple[str, dict[str, Any]]:
    stem = tensors[_STEM]
    width = stem.shape[0]
    depth = len({n.split(".")[1] for n in tensors if n.startswith("blocks.")})
    name, usual = _VARIANTS.get((width, depth), ("primus_m", 0))
    told = (entry_of(beside, key, lambda value: isinstance(value, int)) for key in _HEADS)
    heads = heads or next((number for number in told if number), usual)
    if not heads or width % (6 * heads):
        raise WeightsMismatchError(
            f"a Primus of {width} features and {depth} blocks is none of the published, and the "
            "file's plan tells no number of heads that fits, which leave no trace in the weights; "
            "give --heads"
        )
    hidden = len(tensors.get("blocks.0.mlp.fc1_g.weight", ()))
    ratio = 8 / 3 if int(width * 8 / 3) == hidden else (hidden + 0.5) / width
    return name, {
        "in_channels": stem.shape[1],
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_ratio": ratio,
    }


def _patch(
    count: int, token: Shape, beside: Mapping[str, Any], axes: Sequence[int]
) -> tuple[Shape, str]:
    """Return the crop along our axes whose positions were learned, and a sentence about it."""

    def cells(patch: Sequence[int]) -> int:
        return math.prod(_cells(patch, token))

    edge = round(count ** (1 / 3))
    cube = tuple(edge * size for size in token)
    found = patch_of(beside, tuple(axes), lambda patch: cells(patch) == count)
    if found is None and cells(cube) == count:
        found = tuple(cube[axis] for axis in axes)
    if found is None:
        raise WeightsMismatchError(
            f"{count} positions of tokens of {_shown(token)} voxels make no cube, "
            "and no plan beside them names the crop; add pretrain_patch_size to the file's "
            "nnssl_adaptation_plan"
        )
    return found, f"positions were learned on {_shown(found)} voxels, others are interpolated"


def _turn(
    tensors: Mapping[str, Tensor],
    grid: Sequence[int],
    axes: Sequence[int],
    order: Sequence[int],
    heads: int,
) -> dict[str, Tensor]:
    """Return the tensors of a network that reads its input along our axes.

    Args:
        tensors: Those of one that reads arrays.
        grid: Tokens along each axis of the array.
        axes: For each of our axes, that of the array.
        order: Axes in the order of tokens, for theirs and for ours.
        heads: Attention heads.
    """
    sorting = [0, 1, *(2 + axis for axis in order)]
    theirs = tokens_to_map(tensors[_PLACES], _along(order, grid)).permute(sorting)
    ours = theirs.permute(0, 1, *(2 + axis for axis in axes)).permute(sorting)
    # the third of a head that turns with an axis of ours comes from where theirs turned with it
    thirds = [order.index(axes[axis]) for axis in order]
    turned = {
        n: _move_thirds(t, thirds, heads)
        for n, t in tensors.items()
        if re.search(r"\.attn\.[qk]_proj\.(weight|bias)$", n)
    }
    return {
        **tensors,
        **turned,
        _STEM: turn_kernel(tensors[_STEM], axes),
        _PLACES: map_to_tokens(ours).contiguous(),
    }


def _move_thirds(rows: Tensor, thirds: Sequence[int], heads: int) -> Tensor:
    parts = rows.reshape(heads, 3, -1, *rows.shape[1:])
    return parts.index_select(1, torch.tensor(thirds)).flatten(0, 2)
