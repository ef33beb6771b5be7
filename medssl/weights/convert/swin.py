"""SwinUNETR and its kin: MONAI's published encoder, own runs, DAE, VoCo, VoComni, SuPreM.

All hold MONAI's ``SwinTransformer`` under some prefix. What tells them apart is the prefix, the
container, how the perceptron is named (``fc1`` until 2022) and whether a convolution comes before
each stage (``layers1c``: version 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_swin", "rename_swin"]

MergeOrder = Literal["monai", "published"]

_ANCHOR = "patch_embed.proj.weight"
_VARIANTS = {24: "swin_tiny", 48: "swin_base", 96: "swin_large", 192: "swin_huge"}
_HEADS = ("norm.", "mask_token", "rotation_head.", "contrastive_head.", "conv.")
_VOCO = Contract("ct", (1.5, 1.5, 1.5), (-175, 250), 0.0, (64, 64, 64))
_CONTRACTS = {
    "monai_swinvit": Contract("ct", (1.5, 1.5, 2.0), (-1000, 1000), 0.0),
    "alice": Contract("ct", None, (-125, 225), 0.0, (64, 64, 64), is_confirmed=False),
    "monai_dae": Contract("ct", None, (-1000, 1000), 0.0, is_confirmed=False),
    "voco": _VOCO,
    "vocomni": _VOCO,
    "suprem": Contract("ct", (1.5, 1.5, 1.5), (-175, 250), 0.0),
    "swinunetr": Contract("ct", (1.5, 1.5, 1.5), (-1000, 1000), 0.0, is_confirmed=False),
}


def propose_swin(checkpoint: Checkpoint, merge_order: MergeOrder | None = None) -> Proposal | None:
    """Return the Swin encoder in a checkpoint; none if there is none.

    Args:
        checkpoint: A state dict as its file names it.
        merge_order: In which order its network read the voxels of a patch merge. Only own runs
            need it: all published weights are of MONAI up to 1.4.

    Raises:
        WeightsMismatchError: If the order can't be known from the file and is not given.
    """
    root = root_of(checkpoint.tensors, _ANCHOR)
    if root is None:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    if not any(".blocks.0.attn.relative_position_bias_table" in name for name in under):
        return None
    family = _family(checkpoint, root, under)
    dropped = {n for n in under if n.startswith(_HEADS) or not _is_swin(n)}
    tensors = rename_swin({n: t for n, t in under.items() if n not in dropped})
    config = _config(tensors)
    order = _order(family, merge_order)
    return Proposal(
        family=family,
        encoder=_VARIANTS.get(config["width"], "swin_base"),
        config={**config, "merge_order": order},
        tensors=tensors,
        stem=_ANCHOR,
        dropped=(*outside, *sorted(root + name for name in dropped)),
        notes=(
            f"patch merges read their voxels in the order {order!r}"
            + (" (MONAI up to 1.4)" if order == "published" else " (MONAI from 1.5)"),
            f"SwinUNETR version {config['version']}, feature size {config['width']}",
        ),
        contract=_CONTRACTS[family],
    )


def rename_swin(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of today's MONAI."""
    return {
        re.sub(
            r"^(layers\d)\.0\.0\.", r"\1.0.", re.sub(r"\.mlp\.fc([12])\.", r".mlp.linear\1.", n)
        ): t
        for n, t in tensors.items()
    }


def _is_swin(name: str) -> bool:
    return re.match(r"(patch_embed|layers\dc?)\.", name) is not None


def _family(checkpoint: Checkpoint, root: str, under: Mapping[str, Tensor]) -> str:
    names = checkpoint.tensors
    if any(re.match(r"layers1\.0\.0\.", name) for name in under):
        return "monai_dae"
    if root.endswith("backbone.") and checkpoint.container in ("student", "teacher"):
        return "alice"
    if root.rstrip(".").split(".")[-1] not in ("swinViT", "swin_vit"):
        return "monai_swinvit"
    if checkpoint.container == "net" and "backbone." in root:
        return "suprem"
    if not checkpoint.container and any(name.startswith("layers1c.") for name in under):
        return "vocomni" if any("decoder1." in name for name in names) else "voco"
    return "swinunetr"


def _order(family: str, given: MergeOrder | None) -> MergeOrder:
    if given is not None:
        return given
    if family == "swinunetr":
        raise WeightsMismatchError(
            "this SwinUNETR run does not record which MONAI made it, and the order in which patch "
            "merges read their voxels changed in MONAI 1.5; say --merge-order published for MONAI "
            "up to 1.4, monai for 1.5 and later"
        )
    return "published"


def _config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    embed = tensors[_ANCHOR]
    dims = embed.ndim - 2
    found = (re.match(r"layers(\d)\.0\.blocks\.(\d+)\.", name) for name in tensors)
    blocks = {(int(m.group(1)), int(m.group(2))) for m in found if m}
    tables = [
        tensors.get(f"layers{stage}.0.blocks.0.attn.relative_position_bias_table")
        for stage in range(1, 5)
    ]
    if any(table is None for table in tables):
        raise WeightsMismatchError(
            "the file holds a part of a Swin transformer: one of its four stages lacks its "
            "relative positions; download it again"
        )
    rows = len(next(table for table in tables if table is not None))
    return {
        "spatial_dims": dims,
        "in_channels": embed.shape[1],
        "width": embed.shape[0],
        "depths": [sum(stage == s for stage, _ in blocks) for s in range(1, 5)],
        "heads": [int(table.shape[1]) for table in tables if table is not None],
        "window": (round(rows ** (1 / dims)) + 1) // 2,
        "version": 2 if any(name.startswith("layers1c.") for name in tensors) else 1,
    }
