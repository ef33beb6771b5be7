"""The state dict inside a foreign file, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from medssl.errors import WeightsMismatchError

__all__ = ["CONTAINERS", "Checkpoint", "open_checkpoint", "root_of"]

CONTAINERS = (
    "state_dict",
    "model",
    "net",
    "network_weights",
    "teacher",
    "student",
    "module",
    "weights",
)
"""Keys under which the field stores its tensors, the first that is there is taken."""

_SECOND_CHOICE = ("student", "decoder", "target_network", "encoder_k", "momentum")
"""Parts of a prefix under which a copy of the encoder lies that its authors do not hand on."""


@dataclass(frozen=True)
class Checkpoint:
    """A flat state dict as its file names it.

    Attributes:
        tensors: Names and values, prefixes included.
        container: Keys that led to it, joined by dots; empty if the file is the state dict.
        beside: Everything else at the top of the file, plain values only.
    """

    tensors: Mapping[str, Tensor]
    container: str
    beside: Mapping[str, Any]


def open_checkpoint(content: Mapping[str, Any]) -> Checkpoint:
    """Find the state dict in what a file holds.

    Args:
        content: What :func:`medssl.weights.foreign.read_foreign` returned.

    Raises:
        WeightsMismatchError: If there is none.
    """
    path: list[str] = []
    inner: Mapping[str, Any] = content
    # a loop may keep its counter as a tensor beside the state dict
    while key := next((k for k in CONTAINERS if _holds_tensors(inner.get(k))), None):
        path.append(key)
        inner = inner[key]
    if not any(isinstance(value, Tensor) for value in inner.values()):
        raise WeightsMismatchError(
            f"the file holds no state dict: its keys are {', '.join(list(inner)[:5])}; "
            f"expected tensors, or one of {', '.join(CONTAINERS)}"
        )
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    beside = {k: v for k, v in content.items() if k not in path and not isinstance(v, Tensor)}
    return Checkpoint(tensors, ".".join(path), beside)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(inner, Tensor) or _holds_tensors(inner) for inner in value.values()
    )


def root_of(names: Iterable[str], anchor: str) -> str | None:
    """Return the prefix under which a network lies, however often it was wrapped.

    Args:
        names: All names of a state dict.
        anchor: A tensor that every network of the family has, by its bare name.

    Returns:
        The prefix with its dot, the one that the authors hand on where there are several; none if
        no name ends with the anchor.

    Example:
        >>> root_of(["module.backbone.conv1.weight"], "conv1.weight")
        'module.backbone.'
    """
    roots = [
        name.removesuffix(anchor) for name in names if name == anchor or name.endswith("." + anchor)
    ]
    return min(roots, key=_rank, default=None)


def _rank(root: str) -> tuple[int, int]:
    parts = root.split(".")
    return sum(part in _SECOND_CHOICE for part in parts), len(parts)
