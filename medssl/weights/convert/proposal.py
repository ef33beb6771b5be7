"""What a family makes of a state dict, before it is proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from medssl.store.recipe import Recipe, Window
from medssl.types import Modality
from medssl.weights.manifest import InputContract

__all__ = ["Contract", "Proposal", "split_root"]


@dataclass(frozen=True)
class Contract:
    """What the published network saw.

    Attributes:
        modality: What it was trained on.
        spacing_mm: Voxel size; none where each scan kept its own.
        window: Bounds of the CT window in Hounsfield units, if it had one.
        floor: What its lower bound became; the upper one became 1.
        patch: Edges of the crops.
        is_confirmed: Whether the authors say so; otherwise it is a guess to be checked.
    """

    modality: Modality = "ct"
    spacing_mm: tuple[float, ...] | None = None
    window: tuple[int, int] | None = None
    floor: float = -1.0
    patch: tuple[int, ...] = (96, 96, 96)
    is_confirmed: bool = True

    def to_input(self) -> InputContract:
        """Return the input contract of an export."""
        recipe = Recipe(spacing_mm=self.spacing_mm)
        if self.window is not None:
            recipe = replace(recipe, ct=Window(*self.window, floor=self.floor))
        return InputContract(self.modality, recipe.to_dict(), recipe.hash, self.patch)


@dataclass(frozen=True)
class Proposal:
    """Tensors under the names of an encoder that exists.

    Attributes:
        family: Name of the published family.
        encoder: A name of ``medssl info --encoders``.
        config: Its options.
        tensors: What is to be loaded.
        stem: Name of the tensor that reads the input's channels, its second axis.
        adapted: What was changed on the way besides its name, one sentence each.
        dropped: Names in the file that have no place on purpose.
        left_over: Names in the file that the family does not know.
        notes: What a user must know, one sentence each.
        contract: What the network saw.
        mapping: Pairs of names, theirs and ours, where a person must check them.
    """

    family: str
    encoder: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    stem: str
    adapted: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contract: Contract = field(default_factory=Contract)
    mapping: tuple[str, ...] = ()


def split_root(
    tensors: Mapping[str, Tensor], root: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return what lies under a prefix by its bare names, and the names of all else."""
    under = {n.removeprefix(root): t for n, t in tensors.items() if n.startswith(root)}
    return under, tuple(sorted(n for n in tensors if not n.startswith(root)))
