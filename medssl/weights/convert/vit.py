"""Vision transformers: 3DINO, DINOv2, the masked autoencoders of FAIR and of MONAI, MONAI's ViT.

Two dialects name the same network, FAIR's (timm's) and MONAI's, and ours are MONAI's names. What no
tensor tells is the number of heads and the epsilon of the norms: the first is 64 features a head
unless the caller says otherwise, the second is 1e-6 in FAIR's code and 1e-5 in MONAI's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError
from medssl.weights.convert.checkpoint import Checkpoint, root_of
from medssl.weights.convert.places import place_positions
from medssl.weights.convert.proposal import Contract, Proposal, split_root

__all__ = ["propose_vit"]

_STEM = "patch_embedding.patch_embeddings.weight"
_POSITIONS = "patch_embedding.position_embeddings"
_PERCEPTRON = "patch_embedding.patch_embeddings.1."
_ANCHORS = ("patch_embed.proj.weight", _STEM, _PERCEPTRON + "weight")
_RENAMED = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # chunks: the inner number runs on through them
    (r"^blocks\.\d+\.(weight|bias)$", r"norm.\1"),  # MONAI's masked autoencoder: the last block
    (r"^patch_embed\.proj\.", "patch_embedding.patch_embeddings."),
    (r"^pos_embed$", _POSITIONS),
    (r"^reg_token$", "register_tokens"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc([12])\.", r".mlp.linear\1."),
)
_PART = re.compile(
    r"(patch_embed\w*|blocks|norm\w*|fc_norm|pos_embed\w*)\.|pos_embed|(?!mask_tokens?$)\w+_tokens?$"
)
"""What takes part in the encoder, known or not; everything else is a head or a decoder."""
_IDLE = re.compile(r"patch_embedding\.cls_token$|blocks\.\d+\.cross_attn\.")
"""What older MONAI stores in an encoder and never calls."""

_VARIANTS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}
_HEAD = 64
_HEADS = {1280: 16}
"""Published numbers of heads that are not 64 features each: ViT-H."""
_EPSILON = {"fair": 1e-6, "monai": 1e-5}
_SAM = re.compile(r"(.*\.)?blocks\.\d+\.attn\.rel_pos_[hw]$")


def propose_vit(
    checkpoint: Checkpoint, *, patch: Sequence[int] | None = None, heads: int | None = None
) -> Proposal | None:
    """Return the vision transformer in a checkpoint; none if there is none.

    Args:
        checkpoint: A state dict as its file names it.
        patch: Edges of the usual crop in voxels; by default those of the pretraining.
        heads: Attention heads; by default one for 64 features, as published.

    Raises:
        WeightsMismatchError: If it is SAM's, of which only a part is a plain transformer, or what
            is asked for does not go with the file.
    """
    if any(_SAM.match(name) for name in checkpoint.tensors):
        raise WeightsMismatchError(
            "this is the image encoder of SAM (LVM-Med's ViT-B, MedSAM): it attends in windows "
            "and by relative positions, which no encoder here does; take LVM-Med's ResNet-50"
        )
    roots = (root_of(checkpoint.tensors, anchor) for anchor in _ANCHORS)
    root = next((found for found in roots if found is not None), None)
    if root is None:
        return None
    under, outside = split_root(checkpoint.tensors, root)
    if not any(re.match(r"blocks\.(\d+\.)?0\.attn\.qkv\.weight$", name) for name in under):
        return None
    renamed = _rename(under)
    stem, adapted = _stem(renamed)
    dialect = _dialect(under)
    config = {**_config(renamed, stem, heads), "norm_eps": _EPSILON[dialect]}
    placed = place_positions(
        renamed.get(_POSITIONS),
        renamed.get("cls_token"),
        config["token"],
        patch,
        class_comes_first=dialect == "fair",
    )
    family = _family(checkpoint, root, under, stem.ndim - 2)
    width, count = config["width"], config["heads"]
    return Proposal(
        family=family,
        encoder=_VARIANTS.get(width, "vit_base"),
        config={**config, **placed.config},
        tensors={**renamed, **placed.tensors, _STEM: stem},
        stem=_STEM,
        adapted=(*adapted, *placed.adapted),
        dropped=tuple(sorted((*outside, *(root + name for name in under if not _is_part(name))))),
        notes=(
            f"{count} heads of {width // count} features"
            + ("" if heads else ", as in published transformers; the file does not say"),
            f"norms with epsilon {config['norm_eps']}, as in the code of its authors",
            *_NOTES.get(family, ()),
        ),
        contract=_contract(family, tuple(placed.config["patch"])),
    )


_NOTES = {
    "3dino": (
        "its authors turn scans to RAS, keep their spacing, bring the 0.05th to the 99.95th "
        "percentile to -1 to 1 and resize crops to 112 voxels; the recipe here is close, not equal",
    ),
    "fair_mae": (
        "it read pictures as rows and columns, each of three channels by ImageNet's mean and "
        "deviation; medssl gives it slices as (x, y), in the recipe's intensities",
    ),
}


def _contract(family: str, patch: tuple[int, ...]) -> Contract:
    if family == "monai_vitautoenc":
        # what MONAI's tutorial does; a run of one's own may have done anything
        return Contract("ct", (2.0, 2.0, 2.0), (-57, 164), 0.0, patch, is_confirmed=False)
    return Contract("unknown", None, patch=patch, is_confirmed=False)


def _is_part(name: str) -> bool:
    return _PART.match(name) is not None and _IDLE.match(name) is None


def _dialect(under: Mapping[str, Tensor]) -> str:
    return "fair" if "patch_embed.proj.weight" in under else "monai"


def _rename(under: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of the encoder under our names."""
    renamed: dict[str, Tensor] = {}
    parts = [name for name in under if _is_part(name)]
    for name in parts:
        ours = name
        for pattern, replacement in _RENAMED:
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = under[name]
    if len(renamed) < len(parts):
        raise WeightsMismatchError(
            "two tensors of the file mean the same place in a transformer, as if its blocks were "
            "numbered anew in each chunk; no published network does that, so it is not guessed at"
        )
    return renamed


def _stem(tensors: dict[str, Tensor]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the convolution that makes tokens, and what had to be done for it."""
    if _PERCEPTRON + "weight" not in tensors:
        return tensors[_STEM], ()
    weight, bias = (tensors.pop(_PERCEPTRON + part) for part in ("weight", "bias"))
    edge = round(weight.shape[1] ** (1 / 3))
    if edge**3 != weight.shape[1]:
        raise WeightsMismatchError(
            f"a perceptron makes tokens of {weight.shape[1]} numbers, which is no cube of one "
            'channel, and the file does not say what else; train it with proj_type="conv"'
        )
    tensors[_STEM.replace("weight", "bias")] = bias
    sentence = f"{_PERCEPTRON}weight rearranged to a convolution of {edge} voxels, the same product"
    return weight.reshape(-1, 1, edge, edge, edge), (sentence,)


def _config(tensors: Mapping[str, Tensor], stem: Tensor, heads: int | None) -> dict[str, Any]:
    width = len(stem)
    found = (re.match(r"blocks\.(\d+)\.", name) for name in tensors)
    numbers = {int(match.group(1)) for match in found if match}
    perceptron = tensors.get("blocks.0.mlp.linear1.weight")
    if perceptron is None or numbers != set(range(len(numbers))):
        raise WeightsMismatchError(
            f"of the transformer's blocks {len(numbers)} are there, numbered up to {max(numbers)}, "
            f"the first {'without' if perceptron is None else 'with'} a plain perceptron; "
            "download it again, or it is of no family known here"
        )
    config: dict[str, Any] = {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "token": list(stem.shape[2:]),
        "width": width,
        "depth": len(numbers),
        "heads": _heads(width, heads),
        "mlp_ratio": _ratio(len(perceptron), width),
        "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
    }
    if "blocks.0.ls1.gamma" in tensors:
        config["layer_scale"] = 1.0  # where it starts; the file says where it ended
    if "register_tokens" in tensors:
        config["registers"] = tensors["register_tokens"].shape[1]
    return config


def _ratio(hidden: int, width: int) -> float:
    ratio = hidden / width
    # the encoder rounds down, and must come back to the number of the file
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _heads(width: int, given: int | None) -> int:
    heads = given or _HEADS.get(width, width // _HEAD)
    if heads < 1 or width % heads or (given is None and width % _HEAD and width not in _HEADS):
        raise WeightsMismatchError(
            f"the file does not say into how many heads its {width} features are split, and "
            f"{heads if given else _HEAD} do not divide them; say it with --heads"
        )
    return heads


def _family(checkpoint: Checkpoint, root: str, under: Mapping[str, Tensor], dims: int) -> str:
    if _dialect(under) == "fair":
        if any(name.endswith(".ls1.gamma") for name in under):
            return "3dino" if dims == 3 else "dinov2"
        is_mae = "decoder_embed.weight" in under or checkpoint.container == "model"
        return "fair_mae" if is_mae and "head.weight" not in under else f"vit_{dims}d"
    if "mask_tokens" in under or "decoder_embed.weight" in under:
        return "monai_mae"
    if any(name.startswith("conv3d_transpose") for name in under):
        return "monai_vitautoenc"
    return "monai_unetr" if root.endswith("vit.") else "monai_vit"
