"""Published networks that are recognised and can't become an encoder here, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable

from medssl.errors import WeightsMismatchError

__all__ = ["refuse_unsupported"]

_UNSUPPORTED: dict[tuple[str, ...], tuple[str, str]] = {
    (r"(.*\.)?patch_embed\.proj1\.conv1\.weight",): (
        "an nnFormer, as of Alice",
        "its tokens come from strided convolutions and carry positions of one fixed crop",
    ),
    (r"conv0\.weight", r"batch0\.weight", r"conv77U\.weight"): (
        "an OBELISK-Net or its all-convolution U-Net",
        "its stages have widths of their own, and the hybrid samples at learned places",
    ),
    (r"model\.0\.0\.weight", r"model\.0\.1\.running_mean", r"model\.\d+\.weight"): (
        "a MeshNet, as of brainchop",
        "it is one stack of dilated convolutions at full resolution, without coarser maps",
    ),
    (r"(.*\.)?encoding_blocks\.0\.conv1\.conv_layer\.weight",): (
        "a U-Net of the package unet, as of torchio",
        "its blocks change their width in the second convolution, with rectifiers that learn",
    ),
}
"""Names that such a file has all of: the network, and why it has no counterpart."""


def refuse_unsupported(names: Iterable[str]) -> None:
    """Refuse a file of a network that is known to have no counterpart here.

    Args:
        names: All names of a state dict.

    Raises:
        WeightsMismatchError: If it is one of those.
    """
    every = list(names)
    for patterns, (family, reason) in _UNSUPPORTED.items():
        if all(any(re.fullmatch(pattern, name) for name in every) for pattern in patterns):
            raise WeightsMismatchError(
                f"the file holds {family}, and no encoder here is such a network: {reason}; use "
                "its authors' code, or weights of another family"
            )
