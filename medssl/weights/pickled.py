"""The one place that opens a file written by ``torch.save``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["load_pickled"]


def load_pickled(
    path: Path | str, *, map_location: Any = "cpu", harmless: Sequence[Any] = ()
) -> Any:
    """Return what a file holds: tensors, plain values and what is named, or an error.

    Args:
        path: Our own file, or in a sandbox one of others.
        map_location: Where tensors go.
        harmless: Classes and functions that may be met besides.
    """
    with torch.serialization.safe_globals(list(harmless)):
        return torch.load(path, map_location=map_location, weights_only=True)  # noqa: TID251 - here
